"""Tables of text are read as their owners' pandas reads them, from the file to the HTTP answer.

Each pipeline is one that people publish with its data; the data here is made alike.
"""

import json
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_engine.build_model import row_files
from serving_engine.build_model.build import package
from serving_engine.build_model.builder import Trust
from serving_engine.errors import UsageError
from serving_engine.model_files.manifest import Manifest, read_manifest
from serving_engine.runtimes.load import load_directory
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)

from .example_service.app import create_app
from .example_service.settings import Settings
from .models import predict_rows

pandas = pytest.importorskip("pandas")

SIZE = 80
random = np.random.default_rng(0)


def pick(*values: Any) -> Any:
    return random.choice(np.array(values, dtype=object), SIZE)


def numbers(low: float, high: float, digits: int = 0) -> Any:
    return random.uniform(low, high, SIZE).round(digits)


def with_gaps(values: Any, word: str) -> list[Any]:
    return [word if number % 7 == 0 else value for number, value in enumerate(values)]


def house_prices() -> tuple[str, Any]:
    """Words for "there is none" that pandas takes for missing values, and gaps among numbers."""
    table = pandas.DataFrame(
        {
            "Id": range(SIZE),
            "MSSubClass": pick(20, 60, 120),
            "LotFrontage": with_gaps(numbers(20, 150), "NA"),
            "LotArea": numbers(1000, 20000).astype(int),
            "Alley": pick("NA", "Pave", "Grvl"),
            "BsmtQual": pick("Gd", "TA", "Ex", "NA"),
            "PoolQC": pick("NA", "NA", "NA", "Gd"),
            "MasVnrType": pick("None", "BrkFace", "Stone"),
            "SalePrice": numbers(50000, 400000),
        }
    )
    text = table.to_csv(index=False)
    rows = pandas.read_csv(StringIO(text))
    numeric = rows.drop(columns=["Id", "SalePrice"]).select_dtypes("number").columns
    texts = rows.select_dtypes(exclude="number").columns
    encode = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore"),
    )
    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numeric),
            ("texts", encode, texts),
        ]
    )
    model = make_pipeline(prepare, GradientBoostingRegressor(n_estimators=20, random_state=0))
    return text, model.fit(rows.drop(columns="SalePrice"), rows.SalePrice)


def churn() -> tuple[str, Any]:
    """Blank totals, which owners turn into numbers; yes and no; an id that nothing uses."""
    table = pandas.DataFrame(
        {
            "customerID": [f"{number:04}-ABCDE" for number in range(SIZE)],
            "gender": pick("Male", "Female"),
            "SeniorCitizen": pick(0, 1),
            "tenure": numbers(0, 72).astype(int),
            "InternetService": pick("DSL", "Fiber optic", "No"),
            "TotalCharges": with_gaps(numbers(18, 8000, 2), " "),
            "Churn": pick("Yes", "No"),
        }
    )
    table["TotalCharges"] = pandas.to_numeric(table.TotalCharges, errors="coerce")
    text = table.to_csv(index=False)
    rows = pandas.read_csv(StringIO(text))
    prepare = make_column_transformer(
        (OneHotEncoder(drop="if_binary"), ["gender", "InternetService"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["tenure", "TotalCharges"]),
        ("passthrough", ["SeniorCitizen"]),
    )
    model = make_pipeline(prepare, LogisticRegression())
    return text, model.fit(rows.drop(columns="Churn"), rows.Churn)


def credit() -> tuple[str, Any]:
    """Semicolons, and codes that are texts to the model."""
    table = pandas.DataFrame(
        {
            "status": pick("<0", "0<=X<200", ">=200", "no checking"),
            "duration": numbers(4, 60).astype(int),
            "purpose": pick("40", "41", "42", "43"),
            "zip": pick("02139", "01001", "90210"),
            "amount": numbers(250, 18000),
            "class": pick("good", "bad"),
        }
    )
    text = table.to_csv(index=False, sep=";")
    rows = pandas.read_csv(StringIO(text), sep=";", dtype={"purpose": str, "zip": str})
    prepare = make_column_transformer(
        (
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            ["status", "purpose", "zip"],
        ),
        remainder="passthrough",
    )
    model = make_pipeline(prepare, RandomForestClassifier(10, random_state=0))
    return text, model.fit(rows.drop(columns="class"), rows["class"])


def housing() -> tuple[str, Any]:
    """Gaps as empty fields, ratios of columns, and a category."""
    rooms = numbers(1, 6000)
    table = pandas.DataFrame(
        {
            "longitude": numbers(-124, -114, 2),
            "total_rooms": rooms,
            "total_bedrooms": with_gaps((rooms / 5).round(), ""),
            "population": numbers(3, 5000),
            "ocean_proximity": pick("INLAND", "NEAR BAY", "<1H OCEAN"),
            "median_house_value": numbers(15000, 500000),
        }
    )
    text = table.to_csv(index=False)
    rows = pandas.read_csv(StringIO(text))
    scale = make_pipeline(
        SimpleImputer(strategy="median"), FunctionTransformer(np.log1p), StandardScaler()
    )
    prepare = make_column_transformer(
        (scale, ["total_rooms", "total_bedrooms", "population"]),
        (OneHotEncoder(handle_unknown="ignore"), ["ocean_proximity"]),
        remainder=make_pipeline(SimpleImputer(), StandardScaler()),
    )
    model = make_pipeline(prepare, Ridge())
    return text, model.fit(rows.drop(columns="median_house_value"), rows.median_house_value)


def insurance() -> tuple[str, Any]:
    """Booleans of `get_dummies`, and no text left."""
    table = pandas.DataFrame(
        {
            "age": numbers(18, 64).astype(int),
            "bmi": numbers(16, 53, 2),
            "sex": pick("male", "female"),
            "smoker": pick("yes", "no"),
            "region": pick("northeast", "northwest", "southeast"),
            "charges": numbers(1100, 63000, 2),
        }
    )
    text = pandas.get_dummies(table, drop_first=True).to_csv(index=False)
    rows = pandas.read_csv(StringIO(text))
    model = make_pipeline(PolynomialFeatures(2), StandardScaler(), LinearRegression())
    return text, model.fit(rows.drop(columns="charges"), rows.charges)


def boosted() -> tuple[str, Any]:
    """Categories by name in a boosting, with gaps."""
    table = pandas.DataFrame(
        {"kind": pick(0, 1, 2), "size": with_gaps(numbers(0, 9, 1), "n/a"), "y": pick(0, 1)}
    )
    text = table.to_csv(index=False)
    rows = pandas.read_csv(StringIO(text))
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features=["kind"])
    return text, model.fit(rows[["kind", "size"]], rows.y)


