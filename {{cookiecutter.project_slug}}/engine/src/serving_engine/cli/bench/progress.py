"""Progress on a terminal."""

import sys


def progress(text: str) -> None:
    """Say what is measured, on a terminal; the next line of the table replaces it."""
    if sys.stderr.isatty():
        print(f"{text} ...\x1b[K", end="\r", file=sys.stderr, flush=True)
