"""One thread for OpenMP and BLAS.

A service scales with worker processes. Threads of a numeric library would compete with them for
the same cores, and a process that forks after a multi-threaded OpenMP region hangs.
"""

import os

from threadpoolctl import threadpool_limits

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ORT_DISABLE_TELEMETRY",  # ONNX Runtime starts a thread for it
)


def limit_threads_of_imports() -> None:
    """Keep libraries from starting threads. Call it before NumPy is imported."""
    for name in _VARIABLES:
        os.environ[name] = "1"


def limit_threads() -> None:
    """Limit loaded BLAS libraries (in all threads) and OpenMP (in this thread) to one thread."""
    threadpool_limits(limits=1)
