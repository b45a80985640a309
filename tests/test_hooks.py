"""The two hooks, filled in as cookiecutter does it and imported: their data, and what each does."""

import ast
import itertools
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
    CHOICES,
    COMBINATIONS,
    PROJECT,
    ROOT,
    SAMPLE,
    SETTINGS,
    constant,
    context,
    files,
    in_project,
    kept,
    load_hook,
    optional_files,
    put_model,
    render,
    sha256,
)
from .servers import closed_port, hang, serve

template = fixtures_template.template

HOOKS = ["pre_gen_project", "post_gen_project"]
QUESTIONS = [key for key in SETTINGS if not key.startswith("_")]
LONGEST_HOOK = 270
PROTOCOLS = "engine/src/serving_engine/protocols"


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


def test_every_question_has_more_than_one_answer():
    assert all(len(choices) > 1 for choices in CHOICES.values())


def test_the_check_repeats_no_default_and_no_choice():
    source = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    source = re.sub(r"(?s)USED_BY_THE_PROJECT = .*?\}", "", source)  # names of distributions
    for key in QUESTIONS:
        for text in CHOICES.get(key, [SETTINGS[key]]):
            assert f'"{text}"' not in source


def test_the_defaults_pass(pre_gen):
    assert pre_gen.main() == 0


def test_every_dependency_of_a_service_is_a_reserved_name(pre_gen, tmp_path):
    project = render(tmp_path / "out", hooks=False)
    for file in project.rglob("pyproject.toml"):
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
        lists = [
            settings["project"]["dependencies"],
            settings["build-system"]["requires"],
            *settings["project"].get("optional-dependencies", {}).values(),
            *settings.get("dependency-groups", {}).values(),
        ]
        for requirement in itertools.chain(*lists):
            name = re.match(r"[\w-]+", requirement)[0].lower()
            assert "the project uses" in pre_gen.slug_rule(name), name


@pytest.mark.parametrize("name", ["serving-engine", "engine"])
def test_the_engine_has_its_name_for_itself(name, pre_gen):
    assert "the project uses" in pre_gen.slug_rule(name)


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


@pytest.mark.parametrize("runtime", CHOICES["model_runtime"])
def test_the_sample_of_a_runtime_is_pinned(runtime, tmp_path):
    post_gen = load_hook("post_gen_project", tmp_path, context(model_runtime=runtime))
    assert f"samples/{runtime}/manifest.json" == post_gen.SAMPLE
    assert sha256(ROOT / post_gen.SAMPLE) == post_gen.SAMPLE_SHA256


def test_what_is_optional_exists_and_is_for_choices_that_are_offered():
    for path, needs in optional_files().items():
        assert (ROOT / PROJECT / path).is_file(), path
        for question, choices in needs.items():
            assert set(choices) < set(CHOICES[question])


def test_what_is_optional_has_one_row():
    assert sum(len(row["files"]) for row in SETTINGS["_optional"]) == len(optional_files())


@pytest.mark.parametrize(
    ("word", "question", "choices"),
    [
        ("docker", "deployment", {"container", "kubernetes", "ray-serve"}),
        ("workflows/container", "deployment", {"container", "kubernetes", "ray-serve"}),
        ("azureml", "deployment", {"container", "kubernetes"}),
        ("kubernetes", "deployment", {"kubernetes"}),
        ("kserve", "deployment", {"kubernetes"}),
        ("ray_", "deployment", {"ray-serve"}),
        ("deploy/ray", "deployment", {"ray-serve"}),
        ("kserve", "protocols", {"open-inference", "all"}),
        (".github", "ci", {"github"}),
        ("gitlab", "ci", {"gitlab"}),
        ("open_inference", "protocols", {"open-inference", "all"}),
        ("protocols/mlflow", "protocols", {"all"}),
        ("test_mlflow", "protocols", {"all"}),
        ("vertex", "protocols", {"all"}),
        ("azure", "protocols", {"all"}),
    ],
)
def test_the_name_of_a_file_says_what_keeps_it(word, question, choices):
    named = [path for path in files(ROOT / PROJECT) if word in path.lower()]
    assert named
    for path in named:
        assert set(optional_files()[path][question]) == choices, path


