"""`python -m` with the package's name: the same as its command."""

from .cli import main

if __name__ == "__main__":
    main()
