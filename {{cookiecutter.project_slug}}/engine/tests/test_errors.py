"""Every documented error: its status, its form, and that it reveals no rejected value."""

import json
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_engine.model_files.manifest import Manifest
from serving_engine.runtimes.base import LoadedModel
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.request_parser import Values

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import example_row, with_predict
from .service import samples, wait_until

JSON = {"Content-Type": "application/json"}
MARKER = "do-not-echo-me"


@pytest.fixture
def row(manifest: Manifest) -> list[float]:
    return example_row(manifest)


def post(client: TestClient, body: bytes, **headers: str) -> dict[str, object]:
    """Post a body that gets an error; check its form; return the problem document."""
    response = client.post("/predict", content=body, headers={**JSON, **headers})
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.content) <= 8192
    problem: dict[str, object] = response.json()
    assert problem["status"] == response.status_code
    assert {"type", "title", "detail"} <= problem.keys()
    assert MARKER not in response.text
    assert "x-request-id" in response.headers
    return problem


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nope",
        b'{"instances": [[NaN]]}',
        b'{"instances": [[Infinity]]}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"instances": "\\ud800"}',
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"instances": [[' + b"9" * 5000 + b"]]}",
    ],
)
def test_a_body_that_is_not_json_gets_400(client: TestClient, body: bytes) -> None:
    assert post(client, body)["status"] == 400


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"null", ""),
        (b"[]", ""),
        (b"{}", "/instances"),
        (b'{"instances": {}}', "/instances"),
        (b'{"instances": []}', "/instances"),
        (b'{"instances": [1]}', "/instances/0"),
        (b'{"instances": [null]}', "/instances/0"),
        (b'{"rows": [], "instances": []}', "/instances"),
    ],
)
def test_json_that_is_not_a_request_gets_422(client: TestClient, body: bytes, pointer: str) -> None:
    problem = post(client, body)
    assert problem["status"] == 422
    assert problem["errors"][0]["pointer"] == pointer  # type: ignore[index]


@pytest.mark.parametrize(
    "value", ["null", "true", '"1.5"', '"do-not-echo-me"', "1e400", "-1e39", "[]", "{}"]
)
def test_a_cell_that_is_not_a_valid_number_gets_422(
    client: TestClient, row: list[float], value: str
) -> None:
    cells = [value, *map(str, row[1:])]
    problem = post(client, ('{"instances": [[' + ",".join(cells) + "]]}").encode())
    assert problem["status"] == 422
    assert problem["errors"][0]["pointer"] == "/instances/0/0"  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [
        {"a": {"0": 5.1}, "b": {"0": 3.5}},
        {"columns": ["a"], "index": [0], "data": [[5.1]]},
        {"instances": {"a": {"0": 5.1}, "b": {"0": 3.5}}},
    ],
)
def test_a_table_as_pandas_writes_it_gets_422_that_says_how_rows_are_written(
    client: TestClient, body: object
) -> None:
    problem = post(client, json.dumps(body).encode())
    assert problem["status"] == 422
    assert "is a table by columns, and not rows" in str(problem["detail"])
    assert "`DataFrame.to_json(orient='records')` writes them" in str(problem["detail"])


def test_a_list_of_rows_gets_422_with_the_form_of_a_request(client: TestClient) -> None:
    problem = post(client, b'[{"a": 1}]')
    assert problem["status"] == 422
    assert problem["detail"] == (
        "The body is a list, and not a request. "
        'It is {"instances": [...]}, an object with a list of rows.'
    )


def test_only_the_first_bad_row_is_described(client: TestClient, row: list[float]) -> None:
    problem = post(client, json.dumps({"instances": [row, ["x"] * len(row), ["x"]]}).encode())
    pointers = [error["pointer"] for error in problem["errors"]]  # type: ignore[attr-defined]
    assert pointers == [f"/instances/1/{n}" for n in range(min(len(row), 20))]


def test_unknown_columns_are_rejected_by_name_and_at_most_20_are_named(
    client: TestClient, manifest: Manifest
) -> None:
    instance = manifest.examples[0].input | {f"~odd/{n}": MARKER for n in range(30)}
    problem = post(client, json.dumps({"instances": [instance]}).encode())
    pointers = [error["pointer"] for error in problem["errors"]]  # type: ignore[attr-defined]
    assert pointers == [f"/instances/0/~0odd~1{n}" for n in range(20)]