PIPELINES: list[Callable[[], tuple[str, Any]]] = [
    house_prices,
    churn,
    credit,
    housing,
    insurance,
    boosted,
]


def package_table(
    folder: Path, text: str, model: Any, name: str = "rows.csv", **options: Any
) -> Any:
    """Package a model with a table as its examples; return the manifest and the progress."""
    (folder / name).write_text(text, encoding="utf-8")
    joblib.dump(model, folder / "model.joblib")
    lines: list[str] = []
    package(
        folder / "model.joblib",
        folder / name,
        folder / "model",
        name="model",
        version="1",
        trust=Trust(),
        progress=lines.append,
        **options,
    )
    return read_manifest(folder / "model"), lines


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_answers_over_http_are_those_of_the_estimator_on_what_pandas_reads(
    pipeline: Callable[[], tuple[str, Any]], tmp_path: Path
) -> None:
    text, model = pipeline()
    manifest, _ = package_table(tmp_path, text, model)
    columns = manifest.signature.columns
    texts = {column.name: "str" for column in manifest.signature.inputs if column.dtype == "string"}
    separator = ";" if ";" in text.partition("\n")[0] else ","
    rows = pandas.read_csv(StringIO(text), sep=separator, dtype=texts)
    predicted = model.predict(rows[list(model.feature_names_in_)]).tolist()
    records = json.loads(rows[columns].to_json(orient="records"))
    with TestClient(create_app(Settings(model_dir=tmp_path / "model"))) as client:
        answer = client.post("/predict", json={"instances": records})
    with redirect_stderr(StringIO()):
        loaded = load_directory(tmp_path / "model", 2**30)
        from_file = predict_rows(tmp_path / "rows.csv", loaded)
    for predictions in (answer.json()["predictions"], from_file):
        assert_predicted(predictions, predicted)


def assert_predicted(predictions: list[Any], expected: list[Any]) -> None:
    """Compare predictions as the service makes them with those of an estimator."""
    labels = [each["label"] if isinstance(each, dict) else each for each in predictions]
    if isinstance(expected[0], float):
        assert np.allclose(labels, expected, 1e-6)
    else:
        assert labels == expected


def test_words_for_missing_values_are_said_by_column(tmp_path: Path) -> None:
    text, model = house_prices()
    manifest, lines = package_table(tmp_path, text, model)
    (line,) = [line for line in lines if line.startswith("words for a missing value")]
    assert f"LotFrontage {len(range(0, SIZE, 7))}" in line
    assert "PoolQC" in line
    assert any(line == "columns that the model does not take: SalePrice" for line in lines)
    alley = next(column for column in manifest.signature.inputs if column.name == "Alley")
    assert alley.categories == ["Grvl", "Pave"]
    assert alley.nullable


