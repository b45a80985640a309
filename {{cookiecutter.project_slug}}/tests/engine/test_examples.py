"""What a model accepts is found by asking it; rows come from what people have."""

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from {{ cookiecutter.__package_name }}.artifact.load import load_model
from {{ cookiecutter.__package_name }}.artifact.manifest import Manifest, read_manifest
from {{ cookiecutter.__package_name }}.artifact.runtimes import skops_files
from {{ cookiecutter.__package_name }}.errors import ModelError, UsageError
from {{ cookiecutter.__package_name }}.packaging import layouts, project
from {{ cookiecutter.__package_name }}.packaging.directory import restore
from {{ cookiecutter.__package_name }}.packaging.examples import read_examples
from {{ cookiecutter.__package_name }}.packaging.package import package
from {{ cookiecutter.__package_name }}.packaging.report import describe, facts
from {{ cookiecutter.__package_name }}.schema.files import read_rows
from {{ cookiecutter.__package_name }}.schema.signature import Column

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(18, 2))
MIXED = [{"size": float(n), "color": ("red", "blue")[n % 2], "new": n % 3 == 0} for n in range(12)]


def packaged(folder: Path, estimator: Any, examples: Any, **options: Any) -> Manifest:
    joblib.dump(estimator, folder / "model.joblib")
    types = skops_files.untrusted_types(skops_files.dumps(estimator))
    about: dict[str, Any] = {"name": "test", "version": "1", "trusted_types": types} | options
    return read_manifest(
        package(folder / "model.joblib", examples, folder / "model", **about).parent
    )


def named(rows: Any) -> str:
    return json.dumps([dict(zip("ab", row, strict=True)) for row in np.asarray(rows).tolist()])


def mixed(**options: Any) -> Any:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(MIXED)
    columns = make_column_transformer(
        (OneHotEncoder(**options), ["color"]), remainder="passthrough"
    )
    return make_pipeline(columns, LinearRegression()).fit(frame, frame["size"])


# --- what a model accepts ---


@pytest.mark.parametrize(
    ("estimator", "nullable"),
    [(LinearRegression(), False), (HistGradientBoostingRegressor(max_iter=2), True)],
    ids=["linear", "boosted"],
)
def test_a_model_is_asked_whether_it_takes_null(
    estimator: Any, nullable: bool, tmp_path: Path
) -> None:
    manifest = packaged(tmp_path, estimator.fit(X, X[:, 0]), named(X))
    assert {column.nullable for column in manifest.signature.inputs} == {nullable}


def test_an_unseen_value_is_taken_or_the_known_ones_are_enforced(tmp_path: Path) -> None:
    free = packaged(tmp_path, mixed(handle_unknown="ignore"), json.dumps(MIXED))
    assert free.signature.layout == "frame"
    color = free.signature.inputs[1]
    assert (color.categories, color.enforce, color.nullable) == (["blue", "red"], False, True)
    strict = packaged(tmp_path, mixed(), json.dumps(MIXED))
    color = strict.signature.inputs[1]
    assert (color.categories, color.enforce, color.nullable) == (["blue", "red"], True, False)
    assert strict.built_with.keys() >= {"pandas"}


def test_categories_that_the_examples_lack_are_known_from_the_encoder(tmp_path: Path) -> None:
    red = [row for row in MIXED if row["color"] == "red"]
    color = packaged(tmp_path, mixed(), json.dumps(red)).signature.inputs[1]
    assert color.allowed == ["blue", "red"]


def test_however_many_values_the_model_knows_all_of_them_are_taken(tmp_path: Path) -> None:
    codes = [f"{number:04}" for number in range(1500)]
    rows = np.array([[code, "x"] for code in codes], dtype=object)
    pytest.importorskip("pandas")
    model = make_pipeline(OneHotEncoder(), LinearRegression()).fit(rows, np.arange(1500))
    examples = json.dumps([{"code": code, "other": "x"} for code in codes[:10]])
    code, other = packaged(tmp_path, model, examples).signature.inputs
    assert code.allowed == codes
    assert other.allowed == ["x"]


def test_numbers_that_are_categories_are_enforced_too(tmp_path: Path) -> None:
    rows = np.column_stack([X[:, 0], np.arange(len(X)) % 3])
    columns = make_column_transformer((OneHotEncoder(), [1]), remainder="passthrough")
    model = make_pipeline(columns, LinearRegression()).fit(rows, X[:, 0])
    first, second = packaged(tmp_path, model, named(rows)).signature.inputs
    assert (first.enforce, second.enforce, second.allowed) == (False, True, [0.0, 1.0, 2.0])


def test_numbers_that_are_only_far_away_are_no_categories(tmp_path: Path) -> None:
    whole = np.column_stack([np.arange(18.0), np.zeros(18)])
    model = RadiusNeighborsRegressor(radius=2, algorithm="brute").fit(whole, X[:, 0])
    assert not any(c.enforce for c in packaged(tmp_path, model, named(whole)).signature.inputs)


