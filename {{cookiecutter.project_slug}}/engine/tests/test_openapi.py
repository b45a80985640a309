"""The OpenAPI document is true: checked with a validator of JSON schemas from another project."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs  # comes with schemathesis
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from serving_engine.errors import InvalidInput
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.load import LoadedModel
from serving_engine.schema.json_schema import request_schema, response_schema
from serving_engine.schema.predictions import Predictions
from serving_engine.schema.request_parser import RequestParser
from serving_engine.schema.signature import Column, Signature
from serving_engine.web.dependencies import ModelDep, RowsDep

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import example_row

ROWS = {"400", "408", "413", "415", "422", "500", "503", "504"}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def validator(document: dict[str, Any], schema: str) -> Any:
    """A validator for one of the document's schemas."""
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    )


def test_every_operation_documents_its_errors_as_problems(
    app: FastAPI, document: dict[str, Any]
) -> None:
    expected = {
        "/predict": ROWS,
        "/livez": {"500"},
        "/readyz": {"500", "503"},
        "/metrics": {"500"},
        "/model": {"500"},
    }
    native = {
        path: operations
        for path, operations in document["paths"].items()
        if not any(protocol.handles(path) for protocol in app.state.protocols)
    }
    assert native.keys() == expected.keys()
    for path, operations in native.items():
        for operation in operations.values():
            responses = operation["responses"]
            assert responses.keys() - {"200"} == expected[path], path
            for status, response in responses.items():
                assert response["description"]
                assert "X-Request-ID" in response["headers"]
                assert ("Retry-After" in response["headers"]) == (status == "503")
                (media_type,) = response["content"]
                assert (media_type == "application/problem+json") == (status != "200")


def test_the_examples_are_valid_and_get_valid_responses(
    client: TestClient, document: dict[str, Any]
) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    responses = []
    for example in content["examples"].values():
        assert validator(document, "Instances").is_valid(example["value"])
        responses.append(client.post("/predict", json=example["value"]).json())
        assert validator(document, "Predictions").is_valid(responses[-1])
    assert len(responses) == 2
    assert responses[0] == responses[1]


def test_errors_are_problems_as_documented(client: TestClient, document: dict[str, Any]) -> None:
    for response in (client.post("/predict", json={}), client.get("/nope"), client.put("/livez")):
        validator(document, "Problem").validate(response.json())


def test_an_owners_route_is_documented_by_its_dependencies(app: FastAPI) -> None:
    router = APIRouter()

    @router.post("/first")
    async def first(rows: RowsDep, model: ModelDep) -> dict[str, Any]:
        return {"first": (await model.predict(rows)).predictions[0]}

    @router.post("/typed")
    async def typed(rows: RowsDep, model: ModelDep) -> Predictions:
        return await model.predict(rows)

    @router.post("/count/{number}")
    async def count(number: int, body: dict[str, int]) -> int:
        return number + len(body)

    with TestClient(app) as client:
        before = client.get("/openapi.json").json()
        app.include_router(router, prefix="/own")
        document = client.get("/openapi.json").json()
    assert "/own/first" not in before["paths"]
    first_operation = document["paths"]["/own/first"]["post"]
    predict_operation = document["paths"]["/predict"]["post"]
    assert first_operation["requestBody"] == predict_operation["requestBody"]
    assert first_operation["parameters"] == predict_operation["parameters"]
    assert first_operation["responses"].keys() - {"200"} == ROWS
    typed_response = document["paths"]["/own/typed"]["post"]["responses"]["200"]
    assert typed_response["content"] == predict_operation["responses"]["200"]["content"]
    responses = document["paths"]["/own/count/{number}"]["post"]["responses"]
    assert responses.keys() == {"200", "400", "422", "500"}
    assert "application/problem+json" in responses["422"]["content"]
    assert "ValidationError" not in json.dumps(document)


