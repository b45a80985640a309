"""Work on the template: `make dev`, `make lint` and `make typecheck`.

make dev                   render a project, watch the template, check each change
make dev ARGS=--serve      and serve that project, which starts anew after each change
make dev ARGS='--answers model_runtime=onnx protocols=all'    another project
make lint                  linter and formatter on all of it (ARGS=--fix: mend what can be mended)
make typecheck             mypy on the engine, for every system, and on the owner's code
"""

import argparse
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from ..rendering import ROOT
from .checks import lint_all, typecheck_all
from .loop import work
from .project import Project


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.dev", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    watch = commands.add_parser("watch", help="check each change of the template")
    watch.add_argument("--serve", action="store_true", help="serve the project meanwhile")
    lint = commands.add_parser("lint", help="linter and formatter")
    lint.add_argument("--fix", action="store_true", help="mend what can be mended")
    types = commands.add_parser("typecheck", help="mypy")
    for command in (watch, lint, types):
        command.add_argument("--template", type=Path, default=ROOT, help="another checkout")
        command.add_argument("--state", type=Path, help="where to keep the project; default: .dev")
        command.add_argument("--environment", type=Path, help="use its tools; make none")
        command.add_argument("--answers", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    answers = dict(answer.partition("=")[::2] for answer in options.answers)
    template = options.template.resolve()
    state = (options.state or template / ".dev").resolve()
    project = Project(template, state, answers, options.environment)
    if options.command == "watch":
        try:
            with FileLock(state / "lock", timeout=0):
                work(project, serve=options.serve)
        except Timeout:
            sys.exit(f"Another make dev uses {state}. End it, or give --state another folder.")
    clean = (
        lint_all(project, fix=options.fix) if options.command == "lint" else typecheck_all(project)
    )
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
