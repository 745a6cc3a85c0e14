"""Read the decisions of people from an SQLite database of another shelfwise version, such as one that was set aside.

The file is opened read-only and its content is not trusted: each value is checked here, and products and categories are
checked by `sql.overrides.set_overrides` like those of every decision.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from sql.errors import DatabaseError
from sql.explanations import explain
from sql.overrides import Override

_FIRST_BYTES = b"SQLite format 3\x00"

_IS_TABLE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'overrides'"

_SAYS_WHAT_STANDS = "SELECT count(*) FROM pragma_table_info('product_categories') WHERE name = 'decided'"

# A decision stands until the next one on its product; a product that was given back to the machine has none.
_STANDING = """
SELECT
    decision.action,
    decision.product_id,
    decision.category_id,
    decision.decided_by,
    decision.decided_at_utc,
    decision.why
FROM overrides AS decision
WHERE
    decision.action <> 'clear'
    AND decision.override_id IN (SELECT max(override_id) FROM overrides GROUP BY product_id)
    {and_stands}
ORDER BY decision.override_id
"""

# That a product is none of the categories no longer stands when an answer from another picture has replaced it.
_AND_STANDS = """
    AND (
        decision.action <> 'none'
        OR EXISTS (SELECT 1 FROM product_categories AS answer WHERE answer.product_id = decision.product_id AND decided)
    )
"""


def is_database(file: Path) -> bool:
    """Return whether a file to import decisions from is an SQLite database, by its first bytes.

    Raises:
        OSError: The file cannot be read.
    """
    with file.open("rb") as stream:
        return stream.read(len(_FIRST_BYTES)) == _FIRST_BYTES


def read_former_decisions(file: Path) -> list[Override]:
    """Read the decisions of people from a former database, with who decided and when.

    Args:
        file: An SQLite database of any shelfwise version; it is not changed.

    Returns:
        At most one decision a product, in the order of decision; without a category where the product is none of them.

    Raises:
        DatabaseError: The file cannot be read or is damaged.
        ValueError: The database has no decisions of shelfwise, or one is not valid; the message names its product.
    """
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            if not connection.execute(_IS_TABLE).fetchone()[0]:
                raise ValueError(f"{file} has no table overrides; expected a database that shelfwise made")
            says_what_stands = bool(connection.execute(_SAYS_WHAT_STANDS).fetchone()[0])
            rows = connection.execute(_STANDING.format(and_stands=_AND_STANDS if says_what_stands else "")).fetchall()
    except sqlite3.Error as error:
        raise DatabaseError(explain(URL.create("sqlite", database=str(file)), error)) from error
    if not rows:
        raise ValueError(f"{file} holds no decision that stands; there is nothing to import")
    return [_checked(file, *row) for row in rows]


def _checked(file: Path, action: Any, *values: Any) -> Override:
    product_id, category_id, decided_by, decided_at_utc, why = values
    wrong = [name for name, value in (("product_id", product_id), ("decided_by", decided_by)) if not _is_text(value)]
    if (category_id is not None) if action == "none" else not _is_text(category_id):
        wrong.append("category_id")
    moment = _moment(decided_at_utc)
    wrong += ["decided_at_utc"] if moment is None else []
    wrong += ["why"] if not isinstance(why, (str, type(None))) else []
    if wrong:
        raise ValueError(
            f"the decision on product {product_id!r} in {file} has no valid {' and no valid '.join(wrong)}; correct "
            "it, nothing was taken"
        )
    return Override(product_id, category_id, why, decided_by=decided_by, decided_at_utc=moment)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _moment(text: Any) -> datetime | None:
    """Return a moment as SQLAlchemy writes it into SQLite, in UTC and without a zone; None if it is not one."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
