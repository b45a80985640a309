"""Build the generated image and run it the hard way: no network, no rights, nothing to write to.

python tests/container/check.py              render the template, then check its image
python tests/container/check.py --project D  check the image of a project that is there
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter
from engine import Engine, find_engine

HERE = Path(__file__).parent
TEMPLATE = HERE.parent.parent
NAME = "cookiecutter-model-serving-check"
USER = "65532:65532"
HARDENING = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]

# Free text that a Dockerfile could misread.
ANSWERS = {
    "project_name": "Image Check",
    "description": "O'Neil's \"best\" for $5, not $HOME or ${PATH}, a \\ and a `backtick`, ü",
    "author": 'Zoë "Z" O\'Neil <zoe@example.org>',
}


def main() -> None:
    """Run every check; the first that fails ends the script with 1 and says what it saw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", type=Path, metavar="D", help="a rendered project")
    parser.add_argument("--uv", default="uv", metavar="PATH", help="the uv that writes a lock file")
    given = parser.parse_args()
    engine = find_engine()
    say(f"engine: {engine.name}")
    try:
        if given.project:
            engine.build(given.project, NAME)
            check_image(engine, given.project)
            check_life(engine, given.project)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                check_template(engine, Path(scratch), given.uv)
    finally:
        engine.clean_up(NAME)
    say("all is well")


def check_template(engine: Engine, scratch: Path, uv: str) -> None:
    """Check a fresh project without uv.lock, with one, and with one that does not fit."""
    project = render(scratch)
    as_from_a_strict_checkout(project)

    say("without uv.lock")
    engine.build(project, NAME)
    check_image(engine, project)
    labels = engine.image_config(NAME)["Labels"]
    names = {"project_name": "title", "description": "description", "author": "authors"}
    for answer, label in names.items():
        found = labels[f"org.opencontainers.image.{label}"]
        expect(f"label: {label}", found == ANSWERS[answer], found)
    check_life(engine, project)
    check_failed_start(engine)

    say("with uv.lock, on a port that the platform chose")
    subprocess.run([uv, "lock", "--quiet"], cwd=project, check=True)
    engine.build(project, NAME)
    check_life(engine, project, "--env=PORT=9090")

    say("with an uv.lock that does not fit")
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    pyproject.write_text(text.replace("dependencies = [", 'dependencies = ["idna",', 1), "utf-8")
    expect("the build fails", not engine.build(project, NAME, must_work=False))


def render(scratch: Path) -> Path:
    """Render the template with its hooks, which bring the sample model."""
    return Path(
        cookiecutter(
            str(TEMPLATE),
            no_input=True,
            default_config=True,
            output_dir=str(scratch),
            accept_hooks=True,
            extra_context=ANSWERS,
        )
    )


def as_from_a_strict_checkout(project: Path) -> None:
    """Take everyone else's rights away, as a checkout under umask 077 does."""
    for path in [project, *project.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o077)


def check_image(engine: Engine, project: Path) -> None:
    """Check what the image says of itself."""
    config = engine.image_config(NAME)
    expect("runs as a numeric user", config.get("User") == USER, config)
    expect("starts the command itself", config.get("Entrypoint") == [command_of(project)], config)
    expect("serves unless told otherwise", config.get("Cmd") == ["serve"], config)
    expect("names its port", "8080/tcp" in config["ExposedPorts"], config)


def check_life(engine: Engine, project: Path, *flags: str) -> None:
    """Ready, healthy, predicts, drains on SIGTERM without failing a request, exits 0."""
    engine("rm", "--force", NAME, must_work=False)
    started = time.monotonic()
    engine("run", "--detach", f"--name={NAME}", *engine.run_flags, *HARDENING, *flags, NAME)
    try:
        watch(engine, project, started)
    except BaseException:
        print(engine("logs", NAME, must_work=False), file=sys.stderr)
        raise
    finally:
        engine("rm", "--force", NAME, must_work=False)


def watch(engine: Engine, project: Path, started: float) -> None:
    """Follow the probe, which runs inside the container, until the service is gone."""
    manifest = json.loads((project / "model" / "manifest.json").read_text(encoding="utf-8"))
    probe = subprocess.Popen(
        engine.line(
            *("exec", NAME, "python", "-u", "-c", (HERE / "probe.py").read_text(encoding="utf-8")),
            *(command_of(project), json.dumps(manifest["examples"][0])),
        ),
        stdout=subprocess.PIPE,
        text=True,
    )

    def hear() -> Any:
        """What the probe says next; None if it has ended."""
        line = probe.stdout.readline() if probe.stdout else ""
        return json.loads(line) if line else None

    expect("becomes ready", hear() == "ready")
    say(f"      {time.monotonic() - started:.1f} s after its start")
    facts = hear()
    expect("runs as that user", f"{facts['uid']}:{facts['gid']}" == USER, facts)
    expect("has no rights", not facts["capabilities"] and facts["no_new_privileges"], facts)
    expect("can write nowhere", not facts["writable"], facts["writable"])
    expect("holds no tool of development", not facts["tools"], facts["tools"])
    expect("checks its model", facts["check"] == 0, facts["check"])
    expect("has bytecode of all it imports", not facts["compiled_anew"], facts["compiled_anew"])
    answer = hear()
    expect("predicts as recorded", answer["agrees"], answer)
    health = engine.image_config(NAME)["Healthcheck"]["Test"]
    expect("passes its health check", health[0] == "CMD" and works_inside(engine, health[1:]))

    engine("kill", "--signal=TERM", NAME)
    asked_to_end = time.monotonic()
    drain = hear()
    expect("answers while it says that it drains", drain["answered_while_draining"], drain)
    expect("failed no request", not drain["failed"], drain)
    status = wait(lambda: engine.exit_status(NAME), seconds=40)
    expect("ends as asked", status == 0, f"exit status {status}")
    say(f"      {time.monotonic() - asked_to_end:.1f} s after SIGTERM")
    probe.wait(timeout=10)


def check_failed_start(engine: Engine) -> None:
    """A start that fails ends with 3 and says why."""
    command = ["run", "--rm", *engine.run_flags, *HARDENING, "--env=SERVING_MODEL_DIR=/none", NAME]
    done = subprocess.run(engine.line(*command), capture_output=True, text=True, check=False)
    expect("ends with 3 where there is no model", done.returncode == 3, done)
    expect("says so", "model missing" in done.stdout + done.stderr, done)


def works_inside(engine: Engine, command: list[str]) -> bool:
    """Whether a command succeeds inside the container, where engines run health checks."""
    return subprocess.run(engine.line("exec", NAME, *command), check=False).returncode == 0


def wait(read: Callable[[], int | None], seconds: float) -> int | None:
    """What `read` returns as soon as it is not None; None when the time is over."""
    deadline = time.monotonic() + seconds
    while (found := read()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def command_of(project: Path) -> str:
    """The name of the project's command."""
    with (project / "pyproject.toml").open("rb") as file:
        return str(next(iter(tomllib.load(file)["project"]["scripts"])))


def say(text: str) -> None:
    """Tell the reader how far we are."""
    print(text, flush=True)


def expect(what: str, holds: object, seen: object = "") -> None:
    """End the script unless `holds`."""
    if not holds:
        raise SystemExit(f"FAILED: {what}. {seen}")
    say(f"  ok: {what}")


if __name__ == "__main__":
    main()