def reviews() -> tuple[Any, str]:
    """A model of texts, and examples with a column more than it takes."""
    texts = ["good film", "bad film", "good", "bad"] * 3
    model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, ["up", "down"] * 6)
    return model, json.dumps([{"stars": 1, "review": text} for text in texts])


def test_texts_are_known_by_what_the_model_takes(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    with pytest.raises(UsageError, match="choose its one column: --columns NAME"):
        packaged(tmp_path, *reviews())


def test_of_more_columns_the_one_of_texts_is_chosen(tmp_path: Path) -> None:
    signature = packaged(tmp_path, *reviews(), chosen=["review"]).signature
    assert (signature.layout, signature.columns) == ("text", ["review"])
    assert not signature.inputs[0].nullable


def test_outputs_are_named(tmp_path: Path) -> None:
    model = LinearRegression().fit(X, X)
    assert packaged(tmp_path, model, named(X), outputs=["u", "v"]).signature.outputs == ["u", "v"]
    for names, text in ((["u"], "2 outputs, and 1 were named"), (["u", "u"], "same name")):
        with pytest.raises(UsageError, match=text):
            packaged(tmp_path, model, named(X), outputs=names)
    with pytest.raises(UsageError, match="only several outputs have names"):
        packaged(tmp_path, LinearRegression().fit(X, X[:, 0]), named(X), outputs=["u"])


def test_a_model_that_serving_would_change_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "agree", lambda *_: False)
    with pytest.raises(UsageError, match="answers example row 0 differently"):
        packaged(tmp_path, LinearRegression().fit(X, X[:, 0]), named(X))
    assert not (tmp_path / "model").exists()


# --- where examples come from ---


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet", "pkl", "text"])
def test_examples_of_every_source_mean_the_same(kind: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = [*MIXED, {"size": None, "color": None, "new": True}]
    frame = pandas.DataFrame(rows)
    source: Any = tmp_path / f"rows.{kind}"
    if kind == "csv":
        frame.to_csv(source, index=False)
    elif kind in {"parquet", "pkl"}:
        if kind == "parquet":
            pytest.importorskip("pyarrow")
        (frame.to_parquet if kind == "parquet" else frame.to_pickle)(source)
    elif kind == "jsonl":
        source.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "json":
        source.write_text(json.dumps({"instances": rows}))
    else:
        source = json.dumps(rows)
    assert read_examples(source).rows == rows


def test_only_a_typed_source_knows_integers(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n": [1, 2], "x": [1.0, 2.0], "s": ["a", "b"]})
    frame.to_pickle(tmp_path / "rows.pkl")
    assert read_examples(tmp_path / "rows.pkl").whole == {"n"}
    assert read_examples('[{"n": 1}]').whole == set()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("[{]", "not valid JSON"),
        ("[]", "no rows"),
        ("[1]", "no rows"),
        ("missing.csv", "cannot read"),
        ("rows.pkl", "no DataFrame"),
        ("rows.parquet", r"cannot read|uv sync --extra package"),
    ],
)
def test_what_holds_no_rows_is_refused(source: str, text: str, tmp_path: Path) -> None:
    joblib.dump([1, 2], tmp_path / "rows.pkl")
    (tmp_path / "rows.parquet").write_text("else")
    path = source if source.startswith("[") else tmp_path / source
    with pytest.raises(UsageError, match=text):
        read_examples(path)


def test_a_table_of_text_is_typed_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("number,flag,text,code\n1,True,,01\nNA,false,x,2\n,,1,1.5\n")
    assert read_rows(path) == [
        {"number": 1.0, "flag": True, "text": None, "code": 1.0},
        {"number": None, "flag": False, "text": "x", "code": 2.0},
        {"number": None, "flag": None, "text": "1", "code": 1.5},
    ]
    columns = [
        Column(name="text", dtype="string"),
        Column(name="code", dtype="string"),
        Column(name="number", dtype="int64"),
        Column(name="flag", dtype="bool"),
    ]
    assert [list(row.values()) for row in read_rows(path, columns)] == [
        [1, True, "", "01"],
        [None, False, "x", "2"],
        [None, None, "1", "1.5"],
    ]


# --- the second version ---


