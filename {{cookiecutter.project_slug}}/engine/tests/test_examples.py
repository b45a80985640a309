"""Building a model: accepted values, sources of examples, comparison, restore and reports."""

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from serving_engine import Service
from serving_engine.build_model import candidate, dependency_advice
from serving_engine.build_model.examples import read_examples
from serving_engine.build_model.publish import restore
from serving_engine.build_model.report import report_lines, signature_table
from serving_engine.build_model.row_files import read_rows
from serving_engine.cli.main import run_command_line
from serving_engine.errors import ModelError, UsageError
from serving_engine.model_files.manifest import Manifest, read_manifest
from serving_engine.runtimes.base import OwnerCode
from serving_engine.runtimes.scikit_learn import skops_io
from serving_engine.schema.signature import Column
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from .example_service.transformers import Held
from .models import load_directory, package
from .service import PACKAGE

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(18, 2))
MIXED = [{"size": float(n), "color": ("red", "blue")[n % 2], "new": n % 3 == 0} for n in range(12)]


def package_and_read(folder: Path, estimator: Any, examples: Any, **options: Any) -> Manifest:
    joblib.dump(estimator, folder / "model.joblib")
    types = skops_io.untrusted_types(skops_io.dumps(estimator))
    about: dict[str, Any] = {"name": "test", "version": "1", "trusted_types": types} | options
    return read_manifest(
        package(folder / "model.joblib", examples, folder / "model", **about).parent
    )


def to_json(rows: Any) -> str:
    return json.dumps([dict(zip("ab", row, strict=True)) for row in np.asarray(rows).tolist()])


def mixed_model(**options: Any) -> Any:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(MIXED)
    columns = make_column_transformer(
        (OneHotEncoder(**options), ["color"]), remainder="passthrough"
    )
    return make_pipeline(columns, LinearRegression()).fit(frame, frame["size"])


# --- accepted values ---


@pytest.mark.parametrize(
    ("estimator", "nullable"),
    [(LinearRegression(), False), (HistGradientBoostingRegressor(max_iter=2), True)],
    ids=["linear", "boosted"],
)
def test_columns_are_nullable_if_the_model_accepts_null(
    estimator: Any, nullable: bool, tmp_path: Path
) -> None:
    manifest = package_and_read(tmp_path, estimator.fit(X, X[:, 0]), to_json(X))
    assert {column.nullable for column in manifest.signature.inputs} == {nullable}


def test_categories_are_enforced_if_the_model_rejects_unseen_values(tmp_path: Path) -> None:
    free = package_and_read(tmp_path, mixed_model(handle_unknown="ignore"), json.dumps(MIXED))
    assert free.signature.layout == "frame"
    color = free.signature.inputs[1]
    assert (color.categories, color.enforce, color.nullable) == (["blue", "red"], False, True)
    strict = package_and_read(tmp_path, mixed_model(), json.dumps(MIXED))
    color = strict.signature.inputs[1]
    assert (color.categories, color.enforce, color.nullable) == (["blue", "red"], True, False)
    assert strict.built_with.keys() >= {"pandas"}


def test_categories_of_the_encoder_are_accepted_even_if_no_example_has_them(tmp_path: Path) -> None:
    red = [row for row in MIXED if row["color"] == "red"]
    color = package_and_read(tmp_path, mixed_model(), json.dumps(red)).signature.inputs[1]
    assert color.allowed == ["blue", "red"]


def test_all_of_many_categories_are_accepted(tmp_path: Path) -> None:
    codes = [f"{number:04}" for number in range(1500)]
    rows = np.array([[code, "x"] for code in codes], dtype=object)
    pytest.importorskip("pandas")
    model = make_pipeline(OneHotEncoder(), LinearRegression()).fit(rows, np.arange(1500))
    examples = json.dumps([{"code": code, "other": "x"} for code in codes[:10]])
    code, other = package_and_read(tmp_path, model, examples).signature.inputs
    assert code.allowed == codes
    assert other.allowed == ["x"]


