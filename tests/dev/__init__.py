"""`make dev`, `make lint` and `make typecheck`: what a contributor runs while they edit."""
