"""What is measured: the address of a service, and requests whose right answers are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from ...errors import UsageError
from ...model_files.manifest import Tolerance
from ...schema.predictions import predictions_agree


@dataclass(frozen=True)
class Target:
    """A service. prefix: of its paths. key: an API key, if it needs one."""

    host: str
    port: int
    secure: bool
    prefix: str
    key: str | None

    @classmethod
    def of(cls, url: str, key: str | None) -> "Target":
        """Raises UsageError if it is no address of a service."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(
                f"{url} is no URL of a service. Give one such as http://127.0.0.1:8000."
            )
        prefix = parts.path.rstrip("/")
        return cls(parts.hostname, port, parts.scheme == "https", prefix, key)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The bytes of a request."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            f"{method} {self.prefix}{path} HTTP/1.1",
            f"Host: {host}:{self.port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if self.key is not None:
            lines.append(f"Authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Query:
    """A request for predictions.

    expected: the predictions; None until they are known. answer: the bytes of a right answer.
    """

    request: bytes
    expected: list[Any] | None = None
    tolerance: Tolerance = Tolerance()  # noqa: RUF009 - a frozen record
    answer: bytes = b""

    def is_right(self, answer: bytes) -> bool:
        """Whether an answer has the expected predictions, within the tolerance."""
        if answer == self.answer:  # as most are: to parse each would slow the client down
            return True
        try:
            predictions = orjson.loads(answer)["predictions"]
        except (ValueError, KeyError, TypeError):
            return False
        relative, absolute = self.tolerance.relative, self.tolerance.absolute
        return predictions_agree(self.expected, predictions, relative, absolute)


@dataclass(frozen=True)
class Known:
    """Rows by column name, and their predictions if they are known."""

    rows: Sequence[dict[str, Any]]
    predictions: Sequence[Any] | None
    tolerance: Tolerance


def make_queries(target: Target, known: Known, rows: int, most: int) -> list[Query]:
    """At most `most` requests of `rows` rows each; rows are repeated until the last is full."""
    total = len(known.rows)
    queries = []
    for first in range(0, total, rows)[:most]:
        chosen = [number % total for number in range(first, first + rows)]
        body = orjson.dumps({"instances": [known.rows[number] for number in chosen]})
        expected = None
        if known.predictions is not None:
            expected = [known.predictions[number] for number in chosen]
        request = target.request("POST", "/predict", body)
        queries.append(Query(request, expected, known.tolerance))
    return queries
