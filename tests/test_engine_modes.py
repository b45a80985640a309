"""cookiecutter and cruft as commands, in every way that people run them: what the user keeps."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cruft
import pytest
from cookiecutter.exceptions import FailedHookException, OutputDirExistsException

from . import fixtures_template, processes
from .rendering import (
    PROJECT,
    ROOT,
    SAMPLE,
    files,
    in_project,
    make_repository,
    put_model,
    put_sample,
    render,
    run,
    sha256,
    tool,
)
from .servers import closed_port, hang, serve

template, user = fixtures_template.small_template, fixtures_template.user

NO_INPUT = [*tool("cookiecutter"), "--no-input"]


@pytest.fixture(scope="module")
def usual(template, tmp_path_factory):
    """The default project as its files, without a model."""
    return files(render(tmp_path_factory.mktemp("usual") / "out", template))


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# cookiecutter


def test_a_project_is_complete_and_the_next_commands_are_printed(template, user, usual):
    done = run([*NO_INPUT, template], user)
    assert done.returncode == 0, done.stderr
    assert visible(user) == ["iris-service"]
    project = user / "iris-service"
    assert files(project).keys() == usual.keys() | {"model/manifest.json", "model/model.skops"}
    assert files(project / "model") == files((template / SAMPLE).parent)
    assert done.stdout.endswith("Next:\n  cd iris-service\n  uv run iris-service serve\n")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_refusal_says_what_to_run_and_that_works(template, user):
    done = run([*NO_INPUT, template, "project_name=Café O'Neil", "author=", "ci=none"], user)
    assert done.returncode == 1
    assert visible(user) == []
    again = re.search(r"^  cookiecutter (.*)$", done.stderr, re.M)[1]
    done = run([*tool("cookiecutter"), *shlex.split(again)], user)
    assert done.returncode == 0, done.stderr
    assert visible(user) == ["cafe-o-neil"]
    assert not (user / "cafe-o-neil" / ".github").exists()
    assert b"Your Name" in (user / "cafe-o-neil" / "pyproject.toml").read_bytes()


def test_without_hooks_the_project_is_unpruned_and_complete(template, user):
    project = render(user, template, hooks=False, deployment="none", ci="none")
    assert files(project).keys() == {in_project(path) for path in files(template / PROJECT)}


def test_replay_makes_the_same_project(template, user):
    project = render(user, template, author='Robert "Bob" \\ é ☃', ci="gitlab")
    first = files(project)
    assert ".gitlab-ci.yml" in first
    shutil.rmtree(project)
    done = run([*tool("cookiecutter"), "--replay", template], user, MODEL_DOWNLOAD="off")
    assert done.returncode == 0, done.stderr
    assert files(project) == first


@pytest.mark.slow
def test_a_console_of_cp1252_is_enough(template, user):
    place = user / "Grüße ☃ an alle"
    place.mkdir()
    console = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = run([*NO_INPUT, template, "-o", place], user, **console)
    assert done.returncode == 0, done.stderr
    assert "\\u2603 an alle/iris-service'\n" in done.stdout
    assert (place / "iris-service" / "model" / "manifest.json").is_file()
    done = run([*NO_INPUT, template, "author=☃\u202e"], user, **console)
    assert done.returncode == 1
    assert "must be one line" in done.stderr
    assert "UnicodeEncodeError" not in done.stderr


@pytest.mark.slow
def test_a_name_in_another_encoding_than_the_consoles_is_told_about_that(template, user):
    console = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    if os.name == "nt":
        pytest.skip("the command line of Windows is Unicode")
    done = run([*NO_INPUT, template, "author=René"], user, **console)
    assert done.returncode == 1
    assert "must be in ascii, the encoding of this console (with PYTHONUTF8=1" in done.stderr
    assert "control characters" not in done.stderr
    assert visible(user) == []
    again = {**console, "PYTHONUTF8": "1"}
    assert run([*NO_INPUT, template, "author=René"], user, **again).returncode == 0
    assert "René" in (user / "iris-service" / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
@pytest.mark.parametrize("closed", [">&- 2>&-", ">&-", "2>&-", "> /dev/full", "| true"])
def test_where_nobody_reads_a_project_is_made_all_the_same(closed, template, user):
    script = f'"$@" {closed}'
    words = ["sh", "-c", script, "sh", *NO_INPUT, template]
    done = run(words, user, MODEL_DOWNLOAD="strict")
    assert done.returncode == 0, done.stderr
    assert (user / "iris-service" / "model" / "manifest.json").is_file()
    assert not (user / "iris-service" / ".gitlab-ci.yml").exists()


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_where_nobody_reads_a_bad_answer_is_still_refused(template, user):
    done = run(["sh", "-c", '"$@" >&- 2>&-', "sh", *NO_INPUT, template, "author="], user)
    assert done.returncode == 1
    assert visible(user) == []


def test_a_path_with_spaces_and_accents_is_quoted(template, user, capfd):
    project = render(user / "with space" / "é", template, model="strict")
    assert (project / "model" / "model.skops").is_file()
    assert f"  cd '{project}'\n" in capfd.readouterr().out


def test_a_relative_template_is_found_from_where_the_user_is(template, user):
    project = render(user / "a" / "out", Path(os.path.relpath(template, user)), model="strict")
    assert files(project / "model") == files((template / SAMPLE).parent)


def test_a_relative_model_is_found_from_where_the_user_is(template, user):
    manifest = put_model(user / "own", b"a model of one's own")
    answers = {"_model_url": "own/manifest.json", "_model_sha256": sha256(manifest)}
    project = render(user / "a" / "out", template, model="strict", **answers)
    assert files(project / "model") == files(user / "own")


def test_an_existing_folder_is_left_alone(template, user):
    (user / "iris-service").mkdir()
    (user / "iris-service" / "mine").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputDirExistsException):
        render(user, template)
    assert files(user / "iris-service") == {"mine": b"mine"}


def test_overwriting_keeps_the_users_files_and_model(template, user, usual):
    project = render(user, template, model="strict")
    put_model(project / "model", b"a model of one's own")
    own = files(project / "model")
    (project / "notes.md").write_text("mine", encoding="utf-8")
    (project / "pyproject.toml").write_text("changed", encoding="utf-8")
    for _ in range(2):
        render(user, template, overwrite=True, model="strict")
        assert files(project / "model") == own
        assert (project / "notes.md").read_text(encoding="utf-8") == "mine"
        assert files(project)["pyproject.toml"] == usual["pyproject.toml"]


def test_overwriting_with_a_bad_answer_leaves_all_as_it_was(template, user, capfd):
    project = user / "iris-service"
    project.mkdir()
    (project / "pyproject.toml").write_text("mine", encoding="utf-8")
    with pytest.raises(FailedHookException):
        render(user, template, overwrite=True, author="")
    assert files(project) == {"pyproject.toml": b"mine"}
    assert " --overwrite-if-exists\n" in capfd.readouterr().err


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_a_failed_download_leaves_a_project_without_a_model(mode, template, user, usual):
    project = render(user, template, model=mode, _model_url="no/manifest.json")
    assert files(project) == usual


def test_a_failed_download_ends_a_strict_run(template, user):
    with pytest.raises(FailedHookException):
        render(user, template, model="strict", _model_url="no/manifest.json")
    assert visible(user) == []


def test_a_model_comes_from_the_url_that_is_given(template, user):
    manifest = put_model(user.parent / "host" / "iris", b"a model of one's own")
    with serve(user.parent / "host") as (url, asked):
        answers = {"_model_url": f"{url}/iris/manifest.json", "_model_sha256": sha256(manifest)}
        project = render(user, template, model="strict", **answers)
    assert asked == ["/iris/manifest.json", "/iris/model.skops"]
    assert files(project / "model") == files(manifest.parent)


# cookiecutter, also where these tests run in the background of a shell, which ignores SIGINT there.
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from cookiecutter.cli import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("target", ["everyone", "hook"])
def test_ctrl_c_in_the_download_leaves_a_project_without_a_model(target, template, user, usual):
    with hang() as (url, connected):
        process = processes.start(
            [
                sys.executable,
                "-c",
                INTERRUPTIBLE,
                "--no-input",
                str(template),
                f"_model_url={url}/manifest.json",
            ],
            cwd=user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert connected.wait(30)
        if target == "everyone":  # as a terminal does it
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(child_of(process.pid), signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == (1 if target == "everyone" else 0)
    assert files(user / "iris-service") == usual
    assert "Traceback" not in printed
    assert f"uv run iris-service model fetch {url}/manifest.json\n" in printed


def child_of(pid):
    listed = run(["ps", "-A", "-o", "pid=,ppid="], ROOT).stdout
    children = [line.split()[0] for line in listed.splitlines() if line.split()[1] == str(pid)]
    (child,) = children
    return int(child)


@pytest.mark.usefixtures("offline")
def test_without_a_network_the_sample_is_that_of_the_clone(repository, user):
    done = run([*NO_INPUT, "gh:owner/serving"], user)
    assert done.returncode == 0, done.stderr
    url = f"https://raw.githubusercontent.com/owner/serving/{head(repository)}/{SAMPLE.as_posix()}"
    assert f"Fetched no model: {url}" in done.stdout
    assert files(user / "iris-service" / "model") == files((repository / SAMPLE).parent)


@pytest.fixture
def repository(template, tmp_path):
    """The template as a repository of git. Its hook is less patient with the network."""
    folder = shutil.copytree(template, tmp_path / "repository")
    hook = folder / "hooks" / "post_gen_project.py"
    source = hook.read_text(encoding="utf-8")
    assert "\nNETWORK_SECONDS = 10\n" in source
    hook.write_text(source.replace("SECONDS = 10", "SECONDS = 0.3"), encoding="utf-8")
    make_repository(folder)
    return folder


@pytest.fixture
def offline(repository, user, monkeypatch):
    """github.com/owner/serving is the repository; every other host is behind a dead proxy."""
    settings = user.parent / "gitconfig"
    settings.write_text(
        f'[url "{repository.as_posix()}"]\n\tinsteadOf = https://github.com/owner/serving.git\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("HTTPS_PROXY", closed_port())


# cruft


def test_cruft_makes_the_project_that_cookiecutter_makes(repository, user, usual, capfd):
    project = cruft.create(str(repository), user)
    assert "  cd iris-service\n  uv run iris-service serve\n" in capfd.readouterr().out
    made = files(project)
    assert json.loads(made[".cruft.json"])["template"] == str(repository)
    assert made.keys() == usual.keys() | {".cruft.json", "model/manifest.json", "model/model.skops"}
    record = json.loads(made[".template.json"])
    assert (record["template"], record["commit"]) == (str(repository), head(repository))
    assert record["answers"] == json.loads(usual[".template.json"])["answers"]
    assert {path: made[path] for path in usual if path != ".template.json"} == {
        path: content for path, content in usual.items() if path != ".template.json"
    }
    assert files(project / "model") == files((repository / SAMPLE).parent)
    assert cruft.diff(project, exit_code=True)


def test_cruft_refuses_with_a_command_of_its_own(repository, user, capfd):
    answers = {"author": "", "ci": "none", "description": "O'Neil's"}
    with pytest.raises(FailedHookException):
        cruft.create(str(repository), user, extra_context=answers)
    assert visible(user) == []
    again = re.search(r"^  (cruft create .*)$", capfd.readouterr().err, re.M)[1]
    *words, offered = shlex.split(again)
    assert words == ["cruft", "create", str(repository), "--no-input", "--extra-context"]
    offered = json.loads(offered)
    assert (offered["ci"], offered["description"]) == ("none", "O'Neil's")
    assert "author" not in offered


def test_cruft_is_refused_a_private_answer_too(repository, user, capfd):
    with pytest.raises(FailedHookException):
        cruft.create(str(repository), user, extra_context={"__package_name": "../../../evil"})
    assert "  __package_name = '../../../evil'\n    follows from" in capfd.readouterr().err
    assert {path.name for path in user.parent.iterdir()} == {"home", "repository", "user"}
    assert visible(user) == []


@pytest.mark.usefixtures("offline")
def test_cruft_has_no_clone_and_leaves_the_command_for_later(repository, user, usual, capfd):
    project = cruft.create("https://github.com/owner/serving.git", user)
    assert files(project).keys() == usual.keys() | {".cruft.json"}
    url = f"https://raw.githubusercontent.com/owner/serving/{head(repository)}/{SAMPLE.as_posix()}"
    later = f"  uv run iris-service model fetch {url} --sha256 {sha256(repository / SAMPLE)}\n"
    assert later in capfd.readouterr().out


def head(repository):
    return run(["git", "rev-parse", "HEAD"], repository).stdout.strip()


def test_an_update_by_cruft_keeps_the_users_files_and_model(repository, user, capfd):
    answers = {"ci": "none", "deployment": "none"}
    project = cruft.create(str(repository), user, extra_context=answers)
    put_model(project / "model", b"a model of one's own")
    (project / "notes.md").write_text("mine", encoding="utf-8")
    make_repository(project)
    before = files(project)
    with (repository / PROJECT / ".editorconfig").open("a", encoding="utf-8") as file:
        file.write("# of the new release\n")
    put_sample(repository, b"the sample of the new release")
    make_repository(repository)
    capfd.readouterr()
    assert cruft.update(project)
    assert "model" not in capfd.readouterr().out
    after = files(project)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path for path in changed if not path.startswith(".git/")} == {
        ".cruft.json",
        ".editorconfig",
        ".template.json",
    }
    assert after[".editorconfig"].endswith(b"# of the new release\n")
    assert json.loads(after[".cruft.json"])["commit"] == head(repository)
