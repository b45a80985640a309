"""Open Inference as its clients use it: tensors in JSON and as raw bytes, metadata, errors."""

import gzip
import json
import struct
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from serving_engine.errors import FieldError, InvalidInput, InvalidJSON
from serving_engine.inference.model import Model
from serving_engine.model_files.manifest import Manifest
from serving_engine.protocols.open_inference.datatypes import to_bytes
from serving_engine.protocols.open_inference.messages import parse_request, write_response
from serving_engine.protocols.open_inference.tensors import Tensors
from serving_engine.runtimes.base import LoadedModel
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.request_parser import Rows, Values, joined
from serving_engine.schema.signature import Column, Signature
from serving_engine.web.dependencies import get_model
from serving_engine.web.problem_details import MAX_BYTES
from serving_engine.web.protocol import one_line_error

from .example_service.app import create_app
from .example_service.settings import Settings
from .little_memory import LittleMemory
from .models import with_predict
from .service import samples

LENGTH = "Inference-Header-Content-Length"
FLOATS = Signature(
    layout="array",
    inputs=[Column(name="a"), Column(name="b", nullable=True)],
    task="classification",
    classes=["x", "é"],
    probabilities=True,
)
TENSORS = Tensors(FLOATS, max_rows=4)
OUTPUTS = Outputs(np.array([1, 0]), np.array([[0.25, 0.75], [1.0, 0.0]]))


@pytest.fixture
def path(manifest: Manifest) -> str:
    return f"/v2/models/{manifest.name}"


@pytest.fixture
def inference(client: TestClient, path: str, manifest: Manifest) -> dict[str, Any]:
    """A request with all golden examples, made from the metadata."""
    rows = manifest.example_rows
    inputs = []
    for number, spec in enumerate(client.get(path).json()["inputs"]):
        data = rows if len(spec["shape"]) == 2 else [row[number] for row in rows]
        shape = [len(rows), *spec["shape"][1:]]
        inputs.append({**spec, "shape": shape, "data": data})
    return {"inputs": inputs}


def native_predictions(client: TestClient, manifest: Manifest) -> list[Any]:
    """The predictions of the service's own protocol for the same rows."""
    instances = [example.input for example in manifest.examples]
    return list(client.post("/predict", json={"instances": instances}).json()["predictions"])


