"""Why an answer is not published by itself: the reasons beside each status, and pictures that people allowed.

Answers that were there before are held back by the taxonomy or by their confidence alone. The counts of products are
counted anew, because the reason is part of their key. Columns with their checks are added without copying a table:
SQLite takes a check with a new column, but no other constraint later.
"""

import sqlalchemy as sa
from alembic import op

revision = "42dda2a513b6"
down_revision = "bfd6dadd11db"

KEY = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
REASONS = (
    "('gate_closed', 'foreign_night', 'foreign_group', 'foreign_image', 'shared_picture', 'changed_picture', "
    "'taxonomy', 'below_threshold')"
)
CHECKED = (
    ("category_predictions", "review_reason"),
    ("category_predictions", "held_by"),
    ("product_categories", "review_reason"),
)
"""(table, column) of the new columns with a check."""

ANSWERS = ("category_predictions", "replaced_predictions", "product_categories", "run_highlights")
"""Tables whose rows have a status."""

# The ids below a category begin with it and a dot. In byte order "/" follows ".".
FILL = """
UPDATE {table}
SET review_reason = CASE
    WHEN category_id IN (
        SELECT parent.category_id
        FROM categories AS parent
        WHERE EXISTS (
            SELECT 1
            FROM categories AS child
            WHERE child.category_id > parent.category_id || '.' AND child.category_id < parent.category_id || '/'
        )
    ) THEN 'taxonomy'
    ELSE 'below_threshold'
END
WHERE status IN ('review', 'unknown')
"""

COUNT = """
INSERT INTO category_totals (
    category_id, status, review_reason, product_count, confidence_count, confidence_sum_e9
)
SELECT
    coalesce(category_id, ''),
    status,
    coalesce(review_reason, ''),
    count(*),
    count(confidence),
    coalesce(sum(CAST(round(confidence * 1000000000) AS BIGINT)), 0)
FROM product_categories
WHERE left_at IS NULL
GROUP BY coalesce(category_id, ''), status, coalesce(review_reason, '')
"""


def upgrade() -> None:
    """Add the columns, the table and the indexes, fill in the reasons, and count the products anew."""
    for table, column in CHECKED:
        check = f"CONSTRAINT ck_{table}_{column}_listed CHECK ({column} IS NULL OR {column} IN {REASONS})"
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT {check}")
    for table, name in (
        ("replaced_predictions", "review_reason"),
        ("replaced_predictions", "held_by"),
        ("run_highlights", "review_reason"),
    ):
        op.add_column(table, sa.Column(name, sa.Text))
    for table in ("category_predictions", "replaced_predictions"):
        op.add_column(table, sa.Column("foreign_score", sa.Double))
    op.create_table(
        "allowed_pictures",
        sa.Column("image_sha256", KEY, nullable=False),
        sa.Column("allowed_by", sa.Text, nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("allowed_at_utc", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("image_sha256", name=op.f("pk_allowed_pictures")),
    )
    op.drop_index("ix_product_categories_review", "product_categories")
    for table in ANSWERS:
        op.execute(FILL.format(table=table))
    _make_indexes()
    _count_again()


def _make_indexes() -> None:
    """Make the index of answers to review with the reason, and that of predictions that a shared picture holds back."""
    op.create_index(
        "ix_product_categories_review",
        "product_categories",
        ["confidence", "product_id", "review_reason"],
        postgresql_where=sa.text("status = 'review'"),
        sqlite_where=sa.text("status = 'review'"),
    )
    op.create_index(
        "ix_category_predictions_shared",
        "category_predictions",
        ["image_sha256"],
        postgresql_where=sa.text("held_by = 'shared_picture'"),
        sqlite_where=sa.text("held_by = 'shared_picture'"),
    )


def _count_again() -> None:
    """Replace the counts of products by ones for each reason."""
    op.drop_table("category_totals")
    op.create_table(
        "category_totals",
        sa.Column("category_id", KEY, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("review_reason", sa.Text, nullable=False),
        sa.Column("product_count", sa.BigInteger, nullable=False),
        sa.Column("confidence_count", sa.BigInteger, nullable=False),
        sa.Column("confidence_sum_e9", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "status IN ('auto', 'review', 'unknown', 'manual')", name=op.f("ck_category_totals_status_listed")
        ),
        sa.PrimaryKeyConstraint("category_id", "status", "review_reason", name=op.f("pk_category_totals")),
    )
    op.execute(COUNT)
