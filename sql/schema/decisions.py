"""Tables of what people decided: categories of products, and pictures that they allowed."""

from __future__ import annotations

import sqlalchemy as sa

from sql.schema.columns import UtcDateTime, confidence_range, key_text, metadata, one_of

OVERRIDE_ACTIONS = ("set", "accept", "clear")

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
        comment="set, accept (took the suggestion) or clear",
    ),
    sa.Column(
        "category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        comment="Category that the person decided on; empty for clear",
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
    one_of("action", OVERRIDE_ACTIONS, "action_listed"),
    confidence_range("suggested_confidence"),
    sa.CheckConstraint("action = 'clear' OR category_id IS NOT NULL", name="category_present"),
    comment="Decisions of people, one row per decision; rows are never changed and never dropped",
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
