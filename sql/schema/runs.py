"""Tables of the runs: each run, its rejected images, its counts and highlights, and the lease of its driver."""

from __future__ import annotations

import sqlalchemy as sa

from sql.records import REJECTION_REASONS
from sql.schema.columns import UtcDateTime, confidence_range, key_text, metadata, one_of

RUN_KINDS = ("nightly", "backfill")
RUN_STATES = ("running", "published", "failed")
HIGHLIGHTS = ("moved", "least_certain")

runs = sa.Table(
    "runs",
    metadata,
    sa.Column(
        "run_id",
        key_text(),
        primary_key=True,
        comment="Name of the run, nightly-2026-11-01; a rerun has the same",
    ),
    sa.Column("kind", sa.Text, nullable=False, comment="nightly or backfill"),
    sa.Column(
        "run_date",
        sa.Date,
        nullable=False,
        comment="Date of the night; for a backfill, the last ingest date",
    ),
    sa.Column(
        "release_id",
        key_text(),
        sa.ForeignKey("releases.release_id"),
        comment="The release that predicted",
    ),
    sa.Column("state", sa.Text, nullable=False, comment="running, published or failed"),
    sa.Column("counts", sa.JSON, nullable=False, comment="Counts by name, such as images and rejected"),
    sa.Column("seconds", sa.JSON, nullable=False, comment="Duration in seconds by step"),
    sa.Column("summary", sa.JSON, nullable=False, comment="Everything else that the run reported"),
    sa.Column("error", sa.Text, comment="Why the run failed, one sentence"),
    sa.Column("started_at_utc", UtcDateTime, nullable=False, comment="When its driver started"),
    sa.Column("finished_at_utc", UtcDateTime, comment="When the run was published or failed"),
    sa.Column(
        "retracted_at_utc",
        UtcDateTime,
        comment="When a person took the published run back; who and why is in summary; empty if its answers count",
    ),
    one_of("kind", RUN_KINDS, "kind_listed"),
    one_of("state", RUN_STATES, "state_listed"),
    comment="The runs, one row per run; a rerun keeps its row",
)

rejected_images = sa.Table(
    "rejected_images",
    metadata,
    sa.Column(
        "run_id",
        key_text(),
        sa.ForeignKey("runs.run_id"),
        primary_key=True,
        comment="The run that rejected the image",
    ),
    sa.Column("product_id", key_text(), primary_key=True, comment="The product"),
    sa.Column(
        "image_no",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="Position of the image in the product, from 0",
    ),
    sa.Column("image_uri", sa.Text, nullable=False, comment="Address that the image was read from"),
    sa.Column(
        "image_sha256",
        key_text(),
        comment="SHA-256 of the image's bytes; empty where none could be read",
    ),
    sa.Column("ingest_date", sa.Date, nullable=False, comment="Date of the ingest that tried it"),
    sa.Column("reason", sa.Text, nullable=False, comment=f"One of {', '.join(REJECTION_REASONS)}"),
    sa.Column("detail", sa.Text, comment="Details of the reason, one sentence"),
    sa.Column("seen_at_utc", UtcDateTime, nullable=False, comment="When the image was read"),
    one_of("reason", tuple(REJECTION_REASONS), "reason_listed"),
    comment="Images that could not be used, one row per run and product image",
)

run_category_counts = sa.Table(
    "run_category_counts",
    metadata,
    sa.Column("run_id", key_text(), sa.ForeignKey("runs.run_id"), primary_key=True, comment="The run"),
    sa.Column("category_id", key_text(), primary_key=True, comment="The category; '' for images without one"),
    sa.Column(
        "image_count", sa.BigInteger, nullable=False, comment="Number of images that the run put into the category"
    ),
    sa.Column("confidence_sum_e9", sa.BigInteger, nullable=False, comment="Sum of 1e9 * confidence over these images"),
    sa.Column(
        "product_count",
        sa.BigInteger,
        nullable=False,
        comment="Number of products in the category when the run was published",
    ),
    comment="Images and products of each run, one row per run and category; stays when predictions are pruned",
)

run_highlights = sa.Table(
    "run_highlights",
    metadata,
    sa.Column("run_id", key_text(), sa.ForeignKey("runs.run_id"), primary_key=True, comment="The run"),
    sa.Column("kind", sa.Text, primary_key=True, comment="moved (to another category) or least_certain (in review)"),
    sa.Column(
        "place", sa.Integer, primary_key=True, autoincrement=False, comment="Rank, the most important first, from 1"
    ),
    sa.Column("product_id", key_text(), nullable=False, comment="The product"),
    sa.Column(
        "category_id", key_text(), sa.ForeignKey("categories.category_id"), comment="Category that the run answered"
    ),
    sa.Column(
        "previous_category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        comment="Category before the run; empty if the product had none",
    ),
    sa.Column("confidence", sa.Double, comment="Calibrated probability of the answer, 0 to 1"),
    sa.Column("status", sa.Text, nullable=False, comment="auto, review or unknown, as the run answered"),
    sa.Column("review_reason", sa.Text, comment="As in product_categories, as the run answered"),
    sa.Column("ingest_date", sa.Date, nullable=False, comment="Newest ingest date among the product's images"),
    one_of("kind", HIGHLIGHTS, "kind_listed"),
    one_of("status", ("auto", "review", "unknown"), "status_listed"),
    confidence_range(),
    comment="Products of a run that a person should look at, some dozen per run; stays when predictions are pruned",
)

run_leases = sa.Table(
    "run_leases",
    metadata,
    sa.Column(
        "run_id",
        key_text(),
        primary_key=True,
        comment="The run; no foreign key, because the lease is written before the run",
    ),
    sa.Column("token", sa.Text, nullable=False, comment="Secret that the driver needs to publish the run"),
    sa.Column("holder", sa.Text, nullable=False, comment="Host and process id of the driver, for people"),
    sa.Column("taken_at_utc", UtcDateTime, nullable=False, comment="When the driver took the lease"),
    comment="Leases of the drivers, one row per run that a driver works on; publishing deletes it",
)
