"""Counts that need no scan, leases on runs, and cheap references from the two big tables.

PostgreSQL checks an enforced foreign key row by row, which took most of the time of a publish; a publish checks its
categories all at once, and its run and release are rows that it writes itself. So on PostgreSQL 18 the references of
`category_predictions` and `product_categories` are declared and not enforced; older servers cannot say that and go
without. SQLite keeps them.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

KEY = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)
KEYS = {"categories": "category_id", "releases": "release_id", "runs": "run_id"}
REFERENCES = (
    ("category_predictions", "category_id", "categories"),
    ("category_predictions", "release_id", "releases"),
    ("category_predictions", "run_id", "runs"),
    ("product_categories", "category_id", "categories"),
    ("product_categories", "previous_category_id", "categories"),
    ("product_categories", "release_id", "releases"),
    ("product_categories", "run_id", "runs"),
)


def upgrade() -> None:
    """Make the tables, count what is there, and loosen the references."""
    op.create_table(
        "category_totals",
        sa.Column("category_id", KEY, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("product_count", sa.BigInteger, nullable=False),
        sa.Column("confidence_count", sa.BigInteger, nullable=False),
        sa.Column("confidence_sum_e9", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "status IN ('auto', 'review', 'unknown', 'manual')", name=op.f("ck_category_totals_status_listed")
        ),
        sa.PrimaryKeyConstraint("category_id", "status", name=op.f("pk_category_totals")),
    )
    op.create_table(
        "run_category_counts",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("category_id", KEY, nullable=False),
        sa.Column("image_count", sa.BigInteger, nullable=False),
        sa.Column("confidence_sum_e9", sa.BigInteger, nullable=False),
        sa.Column("product_count", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_run_category_counts_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "category_id", name=op.f("pk_run_category_counts")),
    )
    op.create_table(
        "run_leases",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("taken_at_utc", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_leases")),
    )
    op.execute("""
        INSERT INTO category_totals (category_id, status, product_count, confidence_count, confidence_sum_e9)
        SELECT
            coalesce(category_id, ''), status, count(*), count(confidence),
            coalesce(sum(CAST(round(confidence * 1000000000) AS BIGINT)), 0)
        FROM product_categories
        GROUP BY coalesce(category_id, ''), status
    """)
    for table, name, _, _ in _big_references():
        if _server_version() >= (18,):
            op.execute(f"ALTER TABLE {table} ALTER CONSTRAINT {name} NOT ENFORCED")
        else:
            op.drop_constraint(name, table, type_="foreignkey")


def downgrade() -> None:
    """Drop the tables and enforce the references again."""
    for table, name, column, parent in _big_references():
        if _server_version() >= (18,):
            op.execute(f"ALTER TABLE {table} ALTER CONSTRAINT {name} ENFORCED")
        else:
            op.create_foreign_key(name, table, parent, [column], [KEYS[parent]])
    op.drop_table("run_leases")
    op.drop_table("run_category_counts")
    op.drop_table("category_totals")


def _big_references() -> Iterator[tuple[str, str, str, str]]:
    if op.get_bind().dialect.name == "postgresql":
        for table, column, parent in REFERENCES:
            yield table, f"fk_{table}_{column}_{parent}", column, parent


def _server_version() -> tuple[int | str, ...]:
    return op.get_bind().dialect.server_version_info or ()
