"""Runs inside the container, beside the service, and asks it as a client would.

Standard library only. Prints one line of JSON for each thing seen, until the service is gone.
"""

import http.client
import importlib.util
import json
import math
import os
import sys
import time
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

PLACES = (
    *("/", "/app", "/app/model", "/app/.venv", "/dev", "/etc", "/home", "/opt", "/root", "/run"),
    *("/srv", "/tmp", "/usr", "/usr/local", "/var", "/var/cache", "/var/lib", "/var/tmp"),
)
TOOLS = ("coverage", "mypy", "pandas", "pre_commit", "pyarrow", "pytest", "ruff", "uv")


def main(command: str, example: dict[str, Any]) -> None:
    """Wait for the service, look around, predict, then watch it drain."""
    wait_until_ready(seconds=60)
    say("ready")
    say(look_around(command))

    body = json.dumps({"instances": [example["input"]]}).encode()
    status, answer = ask("POST", "/predict", body)
    agrees = status == 200 and agree(json.loads(answer)["predictions"][0], example["output"])
    say({"agrees": agrees, "status": status, "answer": answer.decode()})

    # A client that heeds readiness: new connections while /readyz says 200, and then one more.
    failed, answered_while_draining = [], 0
    ready = True
    while ready:
        ready = ask("GET", "/readyz")[0] == 200
        status, answer = ask("POST", "/predict", body)
        if status != 200:
            failed.append(f"{status} {answer!r}")
        elif not ready:
            answered_while_draining += 1
        time.sleep(0.01)
    say({"answered_while_draining": answered_while_draining, "failed": failed})


def say(fact: object) -> None:
    """Tell the watcher outside."""
    print(json.dumps(fact), flush=True)


def ask(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_until_ready(seconds: float) -> None:
    """Return when /readyz answers 200; end the probe if it never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if ask("GET", "/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit("the service did not become ready")


def look_around(command: str) -> dict[str, object]:
    """What the service may do, and what its image holds."""
    lines = Path("/proc/1/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    check = run_check(command)
    return {
        "uid": int(status["Uid"].split()[0]),
        "gid": int(status["Gid"].split()[0]),
        "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
        "no_new_privileges": status["NoNewPrivs"] == "1",
        "writable": [place for place in PLACES if may_write(place)],
        "tools": [name for name in TOOLS if importlib.util.find_spec(name)],
        "check": check,
        "compiled_anew": compiled_anew(),
    }


def may_write(place: str) -> bool:
    """Whether a file can be made there. (The probe runs as the service's user.)"""
    file = Path(place, "written-by-the-probe")
    try:
        file.touch()
        file.unlink()
    except OSError:
        return False
    return True


def run_check(command: str) -> object:
    """The exit status of the service's own `check`, run here to import what the service does."""
    (script,) = entry_points(group="console_scripts", name=command)
    try:
        sys.argv[1:] = ["check"]
        with redirect_stdout(sys.stderr):
            script.load()()
    except SystemExit as end:
        return end.code
    return None


def compiled_anew() -> list[str]:
    """Imported modules that have no bytecode that fits, and so are compiled at every start."""
    found = []
    for name, module in sorted(sys.modules.items()):
        source, bytecode = getattr(module, "__file__", None), getattr(module, "__cached__", None)
        if not source or not source.endswith(".py") or not bytecode:
            continue
        try:
            header = Path(bytecode).read_bytes()[:16]
        except FileNotFoundError:
            header = b""
        if int.from_bytes(header[8:12], "little") != int(Path(source).stat().st_mtime):
            found.append(name)
    return found


def agree(found: Any, expected: Any) -> bool:
    """Whether two predictions are the same, numbers to a millionth."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            agree(found[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(agree, found, expected))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)
    return bool(found == expected)


main(sys.argv[1], json.loads(sys.argv[2]))
