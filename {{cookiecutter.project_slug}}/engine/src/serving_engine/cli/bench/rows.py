"""The rows that a service is asked for, and the requests that it has answered once."""

import asyncio
from pathlib import Path
from typing import Any

import httptools
import orjson

from ...build_model.examples import read_examples
from ...errors import UsageError
from ...model_files.manifest import Tolerance, read_manifest
from .client import MAX_WAIT, Connection
from .target import Known, Query, Target, make_queries

_MOST_REQUESTS = 500
_OK = 200


class KnownRows:
    """The rows to send, and their predictions if they are golden examples."""

    def __init__(self, file: Path | None, model_dir: Path, *, elsewhere: bool = False) -> None:
        """file: of rows; None for the golden examples. elsewhere: whether another model is asked.

        Raises ModelError or UsageError.
        """
        self.predictions: list[Any] | None = None
        self.tolerance = Tolerance()
        self.title = "a service"
        if file is None:
            manifest = read_manifest(model_dir)
            self.rows = [example.input for example in manifest.examples]
            self.predictions = [example.output for example in manifest.examples]
            self.tolerance = manifest.tolerance
            self.of = {"name": manifest.name, "version": manifest.version}
        else:
            columns = () if elsewhere else read_manifest(model_dir).signature.inputs
            self.rows = read_examples(file, columns).rows

    def queries(self, target: Target, model: dict[str, Any], rows: int) -> list[Query]:
        """Requests with their predictions, if the model that is served is known to make them."""
        known = self.predictions if self.predictions and self.of == model else None
        self.title = f"{model['name']} {model['version']}"
        return make_queries(target, Known(self.rows, known, self.tolerance), rows, _MOST_REQUESTS)


async def learn(target: Target, rows: KnownRows, per_request: int) -> list[Query]:
    """The requests, each of which the service has answered once. Raises UsageError."""
    connection = Connection(target)
    try:
        model = await _ask(connection, target.request("GET", "/model"))
        known = {name: model.get(name) for name in ("name", "version")}
        queries = rows.queries(target, known, per_request)
        for query in queries:
            answer = await _ask(connection, query.request)
            if query.expected is None:
                query.expected = answer["predictions"]
    finally:
        connection.close()
    return queries


async def fetch(connection: Connection, request: bytes) -> tuple[int, bytes]:
    """The status and the body of the answer to a request. Raises UsageError if there is none."""
    try:
        async with asyncio.timeout(MAX_WAIT):
            return await connection.send(Query(request))
    except (OSError, TimeoutError, httptools.HttpParserError) as error:
        raise UsageError(f"the service does not answer: {error or 'timeout'}.") from None


async def _ask(connection: Connection, request: bytes) -> Any:
    status, body = await fetch(connection, request)
    try:
        document = orjson.loads(body)
    except ValueError:
        document = {}
    if status != _OK or not isinstance(document, dict):
        detail = document.get("detail", "no JSON") if isinstance(document, dict) else "no object"
        first_line = request.partition(b"\r\n")[0].decode()
        raise UsageError(f"the service answers {status} to {first_line}: {detail}")
    return document
