"""Markdown as forges read it, made into what the site's generator reads."""

import re
from collections.abc import Callable

_FENCE = re.compile(r" *(`{3,}|~{3,})")
_ITEM = re.compile(r"([*-]|\d+\.) +")
_HEADING = re.compile(r"(#{1,6}) +(.*)")
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^()\s]+)\)")
_CODE = re.compile(r"`[^`\n]+`")


def convert(text: str) -> str:
    """The text with room around lists and with pipes in code that stay in their cell of a table."""
    lines: list[str] = []
    fence = ""
    width = 0  # of the marker of the list item that a line may go on
    loose = False  # whether that item has more than one block
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        marker = None if fence else _ITEM.match(line)
        if marker:
            if lines and lines[-1] and (not width or loose):
                lines.append("")
            width = len(marker[0])
            loose = False
        elif width and not line:
            loose = True
        elif line and not indent and not fence and lines and not lines[-1]:
            width = 0
        # A block in an item is indented by four, whatever the width of the marker.
        moved = " " * (4 - width) + line if width and not marker and indent >= width else line
        if found := _FENCE.match(line):
            fence = "" if found[1] == fence else fence or found[1]
        if not fence and line.startswith("|"):
            moved = _CODE.sub(_pipes_as_entities, line)
        lines.append(moved)
    return "\n".join(lines) + "\n"


def _pipes_as_entities(code: re.Match[str]) -> str:
    if r"\|" not in code[0]:
        return code[0]
    text = code[0].strip("`").replace("&", "&amp;").replace("<", "&lt;")
    return f"<code>{text.replace(chr(92) + '|', '&#124;')}</code>"


def sections(text: str) -> dict[str, str]:
    """The text below each heading of the second level, with the heading; "" has what is above."""
    found = {"": ""}
    heading = ""
    for line, outside in _lines(text):
        if outside and line.startswith("## "):
            heading = line.removeprefix("## ").strip()
            found[heading] = ""
        found[heading] += f"{line}\n"
    return found


def raise_headings(text: str) -> str:
    """The text with every heading one level higher."""
    return "".join(
        (line.removeprefix("#") if outside and line.startswith("##") else line) + "\n"
        for line, outside in _lines(text)
    )


def title(text: str) -> str:
    """The heading of the first level."""
    return next(line[2:].strip() for line, outside in _lines(text) if outside and line[:2] == "# ")


def first_sentence(text: str) -> str:
    """The first sentence of the first paragraph, without its links."""
    paragraphs = re.split(r"\n{2,}", "\n".join(_outside(text)))
    prose = [one for one in paragraphs if one and not re.match(r"[#|>*!<-]|\d+\.", one)]
    if not prose:
        return ""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(prose[0].split()))
    return re.split(r"(?<=[.:]) ", words)[0].rstrip(":.") + "."


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as forges make them."""
    found: set[str] = set()
    for line in _outside(text):
        if heading := _HEADING.match(line):
            name = anchor(heading[2])
            while name in found:  # a heading that is there again gets a number
                stem, _, number = name.rpartition("_")
                name = f"{stem}_{int(number) + 1}" if number.isdigit() and stem else f"{name}_1"
            found.add(name)
    return found | set(re.findall(r'id="([^"]+)"', text))


def anchor(heading: str) -> str:
    """The anchor of a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-")


def replace_links(text: str, replace: Callable[[str], str]) -> str:
    """The text with the target of each link and image replaced, but in code."""
    lines = list(_lines(text))
    blocks: list[tuple[str, bool]] = []
    for line, outside in lines:  # a link may go over the end of a line
        if blocks and blocks[-1][1] == outside:
            blocks[-1] = (f"{blocks[-1][0]}\n{line}", outside)
        else:
            blocks.append((line, outside))
    return "\n".join(_replace(block, replace) if outside else block for block, outside in blocks)


def _replace(block: str, replace: Callable[[str], str]) -> str:
    kept: list[str] = []

    def hide(code: re.Match[str]) -> str:
        kept.append(code[0])
        return f"\0{len(kept) - 1}\0"

    hidden = _CODE.sub(hide, block)
    linked = _LINK.sub(lambda link: f"{link[1]}({replace(link[2])})", hidden)
    return re.sub(r"\0(\d+)\0", lambda mark: kept[int(mark[1])], linked)


def _outside(text: str) -> list[str]:
    return [line for line, outside in _lines(text) if outside]


def _lines(text: str) -> list[tuple[str, bool]]:
    """Each line, and whether it is outside of a block of code."""
    found = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        inside = bool(fence or mark)
        if mark:
            fence = "" if mark[1] == fence else fence or mark[1]
        found.append((line, not inside))
    return found
