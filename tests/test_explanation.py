"""The pages that explain are true: what they name exists, what they quote stands there."""

import re
import sys
from pathlib import Path

import pytest

from . import processes
from .conftest import ROOT
from .markdown import write_file
from .rendering import PROJECT

DOCS = ROOT / "docs"
EXPLANATION = sorted((DOCS / "explanation").glob("*.md"))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def place(name: str) -> Path:
    """Where a page's path leads: `engine/` is that of each generated project."""
    return (ROOT / PROJECT if name.startswith("engine/") else ROOT) / name


@pytest.mark.parametrize("page", EXPLANATION, ids=lambda page: page.stem)
def test_a_page_ends_with_the_modules_and_the_tests_that_prove_it(page: Path) -> None:
    _, _, code = read(page).partition("\n## In the code\n")
    modules, _, proofs = code.partition("\nProved by\n")
    named = re.findall(r"`((?:engine|tests|benchmarks)/[\w./-]+\.\w+)`", modules)
    assert named
    for name in named:
        assert place(name).is_file(), name
    tests = re.findall(r"^\* `(\S+)::(\w+)`$", proofs, re.M)
    assert len(tests) == len(proofs.strip().splitlines()) > 3
    for file, test in tests:
        assert f"def {test}(" in read(place(file)), test
    for name in re.findall(r": `(\w+)`(?: and `(\w+)`)?", modules):
        for function in filter(None, name):
            assert any(f"def {function}(" in read(place(file)) for file in named), function


@pytest.mark.parametrize("page", EXPLANATION, ids=lambda page: page.stem)
def test_rows_of_a_benchmark_are_those_of_its_results(page: Path) -> None:
    """A table under `From benchmarks/...` repeats rows of that file, and says nothing else."""
    results = ""
    for paragraph in read(page).split("\n\n"):
        if source := re.search(r"From `(benchmarks/\S+\.md)`", paragraph):
            results = read(ROOT / source[1])
        elif paragraph.startswith("## "):
            results = ""
        elif results and paragraph.startswith("| "):
            _, _, *rows = paragraph.splitlines()
            for row in rows:
                assert row in results.splitlines(), row


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc and forks")
def test_the_script_shows_what_a_collection_does_to_shared_memory(tmp_path: Path) -> None:
    page = read(DOCS / "explanation" / "memory-of-workers.md")
    table = re.findall(r"^\| `python fork\.py (\w+)` \| (\d+) MiB \|$", page, re.M)
    assert len(table) == 2
    for argument, expected in table:
        shown = run_block(page, "fork.py", tmp_path, argument)
        found = re.fullmatch(r"private memory of the child: (\d+) MiB\n", shown)
        assert abs(int(found[1]) - int(expected)) <= 5, shown


def test_the_script_shows_that_a_pickle_runs_code(tmp_path: Path) -> None:
    page = read(DOCS / "explanation" / "why-not-pickle.md")
    said = re.search(r'return print, \("(.*)",\)', page)[1]
    assert run_block(page, "surprise.py", tmp_path) == f"{said}\n"


def run_block(page: str, name: str, folder: Path, *arguments: str) -> str:
    """Run the Python block of a page that its first line names; what it prints."""
    write_file(page, name, folder)
    command = [sys.executable, name, *arguments]
    return processes.run(
        command, cwd=folder, check=True, capture_output=True, encoding="utf-8"
    ).stdout


def test_the_picture_of_a_terminal_loads_nothing_and_shows_the_session() -> None:
    drawn = read(DOCS / "terminal.svg")
    assert "http" not in re.sub(r"(?s)<text.*?</text>|<!--.*?-->|xmlns=\S+", "", drawn)
    shown = "".join(re.findall(r"<text [^>]*>(.*?)</text>", drawn)).replace("&#160;", " ")
    for text in ("listening on http://127.0.0.1:", "setosa", "size mismatch", "must be a finite"):
        assert text in shown, text
