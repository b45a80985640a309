"""The two hooks, filled in as cookiecutter does it and imported: their data, and what each does."""

import ast
import json
import re
import shutil
import sys
import tempfile
import time
import tomllib
from unittest.mock import patch

import pytest

from . import fixtures_template
from .rendering import (
    PROJECT,
    ROOT,
    SAMPLE,
    context,
    files,
    load_hook,
    make_repository,
    put_model,
    render,
    sha256,
)
from .servers import closed_port, hang, serve

template = fixtures_template.template

HOOKS = ["pre_gen_project", "post_gen_project"]
SETTINGS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
QUESTIONS = [key for key in SETTINGS if not key.startswith("_")]
CHOICES = {key: SETTINGS[key] for key in QUESTIONS if isinstance(SETTINGS[key], list)}


# The data


@pytest.fixture(scope="module")
def pre_gen(tmp_path_factory):
    return load_hook("pre_gen_project", tmp_path_factory.mktemp("hook"), context())


@pytest.fixture(scope="module")
def post_gen(tmp_path_factory):
    return load_hook("post_gen_project", tmp_path_factory.mktemp("hook"), context())


def test_every_question_has_a_label_and_every_choice_too():
    prompts = SETTINGS["__prompts__"]
    assert list(prompts) == QUESTIONS
    for key, choices in CHOICES.items():
        assert list(prompts[key]) == ["__prompt__", *choices]


def test_the_check_knows_every_question_its_default_and_its_choices(pre_gen):
    asked = {**SETTINGS, "project_slug": "iris-service"}
    known = [*QUESTIONS, "_model_url", "_model_sha256"]
    assert {key: asked[key] for key in known} == pre_gen.QUESTIONS


def test_the_defaults_pass(pre_gen):
    assert pre_gen.main() == 0


def test_every_dependency_of_a_service_is_a_reserved_name(pre_gen, tmp_path):
    settings = tomllib.loads(
        (render(tmp_path / "out", hooks=False) / "pyproject.toml").read_text(encoding="utf-8")
    )
    requirements = [
        *settings["project"]["dependencies"],
        *(
            name
            for extra in settings["project"]["optional-dependencies"].values()
            for name in extra
        ),
        *(name for group in settings["dependency-groups"].values() for name in group),
        *settings["build-system"]["requires"],
    ]
    for requirement in requirements:
        name = re.match(r"[\w-]+", requirement)[0]
        assert "the project uses" in pre_gen.slug_rule(name), name


def test_every_module_of_this_python_is_a_reserved_name(pre_gen):
    for name in filter(str.islower, sys.stdlib_module_names):
        if re.fullmatch("[a-z][a-z0-9]*", name):
            assert pre_gen.slug_rule(name), name


@pytest.mark.parametrize("name", ["distutils", "asyncore", "telnetlib", "tomllib", "compression"])
def test_a_module_of_another_supported_python_is_a_reserved_name(name, tmp_path):
    with patch.object(sys, "stdlib_module_names", frozenset()):
        assert "a module of Python" in load_hook("pre_gen_project", tmp_path, context()).slug_rule(
            name
        )


def test_the_sample_is_pinned_for_every_runtime(post_gen):
    assert list(post_gen.SAMPLES) == SETTINGS["model_runtime"]
    for runtime, digest in post_gen.SAMPLES.items():
        assert digest == sha256(ROOT / "samples" / runtime / "manifest.json")


def test_what_is_optional_exists_and_is_for_choices_that_are_offered(post_gen):
    for path, needs in post_gen.OPTIONAL.items():
        path = path.replace("iris_service", "{{cookiecutter.__package_name}}")
        assert (ROOT / PROJECT / path).is_file(), path
        for question, choices in needs.items():
            assert set(choices) < set(SETTINGS[question])


