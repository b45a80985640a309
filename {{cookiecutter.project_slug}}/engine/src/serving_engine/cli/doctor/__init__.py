"""The command `doctor`: what drifted since the template made the project."""
