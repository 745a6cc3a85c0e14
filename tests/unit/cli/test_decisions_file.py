"""A file of decisions is not trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli.decisions_file import read_decisions
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
