"""Checks a float array against a signature of the array layout: all of its cells at once."""

import numpy as np
from numpy.typing import NDArray

from .signature import Signature


class NumberCheck:
    """Which cells of an array fit the columns of a signature.

    complete: whether it checks all that the signature enforces: it knows no lists of values.
    low, high, boolean: of each column, its bounds and whether it holds booleans, as 0 and 1.
    """

    def __init__(self, signature: Signature) -> None:
        columns = signature.inputs
        bounds = [column.bounds for column in columns]
        self.low, self.high = np.array(bounds, dtype=np.float64).T
        self.boolean = np.array([column.dtype == "bool" for column in columns])
        self.complete = all(column.allowed is None for column in columns)
        self._nullable = np.array([column.nullable for column in columns])

    def fits(self, matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which cells of an array (n, columns) fit. NaN is a missing value."""
        fits: NDArray[np.bool_] = (matrix >= self.low) & (matrix <= self.high)
        if self.boolean.any():
            fits &= (matrix == 0) | (matrix == 1) | ~self.boolean
        if not fits.all():
            fits |= np.isnan(matrix) & self._nullable
        return fits
