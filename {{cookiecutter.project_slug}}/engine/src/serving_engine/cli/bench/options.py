"""Options that `bench` and `plan` share, and kinds of values, which raise ArgumentTypeError."""

import argparse
from pathlib import Path

_MOST = 1000


def add_rows(command: argparse.ArgumentParser) -> None:
    """Add the options that say which rows are sent."""
    command.add_argument(
        "--file",
        type=Path,
        help="rows to send (.csv, .tsv, .json, .jsonl, .parquet); by default the golden examples",
    )
    command.add_argument(
        "--rows", type=count, default=1, metavar="N", help="rows in each request (default: 1)"
    )


def count(text: str) -> int:
    """A whole number from 1 to 1000."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"it must be from 1 to {_MOST}")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds, at most 1000."""
    value = number(text)
    if not 0 < value <= _MOST:
        raise argparse.ArgumentTypeError(f"it must be more than 0 and at most {_MOST}")
    return value


def number(text: str) -> float:
    """Any number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
