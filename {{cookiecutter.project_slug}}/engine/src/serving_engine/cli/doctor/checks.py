"""The checks of the doctor, in the order in which their lines are printed."""

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

from ...build_model.dependency_advice import missing_dependencies, releases_out_of_bounds
from ...distribution import ENGINE, describe_distribution
from ...errors import ModelError, UsageError
from ...model_files.manifest import Manifest
from ...runtimes.load import read_model
from ...service import Service
from ...settings import ServingSettings, load_settings
from ...template_record import (
    CHECKSUMS,
    RECORD,
    TemplateRecord,
    engine_files,
    read_checksums,
    read_record,
)
from .container import check_container
from .finding import Finding
from .link import CRUFT, read_link

SHOWN = 5
"""Most files that one line names."""

RESTORE = f"git checkout $(git log -1 --format=%H -- engine/{CHECKSUMS}) -- engine"
"""Brings back the engine's files from the commit of the last upgrade, without a network."""


def run_checks(service: Service, project: Path, model_dir: Path | None) -> Iterator[Finding]:
    """The findings of all checks, each as soon as it is made.

    service: the owner's code. project: its folder. model_dir: in place of the setting.
    """
    yield check_template(project, f"uv run {describe_distribution(service.package).name}")
    yield check_engine(project)
    yield check_python(service.package)
    yield from check_releases(service.package)
    settings = service.import_settings().model_construct()
    try:
        settings = load_settings(type(settings), model_dir=model_dir)
        yield _describe_settings(settings)
    except UsageError as error:
        yield Finding("settings", str(error), drifted=True)
    try:
        manifest, _ = read_model(model_dir or settings.model_dir, settings.max_model_bytes)
    except ModelError as error:
        yield Finding("model", str(error), drifted=True)
        return
    yield check_model(manifest, service.package)
    yield from check_container(settings, manifest.artifact.total_size)


def check_template(project: Path, command: str) -> Finding:
    """Whether the record can be read, and `.cruft.json`, where it is, says the same.

    command: how a user runs this command line.
    """
    try:
        record, linked = read_record(project), read_link(project)
    except ValueError as error:
        return Finding("template", str(error), f"git restore {RECORD} {CRUFT}", drifted=True)
    if record is None:
        return Finding("template", f"not recorded: there is no {RECORD} in this folder")
    text = f"{record.short} of {record.template}"
    if linked is None:
        return Finding("template", f"{text}; not linked to it", f"{command} doctor --link")
    differing = [name for name, value in linked.items() if getattr(record, name) != value]
    if differing:
        text += f"; {CRUFT} has another {' and '.join(differing)}"
        return Finding("template", text, f"rm {CRUFT}; {command} doctor --link", drifted=True)
    return Finding("template", text)


def check_engine(project: Path) -> Finding:
    """Whether the engine's files are those of the template, and installed at their version."""
    installed = describe_distribution(ENGINE).version
    engine = project / "engine"
    if not engine.is_dir():
        return _check_engine_of_index(installed, _record(project))
    try:
        recorded = read_checksums(engine)
    except ValueError as error:
        return Finding("engine", str(error), RESTORE, drifted=True)
    if recorded is None:
        return Finding("engine", f"{installed}; no engine/{CHECKSUMS} says what the template made")
    present = engine_files(engine)
    changes = {
        "edited": [name for name in present if recorded.get(name, present[name]) != present[name]],
        "missing": [name for name in recorded if name not in present],
        "added": [name for name in present if name not in recorded],
    }
    texts = [f"{len(names)} {what}: {_some(names)}" for what, names in changes.items() if names]
    if texts:
        remedy = RESTORE if changes["edited"] or changes["missing"] else "move them to src/"
        return Finding("engine", f"{installed}; files {'; '.join(texts)}", remedy, drifted=True)
    return Finding("engine", f"{installed}, {len(present)} files as the template made them")


def _check_engine_of_index(installed: str, record: TemplateRecord | None) -> Finding:
    """Without a folder, the engine comes from an index, and is as new as the template or newer."""
    text = f"{installed}, from an index"
    if record is not None and _release(installed) < _release(record.version):
        text += f": older than the template, {record.version}"
        return Finding("engine", text, f"uv sync --upgrade-package {ENGINE}", drifted=True)
    return Finding("engine", text)


def _record(project: Path) -> TemplateRecord | None:
    try:
        return read_record(project)
    except ValueError:
        return None  # `check_template` says so


def _release(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def check_python(package: str) -> Finding:
    """Whether this Python is one that the project supports."""
    running = "{}.{}.{}".format(*sys.version_info)
    try:
        supported = metadata(package)["Requires-Python"] or ""
    except PackageNotFoundError:
        return Finding("python", f"{running}; {package} is not installed", "uv sync", drifted=True)
    if running in SpecifierSet(supported):
        return Finding("python", f"{running}, of {supported}")
    remedy = "uv python pin VERSION; uv sync"
    return Finding("python", f"{running}, which is not {supported}", remedy, drifted=True)


def check_releases(package: str) -> Iterator[Finding]:
    """Whether the installed releases are within the bounds of the project and of its engine."""
    checked, outside = releases_out_of_bounds(package)
    for text in outside:
        yield Finding("dependencies", text, "uv sync", drifted=True)
    if checked and not outside:
        yield Finding("dependencies", f"{checked} installed, all within their bounds")


def check_model(manifest: Manifest, package: str) -> Finding:
    """Whether the project requires what a model needs, whose files have been verified."""
    digest = manifest.artifact.records[0].sha256[:12]
    text = f"{manifest.name} {manifest.version}, {digest}, as its manifest records it"
    missing = missing_dependencies(manifest.built_with, package, pin=False)
    if missing:
        text += "; pyproject.toml does not require what it needs"
        return Finding("model", text, "; ".join(missing), drifted=True)
    return Finding("model", text)


def _describe_settings(settings: ServingSettings) -> Finding:
    """The names of what is not as the engine has it; a value may be a secret."""
    changed = [
        name
        for name, field in ServingSettings.model_fields.items()
        if getattr(settings, name) != field.default
    ]
    own = [name for name in type(settings).model_fields if name not in ServingSettings.model_fields]
    names = ", ".join(changed)
    text = f"valid; changed: {names or 'none'}"
    return Finding("settings", f"{text}; your own: {', '.join(own)}" if own else text)
