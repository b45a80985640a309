"""The documentation site: what it is made of, and how it is built (`make docs`)."""
