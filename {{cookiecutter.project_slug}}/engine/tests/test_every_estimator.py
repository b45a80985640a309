"""Whatever scikit-learn's documentation shows can be packaged, and predicts as before.

Every estimator of scikit-learn is fitted that predicts or transforms, and what its documentation
gives as functions and types in parameters.
"""

import warnings
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from serving_engine.build_model.build import package
from serving_engine.build_model.builder import Trust
from serving_engine.build_model.read_estimator import to_skops
from serving_engine.errors import UsageError
from serving_engine.runtimes.load import load_directory
from serving_engine.runtimes.scikit_learn.loading import parse
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.signature import Signature
from sklearn.base import BaseEstimator, is_regressor
from sklearn.cluster import Birch, FeatureAgglomeration
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import (
    RFECV,
    SelectFromModel,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    chi2,
    f_classif,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
    r_regression,
)
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor, kernels
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import f1_score, make_scorer
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, KFold, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

pandas = pytest.importorskip("pandas")

FLOWERS, KINDS = load_iris(return_X_y=True)
X = FLOWERS[::4]
Y = KINDS[::4]
SIZES = Y + X[:, 0] / 10 + 0.5
FRAME = pandas.DataFrame(X[:, :2], columns=["a", "b"]).assign(
    city=np.resize(["Bern", "Oslo", "Rome"], len(X)), new=np.resize([True, False], len(X))
)
TEXTS = np.resize(["a good film", "a bad film", "so good", "so bad"], len(X))

REFUSED = dict.fromkeys(("MiniBatchSparsePCA", "SparsePCA"), "Expected 2D array, got 1D array")
"""What cannot be packaged, with a part of the reason: these two fail on a single row."""