def test_operations_have_the_names_of_their_handlers(app: FastAPI) -> None:
    @app.get("/keys/{key}", operation_id="chosen")
    async def model() -> None: ...

    @app.get("/new/other/model")
    @app.get("/old/other/model")
    async def other() -> None: ...

    document = app.openapi()
    ids = {
        path: operation["operationId"]
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    assert ids["/predict"] == "predict"
    assert ids["/model"] == "model"
    assert ids["/keys/{key}"] == "chosen"
    assert (ids["/old/other/model"], ids["/new/other/model"]) == ("other", "other_new")
    assert len(set(ids.values())) == len(ids)
    assert not [name for name in ids.values() if name.count("_") > 2]


def test_a_replaced_model_is_described_at_once(app: FastAPI) -> None:
    with TestClient(app) as client:
        before = client.get("/openapi.json").json()
        model = app.state.model
        column = Column(name="only one")
        signature = Signature(layout="array", inputs=[column], task="regression")
        example = model.manifest.examples[0].model_copy(update={"input": {"only one": 1.0}})
        model.manifest = model.manifest.model_copy(
            update={"signature": signature, "examples": [example]}
        )
        after = client.get("/openapi.json").json()
    assert "only one" not in json.dumps(before)
    assert "only one" in json.dumps(after)
    assert client.app.openapi() == after  # type: ignore[attr-defined]


def test_no_document_without_docs(model_dir: Path, loaded: LoadedModel) -> None:
    with TestClient(create_app(Settings(model_dir=model_dir, docs=False), loaded)) as client:
        for path in ("/docs", "/docs/swagger-ui.css", "/openapi.json"):
            assert client.get(path).status_code == 404


# The schema and the parser agree on what is valid.

SIGNATURE = Signature(
    layout="array",
    inputs=[
        Column(name="plain", minimum=1.0, maximum=2.0),
        Column(name="nullable", nullable=True),
        Column(name="bounded", minimum=-1.0, maximum=0.3, enforce=True),
        Column(name="from [0", minimum=0.0, enforce=True),
        Column(name="~/é\u2028", maximum=1e30, enforce=True),
    ],
    task="regression",
)
GOOD = [1.5, None, 0.0, 1.0, 1.0]
LARGEST = 3.4028234663852886e38


MIXED = Signature(
    layout="frame",
    inputs=[
        Column(name="whole", dtype="int64", minimum=0.0, maximum=99.0),
        Column(name="few", dtype="int64", nullable=True, categories=[1.0, 2.0], enforce=True),
        Column(name="up to 9", dtype="int64", minimum=0.5, maximum=9.5, enforce=True),
        Column(name="yes", dtype="bool"),
        Column(name="maybe", dtype="bool", nullable=True),
        Column(name="text", dtype="string", categories=["a", "b"]),
        Column(name="known", dtype="string", nullable=True, categories=["a", "b"], enforce=True),
        Column(name="of two", categories=[0.5, 2.0], enforce=True),
    ],
    task="regression",
)
OF_MIXED: list[tuple[Any, bool]] = [
    ({}, True),
    ({"whole": 2**63 - 1}, True),
    ({"whole": -(2**63)}, True),
    ({"whole": 2**64}, False),
    ({"whole": 7.0}, True),
    ({"whole": 7.5}, False),
    ({"whole": 1e300}, False),
    ({"whole": True}, False),
    ({"whole": "7"}, False),
    ({"whole": None}, False),
    ({"few": None}, True),
    ({"few": 1.0}, True),
    ({"few": 3}, False),
    ({"few": True}, False),
    ({"up to 9": 9}, True),
    ({"up to 9": 10}, False),
    ({"up to 9": 0}, False),
    ({"yes": 1}, False),
    ({"yes": "true"}, False),
    ({"yes": None}, False),
    ({"maybe": None}, True),
    ({"text": ""}, True),
    ({"text": 'unseen [{\u2028"\\'}, True),
    ({"text": 1}, False),
    ({"text": None}, False),
    ({"known": None}, True),
    ({"known": "b"}, True),
    ({"known": "c"}, False),
    ({"of two": 2}, True),
    ({"of two": 1.0}, False),
    ({"of two": True}, False),
]


@pytest.mark.parametrize(("changed", "valid"), OF_MIXED)
def test_typed_columns_are_described_as_they_are_checked(
    changed: dict[str, Any], valid: bool
) -> None:
    row = dict(zip(MIXED.columns, [5, 1, 3, True, False, "a", "a", 0.5], strict=True)) | changed
    schema = jsonschema_rs.Draft202012Validator(request_schema(MIXED, max_rows=3))
    parser = RequestParser(MIXED, max_rows=3)
    for instance in (row, list(row.values())):
        assert schema.is_valid({"instances": [instance]}) == valid
        text = json.dumps({"instances": [instance]}).encode()
        if valid:
            (values,) = parser.parse(text).values
            assert list(values) == list(row.values())
            continue
        with pytest.raises(InvalidInput) as caught:
            parser.parse(text)
        (error,) = caught.value.errors
        (name,) = changed
        cell = name if instance is row else MIXED.columns.index(name)
        assert error.pointer == f"/instances/0/{cell}"
        assert error.message != "is not valid"


def test_whole_numbers_of_integer_columns_are_parsed_to_integers() -> None:
    parser = RequestParser(MIXED, max_rows=3)
    body = b'{"instances": [[9007199254740993, 2.0, 3, true, null, "", null, 2]]}'
    (row,) = parser.parse(body).values
    assert list(row) == [9007199254740993, 2, 3, True, None, "", None, 2.0]
    assert [type(cell) for cell in row[:3]] == [int] * 3


def bodies() -> Iterator[tuple[Any, bool]]:
    """Bodies for `SIGNATURE`, and whether they are valid."""
    names = SIGNATURE.columns
    changes = {
        0: [(LARGEST, True), (math.nextafter(LARGEST, math.inf), False), (-LARGEST, True)],
        1: [(None, True), (1, True), ("1", False), (False, False), ([], False), ({}, False)],
        2: [(-1, True), (0.3, True), (math.nextafter(0.3, 1), False), (-1.0000001, False)],
        3: [(0, True), (-0.0, True), (-5e-324, False), (LARGEST, True), (10**40, False)],
        4: [(1e30, True), (1.1e30, False), (-LARGEST, True), (None, False), (10**29, True)],
    }
    for column, cells in changes.items():
        for cell, valid in cells:
            row = [*GOOD[:column], cell, *GOOD[column + 1 :]]
            yield {"instances": [row]}, valid
            yield {"instances": [GOOD, row]}, valid
            yield {"instances": [dict(zip(names, row, strict=True))]}, valid
    named = dict(zip(names, GOOD, strict=True))
    for rows, valid in (
        ([], False),
        ([GOOD] * 3, True),
        ([GOOD] * 4, False),
        ([named] * 3, True),
        ([named] * 4, False),
        ([GOOD, named], False),
        ([named, GOOD], False),
        ([GOOD[1:]], False),
        ([[*GOOD, 1.0]], False),
        ([named | {"more": 1}], False),
        ([{name: named[name] for name in names[1:]}], False),
        ([dict(reversed(named.items()))], True),
        ([None], False),
        (GOOD, False),
        ({}, False),
        (None, False),
    ):
        yield {"instances": rows}, valid
    yield {"instances": [GOOD], "more": 1}, False
    yield {}, False
    yield [GOOD], False
    yield None, False


def test_the_schema_and_the_parser_accept_the_same() -> None:
    schema = jsonschema_rs.Draft202012Validator(request_schema(SIGNATURE, max_rows=3))
    parser = RequestParser(SIGNATURE, max_rows=3)
    for body, valid in bodies():
        assert schema.is_valid(body) == valid, body
        try:
            parser.parse(json.dumps(body).encode())
            accepted = True
        except InvalidInput:
            accepted = False
        assert accepted == valid, body


@pytest.mark.parametrize(
    ("signature", "prediction"),
    [
        ({"task": "regression"}, 1.5),
        ({"task": "regression", "outputs": ["a", "b"]}, [1.5, 2.5]),
        ({"task": "classification", "classes": ["a", "b"]}, {"label": "a"}),
        (
            {"task": "classification", "classes": [1, 2], "probabilities": True},
            {"label": 2, "probabilities": {"1": 0.25, "2": 0.75}},
        ),
        (
            {"task": "classification", "classes": [False, True], "probabilities": True},
            {"label": True, "probabilities": {"false": 0, "true": 1}},
        ),
        ({"task": "multilabel", "classes": ["a", 0]}, {"labels": ["a", 0]}),
        (
            {"task": "multilabel", "classes": ["a", 0], "probabilities": True},
            {"labels": [], "probabilities": {"a": 0.5, "0": 0.25}},
        ),
        (
            {
                "task": "multi-output-classification",
                "outputs": ["size", "color"],
                "output_classes": [[1, 2], ["red"]],
            },
            {"labels": {"size": 2, "color": "red"}},
        ),
        ({"task": "clustering"}, {"cluster": -1}),
        ({"task": "outlier-detection"}, {"outlier": True, "score": -0.1}),
    ],
)
def test_the_response_schema_is_valid_for_every_task(
    signature: dict[str, Any], prediction: Any
) -> None:
    full_signature = Signature(layout="array", inputs=[Column(name="x")], **signature)
    schema = jsonschema_rs.Draft202012Validator(response_schema(full_signature))
    model = {"name": "m", "version": "1"}
    schema.validate({"predictions": [prediction], "model": model})
    assert not schema.is_valid({"predictions": ["invalid"], "model": model})


def test_the_limit_of_rows_is_that_of_the_settings(
    model_dir: Path, loaded: LoadedModel, manifest: Manifest
) -> None:
    with TestClient(create_app(Settings(model_dir=model_dir, max_rows=2), loaded)) as client:
        instances = validator(client.get("/openapi.json").json(), "Instances")
        for count, accepted in ((2, True), (3, False)):
            body = {"instances": [example_row(manifest)] * count}
            assert instances.is_valid(body) == accepted
            assert (client.post("/predict", json=body).status_code == 200) == accepted
