"""Review in the browser: how a decision came, on which pictures, answers on planted products, and what to label next.

A decision may now be that a product is none of the categories. SQLite cannot change a check constraint, so there the
table of decisions is copied to a new one. No other table refers to it yet.
"""

import sqlalchemy as sa
from alembic import op

revision = "8c9de102532a"
down_revision = "49e100314d11"

KEY = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ACTIONS = "action IN ('set', 'accept', 'none', 'clear')"
WAYS = "came_by IS NULL OR came_by IN ('command', 'import', 'page', 'focus')"
PRESENT = "action IN ('none', 'clear') OR category_id IS NOT NULL"
WAITS = "status = 'review' OR review_reason = 'changed_picture'"
COLUMNS = (
    "override_id, product_id, action, category_id, decided_by, why, suggested_category_id, suggested_confidence, "
    "release_id, decided_at_utc"
)

RANKED = ["category_id", "review_reason", "confidence", "product_id"]
PAGES = {
    "ix_product_categories_review_pages": (RANKED, "status = 'review' AND left_at IS NULL"),
    "ix_product_categories_unknown_pages": (RANKED, "status = 'unknown' AND NOT decided AND left_at IS NULL"),
    "ix_product_categories_changed_picture": (
        ["suggested_category_id", "suggested_confidence", "product_id"],
        "review_reason = 'changed_picture' AND decided AND left_at IS NULL",
    ),
    "ix_product_categories_review_run": (
        ["run_id", "category_id", "status", "left_at"],
        "status = 'review' AND left_at IS NULL",
    ),
}


def upgrade() -> None:
    """Widen the decisions, and add their pictures, the planted answers and what the pages need of the answers."""
    if op.get_context().dialect.name == "postgresql":
        _alter_decisions()
    else:
        _copy_decisions()
    op.create_index(
        "ix_overrides_page_id",
        "overrides",
        ["page_id"],
        postgresql_where=sa.text("page_id IS NOT NULL"),
        sqlite_where=sa.text("page_id IS NOT NULL"),
    )
    op.create_index("ix_overrides_decided_at_utc", "overrides", ["decided_at_utc"])
    op.create_index("ix_overrides_category_id", "overrides", ["category_id", "override_id"])
    op.create_table(
        "override_pictures",
        sa.Column("override_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("image_sha256", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["override_id"], ["overrides.override_id"], name=op.f("fk_override_pictures_override_id_overrides")
        ),
        sa.PrimaryKeyConstraint("override_id", "image_sha256", name=op.f("pk_override_pictures")),
    )
    _add_planted_answers()
    _add_label_candidates()
    for table in ("category_predictions", "replaced_predictions"):
        op.add_column(table, sa.Column("picture_at", sa.Text))
    op.add_column("product_categories", sa.Column("decided", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("product_categories", sa.Column("suggested_category_id", KEY))
    op.add_column("product_categories", sa.Column("suggested_confidence", sa.Double))
    op.add_column("product_categories", sa.Column("suggested_release_id", KEY))
    op.drop_index("ix_product_categories_review", "product_categories")
    op.create_index(
        "ix_product_categories_waiting",
        "product_categories",
        [sa.text("coalesce(suggested_confidence, confidence)"), "product_id", "review_reason"],
        postgresql_where=sa.text(WAITS),
        sqlite_where=sa.text(WAITS),
    )
    op.execute("UPDATE product_categories SET decided = (1 = 1) WHERE status = 'manual'")
    for name, (columns, where) in PAGES.items():
        op.create_index(
            name, "product_categories", columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where)
        )


def _alter_decisions() -> None:
    op.add_column("overrides", sa.Column("came_by", sa.Text))
    op.add_column("overrides", sa.Column("page_id", KEY))
    for name, check in (("action_listed", ACTIONS), ("category_present", PRESENT)):
        op.drop_constraint(op.f(f"ck_overrides_{name}"), "overrides", type_="check")
        op.create_check_constraint(op.f(f"ck_overrides_{name}"), "overrides", check)
    op.create_check_constraint(op.f("ck_overrides_came_by_listed"), "overrides", WAYS)


def _copy_decisions() -> None:
    op.create_table(
        "new_overrides",
        sa.Column("override_id", NUMBER, nullable=False),
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("category_id", KEY),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("suggested_category_id", KEY),
        sa.Column("suggested_confidence", sa.Double),
        sa.Column("release_id", KEY),
        sa.Column("decided_at_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("came_by", sa.Text),
        sa.Column("page_id", KEY),
        sa.CheckConstraint(ACTIONS, name=op.f("ck_overrides_action_listed")),
        sa.CheckConstraint(WAYS, name=op.f("ck_overrides_came_by_listed")),
        sa.CheckConstraint(
            "suggested_confidence >= 0 AND suggested_confidence <= 1",
            name=op.f("ck_overrides_suggested_confidence_range"),
        ),
        sa.CheckConstraint(PRESENT, name=op.f("ck_overrides_category_present")),
        sa.ForeignKeyConstraint(
            ["category_id"], ["categories.category_id"], name=op.f("fk_overrides_category_id_categories")
        ),
        sa.ForeignKeyConstraint(
            ["suggested_category_id"],
            ["categories.category_id"],
            name=op.f("fk_overrides_suggested_category_id_categories"),
        ),
        sa.ForeignKeyConstraint(["release_id"], ["releases.release_id"], name=op.f("fk_overrides_release_id_releases")),
        sa.PrimaryKeyConstraint("override_id", name=op.f("pk_overrides")),
    )
    op.execute(f"INSERT INTO new_overrides ({COLUMNS}) SELECT {COLUMNS} FROM overrides")  # noqa: S608 - our own names
    op.drop_table("overrides")
    op.rename_table("new_overrides", "overrides")
    op.create_index("ix_overrides_product_id", "overrides", ["product_id"])


def _add_planted_answers() -> None:
    op.create_table(
        "planted_answers",
        sa.Column("planted_id", NUMBER, nullable=False),
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("shown_category_id", KEY, nullable=False),
        sa.Column("known_category_id", KEY, nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("answered_by", sa.Text, nullable=False),
        sa.Column("answered_at_utc", sa.DateTime(timezone=True), nullable=False),
        sa.Column("page_id", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["shown_category_id"],
            ["categories.category_id"],
            name=op.f("fk_planted_answers_shown_category_id_categories"),
        ),
        sa.ForeignKeyConstraint(
            ["known_category_id"],
            ["categories.category_id"],
            name=op.f("fk_planted_answers_known_category_id_categories"),
        ),
        sa.PrimaryKeyConstraint("planted_id", name=op.f("pk_planted_answers")),
    )
    op.create_index("ix_planted_answers_page_id", "planted_answers", ["page_id"])


def _add_label_candidates() -> None:
    op.create_table(
        "label_candidates",
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("release_id", KEY, nullable=False),
        sa.Column("chosen_at_utc", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_label_candidates_run_id_runs")),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.release_id"], name=op.f("fk_label_candidates_release_id_releases")
        ),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_label_candidates")),
        sa.UniqueConstraint("place", name=op.f("uq_label_candidates_place")),
    )
