"""Follows the tutorial as a reader does, and says what each block of it should have shown.

A block of Markdown says what to do, or shows what is to be seen then:

* `sh`: commands. A first line `# first terminal` starts what goes on running there; all others
  run in the second terminal, up to their end, and succeed.
* `text`: what the commands above have shown in the second terminal, all of it.
* `log`: what the first terminal has shown since the last such block. `^C` in it is Ctrl-C, pressed
  there.
* `python`: a file that its first line names, or a change of one; see `put` in markdown.py.

A page of the service that the prose between them names, as <http://127.0.0.1:8000/>, is opened. A
line `…` stands for any lines. What differs from run to run is compared by its name in WILDCARDS.
"""

import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .markdown import Block, blocks, put
from .services import OK, PATIENCE, wait_until
from .terminal import Terminal

FIRST = "# first terminal\n"
ELISION = "…"
LINK = r"<(http://127\.0\.0\.1:\S+)>"
QUESTION = re.compile(r"\): $")

WILDCARDS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "request id": r"(?<=request_id=)[0-9a-f]+-\d+",
    "hash": r"(?<![.\w])[0-9a-f]{12,64}\b",
    "source": r"(?<=^The model in model/ is that of )\S+",
    "seconds": r"(?<=milliseconds=)[\d.]+|[\d.]+(?= ms\b)|(?<= in )[\d.]+(?=s\b)",
    "memory": r"\b[\d.]+(?= (?:[kMG]i?)?B\b)|(?<=_bytes=)\d+",
}
"""What differs from run to run, by name: the page has an example of it."""

DIGITS = re.compile(r"\d+\.\d{7,}(?:e-?\d+)?")
"""Numbers whose last digits depend on the processor."""


class Seen(NamedTuple):
    """What a block shows, and what was to be seen."""

    block: Block
    text: str

    @property
    def agrees(self) -> bool:
        return matches(self.block.text, self.text)


def rewritten(page: str, seen: list[Seen]) -> str:
    """The page with what was to be seen in place of what it showed."""
    for block, text in reversed(seen):
        page = page[: block.start] + text + page[block.end :]
    return page


def follow(
    page: str, first: Terminal, second: Terminal, folder: Path, replace: dict[str, str]
) -> Iterator[Seen]:
    """Do what a page says, block by block; yield what was to be seen for each that shows it.

    folder: where a reader begins. replace: texts of the page and what the test does in their
    place; what is seen has the text of the page again.
    """
    there, end_before = folder, 0

    def here(text: str) -> str:
        for ours, theirs in replace.items():
            text = text.replace(ours, theirs)
        return text

    def as_on_page(text: str) -> str:
        for ours, theirs in replace.items():
            text = text.replace(theirs, ours)
        return text

    for block in blocks(page):
        for url in re.findall(LINK, page[end_before : block.start]):
            with urllib.request.urlopen(here(url), timeout=PATIENCE) as response:
                assert response.status == OK
        end_before, text = block.end, here(block.text)
        match block.kind:
            case "sh" if text.startswith(FIRST):
                first.start(text.removeprefix(FIRST), there)
            case "sh":
                second.start(text, there)
                answer_questions(second)
                code = second.ended()
                assert code == 0, f"code {code} of:\n{text}\n{second.shown}"
                for name in re.findall(r"^cd (\S+)$", text, re.M):
                    there /= name
            case "text":
                yield Seen(block, as_on_page(second.shown))
            case "log":
                if "^C" in text:
                    first.press("\x03")
                shown = wait_for_log(block, first, as_on_page)
                yield Seen(block, as_on_page(shown))
            case "python":
                put(text, there)
            case kind:
                raise AssertionError(f"nobody knows what to do with a block of {kind}")


def answer_questions(terminal: Terminal) -> None:
    """Press Enter at each question, until the command ends."""
    answered = 0
    while terminal.running():
        if len(terminal.shown) > answered and QUESTION.search(terminal.shown):
            answered = len(terminal.shown) + 1
            terminal.press("\n")
        time.sleep(0.01)


def wait_for_log(block: Block, terminal: Terminal, as_on_page: Callable[[str], str]) -> str:
    """Wait until the log since the last block is what this one shows, or until that is in vain."""
    with suppress(AssertionError):
        wait_until(lambda: matches(block.text, as_on_page(terminal.unread)))
    return terminal.read()


def matches(expected: str, seen: str) -> bool:
    """Whether a block shows what was to be seen, but for what differs from run to run."""
    parts = named(expected).split(f"{ELISION}\n")
    pattern = "(?:.*\n)*?".join(map(re.escape, parts))
    return re.fullmatch(pattern, named(seen)) is not None


def named(text: str) -> str:
    """A text with the names of what differs from run to run in its place."""
    text = DIGITS.sub(lambda found: f"{float(found[0]):.6g}", text)
    for name, pattern in WILDCARDS.items():
        text = re.sub(pattern, f"<{name}>", text, flags=re.M)
    return re.sub(r" +$", "", text, flags=re.M)
