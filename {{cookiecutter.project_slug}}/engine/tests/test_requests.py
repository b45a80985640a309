"""Requests of clients: valid, malformed and hostile, in process and over real sockets."""

import http.client
import json
import re
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field
from serving_engine.errors import (
    FieldError,
    InvalidInput,
    InvalidJSON,
    RequestError,
)
from serving_engine.model_files.manifest import Manifest
from serving_engine.schema.request_parser import RequestParser
from serving_engine.schema.signature import Column, Signature
from serving_engine.web.problem_details import MAX_BYTES, problem

from .models import example_row
from .service import PATIENCE, Service

MEBIBYTE = 1024 * 1024
ECHO = "do-not-echo-me"
JSON = "Content-Type: application/json"
COLUMNS = [f"column {number}" for number in range(100)]


# Bodies of one mebibyte that are slow to parse.


def repeated(start: str, unit: str, end: str, separator: str = ",") -> bytes:
    """`start`, then as many units as fit into a mebibyte, then `end`."""
    count = (MEBIBYTE - len(start) - len(end)) // (len(unit) + len(separator))
    return (start + separator.join([unit] * count) + end).encode()


def numbered(start: str, unit: str, end: str) -> bytes:
    """As `repeated`, with a number in each unit."""
    count = (MEBIBYTE - len(start) - len(end)) // (len(unit % 999_999) + 1)
    return (start + ",".join(unit % number for number in range(count)) + end).encode()


