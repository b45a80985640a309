"""The base class of a model in the runtime `python`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import ArrayLike

from ...schema.signature import Label, Layout

Answer = Mapping[str, Any] | ArrayLike
"""What `PythonModel.predict` returns: see there."""


class PythonModel(ABC):
    """A model that your own code runs. Derive a class from it, with `load` and `predict`.

    The engine makes one object for each process, calls `load` once, and then `predict` for batches,
    from one thread at a time unless `model package` finds that several threads get equal
    predictions.
    """

    classes: Sequence[Label] = ()
    """The labels of a classifier, in the order of its probabilities: strings, integers or booleans.
    `load` may set them."""

    outputs: Sequence[str] = ()
    """Names of the values of a regressor that predicts several."""

    layout: ClassVar[Layout | None] = None
    """The form of the rows that `predict` gets: `array`, `frame` or `text`. By default an array if
    all columns are numbers or booleans, texts if the only column has strings, else a frame."""

    fork_safe: ClassVar[bool] = True
    """Whether forked processes may share the loaded model. If not, each worker loads its own, and
    needs memory for it. Libraries that start threads, or hold a connection or a GPU, are not."""

    thread_safe: ClassVar[bool] = True
    """Whether several threads may call `predict` at once: `model package` tests it. Set it to False
    to be called from one thread only, whatever a test shows."""

    def load(self, directory: Path) -> None:  # noqa: B027 - a model may need no files
        """Load the model from its files.

        directory: holds a copy of each file that was packaged, which nobody can change. It is
        deleted after this call; what the process has mapped into its memory stays readable.
        Any exception ends the start of the service, with its message in one line.
        """

    @abstractmethod
    def predict(self, rows: Any) -> Answer:
        """Predict n rows.

        rows: by layout, an array (n, columns) of float64, NaN for null; a DataFrame of n rows, its
        columns as in the examples that were packaged; or a list of n strings.

        Returns n predictions. The names of the arrays decide the task:

        - `{"probabilities": (n, classes)}`, or `{"labels": (n,)}`, or both: classification. Without
          labels, the class with the highest probability is the label.
        - `{"indicators": (n, classes) of booleans}`, and `probabilities` if there are any:
          multilabel classification.
        - `{"values": (n,) or (n, outputs)}`, or that array alone: regression.
        - `{"clusters": (n,) of integers}`: clustering.
        - `{"scores": (n,)}`, negative for outliers, and `{"outliers": (n,) of booleans}` if they
          are not the negative scores: outlier detection.

        An exception is answered with status 500. No row may change the prediction of another one;
        if `model package` finds that one does, requests are never batched.
        """
