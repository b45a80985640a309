"""skops is imported without `all_estimators`, and trusts the same estimators."""

import sys
import zipfile
from pathlib import Path

import pytest
import skops.io
from serving_engine.runtimes.scikit_learn import skops_io
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils import all_estimators

from .service import run_script


def full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def test_public_estimators_are_those_of_all_estimators() -> None:
    listed = {full_name(kind) for _, kind in all_estimators()}
    assert len(listed) > 100
    defined = {
        f"{module}.{name}"
        for module in list(sys.modules)
        if module.split(".")[0] == "sklearn"
        for name, kind in vars(sys.modules[module]).items()
        if isinstance(kind, type)
    }
    assert listed <= defined
    assert skops_io.public_estimators(defined) == listed


@pytest.mark.parametrize(
    "name",
    [
        full_name(BaseEstimator),
        "sklearn.linear_model._logistic.LogisticRegression.fit",
        "sklearn.linear_model.LogisticRegression",
        "sklearn.linear_model._logistic.Missing",
        "sklearn.missing._logistic.LogisticRegression",
        "sklearn.preprocessing._function_transformer._identity",
        "sklearn.base.clone",
        "os.getcwd",
        "sklearn",
    ],
)
def test_no_other_type_is_a_public_estimator(name: str) -> None:
    assert skops_io.public_estimators([name]) == set()


SCRIPT = """
import sys
from pathlib import Path
from serving_engine.runtimes.scikit_learn import skops_io
import sklearn.utils
for file in sys.argv[1:]:
    data = Path(file).read_bytes()
    print(skops_io.untrusted_types(data))
    try: print(type(skops_io.loads(data, [])).__name__)
    except skops_io.UntrustedTypesFoundException: print("untrusted")
    print("sklearn.gaussian_process" in sys.modules)
print(len(sklearn.utils.all_estimators()) > 100)
"""


def test_a_file_is_loaded_without_importing_all_of_scikit_learn(tmp_path: Path) -> None:
    """In a new process, which has not imported skops yet. A type whose name is escaped in the
    schema is not trusted."""
    file = tmp_path / "model.skops"
    escaped_file = tmp_path / "escaped.skops"
    skops.io.dump(LogisticRegression(), file)
    with zipfile.ZipFile(file) as archive:
        schema = archive.read("schema.json").decode()
    escaped = schema.replace('"LogisticRegression"', '"Logistic\\u0052egression"')
    assert escaped != schema
    with zipfile.ZipFile(escaped_file, "w") as archive:
        archive.writestr("schema.json", escaped)
    output = run_script(SCRIPT, file, escaped_file).splitlines()
    assert output[:3] == ["[]", "LogisticRegression", "False"]
    assert output[4:] == ["untrusted", "False", "True"]
