"""Read the decisions of people, each a product and its category, from a CSV or JSON Lines file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs.errors import UsageError
from sql.former_decisions import is_database, read_former_decisions
from sql.overrides import Override

_REQUIRED = ("product_id", "category_id")


def read_decisions(file: Path, decided_by: str | None) -> list[Override]:
    """Read the file of `override import`: decisions, one for each product.

    Args:
        file: A .csv file with a header or a .jsonl file, with product_id, category_id and, optionally, why; or an
            SQLite database of another version of shelfwise.
        decided_by: The person who decided. A database names the person of each decision itself.

    Returns:
        The decisions, in the order of the file.

    Raises:
        UsageError: If the file cannot be read, is empty, or has a row without product_id or category_id; the message
            names the row to correct. Also if `decided_by` is missing for a text file, or given for a database.
        ValueError: If a decision of a database is not valid; the message names the product.
        DatabaseError: If a database is damaged.
    """
    try:
        from_database = is_database(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error}); expected a .csv or .jsonl file in UTF-8") from error
    if from_database:
        if decided_by is not None:
            raise UsageError(f"{file} is a database, which names who decided; leave --by out")
        return read_former_decisions(file)
    if decided_by is None:
        raise UsageError(f"{file} does not name who decided; add --by NAME, as in --by ada")
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(_objects(file, lines))
    except RecursionError as error:
        raise UsageError(f"{file} has a line that is nested too deep; expected one decision a line") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read ({error}); expected a .csv or .jsonl file in UTF-8") from error
    if not rows:
        raise UsageError(f"{file} holds no decision; it needs rows with product_id and category_id")
    for number, row in enumerate(rows, 1):
        missing = [name for name in _REQUIRED if not isinstance(row.get(name), str) or not row[name].strip()]
        if missing:
            raise UsageError(f"row {number} of {file} has no {' and no '.join(missing)}; correct it, nothing was taken")
        if not isinstance(row.get("why") or "", str):
            raise UsageError(f"row {number} of {file} has a why that is no text; correct it, nothing was taken")
    return [
        Override(row["product_id"].strip(), row["category_id"].strip(), row.get("why") or None, decided_by)
        for row in rows
    ]


def _objects(file: Path, lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    if file.suffix.lower() == ".csv":
        yield from csv.DictReader(lines, strict=True)
        return
    for line in lines:
        if line.strip():
            value = json.loads(line)
            yield value if isinstance(value, dict) else {}