def test_unknown_members_of_the_body_are_rejected(client: TestClient, row: list[float]) -> None:
    problem = post(client, json.dumps({"instances": [row], "parameters": {}}).encode())
    assert problem["errors"] == [{"pointer": "/parameters", "message": "is not known"}]


def test_long_names_do_not_make_long_responses(client: TestClient, manifest: Manifest) -> None:
    instance = manifest.examples[0].input | {f"{n}" + "\u2603" * 3000: 1 for n in range(30)}
    assert post(client, json.dumps({"instances": [instance]}).encode())["status"] == 422


def test_many_errors_cost_no_more_than_one(client: TestClient) -> None:
    body = json.dumps({"instances": [["a"] * 100_000] * 2}).encode()
    problem = post(client, body)
    assert problem["status"] == 422
    assert len(problem["errors"]) <= 20  # type: ignore[arg-type]


def test_too_many_rows_get_422(client: TestClient, row: list[float], settings: Settings) -> None:
    body = json.dumps({"instances": [row] * (settings.max_rows + 1)}).encode()
    problem = post(client, body)
    assert problem["status"] == 422
    assert str(settings.max_rows) in problem["errors"][0]["message"]  # type: ignore[index]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=utf-16"],
)
def test_a_body_that_is_not_declared_as_json_gets_415(
    client: TestClient, content_type: str
) -> None:
    assert post(client, b"{}", **{"Content-Type": content_type})["status"] == 415


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "application/x+json"])
def test_other_media_types_of_json_are_read(client: TestClient, content_type: str) -> None:
    assert post(client, b"{}", **{"Content-Type": content_type})["status"] == 422


def test_an_encoded_body_gets_415(client: TestClient) -> None:
    assert post(client, b"{}", **{"Content-Encoding": "gzip"})["status"] == 415


def test_a_large_body_gets_413_for_its_declared_and_for_its_true_length(
    loaded: LoadedModel, model_dir: object
) -> None:
    settings = Settings(model_dir=model_dir, max_body_bytes=1000)  # type: ignore[arg-type]
    with TestClient(create_app(settings, loaded)) as client:
        assert post(client, b" " * 1001)["status"] == 413
        response = client.post("/predict", content=iter([b" " * 600] * 2), headers=JSON)
        assert "content-length" not in response.request.headers
        assert response.status_code == 413
        assert response.headers["connection"] == "close"
        assert post(client, b" " * 1000)["status"] == 400


def test_unknown_routes_get_404_and_wrong_methods_405_with_allow(client: TestClient) -> None:
    missing = client.get("/nope")
    assert (missing.status_code, missing.json()["title"]) == (404, "Not Found")
    wrong = client.get("/predict")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.headers["content-type"] == "application/problem+json"


@pytest.fixture(params=["raise", "exit", "nan", "infinite"])
def failing(
    request: pytest.FixtureRequest, settings: Settings, loaded: LoadedModel
) -> Iterator[TestClient]:
    """A client of a service whose model fails once the service has started."""
    started = False

    def predict(batch: Values) -> Outputs:
        outputs = loaded.predict(batch)
        if not started:
            return outputs
        if request.param == "raise":
            raise ValueError(MARKER)
        if request.param == "exit":
            raise SystemExit(MARKER)
        wrong = np.nan if request.param == "nan" else np.inf
        scores = outputs.values if outputs.probabilities is None else outputs.probabilities
        return Outputs(outputs.values, np.full_like(scores, wrong, dtype=np.float64))

    with TestClient(create_app(settings, with_predict(loaded, predict))) as client:
        started = True
        yield client


