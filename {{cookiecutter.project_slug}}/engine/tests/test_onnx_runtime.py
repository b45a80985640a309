"""The runtime `onnx`: models are converted, taken as they are, checked, served and refused."""

import hashlib
import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from serving_engine import LoadedModel
from serving_engine.build_model.errors import NotPackaged
from serving_engine.build_model.parity import generated_rows
from serving_engine.model_files import load_errors
from serving_engine.model_files.manifest import read_manifest
from serving_engine.runtimes.load import load_directory
from serving_engine.runtimes.onnx.model_check import MAX_DEPTH, check_model
from serving_engine.schema.predictions import PredictionFormatter
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

from .models import package, write_csv
from .service import Service, run

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")
pandas = pytest.importorskip("pandas")
convert_to_onnx = import_module("serving_engine.build_model.convert_to_onnx")

FLOAT, INT64, STRING = 1, 7, 8  # of onnx.TensorProto
IRIS = load_iris()
SPECIES = IRIS.target_names[IRIS.target]
DIABETES = load_diabetes()
NAMES = ["a", "b", "c", "d"]


def convert(folder: Path, model: Any, rows: Any, **options: Any) -> Path:
    """Package a fitted estimator for the runtime; return the model directory."""
    joblib.dump(model, folder / "estimator.joblib")
    if hasattr(rows, "columns"):
        examples = folder / "rows.parquet"
        rows.to_parquet(examples)
    else:
        examples = folder / "rows.csv"
        write_csv(examples, [f"c{number}" for number in range(rows.shape[1])], rows)
    package(folder / "estimator.joblib", examples, folder / "model", runtime="onnx", **options)
    return folder / "model"


def predictions(loaded: LoadedModel, rows: Any) -> list[Any]:
    return PredictionFormatter(loaded.manifest.signature)(loaded.predict(rows))


def table() -> Any:
    """A table of mixed columns, with gaps."""
    generator = np.random.default_rng(0)
    rows = pandas.DataFrame(
        {
            "age": generator.integers(18, 90, 200),
            "income": generator.uniform(20_000, 90_000, 200).round(2),
            "member": generator.random(200) > 0.5,
            "plan": generator.choice(["basic", "plus", "pro"], 200),
        }
    )
    rows.loc[::7, "income"] = np.nan
    return rows


def mixed_columns() -> Any:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]),
        remainder="passthrough",
    )


