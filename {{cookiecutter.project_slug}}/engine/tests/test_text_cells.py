"""The cells of a table of text: missing values, booleans, numbers and strings."""

import math
from io import StringIO

import pytest
from serving_engine.schema.signature import Cell, Column
from serving_engine.schema.text_cells import MISSING, parse_cell, parse_number, read_table


def column(dtype: str, nullable: bool = True) -> Column:
    return Column.model_validate({"name": "a", "dtype": dtype, "nullable": nullable})


@pytest.mark.parametrize("dtype", ["float64", "int64", "bool"])
@pytest.mark.parametrize("text", sorted(MISSING))
def test_a_missing_value_is_null_also_in_a_column_that_is_not_nullable(
    text: str, dtype: str
) -> None:
    """The request parser then names the column, as for any other null."""
    assert parse_cell(text, column(dtype)) is None
    assert parse_cell(text, column(dtype, nullable=False)) is None


@pytest.mark.parametrize("text", sorted(MISSING))
def test_a_word_for_a_missing_value_is_null_in_a_nullable_column_of_strings(text: str) -> None:
    assert parse_cell(text, column("string")) is None
    assert parse_cell(text, column("string", nullable=False)) == text


@pytest.mark.parametrize("text", sorted(MISSING))
def test_a_word_that_the_model_knows_as_a_category_is_none(text: str) -> None:
    known = column("string").model_copy(update={"words": [text]})
    assert parse_cell(text, known) == text


def test_the_words_for_missing_values_are_those_of_pandas() -> None:
    parsers = pytest.importorskip("pandas._libs.parsers")
    assert MISSING == parsers.STR_NA_VALUES


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_is_read_with_the_delimiter_of_its_first_line(delimiter: str, mark: str) -> None:
    text = f'{mark}a,"b, c"{delimiter}d\n\n1{delimiter}"2\n3"\n'.replace("a,", f"a{delimiter}")
    found, lines = read_table(StringIO(text, newline=""))
    assert found == delimiter
    assert list(lines) == [["a", "b, c", "d"], ["1", "2\n3"]]


@pytest.mark.parametrize(
    ("text", "dtype", "cell"),
    [
        ("1", "float64", 1.0),
        ("-1.5e3", "float64", -1500.0),
        (" 2 ", "float64", 2.0),
        ("7", "int64", 7),
        ("7.0", "int64", 7.0),
        ("1e3", "int64", 1000.0),
        (" +9007199254740993 ", "int64", 2**53 + 1),
        ("7.5", "int64", 7.5),
        ("true", "bool", True),
        ("FALSE", "bool", False),
        ("1", "string", "1"),
        ("true", "string", "true"),
    ],
)
def test_a_field_becomes_a_value_of_its_columns_type(text: str, dtype: str, cell: Cell) -> None:
    parsed = parse_cell(text, column(dtype))
    assert parsed == cell
    assert type(parsed) is type(cell)


def test_an_integer_of_more_than_53_bits_is_exact() -> None:
    assert parse_cell(str(2**53 + 1), column("int64")) == 2**53 + 1


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("x", "float64"),
        ("1,5", "float64"),
        ("18_25", "float64"),
        ("\u0661", "float64"),
        ("1_000", "int64"),
        ("yes", "bool"),
        ("1", "bool"),
    ],
)
def test_a_field_of_another_type_stays_text(text: str, dtype: str) -> None:
    assert parse_cell(text, column(dtype)) == text


def test_a_number_is_parsed_or_none() -> None:
    assert parse_number("1e3") == 1000.0
    assert parse_number("inf") == math.inf
    assert parse_number("") is None
    assert parse_number("one") is None
    assert parse_number("1_000") is None
