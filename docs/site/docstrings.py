"""Docstrings of the engine as Markdown."""

import re


def name_items(text: str | None, names: set[str]) -> str:
    """The text with an item of a list for each name that it explains, as in `rows: those to read`.

    names: of parameters or fields. What is explained ends with the paragraph, or where a sentence
    begins with Raises, Returns or Any.
    """
    paragraphs = [_paragraph(one, names) for one in (text or "").split("\n\n")]
    return "\n\n".join(one for one in paragraphs if one).replace("**", r"\*\*")


def _paragraph(text: str, names: set[str]) -> str:
    if text.lstrip().startswith(("- ", "* ")):
        return "\n".join(line.strip() for line in text.splitlines())
    words = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    joined = " ".join(text.split())
    if not words:
        return joined
    start = rf"(?:(?<=^)|(?<=\. )|(?<=: ))(?:{words})(?:,? (?:and )?(?:{words}))*: "
    first = re.search(start, joined)
    if not first:
        return joined
    lines = [joined[: first.start()].strip(), ""]
    explained, end = joined[first.start() :], ""
    if found := re.search(r"(?<=\. )(?:Raises|Returns|Any) ", explained):
        explained, end = explained[: found.start()], explained[found.start() :]
    marks = [*re.finditer(start, explained)]
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        stop = following.start() if following else len(explained)
        label = mark[0].removesuffix(": ")
        lines.append(f"* `{label}`: {explained[mark.end() : stop].strip()}")
    return "\n".join([*lines, "", end]).strip()
