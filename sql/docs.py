"""Write sql/README.md from the definitions and comments of the tables, references, views and queries.

    python -m sql.docs

A test fails if the page differs from what this writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from sql.named_queries import NamedQuery, list_queries
from sql.schema.tables import metadata
from sql.schema.views import view_definitions

PAGE = Path(__file__).parent / "README.md"

_OPENING = """# The product database

`python -m sql.docs` writes this page from the comments in `sql/schema/`, `sql/views/` and `sql/queries/`. On PostgreSQL
the same comments are in the database (`\\d+`). Columns have the same names as in the catalog, the dataset and the
prediction files. `_utc` columns are times in UTC. `_e9` columns are integers in billionths. JSON columns have the type
json.

Three rules decide which answer of a product is current, in this order:

1. A person's decision wins over every release.
2. The answer on the newest image wins.
3. The answer of the release that became champion last wins. If none was ever champion, the release that was registered
   last wins.

The foreign keys of the two big tables, `category_predictions` and `product_categories`, are not enforced row by row on
PostgreSQL: version 18 declares them, and older servers do not have them. A publish checks all its categories at once
instead.
"""


def render() -> str:
    """Return the page that documents the database, sql/README.md, in Markdown."""
    parts = [_OPENING, "## Tables and their foreign keys\n", "```mermaid", *_picture(), "```\n"]
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        parts += [*_table(table), ""]
    views = view_definitions()
    queries = {query.name: query for query in list_queries()}
    parts += ["## Views\n", "`shelfwise query NAME` runs a view too, sorted in the given order.\n"]
    parts += ["| view | what for | one row is | order |", "| --- | --- | --- | --- |"]
    parts += [_view(queries[name]) for name in views]
    able = ", ".join(f"`{name}`" for name, query in queries.items() if query.can_include_left)
    parts += ["", "## Queries\n", "`shelfwise query NAME` runs a query; `--explain` shows its SQL."]
    parts += [f"`--include-left` also lists products that have left, with `left_at`, in {able}.\n"]
    parts += ["| query | what for | one row is | parameters |", "| --- | --- | --- | --- |"]
    parts += [_query(query) for name, query in queries.items() if name not in views]
    return "\n".join(parts) + "\n"


def _picture() -> Iterator[str]:
    yield "erDiagram"
    for table in metadata.sorted_tables:
        keys = [column.name for column in table.primary_key.columns]
        yield f"    {table.name} {{"
        for column in table.columns:
            marks = [
                mark for mark, applies in (("PK", column.name in keys), ("FK", bool(column.foreign_keys))) if applies
            ]
            yield f"        {_type(column).split('(')[0].replace(' ', '_')} {column.name} {', '.join(marks)}".rstrip()
        yield "    }"
    for table in metadata.sorted_tables:
        for reference in sorted(table.foreign_keys, key=lambda key: key.parent.name):
            yield f"    {reference.column.table.name} ||--o{{ {table.name} : {reference.parent.name}"


def _table(table: sa.Table) -> Iterator[str]:
    yield f"### {table.name}\n\n{table.comment}.\n"
    yield "| column | type | | what |"
    yield "| --- | --- | --- | --- |"
    for column in table.columns:
        needed = "key" if column.primary_key else "" if column.nullable else "always"
        yield f"| `{column.name}` | {_type(column)} | {needed} | {_cell(column.comment or '')} |"


def _view(query: NamedQuery) -> str:
    order = query.statement.rpartition(" ORDER BY ")[2]
    return f"| `{query.name}` | {_cell(query.purpose)} | {_cell(query.grain)} | {order} |"


def _query(query: NamedQuery) -> str:
    listed = "<br>".join(
        f"`{each.name}` ({each.type}{'' if each.required else ', optional'}) {each.meaning}"
        for each in query.parameters.values()
    )
    return f"| `{query.name}` | {_cell(query.purpose)} | {_cell(query.grain)} | {_cell(listed)} |"


def _type(column: sa.Column[object]) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return column.type.compile(dialect).replace(' COLLATE "C"', "").lower()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
