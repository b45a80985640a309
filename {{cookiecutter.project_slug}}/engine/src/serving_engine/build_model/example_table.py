"""Reads the examples of a model: the columns that it takes, as the model and pandas know them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..schema.signature import Column
from ..schema.text_cells import MISSING
from .builder import BuildOptions
from .examples import Examples, check_agreement, file_of, read_as_pandas, read_examples
from .infer_columns import column_names
from .row_files import TABLES

KnownTexts = Callable[[Sequence[str]], Mapping[str, frozenset[str]]]
"""From the names of columns to the texts that the model knows, by column."""


def read_example_table(
    options: BuildOptions, estimator: Any = None, known_texts: KnownTexts = lambda _: {}
) -> tuple[Examples, list[str]]:
    """Read the examples; return them with the names of the columns to use.

    estimator: may say which columns it takes: see `column_names`. Raises UsageError.
    """
    table = read_examples(options.examples)
    names = column_names(estimator, table, options.chosen)
    path = file_of(options.examples)
    if path is not None and path.suffix.lower() in TABLES:
        texts = [
            Column(name=name, dtype="string", nullable=True, words=sorted(known & MISSING))
            for name, known in known_texts(names).items()
        ]
        table = read_as_pandas(path, read_examples(path, texts) if texts else table, texts)
        check_agreement(table, names)
    missing = ", ".join(f"{name} {table.missing[name]}" for name in names if name in table.missing)
    if missing:
        options.progress(f"words for a missing value, such as NA, by column: {missing}")
    others = [str(name) for name in table.rows[0] if name not in names]
    if others:
        options.progress(f"columns that the model does not take: {', '.join(others[:10])}")
    return table, names
