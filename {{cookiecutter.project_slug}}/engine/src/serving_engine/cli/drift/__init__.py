"""The command `model drift`: compares a record of requests with what the manifest observed."""