ROW = "[" + ",".join(["1.5"] * len(COLUMNS)) + "]"
OBJECT = json.dumps(dict.fromkeys(COLUMNS, 1.5))
FLAT = {
    "unknown names in one row": numbered('{"instances":[{', '"%x":1', "}]}"),
    "unknown names beside the known ones": numbered(
        '{"instances":[' + OBJECT[:-1] + ",", '"%x":1', "}]}"
    ),
    "unknown names in every row": repeated('{"instances":[', OBJECT[:-1] + ',"x":[[],[]]}', "]}"),
    "unknown members of the body": numbered("{", '"%x":1', ',"instances":[' + ROW + "]}"),
    "a row of strings": repeated('{"instances":[[', '"a"', "]]}"),
    "a repeated name": repeated('{"instances":[{', '"column 0":"a"', "}]}"),
    "rows that are right but too many": repeated('{"instances":[', ROW, "]}"),
    "a number of a million digits": repeated('{"instances":[[', "9", "]]}", ""),
    "numbers of 4,000 digits": repeated('{"instances":[[', "9" * 4000, "]]}"),
    "a fraction of a million digits": repeated('{"instances":[[0.', "1", "]]}", ""),
    "infinite numbers": repeated('{"instances":[[', "1e400", "]]}"),
    "a string of escapes": repeated('{"instances":[["', "\\u2603", '"]]}', ""),
    "a long name": repeated('{"instances":[{"', "\\u0000", '":1}]}', ""),
    "spaces": b" " * MEBIBYTE,
    "spaces inside": b'{"instances":' + b" " * (MEBIBYTE - 100) + b"[x]}",
    "brackets": b"[" * MEBIBYTE,
    "quotes": b'"' * MEBIBYTE,
    "backslashes": b'"' + b"\\" * MEBIBYTE,
    "NUL": bytes(MEBIBYTE),
    "no UTF-8 at the end": b'{"instances":[["' + b"a" * (MEBIBYTE - 50) + b'\xff"]]}',
    "UTF-16": ('{"instances":[' + "1," * (MEBIBYTE // 5)).encode("utf-16"),
}
NESTED = {
    "arrays": repeated("[", "[]", "]"),
    "arrays in arrays": repeated("[", "[" * 900 + "]" * 900, "]"),
    "arrays in a row": repeated('{"instances":[[', "[]", "]]}"),
    "empty rows": repeated('{"instances":[', "{}", "]}"),
    "objects before the rows": repeated('{"a":[', "{}", '],"instances":[' + ROW + "]}"),
    "objects in objects": repeated('{"instances":[[', '{"a":{"b":{}}}', "]]}"),
    "arrays and an infinite number": repeated("[1e400,", "[]", "]"),
    "rows of strings": repeated('{"instances":[', '["a"]', "]}"),
}


@pytest.fixture(scope="module")
def parser() -> RequestParser:
    inputs = [Column(name=name) for name in COLUMNS]
    return RequestParser(Signature(layout="array", inputs=inputs, task="regression"), max_rows=1000)


def request_error(parser: RequestParser, body: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parser.parse(body)
    return caught.value


@pytest.mark.parametrize("name", [*FLAT, *NESTED])
def test_no_body_blocks_the_event_loop(parser: RequestParser, name: str) -> None:
    body = (FLAT | NESTED)[name]
    assert len(body) <= MEBIBYTE + 1
    seconds = []
    for _ in range(3):
        started = time.thread_time()
        response = problem(request_error(parser, body))
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 0.1
    assert len(response.body) <= MAX_BYTES


@pytest.mark.parametrize("name", NESTED)
def test_a_deeply_nested_body_is_invalid_without_being_decoded(
    parser: RequestParser, name: str
) -> None:
    tracemalloc.start()
    try:
        error = request_error(parser, NESTED[name])
        # orjson itself takes twelve times the size of what it reads.
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()
    assert isinstance(error, InvalidInput)
    assert [item.pointer for item in error.errors] == ["/instances"]


@pytest.mark.parametrize(
    "body",
    [
        repeated("[", "[]", ""),
        repeated("[", "[]", ",]"),
        repeated("[", "[]", "]x"),
        repeated("[", "[]", "] x"),
        repeated("[", "[]", ",NaN]"),
        repeated("", "[]", ""),
    ],
)
def test_a_nested_body_that_is_not_json_is_invalid_json(parser: RequestParser, body: bytes) -> None:
    assert isinstance(request_error(parser, body), InvalidJSON)


def test_brackets_in_names_of_columns_are_no_containers() -> None:
    inputs = [Column(name=f"petal [{number}]") for number in range(10)]
    parser = RequestParser(Signature(layout="array", inputs=inputs, task="regression"), max_rows=50)
    row = {column.name: 1.0 for column in inputs}
    assert len(parser.parse(json.dumps({"instances": [row] * 50}).encode())) == 50


TEXT = Signature(layout="text", inputs=[Column(name="t", dtype="string")], task="regression")


def test_brackets_in_strings_are_no_containers() -> None:
    parser = RequestParser(TEXT, max_rows=10)
    for text in ("[" * 10_000, '"[' * 5000, "\\[" * 5000, '\\"{' * 5000, '[\\\\"' * 3000):
        rows = parser.parse(json.dumps({"instances": [{"t": text}] * 10}).encode()).values
        assert [list(row) for row in rows] == [[text]] * 10


@pytest.mark.parametrize("name", [*FLAT, *NESTED])
def test_no_body_blocks_the_event_loop_if_the_model_takes_strings(name: str) -> None:
    parser = RequestParser(TEXT, max_rows=1000)
    body = (FLAT | NESTED)[name]
    seconds = []
    for _ in range(3):
        started = time.thread_time()
        with suppress(RequestError):
            parser.parse(body)
        seconds.append(time.thread_time() - started)
    assert min(seconds) < 0.1
    quoted = json.dumps({"instances": [["[" * 1000]]}).encode()
    error = request_error(parser, quoted[:-2] + b"," + body[len(quoted) :] + b"]}")
    assert isinstance(error, InvalidInput | InvalidJSON)


def test_nesting_outside_of_strings_is_invalid_without_being_decoded() -> None:
    parser = RequestParser(TEXT, max_rows=1000)
    for unit in ("[]", '["]"]', '{"[":1}', '["\\""]'):
        error = request_error(parser, repeated('{"instances":[[', unit, "]]}"))
        assert [(item.pointer, item.message) for item in error.errors] == [
            ("/instances", "must have at most 1000 items, and nothing nested in them")
        ]


def test_too_many_rows_are_an_error_with_the_limit(parser: RequestParser) -> None:
    error = request_error(parser, json.dumps({"instances": [[1.5] * len(COLUMNS)] * 3000}).encode())
    assert error.errors[0].pointer == "/instances"
    assert error.errors[0].message == "must have at most 1000 items"


def test_a_misspelt_column_and_the_missing_one_are_both_named(parser: RequestParser) -> None:
    row = dict.fromkeys(COLUMNS[1:], 1.5) | {"Column 0": 1.5}
    error = request_error(parser, json.dumps({"instances": [row]}).encode())
    assert [(item.pointer, item.message) for item in error.errors] == [
        ("/instances/0/column 0", "is missing"),
        ("/instances/0/Column 0", "is not known"),
    ]


def test_long_names_are_cut_so_that_20_errors_fit_into_a_response(parser: RequestParser) -> None:
    row = dict.fromkeys(COLUMNS, 1.5) | {f"{number} " + "x" * 5000: 1 for number in range(30)}
    response = problem(request_error(parser, json.dumps({"instances": [row]}).encode()))
    assert len(json.loads(response.body)["errors"]) == 20


# JSON, by RFC 8259.


@pytest.mark.parametrize("number", ["1", "-0", "1E5", "1e+5", "1.0e-400", "123456789012345678901"])
def test_every_notation_of_a_number_is_accepted(
    client: TestClient, manifest: Manifest, number: str
) -> None:
    cells = ",".join([number] * len(manifest.signature.columns))
    body = '{"instances": [[' + cells + "]]}"
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\x00", 400),
        (b"\x0c{}", 400),
        (b"// {}", 400),
        (b"{'instances': []}", 400),
        (b'{"instances": [],}', 400),
        (b'{"instances": [[01]]}', 400),
        (b'{"instances": [[+1]]}', 400),
        (b'{"instances": [[.5]]}', 400),
        (b'{"instances": [[1.]]}', 400),
        (b'{"instances": [[0x1]]}', 400),
        (b'{"instances": [[1_0]]}', 400),
        (b'{"instances": [[-Infinity]]}', 400),
        (b'{"instances": [["\t"]]}', 400),
        (b'{"instances": [["\\x41"]]}', 400),
        (b'{"instances": [["\\udc00"]]}', 400),
        (b'{"instances": [["\xed\xa0\x80"]]}', 400),
        (b'{"instances": [["\xc0\xaf"]]}', 400),
        (b'{"a": NaN, "instances": [[1e400]]}', 400),
        (b'{"instances": [[1e400]], "a": NaN}', 400),
        (b'{"instances": []} {}', 400),
        (b'{"instances": []}\x00', 400),
        (b'"instances"', 422),
        (b"1e400", 422),
        (b'{"instances": "[[1, 2]]"}', 422),
        (b'{"instances": [[]]}', 422),
        (b'{"instances": [{}]}', 422),
        (b'{"instances": [[1], {}]}', 422),
        (b'{"instances": [{"": 1}]}', 422),
        (b'{"instances": [{"\\u0000\\ud83d\\ude00/~": 1}]}', 422),
        (b'{"Instances": [[1]]}', 422),
        (b'{"instances": [[1]], "instances": []}', 422),
        (b' \t\r\n{"instances": {"0": [1]}} \t\r\n', 422),
    ],
)
def test_invalid_json_gets_400_and_invalid_input_422(
    client: TestClient, body: bytes, status: int
) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


def test_an_infinite_number_is_an_error_with_its_place(
    client: TestClient, manifest: Manifest
) -> None:
    cells = ["1.5"] * (len(manifest.signature.columns) - 1)
    for number in ("1e400", "9" * 400):
        body = '{"instances": [[' + ",".join([*cells, number]) + "]]}"
        response = client.post(
            "/predict", content=body, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 422
        (error,) = response.json()["errors"]
        assert error["pointer"] == f"/instances/0/{len(cells)}"
        assert error["message"].startswith("must be a finite number")


def test_no_rejected_value_is_repeated_or_logged(
    client: TestClient, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    row = example_row(manifest)
    name = manifest.signature.columns[0]
    for body in (
        [ECHO],
        {"instances": ECHO},
        {"instances": [ECHO]},
        {"instances": [[ECHO, *row[1:]]]},
        {"instances": [{name: ECHO}]},
        {"instances": [row, [ECHO]]},
        {"instances": [row], "x": ECHO},
        {"instances": [{"x": ECHO}]},
    ):
        response = client.post("/predict", json=body)
        assert response.status_code == 422
        assert ECHO not in response.text
    cut = client.post("/predict", content=f'["{ECHO}', headers={"Content-Type": "application/json"})
    assert cut.status_code == 400
    assert ECHO not in cut.text + caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# Header fields.


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON", 200),
        ("application/json;", 200),
        ("application/json ; charset=utf-8", 200),
        ('application/json; v=1; charset="UTF-8"', 200),
        ("application/vnd.example.v1+json", 200),
        ("application/json; charset=latin-1", 415),
        ("application/json; charset=utf-8; charset=utf-16", 415),
        ("application/json; charset=", 415),
        ("application/jsonx", 415),
        ("application/x-json", 415),
        ("text/json", 415),
        ("json", 415),
        ("application/json, application/json", 415),
        ("application/" + "a" * 5000 + "+json;" * 5000, 200),
    ],
)
def test_the_media_type_decides_whether_a_body_is_read(
    client: TestClient, manifest: Manifest, content_type: str, status: int
) -> None:
    body = json.dumps({"instances": [example_row(manifest)]})
    started = time.thread_time()
    response = client.post("/predict", content=body, headers={"Content-Type": content_type})
    assert response.status_code == status, response.text
    assert time.thread_time() - started < 1


def test_both_values_of_a_repeated_header_count(client: TestClient, manifest: Manifest) -> None:
    body = json.dumps({"instances": [example_row(manifest)]})
    json_type = ("Content-Type", "application/json")
    for fields, status in (
        ([json_type], 200),
        ([json_type, ("X-Other", "1"), ("X-Other", "2")], 200),
        ([json_type, ("Content-Type", "text/plain")], 415),
        ([("Content-Type", "text/plain"), json_type], 415),
        ([json_type, ("Content-Encoding", "identity"), ("Content-Encoding", "gzip")], 415),
        ([json_type, ("X-Request-Timeout-Ms", "1000"), ("X-Request-Timeout-Ms", "2000")], 422),
    ):
        response = client.post("/predict", content=body, headers=fields)
        assert response.status_code == status, fields


def test_a_content_length_of_many_digits_is_too_large(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": "9" * 5000}
    assert client.post("/predict", content=iter([b"{}"]), headers=headers).status_code == 413


def test_the_content_encoding_identity_is_accepted(client: TestClient, manifest: Manifest) -> None:
    body = json.dumps({"instances": [example_row(manifest)]})
    for encoding in ("identity", "Identity", ""):
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        assert client.post("/predict", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize("sent", ["", " ", "a" * 65, "a b", "a\x7fb", "é", '{"a": 1}'])
def test_an_invalid_request_id_is_replaced(client: TestClient, sent: str) -> None:
    headers = {"X-Request-ID": sent.encode("latin-1")}
    ids = {client.get("/livez", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("[A-Za-z0-9._-]{1,64}", new) and new != sent for new in ids)


def test_a_valid_request_id_is_returned(client: TestClient) -> None:
    for sent in ("a", "A-1._z", "a" * 64):
        response = client.get("/livez", headers={"X-Request-ID": sent})
        assert response.headers.get_list("x-request-id") == [sent]


# Methods and paths.


def test_a_get_route_accepts_head(client: TestClient) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/model", "/docs", "/openapi.json"):
        assert client.head(path).status_code == 200, path
    assert client.head("/predict").headers["allow"] == "POST"


def test_every_json_answer_ends_with_a_line_end(
    app: FastAPI, client: TestClient, good: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    answers = [client.post("/predict", content=body, headers=headers) for body in (good, b"{}")]
    assert [answer.status_code for answer in answers] == [200, 422]
    paths = {"/livez", "/readyz", "/model", "/nope"}
    paths |= {path for protocol in app.state.protocols for path in protocol.paths}
    for answer in [*answers, *map(client.get, paths)]:
        if "json" in answer.headers["content-type"]:
            assert answer.text.endswith("\n"), answer.url


def test_405_names_every_method_that_is_allowed(client: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "ANYTHING"):
        response = client.request(method, "/livez")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
        assert response.json()["status"] == 405


@pytest.mark.parametrize(
    "path", ["/predict/", "/livez/", "/PREDICT", "/predict;x", "/predict%2F", "/..%2Fpredict"]
)
def test_another_path_is_not_found_and_never_redirected(client: TestClient, path: str) -> None:
    response = client.post(path, json={}, follow_redirects=False)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


# Routes of a service.


class Flower(BaseModel):
    kind: str
    size: int


class Rose(BaseModel):
    kind: Literal["rose"]


class Tulip(BaseModel):
    kind: Literal["tulip"]


@pytest.fixture
def client_of_routes(app: FastAPI) -> Iterator[TestClient]:
    @app.get("/raise/{status}")
    async def fail(status: int, detail: str = "") -> None:
        raise HTTPException(status, detail or "\ud800" + "x" * 20_000, {"X-Why": "because"})

    @app.post("/flower")
    async def flower(flower: Flower) -> Flower:
        return flower

    @app.post("/either")
    async def either(flower: Annotated[Rose | Tulip, Field(discriminator="kind")]) -> str:
        return flower.kind

    @app.post("/counts")
    async def counts(counts: dict[str, int]) -> dict[str, int]:
        return counts

    @app.post("/cut")
    async def cut() -> StreamingResponse:
        async def half() -> AsyncIterator[bytes]:
            yield b"half"
            raise ValueError("the other half failed")

        return StreamingResponse(half(), headers={"Content-Length": "8"})

    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("status", [400, 404, 418, 451, 499, 503, 599])
def test_an_http_exception_becomes_a_problem(client_of_routes: TestClient, status: int) -> None:
    response = client_of_routes.get(f"/raise/{status}")
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-why"] == "because"
    assert len(response.content) <= MAX_BYTES
    assert "id" not in response.json()


@pytest.mark.parametrize("status", [204, 304])
def test_an_http_exception_of_a_status_without_body_has_none(
    client_of_routes: TestClient, status: int
) -> None:
    response = client_of_routes.get(f"/raise/{status}")
    assert (response.status_code, response.content) == (status, b"")


def test_a_500_that_a_route_raises_is_logged_under_its_id(
    client_of_routes: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = client_of_routes.get("/raise/500?detail=broken")
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.request_id == response.json()["id"]  # type: ignore[attr-defined]
    assert record.exc_info


def test_a_body_that_fastapi_validates_gets_the_same_errors(client_of_routes: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    broken = client_of_routes.post("/flower", content=b"{", headers=headers)
    assert (broken.status_code, broken.json()["title"]) == (400, "Not JSON")
    wrong = client_of_routes.post("/flower", json={"size": ECHO})
    assert wrong.status_code == 422
    assert ECHO not in wrong.text
    assert {error["pointer"] for error in wrong.json()["errors"]} == {"/body/kind", "/body/size"}
    assert all(error["message"] for error in wrong.json()["errors"])
    neither = client_of_routes.post("/either", json={"kind": ECHO})
    assert neither.status_code == 422
    assert ECHO not in neither.text
    nan = client_of_routes.post("/flower", content=b'{"kind": "a", "size": NaN}', headers=headers)
    assert nan.status_code == 422


def test_a_name_with_a_lone_surrogate_gets_422(client_of_routes: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    response = client_of_routes.post("/counts", content=b'{"\\ud800": "x"}', headers=headers)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"].startswith("/body/")


def test_no_problem_is_larger_than_8_kib_or_longer_than_20_errors() -> None:
    texts = [("\x00" * 9000, ""), ("", "\x00" * 9000), ("a" * 9000, "/é" * 900), ("", "/a")]
    for detail, pointer in texts:
        response = problem(InvalidInput(detail, [FieldError(pointer, "is wrong")] * 40))
        document = json.loads(response.body)
        assert len(response.body) <= MAX_BYTES
        assert document["status"] == 422
        assert len(document["errors"]) <= 20


# Over a socket.


@pytest.fixture(scope="module")
def service(model_dir: Path) -> Iterator[Service]:
    with Service(model_dir, body_timeout=0.5, drain_delay=0) as service:
        yield service


@pytest.fixture
def good(manifest: Manifest) -> bytes:
    return json.dumps({"instances": [example_row(manifest)]}).encode()


class Connection:
    """One connection: it sends raw bytes and reads responses."""

    def __init__(self, service: Service) -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *lines: str | bytes, body: bytes = b"") -> None:
        encoded = [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
        self.socket.sendall(b"\r\n".join([*encoded, b"Host: test", b"", b""]) + body)

    def read(self, method: str = "POST") -> http.client.HTTPResponse:
        """Read one response with its body, `response.content`."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        response.content = response.read()  # type: ignore[attr-defined]
        return response

    def predict(self, body: bytes, *lines: str | bytes, path: str = "/predict") -> int:
        self.send(f"POST {path} HTTP/1.1", JSON, f"Content-Length: {len(body)}", *lines, body=body)
        return self.read().status


@pytest.fixture
def connection(service: Service) -> Iterator[Connection]:
    with Connection(service) as connection:
        yield connection


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["POST /%70redict HTTP/1.1"], 200),
        (["POST http://elsewhere/predict HTTP/1.1"], 200),
        (["POST /predict?a=%00&b HTTP/1.1"], 200),
        (["POST /predict HTTP/1.1", b"X-Latin: \xe9\xff"], 200),
        (["POST /predict HTTP/1.1", "X-Request-ID:"], 200),
        (["POST /predict HTTP/1.1", "Connection: keep-alive, Upgrade"], 200),
        (["POST //predict HTTP/1.1"], 404),
        (["POST /predict/ HTTP/1.1"], 404),
        (["POST /predict%00 HTTP/1.1"], 404),
        (["POST /%ff%fe HTTP/1.1"], 404),
        (["POST /%zz% HTTP/1.1"], 404),
        (["POST /../predict HTTP/1.1"], 404),
        (["PUT /predict HTTP/1.1"], 405),
        (["OPTIONS /predict HTTP/1.1"], 405),
        (["PROPFIND /predict HTTP/1.1"], 405),
        (["POST /predict HTTP/1.1", "Content-Type: text/plain"], 415),
        (["POST /predict HTTP/1.1", b"Content-Type: \xff"], 415),
        (["POST /predict HTTP/1.1", "Content-Encoding: gzip"], 415),
    ],
)
def test_every_request_gets_a_response_and_the_connection_stays_usable(
    connection: Connection, good: bytes, lines: list[str | bytes], status: int
) -> None:
    request_line, *fields = lines
    connection.send(request_line, JSON, f"Content-Length: {len(good)}", *fields, body=good)
    response = connection.read()
    assert response.status == status
    if status != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert json.loads(response.content)["status"] == status  # type: ignore[attr-defined]
    assert (response.headers["allow"] is not None) == (status == 405)
    assert response.headers["connection"] is None
    assert connection.predict(good) == 200


def test_an_invalid_body_leaves_the_connection_usable(connection: Connection, good: bytes) -> None:
    assert connection.predict(b"{") == 400
    assert connection.predict(b"{}") == 422
    assert connection.predict(b"") == 400
    assert connection.predict(good) == 200


def test_a_chunked_body_is_accepted(connection: Connection, good: bytes) -> None:
    for body in (chunked(good), chunked(good[:1], good[1:7], good[7:])):
        connection.send("POST /predict HTTP/1.1", JSON, "Transfer-Encoding: chunked", body=body)
        assert connection.read().status == 200


def test_a_body_gets_100_continue_only_if_it_will_be_read(
    connection: Connection, good: bytes
) -> None:
    request_line = "POST /predict HTTP/1.1"
    connection.send(request_line, JSON, "Expect: 100-continue", f"Content-Length: {len(good)}")
    assert connection.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.socket.sendall(good)
    assert connection.read().status == 200
    connection.send(request_line, JSON, "Expect: 100-continue", "Content-Length: 99999999")
    assert connection.read().status == 413


def test_a_response_to_head_has_no_body(connection: Connection, good: bytes) -> None:
    connection.send("HEAD /livez HTTP/1.1")
    response = connection.read("HEAD")
    assert (response.status, response.headers["content-length"]) == (200, "19")
    assert connection.predict(good) == 200


def test_a_websocket_upgrade_is_handled_as_a_plain_request(
    connection: Connection, good: bytes
) -> None:
    connection.send("GET /predict HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket")
    response = connection.read()
    assert (response.status, response.headers["allow"]) == (405, "POST")
    assert connection.predict(good) == 200


def test_pipelined_requests_are_answered_in_order(connection: Connection, good: bytes) -> None:
    for body in (good, b"{", good):
        connection.send("POST /predict HTTP/1.1", JSON, f"Content-Length: {len(body)}", body=body)
    # Not with HTTPResponse, whose buffer would also read bytes of the next response.
    received = b""
    while received.count(b"HTTP/1.1 ") < 3:
        received += connection.socket.recv(65536)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"400", b"200"]


def test_a_body_that_is_too_large_gets_413_before_its_end(service: Service) -> None:
    body = b" " * (4 * MEBIBYTE)
    headers = {"Content-Type": "application/json"}
    declared = service.client.post("/predict", content=body, headers=headers)
    assert declared.status_code == 413
    parts = iter([body[:100_000]] * 40)
    undeclared = service.client.post("/predict", content=parts, headers=headers)
    assert undeclared.status_code == 413
    assert undeclared.json()["title"] == "Body too large"


def test_a_slow_body_gets_408(connection: Connection) -> None:
    connection.send("POST /predict HTTP/1.1", JSON, "Content-Length: 50", body=b"{")
    response = connection.read()
    assert (response.status, response.headers["connection"]) == (408, "close")
    assert json.loads(response.content)["status"] == 408  # type: ignore[attr-defined]
    assert connection.socket.recv(1) == b""


def test_a_client_that_disconnects_before_the_end_of_its_body_is_no_error(service: Service) -> None:
    with Connection(service) as connection:
        connection.send(
            "POST /predict HTTP/1.1", JSON, "Content-Length: 50", "X-Request-ID: gone", body=b"{"
        )
    line = json.loads(service.wait_for_line('"gone"'))
    assert (line["level"], line["status"]) == ("info", 499)


def test_errors_of_clients_are_not_logged_as_errors(service: Service) -> None:
    """The last test of the service: its log has the requests of all tests before."""
    lines = [json.loads(line) for line in service.lines]
    assert len(lines) > 30
    assert not [line for line in lines if line["level"] in {"error", "critical"}]
    assert {line["level"] for line in lines if line["logger"] == "access"} == {"info"}
    assert service.get("/readyz").status_code == 200
