"""Tables of the catalog, the predictions and the current answers; the comments are their documentation.

The column names are those of catalog, dataset and prediction files. The migration creates these tables; a test compares
both.
"""

from __future__ import annotations

import sqlalchemy as sa

from sql.records import REVIEW_REASONS
from sql.schema.columns import UtcDateTime, confidence_range, key_text, metadata, one_of

PREDICTION_STATUSES = ("auto", "review", "unknown")
PRODUCT_STATUSES = (*PREDICTION_STATUSES, "manual")
REASON_COMMENT = f"Why the answer is not published by itself, one of {', '.join(REVIEW_REASONS)}"

products = sa.Table(
    "products",
    metadata,
    sa.Column("product_id", key_text(), primary_key=True, comment="The shop's own identifier"),
    sa.Column(
        "image_no",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="0 for the product's first image",
    ),
    sa.Column("image_uri", sa.Text, nullable=False, comment="Address that ingest reads the image from"),
    sa.Column("title", sa.Text, comment="As in the catalog"),
    sa.Column(
        "category",
        sa.Text,
        comment="The shop's own category as in the catalog, not a prediction",
    ),
    sa.Column("updated_at", sa.Text, comment="As in the catalog, unparsed"),
    sa.Column("group_id", sa.Text, comment="As in the catalog; variants of one article have the same"),
    sa.Column(
        "ingest_date",
        sa.Date,
        comment="Date of the ingest that last read this row; empty where a shop fills the table",
    ),
    sa.Column(
        "ingest_no",
        sa.Integer,
        comment="Number of that ingest among those of its date, from 1; empty where a shop fills the table",
    ),
    sa.Column("reason", sa.Text, comment="Why the image could not be used, as in rejected_images; empty if it could"),
    comment="The catalog as last read, one row per image that it names, rejected ones too; a shop may map its own "
    "table or view instead, and rows that a shop wrote are never changed",
)

product_images = sa.Table(
    "product_images",
    metadata,
    sa.Column("product_id", key_text(), primary_key=True, comment="The product"),
    sa.Column(
        "image_no",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="Position of the image in the product, from 0",
    ),
    sa.Column(
        "image_sha256",
        key_text(),
        comment="SHA-256 of the last usable picture at this position; empty if there was never one",
    ),
    sa.Column("ingest_date", sa.Date, comment="Date of the ingest that read this picture last; empty without one"),
    sa.Column("ingest_no", sa.Integer, comment="Number of that ingest among those of its date, from 1"),
    sa.Column("reason", sa.Text, comment="Why a newer picture could not be used; the last usable one counts"),
    sa.Column("rejected_on", sa.Date, comment="Date of the ingest that rejected it; empty without a reason"),
    sa.Column("rejected_no", sa.Integer, comment="Number of that ingest among those of its date, from 1"),
    sa.Column(
        "catalog_name",
        key_text(),
        nullable=False,
        comment="Catalog that named it first; '' if that was before catalogs had names",
    ),
    sa.Column("left_at", sa.Date, comment="Night from which no catalog names it any more; empty while one does"),
    comment="Which picture each product has at each position, and whether a catalog still names it, one row per "
    "position that was ever named",
)

catalog_changes = sa.Table(
    "catalog_changes",
    metadata,
    sa.Column("product_id", key_text(), primary_key=True, comment="The product"),
    sa.Column(
        "image_no",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="Position of the image in the product, from 0",
    ),
    sa.Column("catalog_name", key_text(), primary_key=True, comment="The catalog"),
    sa.Column("names_it", sa.Boolean, nullable=False, comment="Whether the catalog names the image since this change"),
    sa.Column("changed_on", sa.Date, nullable=False, comment="Night of the change"),
    sa.Column("ingest_no", sa.Integer, nullable=False, comment="Number of the ingest among those of that date, from 1"),
    comment="The latest change of each image and catalog: the catalog ceased to name it, named it again, or named it "
    "after another catalog; images that one catalog has always named have no row",
)

