"""The types that a manifest may name as trusted, besides those that skops trusts by itself.

A manifest alone cannot make a type trusted: the type must be listed in `REVIEWED`, or the owner's
`transformers.py` must define it.
"""

from collections.abc import Iterable
from importlib import import_module

from ...model_files.load_errors import UntrustedTypes
from ...text import reason

_DISTANCES = (
    "BrayCurtis",
    "Canberra",
    "Chebyshev",
    "Euclidean",
    "Hamming",
    "Haversine",
    "Mahalanobis",
    "Manhattan",
    "Minkowski",
    "SEuclidean",
)

REVIEWED = frozenset(
    {
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.impute._iterative.IterativeImputer",
        "sklearn.impute._iterative._ImputerTriplet",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
        "xgboost.sklearn.XGBRegressor",
        *(f"sklearn.metrics._dist_metrics.{name}Distance64" for name in _DISTANCES),
    }
)
"""Types that skops 0.16 reports for estimators of scikit-learn and for the scikit-learn classes of
XGBoost and LightGBM, and that are plain data if the artifact comes from the owner of the service:
fitted trees, neighbour indices, losses, calibrations, and boosters, which their libraries read from
their own formats. No function and no other type that can run code is listed."""


def check_trusted(names: Iterable[str], transformers: str | None) -> None:
    """Raise UntrustedTypes at the first type that a manifest may not name as trusted.

    transformers: name of the owner's module whose classes may be trusted.
    """
    for name in names:
        if name not in REVIEWED and not _is_transformer(name, transformers):
            raise UntrustedTypes(
                f"the type {name} may not be part of a model",
                remedy="Use a class that transformers.py defines, or review the type and add it to "
                "REVIEWED in serving_engine/runtimes/scikit_learn/trusted_types.py.",
            )


def _is_transformer(name: str, transformers: str | None) -> bool:
    """Whether the owner's module defines the class; a class that it only imports is not trusted."""
    module, _, attribute = name.rpartition(".")
    if transformers is None or module != transformers:
        return False
    try:
        attributes = vars(import_module(transformers))
    except Exception as error:
        raise UntrustedTypes(
            f"{transformers} cannot be imported ({reason(error)})", remedy="Fix the module."
        ) from error
    kind = attributes.get(attribute)
    return isinstance(kind, type) and kind.__module__ == module
