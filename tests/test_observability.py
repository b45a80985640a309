"""Dashboard, rules and alerts: what they name is in the /metrics of a running service, and a real
Prometheus takes them and scrapes it."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from . import processes
from .conftest import ROOT, SAMPLE
from .rendering import PROJECT
from .services import PATIENCE, Service, wait_until

FOLDER = ROOT / PROJECT / "deploy" / "observability"
DASHBOARD = json.loads((FOLDER / "grafana/dashboard.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
GRAPHS = [panel for panel in DASHBOARD["panels"] if panel["type"] == "timeseries"]
TARGETS = [target for panel in GRAPHS for target in panel["targets"]]
EXPRESSIONS = [target["expr"] for target in TARGETS] + [rule["expr"] for rule in RULES]

OF_PROMETHEUS = {"job", "instance", "le"}
"""Labels that no service reports itself, or that belong to histograms."""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
REQUIRED = "PROMETHEUS_REQUIRED"
"""The variable with which the tests that need Prometheus fail where it is not installed."""
needs_prometheus = pytest.mark.skipif(
    not (os.environ.get(REQUIRED) or (shutil.which("prometheus") and shutil.which("promtool"))),
    reason="no prometheus and promtool in PATH (Debian: apt-get install prometheus)",
)


def labels_of(expression: str) -> set[str]:
    """The labels that an expression names, but for Prometheus's own."""
    named = re.findall(r"(\w+) *(?:=~|!~|!=|=) *\"", expression)
    for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        named += re.findall(r"\w+", listed)
    return set(named) - OF_PROMETHEUS


def metrics_of(expression: str) -> set[str]:
    return set(
        re.findall(r"\b(?:serving|process|python)_\w+", re.sub(r"job:\w+:\w+", "", expression))
    )


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """The script that writes the dashboard."""
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "observability/dashboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dashboard_is_what_its_script_writes(script: ModuleType) -> None:
    assert script.FILE.read_text(encoding="utf-8") == script.document()


def test_under_each_graph_stands_what_to_do_about_it() -> None:
    texts = {
        (panel["gridPos"]["x"], panel["gridPos"]["y"]): panel["options"]["content"]
        for panel in DASHBOARD["panels"]
        if panel["type"] == "text"
    }
    for graph in GRAPHS:
        place = graph["gridPos"]
        assert texts.pop((place["x"], place["y"] + place["h"])), graph["title"]
    assert not texts
    taken = [
        (left, top)
        for panel in DASHBOARD["panels"]
        for left in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for top in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)), "two panels overlap"


def test_legends_and_messages_name_labels_that_the_result_has() -> None:
    for target in TARGETS:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named <= labels_of(target["expr"]) | OF_PROMETHEUS, target
    for rule in RULES:
        if "alert" in rule:
            assert set(rule["annotations"]) == {"summary", "action"}
            named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
            assert named <= labels_of(rule["expr"]) | OF_PROMETHEUS, rule


def test_what_is_recorded_is_what_is_asked_for() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    asked = {name for each in EXPRESSIONS for name in re.findall(r"job:\w+:\w+", each)}
    assert asked <= recorded


def test_the_workflow_that_installs_prometheus_skips_no_test_for_its_lack() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["test"]["steps"]
    assert any("--no-install-recommends prometheus" in step.get("run", "") for step in steps)
    (tests,) = [step for step in steps if REQUIRED in step.get("env", {})]
    assert "make test" in tests["run"]


