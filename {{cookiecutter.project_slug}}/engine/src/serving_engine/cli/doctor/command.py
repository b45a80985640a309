"""The command `doctor`: a line for each check, and under it what mends a drift."""

import argparse
from pathlib import Path

from ...errors import ServiceExit
from ...service import Service
from ..model_commands import add_model_dir
from .link import CRUFT, link


class Drift(ServiceExit):
    """Something is not as it was recorded."""


def add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    doctor = commands.add_parser(
        "doctor",
        help="compare the project with what is recorded of it",
        description="Compare what is recorded with what is there: the template, the files of the "
        "engine, those of the model, the bounds of dependencies, Python, the settings, and the "
        "limits of the container. Print a line for each, and what mends a drift. Run it in the "
        "folder of the project. Exit code: 1 if anything drifted.",
    )
    doctor.add_argument(
        "--link",
        action="store_true",
        help=f"write {CRUFT} and do nothing else: `cruft update` then upgrades the project from "
        "the template, the commit and the answers that are recorded",
    )
    add_model_dir(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(service: Service, options: argparse.Namespace) -> None:
    from .checks import run_checks

    project = Path()
    if options.link:
        record = link(project)
        print(f"{CRUFT} links the project to {record.template}, {record.short}. Commit it.")
        return
    drifts = 0
    for finding in run_checks(service, project, options.model_dir):
        drifts += finding.drifted
        print(f"{'drift' if finding.drifted else 'ok':5}  {finding.subject:12}  {finding.text}")
        if finding.remedy:
            print(f"{'':21}→ {finding.remedy}")
    if drifts:
        raise Drift(f"{drifts} drifted. What mends it stands above, after →.")