def test_every_file_for_a_container_or_for_ci_is_optional(post_gen):
    template_files = files(ROOT / PROJECT)
    for path in template_files:
        if path.startswith((".github/", ".gitlab", "Dockerfile", ".dockerignore")):
            assert path in post_gen.OPTIONAL


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_short_and_of_old_syntax(name):
    source = (ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 150
    ast.parse(source, feature_version=(3, 8))


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_tells_an_old_python_before_it_imports_anything_else(name, tmp_path):
    with patch.object(sys, "version_info", (3, 9, 18)), pytest.raises(SystemExit) as ended:
        load_hook(name, tmp_path, context())
    assert "Python 3.10 or newer" in ended.value.code
    source = (ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    first, second = [node for node in ast.parse(source).body if not isinstance(node, ast.Expr)][:2]
    assert ast.unparse(first) == "import sys"
    assert isinstance(second, ast.If)


# Pruning

OPEN_INFERENCE = ("open_inference", "statistics", "datatypes", "inference", "tensors", "encoding")
CLOUD = ("mlflow", "vertex", "scoring")


@pytest.mark.parametrize("deployment", CHOICES["deployment"])
@pytest.mark.parametrize("ci", CHOICES["ci"])
@pytest.mark.parametrize("protocols", CHOICES["protocols"])
def test_what_was_not_chosen_is_removed_and_nothing_else(
    deployment, ci, protocols, template, tmp_path, post_gen
):
    answers = {"deployment": deployment, "ci": ci, "protocols": protocols}
    project = render(tmp_path / "out", template, hooks=False, **answers)
    expected = files(project)
    for path in list(expected):
        if (
            (path in ("Dockerfile", ".dockerignore") and deployment != "container")
            or (path.startswith(".github/") and ci != "github")
            or (path == ".github/workflows/container.yml" and deployment != "container")
            or (path == ".gitlab-ci.yml" and ci != "gitlab")
            or (path == "azureml.yml" and f"{protocols}-{deployment}" != "all-container")
            or (any(name in path for name in OPEN_INFERENCE) and protocols == "none")
            or (any(name in path for name in CLOUD) and protocols != "all")
        ):
            del expected[path]
    with patch.dict(post_gen.ANSWERS, answers):
        for _ in range(2):
            post_gen.prune(project)
            assert files(project) == expected
            assert (project / ".github").exists() == (ci == "github")


def test_pruning_keeps_what_the_user_has_in_the_same_folders(template, tmp_path):
    project = render(tmp_path / "out", template)
    theirs = [".github/CODEOWNERS", ".github/workflows/own.yml", "compose.yaml"]
    for path in theirs:
        (project / path).write_text("mine", encoding="utf-8")
    render(tmp_path / "out", template, overwrite=True, deployment="none", ci="none")
    kept = files(project)
    assert [kept[path] for path in theirs] == [b"mine"] * 3
    assert {path for path in kept if path.startswith(".github/")} == set(theirs[:2])
    assert "Dockerfile" not in kept


def test_pruning_keeps_a_folder_of_the_user(tmp_path, post_gen):
    (tmp_path / "Dockerfile").mkdir()
    with patch.dict(post_gen.ANSWERS, deployment="none", ci="none"):
        post_gen.prune(tmp_path)
    assert (tmp_path / "Dockerfile").is_dir()


# Where the model comes from


GITHUB = "https://raw.githubusercontent.com/owner/some.repo/COMMIT/samples/x/manifest.json"
GITLAB = "https://gitlab.com/owner/some.repo/-/raw/COMMIT/samples/x/manifest.json"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("gh:owner/some.repo", GITHUB),
        ("gh:owner/some.repo.git", GITHUB),
        ("https://github.com/owner/some.repo", GITHUB),
        ("https://github.com/owner/some.repo.git", GITHUB),
        ("https://github.com/owner/some.repo/", GITHUB),
        ("https://user:token@github.com/owner/some.repo.git", GITHUB),
        ("git+https://github.com/owner/some.repo.git", GITHUB),
        ("git@github.com:owner/some.repo.git", GITHUB),
        ("ssh://git@github.com/owner/some.repo.git", GITHUB),
        ("ssh://git@github.com:22/owner/some.repo.git", GITHUB),
        ("gl:owner/some.repo", GITLAB),
        ("https://gitlab.com/owner/some.repo.git", GITLAB),
        ("git@gitlab.com:owner/some.repo.git", GITLAB),
        ("gl:group/sub/some.repo", GITLAB.replace("owner", "group/sub")),
        ("https://github.com.example.org/owner/some.repo", None),
        ("https://example.org/github.com/owner/some.repo", None),
        ("https://example.org/@github.com/owner/some.repo", None),
        ("https://notgithub.com/owner/some.repo", None),
        ("https://git.example.org/owner/some.repo.git", None),
        ("bb:owner/some.repo", None),
        ("file:///srv/some.repo", None),
        ("/home/user/some.repo", None),
        ("../some.repo", None),
        ("", None),
    ],
)
def test_the_sample_comes_from_where_the_template_came(address, url, post_gen, tmp_path):
    with patch.dict(post_gen.ANSWERS, _template=address, _commit="COMMIT"):
        assert post_gen.raw_url(tmp_path, "samples/x/manifest.json") == url


