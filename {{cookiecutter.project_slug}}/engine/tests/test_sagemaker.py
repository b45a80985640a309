"""SageMaker: batch transform's CSV and JSON Lines, and the arrays that its Python client sends."""

import json
import struct
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_engine.errors import InvalidInput, NotAcceptable, UnsupportedMediaType
from serving_engine.model_files.manifest import Manifest
from serving_engine.protocols.mlflow.inputs import from_csv, from_json_lines
from serving_engine.protocols.mlflow.media_types import content_type_of, response_form
from serving_engine.protocols.mlflow.npy import read_npy, write_npy
from serving_engine.protocols.mlflow.outputs import predicted, write_csv
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.signature import Column, Signature

from .little_memory import LittleMemory

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 5.0, 1.8]]
LABELS = ["setosa", "virginica"]
LINES = b"5.1,3.5,1.4,0.2\n6,3,5,1.8\n"


def with_long_header(body: bytes) -> bytes:
    """The same array with 20,000 spaces more in its header."""
    length = int.from_bytes(body[8:10], "little")
    header = body[10 : 10 + length].rstrip() + b" " * 20_000 + b"\n"
    return body[:8] + len(header).to_bytes(2, "little") + header + body[10 + length :]


def npy(array: Any, **options: Any) -> bytes:
    stream = BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **options)
    return stream.getvalue()


def post(client: TestClient, body: bytes, content_type: str, accept: str | None = None) -> Any:
    headers = {"Content-Type": content_type, **({"Accept": accept} if accept else {})}
    return client.post("/invocations", content=body, headers=headers)


def test_csv_is_answered_with_a_line_for_each_row(client: TestClient) -> None:
    response = post(client, LINES, "text/csv", "text/csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.text == "setosa\nvirginica\n"


def test_an_array_of_the_python_client_is_answered_with_an_array(client: TestClient) -> None:
    response = post(client, npy(ROWS), "application/x-npy", "application/x-npy")
    assert response.headers["content-type"] == "application/x-npy"
    assert np.load(BytesIO(response.content)).tolist() == LABELS


def test_json_lines_are_answered_with_json_lines(client: TestClient, manifest: Manifest) -> None:
    names = manifest.signature.columns
    expected = client.post("/predict", json={"instances": ROWS}).json()["predictions"]
    for rows in (
        ROWS,
        [dict(zip(names, row, strict=True)) for row in ROWS],
        [{"features": row} for row in ROWS],
    ):
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        response = post(client, body, "application/jsonlines", "application/jsonlines")
        assert response.status_code == 200, response.text
        assert [json.loads(line) for line in response.text.splitlines()] == expected


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_json_is_the_response_where_nothing_else_is_asked_for(
    client: TestClient, accept: str | None
) -> None:
    expected = client.post("/predict", json={"instances": ROWS}).json()["predictions"]
    for body, content_type in ((LINES, "text/csv"), (npy(ROWS), "application/x-npy")):
        response = post(client, body, content_type, accept)
        assert response.headers["content-type"] == "application/json"
        assert response.json() == {"predictions": expected}


def test_a_form_that_there_is_not_gets_406_that_names_those_that_there_are(
    client: TestClient,
) -> None:
    response = post(client, LINES, "text/csv", "application/x-recordio-protobuf")
    assert response.status_code == 406
    assert response.json().keys() == {"error_code", "message"}
    for form in ("application/json", "text/csv", "application/jsonlines", "application/x-npy"):
        assert form in response.json()["message"]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"", "application/json"),
        (b"text/csv", "text/csv"),
        (b"TEXT/CSV; charset=utf-8", "text/csv"),
        (b"text/*", "text/csv"),
        (b"application/*", "application/json"),
        (b"text/html, */*;q=0.1", "application/json"),
        (b"application/json;q=0.5, text/csv;q=0.9", "text/csv"),
        (b"text/csv, application/json", "application/json"),
        (b"application/json;q=0, */*", "text/csv"),
        (b"application/jsonlines", "application/jsonlines"),
    ],
)
def test_the_client_chooses_the_form_of_the_response(accept: bytes, form: str) -> None:
    assert response_form(accept) == form