def test_every_file_of_a_protocol_is_optional():
    """A new one in the folder of a protocol needs its name in `_optional`."""
    for path in files(ROOT / PROJECT / PROTOCOLS):
        if path != "__init__.py" and "__pycache__" not in path:
            assert f"{PROTOCOLS}/{path}" in optional_files()


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_short_and_of_old_syntax(name):
    source = (ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LONGEST_HOOK
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


@pytest.fixture(scope="module")
def unpruned(template, tmp_path_factory):
    return render(tmp_path_factory.mktemp("unpruned") / "out", template, hooks=False)


@pytest.mark.parametrize("answers", COMBINATIONS, ids=lambda answers: "-".join(answers.values()))
def test_what_was_not_chosen_is_removed_and_nothing_else(answers, unpruned, tmp_path, post_gen):
    project = shutil.copytree(unpruned, tmp_path / "iris-service")
    everything = files(project)
    expected = {path: everything[path] for path in kept(everything, answers)}
    with patch.dict(post_gen.ANSWERS, answers):
        for _ in range(2):
            post_gen.prune(project)
            assert files(project) == expected
            assert [path for path in project.rglob("*") if is_empty_folder(path)] == []


def is_empty_folder(path):
    return path.is_dir() and not any(path.iterdir())


def test_without_hooks_a_project_has_every_file_and_the_engine_as_it_is(unpruned, template):
    made = files(unpruned)
    assert made.keys() == {in_project(path) for path in files(template / PROJECT)}
    for path, content in files(template / PROJECT / "engine").items():
        assert made[f"engine/{path}"] == content
        assert "." in path or path == "LICENSE"  # _copy_without_render names these


def test_pruning_keeps_what_the_user_has_in_the_same_folders(template, tmp_path):
    project = render(tmp_path / "out", template)
    theirs = [".github/SUPPORT.md", ".github/workflows/own.yml", "stack.yaml"]
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


def test_a_folder_is_pruned_with_its_bytecode_but_not_with_a_file_of_the_user(template, tmp_path):
    protocols = render(tmp_path / "out", template, protocols="all") / PROTOCOLS
    for folder in (protocols / "mlflow", protocols / "open_inference"):
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "routes.cpython-311.pyc").touch()
    theirs = protocols / "open_inference" / "mine.py"
    theirs.write_text("mine", encoding="utf-8")
    render(tmp_path / "out", template, overwrite=True, protocols="none")
    assert {path.name for path in protocols.iterdir()} == {"__init__.py", "open_inference"}
    assert files(protocols / "open_inference") == {"mine.py": b"mine"}
    assert list(theirs.parent.iterdir()) == [theirs]


def test_overwriting_keeps_what_the_user_has_in_the_engine(template, tmp_path):
    """cookiecutter removes a folder of the user's that `_copy_without_render` names as a whole."""
    theirs = render(tmp_path / "out", template) / "engine" / "src" / "mine.py"
    theirs.write_text("mine", encoding="utf-8")
    render(tmp_path / "out", template, overwrite=True)
    assert theirs.read_text(encoding="utf-8") == "mine"


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
def test_the_sample_comes_from_where_the_template_came(address, url, post_gen):
    with patch.dict(post_gen.ANSWERS, _template=address):
        assert post_gen.raw_url("COMMIT", "samples/x/manifest.json") == url
        assert post_gen.raw_url("COMMIT-dirty", "samples/x/manifest.json") == url
        assert post_gen.raw_url(None, "samples/x/manifest.json") is None


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
    monkeypatch.delitem(sys.modules, "download", raising=False)
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
    (post.project / constant("DOWNLOAD")).write_text("1 / 0", encoding="utf-8")
    code, printed = post(mode)
    assert code == expected
    assert "Fetched no model: division by zero" in printed


def test_the_download_may_use_dataclasses(post):
    file = post.project / constant("DOWNLOAD")
    with file.open("a", encoding="utf-8") as source:
        source.write("\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    a: int\n")
    assert post("strict")[0] == 0


def test_ctrl_c_is_no_failure_and_prints_no_traceback(post, template):
    (post.project / constant("DOWNLOAD")).write_text("raise KeyboardInterrupt", encoding="utf-8")
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
