"""The model on disk: manifest, download, verified loading. From the template; upgraded with it."""
