"""The rejection reason `decoder_crashed`: an image that ends the process that decodes it.

SQLite cannot change a check constraint, so there the table of rejections is copied to a new one. The other tables do
not refer to it.
"""

import sqlalchemy as sa
from alembic import op

revision = "49e100314d11"
down_revision = "42dda2a513b6"

KEY = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
REASON_LISTED = "ck_rejected_images_reason_listed"
REASONS = (
    "reason IN ('missing', 'unreadable', 'bad_link', 'uri_not_allowed', 'empty', 'not_an_image', "
    "'unsupported_format', 'truncated', 'corrupt', 'decoder_crashed', 'too_small', 'too_large', 'inference_failed')"
)
COLUMNS = "run_id, product_id, image_no, image_uri, image_sha256, ingest_date, reason, detail, seen_at_utc"


def upgrade() -> None:
    """Accept the reason."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(op.f(REASON_LISTED), "rejected_images", type_="check")
        op.create_check_constraint(op.f(REASON_LISTED), "rejected_images", REASONS)
        return
    op.create_table(
        "new_rejected_images",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("image_no", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("image_uri", sa.Text, nullable=False),
        sa.Column("image_sha256", KEY),
        sa.Column("ingest_date", sa.Date, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("seen_at_utc", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(REASONS, name=op.f(REASON_LISTED)),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_rejected_images_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "product_id", "image_no", name=op.f("pk_rejected_images")),
    )
    op.execute(f"INSERT INTO new_rejected_images ({COLUMNS}) SELECT {COLUMNS} FROM rejected_images")  # noqa: S608
    op.drop_table("rejected_images")
    op.rename_table("new_rejected_images", "rejected_images")
