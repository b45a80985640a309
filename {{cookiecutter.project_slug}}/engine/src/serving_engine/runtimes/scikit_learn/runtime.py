"""The scikit-learn runtime: estimators, XGBoost and LightGBM models from `.skops` files."""

from collections.abc import Mapping
from importlib import import_module

from ...model_files.manifest import Manifest
from ...model_files.zip_check import check_zip
from ..base import Predictor
from .versions import check_libraries, check_release


class ScikitLearnRuntime:
    """See `runtimes.base.Runtime`."""

    name = "scikit-learn"
    formats = frozenset({"skops"})

    def check_file(self, data: bytes, max_bytes: int) -> None:
        check_zip(data, max_bytes)

    def check_environment(self, built_with: Mapping[str, str]) -> str | None:
        note = check_release(built_with.get("scikit-learn"))
        check_libraries(built_with)
        return note

    def import_libraries(self) -> None:
        import_module(".loading", __package__)

    def load(self, data: bytes, manifest: Manifest, transformers: str | None) -> Predictor:
        # The import of scikit-learn takes seconds: errors of the checks before do not wait for it.
        from .loading import parse, wrap_estimator  # noqa: PLC0415

        estimator = parse(data, manifest.artifact.trusted_types, transformers)
        together = not manifest.probes.row_independent
        return wrap_estimator(estimator, manifest.signature, together=together)
