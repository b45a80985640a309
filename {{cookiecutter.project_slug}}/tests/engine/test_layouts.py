"""Frames, texts and every task: what is served is what the estimator itself answers."""

from typing import Any

import numpy as np
import pytest
import skops.io
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

from {{ cookiecutter.__package_name }} import transformers
from {{ cookiecutter.__package_name }}.artifact import refusals
from {{ cookiecutter.__package_name }}.artifact.runtimes import batches as batches_module
from {{ cookiecutter.__package_name }}.artifact.runtimes import scikit_learn, skops_files
from {{ cookiecutter.__package_name }}.schema.answers import Answers, agree
from {{ cookiecutter.__package_name }}.schema.signature import Column, Signature

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(60, 3))
NUMBERS = [Column(name=name) for name in "abc"]
ONES = (ROWS[:, :2] > 0).astype(int)
SIZES = np.array(["s", "m", "l"])[(ROWS[:, 0] > 0).astype(int) + (ROWS[:, 0] > 1)]


def loaded(estimator: Any, signature: Signature) -> scikit_learn.Estimator:
    data = skops.io.dumps(estimator)
    return scikit_learn.load(data, signature, skops_files.untrusted_types(data))


def answers(estimator: Any, **fields: Any) -> list[Any]:
    signature = Signature(**{"layout": "array", "inputs": NUMBERS} | fields)
    model = loaded(estimator, signature)
    together = Answers(signature)(model(ROWS.tolist()))
    model.shorten(ROWS.tolist())
    assert Answers(signature)(model(ROWS.tolist())) == together
    alone = [Answers(signature)(model([row]))[0] for row in ROWS.tolist()]
    for one, other in zip(together, alone, strict=True):
        assert agree(one, other, 1e-9, 1e-12)
    return together


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
def test_labels_and_probabilities_of_indicators(estimator: Any) -> None:
    estimator.fit(ROWS, ONES)
    found = answers(estimator, task="multilabel", classes=["x", "y"], probabilities=True)
    expected = estimator.predict_proba(ROWS)
    if isinstance(expected, list):
        expected = np.column_stack([each[:, 1] for each in expected])
    for answer, has, shares in zip(found, estimator.predict(ROWS), expected, strict=True):
        assert answer["labels"] == [name for name, one in zip("xy", has, strict=True) if one]
        assert list(answer["probabilities"].values()) == pytest.approx(shares.tolist())


def test_an_indicator_that_was_never_seen_has_no_probability() -> None:
    ones = np.column_stack([ONES, np.zeros(len(ONES), int), np.ones(len(ONES), int)])
    forest = RandomForestClassifier(3).fit(ROWS, ones)
    found = answers(forest, task="multilabel", classes=list("wxyz"), probabilities=True)
    assert {answer["probabilities"]["y"] for answer in found} == {0.0}
    assert {answer["probabilities"]["z"] for answer in found} == {1.0}


def test_sparse_indicators_are_read() -> None:
    import scipy.sparse

    model = OneVsRestClassifier(LogisticRegression()).fit(ROWS, scipy.sparse.csr_matrix(ONES))
    found = answers(model, task="multilabel", classes=[0, 1])
    assert [answer["labels"] for answer in found] == [
        [n for n in (0, 1) if row[n]] for row in model.predict(ROWS).toarray().tolist()
    ]


@pytest.mark.parametrize(
    "estimator", [MultiOutputClassifier(LogisticRegression()), RandomForestClassifier(5)], ids=str
)
def test_a_label_of_every_output(estimator: Any) -> None:
    targets = np.column_stack([SIZES, np.where(ONES[:, 1], "hot", "cold")])
    estimator.fit(ROWS, targets)
    classes = [list(each) for each in estimator.classes_]
    found = answers(
        estimator,
        task="multi-output-classification",
        outputs=["size", "heat"],
        output_classes=classes,
    )
    expected = [
        {"labels": dict(zip(("size", "heat"), row, strict=True))}
        for row in estimator.predict(ROWS).tolist()
    ]
    assert found == expected
    with pytest.raises(refusals.WrongShape, match="classes"):
        answers(
            estimator,
            task="multi-output-classification",
            outputs=["size", "heat"],
            output_classes=classes[::-1],
        )


def test_clusters() -> None:
    estimator = KMeans(3, n_init=1, random_state=0).fit(ROWS)
    found = answers(estimator, task="clustering")
    assert found == [{"cluster": n} for n in estimator.predict(ROWS).tolist()]


