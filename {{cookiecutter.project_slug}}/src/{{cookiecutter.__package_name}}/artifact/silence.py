"""Python's warnings while a model is loaded and while it predicts: to whoever listens, and to the
debug log.

Filters cannot promise that: scikit-learn's forests enter `catch_warnings` for every tree of every
call, which is not thread-safe and can leave the filters empty for good.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

logger = logging.getLogger(__name__)

_heard: ContextVar[list[Warning | str] | None] = ContextVar("heard", default=None)


@contextmanager
def heard_warnings() -> Iterator[list[Warning | str]]:
    """Give the warnings of this thread in place of showing them; needs `install_listener`."""
    heard: list[Warning | str] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def install_listener() -> None:
    """Make `heard_warnings` work in this process. What nobody hears is shown as before."""
    if not isinstance(warnings.showwarning, _Listener):
        warnings.showwarning = _Listener(warnings.showwarning)


class _Listener:
    def __init__(self, show: Any) -> None:
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
        heard = _heard.get()
        if heard is None:
            self._show(message, category, filename, lineno, file, line)
        else:
            heard.append(message)
            logger.debug("%s:%d: %s: %s", filename, lineno, category.__name__, message)
