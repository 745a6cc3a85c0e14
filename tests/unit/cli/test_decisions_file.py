"""A file of decisions is not trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli.decisions_file import read_decisions, read_products
from jobs.errors import UsageError


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[" * 100_000, "has a line that is nested too deep; expected one decision a line"),
        ('{"product_id": ' + "9" * 5000 + "}", "cannot be read"),
        ("{", "cannot be read"),
    ],
    ids=["nested", "digits", "cut"],
)
def test_a_line_that_is_no_decision_was_a_traceback(line: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text(line, encoding="utf-8")
    with pytest.raises(UsageError, match=sentence):
        read_decisions(file, "ada")


def test_a_file_of_a_spreadsheet_has_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_bytes(b"\xef\xbb\xbfproduct_id,category_id\np1,a.b\n")
    assert [each.product_id for each in read_decisions(file, "ada")] == ["p1"]


def read(tmp_path: Path, name: str, text: str, encoding: str = "utf-8") -> list[tuple[str, str | None, str | None]]:
    (tmp_path / name).write_text(text, encoding=encoding, newline="")
    return [(each.product_id, each.category_id, each.why) for each in read_decisions(tmp_path / name, "ada")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.csv", "Product_ID, CATEGORY_ID ,Why\r\np1, a.b ,\r\n7,c,so\r\n"),
        ("d.csv", "product id;category-id;why\np1;a.b;\n7;c;so\n"),
        ("d.csv", 'sep=;\n"product_id";"category_id";"why"\np1;a.b;\n7;c;so\n'),
        ("d.tsv", "product_id\tcategory_id\twhy\np1\ta.b\t\n7\tc\tso\n"),
        ("d.csv", "category_id,product_id,why\n,,\na.b,p1,,,\n\n , ,\nc,7,so\n,,\n"),
        (
            "d.jsonl",
            '{"Product_ID": "p1", "category_id": "a.b"}\n\n{"product_id": 7.0, "category_id": "c", "why": "so"}\n',
        ),
        (
            "d.JSONL",
            '\ufeff{"product_id": "p1", "category_id": "a.b"}\n{"product_id": 7, "category_id": "c", "why": "so"}',
        ),
    ],
)
def test_what_spreadsheets_make_of_a_file_was_refused(name: str, text: str, tmp_path: Path) -> None:
    assert read(tmp_path, name, text) == [("p1", "a.b", None), ("7", "c", "so")]


def test_unicode_text_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, "d.txt", "product_id\tcategory_id\np1\t靴.長靴\n", "utf-16")
    assert found == [("p1", "靴.長靴", None)]


QUEUE = "product_id,suggested_category_id,suggested_category_path,confidence"


def test_the_review_queue_with_a_filled_column_is_taken_as_it_is(tmp_path: Path) -> None:
    """Rows in which nobody decided stay in the queue; --safe puts apostrophes before what looks like a formula."""
    text = f"\ufeff{QUEUE},category_id\np1,a,A,0.5,b\np2,a,A,0.6,\n'-7,a,A,0.6,a\n'x,a,A,0.6,a\n"
    assert read(tmp_path, "d.csv", text) == [("p1", "b", None), ("-7", "a", None), ("'x", "a", None)]
    assert read_products(tmp_path / "d.csv") == ["p1", "-7", "'x"], "the products of an import, to take it back"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (
            "d.csv",
            f"{QUEUE}\np1,a,A,0.5\n",
            "suggested_category_id and no column category_id; add the column category_id",
        ),
        ("d.csv", f"{QUEUE},category_id\np1,a,A,0.5,\n", "no category_id in any row; fill the column category_id"),
        ("d.csv", "sku,category_id\np1,a\n", r"no column product_id in its first line, which has 'sku', 'category_id'"),
        ("d.csv", "", "no column product_id in its first line, which has nothing"),
        ("d.csv", "product_id,category_id,Product ID\np1,a,p2\n", "two columns product_id; leave one of them out"),
        (
            "d.csv",
            "product_id,category_id,why\np1,a,\n\np2,b,it has, laces\n",
            "line 4 of .* has 4 cells .* has 3; put",
        ),
        ("d.csv", "product_id;category_id\n;;\np1;a\np2;\n", r"row 2 \(line 4\) of .* has no category_id"),
        ("d.csv", "product_id,category_id\np1\n", r"row 1 \(line 2\) of .* has no category_id"),
        (
            "d.jsonl",
            '{"product_id": 7.5, "category_id": "a"}',
            r"row 1 \(line 1\) of .* has a product_id that is no text",
        ),
        ("d.jsonl", '{"product_id": 9007199254740992.0, "category_id": "a"}', "has a product_id that is no text"),
        ("d.jsonl", '{"product_id": NaN, "category_id": "a"}', "has a product_id that is no text"),
        ("d.jsonl", '{"product_id": "p", "category_id": 7.0}', "has a category_id that is no text"),
        ("d.jsonl", '{"product_id": true, "category_id": "a"}', "has a product_id that is no text"),
        ("d.jsonl", "[]", r"row 1 \(line 1\) of .* has no product_id"),
        ("d.csv", "product_id,category_id\n", "holds no decision"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        read(tmp_path, name, text)


def test_products_to_clear_need_no_category(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("Product_ID\np1\n\np2\np1\n")
    assert read_products(tmp_path / "p.csv") == ["p1", "p2"]
    (tmp_path / "p.csv").write_text("product_id\n\n")
    with pytest.raises(UsageError, match="names no product; it needs rows with product_id"):
        read_products(tmp_path / "p.csv")
