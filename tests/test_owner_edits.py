"""What owners do to their project: the pages followed word by word, and edits of every kind.

Whatever an owner changes in what is theirs, the project's own checks stay green, and the engine's
tests too: those bring settings, models and an application of their own.
"""

import base64
import http.client
import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cruft
import pytest

from . import processes
from .conftest import ROOT, Render, Run, clean_environment, passed, source_of
from .edits import append, replace
from .markdown import blocks, commands, put, section, write_file
from .rendering import PROJECT, make_repository
from .services import PATIENCE, Service, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

PACKAGE = Path("src", "iris_service")
LITTER = shutil.ignore_patterns(".venv", ".git", "__pycache__")

ENGINE_TESTS = [
    f"engine/tests/test_{name}.py"
    for name in ("imports", "fast_route", "openapi", "metrics", "requests", "settings", "lifespan")
]
"""Those that an owner's edits could disturb, if anything could. test_engine.py runs all others."""


# Edits


def paste_from_readme(project: Path) -> None:
    """Follow the README: every Python block goes to where its first line says."""
    page = (project / "README.md").read_text(encoding="utf-8")
    pasted = [block for _, block, *_ in blocks(page, "python") if block.startswith("# src/")]
    names = [re.match(r"# \S+/(\w+)\.py, ", block)[1] for block in pasted]
    assert names == ["routes", "settings", "routes", "routes", "routes", "routes"]
    for block in pasted:
        put(block, project)


def default(field: str) -> Callable[[Path], None]:
    """Another default of a setting of the engine."""
    return lambda project: append(project / PACKAGE / "settings.py", f"    {field}\n")


def add_root(project: Path) -> None:
    append(
        project / PACKAGE / "routes.py",
        '@router.get("/", include_in_schema=False)\n'
        "async def root() -> dict[str, str]:\n"
        '    """Where people land."""\n'
        '    return {"documentation": "/docs"}\n',
    )


def add_prefix(project: Path) -> None:
    """All routes of the owner below a prefix; the tests name the path that callers use."""
    app = project / PACKAGE / "app.py"
    replace(app, "    include_fast_router,\n", "")
    replace(app, "include_fast_router(app, router)", 'app.include_router(router, prefix="/v1")')
    for file in (project / "tests").glob("*.py"):
        text = file.read_text(encoding="utf-8").replace('"/predict"', '"/v1/predict"')
        file.write_text(text, encoding="utf-8")


def add_transformer(project: Path) -> None:
    file = project / PACKAGE / "transformers.py"
    imports = "import numpy as np\nfrom sklearn.base import BaseEstimator, TransformerMixin\n"
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{imports}", encoding="utf-8")
    append(
        file,
        "class Logarithms(TransformerMixin, BaseEstimator):\n"
        '    """The logarithm of each number."""\n\n'
        "    def fit(self, X, y=None):\n"
        "        self.n_features_in_ = X.shape[1]\n"
        "        return self\n\n"
        "    def transform(self, X):\n"
        "        return np.log1p(np.abs(X))\n",
    )


def add_training(project: Path) -> None:
    """The script of docs/your-own-model.md, as it stands."""
    page = (project / "docs" / "your-own-model.md").read_text(encoding="utf-8")
    write_file(page, "train.py", project)


def add_words(project: Path) -> None:
    """An answer of the owner's own to every 422."""
    app = project / PACKAGE / "app.py"
    replace(app, "from fastapi import FastAPI\n", "from fastapi import FastAPI, Request\n")
    replace(
        app,
        "from serving_engine import (\n",
        "from fastapi.responses import JSONResponse\n"
        "from serving_engine import (\n"
        "    InvalidInput,\n",
    )
    replace(
        app,
        "def create_app(",
        "async def explain(_request: Request, error: Exception) -> JSONResponse:\n"
        '    """Our own words for what does not fit."""\n'
        "    assert isinstance(error, InvalidInput)\n"
        '    places = [{"pointer": each.pointer} for each in error.errors]\n'
        '    return JSONResponse({"message": "Please check.", "errors": places}, 422)\n\n\n'
        "def create_app(",
    )
    replace(
        app,
        "    # Routers of your own:",
        "    app.add_exception_handler(InvalidInput, explain)\n    # Routers of your own:",
    )