def test_a_failing_model_gets_500_with_an_id_that_the_log_has(
    failing: TestClient, row: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    problem = post(failing, json.dumps({"instances": [row]}).encode(), **{"X-Request-ID": "me-1"})
    assert problem["status"] == 500
    assert problem["id"] == "me-1"
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.request_id == "me-1"  # type: ignore[attr-defined]


def test_an_unhandled_exception_gets_500_and_only_the_log_has_its_text(
    settings: Settings, loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings, loaded)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError(MARKER)

    with TestClient(app) as client:
        response = client.get("/broken")
    assert response.status_code == 500
    assert MARKER not in response.text
    assert response.json()["id"] == response.headers["x-request-id"]
    assert MARKER in caplog.text


def test_a_deadline_that_passed_gets_504(
    gated_client: tuple[TestClient, threading.Event], row: list[float]
) -> None:
    client, gate = gated_client
    gate.clear()
    body = json.dumps({"instances": [row]}).encode()
    assert post(client, body, **{"X-Request-Timeout-Ms": "50"})["status"] == 504


def test_readyz_gets_503_while_a_call_of_the_model_is_stuck(
    settings: Settings, loaded: LoadedModel, row: list[float]
) -> None:
    free = threading.Event()
    free.set()

    def predict(batch: Values) -> Outputs:
        assert free.wait(60)
        return loaded.predict(batch)

    def failed_threads(client: TestClient) -> float:
        return samples(client.get("/metrics").text)["serving_failed_threads",]

    impatient = settings.model_copy(update={"stuck_timeout": 0.1})
    with TestClient(create_app(impatient, with_predict(loaded, predict))) as client:
        body = json.dumps({"instances": [row]}).encode()
        assert client.get("/readyz").status_code == 200
        assert failed_threads(client) == 0
        free.clear()
        try:
            assert post(client, body, **{"X-Request-Timeout-Ms": "50"})["status"] == 504
            wait_until(lambda: client.get("/readyz").status_code == 503, 20)
            assert "stuck" in client.get("/readyz").json()["detail"]
            assert client.get("/livez").status_code == 200
            assert failed_threads(client) == 1
        finally:
            free.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert failed_threads(client) == 0
        post_again = client.post("/predict", json={"instances": [row]})
        assert post_again.status_code == 200


def test_a_client_cannot_extend_the_deadline_of_the_server(
    settings: Settings, loaded: LoadedModel, row: list[float]
) -> None:
    free = threading.Event()

    def predict(batch: Values) -> Outputs:
        assert free.wait(30)
        return loaded.predict(batch)

    free.set()
    short = settings.model_copy(update={"inline_seconds": 0, "request_timeout": 0.2})
    with TestClient(create_app(short, with_predict(loaded, predict))) as client:
        body = json.dumps({"instances": [row]}).encode()
        free.clear()
        release = threading.Timer(3, free.set)  # so that without a deadline there is a prediction
        release.start()
        try:
            assert post(client, body, **{"X-Request-Timeout-Ms": "60000"})["status"] == 504
        finally:
            release.cancel()
            free.set()


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "", "9" * 10])
def test_an_invalid_timeout_gets_422(client: TestClient, row: list[float], value: str) -> None:
    body = json.dumps({"instances": [row]}).encode()
    assert post(client, body, **{"X-Request-Timeout-Ms": value})["status"] == 422


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_gets_400_that_says_what_a_missing_value_is(client: TestClient, value: float) -> None:
    document = post(client, json.dumps({"instances": [[value]]}).encode())
    assert document["status"] == 400
    assert "JSON has no NaN or Infinity; null stands for a missing value." in str(document)


def test_nan_in_a_string_is_not_the_reason(client: TestClient) -> None:
    document = post(client, b'{"instances": [["NaN" x]]}')
    assert document["status"] == 400
    assert "null" not in str(document["detail"])


def test_a_row_that_is_not_in_a_list_of_rows_is_named(client: TestClient, row: list[float]) -> None:
    document = post(client, json.dumps({"instances": row}).encode())
    assert document["status"] == 422
    assert document["detail"] == "instances must be a list of rows."
    assert document["errors"][0]["message"] == "must be an object or an array"


def test_of_duplicate_names_the_last_one_counts(client: TestClient, row: list[float]) -> None:
    rows = json.dumps([row])
    body = b'{"instances": "first", "instances": %s}' % str(rows).encode()
    assert client.post("/predict", content=body, headers=JSON).status_code == 200


def test_readyz_gets_503_while_draining_and_livez_does_not(client: TestClient) -> None:
    client.app.state.readiness.drain()  # type: ignore[attr-defined]
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "The service is draining."
    assert int(response.headers["retry-after"]) >= 1
    assert client.get("/livez").status_code == 200
