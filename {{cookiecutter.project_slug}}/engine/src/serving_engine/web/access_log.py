"""The access log: one line for each request, or some of them if there are very many."""

import logging
import time
from collections.abc import Sequence
from urllib.parse import quote

from ..asgi import Scope
from ..setting_types import Network
from .client_address import client_address

MAX_PATH = 300
FIRST_ERROR = 400

access = logging.getLogger("access")


class AccessLog:
    """Writes the lines. Ids, trace, rows and model version are fields of every line of a request.

    per_second: most lines in a second, of one process, about requests that succeeded; None for
    all. The others are left out; `skipped` in the next line tells how many were. Errors are always
    logged. trusted_proxies: whose headers name the client.
    """

    def __init__(self, per_second: int | None, trusted_proxies: Sequence[Network] = ()) -> None:
        self._trusted_proxies = trusted_proxies
        self._per_second = per_second
        self._second = 0
        self._lines = 0
        self._skipped = 0

    def write(self, method: str, scope: Scope, status: int, seconds: float) -> None:
        """Write the line of a request, or skip it. seconds: until its response."""
        if self._skips(status):
            return
        path = sent_path(scope)
        fields = {
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
            "client": client_address(scope, self._trusted_proxies),
            "request_id": scope["state"]["request_id"],
        }
        if self._skipped:
            fields["skipped"] = self._skipped
            self._skipped = 0
        access.info("%s %s %d", method, path, status, extra=fields)

    def _skips(self, status: int) -> bool:
        """Whether the line of a request is left out, as this second has enough."""
        if self._per_second is None or status >= FIRST_ERROR:
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._lines = 0
        self._lines += 1
        if self._lines <= self._per_second:
            return False
        self._skipped += 1
        return True


def sent_path(scope: Scope) -> str:
    """Return the path as it was sent: percent-encoded, so without spaces and line ends."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raw = quote(scope["path"], errors="replace").encode()
    path = raw[:MAX_PATH].decode("ascii", "backslashreplace")
    return path if len(raw) <= MAX_PATH else path + "..."
