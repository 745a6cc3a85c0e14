"""The product database: catalog, taxonomy, releases, runs, predictions, current answers, decisions, rejections.

Databases have this revision, so it is not edited: a change of the schema is a revision after the last one. The
identifier of the last one is a hash of the definitions of the tables; `tests/sql/schema/test_revision.py` prints it.

Comments are not here: like the views they are set anew from `sql.schema` at each upgrade.

PostgreSQL checks an enforced foreign key row by row, which took most of the time of a publish; a publish checks its
categories all at once, and its run and release are rows that it writes itself. So on PostgreSQL 18 the references of
`category_predictions` and `product_categories` are declared and not enforced; older servers have no such option and go
without. SQLite enforces them.
"""

import sqlalchemy as sa
from alembic import op

revision = "ab9d5ce486b6"
down_revision = None

KEY = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)
REFERENCES = (
    ("category_predictions", "category_id", "categories"),
    ("category_predictions", "release_id", "releases"),
    ("category_predictions", "run_id", "runs"),
    ("product_categories", "category_id", "categories"),
    ("product_categories", "previous_category_id", "categories"),
    ("product_categories", "release_id", "releases"),
    ("product_categories", "run_id", "runs"),
)
"""(table, column, table that it refers to) of the references that PostgreSQL does not enforce."""


def upgrade() -> None:
    """Make all tables."""
    _make_releases()
    _make_runs()
    _make_products()
    if op.get_context().dialect.name == "postgresql":
        _do_not_enforce_references()


