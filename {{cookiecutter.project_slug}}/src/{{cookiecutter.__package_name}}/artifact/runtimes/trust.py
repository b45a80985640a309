"""Which types a manifest may name as trusted, beyond those that skops trusts by itself.

A manifest alone cannot make a type trusted: it must stand in `REVIEWED`, or be a class that the
project's `transformers.py` defines.
"""

from collections.abc import Iterable

from ..refusals import UntrustedTypes, reason

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
"""What skops 0.16 reports for scikit-learn's own estimators and for the scikit-learn classes of
XGBoost and LightGBM, where it is plain data when the artifact comes from the owner of the service:
fitted trees, neighbour indices, losses, calibrations; boosters, which their libraries read from
their own formats. Functions and whatever else can be made to run are not here."""


def check_trusted(names: Iterable[str]) -> None:
    """Raises UntrustedTypes at the first type that no manifest can make trusted."""
    for name in names:
        if name not in REVIEWED and not _is_own_class(name):
            raise UntrustedTypes(
                f"the type {name} may not be part of a model",
                remedy="Use a class that transformers.py defines, "
                "or review the type and add it to REVIEWED in artifact/runtimes/trust.py.",
            )


def _is_own_class(name: str) -> bool:
    """Whether transformers.py defines the class: what it imports does not become trusted."""
    module, _, attribute = name.rpartition(".")
    if module != f"{__package__.partition('.')[0]}.transformers":
        return False
    try:
        from ... import transformers  # noqa: PLC0415 - only for models that need it
    except Exception as error:
        raise UntrustedTypes(
            f"transformers.py cannot be imported ({reason(error)})", remedy="Repair it."
        ) from error
    kind = vars(transformers).get(attribute)
    return isinstance(kind, type) and kind.__module__ == module
