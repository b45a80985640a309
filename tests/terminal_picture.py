"""Takes docs/terminal.svg: a service in a real terminal, and somebody who asks it in another.

    make pictures

Everything in the picture was typed into bash or written by a program.
"""

import io
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from . import processes
from .conftest import clean_environment
from .rendering import ROOT, render
from .terminal import Terminal

PICTURE = ROOT / "docs" / "terminal.svg"
TITLE = "two terminals: a service, and somebody who asks it"
COLUMNS = 120
SHELL = r"PS1='\[\e[1;32m\]$\[\e[0m\] ' exec bash --noprofile --norc --noediting -i"
PROMPT = "\x1b[1;32m$\x1b[0m "

JSON = "--header Content-Type:application/json"
ASK = f"curl {JSON} --data @request.json 127.0.0.1:8000/predict"
ASK_WRONG = (
    f"curl {JSON} --data '{{\"instances\": [[5.1, 3.5, 1.4, true]]}}' 127.0.0.1:8000/predict"
)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        project = render(Path(scratch) / "out", model="auto")
        processes.run(
            ["uv", "sync", "--quiet", "--python", sys.executable], cwd=project, check=True
        )
        panes = session(project)
    PICTURE.write_text(picture(panes), encoding="utf-8")


def session(project: Path) -> list[str]:
    """Serve a model, ask it, and try to serve one that was changed: what both terminals show."""
    variables = clean_environment(TERM="xterm-256color")
    with Terminal(variables, COLUMNS) as first, Terminal(variables, COLUMNS) as second:
        first.start(SHELL, project)
        second.start(SHELL, project)
        type_in(first, "uv run iris-service serve")
        first.wait_for("its API is at")
        type_in(second, "uv run iris-service model show --example > request.json")
        type_in(second, ASK)
        first.wait_for("/predict 200")
        type_in(second, ASK_WRONG)
        first.wait_for("/predict 422")
        first.press("\x03")
        type_in(first, "printf x >> model/model.skops")
        type_in(first, "uv run iris-service serve")
        type_in(first, "echo $?")
        panes = []
        for terminal in (first, second):
            terminal.wait_for(PROMPT)
            panes.append(terminal.shown.removesuffix(f"\n{PROMPT}"))
            terminal.press("exit\n")
            terminal.ended()
    return panes


def type_in(terminal: Terminal, line: str) -> None:
    """Type a line when the shell asks for one."""
    terminal.wait_for(PROMPT)
    terminal.press(f"{line}\n")
    terminal.wait_for(f"{line}\n")


def picture(panes: list[str]) -> str:
    """An SVG of the terminals, one below the other, which loads nothing."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for number, pane in enumerate(panes):
        if number:
            console.print(Rule(style="bright_black"))
        for line in Text.from_ansi(pane).split(allow_blank=True):
            # As a terminal does it: in the middle of a word.
            for part in line.divide(range(COLUMNS, len(line), COLUMNS)):
                console.print(part, no_wrap=True)
    drawn = console.export_svg(title=TITLE, unique_id="terminal")
    drawn = re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.S)
    return re.sub(r"[ \t]+$", "", drawn, flags=re.M) + "\n"


if __name__ == "__main__":
    main()
