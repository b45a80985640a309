"""Layouts and tasks: the served estimator predicts as the estimator itself does."""

from typing import Any

import numpy as np
import pytest
import skops.io
from serving_engine.model_files import load_errors
from serving_engine.runtimes import inputs as inputs_module
from serving_engine.runtimes.scikit_learn import loading, skops_io
from serving_engine.runtimes.scikit_learn.estimator import ServedEstimator
from serving_engine.schema.predictions import PredictionFormatter, predictions_agree
from serving_engine.schema.signature import Column, Signature
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM

from .example_service import transformers

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(60, 3))
NUMBERS = [Column(name=name) for name in "abc"]
ONES = (ROWS[:, :2] > 0).astype(int)
SIZES = np.array(["s", "m", "l"])[(ROWS[:, 0] > 0).astype(int) + (ROWS[:, 0] > 1)]


def serve(estimator: Any, signature: Signature) -> ServedEstimator:
    data = skops.io.dumps(estimator)
    estimator = loading.parse(data, skops_io.untrusted_types(data), transformers.__name__)
    return loading.wrap_estimator(estimator, signature)


def predictions(estimator: Any, **fields: Any) -> list[Any]:
    """The predictions for ROWS, equal alone, in a batch and with the fast path."""
    signature = Signature(**{"layout": "array", "inputs": NUMBERS} | fields)
    model = serve(estimator, signature)
    formatter = PredictionFormatter(signature)
    batch = formatter(model(ROWS.tolist()))
    model.use_fast_path(ROWS.tolist())
    assert formatter(model(ROWS.tolist())) == batch
    for row, prediction in zip(ROWS.tolist(), batch, strict=True):
        assert predictions_agree(prediction, formatter(model([row]))[0], 1e-9, 1e-12)
    return batch


