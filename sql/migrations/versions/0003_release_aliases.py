"""Which release is champion and which challenger, with the history of both."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

KEY = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "release_aliases",
        sa.Column("change_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("release_id", KEY, nullable=True),
        sa.Column("changed_at_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.CheckConstraint("alias IN ('champion', 'challenger')", name=op.f("ck_release_aliases_alias_listed")),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.release_id"], name=op.f("fk_release_aliases_release_id_releases")
        ),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_release_aliases")),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("release_aliases")
