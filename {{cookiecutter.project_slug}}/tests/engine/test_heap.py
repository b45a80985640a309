"""The heap of a process that serves: out of the collector's way, and what was replaced is not."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

import {{ cookiecutter.__package_name }} as package
from {{ cookiecutter.__package_name }}.serving.heap import rest_collector, settle_heap


@pytest.fixture
def collector() -> Iterator[None]:
    """At work as it was, afterwards."""
    threshold = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("collector")
def test_what_is_there_is_frozen_and_collections_are_rare() -> None:
    before = gc.get_freeze_count()
    kept = [[number] for number in range(1000)]
    rest_collector()
    settle_heap()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before + len(kept)
    assert gc.get_threshold()[0] >= 10_000
    assert len(kept) == 1000


BODIES = f"""
import resource
from {package.__name__}.serving.heap import keep_freed
keep_freed(4 * 2**20)
faults = []
for _ in range(10):
    joined = b"".join([b"x" * 200_000 for _ in range(10)])
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    del joined
print(faults[-1] - faults[-5])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_large_requests_need_is_not_fetched_anew_for_each() -> None:
    run = [sys.executable, "-c", BODIES]
    found = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    assert int(found.stdout) < 500, "pages of 4 KiB; four bodies and their pieces are 3,900"
