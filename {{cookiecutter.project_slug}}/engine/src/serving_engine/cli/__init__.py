"""The command line: serve, check, predict, model."""
