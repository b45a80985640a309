"""A model directory on disk: manifest, verified reading, download, archive checks."""