NO_MODELS = {
    "ColumnTransformer",
    "CountVectorizer",
    "DictVectorizer",
    "FeatureHasher",
    "FeatureUnion",
    "HashingVectorizer",
    "IsotonicRegression",
    "KernelCenterer",
    "LabelBinarizer",
    "LabelEncoder",
    "MissingIndicator",
    "MultiLabelBinarizer",
    "PatchExtractor",
    "PLSSVD",
    "Pipeline",
    "TfidfTransformer",
    "TfidfVectorizer",
}
"""Those that encode the target, images or kernels, or take no table; and those that hold others,
which are tried below."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "CCA": {"n_components": 1},
    "ClassifierChain": {"estimator": LogisticRegression()},
    "GaussianRandomProjection": {"n_components": 2},
    "OrthogonalMatchingPursuitCV": {"cv": 3},
    "PLSCanonical": {"n_components": 1},
    "PLSSVD": {"n_components": 1},
    "RegressorChain": {"estimator": LinearRegression()},
    "SelfTrainingClassifier": {"estimator": LogisticRegression()},
    "SparseCoder": {"dictionary": np.eye(4)},
    "SparseRandomProjection": {"n_components": 2},
    "LocalOutlierFactor": {"novelty": True},
}


def make(kind: type[Any]) -> Any:
    """An estimator with the arguments that it needs, and few iterations."""
    classifies = issubclass(kind, RandomForestClassifier) or "Classif" in kind.__name__
    inner = LogisticRegression() if classifies or "Chain" in kind.__name__ else LinearRegression()
    inner = inner if "Regressor" not in kind.__name__ else LinearRegression()
    offered: dict[str, Any] = {
        "estimators": [("one", inner), ("other", FrozenEstimator(inner.fit(X, Y)))],
        "param_grid": {"n_jobs": [1]},
        "param_distributions": {"n_jobs": [1]},
        "random_state": 0,
        "n_estimators": 3,
        "n_resources": None,
    }
    parameters = signature(kind).parameters
    arguments = {name: value for name, value in offered.items() if name in parameters}
    arguments.pop("n_resources", None)
    for name in ("estimator", "base_estimator"):
        if name in parameters and parameters[name].default is Parameter.empty:
            arguments[name] = inner
    if kind.__name__ in {"RFE", "RFECV", "SelectFromModel", "SequentialFeatureSelector"}:
        arguments["estimator"] = LogisticRegression()
    if kind is FrozenEstimator:
        arguments["estimator"] = LinearRegression().fit(X, SIZES)
    return kind(**(arguments | ARGUMENTS.get(kind.__name__, {})))


def target(kind: type[Any]) -> Any:
    name = kind.__name__
    if name.startswith("MultiTask") or name in {"MultiOutputRegressor", "RegressorChain"}:
        return np.c_[SIZES, SIZES * 2]
    if name in {"MultiOutputClassifier", "ClassifierChain"}:
        return np.c_[Y > 0, Y > 1].astype(int)
    if name in {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}:
        return (Y > 0).astype(int)
    return Y


def alone(kind: type[Any]) -> Callable[[], tuple[Any, Any]]:
    def fitted() -> tuple[Any, Any]:
        estimator = make(kind)
        y = target(kind)
        if not hasattr(estimator, "predict") and not hasattr(kind, "predict"):
            estimator = make_pipeline(estimator, LogisticRegression())
        elif is_regressor(estimator) and y is Y:
            y = SIZES
        return estimator.fit(X, y), X

    return fitted


def on(rows: Any, y: Any, make_model: Callable[[], Any]) -> Callable[[], tuple[Any, Any]]:
    return lambda: (make_model().fit(rows, y), rows)


def with_step(*steps: Any) -> Callable[[], tuple[Any, Any]]:
    return on(X, Y, lambda: make_pipeline(*steps, LogisticRegression()))


def macro_f1(one: Any, other: Any) -> float:
    return float(f1_score(one, other, average="macro"))


def no_score(*_: Any) -> float:
    return 0.0


def first_columns(frame: Any) -> list[str]:
    return list(frame.columns[:2])


def columns_transformer(*steps: Any, **options: Any) -> Any:
    return make_pipeline(make_column_transformer(*steps, **options), LogisticRegression())


CATEGORIES = FRAME[["a", "city"]].assign(city=FRAME.city.astype("category"))
SCORES = (chi2, f_classif, f_regression, r_regression, mutual_info_classif, mutual_info_regression)
FUNCTIONS = (np.log1p, np.sqrt, np.abs, np.exp, np.square, np.round, np.nan_to_num, np.cbrt)
SHAPES = (
    kernels.RBF() + kernels.WhiteKernel(),
    kernels.Matern() * kernels.ConstantKernel(),
    kernels.RationalQuadratic(),
    kernels.DotProduct(),
    kernels.Exponentiation(kernels.RBF(), 2),
    kernels.PairwiseKernel(),
)
DOCUMENTED: dict[str, Callable[[], tuple[Any, Any]]] = {
    **{f"SelectKBest {each.__name__}": with_step(SelectKBest(each, k=2)) for each in SCORES},
    **{f"function {each.__name__}": with_step(FunctionTransformer(each)) for each in FUNCTIONS},
    **{
        f"kernel {number}": on(X, SIZES, lambda each=each: GaussianProcessRegressor(each))
        for number, each in enumerate(SHAPES)
    },
    "GaussianProcessClassifier": on(X, Y, lambda: GaussianProcessClassifier(kernels.RBF())),
    "SelectPercentile": with_step(SelectPercentile(chi2, percentile=50)),
    "clip": with_step(FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 3})),
    "KBinsDiscretizer": with_step(KBinsDiscretizer(3, encode="ordinal", dtype=np.float32)),
    "OneHotEncoder of a dtype": with_step(OneHotEncoder(dtype=np.float32, handle_unknown="ignore")),
    "FeatureAgglomeration": with_step(FeatureAgglomeration(pooling_func=np.median)),
    "Birch": on(X, None, lambda: Birch(n_clusters=3, threshold=0.2)),
    "a threshold tuned by a scorer": on(
        X,
        (Y > 0).astype(int),
        lambda: TunedThresholdClassifierCV(LogisticRegression(), scoring=make_scorer(macro_f1)),
    ),
    "a search in a pipeline": with_step(
        StandardScaler(),
        GridSearchCV(SelectKBest(), {"k": [1, 2]}, scoring=no_score, cv=KFold(2, shuffle=True)),
    ),
    "RFECV": with_step(RFECV(LogisticRegression(), scoring=make_scorer(macro_f1))),
    "SelectFromModel": with_step(SelectFromModel(RandomForestClassifier(3), threshold="median")),
    "SequentialFeatureSelector": with_step(
        SequentialFeatureSelector(LogisticRegression(), n_features_to_select=2)
    ),
    "TransformedTargetRegressor": on(
        X,
        SIZES,
        lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    ),
    "a kernel that is a function": on(X, Y, lambda: SVC(kernel=rbf_kernel)),
    "VotingClassifier": on(
        X,
        Y,
        lambda: VotingClassifier(
            [("one", LogisticRegression()), ("other", DecisionTreeClassifier())], voting="soft"
        ),
    ),
    "StackingRegressor": on(
        X, SIZES, lambda: StackingRegressor([("one", Ridge()), ("other", LinearRegression())])
    ),
    "a union": with_step(make_union(StandardScaler(), PolynomialFeatures(2))),
    "columns as an Index": on(
        FRAME,
        Y,
        lambda: columns_transformer(
            (StandardScaler(), FRAME.select_dtypes("number").columns), (OneHotEncoder(), ["city"])
        ),
    ),
    "an Index in a transformer in a transformer": on(
        FRAME,
        Y,
        lambda: columns_transformer(
            (
                ColumnTransformer([("inner", StandardScaler(), FRAME.columns[:1])]),
                FRAME.columns[:2],
            ),
            (OneHotEncoder(), ["city"]),
        ),
    ),
    **{
        f"columns by {name}": on(
            FRAME,
            Y,
            lambda options=options: columns_transformer(
                (StandardScaler(), make_column_selector(**options)), (OneHotEncoder(), ["city"])
            ),
        )
        for name, options in {
            "a type of NumPy": {"dtype_include": np.number},
            "several types": {"dtype_include": [np.float64, bool]},
            "a type not to take": {"dtype_exclude": ["str", "bool", object]},
            "a pattern": {"pattern": "^[ab]$"},
        }.items()
    },
    "columns by a function": on(
        FRAME,
        Y,
        lambda: columns_transformer((StandardScaler(), first_columns), (OneHotEncoder(), ["city"])),
    ),
    "the rest of the columns": on(
        FRAME,
        Y,
        lambda: columns_transformer(
            (OrdinalEncoder(), ["city"]), remainder=StandardScaler(), sparse_threshold=0
        ),
    ),
    "TargetEncoder": on(
        FRAME, SIZES, lambda: make_pipeline(_encoded(TargetEncoder()), LinearRegression())
    ),
    "pandas output": on(
        FRAME,
        Y,
        lambda: columns_transformer(
            (OneHotEncoder(sparse_output=False), ["city"]),
            remainder="passthrough",
            verbose_feature_names_out=False,
        ).set_output(transform="pandas"),
    ),
    **{
        f"boosting with categories by {name}": on(
            CATEGORIES if name == "dtype" else CATEGORIES.assign(city=CATEGORIES.city.cat.codes),
            Y,
            lambda which=which: HistGradientBoostingClassifier(
                max_iter=3, categorical_features=which
            ),
        )
        for name, which in {
            "name": ["city"],
            "index": [1],
            "mask": [False, True],
            "dtype": "from_dtype",
        }.items()
    },
    **{
        f"texts in {vectorizer.__class__.__name__} {number}": on(
            TEXTS, Y, lambda vectorizer=vectorizer: make_pipeline(vectorizer, LogisticRegression())
        )
        for number, vectorizer in enumerate(
            (
                CountVectorizer(tokenizer=str.split, preprocessor=str.lower, token_pattern=None),
                TfidfVectorizer(stop_words="english", dtype=np.float32),
                HashingVectorizer(n_features=16, analyzer=str.split),
            )
        )
    },
    "records": on(
        FRAME[["a", "city"]].to_dict("records"),
        Y,
        lambda: make_pipeline(DictVectorizer(sparse=False), LogisticRegression()),
    ),
}


def _encoded(encoder: Any) -> Any:
    return ColumnTransformer([("encoder", encoder, ["city"])], remainder="passthrough")


ALL = {
    **{
        name: alone(kind)
        for name, kind in all_estimators()
        if name not in NO_MODELS and (hasattr(kind, "predict") or hasattr(kind, "transform"))
    },
    **DOCUMENTED,
}


@pytest.mark.parametrize("name", ALL)
def test_it_is_packaged_and_predicts_as_before(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        estimator, rows = ALL[name]()
        joblib.dump(estimator, tmp_path / "model.joblib")
        frame = rows if isinstance(rows, pandas.DataFrame) else as_frame(rows)
        joblib.dump(frame[:: len(frame) // 8], tmp_path / "rows.pkl")
        arguments = (tmp_path / "model.joblib", tmp_path / "rows.pkl", tmp_path / "model")
        if name in REFUSED:
            with pytest.raises(UsageError, match=REFUSED[name]):
                package(*arguments, name="model", version="1", trust=Trust())
            return
        package(*arguments, name="model", version="1", trust=Trust())
        loaded = load_directory(tmp_path / "model", 2**30)
        signature = loaded.manifest.signature
        cells = frame[signature.columns].astype(object).to_numpy().tolist()
        outputs = loaded.predict(
            [[float(c) if type(c) is int else c for c in row] for row in cells]
        )
        expected = np.asarray(estimator.predict(rows))
    assert_same(signature, outputs, expected)


def as_frame(rows: Any) -> Any:
    if isinstance(rows[0], str):
        return pandas.DataFrame({"text": rows})
    if isinstance(rows[0], dict):
        return pandas.DataFrame(rows)
    return pandas.DataFrame(rows, columns=[f"x{number}" for number in range(rows.shape[1])])


def assert_same(signature: Signature, outputs: Outputs, expected: Any) -> None:
    match signature.task:
        case "classification":
            classes = np.array([str(label) for label in signature.classes or ()])
            assert classes[outputs.values].tolist() == [str(label) for label in expected.tolist()]
        case "regression":
            assert np.allclose(outputs.values, expected.reshape(outputs.values.shape), 1e-6)
        case "multilabel":
            assert np.array_equal(outputs.values, expected.astype(bool))
        case "outlier-detection":
            assert np.array_equal(outputs.values, expected == -1)
        case _:
            assert np.array_equal(outputs.values, expected)


def test_the_samplers_of_imbalanced_learn_are_left_out() -> None:
    class Sampler(BaseEstimator):  # type: ignore[misc]
        def fit_resample(self, *_: Any) -> Any:
            raise AssertionError("only fitting resamples")

    pipeline = type("Pipeline", (Pipeline,), {"__module__": "imblearn.pipeline"})
    scaled = StandardScaler().fit(X)
    model = LogisticRegression().fit(scaled.transform(X), Y)
    estimator = pipeline([("scale", scaled), ("sample", Sampler()), ("model", model)])
    data, types = to_skops(estimator, Trust())
    written = parse(data, types, None)
    assert type(written) is Pipeline
    assert list(written.named_steps) == ["scale", "model"]
    assert np.array_equal(written.predict(X), model.predict(scaled.transform(X)))
    assert type(estimator) is pipeline
    assert len(estimator.steps) == 3


def test_nearly_all_can_be_packaged() -> None:
    assert len(ALL) >= 176
    assert len(REFUSED) <= 0.03 * len(ALL)