def test_numbers_that_are_categories_are_enforced_too(tmp_path: Path) -> None:
    rows = np.column_stack([X[:, 0], np.arange(len(X)) % 3])
    columns = make_column_transformer((OneHotEncoder(), [1]), remainder="passthrough")
    model = make_pipeline(columns, LinearRegression()).fit(rows, X[:, 0])
    first, second = package_and_read(tmp_path, model, to_json(rows)).signature.inputs
    assert (first.enforce, second.enforce, second.allowed) == (False, True, [0.0, 1.0, 2.0])


def test_numbers_that_the_model_rejects_only_far_away_are_no_categories(tmp_path: Path) -> None:
    whole = np.column_stack([np.arange(18.0), np.zeros(18)])
    model = RadiusNeighborsRegressor(radius=2, algorithm="brute").fit(whole, X[:, 0])
    assert not any(
        c.enforce for c in package_and_read(tmp_path, model, to_json(whole)).signature.inputs
    )


def reviews() -> tuple[Any, str]:
    """A model of texts, and examples with one column too many."""
    texts = ["good film", "bad film", "good", "bad"] * 3
    model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(texts, ["up", "down"] * 6)
    return model, json.dumps([{"stars": 1, "review": text} for text in texts])


def test_a_model_of_texts_needs_the_choice_of_its_column(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    with pytest.raises(UsageError, match=r"choose its one column of .*: --columns NAME"):
        package_and_read(tmp_path, *reviews())


def test_a_chosen_column_of_texts_gives_the_layout_text(tmp_path: Path) -> None:
    signature = package_and_read(tmp_path, *reviews(), chosen=["review"]).signature
    assert (signature.layout, signature.columns) == ("text", ["review"])
    assert not signature.inputs[0].nullable


def test_outputs_get_the_chosen_names(tmp_path: Path) -> None:
    model = LinearRegression().fit(X, X)
    assert package_and_read(tmp_path, model, to_json(X), outputs=["u", "v"]).signature.outputs == [
        "u",
        "v",
    ]
    for names, text in ((["u"], "2 outputs, and 1 were named"), (["u", "u"], "same name")):
        with pytest.raises(UsageError, match=text):
            package_and_read(tmp_path, model, to_json(X), outputs=names)
    with pytest.raises(UsageError, match="only several outputs have names"):
        package_and_read(tmp_path, LinearRegression().fit(X, X[:, 0]), to_json(X), outputs=["u"])


def test_a_model_whose_served_predictions_differ_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate, "predictions_agree", lambda *_: False)
    with pytest.raises(
        UsageError, match=r"prediction mismatch on example row 0 .*: [-0-9.]+ was expected"
    ):
        package_and_read(tmp_path, LinearRegression().fit(X, X[:, 0]), to_json(X))
    assert not (tmp_path / "model").exists()


# --- sources of examples ---


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet", "pkl", "text"])
def test_every_source_gives_the_same_examples(kind: str, tmp_path: Path) -> None:
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
        ("[[1, 2]]", r"no rows of named columns. A row is an object"),
        (
            '{"a": {"0": 1}, "b": {"0": 2}}',
            r"is a table by columns, and not rows.*orient='records'",
        ),
        ('{"columns": ["a"], "index": [0], "data": [[1]]}', "is a table by columns"),
        ("missing.csv", "cannot read"),
        ("rows.pkl", "not a DataFrame"),
        ("rows.parquet", r"not a Parquet file|uv run --extra package"),
        ("pointer.csv", r"holds no rows; it is a Git LFS pointer\. Run `git lfs pull`\.$"),
        ("pointer.pkl", r"holds no rows; it is a Git LFS pointer\. Run `git lfs pull`\.$"),
        ("pointer.parquet", r"holds no rows; it is a Git LFS pointer\. Run `git lfs pull`\.$"),
        ("page.csv", r"holds no rows; it is a web page or other markup"),
        ("lines.json", r"JSON Lines has the suffix \.jsonl\.$"),
    ],
)
def test_a_source_without_rows_is_an_error(source: str, text: str, tmp_path: Path) -> None:
    joblib.dump([1, 2], tmp_path / "rows.pkl")
    (tmp_path / "rows.parquet").write_text("else")
    (tmp_path / "page.csv").write_text("<!DOCTYPE html>\n<html>\n")
    (tmp_path / "lines.json").write_text('{"a": 1}\n{"a": 2}\n')
    for suffix in ("csv", "pkl", "parquet"):
        (tmp_path / f"pointer.{suffix}").write_text("version https://git-lfs.github.com/spec/v1\n")
    path = source if source[0] in "[{" else tmp_path / source
    with pytest.raises(UsageError, match=text):
        read_examples(path)