@pytest.mark.parametrize("accept", [b"text/html", b"text/csv;q=0", b"*/*;q=0", b"csv", b"\xff"])
def test_what_a_client_does_not_accept_is_not_sent(accept: bytes) -> None:
    with pytest.raises(NotAcceptable):
        response_form(accept)


def test_the_parameters_of_a_content_type_are_read() -> None:
    def header(value: str) -> bool | None:
        return content_type_of({b"content-type": value.encode()}).header

    assert header("text/csv") is None
    assert header("text/csv; label_size=0; charset=UTF-8") is None
    assert header("text/csv; header=absent") is False
    assert header('text/csv;header="present"') is True


@pytest.mark.parametrize(
    "content_type",
    [
        "text/csv; label_size=1",
        "text/csv; header=maybe",
        "text/csv; charset=latin-1",
        "application/json; header=absent",
        "application/x-npy; version=2",
        "text/libsvm",
        "",
    ],
)
def test_other_parameters_and_media_types_are_rejected(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        content_type_of({b"content-type": content_type.encode()})


MIXED = Signature(
    layout="frame",
    inputs=[Column(name="area"), Column(name="alley", dtype="string")],
    task="regression",
)


def test_a_request_says_whether_its_csv_has_a_header() -> None:
    rows = {"instances": [[100.0, "Pave"]]}
    assert from_csv("100,Pave\n", MIXED, header=False) == rows
    assert from_csv("alley,area\nPave,100\n", MIXED, header=True) == rows
    with pytest.raises(InvalidInput):
        from_csv("1,2\n", MIXED, header=True)


def test_a_line_that_is_not_json_is_named(client: TestClient) -> None:
    body = b"[5.1,3.5,1.4,0.2]\n\n[5.1,3.5,1.4,Infinity]\n"
    response = post(client, body, "application/jsonlines")
    assert response.status_code == 400
    assert response.json()["message"].startswith("Line 2")
    assert "null stands for a missing value" in response.json()["message"]


def test_more_lines_than_rows_are_allowed_are_not_decoded() -> None:
    with pytest.raises(InvalidInput, match="2 rows"):
        from_json_lines(b"[1]\n" * 3, lambda _: pytest.fail("decoded"), MIXED, 2)


def test_features_may_be_the_name_of_a_column() -> None:
    text = Signature(
        layout="text", inputs=[Column(name="features", dtype="string")], task="clustering"
    )
    lines = b'{"features": "a"}\n["b"]\n"c"\n'
    document = from_json_lines(lines, json.loads, text, 3)
    assert document == {"instances": [{"features": "a"}, ["b"], ["c"]]}


@pytest.mark.parametrize(
    ("array", "columns", "rows"),
    [
        (np.array([[1.5, 2], [3, np.inf]]), 2, [[1.5, 2.0], [3.0, float("inf")]]),
        (np.array([[1, 2]], dtype=">i2"), 2, [[1, 2]]),
        (np.array([[1, 2], [3, 4]], order="F", dtype="f4"), 2, [[1.0, 2.0], [3.0, 4.0]]),
        (np.array([1, 2], dtype="u1"), 2, [[1, 2]]),
        (np.array([1, 2], dtype="f2"), 1, [[1.0], [2.0]]),
        (np.array([[True, False]]), 2, [[True, False]]),
        (np.array([["a", "é"], ["\U0001f600", ""]]), 2, [["a", "é"], ["\U0001f600", ""]]),
        (np.empty((0, 2)), 2, []),
    ],
)
def test_an_array_becomes_rows(array: Any, columns: int, rows: list[Any]) -> None:
    assert read_npy(npy(array), columns) == rows
    assert read_npy(npy(array, version=(2, 0)), columns) == rows


def test_a_missing_value_of_an_array_is_nan(client: TestClient) -> None:
    response = post(client, npy([[1, np.nan, 3, 4]]), "application/x-npy")
    assert response.status_code == 400  # as for null: the column has no missing values
    expected = client.post("/predict", json={"instances": [[1, None, 3, 4]]}).json()
    assert expected["errors"][0]["message"] in response.json()["message"]


def head(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976, 2), }"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x03\x00" + npy([[1.0, 2.0]])[8:],
        npy([[1.0, 2.0]])[:-1],
        with_long_header(npy([[1.0, 2.0]])),
        npy([[1.0, 2.0]]) + b"\0",
        npy([[1.0, 2.0, 3.0]]),
        npy([1.0, 2.0, 3.0]),
        npy(1.0),
        npy([[[1.0, 2.0]]]),
        npy([[1j, 2j]]),
        npy([[b"a", b"b"]]),
        npy(np.array([["2026-01-31", "2026-02-01"]], dtype="M8[D]")),
        npy(np.zeros((1, 2), dtype=[("a", "f8")])),
        npy(np.array([[1.0, 2.0]], dtype=np.longdouble)),
        npy(np.array([["a", "b"]]))[:-8] + b"\xff\xff\xff\xff\xff\xff\xff\xff",
        head(HUGE),
        head(HUGE) + bytes(32),
        head("{'descr': '<U999999999', 'fortran_order': False, 'shape': (1, 2), }"),
        head("{'descr': '<U0', 'fortran_order': False, 'shape': (1, 2), }"),
        head("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 60 + ", 2), }"),
        head("{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (1, 2), }"),
        head("(" * 9000),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 20_000,
    ],
)
def test_what_is_no_array_of_the_models_columns_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_npy(body, 2)


