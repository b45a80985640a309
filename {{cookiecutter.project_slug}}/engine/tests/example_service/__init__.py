"""A service like a generated one, for the tests of the engine."""
