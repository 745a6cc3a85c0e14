"""Tables of what people decided and are asked: categories, allowed pictures, planted products, what to label next."""

from __future__ import annotations

import sqlalchemy as sa

from sql.schema.columns import UtcDateTime, confidence_range, key_text, metadata, one_of

OVERRIDE_ACTIONS = ("set", "accept", "none", "clear")
WAYS = ("command", "import", "page", "focus")
"""How a decision came: a command for some products, a file, a page of many products, or one product looked at alone."""

overrides = sa.Table(
    "overrides",
    metadata,
    sa.Column(
        "override_id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        comment="In order of decision",
    ),
    sa.Column("product_id", key_text(), nullable=False, index=True, comment="The product"),
    sa.Column(
        "action",
        sa.Text,
        nullable=False,
        comment="set, accept (took the suggestion), none (it is none of the categories) or clear",
    ),
    sa.Column(
        "category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        comment="Category that the person decided on; empty for none and clear",
    ),
    sa.Column("decided_by", sa.Text, nullable=False, comment="Person who decided"),
    sa.Column("why", sa.Text, comment="Reason, in the person's words"),
    sa.Column(
        "suggested_category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        comment="What the machine answered when the person decided",
    ),
    sa.Column("suggested_confidence", sa.Double, comment="Confidence of that answer, 0 to 1"),
    sa.Column(
        "release_id",
        key_text(),
        sa.ForeignKey("releases.release_id"),
        comment="Release that gave that answer",
    ),
    sa.Column("decided_at_utc", UtcDateTime, nullable=False, comment="When the person decided"),
    sa.Column(
        "came_by",
        sa.Text,
        comment="How the decision came: command, import, page (of many products) or focus (one product alone); empty "
        "for decisions of earlier versions",
    ),
    sa.Column(
        "page_id", key_text(), comment="Decisions that one page wrote together have the same; empty for all others"
    ),
    one_of("action", OVERRIDE_ACTIONS, "action_listed"),
    one_of("came_by", WAYS, "came_by_listed", or_empty=True),
    confidence_range("suggested_confidence"),
    sa.CheckConstraint("action IN ('none', 'clear') OR category_id IS NOT NULL", name="category_present"),
    comment="Decisions of people, one row per decision; rows are never changed and never dropped",
)
sa.Index(
    "ix_overrides_page_id",
    overrides.c.page_id,
    postgresql_where=sa.text("page_id IS NOT NULL"),
    sqlite_where=sa.text("page_id IS NOT NULL"),
)
sa.Index("ix_overrides_decided_at_utc", overrides.c.decided_at_utc)
sa.Index("ix_overrides_category_id", overrides.c.category_id, overrides.c.override_id)

override_pictures = sa.Table(
    "override_pictures",
    metadata,
    sa.Column(
        "override_id",
        sa.BigInteger,
        sa.ForeignKey("overrides.override_id"),
        primary_key=True,
        autoincrement=False,
        comment="The decision",
    ),
    sa.Column("image_sha256", key_text(), primary_key=True, comment="SHA-256 of a picture that the product had then"),
    comment="Pictures that each decision was made on: those that the product had; decisions of earlier versions, and "
    "those on products without a picture, have none",
)

planted_answers = sa.Table(
    "planted_answers",
    metadata,
    sa.Column(
        "planted_id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        comment="In order of answer",
    ),
    sa.Column("product_id", key_text(), nullable=False, comment="The planted product"),
    sa.Column(
        "shown_category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        nullable=False,
        comment="Category that it was shown as",
    ),
    sa.Column(
        "known_category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        nullable=False,
        comment="Category that it is known to have",
    ),
    sa.Column("accepted", sa.Boolean, nullable=False, comment="Whether the person accepted the shown category"),
    sa.Column("answered_by", sa.Text, nullable=False, comment="Person who answered"),
    sa.Column("answered_at_utc", UtcDateTime, nullable=False, comment="When the person answered"),
    sa.Column("page_id", key_text(), nullable=False, index=True, comment="Page that it was planted on"),
    comment="What people answered on products whose category was known, shown rightly or wrongly on purpose; it never "
    "becomes a decision, a label or an answer",
)

allowed_pictures = sa.Table(
    "allowed_pictures",
    metadata,
    sa.Column("image_sha256", key_text(), primary_key=True, comment="SHA-256 of the picture's bytes, hexadecimal"),
    sa.Column("allowed_by", sa.Text, nullable=False, comment="Person who allowed it"),
    sa.Column("why", sa.Text, comment="Reason, in the person's words"),
    sa.Column("allowed_at_utc", UtcDateTime, nullable=False, comment="When the person allowed it"),
    comment="Pictures under many products that a person allowed, so that they hold no answer back (shared_picture)",
)

label_candidates = sa.Table(
    "label_candidates",
    metadata,
    sa.Column("product_id", key_text(), primary_key=True, comment="The product"),
    sa.Column("place", sa.Integer, nullable=False, unique=True, comment="1 for the product whose label teaches most"),
    sa.Column(
        "run_id",
        key_text(),
        sa.ForeignKey("runs.run_id"),
        nullable=False,
        comment="Run after whose publish it was chosen",
    ),
    sa.Column(
        "release_id",
        key_text(),
        sa.ForeignKey("releases.release_id"),
        nullable=False,
        comment="Release whose answers were doubted",
    ),
    sa.Column("chosen_at_utc", UtcDateTime, nullable=False, comment="When it was chosen"),
    comment="Products whose labels would teach most, chosen anew after each night; the query label_candidates leaves "
    "out those that have been decided or have left since",
)
