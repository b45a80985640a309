"""The command `model drift`."""

import argparse
from pathlib import Path

from ...service import Service
from ...settings import load_settings


def add_drift(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> argparse.ArgumentParser:
    """Add the command, and return its parser."""
    drift = commands.add_parser(
        "drift",
        help="compare a record of requests with what the model was packaged with",
        description="Read a record of requests (SERVING_RECORD_DIR) and compare it with what was "
        "observed when the model was packaged: for each column the gaps, the values outside of its "
        "range or its categories, and the population stability index (PSI; below 0.1 stable, above "
        "0.25 drifted); the share of each label; and how often a shadow model agreed.",
    )
    drift.add_argument(
        "record", type=Path, metavar="RECORD", help="the directory of the record, or a file of it"
    )
    drift.add_argument(
        "--html", type=Path, metavar="FILE", help="write the report as a page with plots, too"
    )
    drift.set_defaults(run=_drift)
    return drift


def _drift(service: Service, options: argparse.Namespace) -> None:
    from ...errors import UsageError
    from ...model_files.manifest import read_manifest
    from .read_record import read_record
    from .record_statistics import RecordStatistics
    from .report import drift_lines, drift_page

    settings = load_settings(service.import_settings(), model_dir=options.model_dir)
    manifest = read_manifest(settings.model_dir)
    statistics = RecordStatistics(manifest, settings.shadow_tolerance)
    for rows in read_record(options.record):
        statistics.add(rows)
    if not statistics.rows:
        raise UsageError(
            f"{options.record} has no row of {manifest.name} {manifest.version}, and "
            f"{statistics.other_versions} of other versions. Give the directory of that model: "
            "--model-dir DIR."
        )
    print(*drift_lines(statistics), sep="\n")
    if options.html is not None:
        try:
            options.html.write_text(drift_page(statistics), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {options.html}: {error.strerror}.") from None
