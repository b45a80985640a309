"""Rows that are held by column: what reads them as rows finds the rows of a request."""

import numpy as np
import pytest
from serving_engine.runtimes.inputs import input_builder
from serving_engine.schema.cell_columns import CellColumns
from serving_engine.schema.signature import Cell, Column, Signature

ROWS: list[list[Cell]] = [[1.5, 7, True, "Rio"], [None, 8, False, None], [2.0, 9, True, "Bern"]]


@pytest.fixture
def columns() -> CellColumns:
    return CellColumns(
        [
            np.array([1.5, np.nan, 2.0]),
            np.array([7, 8, 9]),
            np.array([True, False, True]),
            np.array(["Rio", None, "Bern"], dtype=object),
        ]
    )


def test_rows_have_the_types_of_json(columns: CellColumns) -> None:
    assert len(columns) == 3
    assert repr(list(columns)) == repr(ROWS)
    assert [repr(columns[number]) for number in (0, 1, -1)] == [
        repr(ROWS[number]) for number in (0, 1, -1)
    ]
    assert repr(list(columns[1:])) == repr(ROWS[1:])
    assert np.array(columns, dtype=object).tolist() == ROWS


def test_a_dataframe_is_the_same_by_column_and_by_row(columns: CellColumns) -> None:
    pandas = pytest.importorskip("pandas")
    dtypes = {"a": "float64", "n": "int64", "yes": "bool", "place": "string"}
    inputs = [
        Column.model_validate({"name": name, "dtype": dtype, "nullable": True})
        for name, dtype in dtypes.items()
    ]
    build = input_builder(Signature(layout="frame", inputs=inputs, task="regression"))
    pandas.testing.assert_frame_equal(build(columns), build(ROWS))
