"""Captures Python's warnings while a model is loaded and while it predicts, for the debug log.

Warning filters cannot capture them: scikit-learn's forests enter `catch_warnings` for every tree of
every call, which is not thread-safe and can leave the filters empty for ever.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

logger = logging.getLogger(__name__)

_captured: ContextVar[list[Warning | str] | None] = ContextVar("captured", default=None)


@contextmanager
def capture_warnings() -> Iterator[list[Warning | str]]:
    """Collect this thread's warnings instead of showing them; needs `install_warning_capture`."""
    warnings_of_block: list[Warning | str] = []
    token = _captured.set(warnings_of_block)
    try:
        yield warnings_of_block
    finally:
        _captured.reset(token)


def install_warning_capture() -> None:
    """Enable `capture_warnings` in this process. Other warnings are shown as before."""
    if not isinstance(warnings.showwarning, _WarningCapture):
        warnings.showwarning = _WarningCapture(warnings.showwarning)


class _WarningCapture:
    def __init__(self, show: Callable[..., None]) -> None:
        self._show = show

    def __call__(  # noqa: PLR0917 - as `warnings.showwarning` is called
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        captured = _captured.get()
        if captured is None:
            self._show(message, category, filename, lineno, file, line)
        else:
            captured.append(message)
            logger.debug("%s:%d: %s: %s", filename, lineno, category.__name__, message)
