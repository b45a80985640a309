"""One thin module for each protocol the service speaks."""
