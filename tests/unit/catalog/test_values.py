"""A value becomes the text that its writer meant, or is refused with its place; numbers as ids lose nothing."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog.layout import Layout
from jobs.catalog.rows import RowMaker
from jobs.catalog.values import NO_ID_CHARACTER, Number, RoundedNumber, image_number, printable, texts_of
from jobs.errors import UsageError

COLUMNS = ("product_id", "image_uri", "title", "category", "updated_at", "group_id")


def texts(value: Any, column: str = "product_id") -> list[str]:
    return texts_of(value, column, "c.jsonl", "in line 3")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[(text, 1) for text in ("1", "01", "+1", "1.", "1.0", "1e0", "10e-1")],
        *[("0", 0), ("-0", 0), ("1e3", 1000), ("2147483647", 2**31 - 1)],
        *[(text, None) for text in ("", "-1", "1.5", "1_0", "1d", "0x1", "inf", "nan", "one", "\u0661", "1e-3", " 1")],
        *[(text, None) for text in ("2147483648", "1e99", "1e999999999999999999999", "0e999999999999999999999x")],
    ],
)
def test_a_number_of_an_image_is_read_by_one_rule(text: str, number: int | None) -> None:
    """Rows 1 and 01 of one product clash, at night and in `catalog check`; Python's and Java's floats are none."""
    assert image_number(text) == number


def row(**values: Any) -> tuple[Any, ...]:
    """The only row of a record: product_id, image_no, image_uri, title, category, updated_at, group_id."""
    record = {"product_id": "p", "image_uri": "a.jpg", **values}
    (only,) = RowMaker(list(record), Layout("jsonl"), "c.jsonl").rows(list(record.values()), 3, 0)
    return only[:7]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Number("12345678.0"), "12345678"),
        (Number("1.2345678E7"), "12345678"),
        (Number("1e3"), "1000"),
        (Number("-0.0"), "0"),
        (Number("0012"), "0012"),
        (Number("12345678901234567890"), "12345678901234567890"),
        (Number("9007199254740991.0"), "9007199254740991"),
        (7.0, "7"),
        (7, "7"),
        (2**64 - 1, "18446744073709551615"),
        (Decimal("12345678.00"), "12345678"),
        (Decimal("123456789012345678901234567890.0"), "123456789012345678901234567890"),
        (Decimal("-0.00"), "0"),
        ("12345678.0", "12345678.0"),
        ("1e3", "1e3"),
        ("nan", "nan"),
        (b"caf\xc3\xa9", "caf\u00e9"),
        (True, "true"),
    ],
)
def test_a_number_as_an_id_is_written_whole_and_a_text_is_not_reinterpreted(value: Any, expected: str) -> None:
    assert texts(value) == [expected]
    assert texts(value, "group_id") == [expected]


@pytest.mark.parametrize(
    "value", [1.5, Number("0.1"), Number("1e-9"), Decimal("1.50"), float("inf"), Number("-Infinity")]
)
@pytest.mark.parametrize("column", ["product_id", "group_id"])
def test_a_fraction_is_no_id(value: Any, column: str) -> None:
    with pytest.raises(
        UsageError, match=rf"^catalog c.jsonl has in line 3 the number '.*' as {column}; an id is a text"
    ):
        texts(value, column)


@pytest.mark.parametrize(
    "value", [2.0**53, Number("9007199254740993.0"), Number("1e999999999"), RoundedNumber("16777216")]
)
def test_a_float_that_may_have_lost_digits_is_no_id(value: Any) -> None:
    """2**53 + 1 is 2**53 as a float, so two products would be one."""
    with pytest.raises(UsageError, match="as product_id, which may have lost digits"):
        texts(value)


@pytest.mark.parametrize("value", [float("nan"), Number("NaN"), Number("nan"), Decimal("NaN")])
def test_what_other_programs_write_for_a_missing_number_is_empty_and_no_product_id(value: Any) -> None:
    for column in ("title", "category", "group_id", "image_uri", "image_no"):
        assert texts(value, column) == [], column
    with pytest.raises(UsageError, match=r"the number '(?i:nan)' as product_id"):
        texts(value)


@given(st.integers(-(2**53) + 1, 2**53 - 1), st.sampled_from(["{}.0", "{}.000", "{}e0", "{}E+0", "{}0e-1"]))
def test_each_spelling_of_a_whole_number_is_the_same_id(number: int, spelling: str) -> None:
    assert texts(Number(spelling.format(number))) == [str(number)]
    assert texts(float(number)) == [str(number)]


@given(st.floats(allow_nan=False))
def test_a_float_is_its_own_whole_number_or_refused(number: float) -> None:
    try:
        (text,) = texts(number)
    except UsageError:
        assert number % 1 or abs(number) >= 2**53
    else:
        assert float(text) == number
        assert re.fullmatch("-?[0-9]+", text)


def test_numbers_keep_their_spelling_where_they_are_no_ids() -> None:
    assert texts(Number("1.50"), "title") == ["1.50"]
    assert texts(Number("2.0"), "image_no") == ["2.0"]
    assert texts(Decimal("1E+2"), "title") == ["100"]


def test_a_list_is_several_images_or_categories() -> None:
    assert texts(["b.jpg", None, " ", "a.jpg"], "image_uri") == ["b.jpg", "a.jpg"]
    assert texts(["Home, Garden", " Tops ", None], "category") == [r"Home\, Garden", "Tops"]
    assert row(category=["Home, Garden", "Tops"])[4] == r"Home\, Garden, Tops"
    assert [texts([], column) for column in COLUMNS] == [[]] * len(COLUMNS)


@pytest.mark.parametrize("column", ["product_id", "title", "updated_at", "group_id"])
@pytest.mark.parametrize("value", [["a"], ["a", "b"], {"en": "a"}, object()])
def test_what_is_no_single_text_is_refused(value: Any, column: str) -> None:
    with pytest.raises(UsageError, match=f"^catalog c.jsonl has in line 3 another {column} than a text or a number, a"):
        texts(value, column)


@pytest.mark.parametrize("column", ["image_uri", "category"])
@pytest.mark.parametrize("value", [{"a": 1}, [["a"]], [{"a": 1}]])
def test_a_list_may_hold_texts_alone(value: Any, column: str) -> None:
    with pytest.raises(UsageError, match=f"has in line 3 another {column} than a text or a number, a"):
        texts(value, column)


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    with pytest.raises(UsageError, match=r"has in line 3 a title that is no UTF-8 \('caf\\\\xe9'\)"):
        texts(b"caf\xe9", "title")


@pytest.mark.parametrize(
    ("column", "limit"),
    [("product_id", 255), ("group_id", 255), ("title", 10_000), ("category", 10_000), ("updated_at", 100)],
)
def test_a_value_over_the_limit_of_its_column_is_refused_with_its_beginning(column: str, limit: int) -> None:
    place = {"product_id": 0, "title": 3, "category": 4, "updated_at": 5, "group_id": 6}[column]
    assert row(**{column: "x" * limit})[place] == "x" * limit
    with pytest.raises(UsageError) as caught:
        row(**{column: "y" * (limit + 1)})
    assert str(caught.value).startswith(
        f"catalog c.jsonl has in line 3 a {column} of {limit + 1:,} characters, over the limit of {limit:,} characters"
    )
    assert str(caught.value).count("y" * 5) == 80 // 5
    assert len(str(caught.value)) < 300


def test_ids_and_links_lose_the_white_space_around_them_and_nothing_else() -> None:
    around = "\u00a0\t\n p 1\u3000\r\n"
    assert row(product_id=around, image_uri=around, group_id=around)[:3] == ("p 1", "0", "p 1")
    assert row(group_id=around)[6] == "p 1"
    names = ["product_id", "image_uri"]
    made = RowMaker(names, Layout("jsonl"), "c.jsonl").rows(["p", [" a.jpg\u00a0", "\tb.jpg"]], 3, 0)
    assert [each[2] for each in made] == ["a.jpg", "b.jpg"]
    assert row(title=" a ")[3] == " a "
    assert row(product_id="\u00a0")[0] is None


def test_control_characters_of_texts_are_replaced() -> None:
    assert printable("a\x00b\x1bc\x7fd\x85e\x9bf\u2028g") == "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf\ufffdg"
    kept = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u200f\U0001f469\u200d\U0001f4bb \u00a0\u00ad"
    assert printable(kept) == kept


@pytest.mark.parametrize(
    "mark", ["\x00", "\x1f", "\x7f", "\x80", "\x9f", "\u200b", "\u202e", "\u2066", "\u2028", "\ufeff"]
)
def test_a_control_or_invisible_mark_is_no_part_of_an_id(mark: str) -> None:
    assert re.search(NO_ID_CHARACTER, f"p{mark}1")


def test_letters_and_joiners_of_all_scripts_are_parts_of_an_id() -> None:
    for text in (
        "p 1",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "caf\u00e9",
        "\u5546\u54c1",
        "\U0001f469\u200d\U0001f4bb",
        "a\u00a0b",
    ):
        assert not re.search(NO_ID_CHARACTER, text), text


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=6
    )
)
def test_no_value_of_any_type_ends_in_another_error(value: Any) -> None:
    for column in (*COLUMNS, "image_no"):
        try:
            found = texts(value, column)
        except UsageError as error:
            assert str(error).isprintable()
        else:
            assert all(isinstance(text, str) and text for text in found)
