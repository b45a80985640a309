"""The heap of a process that serves: out of the collector's way, and what was replaced is not."""

import gc
from collections.abc import Iterator

import pytest

from {{ cookiecutter.__package_name }}.serving.heap import rest_collector, settle_heap


@pytest.fixture
def collector() -> Iterator[None]:
    """As it was, afterwards."""
    threshold = gc.get_threshold()
    yield
    gc.enable()
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("collector")
def test_what_is_there_is_frozen_and_collections_are_rare() -> None:
    kept = [[number] for number in range(1000)]
    rest_collector()
    settle_heap()
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(kept)
    assert gc.get_threshold()[0] >= 10_000
    assert len(kept) == 1000
