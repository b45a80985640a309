"""What Windows and macOS ask of files: names, lengths and line ends."""

import re
import subprocess
from pathlib import Path

import pytest

from . import processes
from .conftest import ROOT
from .dev.checks import types_elsewhere
from .dev.project import Project
from .rendering import PROJECT, in_project, load_hook
from .test_layout import tracked

ROOT_LENGTH = 60
"""Characters of the folder that a project is made in: C:\\Users\\somebody\\Documents\\services."""

LONGEST_PATH = 200
"""Windows takes 259 characters of a path; bytecode and temporary files beside a file take more."""

LONGEST_SLUG = 53
BINARY = (".skops", ".onnx", ".png", ".xz")


def rendered_paths(slug: str) -> set[str]:
    """Every file that any project may have, as a path from where it is made."""
    package = slug.replace("-", "_")
    return {f"{slug}/{in_project(path, package)}" for path in tracked(ROOT / PROJECT)}


def test_a_path_is_short_enough_for_windows_below_a_folder_of_sixty_characters() -> None:
    longest = "a" * LONGEST_SLUG
    for path in rendered_paths("iris-service") | rendered_paths(longest):
        assert ROOT_LENGTH + 1 + len(path) < LONGEST_PATH, path


def test_no_name_is_reserved_and_no_two_differ_in_case_alone() -> None:
    for paths in (rendered_paths("iris-service"), tracked(ROOT)):
        assert len({path.lower() for path in paths}) == len(paths)
        for path in paths:
            for name in path.split("/"):
                assert not re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', name), path
                assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name), path


@pytest.mark.slow
@pytest.mark.thorough
def test_the_types_of_the_engine_hold_on_macos_and_windows(
    tmp_path: Path, environment: Path
) -> None:
    assert types_elsewhere(Project(ROOT, tmp_path, {}, environment))


def test_every_checkout_of_the_template_has_the_line_ends_of_its_commit() -> None:
    """Whatever `core.autocrlf` says: what is rendered and its checksums are the same everywhere.

    A project has the same rules, in a file of its own.
    """
    rules = [
        (folder / ".gitattributes").read_text(encoding="utf-8") for folder in (ROOT, ROOT / PROJECT)
    ]
    assert [text.splitlines()[0] for text in rules] == ["* text=auto eol=lf"] * 2
    listed = sorted(tracked(ROOT))
    asked = processes.run(
        ["git", "check-attr", "--stdin", "-z", "text", "eol"],
        cwd=ROOT,
        input="\0".join(listed),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    fields = asked.stdout.split("\0")
    told = {(path, name): value for path, name, value in zip(*[iter(fields)] * 3, strict=False)}
    for path in listed:
        if path.endswith(BINARY):
            assert told[path, "text"] == "unset", path
        else:
            assert (told[path, "text"], told[path, "eol"]) == ("auto", "lf"), path


def test_the_command_to_run_again_is_quoted_as_the_shell_of_the_system_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"cookiecutter": {"project_slug": "x", "model_runtime": "onnx"}}
    hook = load_hook("post_gen_project", tmp_path, values)
    words = ["cookiecutter", "C:\\a b", 'say "hi"']
    monkeypatch.setattr(hook.os, "name", "posix")
    assert hook.command(words) == "cookiecutter 'C:\\a b' 'say \"hi\"'"
    monkeypatch.setattr(hook.os, "name", "nt")
    assert hook.command(words) == 'cookiecutter "C:\\a b" "say \\"hi\\""'
