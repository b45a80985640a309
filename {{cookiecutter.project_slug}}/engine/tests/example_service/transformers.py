"""Classes that tests put here may be part of a packaged model."""

import os
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class Held(TransformerMixin, BaseEstimator):
    """Holds up whatever uses it, if HOLD_LOADS names a folder: until that has the file `release`.

    It makes the file `loading` in the folder when it waits. above: it holds up only rows with a
    number above this.
    """

    def __init__(self, above: float = -np.inf) -> None:
        self.above = above

    def fit(self, _rows: Any, _outcomes: Any = None) -> Self:
        return self

    def transform(self, rows: Any) -> Any:
        folder = os.environ.get("HOLD_LOADS")
        held = folder and np.max(rows) > self.above
        while held and not Path(str(folder), "release").exists():
            Path(str(folder), "loading").touch()
            time.sleep(0.01)
        return rows