def raw(inference: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """The same request with every tensor as raw bytes: the body and its header."""
    bodies = []
    inputs = []
    for json_tensor in inference["inputs"]:
        tensor = dict(json_tensor)
        flat = list(np.array(tensor.pop("data"), dtype=object).ravel())
        bodies.append(to_bytes(tensor["datatype"], flat))
        inputs.append({**tensor, "parameters": {"binary_data_size": len(bodies[-1])}})
    header = json.dumps({**inference, "inputs": inputs}).encode()
    return header + b"".join(bodies), {LENGTH: str(len(header))}


def test_health_and_metadata(client: TestClient, path: str, manifest: Manifest) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    server = client.get("/v2").json()
    assert "binary_tensor_data" in server["extensions"]
    assert client.get("/v2/").json() == server
    version = f"{path}/versions/{manifest.version}"
    for url in (path, version):
        metadata = client.get(url).json()
        assert (metadata["name"], metadata["versions"]) == (manifest.name, [manifest.version])
        assert client.get(f"{url}/ready").json() == {"name": manifest.name, "ready": True}
        assert len(client.get(f"{url}/config").json()["input"]) == len(metadata["inputs"])
        assert client.get(f"{url}/stats").json()["model_stats"][0]["name"] == manifest.name


def test_probes_are_counted_under_the_protocols_name(client: TestClient) -> None:
    client.get("/v2/health/live")
    labels = 'protocol="open-inference",route="/v2/health/live",status="200"'
    assert labels + "} 1.0" in client.get("/metrics").text


def test_infer_agrees_with_predict(
    client: TestClient, path: str, inference: dict[str, Any], manifest: Manifest
) -> None:
    expected = native_predictions(client, manifest)
    response = client.post(f"{path}/infer", json=inference)
    assert response.status_code == 200, response.text
    document = response.json()
    assert (document["model_name"], document["model_version"]) == (manifest.name, manifest.version)
    assert "id" not in document
    specs = client.get(path).json()["outputs"]
    assert [output["name"] for output in document["outputs"]] == [spec["name"] for spec in specs]
    for output in document["outputs"]:
        assert output["shape"][0] == len(expected)
        assert len(output["data"]) == np.prod(output["shape"])
        if manifest.signature.task == "classification" and output["name"] == "label":
            assert output["data"] == [prediction["label"] for prediction in expected]
    same = client.post(f"{path}/versions/{manifest.version}/infer", json=inference).json()
    assert same == document


def test_raw_tensors_get_the_same_outputs(
    client: TestClient, path: str, inference: dict[str, Any]
) -> None:
    expected = client.post(f"{path}/infer", json=inference).json()["outputs"]
    inference |= {"parameters": {"binary_data_output": True}, "id": "42"}
    body, headers = raw(inference)
    for encoding, sent in (
        ("identity", body),
        ("gzip", gzip.compress(body)),
        ("deflate", zlib.compress(body)),
    ):
        response = client.post(
            f"{path}/infer", content=sent, headers={**headers, "Content-Encoding": encoding}
        )
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/octet-stream"
        length = int(response.headers[LENGTH])
        document = json.loads(response.content[:length])
        rest = response.content[length:]
        assert document["id"] == "42"
        for output, plain in zip(document["outputs"], expected, strict=True):
            size = output["parameters"]["binary_data_size"]
            assert to_bytes(output["datatype"], plain["data"]) == rest[:size]
            rest = rest[size:]
        assert rest == b""


def test_a_body_that_expands_beyond_the_limit_gets_413(
    client: TestClient, path: str, settings: Settings, inference: dict[str, Any]
) -> None:
    whole = gzip.compress(json.dumps(inference).encode())
    bomb = gzip.compress(b" " * (settings.max_body_bytes + 1))
    assert len(bomb) < settings.max_body_bytes
    for content, encoding, status in (
        (bomb, "gzip", 413),
        (b"{}", "gzip", 400),
        (whole[:-1], "gzip", 400),
        (whole + b"more", "gzip", 400),
        (whole, "br", 415),
    ):
        response = client.post(
            f"{path}/infer", content=content, headers={"Content-Encoding": encoding}
        )
        assert error(response, status)


def error(response: httpx2.Response, status: int) -> str:
    """Return the text of an error, which must have the form of this protocol."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    assert isinstance(response.json()["error"], str)
    return str(response.json()["error"])


def test_every_error_below_v2_has_the_same_form(
    client: TestClient, path: str, inference: dict[str, Any], settings: Settings, manifest: Manifest
) -> None:
    error(client.get("/v2/nope"), 404)
    error(client.post("/v2/models/nope/infer", json=inference), 404)
    error(client.get("/v2/models/nope"), 404)
    error(client.get(f"{path}/versions/{manifest.version}0"), 404)
    error(client.post(f"{path}/versions/{manifest.version}0/infer", json=inference), 404)
    wrong = client.get(f"{path}/infer")
    error(wrong, 405)
    assert wrong.headers["allow"] == "POST"
    error(client.post(f"{path}/infer", content=b"{"), 400)
    error(client.post(f"{path}/infer", json={"inputs": []}), 400)
    error(client.post(f"{path}/infer", content=b" " * (settings.max_body_bytes + 1)), 413)
    error(client.post(f"{path}/infer", content=b"{}", headers={LENGTH: "-1"}), 400)
    assert client.get("/v2x").json()["title"] == "Not Found"
    client.app.state.readiness.drain()  # type: ignore[attr-defined]
    for probe in ("/v2/health/ready", f"{path}/ready"):
        assert "draining" in error(client.get(probe), 503)
    assert client.get("/v2/health/live").status_code == 200


def test_only_probes_need_no_key(
    model_dir: Path, loaded: LoadedModel, path: str, inference: dict[str, Any]
) -> None:
    key = "0123456789abcdef"
    settings = Settings(model_dir=model_dir, api_keys=(SecretStr(key),))
    with TestClient(create_app(settings, loaded)) as client:
        for probe in ("/v2/health/live", "/v2/health/ready"):
            assert client.get(probe).status_code == 200
        response = client.post(f"{path}/infer", json=inference)
        assert "key" in error(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
        error(client.get(path), 401)
        headers = {"Authorization": f"Bearer {key}"}
        assert client.post(f"{path}/infer", json=inference, headers=headers).status_code == 200


def test_requests_are_counted_under_the_protocols_name(
    client: TestClient, path: str, inference: dict[str, Any]
) -> None:
    client.post(f"{path}/infer", json=inference)
    client.post(f"{path}/infer", content=b"{")
    metrics = samples(client.get("/metrics").text)
    route = "/v2/models/{model}/infer"
    assert metrics["serving_requests_total", "open-inference", route, "200"] == 1
    assert metrics["serving_requests_total", "open-inference", route, "400"] == 1
    (counted,) = client.get(f"{path}/stats").json()["model_stats"]
    assert counted["inference_stats"]["success"]["count"] == 1
    assert counted["inference_stats"]["success"]["ns"] > 0
    assert counted["inference_stats"]["fail"]["count"] == 1
    assert counted["execution_count"] == counted["inference_stats"]["compute_infer"]["count"] > 0
    assert counted["inference_count"] >= len(inference["inputs"][0]["data"])
    assert client.get("/v2/models/stats").json() == client.get(f"{path}/stats").json()


def test_overriding_get_model_replaces_the_model_of_the_protocol(
    app: FastAPI, settings: Settings, loaded: LoadedModel, path: str
) -> None:
    renamed = loaded.manifest.model_copy(update={"name": "other"})
    with TestClient(app) as client:
        paths = client.get("/openapi.json").json()["paths"]
        content = paths["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]
        example = content["application/json"]["examples"]["One row"]["value"]
        other = Model(LoadedModel(renamed, loaded.predict, 0.0), settings, app.state.metrics)
        app.dependency_overrides[get_model] = lambda: other
        response = client.post("/v2/models/other/infer", json=example)
        assert response.json()["model_name"] == "other", response.text
        error(client.post(f"{path}/infer", json=example), 404)
        app.dependency_overrides.clear()
        assert client.post(f"{path}/infer", json=example).status_code == 200
        other.close()


def test_rows_of_both_kinds_may_share_a_batch() -> None:
    lists = Rows([[1.0, None], [2.0, 3.0]])
    array = Rows(np.array([[4.0, NAN]]))
    assert joined([array]) is array.values
    assert isinstance(joined([array, array]), np.ndarray)
    for parts in ([lists, array], [array, lists], [array, array], [lists]):
        expected = np.concatenate([np.array(part.values, dtype=np.float64) for part in parts])
        assert np.array_equal(np.asarray(joined(parts), dtype=np.float64), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("parameters", "headers"),
    [
        ({"timeout": 1000}, {}),
        ({}, {"X-Request-Timeout-Ms": "1"}),
        ({"timeout": 1000}, {"X-Request-Timeout-Ms": "60000"}),
        ({"timeout": 60_000_000}, {"X-Request-Timeout-Ms": "1"}),
    ],
)
def test_a_timeout_in_microseconds_is_a_deadline(
    gated_client: tuple[TestClient, threading.Event],
    path: str,
    inference: dict[str, Any],
    parameters: dict[str, int],
    headers: dict[str, str],
) -> None:
    client, gate = gated_client
    gate.clear()
    response = client.post(
        f"{path}/infer", json={**inference, "parameters": parameters}, headers=headers
    )
    error(response, 504)


def test_the_error_of_a_failing_model_has_the_id_of_the_log_line(
    settings: Settings, loaded: LoadedModel, path: str, inference: dict[str, Any]
) -> None:
    started = False

    def predict(batch: Values) -> Outputs:
        if started:
            raise ValueError("do-not-echo-me")
        return loaded.predict(batch)

    with TestClient(create_app(settings, with_predict(loaded, predict))) as client:
        started = True
        text = error(
            client.post(f"{path}/infer", json=inference, headers={"X-Request-ID": "me-1"}), 500
        )
    assert "me-1" in text
    assert "do-not-echo-me" not in text


def test_long_errors_do_not_make_long_responses() -> None:
    errors = [FieldError("/" + "n" * 200, "must be a number")] * 1000
    response = one_line_error(InvalidInput("\ud800" + "x" * 100_000, errors), "id")
    assert response.status_code == 400
    assert len(response.body) <= MAX_BYTES


# The rules for requests, with a signature of two columns, of which the second is nullable.


def tensor(data: Any, shape: list[int], datatype: str = "FP64", name: str = "input") -> Any:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def raw_tensor(size: Any, shape: list[int], datatype: str = "FP64", name: str = "input") -> Any:
    """A tensor whose `size` bytes follow the JSON."""
    parameters = {"binary_data_size": size}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}


def rows(document: Any, raw: bytes | None = None) -> list[list[float]]:
    """Parse the rows of a request. raw: the bytes after its JSON."""
    header = json.dumps(document).encode()
    length = None if raw is None else len(header)
    request = parse_request(header + (raw or b""), length, TENSORS)
    values = TENSORS.rows(request.tensors).values
    assert isinstance(values, np.ndarray)
    return [[float(value) for value in row] for row in values]


NAN = float("nan")
A = struct.pack("<4d", 1, 2, 3, 4)
B = struct.pack("<2f", 1, 3)


@pytest.mark.parametrize(
    ("inputs", "raw"),
    [
        ([tensor([1, 2, 3, 4], [2, 2])], None),
        ([tensor([[1, 2], [3, 4]], [2, 2], name="whatever")], None),
        ([tensor([1, 2, 3, 4], [2, 2], "INT8")], None),
        ([tensor([1, 3], [2], name="a"), tensor([[2], [4]], [2, 1], "UINT64", "b")], None),
        ([tensor([2, 4], [2], name="b"), tensor([1, 3], [2], "FP16", name="a")], None),
        ([raw_tensor(32, [2, 2])], A),
        ([raw_tensor(8, [2], "FP32", "a"), tensor([2, 4], [2], name="b")], B),
    ],
)
def test_tensors_become_rows(inputs: list[Any], raw: bytes | None) -> None:
    assert rows({"inputs": inputs}, raw) == [[1, 2], [3, 4]]


def test_a_missing_value_is_null_in_json_and_nan_in_bytes() -> None:
    for ((first, second),) in (
        rows({"inputs": [tensor([1, None], [1, 2])]}),
        rows({"inputs": [raw_tensor(16, [1, 2])]}, struct.pack("<2d", 1, NAN)),
    ):
        assert first == 1
        assert np.isnan(second)


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    data = struct.pack("<2f", 1.5, -2)
    inputs = [raw_tensor(4, [1, 2], "BF16")]
    assert rows({"inputs": inputs}, data[2:4] + data[6:8]) == [[1.5, -2]]


@pytest.mark.parametrize(
    ("body", "raw"),
    [
        # The document.
        ([], None),
        ({}, None),
        ({"inputs": []}, None),
        ({"inputs": [{}]}, None),
        ({"inputs": [tensor([1, 2], [1, 2])], "id": 7}, None),
        ({"inputs": [tensor([1, 2], [1, 2])], "parameters": {"timeout": -1}}, None),
        ({"inputs": [tensor([1, 2], [1, 2])], "parameters": {"timeout": "1"}}, None),
        ({"inputs": [tensor([1, 2], [1, 2])], "outputs": [{"name": "nope"}]}, None),
        # Shapes and data.
        ({"inputs": [tensor([1, 2], [])]}, None),
        ({"inputs": [tensor([], [0, 2])]}, None),
        ({"inputs": [tensor([1, 2, 3], [1, 3])]}, None),
        ({"inputs": [tensor([1, 2, 3], [2, 2])]}, None),
        ({"inputs": [tensor([[1, 2], [3]], [2, 2])]}, None),
        ({"inputs": [tensor([[1, 2, 3], [4]], [2, 2])]}, None),
        ({"inputs": [tensor([[1, 2], 3, 4], [3, 2])]}, None),
        ({"inputs": [tensor([[1, 2]], [2, 2])]}, None),
        ({"inputs": [tensor([[1], [2]], [1, 2])]}, None),
        ({"inputs": [tensor([[[1], [2]]], [1, 2])]}, None),
        ({"inputs": [tensor([1, 2], [1, -2])]}, None),
        ({"inputs": [tensor([1, 2], [2**40, 2**40])]}, None),
        ({"inputs": [tensor([1] * 10, [5, 2])]}, None),
        ({"inputs": [tensor({}, [1, 2])]}, None),
        ({"inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 2]}]}, None),
        # Values and datatypes.
        ({"inputs": [tensor([None, 1], [1, 2])]}, None),
        ({"inputs": [tensor([1e39, 1], [1, 2])]}, None),
        ({"inputs": [tensor([1e39, 1], [1, 2], "FP32")]}, None),
        ({"inputs": [tensor([70000, 1], [1, 2], "FP16")]}, None),
        ({"inputs": [tensor(["1", 1], [1, 2])]}, None),
        ({"inputs": [tensor([True, 1], [1, 2])]}, None),
        ({"inputs": [tensor([1.5, 1], [1, 2], "INT32")]}, None),
        ({"inputs": [tensor([300, 1], [1, 2], "UINT8")]}, None),
        ({"inputs": [tensor([-1, 1], [1, 2], "UINT8")]}, None),
        ({"inputs": [tensor([True, False], [1, 2], "BOOL")]}, None),
        ({"inputs": [tensor(["a", "b"], [1, 2], "BYTES")]}, None),
        ({"inputs": [tensor([1, 2], [1, 2], "BF16")]}, None),
        ({"inputs": [tensor([1, 2], [1, 2], "FP128")]}, None),
        # Names.
        ({"inputs": [tensor([1], [1], name="a")]}, None),
        ({"inputs": [tensor([1], [1], name="a"), tensor([1], [1], name="a")]}, None),
        ({"inputs": [tensor([1], [1], name="a"), tensor([1], [1], name="c")]}, None),
        ({"inputs": [tensor([1], [1], name="a"), tensor([1, 2], [2], name="b")]}, None),
        ({"inputs": [tensor([1], [1], name=name) for name in "abc"]}, None),
        ({"inputs": [tensor([1], [1], name=name) for name in "abb"]}, None),
        # Raw bytes.
        ({"inputs": [raw_tensor(32, [2, 2])]}, None),
        ({"inputs": [raw_tensor(32, [2, 2])]}, A[:-1]),
        ({"inputs": [raw_tensor(32, [2, 2])]}, A + b"x"),
        ({"inputs": [raw_tensor(31, [2, 2])]}, A[:-1]),
        ({"inputs": [raw_tensor(40, [2, 2])]}, A),
        ({"inputs": [raw_tensor(32, [2, 1])]}, A),
        ({"inputs": [raw_tensor(32, [2**40, 2**40])]}, A),
        ({"inputs": [raw_tensor(-1, [2, 2])]}, A),
        ({"inputs": [raw_tensor(True, [2, 2])]}, A),
        ({"inputs": [{**raw_tensor(32, [2, 2]), "data": [1, 2, 3, 4]}]}, A),
        ({"inputs": [raw_tensor(16, [1, 2])]}, struct.pack("<2d", NAN, 1)),
        ({"inputs": [raw_tensor(16, [1, 2])]}, struct.pack("<2d", float("inf"), 1)),
    ],
)
def test_an_invalid_request_is_rejected(body: Any, raw: bytes | None) -> None:
    with pytest.raises(InvalidInput):
        rows(body, raw)


def test_the_header_length_must_be_that_of_the_json() -> None:
    header = json.dumps({"inputs": [raw_tensor(32, [2, 2])]}).encode()
    with pytest.raises(InvalidInput):
        parse_request(header + A, len(header) + len(A) + 1, TENSORS)
    with pytest.raises(InvalidJSON):
        parse_request(header + A, len(header) - 1, TENSORS)


def test_raw_tensors_require_the_header_length() -> None:
    with pytest.raises(InvalidInput, match=LENGTH):
        parse_request(json.dumps({"inputs": [raw_tensor(32, [2, 2])]}).encode(), None, TENSORS)


@pytest.mark.parametrize(("timeout", "seconds"), [(1500, 0.0015), (2_000_000, 2.0), (None, None)])
def test_timeouts_are_in_microseconds(timeout: int | None, seconds: float | None) -> None:
    body = {"inputs": [tensor([1, 2], [1, 2])], "parameters": {"timeout": timeout}}
    request = parse_request(json.dumps(body).encode(), None, TENSORS)
    assert request.timeout == seconds
    assert TENSORS.rows(request.tensors, request.timeout).timeout == seconds


def test_a_body_without_json_is_the_only_input_of_one_row() -> None:
    request = parse_request(A[:16], 0, TENSORS)
    values = TENSORS.rows(request.tensors).values
    assert np.array_equal(np.asarray(values), [[1, 2]])
    assert request.outputs == [("label", True), ("probabilities", True)]
    with pytest.raises(InvalidInput):
        parse_request(A, 0, TENSORS)


def test_a_flood_of_arrays_is_rejected_before_it_is_decoded() -> None:
    with pytest.raises(InvalidInput, match="more than 4 rows"):
        parse_request(b'{"inputs": [' + b"[]," * 100_000, None, TENSORS)


def response_to(**members: Any) -> tuple[dict[str, Any], bytes]:
    """The response to a request of two rows: its JSON, and the raw bytes after it."""
    body = {"inputs": [tensor([1, 2, 3, 4], [2, 2])], **members}
    request = parse_request(json.dumps(body).encode(), None, TENSORS)
    outputs = TENSORS.output_tensors(OUTPUTS, [name for name, _ in request.outputs])
    response, length = write_response(request, outputs, "m", "1")
    return json.loads(response[:length]), b"" if length is None else response[length:]


def test_the_response_has_the_requested_outputs() -> None:
    labels = {"name": "label", "datatype": "BYTES", "shape": [2]}
    scores = {"name": "probabilities", "datatype": "FP64", "shape": [2, 2]}
    plain = [{**labels, "data": ["é", "x"]}, {**scores, "data": [0.25, 0.75, 1.0, 0.0]}]
    assert response_to() == ({"model_name": "m", "model_version": "1", "outputs": plain}, b"")
    assert response_to(id="")[0]["id"] == ""
    assert response_to(outputs=[{"name": "probabilities"}])[0]["outputs"] == plain[1:]
    both = [{"name": "probabilities"}, {"name": "label", "parameters": {"binary_data": False}}]
    document, rest = response_to(outputs=both, parameters={"binary_data_output": True})
    assert document["outputs"] == [{**scores, "parameters": {"binary_data_size": 32}}, plain[0]]
    assert rest == struct.pack("<4d", 0.25, 0.75, 1, 0)
    both = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    document, rest = response_to(outputs=both)
    assert document["outputs"] == [{**labels, "parameters": {"binary_data_size": 11}}, plain[1]]
    assert rest == struct.pack("<I", 2) + "é".encode() + struct.pack("<I", 1) + b"x"


@pytest.mark.parametrize("extension", [{"classification": 2}, {"shared_memory_region": "r"}])
def test_unsupported_extensions_are_rejected(extension: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="not supported"):
        response_to(outputs=[{"name": "label", "parameters": extension}])


# Frames, texts and every task.

MIXED = Signature(
    layout="frame",
    inputs=[
        Column(name="number", nullable=True),
        Column(name="whole", dtype="int64"),
        Column(name="yes", dtype="bool", nullable=True),
        Column(name="text", dtype="string", categories=["a", "é"], enforce=True),
    ],
    task="outlier-detection",
)
FRAME = Tensors(MIXED, max_rows=3)
IN_JSON = [
    tensor([1.5, None], [2], name="number"),
    tensor([[2], [-3]], [2, 1], "INT32", "whole"),
    tensor([True, None], [2], "BOOL", "yes"),
    tensor(["a", "é"], [2], "BYTES", "text"),
]
IN_BYTES = [
    struct.pack("<2f", 1.5, NAN),
    struct.pack("<2q", 2, -3),
    b"\x01\x00",
    struct.pack("<I", 1) + b"a" + struct.pack("<I", 2) + "é".encode(),
]


def mixed(inputs: list[Any], raw: bytes | None = None) -> list[list[Any]]:
    header = json.dumps({"inputs": inputs}).encode()
    length = None if raw is None else len(header)
    request = parse_request(header + (raw or b""), length, FRAME)
    return [list(row) for row in FRAME.rows(request.tensors).values]


def test_a_frame_has_a_tensor_for_each_column() -> None:
    assert [(spec.name, spec.datatype, spec.shape) for spec in FRAME.inputs] == [
        ("number", "FP64", (-1,)),
        ("whole", "INT64", (-1,)),
        ("yes", "BOOL", (-1,)),
        ("text", "BYTES", (-1,)),
    ]
    assert mixed(IN_JSON) == [[1.5, 2, True, "a"], [None, -3, None, "é"]]
    assert mixed(IN_JSON[::-1]) == mixed(IN_JSON)
    columns = zip(MIXED.columns, ("FP32", "INT64", "BOOL", "BYTES"), IN_BYTES, strict=True)
    inputs = [raw_tensor(len(raw), [2], datatype, name) for name, datatype, raw in columns]
    expected = [[1.5, 2, True, "a"], [None, -3, False, "é"]]
    assert mixed(inputs, b"".join(IN_BYTES)) == expected


@pytest.mark.parametrize(
    ("column", "replacement"),
    [
        (0, tensor([True, False], [2], "BOOL", "number")),
        (1, tensor([2.0, 3.0], [2], "FP64", "whole")),
        (1, tensor([2, None], [2], "INT64", "whole")),
        (1, tensor([2**63, 1], [2], "UINT64", "whole")),
        (2, tensor([1, 0], [2], "INT8", "yes")),
        (3, tensor(["a", "b"], [2], "BYTES", "text")),
        (3, tensor(["a", None], [2], "BYTES", "text")),
        (3, tensor([1, 2], [2], "INT64", "text")),
    ],
)
def test_a_tensor_of_another_type_than_its_column_is_rejected(
    column: int, replacement: Any
) -> None:
    inputs = [*IN_JSON]
    inputs[column] = replacement
    with pytest.raises(InvalidInput):
        mixed(inputs)
    with pytest.raises(InvalidInput):
        mixed(IN_JSON[:column] + IN_JSON[column + 1 :])


@pytest.mark.parametrize(
    "raw",
    [
        b"\x02\x00\x00\x00a",
        b"\x01\x00\x00\x00a\x00",
        b"\x01\x00\x00\x00\xff",
        b"\x01\x00\x00\x00a" * 2,
        b"\xff\xff\xff\xffa",
        b"",
    ],
)
def test_elements_of_bytes_must_be_whole_and_text(raw: bytes) -> None:
    header = json.dumps({"inputs": [raw_tensor(len(raw), [1], "BYTES", "text")]}).encode()
    with pytest.raises(InvalidInput):
        parse_request(header + raw, len(header), TEXT)


TEXT = Tensors(
    Signature(layout="text", inputs=[Column(name="text", dtype="string")], task="clustering"),
    max_rows=2,
)


def test_a_text_is_a_tensor_or_a_whole_body() -> None:
    body = {"inputs": [tensor(["[[[[", "é"], [2, 1], "BYTES", "text")]}
    request = parse_request(json.dumps(body).encode(), None, TEXT)
    assert list(map(list, TEXT.rows(request.tensors).values)) == [["[[[["], ["é"]]
    request = parse_request("é".encode(), 0, TEXT)
    assert list(map(list, TEXT.rows(request.tensors).values)) == [["é"]]
    with pytest.raises(InvalidInput):
        parse_request(b"\xff", 0, TEXT)
    with pytest.raises(InvalidInput):
        parse_request(b"", 0, FRAME)


def test_a_byte_of_bool_is_0_or_1() -> None:
    inputs = [*IN_JSON[:2], raw_tensor(2, [2], "BOOL", "yes"), IN_JSON[3]]
    header = json.dumps({"inputs": inputs}).encode()
    with pytest.raises(InvalidInput):
        parse_request(header + b"\x01\x02", len(header), FRAME)


def test_enforced_values_hold_for_an_array_too() -> None:
    column = Column(name="a", categories=[1.0, 2.0], enforce=True)
    tensors = Tensors(Signature(layout="array", inputs=[column], task="clustering"), max_rows=2)
    for value, fits in ((1.0, True), (1.5, False)):
        body = {"inputs": [tensor([value], [1, 1])]}
        request = parse_request(json.dumps(body).encode(), None, tensors)
        if fits:
            assert list(map(list, tensors.rows(request.tensors).values)) == [[value]]
        else:
            with pytest.raises(InvalidInput):
                tensors.rows(request.tensors)


INDICES = np.array([1, 0])


@pytest.mark.parametrize(
    ("task", "outputs", "expected"),
    [
        (
            {"task": "classification", "classes": [False, True]},
            Outputs(INDICES),
            {"label": ("BOOL", (2,), [True, False])},
        ),
        (
            {"task": "classification", "classes": [7, 8]},
            Outputs(INDICES),
            {"label": ("INT64", (2,), [8, 7])},
        ),
        (
            {"task": "classification", "classes": [True, "b"]},
            Outputs(INDICES),
            {"label": ("BYTES", (2,), ["b", "true"])},
        ),
        (
            {"task": "multilabel", "classes": ["a", "b"], "probabilities": True},
            Outputs(np.array([[True, False], [False, True]]), np.array([[0.9, 0.1], [0.2, 0.8]])),
            {
                "labels": ("BOOL", (2, 2), [True, False, False, True]),
                "probabilities": ("FP64", (2, 2), [0.9, 0.1, 0.2, 0.8]),
            },
        ),
        (
            {
                "task": "multi-output-classification",
                "outputs": ["x", "y"],
                "output_classes": [["a", "b"], [1, 2]],
            },
            Outputs(np.array([[0, 1], [1, 0]])),
            {"x": ("BYTES", (2,), ["a", "b"]), "y": ("INT64", (2,), [2, 1])},
        ),
        (
            {"task": "regression"},
            Outputs(np.array([1.5, -2.0])),
            {"value": ("FP64", (2,), [1.5, -2.0])},
        ),
        (
            {"task": "regression", "outputs": ["x", "y"]},
            Outputs(np.array([[1.5, 2.0], [3.0, 4.0]])),
            {"values": ("FP64", (2, 2), [1.5, 2.0, 3.0, 4.0])},
        ),
        ({"task": "clustering"}, Outputs(INDICES), {"cluster": ("INT64", (2,), [1, 0])}),
        (
            {"task": "outlier-detection"},
            Outputs(np.array([True, False]), scores=np.array([-0.5, 0.5])),
            {"outlier": ("BOOL", (2,), [True, False]), "score": ("FP64", (2,), [-0.5, 0.5])},
        ),
    ],
)
def test_every_task_has_its_outputs(
    task: dict[str, Any], outputs: Outputs, expected: dict[str, tuple[str, tuple[int, ...], Any]]
) -> None:
    signature = Signature(layout="array", inputs=[Column(name="a")], **task)
    tensors = Tensors(signature, max_rows=2)
    assert [spec.name for spec in tensors.outputs] == list(expected)
    converted = tensors.output_tensors(outputs, list(expected))
    for spec, output, (datatype, shape, flat) in zip(
        tensors.outputs, converted, expected.values(), strict=True
    ):
        assert (output.datatype, output.shape) == (datatype, shape)
        assert list(np.asarray(output.values).ravel()) == flat
        assert spec.shape == (-1, *shape[1:])
        assert len(to_bytes(datatype, output.values)) > 0


def test_nan_in_json_gets_400_that_says_what_a_missing_value_is(
    client: TestClient, path: str
) -> None:
    response = client.post(f"{path}/infer", content=b'{"inputs": [{"data": [NaN]}]}')
    assert response.status_code == 400
    assert "JSON has no NaN or Infinity; null stands for a missing value." in response.text


ALLEYS = Signature(
    layout="frame",
    inputs=[Column(name="area"), Column(name="alley", dtype="string", nullable=True)],
    task="clustering",
)


def alley(data: list[Any], content_type: str | None) -> dict[str, Any]:
    """A request for one area and texts with a content type."""
    text = tensor(data, [1], "BYTES", "alley") | {"parameters": {"content_type": content_type}}
    return {"inputs": [tensor([1.5], [1], name="area"), text]}


def read_alley(body: dict[str, Any], raw: bytes = b"") -> Any:
    """The text that becomes the input of the model."""
    header = json.dumps(body).encode()
    tensors = Tensors(ALLEYS, 4)
    request = parse_request(header + raw, len(header), tensors)
    return tensors.rows(request.tensors).values[0][1]


@pytest.mark.parametrize(
    ("sent", "content_type", "text"),
    [
        ("UGF2ZQ==", "base64", "Pave"),
        ("w6k=", "base64", "é"),
        (None, "base64", None),
        ("UGF2ZQ==", "str", "UGF2ZQ=="),
        ("UGF2ZQ==", "np", "UGF2ZQ=="),
        ("UGF2ZQ==", None, "UGF2ZQ=="),
    ],
)
def test_a_text_is_decoded_as_its_content_type_says(
    sent: str | None, content_type: str | None, text: str | None
) -> None:
    assert read_alley(alley([sent], content_type)) == text


def test_raw_base64_is_decoded_too() -> None:
    encoded = to_bytes("BYTES", ["UGF2ZQ=="])
    body = alley([], "base64")
    del body["inputs"][1]["data"]
    body["inputs"][1]["parameters"]["binary_data_size"] = len(encoded)
    assert read_alley(body, encoded) == "Pave"


@pytest.mark.parametrize("data", ["Pave!", "UGF2ZQ", "UGF2 ZQ==", "/w==", "é"])
def test_what_is_not_base64_of_a_text_is_rejected(data: str) -> None:
    with pytest.raises(InvalidInput, match="base64") as caught:
        read_alley(alley([data], "base64"))
    assert data not in caught.value.detail.replace("base64", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["inputs"][-1].update(parameters={"content_type": "hex"}), "hex"),
        (lambda body: body["inputs"][-1].update(parameters={"content_type": "pd"}), "pd"),
        (lambda body: body["inputs"][0].update(parameters={"content_type": "str"}), "BYTES"),
        (lambda body: body["inputs"][0].update(parameters={"content_type": "base64"}), "BYTES"),
        (lambda body: body.update(parameters={"content_type": "base64"}), "base64"),
        (lambda body: body.update(parameters={"content_type": "datetime"}), "datetime"),
        (
            lambda body: body.update(
                outputs=[{"name": "cluster", "parameters": {"content_type": "base64"}}]
            ),
            "base64",
        ),
        (lambda body: body["inputs"][0].update(parameters={"content_type": 1}), "form"),
    ],
)
def test_an_unsupported_content_type_is_rejected_by_its_name(change: Any, message: str) -> None:
    body = alley(["x"], None)
    change(body)
    with pytest.raises(InvalidInput, match=message):
        read_alley(body)


@pytest.mark.parametrize("content_type", ["np", "pd", "str"])
def test_content_types_that_agree_with_the_datatype_change_nothing(
    client: TestClient, path: str, inference: dict[str, Any], content_type: str
) -> None:
    expected = client.post(f"{path}/infer", json=inference).json()
    names = [output["name"] for output in expected["outputs"]]
    np_type = {"parameters": {"content_type": "np"}}
    inference["inputs"] = [{**tensor, **np_type} for tensor in inference["inputs"]]
    inference["outputs"] = [{"name": name, **np_type} for name in names]
    inference["parameters"] = {"content_type": content_type}
    assert client.post(f"{path}/infer", json=inference).json() == expected


def test_memory_is_reserved_for_the_json_of_the_outputs(
    client: TestClient, path: str, inference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[int] = []
    monkeypatch.setattr("serving_engine.protocols.open_inference.messages.reserve", reserved.append)
    response = client.post(f"{path}/infer", json=inference)
    written = sum(len(json.dumps(output["data"])) for output in response.json()["outputs"])
    assert reserved[0] >= 4 * written


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set with prlimit")
def test_tensors_that_cannot_be_allocated_get_503(model_dir: Path) -> None:
    rows = 320_000
    spec = {"name": "input", "datatype": "FP64"}
    flat = {**spec, "shape": [rows // 8, 4], "data": [1.5] * 4 * (rows // 8)}
    binary = {**spec, "shape": [rows, 4], "parameters": {"binary_data_size": rows * 32}}
    header = json.dumps({"inputs": [binary]}).encode()
    infer = "/v2/models/test/infer"
    with LittleMemory(model_dir, max_rows=rows) as service:
        service.check(infer, header + bytes(rows * 32), {LENGTH: str(len(header))})
    with LittleMemory(model_dir, max_rows=rows) as service:
        service.check(infer, json.dumps({"inputs": [flat]}).encode(), {})


def test_a_matrix_has_1_and_0_for_the_booleans_of_an_array(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    from . import test_tables as tables

    manifest, _ = tables.package_table(tmp_path, *tables.insurance())
    row = manifest.examples[0].input
    names = manifest.signature.columns
    matrix = [float(row[name]) for name in names]
    with TestClient(create_app(Settings(model_dir=tmp_path / "model"))) as client:
        expected = client.post("/predict", json={"instances": [row]}).json()["predictions"]
        tensor = {"name": "input", "shape": [1, len(names)], "datatype": "FP64", "data": matrix}
        response = client.post("/v2/models/model/infer", json={"inputs": [tensor]})
        assert response.json()["outputs"][0]["data"] == expected
        half = tensor | {"data": [0.5] * len(names)}
        response = client.post("/v2/models/model/infer", json={"inputs": [half]})
        assert response.status_code == 400
        assert "must be true or false: 1 or 0" in response.text
