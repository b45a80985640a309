"""The command `predict`: the rows of a file, without a server."""
