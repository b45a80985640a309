"""The heap of a process that serves: excluded from garbage collection, and reused by malloc."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest
from serving_engine.heap import disable_gc, freeze_heap


@pytest.fixture
def collector() -> Iterator[None]:
    """Restores the garbage collector's state."""
    threshold = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("collector")
def test_existing_objects_are_frozen_and_collections_are_rare() -> None:
    before = gc.get_freeze_count()
    kept = [[number] for number in range(1000)]
    disable_gc()
    freeze_heap()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before + len(kept)
    assert gc.get_threshold()[0] >= 10_000
    assert len(kept) == 1000


BODIES = """
import resource
from serving_engine.heap import tune_malloc
tune_malloc(4 * 2**20)
faults = []
for _ in range(10):
    joined = b"".join([b"x" * 200_000 for _ in range(10)])
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    del joined
print(faults[-1] - faults[-5])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_large_requests_reuse_the_memory_of_previous_ones() -> None:
    run = [sys.executable, "-c", BODIES]
    ended = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    assert int(ended.stdout) < 500, "pages of 4 KiB; four bodies and their pieces are 3,900"
