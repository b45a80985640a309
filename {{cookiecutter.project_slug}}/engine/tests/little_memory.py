"""The example service with little memory left. Linux only."""

import sys
from pathlib import Path

from .service import Service

_MIB = 2**20
_ROOM = (1, 4, 10, 13, 16, 22, 28, 40, 60)
"""MiB that the process may still allocate. Without a bound, orjson ended it at 10 to 16."""


class LittleMemory(Service):
    """A service that accepts large requests, and whose memory is limited for some of them."""

    def __init__(self, model_dir: Path, max_rows: int) -> None:
        large = {"max_body_bytes": 32 * _MIB, "request_timeout": 60}
        super().__init__(model_dir, max_rows=max_rows, **large)

    def check(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """Check that a large request gets a prediction or 503, and the next request is served."""
        assert self._predict_one() == 200
        refused = 0
        for room in _ROOM:
            self._limit(room * _MIB)
            try:
                response = self.request("POST", path, content=body, headers=headers)
                assert self._predict_one() == 200
            finally:
                self._limit(None)
            assert response.status_code in {200, 503}, response.text
            if response.status_code == 503:
                refused += 1
                assert 1 <= int(response.headers["retry-after"]) <= 3
                assert "not enough memory" in response.text
        assert refused
        assert self.scrape()["serving_refused_total", "out-of-memory"] == refused
        assert self.process.poll() is None

    def _predict_one(self) -> int:
        return self.predict([[5.1, 3.5, 1.4, 0.2]]).status_code

    def _limit(self, room: int | None) -> None:
        """Let the process allocate `room` bytes more, or any number."""
        if sys.platform == "linux":
            import resource

            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
            used = int(status.partition("VmSize:")[2].split()[0]) * 1024
            soft = resource.RLIM_INFINITY if room is None else used + room
            resource.prlimit(self.process.pid, resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
