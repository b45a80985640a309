"""Text that is safe in a log line: no value can break or forge a line."""

import math


def printable(text: str) -> str:
    """Escape every character of a text that is not printable."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def one_line(text: str, most: int = 800) -> str:
    """Return the printable text, cut after `most` characters."""
    line = printable(text)
    return line if len(line) <= most else f"{line[:most]}…"


def is_missing(value: object) -> bool:
    """Whether a value is None or NaN, as tables have it for a missing one."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def shown(value: object) -> str:
    """Return a value as it was read, in one short line; a missing one is null."""
    return "null" if is_missing(value) else one_line(repr(value), most=60)


def reason(error: BaseException) -> str:
    """Return the class and the message of an error, in one line."""
    return one_line(f"{type(error).__name__}: {error}", most=300)


def human_bytes(size: float) -> str:
    """Format a number of bytes in MiB, with one decimal below 10 MiB."""
    mebibytes = size / 2**20
    return f"{mebibytes:.1f} MiB" if mebibytes < 10 else f"{mebibytes:.0f} MiB"  # noqa: PLR2004