def test_the_cells_of_a_csv_file_get_the_types_of_their_columns(tmp_path: Path) -> None:
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


# --- the next version ---


def test_the_comparison_is_reported_before_the_model_is_replaced(tmp_path: Path) -> None:
    progress: list[str] = []

    def compare(model: Any) -> str:
        progress.clear()
        package_and_read(tmp_path, model, to_json(X), compare=True, progress=progress.append)
        (comparison,) = [line for line in progress if line.startswith("compared")]
        assert progress.index(comparison) < progress.index("verifying the new model")
        return comparison

    with pytest.raises(UsageError, match="nothing to compare with: model missing"):
        package_and_read(tmp_path, LinearRegression().fit(X, X[:, 0]), to_json(X), compare=True)
    package_and_read(tmp_path, LinearRegression().fit(X, X[:, 0]), to_json(X))
    same = "compared with test 1 on 18 examples: the largest difference of a number is 0"
    assert compare(LinearRegression().fit(X, X[:, 0])) == same
    larger = X[:, 0].copy()
    larger += 0.5
    assert "number is 0.5" in compare(LinearRegression().fit(X, larger))
    sides = np.where(X[:, 0] > 0, "right", "left")
    assert "another task or other classes (regression)" in compare(
        LogisticRegression().fit(X, sides)
    )
    other = np.where(X[:, 0] > 0, "left", "right")
    assert "18 labels changed" in compare(LogisticRegression().fit(X, other))
    names = [{"c": row[0], "d": row[1]} for row in X.tolist()]
    progress.clear()
    model = LogisticRegression().fit(X, sides)
    package_and_read(tmp_path, model, json.dumps(names), compare=True, progress=progress.append)
    assert [line for line in progress if "the examples lack its columns a, b" in line]


def test_restore_swaps_the_model_and_the_one_that_it_replaced(tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        package_and_read(tmp_path, LinearRegression().fit(X, X[:, 0]), to_json(X), version=version)
    directory = tmp_path / "model"
    for version in ("2", "3", "2"):
        restore(directory, OwnerCode())
        assert load_directory(directory, 2**24).manifest.version == version
    (directory / ".previous" / "model.skops").write_bytes(b"else")
    with pytest.raises(ModelError, match="should have"):
        restore(directory, OwnerCode())
    assert load_directory(directory, 2**24).manifest.version == "2"


def test_restore_without_a_replaced_model_is_an_error(tmp_path: Path) -> None:
    package_and_read(tmp_path, LinearRegression().fit(X, X[:, 0]), to_json(X))
    with pytest.raises(UsageError, match="holds no replaced model"):
        restore(tmp_path / "model", OwnerCode())


def test_a_check_that_fails_keeps_the_old_model(tmp_path: Path) -> None:
    model = LinearRegression().fit(X, X[:, 0])
    package_and_read(tmp_path, model, to_json(X))

    def check(folder: Path) -> None:
        assert load_directory(folder, 2**24).manifest.version == "2"
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        package_and_read(tmp_path, model, to_json(X), version="2", check=check)
    assert load_directory(tmp_path / "model", 2**24).manifest.version == "1"
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "manifest.json",
        "model.skops",
    ]


# --- reviews, provenance and reports ---


def test_types_are_trusted_after_a_review(tmp_path: Path) -> None:
    model = make_pipeline(Held(), LinearRegression()).fit(X, X[:, 0])
    reviewed: list[Any] = []

    def review(types: Any) -> bool:
        reviewed.extend(types)
        return len(reviewed) > 1

    with pytest.raises(UsageError, match="Then add: --trust"):
        package_and_read(tmp_path, model, to_json(X), trusted_types=(), review=review)
    manifest = package_and_read(tmp_path, model, to_json(X), trusted_types=(), review=review)
    assert manifest.artifact.trusted_types == reviewed[:1]