def test_an_array_of_objects_is_not_unpickled(client: TestClient) -> None:
    class Loud:
        def __reduce__(self) -> tuple[Any, ...]:
            return pytest.fail, ("unpickled",)

    body = npy(np.array([[Loud()] * 4], dtype=object), allow_pickle=True)
    response = post(client, body, "application/x-npy")
    assert response.status_code == 400
    assert "objects" in response.json()["message"]


@pytest.mark.parametrize(
    ("task", "outputs", "lines", "array"),
    [
        (
            {"task": "classification", "classes": ["a,b", "c"]},
            Outputs(np.array([0, 1])),
            '"a,b"\nc\n',
            ["a,b", "c"],
        ),
        (
            {"task": "classification", "classes": [True, 1, "x"]},
            Outputs(np.array([0, 1, 2])),
            "True\n1\nx\n",
            ["True", "1", "x"],
        ),
        (
            {"task": "multilabel", "classes": ["a", "b"]},
            Outputs(np.array([[True, False]])),
            "1,0\n",
            [[1, 0]],
        ),
        (
            {
                "task": "multi-output-classification",
                "outputs": ["x", "y"],
                "output_classes": [["a", "b"], ["c", "d"]],
            },
            Outputs(np.array([[1, 0]])),
            "b,c\n",
            [["b", "c"]],
        ),
        ({"task": "regression"}, Outputs(np.array([0.1, 1e22])), "0.1\n1e+22\n", [0.1, 1e22]),
        (
            {"task": "regression", "outputs": ["a", "b"]},
            Outputs(np.array([[0.5, 2.0]])),
            "0.5,2.0\n",
            [[0.5, 2.0]],
        ),
        ({"task": "clustering"}, Outputs(np.array([3])), "3\n", [3]),
        (
            {"task": "outlier-detection"},
            Outputs(np.array([True, False]), scores=np.array([-1.0, 1.0])),
            "-1\n1\n",
            [-1, 1],
        ),
    ],
    ids=lambda value: value["task"] if isinstance(value, dict) else "",
)
def test_csv_and_npy_have_what_predict_of_the_estimator_returns(
    task: dict[str, Any], outputs: Outputs, lines: str, array: list[Any]
) -> None:
    signature = Signature.model_validate({"layout": "array", "inputs": [{"name": "a"}], **task})
    values = predicted(outputs, signature)
    assert write_csv(values).decode() == lines
    assert np.load(BytesIO(write_npy(values))).tolist() == array


def test_openapi_has_every_form(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/invocations"]["post"]
    forms = {"application/json", "text/csv", "application/jsonlines", "application/x-npy"}
    assert operation["requestBody"]["content"].keys() == forms
    assert operation["responses"]["200"]["content"].keys() == forms
    assert "406" in operation["responses"]


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set with prlimit")
def test_csv_that_cannot_be_allocated_gets_503(model_dir: Path) -> None:
    rows = 40_000
    with LittleMemory(model_dir, max_rows=rows) as service:
        service.check("/invocations", LINES * (rows // 2), {"Content-Type": "text/csv"})
