"""One thread for OpenMP and BLAS.

A service scales with worker processes; threads of a numeric library below that only fight for
the same cores, and a fork after a multi-threaded OpenMP region hangs.
"""

import os

from threadpoolctl import threadpool_limits

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads_of_imports() -> None:
    """Keep libraries from starting threads. Call before NumPy is imported."""
    for name in _VARIABLES:
        os.environ[name] = "1"


def limit_threads() -> None:
    """Hold loaded BLAS libraries (all threads) and OpenMP (this thread) to one thread."""
    threadpool_limits(limits=1)
