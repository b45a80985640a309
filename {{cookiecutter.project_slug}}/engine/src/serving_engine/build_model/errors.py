"""The error of `model package`."""

from ..errors import UsageError
from ..text import one_line


class NotPackaged(UsageError):
    """No model can be built from the file. `str()` is one printable line."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text, most=4000))
