"""MLflow's scoring protocol, which SageMaker uses as well."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving_engine.errors import InvalidInput
from serving_engine.model_files.manifest import Manifest
from serving_engine.protocols.mlflow.inputs import from_csv, from_json, without_nan
from serving_engine.schema.request_parser import RequestParser
from serving_engine.schema.signature import Column, Signature

from .example_service.app import create_app
from .example_service.settings import Settings

SIGNATURE = Signature(
    layout="frame",
    inputs=[
        Column(name="number"),
        Column(name="whole", dtype="int64", nullable=True),
        Column(name="yes", dtype="bool"),
        Column(name="text", dtype="string", nullable=True),
    ],
    task="clustering",
)
NAMES = SIGNATURE.columns
ROWS = [[1.5, 2, True, "a"], [-3.0, None, False, None]]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
BACKWARDS = [row[::-1] for row in ROWS]
COLUMNS = {name: list(column) for name, column in zip(NAMES, zip(*ROWS, strict=True), strict=True)}


def error(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error_code", "message"}
    return str(response.json()["error_code"])


def test_the_probes_are_what_mlflow_and_sagemaker_expect(client: TestClient) -> None:
    for path in ("/ping", "/health"):
        response = client.get(path)
        assert (response.status_code, response.content) == (200, b"\n")
    assert client.get("/version").text
    client.app.state.readiness.drain()  # type: ignore[attr-defined]
    assert error(client.get("/ping"), 503) == "TEMPORARILY_UNAVAILABLE"


def test_every_format_gets_the_predictions_of_predict(
    client: TestClient, manifest: Manifest
) -> None:
    records = [example.input for example in manifest.examples]
    rows = manifest.example_rows
    names = manifest.signature.columns
    expected = client.post("/predict", json={"instances": records}).json()["predictions"]
    for form in (
        {"dataframe_split": {"columns": names, "data": rows}},
        {
            "dataframe_split": {
                "index": [0],
                "columns": names[::-1],
                "data": [r[::-1] for r in rows],
            }
        },
        {"dataframe_records": records},
        {"instances": records},
        {"instances": rows, "params": {}},
        {"inputs": rows},
        {"inputs": {name: [record[name] for record in records] for name in names}},
    ):
        response = client.post("/invocations", json=form)
        assert response.status_code == 200, response.text
        assert response.json() == {"predictions": expected}


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8"])
def test_csv_gets_the_predictions_of_predict(
    client: TestClient, manifest: Manifest, content_type: str
) -> None:
    rows = manifest.example_rows
    expected = client.post("/predict", json={"instances": rows}).json()["predictions"]
    text = StringIO()
    csv.writer(text).writerows([manifest.signature.columns, *rows])
    response = client.post(
        "/invocations", content=text.getvalue(), headers={"Content-Type": content_type}
    )
    assert response.json() == {"predictions": expected}


def test_errors_have_mlflows_form(client: TestClient, settings: Settings) -> None:
    def post(content: bytes, content_type: str) -> Any:
        return client.post("/invocations", content=content, headers={"Content-Type": content_type})

    assert error(post(b"{", "application/json"), 400) == "INVALID_PARAMETER_VALUE"
    assert error(post(b"{}", "application/json"), 400) == "INVALID_PARAMETER_VALUE"
    assert error(post(b"\xff", "text/csv"), 400) == "INVALID_PARAMETER_VALUE"
    large = b" " * (settings.max_body_bytes + 1)
    assert error(post(large, "application/json"), 413) == "REQUEST_LIMIT_EXCEEDED"
    error(client.get("/invocations"), 405)
    for content_type in (
        "",
        "text/plain",
        "application/json; charset=latin-1",
        "application/json; format=pandas-split",
    ):
        error(post(b"{}", content_type), 415)


def checked(document: Any) -> list[list[Any]]:
    rows = RequestParser(SIGNATURE, max_rows=3).check(document).values
    return [list(row) for row in rows]


@pytest.mark.parametrize(
    "form",
    [
        {"dataframe_split": {"columns": NAMES, "data": ROWS}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": BACKWARDS}, "params": None},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"instances": ROWS},
        {"inputs": ROWS},
        {"inputs": COLUMNS},
        {"inputs": {name: [[value] for value in column] for name, column in COLUMNS.items()}},
    ],
)
def test_four_formats_become_rows(form: Any) -> None:
    assert checked(from_json(form, SIGNATURE)) == ROWS


@pytest.mark.parametrize(
    "form",
    [
        ROWS,
        None,
        {},
        {"instances": ROWS, "inputs": ROWS},
        {"instances": ROWS, "params": {"temperature": 1}},
        {"instances": ROWS, "more": 1},
        {"instances": COLUMNS},
        {"instances": 1},
        {"inputs": {**COLUMNS, "text": ["a"]}},
        {"inputs": {**COLUMNS, "text": "a"}},
        {"inputs": {**COLUMNS, "more": [1, 2]}},
        {"dataframe_split": ROWS},
        {"dataframe_split": {"columns": NAMES}},
        {"dataframe_split": {"columns": NAMES[1:], "data": ROWS}},
        {"dataframe_split": {"columns": [*NAMES, "number"], "data": ROWS}},
        {"dataframe_split": {"columns": [*NAMES[1:], "other"], "data": ROWS}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [[1]]}},
        {"dataframe_records": [{**RECORDS[0], "more": 1}]},
    ],
)
def test_an_unknown_format_is_rejected(form: Any) -> None:
    with pytest.raises(InvalidInput):
        checked(from_json(form, SIGNATURE))


@pytest.mark.parametrize(
    "text",
    [
        "number,whole,yes,text\n1.5,2,True,a\n-3,,false,\n",
        'text,yes,whole,number\r\n"a",TRUE,2,1.5\r\n"",False,NaN,-3.0\r\n\r\n',
    ],
)
def test_csv_becomes_rows(text: str) -> None:
    assert checked(from_csv(text.replace("NaN", ""), SIGNATURE)) == ROWS


def test_csv_without_a_header_is_in_signature_order_where_all_columns_are_numbers() -> None:
    numbers = Signature(
        layout="array",
        inputs=[Column(name="a"), Column(name="b", nullable=True)],
        task="regression",
    )
    expected = {"instances": [[1.0, 2.0], [3.0, None]]}
    assert from_csv("1,2\n3,nan\n", numbers) == expected
    assert from_csv("b,a\n2,1\n,3\n", numbers) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.5,2,true,a\n",
        "number,whole,yes\n1,2,true\n",
        "number,whole,yes,text\n",
        "number,whole,yes,text\n1,2,true\n",
        "number,whole,yes,text\none,2,true,a\n",
        "number,whole,yes,text\n1,2.5,true,a\n",
        "number,whole,yes,text\n1,2,1,a\n",
        'number,whole,yes,text\n1,2,true,"a\n',
    ],
)
def test_invalid_csv_is_rejected(text: str) -> None:
    with pytest.raises(InvalidInput):
        checked(from_csv(text, SIGNATURE))


def test_nan_is_a_missing_value_as_pandas_writes_it(client: TestClient) -> None:
    nan = float("nan")
    document = {"instances": [[1.5, nan, True, "NaN"], {"number": nan}]}
    assert without_nan(document) == {"instances": [[1.5, None, True, "NaN"], {"number": None}]}
    body = json.dumps({"instances": [[nan]]})
    headers = {"Content-Type": "application/json"}
    error(client.post("/invocations", content=body, headers=headers), 400)


@pytest.mark.parametrize("name", ["house_prices", "churn", "credit", "housing", "insurance"])
def test_a_table_is_read_as_the_owners_pandas_reads_it(name: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    from . import test_tables as tables

    text, model = getattr(tables, name)()
    manifest, _ = tables.package_table(tmp_path, text, model)
    texts = {column.name: "str" for column in manifest.signature.inputs if column.dtype == "string"}
    as_commas = text.replace(";", ",")
    rows = pandas.read_csv(StringIO(as_commas), dtype=texts)
    fields = pandas.read_csv(StringIO(as_commas), dtype="str", keep_default_na=False)
    body = fields[manifest.signature.columns].to_csv(index=False)
    with TestClient(create_app(Settings(model_dir=tmp_path / "model"))) as client:
        answer = client.post("/invocations", content=body, headers={"Content-Type": "text/csv"})
    predicted = model.predict(rows[list(model.feature_names_in_)]).tolist()
    tables.assert_predicted(answer.json()["predictions"], predicted)


def test_csv_without_the_header_that_texts_need_is_explained(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    from . import test_tables as tables

    text, model = tables.house_prices()
    tables.package_table(tmp_path, text, model)
    with TestClient(create_app(Settings(model_dir=tmp_path / "model"))) as client:
        response = client.post(
            "/invocations",
            content=text.split("\n")[1],
            headers={"Content-Type": "text/csv"},
        )
    assert response.status_code == 400
    assert "The first line must be a header" in response.json()["message"]
