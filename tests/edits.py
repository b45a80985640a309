"""Edits of a file, as people make them by hand."""

from pathlib import Path


def append(file: Path, code: str) -> None:
    """Put code at the end of a file: two blank lines above what is not in a class, as usual."""
    blank = "\n" if code.startswith(" ") else "\n\n"
    file.write_text(file.read_text(encoding="utf-8") + blank + code, encoding="utf-8")


def replace(file: Path, old: str, new: str) -> None:
    """Replace text that must be there once."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name} has {text.count(old)} times: {old}"
    file.write_text(text.replace(old, new), encoding="utf-8")