def test_a_word_that_the_model_knows_as_a_category_stays_one(tmp_path: Path) -> None:
    text = "alley,area\n" + "".join(f"{'NA' if n % 2 else 'Pave'},{n}\n" for n in range(20))
    rows = pandas.read_csv(StringIO(text), keep_default_na=False)
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["alley"]), remainder="passthrough"),
        LinearRegression(),
    ).fit(rows, rows.area + (rows.alley == "NA") * 100)
    manifest, lines = package_table(tmp_path, text, model)
    assert manifest.signature.inputs[0].words == ["NA"]
    assert manifest.signature.inputs[0].categories == ["NA", "Pave"]
    assert not any("missing value" in line for line in lines)
    loaded = load_directory(tmp_path / "model", 2**30)
    predictions = predict_rows(tmp_path / "rows.csv", loaded)
    assert np.allclose(predictions, model.predict(rows))


@pytest.mark.parametrize(
    ("name", "separator", "mark"),
    [
        ("rows.csv", ";", ""),
        ("rows.tsv", "\t", ""),
        ("rows.txt", "|", ""),
        ("rows.csv", ",", "\ufeff"),
    ],
)
def test_separators_and_a_byte_order_mark_are_recognized(
    name: str, separator: str, mark: str, tmp_path: Path
) -> None:
    rows = pandas.DataFrame({"a": numbers(0, 1, 3), "b": numbers(0, 1, 3)})
    model = LinearRegression().fit(rows, rows.a)
    manifest, _ = package_table(
        tmp_path, mark + rows.to_csv(index=False, sep=separator), model, name
    )
    assert manifest.signature.columns == ["a", "b"]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    rows = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    with pytest.raises(UsageError, match="two columns are called a"):
        package_table(tmp_path, "a,b,a\n1,2,3\n4,5,6\n", LinearRegression().fit(rows, rows.a))


def test_a_cell_that_pandas_reads_otherwise_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        row_files, "parse_column", lambda texts, _: [float(t.replace("8", "9")) for t in texts]
    )
    rows = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    with pytest.raises(UsageError, match=r"row 1: column b is 8.* as pandas reads it, and 9\.0"):
        package_table(tmp_path, "a,b\n1,2\n4,8\n", LinearRegression().fit(rows, rows.a))


def test_predict_ignores_columns_that_the_model_does_not_take_and_says_so(tmp_path: Path) -> None:
    text, model = insurance()
    package_table(tmp_path, text, model)
    loaded = load_directory(tmp_path / "model", 2**30)
    notes: list[str] = []
    predict_rows(tmp_path / "rows.csv", loaded, notes.append)
    assert notes == ["ignored columns: charges"]
    pandas.read_csv(StringIO(text)).to_pickle(tmp_path / "rows.pkl")
    predict_rows(tmp_path / "rows.pkl", loaded, notes.append)
    assert len(notes) == 2


# Types of columns.


def test_booleans_are_served_as_an_array(tmp_path: Path) -> None:
    text, model = insurance()
    manifest, _ = package_table(tmp_path, text, model)
    assert manifest.signature.layout == "array"
    assert {column.dtype for column in manifest.signature.inputs} == {"float64", "bool"}
    assert "pandas" not in manifest.built_with


def age_in_days(frame: Any) -> Any:
    return (frame - pandas.Timestamp("2020-01-01", tz=frame.iloc[:, 0].dt.tz)).apply(
        lambda column: column.dt.days
    )


