"""Guards of the generated project, broken one at a time: its own tests must notice."""
