"""Mixed columns without a DataFrame: the outputs keep every bit, or the DataFrame is built."""

import random
import warnings
from typing import Any

import numpy as np
import pytest
from serving_engine.runtimes.scikit_learn import column_path
from serving_engine.runtimes.scikit_learn.loading import wrap_estimator
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.signature import Cell, Column, Signature
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC

pandas = pytest.importorskip("pandas")

pytestmark = pytest.mark.filterwarnings("ignore:Found unknown categories")

CHANCE = random.Random(0)
CITIES = ["Bern", "Genève", "Oslo", "Rome"]
PLANS = ["basic", "pro"]
COLUMNS = [
    Column(name="income", nullable=True),
    Column(name="height"),
    Column(name="age", dtype="int64", nullable=True),
    Column(name="member", dtype="bool", nullable=True),
    Column(name="city", dtype="string", nullable=True, categories=CITIES),
    Column(name="plan", dtype="string", categories=PLANS),
    Column(name="visits", dtype="int64"),
]


def make_rows(count: int, *, odd: bool = False) -> list[list[Cell]]:
    """Rows like those of training; if `odd`, some with nulls, unseen texts and large numbers."""
    rare = 0.2 if odd else 0.0

    def cell(usual: Cell, *unusual: Cell) -> Cell:
        return CHANCE.choice(unusual) if CHANCE.random() < rare else usual

    return [
        [
            cell(CHANCE.gauss(50, 9), None, -1e30, 0.0),
            cell(CHANCE.gauss(1, 0.2), 1e12),
            cell(CHANCE.randrange(18, 90), None, -1, 2**53 + 1),
            CHANCE.random() > 0.4,
            cell(CHANCE.choice(CITIES), None, "Paris"),
            cell(CHANCE.choice(PLANS), "", "free"),
            cell(CHANCE.randrange(9), 10**6, 2**62),
        ]
        for _ in range(count)
    ]


TRAINING = make_rows(120)
NAMES = [column.name for column in COLUMNS]
FRAME = pandas.DataFrame(TRAINING, columns=NAMES)
FRAME.loc[::9, ["income", "city"]] = None
KINDS = np.array([row[5] == "pro" and row[6] > 3 for row in TRAINING]).astype(int)
SIZES = FRAME.height.to_numpy() * 3 + KINDS
NUMBERS = ["income", "height", "age"]
TEXTS = ["city", "plan"]
FILLED = make_pipeline(SimpleImputer(), StandardScaler())


def columns(encoder: Any, numbers: Any = FILLED, **options: Any) -> ColumnTransformer:
    options = {"remainder": "passthrough"} | options
    return make_column_transformer((numbers, NUMBERS), (encoder, TEXTS), **options)


FILLED_TEXTS = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
KNOWN = OneHotEncoder(handle_unknown="ignore")
ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
ROBUST = make_pipeline(SimpleImputer(strategy="median"), RobustScaler())
CLIPPED = make_pipeline(SimpleImputer(strategy="constant", fill_value=7.0), MinMaxScaler(clip=True))
SHORT = {
    "sparse": make_pipeline(columns(KNOWN, sparse_threshold=1.0), LogisticRegression()),
    "dense": make_pipeline(columns(FILLED_TEXTS, sparse_threshold=0), LogisticRegression()),
    "dropped": make_pipeline(columns(OneHotEncoder(drop="first"), ROBUST), LogisticRegression()),
    "if binary": make_pipeline(
        columns(OneHotEncoder(drop="if_binary", handle_unknown="ignore"), CLIPPED),
        LinearRegression(),
    ),
    "nothing else": make_pipeline(columns(KNOWN, remainder="drop"), LogisticRegression()),
    "by position": make_pipeline(
        ColumnTransformer(
            [("n", FILLED, slice(0, 3)), ("f", FunctionTransformer(), [6]), ("t", KNOWN, [4, 5])]
        ),
        LogisticRegression(),
    ),
    "integers in an encoder": make_pipeline(
        make_column_transformer((KNOWN, ["member", "visits", "city"])), LogisticRegression()
    ),
    "scaled after": make_pipeline(columns(ORDINAL), SimpleImputer(), RobustScaler(), SVC()),
    "boosting": make_pipeline(
        columns(ORDINAL, "passthrough"), HistGradientBoostingClassifier(max_iter=3)
    ),
    "forest": make_pipeline(columns(KNOWN), RandomForestClassifier(5, random_state=0)),
    "sparse forest": make_pipeline(
        columns(KNOWN, sparse_threshold=1.0), RandomForestClassifier(5, random_state=0)
    ),
    "neighbours": make_pipeline(columns(KNOWN), KNeighborsClassifier()),
    "regression": make_pipeline(columns(KNOWN), GradientBoostingRegressor(n_estimators=5)),
    "clustering": make_pipeline(columns(KNOWN), KMeans(3, n_init=1, random_state=0)),
    "outliers": make_pipeline(columns(KNOWN), IsolationForest(n_estimators=5, random_state=0)),
}
LONG = {
    "another step": columns(KNOWN, make_pipeline(SimpleImputer(), PolynomialFeatures(2))),
    "categories that share a column": columns(OneHotEncoder(min_frequency=40)),
    "an indicator of nulls": columns(KNOWN, SimpleImputer(add_indicator=True)),
    "the names of its output": columns(
        OneHotEncoder(sparse_output=False), sparse_threshold=0
    ).set_output(transform="pandas"),
}


