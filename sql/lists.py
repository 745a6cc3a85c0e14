"""Bind a list of any length as one parameter, a JSON array; join texts of several rows.

One parameter per value would be limited to SQLite's 32,766 parameters, and each length would be another statement. An
array of PostgreSQL would work too, but its planner then plans each call anew, which takes longer than looking up some
products.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_MEMBER = re.compile(r"(?<!NOT )\bIN :(\w+)")
_JOINED = re.compile(r"\bgroup_concat\(DISTINCT (\w+)\)")
_FORMS = {
    "postgresql": r"IN (SELECT json_array_elements_text(CAST(:\1 AS JSON)))",
    "sqlite": r"IN (SELECT value FROM json_each(:\1))",
}


def with_lists(statement: str, dialect: str) -> str:
    """Rewrite each `IN :name` of a statement for a JSON array; bind the result of `list_value` to it."""
    return _MEMBER.sub(_FORMS[dialect], statement)


def with_joined_texts(statement: str, dialect: str) -> str:
    """Rewrite each `group_concat(DISTINCT name)`, which is SQLite's, for the engine: its texts, separated by commas.

    The rows must come sorted by the text, so that SQLite joins the texts in their order; PostgreSQL sorts them itself.
    """
    return statement if dialect == "sqlite" else _JOINED.sub(r"string_agg(DISTINCT \1, ',')", statement)


def list_value(values: Iterable[str]) -> str:
    """Return the JSON array to bind for a list."""
    return json.dumps(list(values), ensure_ascii=False)
