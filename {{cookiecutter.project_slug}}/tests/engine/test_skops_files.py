"""skops is imported without its walk through scikit-learn; what it trusts stays the same."""

import sys
import zipfile
from pathlib import Path

import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils import all_estimators

import {{ cookiecutter.__package_name }} as package
from {{ cookiecutter.__package_name }}.artifact.runtimes import skops_files

from .service import run_script


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def test_public_estimators_are_those_that_scikit_learn_lists() -> None:
    listed = {name_of(kind) for _, kind in all_estimators()}
    assert len(listed) > 100
    defined = {
        f"{module}.{name}"
        for module in list(sys.modules)
        if module.split(".")[0] == "sklearn"
        for name, kind in vars(sys.modules[module]).items()
        if isinstance(kind, type)
    }
    assert listed <= defined
    assert skops_files.public_estimators(defined) == listed


@pytest.mark.parametrize(
    "name",
    [
        name_of(BaseEstimator),
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
def test_nothing_else_is_one(name: str) -> None:
    assert skops_files.public_estimators([name]) == set()


SCRIPT = f"""
import sys
from pathlib import Path
from {package.__name__}.artifact.runtimes import skops_files
import sklearn.utils
for file in sys.argv[1:]:
    data = Path(file).read_bytes()
    print(skops_files.untrusted_types(data))
    try: print(type(skops_files.loads(data, [])).__name__)
    except skops_files.UntrustedTypesFoundException: print("refused")
    print("sklearn.gaussian_process" in sys.modules)
print(len(sklearn.utils.all_estimators()) > 100)
"""


def test_a_file_is_read_without_the_rest_of_scikit_learn(tmp_path: Path) -> None:
    """In a process that has not imported skops in any other way. What the list of a file's types
    does not show is not trusted."""
    file, hiding = tmp_path / "model.skops", tmp_path / "hiding.skops"
    skops.io.dump(LogisticRegression(), file)
    with zipfile.ZipFile(file) as archive:
        schema = archive.read("schema.json").decode()
    hidden = schema.replace('"LogisticRegression"', '"Logistic\\u0052egression"')
    assert hidden != schema
    with zipfile.ZipFile(hiding, "w") as archive:
        archive.writestr("schema.json", hidden)
    said = run_script(SCRIPT, file, hiding).splitlines()
    assert said[:3] == ["[]", "LogisticRegression", "False"]
    assert said[4:] == ["refused", "False", "True"]