@needs_prometheus
def test_promtool_finds_every_alert_right() -> None:
    for words in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        ended = processes.run(
            ["promtool", *words], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
    tested = (FOLDER / "rules_test.yml").read_text(encoding="utf-8")
    for rule in RULES:
        name = rule.get("alert")
        assert name is None or re.search(rf"alertname: {name}\n +exp_alerts:", tested), name


def test_compose_would_accept_the_file_and_finds_what_it_mounts() -> None:
    file = FOLDER / "compose.yaml"
    processes.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file],
        check=True,
    )
    services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
    for service in services.values():
        for mount in service.get("volumes", []):
            assert (FOLDER / mount.partition(":")[0]).is_file(), mount
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert re.search(r":v?\d+\.\d+\.\d+$", service.get("image", ":v0.0.0"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model, with a column that may be null, although the model fails with it."""
    copy = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("sample") / "model"))
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["signature"]["inputs"][0]["nullable"] = True
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def service(environment: Path, model: Path) -> Iterator[Service]:
    """A service of which every metric with a label has been counted."""
    usual, far, wrong, gap = [5.1, 3.5, 1.4, 0.2], [99.0] * 4, ["five"], [None, 3.5, 1.4, 0.2]
    with Service(environment, model, workers=2) as service:
        for row in (usual, far, wrong, gap):
            ask(f"http://127.0.0.1:{service.port}/predict", {"instances": [row]})
        with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as client:
            client.sendall(b"no HTTP\r\n\r\n")
            assert b" 400 " in client.recv(65536)
        yield service


def ask(url: str, body: object = None) -> Any:
    """The JSON that an address answers; None where it refuses."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)
    except OSError:  # an error status is one too
        return None


@pytest.mark.slow
@on_linux
def test_every_metric_and_label_is_in_the_metrics_of_a_running_service(service: Service) -> None:
    def missing() -> list[str]:
        """What is not there: each worker publishes its counts some times a second."""
        text = service.get("/metrics")[1]
        kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
        labels: dict[str, set[str]] = {}
        for name, listed in re.findall(r"^(\w+)\{([^}]*)\} ", text, re.M):
            labels.setdefault(name, set()).update(re.findall(r'(\w+)="', listed))
        lacking: list[str] = []
        for expression in EXPRESSIONS:
            metrics = metrics_of(expression)
            known = OF_PROMETHEUS.union(*(labels.get(metric, set()) for metric in metrics))
            families = {
                metric if metric in kinds else re.sub(r"_(bucket|sum|count)$", "", metric)
                for metric in metrics
            }
            lacking += families - kinds.keys()
            lacking += [f"{label} of {expression}" for label in labels_of(expression) - known]
        return lacking

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not missing(), patience=5)
    assert missing() == []


@pytest.mark.slow
@on_linux
@needs_prometheus
def test_a_real_prometheus_scrapes_the_service_and_takes_every_expression(
    service: Service, tmp_path: Path
) -> None:
    configuration = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    here = configuration.replace("service:8080", f"127.0.0.1:{service.port}").replace("15s", "1s")
    assert here.count("1s") == 2
    (tmp_path / "prometheus.yml").write_text(here, encoding="utf-8")
    shutil.copy(FOLDER / "rules.yml", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    prometheus = processes.start(
        ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        + [f"--web.listen-address=127.0.0.1:{port}"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        api = f"http://127.0.0.1:{port}/api/v1"

        def query(expression: str) -> list[Any]:
            asked = expression.replace("$__rate_interval", "1m").replace("$job", ".*")
            answer = ask(f"{api}/query?{urllib.parse.urlencode({'query': asked})}")
            return answer["data"]["result"]

        wait_until(lambda: ask(f"{api}/targets"))
        wait_until(lambda: query("sum(rate(serving_requests_total[1m])) > 0"))
        for expression in EXPRESSIONS:
            query(expression)
        wait_until(lambda: query('job:serving_saturation:ratio_rate5m{job="model-service"}'))
        groups = ask(f"{api}/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) == len(RULES)
        assert {rule["lastError"] for rule in rules if "lastError" in rule} <= {""}
        targets = ask(f"{api}/targets")["data"]["activeTargets"]
        assert [target["health"] for target in targets] == ["up"]
    finally:
        prometheus.kill()
        prometheus.wait(PATIENCE)
