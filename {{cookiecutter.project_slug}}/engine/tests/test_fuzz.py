"""Any request gets a documented response in time, and never a 500.

`FUZZ_EXAMPLES=1500 pytest tests/test_fuzz.py` searches for a minute instead of seconds.
"""

import json
import os
import time
from typing import Any

import hypothesis
import jsonschema_rs  # comes with schemathesis
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import strategies as st
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.load import LoadedModel
from serving_engine.schema.predictions import PredictionFormatter, predictions_agree
from serving_engine.schema.signature import Column
from serving_engine.web.problem_details import MAX_BYTES

from .models import example_row

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))

# The timeout in a request may be too short.
OK = ["2xx", 504]

# The same examples in every run; nothing is stored between runs.
fuzz = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)

MARKS = '[]{}:,"\\1.e-nulltrue '

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)


def cells(column: Column) -> st.SearchStrategy[float | None]:
    """Values in the range of those that the model was fitted on."""
    low = -1000.0 if column.minimum is None else column.minimum
    high = max(low, 1000.0 if column.maximum is None else column.maximum)
    numbers = st.floats(low, high)
    return numbers | st.none() if column.nullable else numbers


def nearly_valid(columns: list[Column]) -> st.SearchStrategy[Any]:
    """Requests with a few things wrong, or none."""
    names = [column.name for column in columns]
    cell = st.one_of(*map(cells, columns), scalars)
    by_name = st.fixed_dictionaries(
        dict(zip(names, map(cells, columns), strict=True)),
        optional={names[0] + " ": cell, names[-1].upper(): cell},
    )
    in_order = st.tuples(*map(cells, columns)).map(list)
    row = st.one_of(
        by_name,
        in_order,
        st.lists(cell, min_size=len(names), max_size=len(names)),
        st.dictionaries(st.sampled_from(names), cell),
        anything,
    )
    rows = st.one_of(*(st.lists(kind, max_size=4) for kind in (by_name, in_order, row)))
    return st.fixed_dictionaries(
        {"instances": rows}, optional={"instance": anything, "parameters": anything}
    )


def post(client: TestClient, body: bytes) -> tuple[int, Any]:
    """Send a body; check the rules for every response; return its status and its document."""
    started = time.process_time()
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert time.process_time() - started < 1
    assert response.status_code == 200 or 400 <= response.status_code < 500, response.text
    document = json.loads(response.content, parse_constant=pytest.fail)
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert len(response.content) <= MAX_BYTES
        assert document["status"] == response.status_code
    return response.status_code, document


@pytest.fixture
def instances(client: TestClient) -> Any:
    """A validator of request bodies, from the service's OpenAPI document."""
    components = client.get("/openapi.json").json()["components"]
    return jsonschema_rs.Draft202012Validator(
        {"$ref": "#/components/schemas/Instances", "components": components}
    )


def test_a_json_value_is_predicted_if_the_schema_allows_it_and_else_rejected(
    client: TestClient, manifest: Manifest, instances: Any
) -> None:
    @fuzz
    @hypothesis.given(anything | nearly_valid(manifest.signature.inputs))
    def check(value: Any) -> None:
        status, _ = post(client, json.dumps(value).encode())
        assert status == (200 if instances.is_valid(value) else 422)

    check()


def test_random_bytes_are_rejected(client: TestClient) -> None:
    @fuzz
    @hypothesis.given(st.binary() | st.text(st.sampled_from(MARKS)).map(str.encode))
    def check(body: bytes) -> None:
        status, _ = post(client, body)
        assert status in {400, 422}

    check()


def test_a_broken_request_gets_a_response(client: TestClient, manifest: Manifest) -> None:
    good = json.dumps({"instances": [example_row(manifest)]}).encode()

    @fuzz
    @hypothesis.given(st.integers(0, len(good)), st.binary(max_size=3), st.integers(0, 3))
    def check(start: int, replacement: bytes, removed: int) -> None:
        post(client, good[:start] + replacement + good[start + removed :])

    check()


def test_rows_get_the_predictions_of_the_model(client: TestClient, loaded: LoadedModel) -> None:
    signature = loaded.manifest.signature
    format_outputs = PredictionFormatter(signature)
    rows = st.lists(st.tuples(*map(cells, signature.inputs)).map(list), min_size=1, max_size=20)

    @fuzz
    @hypothesis.given(rows, st.booleans())
    def check(rows: list[list[float | None]], by_name: bool) -> None:
        named = [dict(zip(signature.columns, row, strict=True)) for row in rows]
        body = {"instances": named if by_name else rows}
        status, document = post(client, json.dumps(body).encode())
        assert status == 200
        expected = format_outputs(loaded.predict(rows))
        assert predictions_agree(expected, document["predictions"], relative=1e-9, absolute=1e-12)

    check()


def test_the_service_behaves_as_its_openapi_document_says(app: FastAPI) -> None:
    """The checks of schemathesis: no response is a 500; each has a documented status, media type,
    headers and body; valid requests are accepted, and all others rejected."""
    import schemathesis
    from schemathesis.engine import events, from_schema
    from schemathesis.openapi import from_asgi

    config = schemathesis.Config.from_dict(
        {
            "seed": 1,
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
            # No request depends on the response to another one.
            "phases": {"stateful": {"enabled": False}},
            "checks": {
                "not_a_server_error": {"expected-statuses": [*OK, "4xx"]},
                "positive_data_acceptance": {"expected-statuses": OK},
            },
            # A schema cannot say that a shape and its data must match.
            "operations": [
                {
                    "include-path-regex": f"^{path}(/|$)",
                    "generation": {"max-examples": EXAMPLES // 20},
                    "phases": {"coverage": {"enabled": "FUZZ_EXAMPLES" in os.environ}},
                    "checks": {"positive_data_acceptance": {"expected-statuses": [*OK, 400]}},
                }
                for protocol in app.state.protocols
                for path in protocol.paths
            ],
        }
    )
    statuses = set()
    for event in from_schema(from_asgi("/openapi.json", app, config=config)).execute():
        assert not isinstance(event, events.FatalError | events.NonFatalError), event
        if isinstance(event, events.ScenarioFinished):
            for case, checks in event.recorder.checks.items():
                for check in checks:
                    assert check.failure_info is None, (
                        f"{check.failure_info.failure}\n{event.recorder.cases[case].value}"
                    )
            responses = [sent.response for sent in event.recorder.interactions.values()]
            statuses |= {response.status_code for response in responses if response}
    assert statuses >= {200, 405, 415, 422}
