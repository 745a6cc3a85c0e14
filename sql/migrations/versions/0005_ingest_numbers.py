"""The number of each row's ingest among those of its date: of two ingests of one date the later one counts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TABLES = ("category_predictions", "product_categories", "products")


def upgrade() -> None:
    """Add the columns; what was ingested before counts as its date's first ingest."""
    for table in _TABLES:
        op.add_column(table, sa.Column("ingest_no", sa.Integer, nullable=True))
        op.execute(f"UPDATE {table} SET ingest_no = 1 WHERE ingest_date IS NOT NULL")  # noqa: S608 - names of our own
    with op.batch_alter_table("category_predictions") as predictions:
        predictions.alter_column("ingest_no", existing_type=sa.Integer, nullable=False)


def downgrade() -> None:
    """Drop the columns."""
    for table in _TABLES:
        with op.batch_alter_table(table) as changed:
            changed.drop_column("ingest_no")
