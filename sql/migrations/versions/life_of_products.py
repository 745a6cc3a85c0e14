"""What each product has at each position, what catalogs ceased to name, and runs that were taken back.

The positions of products that were published before come from their newest predictions and their rejected images.
"""

import sqlalchemy as sa
from alembic import op

revision = "bfd6dadd11db"
down_revision = "0e782109a2cc"

KEY = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)

POSITIONS = """
INSERT INTO product_images (product_id, image_no, image_sha256, catalog_name, ingest_date, ingest_no)
SELECT product_id, image_no, image_sha256, '', ingest_date, ingest_no
FROM (
    SELECT
        product_id,
        image_no,
        image_sha256,
        ingest_date,
        ingest_no,
        row_number() OVER (
            PARTITION BY product_id, image_no ORDER BY ingest_date DESC, ingest_no DESC, image_sha256 DESC
        ) AS place
    FROM category_predictions
) AS ranked
WHERE place = 1
"""
REJECTED = """
INSERT INTO product_images (product_id, image_no, reason, rejected_on, rejected_no, catalog_name)
SELECT product_id, image_no, reason, ingest_date, 1, ''
FROM (
    SELECT
        product_id,
        image_no,
        reason,
        ingest_date,
        row_number() OVER (PARTITION BY product_id, image_no ORDER BY ingest_date DESC, run_id) AS place
    FROM rejected_images
) AS ranked
WHERE place = 1
ON CONFLICT (product_id, image_no) DO UPDATE SET
    reason = excluded.reason, rejected_on = excluded.rejected_on, rejected_no = excluded.rejected_no
WHERE excluded.rejected_on > product_images.ingest_date
"""


def upgrade() -> None:
    """Make the tables and columns, and fill in the positions that are known."""
    op.add_column("products", sa.Column("reason", sa.Text))
    op.add_column("product_categories", sa.Column("left_at", sa.Date))
    op.add_column("runs", sa.Column("retracted_at_utc", MOMENT))
    op.create_table(
        "product_images",
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("image_no", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("image_sha256", KEY),
        sa.Column("ingest_date", sa.Date),
        sa.Column("ingest_no", sa.Integer),
        sa.Column("reason", sa.Text),
        sa.Column("rejected_on", sa.Date),
        sa.Column("rejected_no", sa.Integer),
        sa.Column("catalog_name", KEY, nullable=False),
        sa.Column("left_at", sa.Date),
        sa.PrimaryKeyConstraint("product_id", "image_no", name=op.f("pk_product_images")),
    )
    op.create_table(
        "catalog_changes",
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("image_no", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("catalog_name", KEY, nullable=False),
        sa.Column("names_it", sa.Boolean, nullable=False),
        sa.Column("changed_on", sa.Date, nullable=False),
        sa.Column("ingest_no", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("product_id", "image_no", "catalog_name", name=op.f("pk_catalog_changes")),
    )
    op.create_table(
        "replaced_predictions",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("release_id", KEY, nullable=False),
        sa.Column("image_sha256", KEY, nullable=False),
        sa.Column("image_no", sa.Integer, nullable=False),
        sa.Column("image_uri", sa.Text, nullable=False),
        sa.Column("ingest_date", sa.Date, nullable=False),
        sa.Column("ingest_no", sa.Integer, nullable=False),
        sa.Column("category_id", KEY),
        sa.Column("confidence", sa.Double),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("top_k", sa.JSON),
        sa.Column("by_network", sa.JSON),
        sa.Column("predicted_at_utc", MOMENT, nullable=False),
        sa.Column("replaced_run_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_replaced_predictions_run_id_runs")),
        sa.PrimaryKeyConstraint(
            "run_id", "product_id", "release_id", "image_sha256", name=op.f("pk_replaced_predictions")
        ),
    )
    op.create_index(
        "ix_product_categories_left",
        "product_categories",
        ["left_at", "product_id"],
        postgresql_where=sa.text("left_at IS NOT NULL"),
        sqlite_where=sa.text("left_at IS NOT NULL"),
    )
    op.execute(POSITIONS)
    op.execute(REJECTED)
