"""From nothing to a prediction: render, install, start, ask, and say how long each step took.

make demo                  the sample model comes over HTTP, from a loopback server
make demo ARGS=--refused   that server refuses; the copy in the template is used
make demo ARGS='--runtime onnx'    another runtime: onnx or python
"""

import argparse
import contextlib
import functools
import hashlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import processes

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
PATIENCE = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--refused", action="store_true", help="let the model's host refuse")
    parser.add_argument("--runtime", default="scikit-learn", help="what runs the model")
    arguments = parser.parse_args()
    sample = f"{arguments.runtime}/manifest.json"
    with tempfile.TemporaryDirectory() as scratch, model_host(arguments.refused) as host:
        project = Path(scratch) / "iris-service"
        with step("render, and fetch the model"):
            render(scratch, host, sample)
        with step("install"):
            processes.run(
                ["uv", "sync", "--quiet", "--python", sys.executable], cwd=project, check=True
            )
        with step("start until ready"):
            service, address = start(project)
        try:
            with step("predict"):
                question, answer = predict(project, address)
        finally:
            service.send_signal(signal.SIGINT)
            service.wait(PATIENCE)
    print(f"asked:    {json.dumps(question)}\nanswered: {json.dumps(answer)}")
    if service.returncode:
        sys.exit(f"the service ended with code {service.returncode}")


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{time.perf_counter() - started:6.1f} s  {name}", flush=True)


@contextlib.contextmanager
def model_host(refused: bool) -> Iterator[str]:
    """The URL of the samples on a loopback server that stands in for the real host."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        if refused:
            yield f"http://127.0.0.1:{closed.getsockname()[1]}"
            return
    handler = functools.partial(QuietHandler, directory=SAMPLES)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *_: object) -> None:
        pass


def render(scratch: str, host: str, sample: str) -> None:
    """Generate a project. sample: the path of a manifest in samples/."""
    digest = hashlib.sha256((SAMPLES / sample).read_bytes()).hexdigest()
    answers = [f"model_runtime={sample.partition('/')[0]}"]
    answers += [f"_model_url={host}/{sample}", f"_model_sha256={digest}"]
    processes.run(
        [sys.executable, "-m", "cookiecutter", "--no-input", "--default-config"]
        + ["--output-dir", scratch, str(ROOT), *answers],
        check=True,
    )


def start(project: Path) -> tuple[subprocess.Popen[str], str]:
    """Start the service on a free port; return it and its address once it is ready."""
    binaries = project / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    service = processes.start(
        [binaries / "iris-service", "serve", "--port", "0"],
        cwd=project,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert service.stderr
    for line in service.stderr:
        if found := re.search(r"listening on (http://[\d.:]+)", line):
            # Somebody has to read the rest of the log, or the service waits for room in the pipe.
            threading.Thread(target=service.stderr.read, daemon=True).start()
            with urllib.request.urlopen(f"{found[1]}/readyz", timeout=PATIENCE) as response:
                assert json.load(response) == {"status": "ready"}
            return service, found[1]
        print(line, end="", file=sys.stderr)
    sys.exit(f"the service ended with code {service.wait()} before it was ready")


def predict(project: Path, address: str) -> tuple[object, object]:
    """Ask for the first golden example; return the question and the answer."""
    manifest = json.loads((project / "model" / "manifest.json").read_text(encoding="utf-8"))
    question = {"instances": [manifest["examples"][0]["input"]]}
    request = urllib.request.Request(
        f"{address}/predict",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return question, json.load(response)


if __name__ == "__main__":
    main()