@pytest.mark.parametrize(
    "estimator",
    [
        IsolationForest(n_estimators=5, contamination=0.2),
        OneClassSVM(nu=0.2),
        LocalOutlierFactor(novelty=True),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_outliers_and_their_scores(estimator: Any) -> None:
    estimator.fit(ROWS[2:] / 5)
    found = answers(estimator, task="outlier-detection")
    assert {answer["outlier"] for answer in found} == {True, False}
    assert [answer["outlier"] for answer in found] == (estimator.predict(ROWS) == -1).tolist()
    scores = [answer["score"] for answer in found]
    assert scores == pytest.approx(estimator.decision_function(ROWS).tolist())
    assert all((answer["score"] < 0) == answer["outlier"] for answer in found)


def test_several_numbers() -> None:
    estimator = LinearRegression().fit(ROWS, ROWS[:, :2])
    found = answers(estimator, task="regression", outputs=["x", "y"])
    assert np.allclose(found, estimator.predict(ROWS))


def test_texts() -> None:
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
    model = loaded(estimator, signature)
    found = Answers(signature)(model([[text] for text in texts]))
    expected = estimator.predict_proba(texts)
    for answer, label, shares in zip(found, estimator.predict(texts), expected, strict=True):
        assert answer["label"] == label
        assert list(answer["probabilities"].values()) == pytest.approx(shares.tolist())


MIXED = [
    Column(name="size", nullable=True),
    Column(name="count", dtype="int64"),
    Column(name="maybe", dtype="int64", nullable=True),
    Column(name="new", dtype="bool"),
    Column(name="old", dtype="bool", nullable=True),
    Column(name="color", dtype="string", nullable=True),
]
OF_MIXED = [
    [1.5, 2, 3, True, None, "red"],
    [None, -(2**53) - 1, None, False, True, None],
    [0.0, 0, 2, True, False, "no color that was seen"],
]


def test_a_frame_has_the_types_that_pandas_reads() -> None:
    pytest.importorskip("pandas")
    signature = Signature(layout="frame", inputs=MIXED, task="regression")
    frame = batches_module.batches(signature)(OF_MIXED)
    assert list(frame.columns) == signature.columns
    kinds = [str(kind) for kind in frame.dtypes]
    assert kinds == ["float64", "int64", "float64", "bool", "object", "str"]
    assert frame["count"].tolist() == [2, -(2**53) - 1, 0]
    for name in ("size", "maybe", "old", "color"):
        missing = frame[name].isna().tolist()
        place = signature.columns.index(name)
        assert missing == [row[place] is None for row in OF_MIXED]
        assert all(value is not None for value in frame[name].tolist())
    present = batches_module.batches(signature)([[*OF_MIXED[0][:4], False, "red"]])
    assert [str(kind) for kind in present.dtypes] == [*kinds[:2], "int64", "bool", "bool", "str"]
    assert str(batches_module.batches(signature)(OF_MIXED[1:2])["color"].dtype) == "str"


def test_categories_are_those_of_training_whatever_is_asked() -> None:
    pytest.importorskip("pandas")
    inputs = [
        Column(name="c", dtype="string", nullable=True, categories=["b", "a"], categorical=True)
    ]
    signature = Signature(layout="frame", inputs=inputs, task="regression")
    for rows in ([["a"]], [[None], ["unseen"], ["b"]]):
        column = batches_module.batches(signature)(rows)["c"]
        assert column.cat.categories.tolist() == ["b", "a"]
        known = [cell if cell in ("a", "b") else None for (cell,) in rows]
        assert column.astype(object).where(column.notna(), None).tolist() == known


def test_an_estimator_that_knows_no_names_is_given_none() -> None:
    """It would warn of them on every call."""
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
    outputs = loaded(estimator, signature)([["red", 1.0], [None, 3.0], ["unseen", 9.0]])
    asked = np.array([["red", 1], [np.nan, 3], ["unseen", 9]], dtype=object)
    assert np.allclose(outputs.probabilities, estimator.predict_proba(asked))


def test_a_frame_is_given_to_the_estimator_by_name() -> None:
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
    model = loaded(estimator, signature)
    rows = [[2.5, 7, "blue"], [None, 0, None], [0.0, 1, "unseen"]]
    asked = pandas.DataFrame(rows, columns=["size", "count", "color"])
    for start, stop in ((0, 3), (0, 1), (1, 2), (2, 3)):
        outputs = model(rows[start:stop])
        assert outputs.probabilities is not None
        assert np.allclose(outputs.probabilities, estimator.predict_proba(asked[start:stop]))


class Ratio(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer that knows its columns by name only."""

    def fit(self, frame: Any, _: Any = None) -> "Ratio":
        self.feature_names_in_ = np.array(list(frame.columns), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        return self

    def transform(self, frame: Any) -> Any:
        return (frame["a"] / frame["b"].abs()).to_numpy().reshape(-1, 1)


def test_names_reach_a_transformer_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    monkeypatch.setattr(Ratio, "__module__", transformers.__name__)
    monkeypatch.setattr(transformers, "Ratio", Ratio, raising=False)
    frame = pandas.DataFrame(ROWS, columns=list("abc"))
    estimator = make_pipeline(Ratio(), LinearRegression()).fit(frame, ROWS[:, 0])
    signature = Signature(layout="frame", inputs=NUMBERS, task="regression")
    found = loaded(estimator, signature)(ROWS.tolist()).values
    assert np.allclose(found, estimator.predict(frame))


def test_a_frame_without_pandas_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(batches_module, "import_module", missing)
    signature = Signature(layout="frame", inputs=NUMBERS, task="regression")
    with pytest.raises(refusals.LibraryMissing, match="uv add 'pandas'"):
        loaded(LinearRegression().fit(ROWS, ROWS[:, 0]), signature)
