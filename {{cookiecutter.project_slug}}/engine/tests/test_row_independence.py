"""The prediction for a row is the same alone and in any batch, whatever strangers send."""

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_engine.build_model.probes import extremes, neighbours
from serving_engine.inference.batcher import Batcher, QueueLimits
from serving_engine.inference.prediction_threads import PredictionThreads
from serving_engine.runtimes.base import OwnerCode
from serving_engine.runtimes.inputs import MixedNulls, input_builder, rows_by_nulls
from serving_engine.runtimes.load import read_model
from serving_engine.runtimes.scikit_learn import loading
from serving_engine.runtimes.scikit_learn.estimator import ServedEstimator
from serving_engine.runtimes.scikit_learn.loading import wrap_estimator
from serving_engine.runtimes.scikit_learn.runtime import ScikitLearnRuntime
from serving_engine.schema.predictions import Outputs, PredictionFormatter, predictions_agree
from serving_engine.schema.request_parser import Rows, Values
from serving_engine.schema.signature import CellRows, Column, Signature
from serving_engine.telemetry.metrics import Metrics
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

PATIENCE = 60.0
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(60, 3))
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
CLASSIFICATION = {"task": "classification", "classes": [0, 1], "probabilities": True}
NUMBERS = [Column(name=name, nullable=True) for name in "abc"]
COLORS = np.array(["red", "blue", "green"])[RANDOM.integers(0, 3, 60)]
INTEGERS = [
    Column(name="code", dtype="int64", nullable=True),
    Column(name="flag", dtype="bool", nullable=True),
]
EXACT = 2**53 + 1