category_predictions = sa.Table(
    "category_predictions",
    metadata,
    sa.Column("product_id", key_text(), primary_key=True, comment="The product"),
    sa.Column(
        "release_id",
        key_text(),
        sa.ForeignKey("releases.release_id"),
        primary_key=True,
        comment="The release that answered",
    ),
    sa.Column(
        "image_sha256",
        key_text(),
        primary_key=True,
        comment="SHA-256 of the image's source bytes, hexadecimal",
    ),
    sa.Column(
        "image_no",
        sa.Integer,
        nullable=False,
        comment="Position of the image in the product when last ingested, from 0",
    ),
    sa.Column(
        "image_uri",
        sa.Text,
        nullable=False,
        comment="Address that the image was read from when last ingested",
    ),
    sa.Column(
        "ingest_date",
        sa.Date,
        nullable=False,
        comment="Date of the newest ingest of these bytes for this product",
    ),
    sa.Column("ingest_no", sa.Integer, nullable=False, comment="Number of that ingest among those of its date, from 1"),
    sa.Column(
        "category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        comment="Category that the ensemble answered",
    ),
    sa.Column("confidence", sa.Double, comment="Calibrated probability of the answer, 0 to 1"),
    sa.Column(
        "status",
        sa.Text,
        nullable=False,
        comment="auto, review or unknown, by the release's thresholds and what it knows of such images",
    ),
    sa.Column(
        "review_reason",
        sa.Text,
        comment=f"{REASON_COMMENT}, as far as it lies in the image; empty with status auto",
    ),
    sa.Column(
        "held_by",
        sa.Text,
        comment="Why the run held the answer back, which counts beside review_reason: foreign_night, foreign_group or "
        "shared_picture; empty if it did not",
    ),
    sa.Column(
        "foreign_score",
        sa.Double,
        comment="How unlike the images that the release knows this one is; above 1 it is foreign; empty without a "
        "score",
    ),
    sa.Column(
        "top_k",
        sa.JSON,
        comment='The categories with the highest confidence: [["apparel.tops.shirt", 0.93], ...]',
    ),
    sa.Column(
        "by_network",
        sa.JSON,
        comment='Each network\'s own first choice: {"xception": [category_id, score]}',
    ),
    sa.Column(
        "picture_at",
        sa.Text,
        comment="Where the stored picture lies in the dataset, for answers that a person may look at: file, row group "
        "and row, and its thumbnail if predict kept one, as `jobs.dataset.thumbnails` writes it; empty for others",
    ),
    sa.Column(
        "run_id",
        key_text(),
        sa.ForeignKey("runs.run_id"),
        nullable=False,
        comment="The run that wrote the row",
    ),
    sa.Column(
        "predicted_at_utc",
        UtcDateTime,
        nullable=False,
        comment="When that run finished",
    ),
    confidence_range(),
    one_of("status", PREDICTION_STATUSES, "status_listed"),
    one_of("review_reason", tuple(REVIEW_REASONS), "review_reason_listed", or_empty=True),
    one_of("held_by", tuple(REVIEW_REASONS), "held_by_listed", or_empty=True),
    sa.CheckConstraint(
        "status = 'unknown' OR (category_id IS NOT NULL AND confidence IS NOT NULL)",
        name="answer_present",
    ),
    comment="History of predictions, one row per product, release and image content; the view current_images has those "
    "that are current",
)

sa.Index(
    "ix_category_predictions_shared",
    category_predictions.c.image_sha256,
    postgresql_where=sa.text("held_by = 'shared_picture'"),
    sqlite_where=sa.text("held_by = 'shared_picture'"),
)

replaced_predictions = sa.Table(
    "replaced_predictions",
    metadata,
    sa.Column(
        "run_id", key_text(), sa.ForeignKey("runs.run_id"), primary_key=True, comment="Run that replaced the row"
    ),
    sa.Column("product_id", key_text(), primary_key=True, comment="The product"),
    sa.Column("release_id", key_text(), primary_key=True, comment="The release that answered"),
    sa.Column("image_sha256", key_text(), primary_key=True, comment="SHA-256 of the image's source bytes, hexadecimal"),
    *(
        sa.Column(column.name, column.type, nullable=column.nullable, comment=column.comment)
        for column in category_predictions.columns
        if not column.primary_key and column.name != "run_id"
    ),
    sa.Column("replaced_run_id", key_text(), nullable=False, comment="Run that had written the row"),
    comment="Rows of category_predictions that a run has overwritten, as they were before it; taking the run back "
    "restores them",
)

