"""Every kind of model through packaging and HTTP, beside the estimator called directly.

Copied into a rendered project and run by its pytest: see tests/test_your_model.py.
"""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import joblib
import jsonschema_rs
import numpy as np
import pandas as pd
import pytest
import uvicorn
from iris_service import transformers
from iris_service.app import create_app
from iris_service.settings import Settings
from serving_engine import Manifest, predictions_agree, read_manifest
from serving_engine.build_model.build import package
from serving_engine.build_model.read_estimator import Trust
from serving_engine.runtimes.scikit_learn import skops_io

from .kinds import KINDS

PATIENCE = 60
OF_OTHER_TYPES = [{}, [], "text", True, 1.5]


class Served:
    """A packaged model behind a real socket, and what its estimator says of the examples."""

    def __init__(self, estimator: Any, examples: Any, manifest: Manifest, url: str) -> None:
        self.manifest = manifest
        self.signature = manifest.signature
        self.client = httpx2.Client(base_url=url, timeout=PATIENCE)
        self.rows = as_json(examples)
        self.own = [own(estimator, part, manifest) for part in one_by_one(examples)]
        schemas = self.client.get("/openapi.json").json()["components"]["schemas"]
        self.valid_body = jsonschema_rs.Draft202012Validator(schemas["Instances"]).is_valid
        self.valid_answer = jsonschema_rs.Draft202012Validator(schemas["Predictions"]).is_valid

    def named(self, number: int) -> dict[str, Any]:
        return dict(zip(self.signature.columns, self.rows[number], strict=True))

    def ask(self, instances: list[Any]) -> httpx2.Response:
        """Ask for predictions; the answer and the schemas must agree on whether that is valid."""
        body = {"instances": instances}
        response = self.client.post("/predict", json=body)
        assert response.status_code in {200, 422}, response.text
        assert self.valid_body(body) == (response.status_code == 200), (body, response.text)
        assert response.status_code == 422 or self.valid_answer(response.json()), response.text
        return response

    def check(self, numbers: list[int], by_name: bool) -> None:
        """Ask for some of the examples and compare."""
        instances = [self.named(n) if by_name else self.rows[n] for n in numbers]
        predictions = self.ask(instances).json()["predictions"]
        assert len(predictions) == len(numbers)
        for number, prediction in zip(numbers, predictions, strict=True):
            assert predictions_agree(self.own[number], prediction, 1e-9, 1e-9), (number, prediction)


def one_by_one(examples: Any) -> list[Any]:
    parts = getattr(examples, "iloc", examples)
    return [parts[number : number + 1] for number in range(len(examples))]


def as_json(examples: Any) -> list[list[Any]]:
    """The examples as JSON has them, in the estimator's order; null where a value is missing."""
    if isinstance(examples, list):
        return [[text] for text in examples]
    rows = examples.astype(object).to_numpy() if hasattr(examples, "iloc") else examples
    return [[None if pd.isna(cell) else cell for cell in row] for row in rows.tolist()]