def test_provenance_is_recorded(tmp_path: Path) -> None:
    manifest = package_and_read(tmp_path, LinearRegression().fit(X, X[:, 0]), to_json(X))
    assert manifest.source is not None
    assert manifest.source.file == "model.joblib"
    assert len(manifest.source.sha256) == 64


def test_the_report_fails_if_a_recorded_probe_fails(tmp_path: Path) -> None:
    package_and_read(tmp_path, LinearRegression().fit(X, X[:, 0]), to_json(X))
    loaded = load_directory(tmp_path / "model", 2**24)
    lines = list(report_lines(loaded, 2_000_000, 16))
    assert "2.0 MB of memory" in lines[0]
    assert "16 rows" in lines[1]
    table = list(signature_table(loaded.manifest.signature))
    assert [line.split()[0] for line in table] == ["column", "a", "b", "layout"]

    class Batched:
        def __init__(self, predict: Any) -> None:
            self.predict = predict

        def __call__(self, rows: Any) -> Any:
            outputs = self.predict(rows)
            outputs.values[:] += len(rows)
            return outputs

    object.__setattr__(loaded, "predict", Batched(loaded.predict))
    with pytest.raises(ModelError, match="records the model as row_independent"):
        list(report_lines(loaded, None, 16))


ADD_PANDAS = "uv add 'serving-engine[frame]'"
PIN = "uv add 'scikit-learn~=1.9.0'"


@pytest.mark.parametrize(
    ("of_engine", "of_project", "commands"),
    [
        ("scikit-learn>=1.8,<1.10", [], [ADD_PANDAS]),
        ("scikit-learn>=1.8,<1.11", [], [PIN, ADD_PANDAS]),
        ("scikit-learn>=1.8,<1.11", ["scikit-learn~=1.9.0"], [ADD_PANDAS]),
        ("scikit-learn>=1.8,<1.10", ["scikit-learn<1.9"], [PIN, ADD_PANDAS]),
        ("scikit-learn>=1.8,<1.10", ["pandas>=3"], []),
        ("scikit-learn>=1.8,<1.10", ["serving-engine[frame]"], []),
    ],
)
def test_commands_add_the_dependencies_that_the_project_lacks(
    of_engine: str, of_project: list[str], commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = ["pandas>=3.1,<4; extra == 'frame'", "pyarrow>=1; extra == 'package'"]
    requirements = {"serving-engine": [of_engine, *extra], "own-service": of_project}
    monkeypatch.setattr(dependency_advice, "requires", requirements.__getitem__)
    built_with = {"python": "3.12.1", "scikit-learn": "1.9.1", "numpy": "2.4.6", "skops": "0.16.0"}
    missing_dependencies = dependency_advice.missing_dependencies
    assert missing_dependencies(built_with | {"pandas": "3.1.2"}, "own-service") == commands
    of_scikit_learn = [command for command in commands if "scikit-learn" in command]
    assert missing_dependencies(built_with, "own-service") == of_scikit_learn


@pytest.mark.parametrize(
    ("of_project", "lacks"),
    [
        ([], ADD_PANDAS),
        (["serving-engine[frame]"], None),
        (["serving-engine[frame]", "scikit-learn<1.9"], PIN),
    ],
)
def test_check_fails_if_the_project_lacks_what_the_environment_has(
    of_project: list[str],
    lacks: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package_and_read(tmp_path, mixed_model(), json.dumps(MIXED))
    requirements = {
        "serving-engine": ["scikit-learn>=1.8,<1.11", "pandas>=3.1,<4; extra == 'frame'"],
        PACKAGE: of_project,
    }
    monkeypatch.setattr(dependency_advice, "requires", requirements.__getitem__)
    with pytest.raises(SystemExit) as ended:
        run_command_line(Service(PACKAGE), ["check", "--model-dir", str(tmp_path / "model")])
    output, errors = capsys.readouterr()
    if lacks is None:
        assert (ended.value.code, output[:3]) == (0, "ok:")
    else:
        assert ended.value.code == 3
        assert errors == (
            "error: the model needs what pyproject.toml does not require, so that an image would "
            f"lack it. Add it: {lacks}\n"
        )
