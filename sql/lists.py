"""Any number of values in one bound parameter, as a JSON array.

A parameter for each value would end at SQLite's 32,766 of them, and would be another statement for every length. An
array of PostgreSQL would do too, but its planner looks into it and plans each call anew, which takes longer than a
lookup of some products.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_MEMBER = re.compile(r"(?<!NOT )\bIN :(\w+)")
_FORMS = {
    "postgresql": r"IN (SELECT json_array_elements_text(CAST(:\1 AS JSON)))",
    "sqlite": r"IN (SELECT value FROM json_each(:\1))",
}


def with_lists(statement: str, dialect: str) -> str:
    """Write each `IN :name` of a statement as the dialect takes a list; bind what `list_value` returns."""
    return _MEMBER.sub(_FORMS[dialect], statement)


def list_value(values: Iterable[str]) -> str:
    """Return the one value to bind for a list."""
    return json.dumps(list(values), ensure_ascii=False)