EDITS: dict[str, Callable[[Path], None]] = {
    "the README's blocks": paste_from_readme,
    "host": default('host: str = "0.0.0.0"'),
    "port": default("port: int = 8080"),
    "log level": default('log_level: str = "warning"'),
    "no docs": default("docs: bool = False"),
    "no access log": default("access_log: bool = False"),
    "workers": default("workers: int = 2"),
    "rows": default("max_rows: int = 10"),
    "body": default("max_body_bytes: int = 4096"),
    "a root": add_root,
    "a prefix": add_prefix,
    "a transformer": add_transformer,
    "a script": add_training,
    "words": add_words,
}


@pytest.fixture(scope="module")
def checked(project: Path, run_in: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose checks have run once, so that their caches make the next ones quick."""
    copy = tmp_path_factory.mktemp("checked") / project.name
    shutil.copytree(project, copy, ignore=LITTER)
    check(copy, run_in)
    return copy


@pytest.fixture
def edited(checked: Path, tmp_path: Path) -> Path:
    """A copy of it, to be edited."""
    return Path(shutil.copytree(checked, tmp_path / checked.name, ignore=LITTER))


def check(project: Path, run_in: Run) -> None:
    """The project's own checks, as its README names them."""
    passed(run_in(project, "ruff", "check"))
    passed(run_in(project, "ruff", "format", "--check"))
    passed(run_in(project, "mypy"))
    passed(run_in(project, "pytest", "-q"))


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_the_projects_checks_stay_green_after(
    edit: Callable[[Path], None], edited: Path, run_in: Run
) -> None:
    edit(edited)
    passed(run_in(edited, "ruff", "format", "tests"))  # a longer path may not fit its line
    check(edited, run_in)


def test_all_edits_at_once_disturb_neither_the_projects_checks_nor_the_engines_tests(
    edited: Path, run_in: Run
) -> None:
    for edit in EDITS.values():
        edit(edited)
    passed(run_in(edited, "ruff", "format", "tests"))  # a longer path may not fit its line
    check(edited, run_in)
    passed(run_in(edited, "pytest", "-q", *ENGINE_TESTS))


# The README's route, setting and metric


@pytest.fixture(scope="module")
def pasted(checked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the code of its README."""
    copy = tmp_path_factory.mktemp("pasted") / checked.name
    shutil.copytree(checked, copy, ignore=LITTER)
    paste_from_readme(copy)
    return copy


def serve(environment: Path, project: Path, **options: object) -> Service:
    """A service with the code of a project."""
    source = {"PYTHONPATH": source_of(project)}
    return Service(environment, project / "model", variables_besides=source, **options)


def ask(service: Service, method: str, path: str, body: object = None) -> tuple[int, str, str]:
    """Status, body and worker of one request, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers["X-Request-ID"].partition("-")[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_has_the_readmes_route_setting_and_metric(
    environment: Path, pasted: Path, workers: int
) -> None:
    if workers > 1 and sys.platform != "linux":
        pytest.skip("several workers need Linux")
    model = json.loads((pasted / "model" / "manifest.json").read_bytes())
    row = model["examples"][0]["input"]
    with serve(environment, pasted, workers=workers, greeting="moin") as service:
        assert ask(service, "GET", "/hello")[:2] == (200, '{"greeting":"moin"}\n')
        status, text, _ = ask(service, "POST", "/decide", {"instances": [row, row]})
        assert (status, json.loads(text)) == (200, {"sure": [True, True]})
        assert ask(service, "POST", "/decide", {"instances": [[1]]})[0] == 422
        served: list[str] = []
        while len(set(served)) < workers or len(served) < 10:
            assert len(served) < 1000, "one worker gets all connections"
            status, _, worker = ask(service, "POST", "/feedback?right=true")
            assert status == 204
            served.append(worker)
        assert ask(service, "POST", "/feedback?right=perhaps")[0] == 422
        line = f'feedback_total{{right="True"}} {float(len(served))}'
        knows: set[str] = set()

        def every_worker_knows_all() -> bool:
            _, text, worker = ask(service, "GET", "/metrics")
            if line in text.splitlines():
                knows.add(worker)
            return knows == set(served)

        wait_until(every_worker_knows_all)


@pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
def test_a_metric_that_cannot_be_aggregated_ends_the_start_of_several_workers_by_name(
    environment: Path, pasted: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(pasted, tmp_path / pasted.name, ignore=LITTER))
    append(copy / PACKAGE / "routes.py", 'BUILD = prometheus_client.Info("build", "What runs.")\n')
    replace(
        copy / PACKAGE / "routes.py",
        "from prometheus_client import Counter\n",
        "import prometheus_client\nfrom prometheus_client import Counter\n",
    )
    with serve(environment, copy, workers=2, wait=False) as service:
        assert service.ended() == 3
        assert any("the metric build " in text for text in service.said()), service.log
    with serve(environment, copy) as service:
        assert "build_info 1.0" in ask(service, "GET", "/metrics")[1].splitlines()


# One engine for many services

PAGE = "docs/one-engine.md"
INDEX = "https://packages.example.org/simple"
USER, PASSWORD = "platform", "secret"


class Index(http.server.SimpleHTTPRequestHandler):
    """A folder as a package index, for those who know the password."""

    def do_GET(self) -> None:
        if self.may_read():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self.may_read():
            super().do_HEAD()

    def may_read(self) -> bool:
        key = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers["Authorization"] == f"Basic {key}":
            return True
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="platform"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def index_of(folder: Path) -> Iterator[str]:
    """The URL of a folder that is served on loopback."""
    handler = partial(Index, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join(PATIENCE)


class Platform:
    """Somebody who follows docs/one-engine.md in a project."""

    def __init__(self, project: Path, url: str) -> None:
        self.project = project
        self.url = url
        self.text = (project / PAGE).read_text(encoding="utf-8")

    def type(self, line: str) -> subprocess.CompletedProcess[str]:
        ended = processes.run(
            shlex.split(line),
            cwd=self.project,
            env=clean_environment(
                UV_PYTHON=sys.executable,
                UV_PYTHON_DOWNLOADS="never",
                UV_INDEX_PLATFORM_USERNAME=USER,
                UV_INDEX_PLATFORM_PASSWORD=PASSWORD,
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        passed(ended)
        return ended

    def edit_pyproject(self) -> None:
        (block,) = [block.text for block in blocks(self.text, "toml")]
        file = self.project / "pyproject.toml"
        text = file.read_text(encoding="utf-8")
        table = re.compile(r"^\[tool\.uv\.sources\]\n(?:.+\n)+", re.M)
        assert len(table.findall(text)) == 1
        assert block.count(INDEX) == 1
        text = table.sub(lambda _: block.replace(INDEX, self.url), text)
        file.write_text(text, encoding="utf-8")

    def changes(self) -> dict[str, str]:
        """What the page says to change in other files."""
        return dict(re.findall(r"^\| `([\w./-]+)` \| (.*) \|$", self.text, re.M))

    def engine(self) -> tuple[str, str]:
        """Version and file of the engine that is installed."""
        script = (
            "import importlib.metadata, serving_engine; "
            "print(importlib.metadata.version('serving-engine'), serving_engine.__file__)"
        )
        version, file = self.type(f'uv run --no-sync python -c "{script}"').stdout.split()
        return version, file


@pytest.fixture
def platform(generate: Render, tmp_path: Path) -> Iterator[Platform]:
    (tmp_path / "index" / "simple" / "serving-engine").mkdir(parents=True)
    with index_of(tmp_path / "index") as url:
        yield Platform(generate(), url)


def test_one_engine_for_many_services_as_the_page_says(platform: Platform, tmp_path: Path) -> None:
    project, index = platform.project, tmp_path / "index" / "simple" / "serving-engine"
    (build,) = commands(section(platform.text, "Build it"))
    platform.type(build)
    replace(project / "engine" / "pyproject.toml", 'version = "0.1.0"', 'version = "0.1.1"')
    platform.type(build)
    first, second = sorted((project / "dist").glob("*.whl"))
    (place,) = [block.text.strip() for block in blocks(platform.text, "text")]
    assert Path(place) == Path("simple", "serving-engine", first.name)
    first.rename(index / first.name)

    delete, *use = commands(section(platform.text, "Use it"))
    platform.type(delete)
    assert not (project / "engine").exists()
    platform.edit_pyproject()
    for command in use:
        platform.type(command)
    version, file = platform.engine()
    assert version == "0.1.0"
    assert Path(file).is_relative_to(project / ".venv")
    lock = (project / "uv.lock").read_text(encoding="utf-8")
    source = f'source = {{ registry = "{platform.url}" }}'
    assert f'name = "serving-engine"\nversion = "0.1.0"\n{source}' in lock
    follow_ci(platform, platform.changes()[".github/workflows/ci.yml"])

    second.rename(index / second.name)
    (upgrade,) = commands(section(platform.text, "Upgrade it"))
    platform.type(upgrade)
    assert platform.engine()[0] == "0.1.1"


def follow_ci(platform: Platform, change: str) -> None:
    """The commands that build the wheel in CI, with the changes of the page."""
    old = re.search(r"into the line `(uv pip install .*?)`", change)[1]
    option = re.search(r"put `(--index \S+)`", change)[1].replace(INDEX, platform.url)
    option = option.replace("://", f"://{USER}:{PASSWORD}@")
    workflow = (platform.project / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert workflow.count(old) == 1
    platform.type("uv build --wheel --out-dir dist/ci")
    platform.type("uv venv wheel-venv")
    (wheel,) = (platform.project / "dist" / "ci").glob("*.whl")
    *words, _ = old.split()
    platform.type(shlex.join([*words, *option.split(), str(wheel)]))
    platform.type("uv pip check --python wheel-venv")


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_the_lines_that_the_page_changes_elsewhere_are_there(render: Render, ci: str) -> None:
    project = render(ci=ci)
    changes = Platform(project, INDEX).changes()
    expected = {
        "github": {
            *(f".github/{name}" for name in ("workflows/ci.yml", "workflows/release.yml")),
            ".github/dependabot.yml",
        },
        "gitlab": {".gitlab-ci.yml"},
    }
    assert changes.keys() == expected[ci] | {"Dockerfile", "Makefile"}
    for file, change in changes.items():
        lines = [line.strip() for line in (project / file).read_text("utf-8").splitlines()]
        for line in re.findall(r"line `([^`]+)`", change):
            assert sum(each.removeprefix("- ") == line.removeprefix("- ") for each in lines) == 1
        for job in re.findall(r"(?:job|task) `([^`]+)`", change):
            assert [line for line in lines if line.startswith(f"{job}:")], job


def test_an_upgrade_leaves_a_deleted_engine_alone(
    whole_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DOWNLOAD", "off")
    monkeypatch.setenv("HOME", str(tmp_path))
    template = Path(shutil.copytree(whole_template, tmp_path / "template"))
    make_repository(template)
    project = cruft.create(str(template), tmp_path / "out")
    shutil.rmtree(project / "engine")
    make_repository(project)
    source = template / PROJECT / "engine" / "src" / "serving_engine"
    append(source / "text.py", "NEW = 1\n")
    (source / "new.py").write_text("NEW = 1\n", encoding="utf-8")
    append(template / PROJECT / ".editorconfig", "# of the new release\n")
    make_repository(template)
    assert cruft.update(project)
    assert not (project / "engine").exists()
    assert "# of the new release" in (project / ".editorconfig").read_text(encoding="utf-8")


def test_every_command_of_a_page_works_with_an_old_curl() -> None:
    """`curl --json` needs 7.82 of 2022."""
    for page in (*ROOT.glob("*.md"), *(ROOT / PROJECT).rglob("*.md")):
        if ".venv" not in page.parts:
            assert "curl --json" not in page.read_text(encoding="utf-8"), page