def own(estimator: Any, row: Any, manifest: Manifest) -> Any:
    """The prediction of one row, from the estimator itself."""
    (found,) = np.asarray(estimator.predict(row)).tolist()
    signature = manifest.signature
    match signature.task:
        case "regression":
            return found
        case "clustering":
            return {"cluster": found}
        case "outlier-detection":
            return {"outlier": found == -1, "score": estimator.decision_function(row).item()}
        case "multi-output-classification":
            return {"labels": dict(zip(signature.outputs or (), found, strict=True))}
        case "multilabel":
            answer = {"labels": [n for n, has in enumerate(found) if has]}
        case _:
            answer = {"label": found}
    if hasattr(estimator, "predict_proba"):
        shares = estimator.predict_proba(row)
        if isinstance(shares, list):
            shares = np.column_stack([each[:, 1] for each in shares])
        names = [n if isinstance(n, str) else str(n).lower() for n in signature.classes or ()]
        answer["probabilities"] = dict(zip(names, shares[0].tolist(), strict=True))
    return answer


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """The service on a free port of loopback."""
    app = create_app(Settings(model_dir=directory, access_log=False))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@pytest.fixture(scope="module", params=KINDS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("kind")
    estimator, examples = KINDS[request.param]()
    joblib.dump(estimator, folder / "model.joblib")
    if isinstance(examples, list):
        source: Any = pd.DataFrame({"text": examples}).to_json(orient="records")
    elif isinstance(examples, pd.DataFrame):
        source = folder / "rows.pkl"
        examples.to_pickle(source)
    else:
        source = folder / "rows.csv"
        width = examples.shape[1]
        pd.DataFrame(examples, columns=[f"x{n}" for n in range(width)]).to_csv(source, index=False)
    trust = Trust(skops_io.untrusted_types(skops_io.dumps(estimator)), transformers.__name__)
    directory = folder / "model"
    package(folder / "model.joblib", source, directory, name="kind", version="1", trust=trust)
    with running(directory) as url:
        found = Served(estimator, examples, read_manifest(directory), url)
        yield found
        found.client.close()


def test_single_rows_get_the_estimators_own_answers(served: Served) -> None:
    for number in range(min(20, len(served.rows))):
        served.check([number], by_name=True)
        served.check([number], by_name=False)


def test_batches_get_the_estimators_own_answers(served: Served) -> None:
    everything = list(range(len(served.rows)))
    served.check(everything, by_name=False)
    served.check(everything[::-1], by_name=True)


def test_concurrent_mixed_requests_get_their_own_answers(served: Served) -> None:
    chooser = random.Random(0)
    asked = [
        ([chooser.randrange(len(served.rows)) for _ in range(chooser.randint(1, 7))], by_name)
        for by_name in (True, False) * 60
    ]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda numbers: served.check(*numbers), asked))


def test_the_recorded_examples_are_valid_and_reproduce(served: Served) -> None:
    for example in served.manifest.examples:
        (found,) = served.ask([example.input]).json()["predictions"]
        assert predictions_agree(example.output, found, 1e-6, 1e-9)


def test_every_column_takes_what_its_schema_says_and_nothing_else(served: Served) -> None:
    row = next(served.named(n) for n in range(len(served.rows)) if None not in served.rows[n])
    kinds = {"float64": 1.5, "int64": 7, "bool": True, "string": "unseen \u2603"}
    for column in served.signature.inputs:
        assert (served.ask([row | {column.name: None}]).status_code == 200) == column.nullable
        served.ask([row | {column.name: kinds[column.dtype]}])
        missing = {name: cell for name, cell in row.items() if name != column.name}
        refused = [row | {column.name: cell} for cell in OF_OTHER_TYPES if wrong(cell, column)]
        if column.nullable:
            assert served.ask([missing]).status_code == 200
        else:
            refused.append(missing)
        for instance in refused:
            response = served.ask([instance])
            assert response.status_code == 422
            name = column.name.replace("~", "~0").replace("/", "~1")
            assert [error["pointer"] for error in response.json()["errors"]] == [
                f"/instances/0/{name}"
            ]


def wrong(cell: Any, column: Any) -> bool:
    kinds: dict[str, Any] = {"float64": float, "int64": int, "bool": bool, "string": str}
    return not isinstance(cell, kinds[column.dtype]) or (
        column.dtype == "int64" and isinstance(cell, bool)
    )


def test_rows_of_nothing_but_null_are_refused_or_answered(served: Served) -> None:
    nothing = [None if column.nullable else cell for column, cell in complete(served)]
    assert served.ask([nothing]).status_code == 200


def complete(served: Served) -> list[Any]:
    row = next(row for row in served.rows if None not in row)
    return list(zip(served.signature.inputs, row, strict=True))
