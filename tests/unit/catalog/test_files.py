"""What is wrong with a catalog's file is told with its line; what is sound is read to its last row."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jobs.catalog.errors import read_errors_explained
from jobs.catalog.forms.csv import read_csv
from jobs.catalog.forms.json_lines import read_json_lines
from jobs.catalog.forms.parquet import read_parquet
from jobs.catalog.layout import Layout
from jobs.errors import RunFailed, UsageError
from tests.unit.catalog.catalog_files import Read, Rows, rows_of, written


def rows(read: Read, path: Path, layout: Layout | None = None) -> Rows:
    """Every row of a file, without image_no and updated_at."""
    return rows_of(read, path, layout or Layout("csv"), "product_id", "image_uri", "title", "category")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_a_line_has_no_rows(tmp_path: Path, text: str) -> None:
    assert rows(read_csv, written(tmp_path / "c.csv", text)) == []
    assert rows(read_json_lines, written(tmp_path / "c.jsonl", text)) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"product_id": "p3", "image_uri": ', "has no JSON in line 3 (Expecting value at column "),
        ("{'product_id': 1}", "has no JSON in line 3 (Expecting property name"),
        ("p3,3.jpg", "has no JSON in line 3 "),
        ("[" * 100_000, "is nested too deep in line 3;"),
        ("7", "has something else than an object in line 3;"),
        ('["p3"]', "has something else than an object in line 3;"),
        ('{"product_id": ["p3"], "image_uri": "3.jpg"}', "has in line 3 another product_id than a text or"),
        ('{"product_id": "p3", "image_uri": {"a": "3.jpg"}}', "has in line 3 another image_uri than a text or"),
        ('{"product_id": "p3", "image_uri": "3.jpg", "Title": 1, "title": 2}', "names title twice in line 3;"),
    ],
)
def test_a_broken_line_of_json_is_refused_with_its_number(tmp_path: Path, line: str, words: str) -> None:
    text = '{"product_id": "p1", "image_uri": "1.jpg"}\n\n' + line + '\n{"product_id": "p4", "image_uri": "4.jpg"}\n'
    with pytest.raises(UsageError) as caught:
        rows(read_json_lines, written(tmp_path / "c.jsonl", text))
    assert str(caught.value).startswith(f"catalog {tmp_path}/c.jsonl {words}"), str(caught.value)


def test_valid_json_is_read_unchanged(tmp_path: Path) -> None:
    text = (
        '\ufeff{"product_id": 12345678901234567890, "image_uri": "1.jpg", "title": 1.50, "category": null}\n'
        '{"IMAGE_URI": "2.jpg", "product_id": "p\\ud800", "title": true, "category": ["Tops", "Home, Garden"]}\r\n'
        '[{"product_id": 1e3, "image_uri": ""}, {"product_id": "p4", "image_uri": "4.jpg", "more": []}]'
    )
    assert rows(read_json_lines, written(tmp_path / "c.jsonl", text)) == [
        ("12345678901234567890", "1.jpg", "1.50", None),
        ("p?", "2.jpg", "true", r"Tops, Home\, Garden"),
        ("1000", "", None, None),
        ("p4", "4.jpg", None, None),
    ]


def test_a_json_file_without_a_needed_column_names_it(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", '{"id": 1, "image_uri": "1.jpg"}\n{"id": 2, "picture": "2.jpg"}\n')
    with pytest.raises(UsageError, match=r"no column product_id; it needs .* has id, image_uri, picture"):
        rows(read_json_lines, path)


@pytest.mark.parametrize("read", [read_csv, read_json_lines, read_parquet])
def test_a_catalog_that_its_user_can_correct_is_a_wrong_call_and_a_failing_disk_is_not(
    tmp_path: Path, read: Read
) -> None:
    with pytest.raises(UsageError, match="gone; put it back"):
        rows(read, tmp_path / "gone")
    with pytest.raises(UsageError, match="may not be read by this user"), read_errors_explained("c"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    words = r"c cannot be read \(Input/output error\); see to its disk"
    with pytest.raises(RunFailed, match=words), read_errors_explained("c"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
