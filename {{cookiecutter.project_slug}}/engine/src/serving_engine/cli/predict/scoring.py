"""Scores blocks in this process, or in several."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ...errors import UsageError
from .scorer import Scored

Score = Callable[[bytes], Scored]
ScoreAll = Callable[[Iterable[tuple[bytes, float]]], Iterator[tuple[Scored, float]]]
"""Scores blocks, and returns the results in the order of the blocks; the number with each block is
returned with its result."""


@contextmanager
def scoring(score: Score, workers: int) -> Iterator[ScoreAll]:
    """Score in this process, or in several that are forked from it."""
    if workers == 1:
        yield lambda blocks: ((score(block), part) for block, part in blocks)
        return
    if sys.platform != "linux":
        raise UsageError("several workers need Linux. Use --workers 1.")
    from .workers import forked_workers

    with forked_workers(score, workers) as score_all:
        yield score_all