class LastDigit(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the last digit of an integer, and -1 for null."""

    def predict(self, frame: Any) -> Any:
        return np.array([-1.0 if np.isnan(n) else int(n) % 10 for n in frame["code"].tolist()])


def frame_of_all_types() -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {
            "size": ROWS[:, 0],
            "count": RANDOM.integers(0, 9, 60),
            "code": EXACT + RANDOM.integers(0, 4, 60),
            "flag": ROWS[:, 1] > 0,
            "color": pandas.array(COLORS, dtype="str"),
            "kind": pandas.Categorical(COLORS, categories=["red", "green", "blue"]),
        }
    )


FRAME = [
    Column(name="size", nullable=True),
    Column(name="count", dtype="int64"),
    *INTEGERS,
    Column(name="color", dtype="string", nullable=True),
    Column(
        name="kind",
        dtype="string",
        nullable=True,
        categories=["red", "green", "blue"],
        categorical=True,
    ),
]


def frame_of_all_types_case() -> tuple[ServedEstimator, Signature, CellRows]:
    frame = frame_of_all_types()
    columns = make_column_transformer(
        (SimpleImputer(), ["size", "count"]),
        (OneHotEncoder(handle_unknown="ignore"), ["code", "flag", "color", "kind"]),
    )
    estimator = make_pipeline(columns, LogisticRegression()).fit(frame, LABELS)
    signature = Signature(layout="frame", inputs=FRAME, **CLASSIFICATION)
    return wrap_estimator(estimator, signature), signature, frame.to_numpy(dtype=object).tolist()


def frame_without_names_case() -> tuple[ServedEstimator, Signature, CellRows]:
    rows = frame_of_all_types()[["code", "flag", "color"]].to_numpy(dtype=object)
    estimator = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    estimator.fit(rows, LABELS)
    inputs = [*INTEGERS, Column(name="color", dtype="string", nullable=True)]
    signature = Signature(layout="frame", inputs=inputs, **CLASSIFICATION)
    return wrap_estimator(estimator, signature), signature, rows.tolist()


def array_case(estimator: Any) -> tuple[ServedEstimator, Signature, CellRows]:
    signature = Signature(layout="array", inputs=NUMBERS, **CLASSIFICATION)
    served = wrap_estimator(estimator.fit(ROWS, LABELS), signature)
    served.use_fast_path(ROWS[:8].tolist())
    return served, signature, ROWS.tolist()


def text_case() -> tuple[ServedEstimator, Signature, CellRows]:
    texts = ["good film", "bad film", "great", "awful", "", "good good"]
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression())
    estimator.fit(texts, [1, 0, 1, 0, 0, 1])
    inputs = [Column(name="text", dtype="string")]
    signature = Signature(layout="text", inputs=inputs, **CLASSIFICATION)
    return wrap_estimator(estimator, signature), signature, [[text] for text in texts]


CASES: dict[str, Callable[[], tuple[ServedEstimator, Signature, CellRows]]] = {
    "frame of all types": frame_of_all_types_case,
    "frame without names": frame_without_names_case,
    "forest": lambda: array_case(RandomForestClassifier(5, random_state=0)),
    "boosting": lambda: array_case(HistGradientBoostingClassifier(max_iter=5)),
    "steps in place": lambda: array_case(
        make_pipeline(SimpleImputer(copy=False), MinMaxScaler(copy=False), KNeighborsClassifier(2))
    ),
    "text": text_case,
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_caller_gets_what_its_rows_get_alone(case: str) -> None:
    """Requests of several rows of every kind share batches, in any order."""
    served, signature, examples = CASES[case]()
    pool = [*examples[:12], *neighbours(signature, examples)]
    alone = [served([row]) for row in pool]
    far = extremes(signature, examples[0])

    async def scenario(seed: int) -> None:
        chance = random.Random(seed)
        numbers = chance.sample(range(len(pool)), len(pool))
        requests: list[list[int]] = []
        while numbers:
            size = chance.randint(1, 4)
            requests.append(numbers[:size])
            numbers = numbers[size:]
        gate = threading.Event()
        batches: list[int] = []

        def predict(rows: Values) -> Outputs:
            assert gate.wait(PATIENCE)
            batches.append(len(rows))
            return served(rows)

        threads = PredictionThreads(1)
        limits = QueueLimits(batch_rows=64, queued_rows=1000, queued_requests=1000)
        batcher = Batcher(predict, threads, limits, Metrics())
        first = asyncio.create_task(batcher.predict(Rows([examples[0]]), PATIENCE))
        await asyncio.sleep(0)
        tasks = [
            asyncio.create_task(batcher.predict(Rows([pool[n] for n in request]), PATIENCE))
            for request in requests
        ]
        strangers = [asyncio.create_task(batcher.predict(Rows([row]), PATIENCE)) for row in far]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*strangers, return_exceptions=True)
        formatter = PredictionFormatter(signature)
        for request, task in zip(requests, tasks, strict=True):
            for number, prediction in zip(request, formatter(await task), strict=True):
                (expected,) = formatter(alone[number])
                assert predictions_agree(expected, prediction, 1e-9, 1e-12), pool[number]
        await first
        assert max(batches) > len(pool) // 2
        threads.close()

    for seed in range(3):
        asyncio.run(asyncio.wait_for(scenario(seed), PATIENCE))


def test_the_null_of_a_stranger_leaves_the_digits_of_an_integer() -> None:
    pytest.importorskip("pandas")
    inputs = INTEGERS[:1]
    signature = Signature(layout="frame", inputs=inputs, task="regression")
    served = ServedEstimator(LastDigit(), signature)
    assert served([[EXACT]]).values.tolist() == [EXACT % 10]
    assert served([[EXACT], [None], [EXACT + 1]]).values.tolist() == [
        EXACT % 10,
        -1,
        EXACT % 10 + 1,
    ]


def test_rows_that_belong_together_are_never_predicted_in_groups() -> None:
    pytest.importorskip("pandas")
    sizes: list[int] = []

    class Counting(LastDigit):
        def predict(self, frame: Any) -> Any:
            sizes.append(len(frame))
            return super().predict(frame)

    signature = Signature(layout="frame", inputs=INTEGERS[:1], task="regression")
    rows = [[1], [None], [3]]
    assert ServedEstimator(Counting(), signature, together=True)(rows).values.tolist() == [1, -1, 3]
    assert sizes == [3]
    assert ServedEstimator(Counting(), signature)(rows).values.tolist() == [1, -1, 3]
    assert sizes == [3, 2, 1]


@pytest.mark.parametrize("independent", [True, False])
def test_the_manifest_decides_whether_rows_belong_together(
    model_dir: Path, independent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bool] = []

    def wrap(*_: object, together: bool) -> None:
        given.append(together)

    monkeypatch.setattr(loading, "wrap_estimator", wrap)
    manifest, files = read_model(model_dir, 2**24)
    probes = manifest.probes.model_copy(update={"row_independent": independent})
    ScikitLearnRuntime().load(files, manifest.model_copy(update={"probes": probes}), OwnerCode())
    assert given == [not independent]


def test_groups_are_few_and_each_has_one_type_in_every_column() -> None:
    pytest.importorskip("pandas")
    signature = Signature(layout="frame", inputs=[NUMBERS[0], *INTEGERS], task="regression")
    rows = [
        [1.0, 1, True],
        [None, 2, False],
        [2.0, None, True],
        [None, None, False],
        [3.0, 4, None],
    ]
    build = input_builder(signature)
    with pytest.raises(MixedNulls):
        build(rows)
    groups = rows_by_nulls(signature, rows)
    assert groups == [[0, 1], [2, 3], [4]]
    for group in groups:
        together = build([rows[number] for number in group]).dtypes.tolist()
        assert [build([rows[number]]).dtypes.tolist() for number in group] == [
            together for _ in group
        ]


class Reused(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts into one array, which the next call overwrites."""

    memory = np.zeros(100)

    def predict(self, rows: Any) -> Any:
        self.memory[: len(rows)] = rows[:, 0]
        return self.memory[: len(rows)]


def test_the_memory_of_a_model_is_not_handed_out() -> None:
    """The next batch may be predicted before the callers of this one have read their outputs."""
    served = ServedEstimator(Reused(), Signature(layout="array", inputs=NUMBERS, task="regression"))
    first = served([[1.0, 0.0, 0.0]])
    served([[2.0, 0.0, 0.0]])
    assert first.values.tolist() == [1.0]


def test_a_step_that_works_in_place_does_not_change_the_rows_for_the_next_method() -> None:
    """A tie in one row makes the label of every row of the batch come from a second method."""
    scaler = MinMaxScaler(copy=False, feature_range=(-1, 1)).fit([[0.0], [10.0]])
    neighbors = KNeighborsClassifier(2).fit([[-1.0], [-0.5], [0.5], [1.0]], [0, 0, 1, 1])
    estimator = make_pipeline(scaler, neighbors)
    signature = Signature(layout="array", inputs=NUMBERS[:1], **CLASSIFICATION)
    served = ServedEstimator(estimator, signature)
    rows = np.array([[5.0], [1.0], [9.0]])
    assert served(rows).values.tolist()[1:] == [0, 1]
    assert rows.tolist() == [[5.0], [1.0], [9.0]]