def test_differences_are_told_before_the_model_is_replaced(tmp_path: Path) -> None:
    heard: list[str] = []

    def again(model: Any, **options: Any) -> str:
        heard.clear()
        packaged(tmp_path, model, named(X), compare=True, tell=heard.append, **options)
        (told,) = [line for line in heard if line.startswith("compared")]
        assert heard.index(told) < heard.index("loading it as the service will")
        return told

    with pytest.raises(UsageError, match="nothing to compare with: model missing"):
        packaged(tmp_path, LinearRegression().fit(X, X[:, 0]), named(X), compare=True)
    packaged(tmp_path, LinearRegression().fit(X, X[:, 0]), named(X))
    same = "compared with test 1 on 18 examples: the largest difference of a number is 0"
    assert again(LinearRegression().fit(X, X[:, 0])) == same
    larger = X[:, 0].copy()
    larger += 0.5
    assert "number is 0.5" in again(LinearRegression().fit(X, larger))
    sides = np.where(X[:, 0] > 0, "right", "left")
    assert "another question (regression)" in again(LogisticRegression().fit(X, sides))
    other = np.where(X[:, 0] > 0, "left", "right")
    assert "18 labels changed" in again(LogisticRegression().fit(X, other))
    names = [{"c": row[0], "d": row[1]} for row in X.tolist()]
    heard.clear()
    model = LogisticRegression().fit(X, sides)
    packaged(tmp_path, model, json.dumps(names), compare=True, tell=heard.append)
    assert [line for line in heard if "columns that the examples lack: a, b" in line]


def test_the_model_that_was_replaced_can_be_restored(tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        packaged(tmp_path, LinearRegression().fit(X, X[:, 0]), named(X), version=version)
    directory = tmp_path / "model"
    for version in ("2", "3", "2"):
        restore(directory)
        assert load_model(directory, 2**24).manifest.version == version
    (directory / ".previous" / "model.skops").write_bytes(b"else")
    with pytest.raises(ModelError, match="should have"):
        restore(directory)
    assert load_model(directory, 2**24).manifest.version == "2"


def test_without_a_model_that_was_replaced_nothing_is_restored(tmp_path: Path) -> None:
    packaged(tmp_path, LinearRegression().fit(X, X[:, 0]), named(X))
    with pytest.raises(UsageError, match="keeps no model that was replaced"):
        restore(tmp_path / "model")


def test_a_check_that_fails_keeps_the_old_model(tmp_path: Path) -> None:
    model = LinearRegression().fit(X, X[:, 0])
    packaged(tmp_path, model, named(X))

    def check(folder: Path) -> None:
        assert load_model(folder, 2**24).manifest.version == "2"
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        packaged(tmp_path, model, named(X), version="2", check=check)
    assert load_model(tmp_path / "model", 2**24).manifest.version == "1"
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "manifest.json",
        "model.skops",
    ]


# --- what is told ---


def test_types_are_trusted_after_a_review(tmp_path: Path) -> None:
    model = HistGradientBoostingRegressor(max_iter=2).fit(X, X[:, 0])
    asked: list[Any] = []

    def review(types: Any) -> bool:
        asked.extend(types)
        return len(asked) > 1

    with pytest.raises(UsageError, match="then add: --trust"):
        packaged(tmp_path, model, named(X), trusted_types=(), review=review)
    manifest = packaged(tmp_path, model, named(X), trusted_types=(), review=review)
    assert manifest.artifact.trusted_types == asked[:1]


def test_provenance_is_recorded(tmp_path: Path) -> None:
    manifest = packaged(tmp_path, LinearRegression().fit(X, X[:, 0]), named(X))
    assert manifest.source is not None
    assert manifest.source.file == "model.joblib"
    assert len(manifest.source.sha256) == 64


def test_what_a_model_proves_less_than_recorded_is_told(tmp_path: Path) -> None:
    packaged(tmp_path, LinearRegression().fit(X, X[:, 0]), named(X))
    loaded = load_model(tmp_path / "model", 2**24)
    lines = list(facts(loaded, 2_000_000, 16))
    assert "2.0 MB of memory" in lines[0]
    assert "16 rows" in lines[1]
    table = list(describe(loaded.manifest.signature))
    assert [line.split()[0] for line in table] == ["column", "a", "b", "layout"]

    class Batched:
        def __init__(self, predict: Any) -> None:
            self.predict = predict

        def __call__(self, rows: Any) -> Any:
            outputs = self.predict(rows)
            outputs.values[:] += len(rows)
            return outputs

    object.__setattr__(loaded, "predict", Batched(loaded.predict))
    with pytest.raises(ModelError, match="recorded as row_independent"):
        list(facts(loaded, None, 16))


@pytest.mark.parametrize(
    ("asked", "commands"),
    [
        ("scikit-learn>=1.9,<1.10", ["uv add 'pandas>=3.1.2,<4'"]),
        ("scikit-learn>=1.8,<1.9", ["uv add 'pandas>=3.1.2,<4'", "uv add 'scikit-learn~=1.9.0'"]),
        ("pandas>=3", []),
    ],
)
def test_commands_make_the_dependencies_those_of_the_model(
    asked: str, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [asked, "pyarrow>=1; extra == 'package'", "pandas>=3.1,<4; extra == 'package'"]
    monkeypatch.setattr(project, "requires", lambda _: lines)
    built_with = {"python": "3.12.1", "scikit-learn": "1.9.1", "numpy": "2.4.6", "skops": "0.16.0"}
    assert project.advice(built_with | {"pandas": "3.1.2"}) == commands
    assert not project.advice(built_with) or "scikit-learn" in project.advice(built_with)[0]