product_categories = sa.Table(
    "product_categories",
    metadata,
    sa.Column("product_id", key_text(), primary_key=True, comment="The product"),
    sa.Column(
        "category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        comment="The product's current category",
    ),
    sa.Column(
        "confidence",
        sa.Double,
        comment="Calibrated probability, 0 to 1; empty where a person decided",
    ),
    sa.Column(
        "status",
        sa.Text,
        nullable=False,
        comment="auto, review, unknown or manual (a person decided)",
    ),
    sa.Column(
        "review_reason",
        sa.Text,
        comment=f"{REASON_COMMENT}; empty with status auto, and with status manual unless it is changed_picture",
    ),
    sa.Column(
        "decided",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="Whether the answer is a person's, so that no run replaces it: status manual, or unknown where it is "
        "none of the categories",
    ),
    sa.Column(
        "suggested_category_id",
        key_text(),
        comment="What a run answers, surely, for a picture that came after the person's decision; empty unless "
        "review_reason is changed_picture",
    ),
    sa.Column("suggested_confidence", sa.Double, comment="Confidence of that answer, 0 to 1"),
    sa.Column("suggested_release_id", key_text(), comment="Release that gave that answer"),
    sa.Column(
        "release_id",
        key_text(),
        sa.ForeignKey("releases.release_id"),
        comment="The release that answered",
    ),
    sa.Column(
        "image_count",
        sa.Integer,
        nullable=False,
        comment="Number of images that the answer combines",
    ),
    sa.Column("ingest_date", sa.Date, comment="Newest ingest date among these images"),
    sa.Column("ingest_no", sa.Integer, comment="Highest ingest_no among the images of that date"),
    sa.Column(
        "run_id",
        key_text(),
        sa.ForeignKey("runs.run_id"),
        comment="Run that predicted the newest image",
    ),
    sa.Column(
        "previous_category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        comment="Category before the last change of category",
    ),
    sa.Column(
        "updated_at_utc",
        UtcDateTime,
        nullable=False,
        comment="When this answer was published or decided",
    ),
    sa.Column(
        "left_at",
        sa.Date,
        comment="Night from which no catalog names the product any more; the answer stands when it returns",
    ),
    confidence_range(),
    one_of("status", PRODUCT_STATUSES, "status_listed"),
    one_of("review_reason", tuple(REVIEW_REASONS), "review_reason_listed", or_empty=True),
    sa.CheckConstraint("status = 'unknown' OR category_id IS NOT NULL", name="answer_present"),
    sa.CheckConstraint(
        "status IN ('unknown', 'manual') OR confidence IS NOT NULL",
        name="confidence_present",
    ),
    comment="The current answer, one row per product, also of those that have left",
)
_WAITS = "status = 'review' OR review_reason = 'changed_picture'"
sa.Index(
    "ix_product_categories_waiting",
    sa.text("coalesce(suggested_confidence, confidence)"),
    product_categories.c.product_id,
    product_categories.c.review_reason,
    postgresql_where=sa.text(_WAITS),
    sqlite_where=sa.text(_WAITS),
)
_RANKED = ("category_id", "review_reason", "confidence", "product_id")
_PAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "ix_product_categories_review_pages": (_RANKED, "status = 'review' AND left_at IS NULL"),
    "ix_product_categories_unknown_pages": (_RANKED, "status = 'unknown' AND NOT decided AND left_at IS NULL"),
    "ix_product_categories_changed_picture": (
        ("suggested_category_id", "suggested_confidence", "product_id"),
        "review_reason = 'changed_picture' AND decided AND left_at IS NULL",
    ),
    "ix_product_categories_review_run": (
        # SQLite reads the columns of the condition; with them in the index it need not read the products.
        ("run_id", "category_id", "status", "left_at"),
        "status = 'review' AND left_at IS NULL",
    ),
}
for _name, (_columns, _where) in _PAGES.items():
    _condition = sa.text(_where)
    _listed = [product_categories.c[_column] for _column in _columns]
    sa.Index(_name, *_listed, postgresql_where=_condition, sqlite_where=_condition)
sa.Index(
    "ix_product_categories_left",
    product_categories.c.left_at,
    product_categories.c.product_id,
    postgresql_where=sa.text("left_at IS NOT NULL"),
    sqlite_where=sa.text("left_at IS NOT NULL"),
)
sa.Index(
    "ix_product_categories_category",
    product_categories.c.category_id,
    product_categories.c.product_id,
)
sa.Index(
    "ix_product_categories_moved",
    product_categories.c.updated_at_utc,
    postgresql_where=sa.text("previous_category_id IS NOT NULL"),
    sqlite_where=sa.text("previous_category_id IS NOT NULL"),
)

category_totals = sa.Table(
    "category_totals",
    metadata,
    sa.Column("category_id", key_text(), primary_key=True, comment="The category; '' for products without one"),
    sa.Column("status", sa.Text, primary_key=True, comment="As in product_categories"),
    sa.Column("review_reason", sa.Text, primary_key=True, comment="As in product_categories; '' where that is empty"),
    sa.Column(
        "product_count",
        sa.BigInteger,
        nullable=False,
        comment="Number of products in this category with this status and reason",
    ),
    sa.Column(
        "confidence_count", sa.BigInteger, nullable=False, comment="Number of these products that have a confidence"
    ),
    sa.Column(
        "confidence_sum_e9",
        sa.BigInteger,
        nullable=False,
        comment="Sum of 1e9 * confidence over these products, whole numbers so that it is exact in any order",
    ),
    one_of("status", PRODUCT_STATUSES, "status_listed"),
    comment="Products per category, status and reason; each change of product_categories updates it, so counting needs "
    "no scan",
)