CLASSIFIERS = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(10, random_state=0),
    "gradient boosting": GradientBoostingClassifier(n_estimators=5),
    "SVC": SVC(),
    "MLP": MLPClassifier(random_state=0, max_iter=1000),
}
REGRESSORS = {
    "ridge": Ridge(),
    "regression forest": RandomForestRegressor(5, random_state=0, max_depth=6),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_converted_classifier_predicts_what_the_estimator_does(name: str, tmp_path: Path) -> None:
    model = CLASSIFIERS[name].fit(IRIS.data, SPECIES)
    loaded = load_directory(convert(tmp_path, model, IRIS.data[::5]), 2**24)
    signature = loaded.manifest.signature
    assert loaded.manifest.artifact.format == "onnx"
    assert loaded.manifest.built_with.keys() == {"python", "numpy", "onnxruntime"}
    assert (loaded.manifest.probes.row_independent, loaded.bounded) == (True, True)
    rows = [*IRIS.data.tolist(), *generated_rows(signature, IRIS.data.tolist(), model)]
    outputs = loaded.predict(rows)
    labels = [signature.classes[index] for index in outputs.values] if signature.classes else []
    assert labels == model.predict(rows).tolist()
    if signature.probabilities:
        np.testing.assert_allclose(outputs.probabilities, model.predict_proba(rows), 1e-4, 1e-5)
    else:
        assert name == "SVC"


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_converted_regressor_predicts_what_the_estimator_does(name: str, tmp_path: Path) -> None:
    model = REGRESSORS[name].fit(DIABETES.data, DIABETES.target)
    loaded = load_directory(convert(tmp_path, model, DIABETES.data[::10]), 2**24)
    np.testing.assert_allclose(
        loaded.predict(DIABETES.data.tolist()).values, model.predict(DIABETES.data), 1e-4
    )


def test_a_converted_clustering_and_outlier_detector(tmp_path: Path) -> None:
    clusters = KMeans(3, n_init=2, random_state=0).fit(IRIS.data)
    loaded = load_directory(convert(tmp_path, clusters, IRIS.data[::5]), 2**24)
    assert loaded.predict(IRIS.data.tolist()).values.tolist() == clusters.labels_.tolist()
    forest = IsolationForest(n_estimators=10, random_state=0).fit(IRIS.data)
    loaded = load_directory(convert(tmp_path, forest, IRIS.data[::5]), 2**24)
    outputs = loaded.predict(IRIS.data.tolist())
    assert outputs.values.tolist() == (forest.predict(IRIS.data) == -1).tolist()
    np.testing.assert_allclose(outputs.scores, forest.decision_function(IRIS.data), atol=1e-5)


def test_mixed_columns_are_one_input_each_and_need_no_pandas(tmp_path: Path) -> None:
    rows = table()
    answer = np.where((rows.age > 60) ^ (rows.plan == "pro"), "stays", "leaves")
    model = make_pipeline(mixed_columns(), LogisticRegression()).fit(rows, answer)
    loaded = load_directory(convert(tmp_path, model, rows[:80]), 2**24)
    signature = loaded.manifest.signature
    assert signature.layout == "frame"
    assert [column.dtype for column in signature.inputs] == ["int64", "float64", "bool", "string"]
    assert [column.nullable for column in signature.inputs] == [True, True, False, True]
    assert "pandas" not in loaded.manifest.built_with
    asked = [[71, None, True, "basic"], [30, 50_000.0, False, "unknown"]]
    frame = pandas.DataFrame(asked, columns=signature.columns).astype({"income": float})
    np.testing.assert_allclose(
        loaded.predict(asked).probabilities, model.predict_proba(frame), 1e-4, 1e-5
    )


def test_a_gap_in_texts_is_filled_as_the_imputer_does(tmp_path: Path) -> None:
    rows = table()
    answer = rows.plan == "pro"
    rows.loc[::5, "plan"] = np.nan
    texts = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    columns = make_column_transformer((texts, ["plan"]), remainder=SimpleImputer())
    model = make_pipeline(columns, LogisticRegression(max_iter=10_000)).fit(rows, answer)
    loaded = load_directory(convert(tmp_path, model, rows[:80]), 2**24)
    asked = [[40, 1.0, True, None], [40, 1.0, True, ""], [40, 1.0, True, "pro"]]
    frame = pandas.DataFrame(asked, columns=loaded.manifest.signature.columns)
    frame["plan"] = frame["plan"].where(frame["plan"].notna(), np.nan)
    np.testing.assert_allclose(
        loaded.predict(asked).probabilities, model.predict_proba(frame), 1e-4, 1e-5
    )


def test_the_type_of_the_inputs_is_the_one_that_agrees(tmp_path: Path) -> None:
    """Ids of nine digits lose their last ones in float32."""
    ids = np.arange(50.0)[:, None] + 1e9
    model = LinearRegression().fit(ids - 1e9, ids[:, 0] - 1e9)
    model.intercept_ -= 1e9
    directory = convert(tmp_path, model, ids)
    (single,) = onnx.load(directory / "model.onnx").graph.input
    assert single.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    loaded = load_directory(directory, 2**24)
    assert loaded.predict([[1e9 + 7]]).values == pytest.approx([7.0])


def test_trees_that_answer_otherwise_for_null_take_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = RandomForestClassifier(10, random_state=0).fit(IRIS.data, SPECIES)
    directory = convert(tmp_path, model, IRIS.data[::5], progress=print)
    assert not any(column.nullable for column in read_manifest(directory).signature.inputs)
    pytest.importorskip("leafparity")
    assert "proved for every input" in capsys.readouterr().out


def refusal(folder: Path, model: Any, rows: Any) -> str:
    with pytest.raises(NotPackaged) as caught:
        convert(folder, model, rows)
    assert not (folder / "model").exists()
    return str(caught.value)


def test_what_cannot_be_converted_is_refused_with_the_other_runtime(tmp_path: Path) -> None:
    boosting = HistGradientBoostingClassifier(max_iter=2).fit(IRIS.data, SPECIES)
    error = refusal(tmp_path, boosting, IRIS.data[::5])
    assert "skl2onnx cannot convert the model" in error
    assert error.endswith("--runtime scikit-learn.")
    several = MultiOutputClassifier(LogisticRegression(max_iter=1000))
    several.fit(IRIS.data, np.column_stack([SPECIES, SPECIES]))
    assert "multi-output-classification" in refusal(tmp_path, several, IRIS.data[::5])


def test_a_conversion_that_differs_at_a_threshold_is_refused(tmp_path: Path) -> None:
    """A scaler before a tree computes with float32 in ONNX, on the other side of a threshold."""
    generator = np.random.default_rng(0)
    rows = generator.uniform(0, 1e6, (400, 2)).round()
    target = rows[:, 0] % 7 * 100
    model = make_pipeline(StandardScaler(), DecisionTreeRegressor(random_state=0))
    error = refusal(tmp_path, model.fit(rows, target), rows)
    assert "predicts otherwise" in error or "is not the estimator" in error


def test_another_model_in_place_of_the_converted_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is right for the examples, and wrong in between."""
    model = DecisionTreeRegressor(random_state=0).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0])
    other = DecisionTreeRegressor(random_state=0).fit([[0.0], [2.0], [1.5]], [0.0, 0.0, 1.0])
    to_onnx = convert_to_onnx._to_onnx
    monkeypatch.setattr(convert_to_onnx, "_to_onnx", lambda _, types: to_onnx(other, types))
    error = refusal(tmp_path, model, np.array([[0.0], [2.0], [0.1]]))
    assert "the converted model predicts otherwise than the estimator for {'c0': " in error


# Files of ONNX as they are


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], *weights: Any
) -> Path:
    graph = onnx.helper.make_graph(nodes, "graph", inputs, outputs, list(weights))
    opsets = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def value(name: str, kind: int, *shape: Any) -> Any:
    return onnx.helper.make_tensor_value_info(name, kind, list(shape))


def weights(name: str, array: Any) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(array, dtype=np.float32), name)


def network(path: Path, *, softmax: bool = True) -> Path:
    """A network of two columns and three classes, as PyTorch exports one."""
    nodes = [onnx.helper.make_node("Gemm", ["rows", "w", "b"], ["scores"])]
    if softmax:
        nodes.append(onnx.helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1))
    last = "probabilities" if softmax else "scores"
    return save(
        path,
        nodes,
        [value("rows", FLOAT, "n", 2)],
        [value(last, FLOAT, "n", 3)],
        weights("w", [[1, -1, 0.5], [0.25, 2, -1]]),
        weights("b", [0, 0.5, 1]),
    )


ROWS = '[{"x": 0.5, "y": 1}, {"x": 3, "y": 0}, {"x": 0, "y": -2}]'


def take(file: Path, rows: str = ROWS, **options: Any) -> LoadedModel:
    package(file, rows, file.parent / "model", runtime="onnx", **options)
    return load_directory(file.parent / "model", 2**24)


def test_a_network_is_taken_with_the_names_of_its_classes(tmp_path: Path) -> None:
    file = network(tmp_path / "network.onnx")
    loaded = take(file, classes=["u", "v", "w"])
    assert (tmp_path / "model" / "model.onnx").read_bytes() == file.read_bytes()
    assert [p["label"] for p in predictions(loaded, [[0.5, 1.0], [3.0, 0.0]])] == ["v", "u"]
    scores = take(network(tmp_path / "scores.onnx", softmax=False), outputs=["p", "q", "r"])
    assert scores.manifest.signature.task == "regression"
    assert predictions(scores, [[0.0, 0.0]]) == [[0.0, 0.5, 1.0]]


def test_a_model_with_an_input_for_each_column(tmp_path: Path) -> None:
    """The columns are those of the inputs, in their order; the text is compared."""
    nodes = [
        onnx.helper.make_node("Equal", ["plan", "pro"], ["is_pro"]),
        onnx.helper.make_node("Cast", ["is_pro"], ["number"], to=FLOAT),
        onnx.helper.make_node("Mul", ["number", "age"], ["product"]),
    ]
    pro = onnx.helper.make_tensor("pro", STRING, [1, 1], ["pro"])
    inputs = [value("plan", STRING, "n", 1), value("age", FLOAT, "n", 1)]
    file = save(tmp_path / "m.onnx", nodes, inputs, [value("product", FLOAT, "n", 1)], pro)
    loaded = take(file, '[{"age": 3, "plan": "pro"}, {"age": 2, "plan": "basic"}]')
    assert loaded.manifest.signature.columns == ["plan", "age"]
    assert predictions(loaded, [["pro", 5.0], ["plus", 5.0]]) == [5.0, 0.0]


def labels_and_probabilities(path: Path) -> Path:
    nodes = [
        onnx.helper.make_node("Gemm", ["rows", "w"], ["scores"]),
        onnx.helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        onnx.helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [value("label", INT64, "n"), value("probabilities", FLOAT, "n", 2)]
    inputs = [value("rows", FLOAT, "n", 2)]
    return save(path, nodes, inputs, outputs, weights("w", [[1, -1], [-1, 1]]))


def test_labels_of_a_file_are_named_by_its_owner(tmp_path: Path) -> None:
    file = labels_and_probabilities(tmp_path / "m.onnx")
    loaded = take(file, classes=["0", "1"])
    assert loaded.manifest.signature.classes == [0, 1]
    assert [p["label"] for p in predictions(loaded, [[2.0, 1.0], [1.0, 2.0]])] == [0, 1]


@pytest.mark.parametrize(
    ("classes", "error"),
    [
        (None, "a file of ONNX does not say which there are. Name them"),
        (["no", "yes"], "the model's labels are integers"),
        (["1", "0"], "in the order of the probabilities"),
        (["5", "6"], "none of those of --classes"),
    ],
)
def test_labels_that_are_not_the_model_s_are_refused(
    classes: list[str] | None, error: str, tmp_path: Path
) -> None:
    with pytest.raises(NotPackaged) as caught:
        take(labels_and_probabilities(tmp_path / "m.onnx"), classes=classes)
    assert error in str(caught.value)


def test_scores_are_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(NotPackaged, match="Softmax"):
        take(network(tmp_path / "m.onnx", softmax=False), classes=["u", "v", "w"])
    with pytest.raises(NotPackaged, match="the model has 3 outputs, and 1 were named"):
        take(network(tmp_path / "m.onnx", softmax=False), outputs=["p"])


def test_columns_that_are_not_the_model_s_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPackaged, match="--columns A,B"):
        take(network(tmp_path / "m.onnx"), '[{"x": 1, "y": 2, "z": 3}]', classes=["u", "v", "w"])


# Hostile files


def external(path: Path) -> bytes:
    """A model that keeps its weights in another file."""
    model = onnx.load(network(path / "network.onnx"))
    onnx.save(
        model,
        path / "external.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    return (path / "external.onnx").read_bytes()


def in_a_branch(path: Path) -> bytes:
    """The same in a graph inside of an attribute of a node."""
    inner = onnx.ModelProto.FromString(external(path)).graph
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return save(path / "m.onnx", [node], [], []).read_bytes()


def nested(_: Path) -> bytes:
    """Graphs in graphs in graphs."""
    data = b""
    for _ in range(MAX_DEPTH):
        for tag in (0x32, 0x2A, 0x0A):  # attribute.g, node.attribute, graph.node
            data = bytes([tag]) + varint(len(data)) + data
    return b"\x3a" + varint(len(data)) + data  # model.graph


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


HOSTILE: dict[str, tuple[Any, str]] = {
    "external data": (external, "keeps weights in other files"),
    "external data in a branch": (in_a_branch, "keeps weights in other files"),
    "nested graphs": (nested, "nested too deeply"),
    "a pickle": (lambda _: b"\x80\x04K\x01.", "it is a pickle"),
    "a web page": (lambda _: b"<html>", "it is a web page"),
    "a Git LFS pointer": (
        lambda _: b"version https://git-lfs.github.com/spec/v1\n",
        "git lfs pull",
    ),
    "nothing but a version": (lambda _: b"\x08\x0a", "not a valid ONNX model"),
    "a number without end": (lambda _: b"\x08" + b"\xff" * 20, "not a valid ONNX model"),
    "a length beyond the end": (lambda _: b"\x3a\xff\xff\xff\xff\x0f", "not a valid ONNX model"),
    "a group": (lambda _: b"\x3b", "not a valid ONNX model"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_before_a_parser_sees_it(kind: str, tmp_path: Path) -> None:
    make, error = HOSTILE[kind]
    with pytest.raises(load_errors.InvalidArtifact) as caught:
        check_model(make(tmp_path))
    assert error in str(caught.value)


def test_a_cut_model_is_refused(tmp_path: Path) -> None:
    data = network(tmp_path / "m.onnx").read_bytes()
    check_model(data)
    for end in range(len(data) - 1):
        try:
            check_model(data[:end])
        except load_errors.InvalidArtifact:
            continue
        # What is cut between two fields is a valid message: the parser must refuse it.
        (tmp_path / "cut.onnx").write_bytes(data[:end])
        with pytest.raises(NotPackaged):
            take(tmp_path / "cut.onnx", classes=["u", "v", "w"])


def absurd(path: Path) -> Path:
    """A tensor that should have 2**50 numbers and has one."""
    model = onnx.load(network(path))
    model.graph.initializer[0].dims[:] = [2**25, 2**25]
    path.write_bytes(model.SerializeToString())
    return path


def unknown_operator(path: Path) -> Path:
    nodes = [onnx.helper.make_node("NoSuchOperator", ["rows"], ["y"])]
    return save(path, nodes, [value("rows", FLOAT, "n", 2)], [value("y", FLOAT, "n", 1)])


@pytest.mark.parametrize("make", [absurd, unknown_operator])
def test_what_onnx_runtime_cannot_load_is_refused_in_one_line(make: Any, tmp_path: Path) -> None:
    with pytest.raises(NotPackaged, match="ONNX Runtime cannot load the artifact") as caught:
        take(make(tmp_path / "m.onnx"))
    assert str(caught.value).isprintable()


def test_a_hostile_file_with_the_right_checksum_is_refused_too(
    directory: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "model"))
    data = external(tmp_path)
    (copy / "model.onnx").write_bytes(data)
    document = json.loads((copy / "manifest.json").read_text())
    document["artifact"] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (copy / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(load_errors.InvalidArtifact, match="keeps weights in other files"):
        load_directory(copy, 2**24)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `network`, packaged."""
    folder = tmp_path_factory.mktemp("onnx")
    take(network(folder / "network.onnx"), classes=["u", "v", "w"])
    return folder / "model"


def test_a_changed_file_is_refused_by_its_checksum(directory: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "model"))
    data = bytearray((copy / "model.onnx").read_bytes())
    data[-1] ^= 1
    (copy / "model.onnx").write_bytes(data)
    with pytest.raises(load_errors.ChecksumMismatch):
        load_directory(copy, 2**24)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"inputs": [{"name": "x"}]}, load_errors.SignatureMismatch),
        ({"classes": ["u", "v"]}, load_errors.GoldenExampleFailed),
        ({"task": "clustering", "classes": None, "probabilities": False}, load_errors.LoadError),
    ],
)
def test_a_signature_that_is_not_the_model_s_is_refused(
    change: dict[str, Any], error: type[Exception], directory: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "model"))
    document = json.loads((copy / "manifest.json").read_text())
    document["signature"] |= change
    (copy / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(error):
        load_directory(copy, 2**24)


def test_an_older_manifest_without_the_runtime_s_release_is_refused(
    directory: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "model"))
    document = json.loads((copy / "manifest.json").read_text())
    del document["built_with"]["onnxruntime"]
    (copy / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(load_errors.LibraryMissing, match="onnxruntime"):
        load_directory(copy, 2**24)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_served_by_forked_workers_without_scikit_learn(directory: Path, workers: int) -> None:
    if workers > 1 and sys.platform != "linux":
        pytest.skip("workers need Linux")
    patches = (
        "import sys\n"
        "for name in ('sklearn', 'skops', 'pandas', 'scipy', 'joblib'): sys.modules[name] = None\n"
    )
    with Service(directory, patches=patches, workers=workers) as service:
        for _ in range(10):
            answer = service.request("POST", "/predict", json={"instances": [{"x": 0.5, "y": 1}]})
            assert answer.json()["predictions"][0]["label"] == "v"
        assert service.stop() == 0


def test_the_command_takes_the_runtime(tmp_path: Path) -> None:
    network(tmp_path / "network.onnx")
    ended = run(
        *("model", "package", str(tmp_path / "network.onnx"), "--runtime", "onnx"),
        *("--classes", "u,v,w", "--examples", ROWS, "--model-dir", str(tmp_path / "model")),
    )
    assert ended.returncode == 0, ended.stdout
    assert "layout array, classification of u, v, w, with probabilities" in ended.stdout