def fit(pipeline: Any) -> tuple[Any, Signature]:
    pipeline = clone(pipeline)  # serving modifies it
    final = pipeline.steps[-1][1]
    kind = getattr(final, "_estimator_type", None) or final.__sklearn_tags__().estimator_type
    with warnings.catch_warnings(action="ignore"):
        pipeline.fit(FRAME, SIZES if kind == "regressor" else KINDS)
    tasks = {
        "regressor": {"task": "regression"},
        "classifier": {"task": "classification", "classes": [0, 1]},
        "clusterer": {"task": "clustering"},
        "outlier_detector": {"task": "outlier-detection"},
    }
    fields = tasks[kind]
    if kind == "classifier" and hasattr(pipeline, "predict_proba"):
        fields = fields | {"probabilities": True}
    return pipeline, Signature(layout="frame", inputs=COLUMNS, **fields)


def outcome(predict: Any, rows: Any) -> Outputs | str:
    try:
        return predict(rows)
    except Exception as error:
        return str(error)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each DataFrame that is built."""
    built: list[int] = []
    init = pandas.DataFrame.__init__

    def counting(self: Any, *arguments: Any, **options: Any) -> None:
        built.append(1)
        init(self, *arguments, **options)

    monkeypatch.setattr(pandas.DataFrame, "__init__", counting)
    return built


@pytest.mark.parametrize("name", SHORT)
def test_no_bit_differs_and_no_frame_is_built(name: str, frames: list[int]) -> None:
    estimator, signature = fit(SHORT[name])
    plain = wrap_estimator(estimator, signature)
    short = wrap_estimator(estimator, signature)
    short.use_fast_path(TRAINING[:8])
    frames.clear()
    for size in (1, 3, 40):
        rows = make_rows(size)
        outputs = short(rows)
        assert not frames
        assert outputs.same_bits(plain(rows))
        frames.clear()
        for _ in range(2):
            rows = make_rows(size, odd=True)
            outputs, expected = outcome(short, rows), outcome(plain, rows)
            if isinstance(expected, str):
                assert outputs == expected
            else:
                assert outputs.same_bits(expected)
        frames.clear()


@pytest.mark.parametrize("name", LONG)
def test_what_is_not_known_is_left_to_the_estimator(name: str, frames: list[int]) -> None:
    estimator, signature = fit(make_pipeline(LONG[name], LogisticRegression()))
    served = wrap_estimator(estimator, signature)
    expected = served(TRAINING[:8])
    served.use_fast_path(TRAINING[:8])
    frames.clear()
    assert served(TRAINING[:8]).same_bits(expected)
    assert frames


def everywhere(cells: Any) -> Any:
    return np.ones(len(cells), bool)


def of_unseen(cells: Any) -> Any:
    return ~pandas.DataFrame(cells)["plan"].isin(PLANS).to_numpy()


def of_nulls(cells: Any) -> Any:
    return pandas.DataFrame(cells).isna().any(axis=1).to_numpy()


def of_large(cells: Any) -> Any:
    return (abs(np.asarray(cells)) > 1e6).any(axis=1)


@pytest.mark.parametrize(
    ("base", "where"),
    [
        (OneHotEncoder, everywhere),
        (OneHotEncoder, of_unseen),
        (OneHotEncoder, of_nulls),
        (StandardScaler, of_large),
    ],
)
def test_a_step_that_differs_for_some_rows_is_called(
    base: type[Any], where: Any, frames: list[int]
) -> None:
    class Other(base):
        """Named like a step of scikit-learn, with other results."""

        def transform(self, cells: Any) -> Any:
            made = super().transform(cells)
            return made + where(cells)[:, None] * np.arange(1, made.shape[1] + 1)

    Other.__name__, Other.__module__ = base.__name__, base.__module__
    encoder = OneHotEncoder if base is StandardScaler else Other
    scaler = Other if base is StandardScaler else StandardScaler
    transformer = columns(
        encoder(handle_unknown="ignore", sparse_output=False),
        make_pipeline(SimpleImputer(), scaler()),
    )
    estimator, signature = fit(make_pipeline(transformer, LinearRegression()))
    served = wrap_estimator(estimator, signature)
    served.use_fast_path(TRAINING[:8])
    frames.clear()
    served(TRAINING[:8])
    assert frames


def test_rows_are_left_to_the_estimator_where_a_cell_decides_on_the_type(
    frames: list[int],
) -> None:
    estimator, signature = fit(SHORT["boosting"])
    served = wrap_estimator(estimator, signature)
    served.use_fast_path(TRAINING[:8])
    for position, cell in ((3, None), (6, 2**53 + 1), (6, -(2**53) - 1)):
        rows = make_rows(3)
        rows[1][position] = cell
        frames.clear()
        outcome(served, rows)
        assert frames


def test_the_trial_shows_what_training_did_not() -> None:
    batches = list(column_path.trial_batches(COLUMNS, TRAINING[:8]))
    cells = [cell for batch in batches for row in batch for cell in row]
    assert None in cells
    assert max(row[1] for batch in batches for row in batch) > 1e29  # type: ignore[type-var]
    assert not {row[5] for batch in batches for row in batch} <= {*PLANS}
    assert batches == list(column_path.trial_batches(COLUMNS, TRAINING[:8]))