@pytest.mark.parametrize(
    "estimator",
    [
        OneVsRestClassifier(LogisticRegression()),
        MultiOutputClassifier(LogisticRegression()),
        RandomForestClassifier(5),
        KNeighborsClassifier(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_multilabel_classifier(estimator: Any) -> None:
    estimator.fit(ROWS, ONES)
    actual = predictions(estimator, task="multilabel", classes=["x", "y"], probabilities=True)
    expected = estimator.predict_proba(ROWS)
    if isinstance(expected, list):
        expected = np.column_stack([each[:, 1] for each in expected])
    for prediction, has, probabilities in zip(
        actual, estimator.predict(ROWS), expected, strict=True
    ):
        assert prediction["labels"] == [name for name, one in zip("xy", has, strict=True) if one]
        assert list(prediction["probabilities"].values()) == pytest.approx(probabilities.tolist())


def test_the_probability_of_an_indicator_with_one_value_in_training_is_0_or_1() -> None:
    ones = np.column_stack([ONES, np.zeros(len(ONES), int), np.ones(len(ONES), int)])
    forest = RandomForestClassifier(3).fit(ROWS, ones)
    actual = predictions(forest, task="multilabel", classes=list("wxyz"), probabilities=True)
    assert {prediction["probabilities"]["y"] for prediction in actual} == {0.0}
    assert {prediction["probabilities"]["z"] for prediction in actual} == {1.0}


def test_a_multilabel_classifier_with_sparse_indicators() -> None:
    import scipy.sparse

    model = OneVsRestClassifier(LogisticRegression()).fit(ROWS, scipy.sparse.csr_matrix(ONES))
    actual = predictions(model, task="multilabel", classes=[0, 1])
    assert [prediction["labels"] for prediction in actual] == [
        [n for n in (0, 1) if row[n]] for row in model.predict(ROWS).toarray().tolist()
    ]


@pytest.mark.parametrize(
    "estimator", [MultiOutputClassifier(LogisticRegression()), RandomForestClassifier(5)], ids=str
)
def test_a_multi_output_classifier(estimator: Any) -> None:
    targets = np.column_stack([SIZES, np.where(ONES[:, 1], "hot", "cold")])
    estimator.fit(ROWS, targets)
    classes = [list(each) for each in estimator.classes_]
    actual = predictions(
        estimator,
        task="multi-output-classification",
        outputs=["size", "heat"],
        output_classes=classes,
    )
    expected = [
        {"labels": dict(zip(("size", "heat"), row, strict=True))}
        for row in estimator.predict(ROWS).tolist()
    ]
    assert actual == expected
    with pytest.raises(load_errors.SignatureMismatch, match="classes"):
        predictions(
            estimator,
            task="multi-output-classification",
            outputs=["size", "heat"],
            output_classes=classes[::-1],
        )


def test_a_clustering() -> None:
    estimator = KMeans(3, n_init=1, random_state=0).fit(ROWS)
    actual = predictions(estimator, task="clustering")
    assert actual == [{"cluster": n} for n in estimator.predict(ROWS).tolist()]


@pytest.mark.parametrize(
    "estimator",
    [
        IsolationForest(n_estimators=5, contamination=0.2),
        OneClassSVM(nu=0.2),
        LocalOutlierFactor(novelty=True),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_outlier_detector(estimator: Any) -> None:
    estimator.fit(ROWS[2:] / 5)
    actual = predictions(estimator, task="outlier-detection")
    assert {prediction["outlier"] for prediction in actual} == {True, False}
    assert [prediction["outlier"] for prediction in actual] == (
        estimator.predict(ROWS) == -1
    ).tolist()
    scores = [prediction["score"] for prediction in actual]
    assert scores == pytest.approx(estimator.decision_function(ROWS).tolist())
    assert all((prediction["score"] < 0) == prediction["outlier"] for prediction in actual)


def test_a_regressor_with_several_outputs() -> None:
    estimator = LinearRegression().fit(ROWS, ROWS[:, :2])
    actual = predictions(estimator, task="regression", outputs=["x", "y"])
    assert np.allclose(actual, estimator.predict(ROWS))


def test_a_classifier_of_texts() -> None:
    texts = ["good film", "bad film", "great", "awful", "", "[{", "good good"] * 3
    labels = ["up", "down", "up", "down", "down", "down", "up"] * 3
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)
    signature = Signature(
        layout="text",
        inputs=[Column(name="text", dtype="string")],
        task="classification",
        classes=["down", "up"],
        probabilities=True,
    )
    model = serve(estimator, signature)
    actual = PredictionFormatter(signature)(model([[text] for text in texts]))
    expected = estimator.predict_proba(texts)
    for prediction, label, probabilities in zip(
        actual, estimator.predict(texts), expected, strict=True
    ):
        assert prediction["label"] == label
        assert list(prediction["probabilities"].values()) == pytest.approx(probabilities.tolist())


MIXED = [
    Column(name="size", nullable=True),
    Column(name="count", dtype="int64"),
    Column(name="maybe", dtype="int64", nullable=True),
    Column(name="new", dtype="bool"),
    Column(name="old", dtype="bool", nullable=True),
    Column(name="color", dtype="string", nullable=True),
]
ROWS_OF_MIXED = [
    [1.5, 2, 3, True, None, "red"],
    [None, -(2**53) - 1, None, False, True, None],
    [0.0, 0, 2, True, False, "an unseen color"],
]


def test_a_frame_has_the_types_of_pandas_read_csv() -> None:
    pytest.importorskip("pandas")
    signature = Signature(layout="frame", inputs=MIXED, task="regression")
    frame = inputs_module.input_builder(signature, mixed_nulls=True)(ROWS_OF_MIXED)
    assert list(frame.columns) == signature.columns
    kinds = [str(kind) for kind in frame.dtypes]
    assert kinds == ["float64", "int64", "float64", "bool", "object", "str"]
    assert frame["count"].tolist() == [2, -(2**53) - 1, 0]
    for name in ("size", "maybe", "old", "color"):
        missing = frame[name].isna().tolist()
        position = signature.columns.index(name)
        assert missing == [row[position] is None for row in ROWS_OF_MIXED]
        assert all(value is not None for value in frame[name].tolist())
    complete = inputs_module.input_builder(signature)([[*ROWS_OF_MIXED[0][:4], False, "red"]])
    assert [str(kind) for kind in complete.dtypes] == [*kinds[:2], "int64", "bool", "bool", "str"]
    assert str(inputs_module.input_builder(signature)(ROWS_OF_MIXED[1:2])["color"].dtype) == "str"


def test_a_categorical_column_always_has_the_categories_of_training() -> None:
    pytest.importorskip("pandas")
    inputs = [
        Column(name="c", dtype="string", nullable=True, categories=["b", "a"], categorical=True)
    ]
    signature = Signature(layout="frame", inputs=inputs, task="regression")
    for rows in ([["a"]], [[None], ["unseen"], ["b"]]):
        column = inputs_module.input_builder(signature)(rows)["c"]
        assert column.cat.categories.tolist() == ["b", "a"]
        known = [cell if cell in ("a", "b") else None for (cell,) in rows]
        assert column.astype(object).where(column.notna(), None).tolist() == known


def test_an_estimator_fitted_on_an_array_gets_no_names_of_columns() -> None:
    """It would warn on every call."""
    pytest.importorskip("pandas")
    rows = np.array([["red", 1], ["blue", 2], [np.nan, 3]] * 4, dtype=object)
    estimator = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    estimator.fit(rows, [0, 1, 0] * 4)
    signature = Signature(
        layout="frame",
        inputs=[Column(name="color", dtype="string", nullable=True), Column(name="n")],
        task="classification",
        classes=[0, 1],
        probabilities=True,
    )
    outputs = serve(estimator, signature)([["red", 1.0], [None, 3.0], ["unseen", 9.0]])
    rows = np.array([["red", 1], [np.nan, 3], ["unseen", 9]], dtype=object)
    assert np.allclose(outputs.probabilities, estimator.predict_proba(rows))


def test_a_frame_reaches_the_estimator_with_names_of_columns() -> None:
    pandas = pytest.importorskip("pandas")
    training = pandas.DataFrame(
        {
            "size": [1.0, None, 3.0, 4.0] * 5,
            "count": [1, 2, 3, 4] * 5,
            "color": ["red", "blue", None, "red"] * 5,
        }
    )
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size", "count"]),
        (OneHotEncoder(handle_unknown="ignore"), ["color"]),
    ).set_output(transform="default")
    estimator = make_pipeline(columns, LogisticRegression())
    estimator.fit(training, [0, 1, 1, 0] * 5)
    inputs = [MIXED[0], MIXED[1], MIXED[5]]
    signature = Signature(
        layout="frame",
        inputs=inputs,
        task="classification",
        classes=[0, 1],
        probabilities=True,
    )
    model = serve(estimator, signature)
    rows = [[2.5, 7, "blue"], [None, 0, None], [0.0, 1, "unseen"]]
    frame = pandas.DataFrame(rows, columns=["size", "count", "color"])
    for start, stop in ((0, 3), (0, 1), (1, 2), (2, 3)):
        outputs = model(rows[start:stop])
        assert outputs.probabilities is not None
        assert np.allclose(outputs.probabilities, estimator.predict_proba(frame[start:stop]))


class Ratio(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer that uses its columns by name."""

    def fit(self, frame: Any, _: Any = None) -> "Ratio":
        self.feature_names_in_ = np.array(list(frame.columns), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        return self

    def transform(self, frame: Any) -> Any:
        return (frame["a"] / frame["b"].abs()).to_numpy().reshape(-1, 1)


def test_names_of_columns_reach_a_class_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    monkeypatch.setattr(Ratio, "__module__", transformers.__name__)
    monkeypatch.setattr(transformers, "Ratio", Ratio, raising=False)
    frame = pandas.DataFrame(ROWS, columns=list("abc"))
    estimator = make_pipeline(Ratio(), LinearRegression()).fit(frame, ROWS[:, 0])
    signature = Signature(layout="frame", inputs=NUMBERS, task="regression")
    actual = serve(estimator, signature)(ROWS.tolist()).values
    assert np.allclose(actual, estimator.predict(frame))


def test_a_frame_without_pandas_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(inputs_module, "import_module", missing)
    signature = Signature(layout="frame", inputs=NUMBERS, task="regression")
    with pytest.raises(load_errors.LibraryMissing, match=r"uv add 'serving-engine\[frame\]'"):
        serve(LinearRegression().fit(ROWS, ROWS[:, 0]), signature)
