"""What of each run is worth a look: the products that moved, and those it was least sure of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEY = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table; runs that were published before have no rows in it."""
    op.create_table(
        "run_highlights",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("category_id", KEY, nullable=True),
        sa.Column("previous_category_id", KEY, nullable=True),
        sa.Column("confidence", sa.Double, nullable=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("ingest_date", sa.Date, nullable=False),
        sa.CheckConstraint("kind IN ('moved', 'least_certain')", name=op.f("ck_run_highlights_kind_listed")),
        sa.CheckConstraint("status IN ('auto', 'review', 'unknown')", name=op.f("ck_run_highlights_status_listed")),
        sa.CheckConstraint("confidence >= 0 AND confidence <= 1", name=op.f("ck_run_highlights_confidence_range")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_run_highlights_run_id_runs")),
        sa.ForeignKeyConstraint(
            ["category_id"], ["categories.category_id"], name=op.f("fk_run_highlights_category_id_categories")
        ),
        sa.ForeignKeyConstraint(
            ["previous_category_id"],
            ["categories.category_id"],
            name=op.f("fk_run_highlights_previous_category_id_categories"),
        ),
        sa.PrimaryKeyConstraint("run_id", "kind", "place", name=op.f("pk_run_highlights")),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("run_highlights")
