"""Reads pickle and joblib files, which run the code in them: only for their owner."""

import logging
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..text import one_line

PICKLES = {".joblib", ".pkl", ".pickle"}

logger = logging.getLogger(__name__)


def read_pickle(path: Path) -> Any:
    """The object in a file, after a warning. Raises any exception."""
    logger.warning(one_line(f"reading {path} runs the code in it: package only your own files"))
    if find_spec("joblib"):
        import joblib  # noqa: PLC0415 - part of the extra scikit-learn

        return joblib.load(path)
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - see above
