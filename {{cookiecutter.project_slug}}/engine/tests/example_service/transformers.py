"""Classes that tests put here may be part of a packaged model."""

import os
import time
from pathlib import Path
from typing import Any, Self

from sklearn.base import BaseEstimator, TransformerMixin


class Held(TransformerMixin, BaseEstimator):
    """Holds up whatever uses it, if HOLD_LOADS names a folder: until that has the file `release`.

    It makes the file `loading` in the folder when it waits.
    """

    def fit(self, _rows: Any, _outcomes: Any = None) -> Self:
        return self

    def transform(self, rows: Any) -> Any:
        folder = os.environ.get("HOLD_LOADS")
        while folder and not Path(folder, "release").exists():
            Path(folder, "loading").touch()
            time.sleep(0.01)
        return rows