def _make_releases() -> None:
    """Make the taxonomy, the releases and their aliases."""
    op.create_table(
        "categories",
        sa.Column("category_id", KEY, nullable=False),
        sa.Column("category_path", sa.Text, nullable=False),
        sa.Column("taxonomy_version", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("category_id", name=op.f("pk_categories")),
    )
    op.create_table(
        "releases",
        sa.Column("release_id", KEY, nullable=False),
        sa.Column("taxonomy_version", sa.Text, nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("registered_at_utc", MOMENT, nullable=False),
        sa.Column("promoted_at_utc", MOMENT),
        sa.PrimaryKeyConstraint("release_id", name=op.f("pk_releases")),
    )
    op.create_table(
        "release_aliases",
        sa.Column("change_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("release_id", KEY),
        sa.Column("changed_at_utc", MOMENT, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.CheckConstraint("alias IN ('champion', 'challenger')", name=op.f("ck_release_aliases_alias_listed")),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.release_id"], name=op.f("fk_release_aliases_release_id_releases")
        ),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_release_aliases")),
    )


def _make_runs() -> None:
    """Make the runs and the tables that describe each run."""
    op.create_table(
        "runs",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("run_date", sa.Date, nullable=False),
        sa.Column("release_id", KEY),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("seconds", sa.JSON, nullable=False),
        sa.Column("summary", sa.JSON, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("started_at_utc", MOMENT, nullable=False),
        sa.Column("finished_at_utc", MOMENT),
        sa.CheckConstraint("kind IN ('nightly', 'backfill')", name=op.f("ck_runs_kind_listed")),
        sa.CheckConstraint(
            "state IN ('running', 'published', 'failed')",
            name=op.f("ck_runs_state_listed"),
        ),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["releases.release_id"],
            name=op.f("fk_runs_release_id_releases"),
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
    )
    op.create_table(
        "rejected_images",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("image_no", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("image_uri", sa.Text, nullable=False),
        sa.Column("image_sha256", KEY),
        sa.Column("ingest_date", sa.Date, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("seen_at_utc", MOMENT, nullable=False),
        sa.CheckConstraint(
            "reason IN ("
            "'missing', 'unreadable', 'uri_not_allowed', 'empty', 'not_an_image', "
            "'unsupported_format', 'truncated', 'corrupt', 'too_small', 'too_large', 'inference_failed')",
            name=op.f("ck_rejected_images_reason_listed"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_rejected_images_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "product_id", "image_no", name=op.f("pk_rejected_images")),
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
        "run_highlights",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("category_id", KEY),
        sa.Column("previous_category_id", KEY),
        sa.Column("confidence", sa.Double),
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
    op.create_table(
        "run_leases",
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("taken_at_utc", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_leases")),
    )


def _make_products() -> None:
    """Make the catalog, the predictions, the current answers and their totals, and the decisions."""
    op.create_table(
        "products",
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("image_no", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("image_uri", sa.Text, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("category", sa.Text),
        sa.Column("updated_at", sa.Text),
        sa.Column("ingest_date", sa.Date),
        sa.Column("ingest_no", sa.Integer),
        sa.PrimaryKeyConstraint("product_id", "image_no", name=op.f("pk_products")),
    )
    op.create_table(
        "category_predictions",
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
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("predicted_at_utc", MOMENT, nullable=False),
        sa.CheckConstraint(
            "status = 'unknown' OR (category_id IS NOT NULL AND confidence IS NOT NULL)",
            name=op.f("ck_category_predictions_answer_present"),
        ),
        sa.CheckConstraint(
            "status IN ('auto', 'review', 'unknown')",
            name=op.f("ck_category_predictions_status_listed"),
        ),
        sa.CheckConstraint(
            "confidence >= 0 AND confidence <= 1",
            name=op.f("ck_category_predictions_confidence_range"),
        ),
        sa.ForeignKeyConstraint(
            ["category_id"],
            ["categories.category_id"],
            name=op.f("fk_category_predictions_category_id_categories"),
        ),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["releases.release_id"],
            name=op.f("fk_category_predictions_release_id_releases"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.run_id"],
            name=op.f("fk_category_predictions_run_id_runs"),
        ),
        sa.PrimaryKeyConstraint(
            "product_id",
            "release_id",
            "image_sha256",
            name=op.f("pk_category_predictions"),
        ),
    )
    op.create_table(
        "product_categories",
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("category_id", KEY),
        sa.Column("confidence", sa.Double),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("release_id", KEY),
        sa.Column("image_count", sa.Integer, nullable=False),
        sa.Column("ingest_date", sa.Date),
        sa.Column("ingest_no", sa.Integer),
        sa.Column("run_id", KEY),
        sa.Column("previous_category_id", KEY),
        sa.Column("updated_at_utc", MOMENT, nullable=False),
        sa.CheckConstraint(
            "status = 'unknown' OR category_id IS NOT NULL",
            name=op.f("ck_product_categories_answer_present"),
        ),
        sa.CheckConstraint(
            "status IN ('auto', 'review', 'unknown', 'manual')",
            name=op.f("ck_product_categories_status_listed"),
        ),
        sa.CheckConstraint(
            "status IN ('unknown', 'manual') OR confidence IS NOT NULL",
            name=op.f("ck_product_categories_confidence_present"),
        ),
        sa.CheckConstraint(
            "confidence >= 0 AND confidence <= 1",
            name=op.f("ck_product_categories_confidence_range"),
        ),
        sa.ForeignKeyConstraint(
            ["category_id"],
            ["categories.category_id"],
            name=op.f("fk_product_categories_category_id_categories"),
        ),
        sa.ForeignKeyConstraint(
            ["previous_category_id"],
            ["categories.category_id"],
            name=op.f("fk_product_categories_previous_category_id_categories"),
        ),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["releases.release_id"],
            name=op.f("fk_product_categories_release_id_releases"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_product_categories_run_id_runs")),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_product_categories")),
    )
    op.create_index(
        "ix_product_categories_category",
        "product_categories",
        ["category_id", "product_id"],
    )
    op.create_index(
        "ix_product_categories_moved",
        "product_categories",
        ["updated_at_utc"],
        postgresql_where=sa.text("previous_category_id IS NOT NULL"),
        sqlite_where=sa.text("previous_category_id IS NOT NULL"),
    )
    op.create_index(
        "ix_product_categories_review",
        "product_categories",
        ["confidence", "product_id"],
        postgresql_where=sa.text("status = 'review'"),
        sqlite_where=sa.text("status = 'review'"),
    )
    op.create_table(
        "overrides",
        sa.Column(
            "override_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            nullable=False,
        ),
        sa.Column("product_id", KEY, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("category_id", KEY),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("suggested_category_id", KEY),
        sa.Column("suggested_confidence", sa.Double),
        sa.Column("release_id", KEY),
        sa.Column("decided_at_utc", MOMENT, nullable=False),
        sa.CheckConstraint(
            "action = 'clear' OR category_id IS NOT NULL",
            name=op.f("ck_overrides_category_present"),
        ),
        sa.CheckConstraint(
            "action IN ('set', 'accept', 'clear')",
            name=op.f("ck_overrides_action_listed"),
        ),
        sa.CheckConstraint(
            "suggested_confidence >= 0 AND suggested_confidence <= 1",
            name=op.f("ck_overrides_suggested_confidence_range"),
        ),
        sa.ForeignKeyConstraint(
            ["category_id"],
            ["categories.category_id"],
            name=op.f("fk_overrides_category_id_categories"),
        ),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["releases.release_id"],
            name=op.f("fk_overrides_release_id_releases"),
        ),
        sa.ForeignKeyConstraint(
            ["suggested_category_id"],
            ["categories.category_id"],
            name=op.f("fk_overrides_suggested_category_id_categories"),
        ),
        sa.PrimaryKeyConstraint("override_id", name=op.f("pk_overrides")),
    )
    op.create_index(op.f("ix_overrides_product_id"), "overrides", ["product_id"])
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


def _do_not_enforce_references() -> None:
    server_version = op.get_context().dialect.server_version_info or ()
    for table, column, parent in REFERENCES:
        name = f"fk_{table}_{column}_{parent}"
        if server_version >= (18,):
            op.execute(f"ALTER TABLE {table} ALTER CONSTRAINT {name} NOT ENFORCED")
        else:
            op.drop_constraint(name, table, type_="foreignkey")