@pytest.mark.parametrize("zone", [None, "Europe/Oslo"])
def test_dates_are_a_type_of_column(
    zone: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .example_service import transformers

    monkeypatch.setattr(transformers, "age_in_days", age_in_days, raising=False)
    monkeypatch.setattr(age_in_days, "__module__", transformers.__name__)
    when = pandas.Series(pandas.date_range("2021-03-01", periods=30, freq="D", tz=zone))
    rows = pandas.DataFrame({"when": when, "size": np.arange(30.0)})
    prepare = make_column_transformer(
        (make_pipeline(FunctionTransformer(age_in_days), SimpleImputer()), ["when"]),
        remainder="passthrough",
    )
    model = make_pipeline(prepare, LinearRegression()).fit(rows, np.arange(30.0))
    joblib.dump(model, tmp_path / "model.joblib")
    rows.to_pickle(tmp_path / "rows.pkl")
    package(
        tmp_path / "model.joblib",
        tmp_path / "rows.pkl",
        tmp_path / "model",
        name="model",
        version="1",
        trust=Trust([f"{transformers.__name__}.age_in_days"], transformers.__name__),
    )
    manifest: Manifest = read_manifest(tmp_path / "model")
    column = manifest.signature.inputs[0]
    assert (column.dtype, column.timezone) == ("datetime", zone)
    with TestClient(create_app(Settings(model_dir=tmp_path / "model"))) as client:

        def predict(text: object) -> Any:
            body = {"instances": [{"when": text, "size": 40.0}]}
            return client.post("/predict", json=body)

        new = "2026-11-25T12:00:00" + ("+01:00" if zone else "")
        expected = model.predict(
            pandas.DataFrame(
                {
                    "when": [
                        pandas.Timestamp(new).tz_convert(zone) if zone else pandas.Timestamp(new)
                    ],
                    "size": [40.0],
                }
            )
        )
        assert np.allclose(predict(new).json()["predictions"], expected)
        wrong = ["yesterday", "2026-02-30", 5, "1500-01-01", "2026-11-25T12:00:00"]
        wrong[-1] += "" if zone else "+01:00"
        for text in wrong:
            response = predict(text)
            assert response.status_code == 422, text
            assert response.json()["errors"][0]["pointer"] == "/instances/0/when"
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Instances"]
        when_schema = schema["properties"]["instances"]["anyOf"][0]["items"]["properties"]["when"]
        assert "ISO 8601" in when_schema["description"]


def test_columns_that_may_be_null_may_be_left_out(tmp_path: Path) -> None:
    """Those that the model drops are among them."""
    rows = pandas.DataFrame(
        {"a": numbers(0, 1, 2), "unused": pick("x", "y"), "b": numbers(0, 1, 2)}
    )
    model = make_pipeline(
        make_column_transformer(("passthrough", ["a"]), (SimpleImputer(), ["b"])),
        LinearRegression(),
    ).fit(rows, rows.a)
    manifest, _ = package_table(tmp_path, rows.to_csv(index=False), model)
    assert [column.nullable for column in manifest.signature.inputs] == [False, True, True]
    with TestClient(create_app(Settings(model_dir=tmp_path / "model"))) as client:
        whole = {"a": 0.5, "unused": None, "b": None}
        expected = client.post("/predict", json={"instances": [whole]}).json()
        assert client.post("/predict", json={"instances": [{"a": 0.5}]}).json() == expected
        for row, pointer in (({"b": 1.0}, "a"), ({"a": 0.5, "c": 1.0}, "c")):
            response = client.post("/predict", json={"instances": [row]})
            assert response.status_code == 422
            assert response.json()["errors"][0]["pointer"] == f"/instances/0/{pointer}"
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Instances"]
        assert schema["properties"]["instances"]["anyOf"][0]["items"]["required"] == ["a"]


def test_texts_that_the_model_limits_are_said_or_refused(tmp_path: Path) -> None:
    rows = pandas.DataFrame({"a": np.arange(40.0), "city": np.resize(["Bern", "Oslo"], 40)})
    encode = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    model = make_pipeline(encode, LinearRegression())
    _, lines = package_table(tmp_path, rows.to_csv(index=False), model.fit(rows, rows.a))
    assert any(line.startswith("column city: the model knows 2 texts") for line in lines)
    names = rows.assign(city=[f"customer {number}" for number in range(40)])
    with pytest.raises(UsageError, match="nearly every example has its own"):
        package_table(tmp_path, names.to_csv(index=False), model.fit(names, rows.a))


def test_a_pipeline_that_was_fitted_with_pandas_output_is_given_it(tmp_path: Path) -> None:
    from sklearn import config_context

    rows = pandas.DataFrame({"a": np.arange(40.0), "city": np.resize(["Bern", "Oslo"], 40)})
    encode = ColumnTransformer(
        [("city", OneHotEncoder(sparse_output=False), ["city"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    scale = ColumnTransformer([("a", StandardScaler(), ["a"])], remainder="passthrough")
    with config_context(transform_output="pandas"):
        model = make_pipeline(encode, scale, LinearRegression()).fit(rows, rows.a)
        expected = model.predict(rows)
    manifest, lines = package_table(tmp_path, rows.to_csv(index=False), model)
    assert any("set_output(transform='pandas')" in line for line in lines)
    loaded = load_directory(tmp_path / "model", 2**30)
    cells = rows[manifest.signature.columns].astype(object).to_numpy().tolist()
    assert np.allclose(loaded.predict(cells).values, expected)


def test_rows_of_a_dict_vectorizer_need_no_pandas(tmp_path: Path) -> None:
    rows = pandas.DataFrame({"a": np.arange(40.0), "city": np.resize(["Bern", "Oslo"], 40)})
    model = make_pipeline(DictVectorizer(sparse=False), LinearRegression())
    model.fit(rows.to_dict("records"), rows.a)
    manifest, _ = package_table(tmp_path, rows.to_csv(index=False), model)
    assert manifest.signature.layout == "frame"
    assert "pandas" not in manifest.built_with
    texts = make_pipeline(TfidfVectorizer(), LinearRegression()).fit(rows.city, rows.a)
    manifest, _ = package_table(tmp_path, rows[["city"]].to_csv(index=False), texts)
    assert manifest.signature.layout == "text"
