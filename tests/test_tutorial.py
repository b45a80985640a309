"""The tutorial is true: each command works, and shows what the page says.

`WRITE_TUTORIAL=1 make test ARGS=tests/test_tutorial.py` puts what they show now into the page.
"""

import os
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, clean_environment, source_of
from .markdown import Block, blocks
from .rendering import copy_template, make_repository
from .servers import free_port
from .terminal import Terminal
from .tutorial import Seen, follow, matches, rewritten

PAGE = ROOT / "docs" / "tutorial" / "your-first-service.md"


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
def test_each_command_of_the_tutorial_shows_what_the_page_says(
    environment: Path, tmp_path: Path
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    template = copy_template(tmp_path / "cookiecutter-model-serving")
    make_repository(template)
    (tmp_path / "reader").mkdir()
    (tmp_path / "none.yml").write_text("{}\n", encoding="utf-8")
    port = str(free_port())
    variables = clean_environment(
        COOKIECUTTER_CONFIG=str(tmp_path / "none.yml"),
        HOME=str(tmp_path),
        PYTHONPATH=source_of(tmp_path / "reader" / "iris-service"),
        SERVING_INLINE_SECONDS="0.1",  # or the log tells that a busy machine delays a call
        SERVING_PORT=port,
        TERM="dumb",
        UV_CACHE_DIR=os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        UV_NO_SYNC="1",  # the environment has all that the page installs
        UV_PROJECT_ENVIRONMENT=str(environment.parent),
    )
    replace = {
        "uvx cookiecutter gh:OWNER/cookiecutter-model-serving": (
            f"{sys.executable} -m cookiecutter {template}"
        ),
        "127.0.0.1:8000": f"127.0.0.1:{port}",
    }
    with Terminal(variables) as first, Terminal(variables) as second:
        seen = list(follow(page, first, second, tmp_path / "reader", replace))
        assert first.ended() == 0
    if os.environ.get("WRITE_TUTORIAL"):
        PAGE.write_text(rewritten(page, [each for each in seen if not each.agrees]), "utf-8")
    wrong = [f"{each.block.text}\nbut it was\n\n{each.text}" for each in seen if not each.agrees]
    assert not wrong, "\n\n".join(["the page shows", *wrong])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_command_sees_the_width_of_its_terminal_and_of_no_other(tmp_path: Path) -> None:
    asked = f"{sys.executable} -c 'import shutil; print(shutil.get_terminal_size().columns)'"
    with Terminal(clean_environment(COLUMNS="80"), 111) as terminal:
        terminal.start(asked, tmp_path)
        assert terminal.ended() == 0
    assert terminal.shown == "111\n"


LINE = (
    "2026-12-01T17:05:34.832Z INFO    POST /predict 200 milliseconds=0.94 request_id=04e944c54b-0\n"
)


@pytest.mark.parametrize(
    ("shown", "agrees"),
    [
        (LINE.replace("17:05:34.832", "18:00:00.001").replace("0.94", "12.1"), True),
        (LINE.replace("04e944c54b-0", "ffffffffff-7"), True),
        (LINE.replace("200", "422"), False),
        (LINE.replace("INFO ", "ERROR"), False),
        (LINE + "more\n", False),
        ("", False),
    ],
)
def test_times_and_ids_may_differ_and_nothing_else(shown: str, agrees: bool) -> None:
    assert matches(LINE, shown) == agrees


def test_last_digits_may_differ_and_others_not() -> None:
    assert matches("0.015296771119383056\n", "0.015296771119383171\n")
    assert not matches("0.015296771119383056\n", "0.015297771119383056\n")


def test_an_ellipsis_stands_for_any_lines_and_not_for_a_part_of_one() -> None:
    assert matches("first\n…\nlast\n", "first\nlast\n")
    assert matches("first\n…\nlast\n", "first\n1\n2\nlast\n")
    assert not matches("first\n…\nlast\n", "first\n1 last\n")


def test_what_was_seen_is_written_in_place_of_what_the_page_shows() -> None:
    page = "# A\n\n```sh\ndate\n```\n\n```text\nlong ago\n```\n\nEnd.\n"
    shell, shown = blocks(page)
    assert (shell.kind, shown.text) == ("sh", "long ago\n")
    assert "```text\nnow\n```\n\nEnd." in rewritten(page, [Seen(shown, "now\n")])
    assert not Seen(Block("text", "long ago\n", 0, 0), "now\n").agrees
