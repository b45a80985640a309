"""The command `predict`: files of every kind, to a result that is complete or not there."""

import csv
import json
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from serving_engine.cli.predict import blocks, scorer, sources
from serving_engine.cli.predict.run import PredictOptions, predict_file
from serving_engine.errors import UsageError
from serving_engine.runtimes.base import LoadedModel
from serving_engine.schema.cell_columns import ColumnsCheck
from serving_engine.schema.predictions import Outputs
from serving_engine.schema.request_parser import RequestParser, Values
from serving_engine.schema.signature import Column, Signature
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, IsolationForest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from .models import load_directory, package, package_estimator, with_predict

NAMES = ["a", "b", "c"]
KINDS = ["csv", "jsonl", "parquet"]

rng = np.random.default_rng(0)
X = rng.uniform(0, 10, (2000, 3)).round(2)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few dozen rows in each block: a block may end anywhere."""
    monkeypatch.setattr(sources, "BLOCK_BYTES", 700)
    monkeypatch.setattr(sources, "BLOCK_ROWS", 64)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A model whose outputs are the same bits in every batch, and its directory."""
    model = GradientBoostingClassifier(n_estimators=3, max_depth=2, random_state=0)
    model.fit(X, np.array(["low", "high, or so", "no"])[(X[:, 0] // 4).astype(int)])
    directory = tmp_path_factory.mktemp("trees") / "model"
    return model, package_estimator(model, NAMES, X[:10], directory)


@pytest.fixture(scope="module")
def loaded_trees(trees: tuple[Any, Path]) -> LoadedModel:
    return load_directory(trees[1])


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows to a file of the kind that its suffix says."""
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra `package`")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=300)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def as_rows(table: Any) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, row, strict=True)) for row in table.tolist()]


def read_result(path: Path) -> list[dict[str, Any]]:
    """The rows of a result by column; CSV has text only."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    with path.open(newline="", encoding="utf-8") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file]


def predict(rows: Path, result: str, model: LoadedModel, **options: Any) -> Path:
    """Predict in this process; return the path of the result."""
    path = rows.with_name(result)
    predict_file(PredictOptions(rows, path, **options), model, lambda _: None)
    return path


# What is predicted.


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_is_predicted_as_the_estimator_predicts_it(
    kind: str, trees: tuple[Any, Path], loaded_trees: LoadedModel, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / f"rows.{kind}", as_rows(X))
    result = read_result(predict(rows, "result.jsonl", loaded_trees))
    assert [row["label"] for row in result] == trees[0].predict(X).tolist()
    probabilities = [list(row["probabilities"].values()) for row in result]
    assert probabilities == trees[0].predict_proba(X).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_predicted_as_the_estimator_predicts_it(kind: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    places = ["NA 1", 'Oslo, or "near"', "Rio\nor near", "Bern"]
    rows = [
        {"place": places[n % 4], "size": None if n % 7 == 0 else n / 4, "sold": n % 2 > 0}
        for n in range(500)
    ]
    frame = pandas.DataFrame(rows)
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(
        make_column_transformer((encoder, ["place", "size", "sold"])), LinearRegression()
    ).fit(frame, np.arange(500))
    joblib.dump(model, tmp_path / "model.joblib")
    package(tmp_path / "model.joblib", write_rows(tmp_path / "e.jsonl", rows[:50]), tmp_path / "m")
    result = predict(
        write_rows(tmp_path / f"rows.{kind}", rows), "result.jsonl", load_directory(tmp_path / "m")
    )
    assert np.allclose(read_result(result), model.predict(frame), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_predicted_as_the_estimator_predicts_them(kind: str, tmp_path: Path) -> None:
    """Also texts of several lines, with quotes, and longer than a block."""
    ends = ["", "\n", '\n"quoted', " NA", "\r\n\r\n", '""', "\u2028", "ø" * 1000]
    texts = [f"{n} word{n % 11}{ends[n % len(ends)]}" for n in range(300)]
    model = make_pipeline(HashingVectorizer(n_features=64), LogisticRegression())
    model.fit(texts, [n % 11 for n in range(300)])
    joblib.dump(model, tmp_path / "model.joblib")
    examples = json.dumps([{"text": text} for text in texts[:9]])
    package(tmp_path / "model.joblib", examples, tmp_path / "m")
    rows = write_rows(tmp_path / f"rows.{kind}", [{"text": text} for text in texts])
    result = read_result(predict(rows, "result.jsonl", load_directory(tmp_path / "m")))
    assert [row["label"] for row in result] == model.predict(texts).tolist()


def test_a_result_is_the_same_in_every_format(loaded_trees: LoadedModel, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.csv", as_rows(X))
    lines = read_result(predict(rows, "result.jsonl", loaded_trees))
    flat = [
        {"label": line["label"]}
        | {f"probabilities.{name}": number for name, number in line["probabilities"].items()}
        for line in lines
    ]
    table = read_result(predict(rows, "result.csv", loaded_trees))
    assert [{k: v if k == "label" else float(v) for k, v in row.items()} for row in table] == flat
    pytest.importorskip("pyarrow", reason="Parquet needs the extra `package`")
    assert read_result(predict(rows, "result.parquet", loaded_trees)) == flat


@pytest.mark.parametrize(
    ("model", "first"),
    [
        (lambda: KNeighborsClassifier().fit(X, X > 5), "labels.0,labels.1,labels.2,probabilities"),
        (lambda: LinearRegression().fit(X, X), "values.0,values.1,values.2"),
        (lambda: LinearRegression().fit(X, X[:, 1]), "value"),
        (lambda: KMeans(2, random_state=0).fit(X), "cluster"),
        (lambda: IsolationForest(n_estimators=5, random_state=0).fit(X), "outlier,score"),
        (
            lambda: MultiOutputClassifier(LogisticRegression()).fit(X, X.astype(int) % 3),
            "labels.0,labels.1,labels.2",
        ),
    ],
    ids=["multilabel", "outputs", "value", "cluster", "outlier", "multi-output"],
)
def test_every_task_has_its_columns(model: Callable[[], Any], first: str, tmp_path: Path) -> None:
    outputs = {"outputs": ["0", "1", "2"]} if "s." in first else {}
    loaded = load_directory(package_estimator(model(), NAMES, X[:10], tmp_path / "m", **outputs))
    rows = write_rows(tmp_path / "rows.csv", as_rows(X[:300]))
    table = read_result(predict(rows, "result.csv", loaded))
    assert len(table) == 300
    assert ",".join(table[0]).startswith(first)
    assert all(cell for row in table for cell in row.values())
    numbers = [json.loads(cell.lower()) for row in table for cell in row.values()]
    lines = read_result(predict(rows, "result.jsonl", loaded))
    if first == "value":
        assert numbers == lines
    elif first.startswith("values"):
        assert numbers == [number for line in lines for number in line]
    elif first == "outlier,score":
        assert numbers == [value for line in lines for value in line.values()]


# Bad rows.


BAD = {
    "csv": [
        ("x,2,3", "column a ('x') must be a finite number"),
        ("1,2,3,4", "has more values than the 3 columns"),
        ('1,"2"x,3', "is not valid CSV: "),
        ("1,2", "column c (null) must be a finite number"),
        ("1e400,2,3", "column a (inf) must be a finite number"),
    ],
    "jsonl": [
        ('{"a": 1, "b": 2}', "column c is missing"),
        ('{"a": 1, "b": 2, "c": "3"}', "column c ('3') must be a finite number"),
        ('{"a": 1, "b": 2, "c": true}', "column c (True) must be a finite number"),
        ('{"a": 1, ', "is not valid JSON: "),
        ("[1, 2, 3]", "is no row of named columns"),
        ('{"a": NaN, "b": 2, "c": 3}', "column a (null) must be a finite number"),
    ],
}
CASES = [(kind, row, reason) for kind, bad in BAD.items() for row, reason in bad]


def write_bad(path: Path, bad: Sequence[str]) -> tuple[Path, list[int]]:
    """Write good rows and, from row 90 on, a bad one in every 97; return the bad ones' numbers."""
    lines = write_rows(path, as_rows(X[:1000])).read_text(encoding="utf-8").splitlines()
    header = path.suffix == ".csv"
    numbers = list(range(90, 1000, 97))
    for index, number in enumerate(numbers):
        lines[number + header] = bad[index % len(bad)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path, numbers


@pytest.mark.parametrize(("kind", "row", "reason"), CASES)
def test_a_bad_row_ends_the_command_and_is_named(
    kind: str, row: str, reason: str, loaded_trees: LoadedModel, tmp_path: Path
) -> None:
    rows, _ = write_bad(tmp_path / f"rows.{kind}", [row])
    with pytest.raises(UsageError) as error:
        predict_file(PredictOptions(rows), loaded_trees, lambda _: None)
    assert str(error.value).startswith(f"{rows}, row 90: {reason}")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("kind", list(BAD))
@pytest.mark.parametrize("form", KINDS)
def test_bad_rows_are_set_apart_and_the_rest_is_predicted(
    kind: str, form: str, loaded_trees: LoadedModel, tmp_path: Path
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs the extra `package`")
    good = write_rows(tmp_path / "good.jsonl", as_rows(X[:1000]))
    expected = read_result(predict(good, f"good-result.{form}", loaded_trees))
    rows, numbers = write_bad(tmp_path / f"rows.{kind}", [row for row, _ in BAD[kind]])
    apart = tmp_path / "bad.jsonl"
    result = read_result(predict(rows, f"result.{form}", loaded_trees, on_error=apart))
    bad = read_result(apart)
    assert [row["row"] for row in bad] == numbers
    for index, row in enumerate(bad):
        assert BAD[kind][index % len(BAD[kind])][1] in row["error"]
    second = ["1", "2", "3", "4"] if kind == "csv" else {"a": 1, "b": 2, "c": "3"}
    assert bad[1]["input"] == second
    assert len(result) == len(expected)
    for number, (found, right) in enumerate(zip(result, expected, strict=True)):
        if number in numbers:
            assert not found or not any(found.values())
        else:
            assert found == right


def test_a_bad_row_of_parquet_is_named(loaded_trees: LoadedModel, tmp_path: Path) -> None:
    table = as_rows(X[:1000])
    table[777]["b"] = None
    rows = write_rows(tmp_path / "rows.parquet", table)
    with pytest.raises(UsageError, match=r"row 777: column b \(null\) must be a finite number"):
        predict(rows, "result.csv", loaded_trees)


@pytest.mark.parametrize("values", [None, np.inf])
def test_rows_on_which_the_model_fails_are_found(
    values: float | None, loaded_trees: LoadedModel, tmp_path: Path
) -> None:
    def fails(rows: Values) -> Outputs:
        outputs = loaded_trees.predict(rows)
        large = np.asarray(rows)[:, 0] > 1000
        if large.any() and values is None:
            raise ZeroDivisionError("by a cell")
        assert outputs.probabilities is not None
        outputs.probabilities[large] = np.inf
        return outputs

    table = X[:500].copy()
    table[[50, 51, 499], 0] = 5000
    rows = write_rows(tmp_path / "rows.csv", as_rows(table))
    bad = tmp_path / "bad.jsonl"
    result = predict(rows, "result.jsonl", with_predict(loaded_trees, fails), on_error=bad)
    assert [row["row"] for row in read_result(bad)] == [50, 51, 499]
    assert read_result(bad)[0]["input"] == dict(zip(NAMES, table[50].tolist(), strict=True))
    reason = "the model fails (ZeroDivisionError: by a cell)" if values is None else "finite number"
    assert reason in read_result(bad)[0]["error"]
    assert [n for n, row in enumerate(read_result(result)) if row is None] == [50, 51, 499]


def test_a_file_without_bad_rows_has_an_empty_file_of_them(
    loaded_trees: LoadedModel, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.csv", as_rows(X))
    predict(rows, "result.csv", loaded_trees, on_error=tmp_path / "bad.jsonl")
    assert (tmp_path / "bad.jsonl").read_bytes() == b""
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "result.csv", "bad.jsonl"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_header_without_a_column_is_an_error_of_the_file(
    kind: str, loaded_trees: LoadedModel, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / f"rows.{kind}", [{"a": 1.0, "c": 2.0}])
    with pytest.raises(UsageError, match=r"has no column b\. `model show` has the columns\."):
        predict(rows, "result.csv", loaded_trees, on_error=tmp_path / "bad.jsonl")


# Options and files that do not fit.


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "--resume needs --output"),
        (["--output", "rows.csv"], "must be different files"),
        (["--output", "r.csv", "--on-error", "r.csv"], "must be different files"),
        (["--output", "."], "is a directory"),
        (["--output", "result.xls"], "unsupported suffix. Use .csv, .jsonl or .parquet"),
        (["--output", "no/result.csv"], "cannot write no/result.csv: No such file"),
        (["--workers", "0"], "argument --workers: it must be 1 or more"),
    ],
)
def test_options_that_do_not_fit_are_errors_in_one_line(
    arguments: list[str],
    message: str,
    model_dir: Path,
    in_empty_folder: Path,
    run: Callable[..., Any],
) -> None:
    (in_empty_folder / "rows.csv").write_text(
        "sepal_length,sepal_width,petal_length,petal_width\n1,2,3,4\n", encoding="utf-8"
    )
    result = run("predict", "rows.csv", *arguments, "--model-dir", str(model_dir))
    assert result.code == 2
    assert message in result.err.splitlines()[-1]
    assert [path.name for path in in_empty_folder.iterdir()] == ["rows.csv"]


def test_a_result_is_written_by_one_process(loaded_trees: LoadedModel, tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("there are no such locks")
    import fcntl

    rows = write_rows(tmp_path / "rows.csv", as_rows(X))
    with (tmp_path / "result.csv.partial").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match=r"another process writes .*result\.csv\."):
            predict(rows, "result.csv", loaded_trees)
    predict(rows, "result.csv", loaded_trees)


# A checkpoint that does not fit.


@pytest.fixture
def stopped(loaded_trees: LoadedModel, tmp_path: Path) -> Path:
    """The rows of a run that a bad row ended, after a checkpoint."""
    rows, _ = write_bad(tmp_path / "rows.csv", ["x,2,3"])
    with pytest.raises(UsageError, match="row 90: "):
        predict(rows, "result.csv", loaded_trees)
    assert (tmp_path / "result.csv.checkpoint").exists()
    return rows


def test_a_run_that_a_bad_row_ended_goes_on_with_a_file_for_them(
    stopped: Path, loaded_trees: LoadedModel
) -> None:
    bad = stopped.with_name("bad.jsonl")
    checked = []

    def counted(rows: Values) -> Outputs:
        checked.append(len(rows))
        return loaded_trees.predict(rows)

    model = with_predict(loaded_trees, counted)
    result = predict(stopped, "result.csv", model, resume=True, on_error=bad)
    assert 0 < sum(checked) < 990
    whole = predict(stopped, "whole.csv", model, on_error=stopped.with_name("all-bad.jsonl"))
    assert result.read_bytes() == whole.read_bytes()
    assert bad.read_bytes() == stopped.with_name("all-bad.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("input", "the input has changed since"),
        ("model", "the model has changed since"),
        ("result", "result.csv.partial is shorter than when it was saved"),
        ("checkpoint", "result.csv.checkpoint is damaged"),
    ],
)
def test_a_run_does_not_go_on_with_what_has_changed(
    change: str, message: str, stopped: Path, loaded_trees: LoadedModel
) -> None:
    model = loaded_trees
    if change == "input":
        stopped.write_text(stopped.read_text(encoding="utf-8") + "\n1,2,3", encoding="utf-8")
    elif change == "model":
        manifest = model.manifest.model_copy(update={"version": "2"})
        model = LoadedModel(manifest, model.predict, model.seconds)
    elif change == "result":
        stopped.with_name("result.csv.partial").write_bytes(b"")
    else:
        stopped.with_name("result.csv.checkpoint").write_bytes(b"{}")
    with pytest.raises(UsageError) as error:
        predict(stopped, "result.csv", model, resume=True, on_error=stopped.with_name("bad.jsonl"))
    assert message in str(error.value)
    assert str(error.value).endswith("Run it without --resume, which begins anew.")
    predict(stopped, "result.csv", model, on_error=stopped.with_name("bad.jsonl"))


# Readers.


def inputs(dtype: str, **more: Any) -> list[Column]:
    """Columns of a type: one as it is, one that may be null, one with its values enforced."""
    named = {"name": "a", "dtype": dtype}
    kinds = [{}, {"nullable": True}, {"nullable": True, "enforce": True, **more}]
    return [Column.model_validate(named | kind) for kind in kinds]


COLUMNS = [
    *inputs("float64", minimum=-1.0, maximum=1e3),
    *inputs("float64", categories=[1.0, 2.5]),
    *inputs("int64", minimum=-1.0, maximum=1e3),
    *inputs("bool"),
    *inputs("string", categories=["NA", "1"], words=["NA"]),
    Column(name="a", dtype="datetime", unit="ns"),
    Column(name="a", dtype="datetime", unit="s", timezone="UTC", nullable=True),
]
FIELDS = [
    *("1", "+1", " 1 ", "\t1", "007", "1.0", "2.5", ".5", "1.", "1e3", "1E5", "1e", "1e400", "-2"),
    *("-0", "0x10", "1_0", "1f", ".", "inf", "-Infinity", "9223372036854775807", "1" * 30),
    *("", "NA", " NA", "nan", "NAN", "nan(1)", "null", "NuLL", "None", "true", "TRUE", "tRUE"),
    *(" true", "x", "a b", "é😀", "2026-01-31", "2026-01-31T12:00:00Z", "2026-02-31", "\uff11"),
    *('""', '"1"', '"NA"', '"1,2"', '"1\n2"', '"a""b"', '"1"x', 'x"1"', ' "1"', '"', '"1', "1\x00"),
]


def cells_by(read: Callable[[blocks.TableBlock, list[Column]], Any], text: str, known: Any) -> Any:
    """The rows of one column that are read and accepted; None if they are not."""
    block = blocks.TableBlock(text.encode(), ["a", "b"], ",", {"a": known})
    try:
        return read(block, [known])
    except Exception:
        return None


@pytest.mark.parametrize("known", COLUMNS, ids=lambda column: column.dtype)
def test_arrow_reads_a_table_as_the_reader_without_it_or_leaves_it_to_that(known: Column) -> None:
    pytest.importorskip("pyarrow", reason="it is in the extra `package`")
    signature = Signature(layout="frame", inputs=[known], task="regression")
    parser = RequestParser(signature, max_rows=100)
    check = ColumnsCheck(signature)

    def by_arrow(block: blocks.TableBlock, columns: list[Column]) -> list[Any]:
        rows = block.by_column(columns)
        check(rows)
        return list(rows)

    def by_field(block: blocks.TableBlock, columns: list[Column]) -> list[Any]:
        rows = [[cell] for cell in block.cells(columns[0])]
        return list(map(list, parser.check({"instances": rows}).values))

    ends = ["\n", "\r\n", "\r", "\n\n"]
    texts = [f"{field},b{end}" for field in FIELDS for end in ends[:2]]
    choose = random.Random(0)
    for number in range(200):
        fields = choose.sample(FIELDS, 2)
        texts.append(
            "".join(f"{field},{choose.choice(FIELDS)}{ends[number % 4]}" for field in fields)
        )
    decided = 0
    for text in texts:
        found = cells_by(by_arrow, text, known)
        assert found is None or repr(found) == repr(cells_by(by_field, text, known)), repr(text)
        decided += found is not None
    assert decided


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("layout", ["array", "frame"])
def test_arrow_reads_what_fits(
    kind: str, layout: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Field by field, it takes three times as long."""
    pytest.importorskip("pyarrow", reason="it is in the extra `package`")
    for block in (blocks.TableBlock, blocks.BatchBlock):
        monkeypatch.setattr(block, "cells", lambda *_: pytest.fail("field by field"))
    row: dict[str, Any] = {"a": 1.5, "b": -2.0}
    if layout == "frame":
        row |= {"n": 7, "yes": True, "text": 'Rio, or "near"'}
    rows = write_rows(tmp_path / f"rows.{kind}", [row, row | {"a": 3.0}])
    dtypes = {float: "float64", int: "int64", bool: "bool", str: "string"}
    columns = [Column(name=name, dtype=dtypes[type(cell)]) for name, cell in row.items()]
    signature = Signature(layout=layout, inputs=columns, task="regression")
    with closing(sources.open_source(rows, signature)) as source:
        (block, _), *rest = source.blocks()
        assert not rest
        values = source.parse(block).by_column(columns)
    assert list(values) == [list(row.values()), [3.0, *list(row.values())[1:]]]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_fit_are_read_together(
    kind: str, loaded_trees: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row by row, it takes ten times as long."""
    monkeypatch.setattr(scorer.Scorer, "_read_one_by_one", lambda *_: pytest.fail("one by one"))
    rows = write_rows(tmp_path / f"rows.{kind}", as_rows(X))
    predict(rows, "result.csv", loaded_trees)
