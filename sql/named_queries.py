"""Named queries: each file of `queries/` and each view, run by name; values are bound, never pasted into the SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from sql.engine import reading
from sql.errors import UnknownNameError
from sql.lists import list_value, with_joined_texts, with_lists
from sql.schema.tables import metadata
from sql.schema.views import view_definitions
from sql.store import ProductDatabase

QUERIES = Path(__file__).parent / "queries"
PARAMETER_TYPES = ("text", "integer", "number", "date", "list")

_HEADER = re.compile(r"-- (Purpose|Parameter|Grain|Order): (.+)")
_PARAMETER = re.compile(r"(\w+) \((\w+)(, optional|, default ([^)]*))?\) (.+)")
_WITHOUT_LEFT, _WITH_LEFT = "FROM current_categories", "FROM product_answers"
"""What a query reads the current answers from, and what in its place if products that have left are included."""


def _columns_of(type_: type[TypeEngine[Any]]) -> set[str]:
    return {column.name for table in metadata.tables.values() for column in table.c if isinstance(column.type, type_)}


_JSON_COLUMNS, _DATE_COLUMNS, _BOOLEAN_COLUMNS = map(_columns_of, (sa.JSON, sa.Date, sa.Boolean))


@dataclass(frozen=True)
class Parameter:
    """A parameter of a named query.

    Attributes:
        name: Name of the bind parameter in the statement.
        type: One of `PARAMETER_TYPES`; a list is a Python list, or text separated by commas.
        required: Whether a value is required.
        default: Value if none is given, as text; None is SQL's NULL.
        meaning: Description, one sentence.
    """

    name: str
    type: str
    required: bool
    default: str | None
    meaning: str


@dataclass(frozen=True)
class NamedQuery:
    """A query of `queries/` or a view, with its name, purpose, parameters and SQL.

    Attributes:
        name: File name without `.sql`, or name of the view.
        purpose: What the query answers.
        grain: What one row of the result is.
        parameters: Its parameters by name.
        statement: The SQL that runs, without its limit.
    """

    name: str
    purpose: str
    grain: str
    parameters: Mapping[str, Parameter]
    statement: str

    @property
    def can_include_left(self) -> bool:
        """Whether the query can also return products that have left: it lists current answers of products."""
        return _WITHOUT_LEFT in self.statement


@dataclass(frozen=True)
class QueryResult:
    """Result of a named query: column names and an iterator of rows, whose end closes the connection."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


def list_queries() -> tuple[NamedQuery, ...]:
    """Return all named queries and views, sorted by name."""
    return tuple(_queries()[name] for name in sorted(_queries()))


def find_query(name: str, *, include_left: bool = False) -> NamedQuery:
    """Return a named query by its name.

    Args:
        name: Name of a file in `queries/` or of a view.
        include_left: Return the query that also lists products that no catalog names any more; it has the additional
            column `left_at`.

    Raises:
        UnknownNameError: There is no such query; the message lists all names.
        ValueError: Products that have left cannot be included in this query.
    """
    query = _queries().get(name)
    if query is None:
        raise UnknownNameError(f"There is no query {name!r}: expected one of {', '.join(sorted(_queries()))}.")
    if not include_left:
        return query
    if not query.can_include_left:
        able = ", ".join(each.name for each in list_queries() if each.can_include_left)
        raise ValueError(
            f"Query {name!r} cannot include products that have left: expected one of {able}; the query left_products "
            "lists those that have left alone."
        )
    return replace(query, statement=query.statement.replace(_WITHOUT_LEFT, _WITH_LEFT))


def run_query(
    database: ProductDatabase,
    name: str,
    params: Mapping[str, Any] | None = None,
    limit: int | None = None,
    *,
    include_left: bool = False,
) -> QueryResult:
    """Run a named query with values for its parameters.

    Args:
        database: Migrated.
        name: Name of a file in `queries/` or of a view.
        params: Values by parameter name, as text (from a command line) or as Python values.
        limit: Highest number of rows; None is all, streamed.
        include_left: Also return products that no catalog names any more, with the additional column `left_at`.

    Returns:
        Column names and rows; on both engines with dates, times with a time zone, and parsed JSON.

    Raises:
        UnknownNameError: There is no such query or parameter.
        ValueError: A parameter is missing or not of its type, the limit is below 1, or products that have left cannot
            be included in this query.
        DatabaseError: The database cannot be read; the message has the remedy.
    """
    query = find_query(name, include_left=include_left)
    values = _values(query, params or {})
    if limit is not None and limit < 1:
        raise ValueError(f"The limit is {limit}: expected at least 1.")
    statement, bound = prepare(query, values, database.engine.dialect.name, limit)
    database.check()
    stream = _stream(database, statement, bound)
    columns = next(stream)
    return QueryResult(columns, stream)