def test_the_sample_comes_at_the_commit_that_is_checked_out(post_gen, tmp_path):
    (tmp_path / "file").touch()
    commit = make_repository(tmp_path)
    with patch.dict(post_gen.ANSWERS, _template="gh:owner/repo"):
        assert f"/owner/repo/{commit}/samples/" in post_gen.raw_url(tmp_path, "samples/x")


@pytest.mark.parametrize("path", ["", None], ids=["no repository", "no git"])
def test_without_a_commit_there_is_no_address(path, post_gen, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if path is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    with patch.dict(post_gen.ANSWERS, _template="gh:owner/repo"):
        assert post_gen.raw_url(tmp_path, "samples/x") is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("start", ["PWD", "output", "no PWD"])
def test_a_relative_path_starts_where_the_user_is_or_else_at_the_output(
    start, post_gen, tmp_path, monkeypatch
):
    project, user = tmp_path / "output" / "iris", tmp_path / "user"
    project.mkdir(parents=True)
    user.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("PWD", str(user))
    if start == "no PWD":
        monkeypatch.delenv("PWD")
    wanted = (user if start == "PWD" else tmp_path / "output") / "manifest.json"
    wanted.touch()
    assert post_gen.locate("manifest.json") == wanted


def test_a_path_may_start_at_home(post_gen, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert post_gen.locate("~/iris/manifest.json") == tmp_path / "iris" / "manifest.json"


# The download, and what the user is left with


@pytest.fixture(scope="module")
def rendered(template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    return render(folder / "out", template, hooks=False, project_slug="iris")


@pytest.fixture
def post(template, rendered, tmp_path, monkeypatch, capsys):
    """Run the hook in a project, in this process: its exit code and what it printed."""
    project = shutil.copytree(rendered, tmp_path / "out" / "iris")
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delitem(sys.modules, "fetch", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def run(mode="auto", seconds=10, **answers):
        values = context(template, project_slug="iris")
        values["cookiecutter"].update({"_template": "", "_repo_dir": str(template), **answers})
        hook = load_hook("post_gen_project", tmp_path, values, template)
        hook.NETWORK_SECONDS = seconds
        monkeypatch.setenv("MODEL_DOWNLOAD", mode)
        code = hook.main()
        assert not list(project.rglob("*.part"))
        assert not list(project.rglob("__pycache__"))
        return code, capsys.readouterr().out

    run.project = project
    run.model = project / "model" / "manifest.json"
    return run


@pytest.fixture
def own_model(tmp_path):
    return put_model(tmp_path / "own", b"a model of one's own")


def test_a_local_template_gives_a_copy_of_its_sample(post, template):
    code, printed = post()
    assert code == 0
    assert files(post.model.parent) == files((template / SAMPLE).parent)
    assert "model fetch" not in printed
    assert printed.endswith("  uv run iris serve\n")


def test_a_second_run_changes_nothing(post):
    post()
    before = files(post.project)
    code, printed = post()
    assert code == 0
    assert files(post.project) == before
    assert "Kept" not in printed


def test_a_second_run_repairs_the_sample(post, template):
    post()
    (post.model.parent / "model.skops").write_bytes(b"broken")
    assert post()[0] == 0
    assert files(post.model.parent) == files((template / SAMPLE).parent)


@pytest.mark.parametrize("mode", ["auto", "strict", "off"])
def test_a_model_of_ones_own_is_kept(mode, post):
    put_model(post.model.parent, b"a model of one's own")
    before = files(post.model.parent)
    code, printed = post(mode)
    assert code == 0
    assert files(post.model.parent) == before
    assert "Kept the model that is in model/. To replace it:\n  uv run iris model fetch" in printed


def test_a_model_of_ones_own_is_kept_even_if_another_is_asked_for(post, own_model):
    put_model(post.model.parent, b"the first")
    before = files(post.model.parent)
    code, printed = post(_model_url=str(own_model))
    assert code == 0
    assert files(post.model.parent) == before
    assert f"uv run iris model fetch {own_model}\n" in printed


def test_a_model_is_fetched_from_the_url_that_is_given(post, own_model):
    with serve(own_model.parent) as (url, asked):
        code, printed = post(_model_url=f"{url}/manifest.json", _model_sha256=sha256(own_model))
    assert code == 0
    assert asked == ["/manifest.json", "/model.skops"]
    assert files(post.model.parent) == files(own_model.parent)
    assert "model fetch" not in printed


def test_a_digest_may_have_capitals(post, template):
    digest = sha256(template / SAMPLE)
    url = f"{closed_port()}/manifest.json"
    code, _ = post(seconds=0.2, _model_url=url, _model_sha256=digest.upper())
    assert (code, sha256(post.model)) == (0, digest)
    assert "Kept" not in post(seconds=0.2, _model_url=url, _model_sha256=digest.upper())[1]


def test_a_model_is_fetched_without_a_digest_too(post, own_model):
    with serve(own_model.parent) as (url, _):
        assert post(_model_url=f"{url}/manifest.json")[0] == 0
    assert sha256(post.model) == sha256(own_model)


def test_the_sample_is_fetched_at_the_templates_commit(post, template, monkeypatch, tmp_path):
    raw = tmp_path / "raw" / "owner" / "repo" / "abc123"
    shutil.copytree(template / "samples", raw / "samples")
    answers = {"_template": "gh:owner/repo", "_repo_dir": "", "_commit": "abc123"}
    with serve(tmp_path / "raw") as (url, asked):
        urls = {"github": url + "/{}/{}/{}"}
        code, _ = with_raw_files(post, monkeypatch, urls, **answers)
    assert code == 0
    assert asked[0] == "/owner/repo/abc123/samples/scikit-learn/manifest.json"
    assert sha256(post.model) == sha256(template / SAMPLE)


def with_raw_files(post, monkeypatch, urls, **answers):
    """Run the hook with another place for raw files."""
    load = load_hook

    def load_and_point(*arguments):
        hook = load(*arguments)
        hook.RAW_FILES = urls
        return hook

    monkeypatch.setitem(globals(), "load_hook", load_and_point)
    return post(**answers)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_without_a_network_the_sample_is_that_of_the_checkout(mode, post, template, monkeypatch):
    urls = {"github": closed_port() + "/{}/{}/{}"}
    answers = {"_template": "gh:owner/repo", "_commit": "abc123"}
    code, printed = with_raw_files(post, monkeypatch, urls, mode=mode, seconds=0.2, **answers)
    assert code == 0
    assert "Fetched no model: " in printed
    assert files(post.model.parent) == files((template / SAMPLE).parent)


def test_a_host_with_another_sample_is_not_believed(post, template, monkeypatch, tmp_path):
    put_model(tmp_path / "raw" / "o" / "r" / "abc123" / SAMPLE.parent, b"not the sample")
    with serve(tmp_path / "raw") as (url, _):
        urls = {"github": url + "/{}/{}/{}"}
        with_raw_files(post, monkeypatch, urls, _template="gh:o/r", _commit="abc123")
    assert files(post.model.parent) == files((template / SAMPLE).parent)


def test_without_a_network_the_sample_of_a_url_is_that_of_the_checkout(post, template):
    digest = sha256(template / SAMPLE)
    code, _ = post(seconds=0.2, _model_url=f"{closed_port()}/manifest.json", _model_sha256=digest)
    assert (code, sha256(post.model)) == (0, digest)


@pytest.mark.parametrize(("mode", "expected"), [("auto", 0), ("strict", 1)])
@pytest.mark.parametrize("digest", ["", "a" * 64])
def test_who_asked_for_another_model_is_never_given_the_sample(digest, mode, expected, post):
    url = f"{closed_port()}/manifest.json"
    code, printed = post(mode, seconds=0.2, _model_url=url, _model_sha256=digest)
    assert code == expected
    assert not post.model.exists()
    option = f" --sha256 {digest}" if digest else ""
    assert f"\n  uv run iris model fetch {url}{option}\n  uv run iris serve\n" in printed


def test_a_model_with_another_digest_is_not_taken(post, own_model):
    code, printed = post(_model_url=str(own_model), _model_sha256="a" * 64)
    assert code == 0
    assert not post.model.exists()
    assert "Fetched no model: " in printed


def test_a_server_that_hangs_is_left_in_time(post, template):
    with hang() as (url, connected):
        answers = {"_model_url": f"{url}/manifest.json", "_model_sha256": sha256(template / SAMPLE)}
        start = time.monotonic()
        code, _ = post(seconds=0.5, **answers)
        assert time.monotonic() - start < 10
        assert connected.is_set()
    assert (code, sha256(post.model)) == (0, sha256(template / SAMPLE))


def test_the_network_has_ten_seconds(post_gen):
    assert post_gen.NETWORK_SECONDS == 10


@pytest.mark.parametrize("mode", ["off", "no"])
def test_the_download_can_be_switched_off(mode, post, own_model):
    with serve(own_model.parent) as (url, asked):
        code, printed = post(mode, _model_url=f"{url}/manifest.json")
    assert (code, asked) == (0, [])
    assert not post.model.exists()
    assert f"MODEL_DOWNLOAD={mode}" in printed
    assert f"uv run iris model fetch {url}/manifest.json\n" in printed


@pytest.mark.parametrize(("mode", "expected"), [("auto", 0), ("strict", 1)])
def test_without_any_copy_there_is_a_command_for_later(mode, expected, post, template, tmp_path):
    answers = {"_template": "https://git.example.org/x.git", "_repo_dir": str(tmp_path / "none")}
    code, printed = post(mode, **answers)
    assert code == expected
    assert "the template has no copy of one here" in printed
    assert f"  uv run iris model fetch URL --sha256 {sha256(template / SAMPLE)}\n" in printed


@pytest.mark.parametrize(("mode", "expected"), [("auto", 0), ("strict", 1)])
def test_whatever_breaks_the_project_is_left_complete(mode, expected, post):
    (post.project / "src" / "iris" / "artifact" / "fetch.py").write_text("1 / 0", encoding="utf-8")
    code, printed = post(mode)
    assert code == expected
    assert "Fetched no model: division by zero" in printed


def test_the_download_may_use_dataclasses(post):
    file = post.project / "src" / "iris" / "artifact" / "fetch.py"
    with file.open("a", encoding="utf-8") as source:
        source.write("\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    a: int\n")
    assert post("strict")[0] == 0


def test_ctrl_c_is_no_failure_and_prints_no_traceback(post, template):
    (post.project / "src" / "iris" / "artifact" / "fetch.py").write_text(
        "raise KeyboardInterrupt", encoding="utf-8"
    )
    code, printed = post()
    assert code == 0
    assert "Interrupted" in printed
    assert f"uv run iris model fetch {template / SAMPLE} --sha256 " in printed


@pytest.mark.parametrize("near", [True, False])
def test_the_next_command_is_for_the_folder_that_the_user_is_in(near, post, monkeypatch, tmp_path):
    monkeypatch.setenv("PWD", str(post.project.parent if near else tmp_path))
    assert f"Next:\n  cd {'iris' if near else post.project}\n  uv run iris serve\n" in post()[1]


# The folders of cruft


@pytest.mark.parametrize(
    ("place", "others", "commit", "scratch"),
    [
        ("tmpaaaaaaaa/iris", ["tmpbbbbbbbb/repo", "tmpbbbbbbbb/current_template"], "abc", True),
        ("tmpaaaaaaaa/iris", ["tmpbbbbbbbb/repo", "tmpbbbbbbbb/remote"], "abc", True),
        ("tmpbbbbbbbb/new_template/iris", [], "abc", True),
        ("tmpaaaaaaaa/iris", ["tmpbbbbbbbb/repo"], "abc", False),
        ("tmpaaaaaaaa/work/iris", ["tmpbbbbbbbb/current_template"], "abc", False),
        ("tmpaaaaaaaa/iris", ["tmpbbbbbbbb/current_template"], None, False),
    ],
)
def test_what_cruft_only_compares_gets_no_model(
    place, others, commit, scratch, post_gen, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for folder in (place, *others):
        (tmp_path / folder).mkdir(parents=True)
    with patch.dict(post_gen.ANSWERS, {"_commit": commit} if commit else {}):
        assert post_gen.is_scratch_of_cruft(tmp_path / place) == scratch


def test_a_folder_called_local_is_no_scratch_outside_the_temporary_folder(
    post_gen, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with patch.dict(post_gen.ANSWERS, _commit="abc"):
        assert not post_gen.is_scratch_of_cruft(tmp_path / "local" / "iris")
