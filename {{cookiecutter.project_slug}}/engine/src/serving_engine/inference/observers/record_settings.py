"""Checks the settings of the record before the service starts, without slow imports."""

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec

from ...distribution import add_command
from ...errors import StartupError, UsageError
from ...settings import ServingSettings


def check_record(settings: ServingSettings) -> None:
    """Make the directory of the record, if there is to be one.

    Raises UsageError if it cannot be written, or if the settings of the record do not fit.
    """
    directory = settings.record_dir
    if directory is None:
        return
    if settings.record_hashed and settings.record_hash_key is None:
        raise UsageError(
            "SERVING_RECORD_HASHED needs SERVING_RECORD_HASH_KEY; `openssl rand -hex 32` makes one."
        )
    if settings.record_format == "parquet" and find_spec("pyarrow") is None:
        raise UsageError(
            "SERVING_RECORD_FORMAT=parquet needs pyarrow, which is not installed. "
            f"Add it: {add_command('pyarrow')}; or set SERVING_RECORD_FORMAT=jsonl."
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise UsageError(
            f"SERVING_RECORD_DIR: cannot write {directory}: {error.strerror}. Choose another, or "
            "leave it out to record nothing."
        ) from None


def check_columns(columns: Sequence[str], settings: ServingSettings) -> None:
    """Raise StartupError if a setting names an unknown column: a typing error would record it."""
    for name, chosen in (
        ("SERVING_RECORD_WITHOUT", settings.record_without),
        ("SERVING_RECORD_HASHED", settings.record_hashed),
    ):
        unknown = [each for each in chosen if each not in columns]
        if unknown:
            raise StartupError(
                f"{name}: the model has no column {unknown[0]!r}. `model show` has the columns."
            )