def prepare(
    query: NamedQuery, values: Mapping[str, Any], dialect: str, limit: int | None = None
) -> tuple[sa.TextClause, dict[str, Any]]:
    """Return the SQL statement of a named query for an engine, and the values to bind.

    Args:
        query: A query from `find_query`.
        values: Python values for all of its parameters.
        dialect: Name of SQLAlchemy's dialect, `sqlite` or `postgresql`.
        limit: Highest number of rows; None is all.
    """
    statement = with_lists(with_joined_texts(query.statement, dialect), dialect) + (
        "\nLIMIT :row_limit" if limit is not None else ""
    )
    bound = {name: _bound(value, dialect) for name, value in values.items()}
    return sa.text(statement), bound if limit is None else {**bound, "row_limit": limit}


def _stream(database: ProductDatabase, statement: sa.TextClause, values: Mapping[str, Any]) -> Iterator[Any]:
    with reading(database.engine) as connection:
        result = connection.execute(statement.execution_options(yield_per=1000), values)
        columns = tuple(result.keys())
        yield columns
        converters = [_converter(column, connection.dialect.name) for column in columns]
        for row in result:
            yield tuple(convert(value) for convert, value in zip(converters, row, strict=True))


def _bound(value: Any, dialect: str) -> Any:
    if isinstance(value, list):
        return list_value(value)
    return value.isoformat() if dialect == "sqlite" and isinstance(value, date) else value


def _converter(column: str, dialect: str) -> Any:
    if dialect != "sqlite":
        return _as_utc if column.endswith("_utc") else _same
    if column.endswith("_utc"):
        return lambda text: text and datetime.fromisoformat(text).replace(tzinfo=UTC)
    if column.endswith("_date") or column in _DATE_COLUMNS:
        return lambda text: text and date.fromisoformat(text)
    if column in _JSON_COLUMNS:
        return lambda text: text and json.loads(text)
    if column in _BOOLEAN_COLUMNS:
        return lambda number: None if number is None else bool(number)
    return _same


def _same(value: Any) -> Any:
    return value


def _as_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _values(query: NamedQuery, params: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(params) - set(query.parameters))
    if unknown:
        expected = ", ".join(query.parameters) or "no parameter at all"
        raise UnknownNameError(f"Query {query.name!r} has no parameter {unknown[0]!r}: expected {expected}.")
    missing = [name for name, parameter in query.parameters.items() if parameter.required and name not in params]
    if missing:
        meaning = query.parameters[missing[0]].meaning
        raise ValueError(f"Query {query.name!r} needs the parameter {missing[0]!r}: {meaning}")
    return {name: _read(parameter, params.get(name, parameter.default)) for name, parameter in query.parameters.items()}


def _read(parameter: Parameter, value: Any) -> Any:
    if parameter.type == "list":
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
    if not isinstance(value, str) or parameter.type == "text":
        return value
    readers: dict[str, tuple[Callable[[str], Any], str]] = {
        "integer": (int, "100"),
        "number": (float, "0.5"),
        "date": (date.fromisoformat, "2026-11-01"),
    }
    read, example = readers[parameter.type]
    try:
        return read(value)
    except ValueError:
        raise ValueError(
            f"Parameter {parameter.name!r} is {value!r}: expected {parameter.type} as in {example}."
        ) from None


@lru_cache
def _queries() -> dict[str, NamedQuery]:
    files = {path.stem: path.read_text(encoding="utf-8") for path in QUERIES.glob("*.sql")}
    return {
        **{name: _parse(name, text, view=False) for name, text in files.items()},
        **{name: _parse(name, text, view=True) for name, text in view_definitions().items()},
    }


def _parse(name: str, text: str, *, view: bool) -> NamedQuery:
    header: dict[str, list[str]] = {"Purpose": [], "Parameter": [], "Grain": [], "Order": []}
    for kind, content in _HEADER.findall(text):
        header[kind].append(content.strip())
    parameters = [_parse_parameter(name, line) for line in header["Parameter"]]
    body = "\n".join(line for line in text.splitlines() if not _HEADER.match(line)).strip()
    if view:
        body = f"SELECT * FROM {name} ORDER BY {header['Order'][0]}"  # noqa: S608 - names of our own files
    return NamedQuery(
        name, header["Purpose"][0], header["Grain"][0], {parameter.name: parameter for parameter in parameters}, body
    )


def _parse_parameter(query: str, line: str) -> Parameter:
    match = _PARAMETER.fullmatch(line)
    if match is None or match[2] not in PARAMETER_TYPES:
        raise ValueError(f"Query {query!r} describes a parameter as {line!r}: expected `name (type) Meaning.`")
    return Parameter(match[1], match[2], required=match[3] is None, default=match[4], meaning=match[5])
