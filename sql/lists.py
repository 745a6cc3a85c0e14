"""Any number of values in one bound parameter: an array on PostgreSQL, a JSON array on SQLite.

A parameter for each value would end at SQLite's 32,766 of them, and would be another statement for every length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_MEMBER = re.compile(r"(?<!NOT )\bIN :(\w+)")
_FORMS = {
    "postgresql": r"= ANY(CAST(:\1 AS TEXT[]))",
    "sqlite": r"IN (SELECT value FROM json_each(:\1))",
}


def with_lists(statement: str, dialect: str) -> str:
    """Write each `IN :name` of a statement as the dialect takes a list; bind what `list_value` returns."""
    return _MEMBER.sub(_FORMS[dialect], statement)


def list_value(values: Iterable[str], dialect: str) -> list[str] | str:
    """Return the one value to bind for a list."""
    return list(values) if dialect == "postgresql" else json.dumps(list(values))
