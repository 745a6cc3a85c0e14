"""Tables of the runs: what each was, what it could not use, what it left, and who works on it."""

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
        comment="nightly-2026-11-01; the same for a rerun",
    ),
    sa.Column("kind", sa.Text, nullable=False, comment="nightly or backfill"),
    sa.Column(
        "run_date",
        sa.Date,
        nullable=False,
        comment="Its night; of a backfill, the last ingest date",
    ),
    sa.Column(
        "release_id",
        key_text(),
        sa.ForeignKey("releases.release_id"),
        comment="The release that predicted",
    ),
    sa.Column("state", sa.Text, nullable=False, comment="running, published or failed"),
    sa.Column("counts", sa.JSON, nullable=False, comment="Numbers by name"),
    sa.Column("seconds", sa.JSON, nullable=False, comment="Seconds by step"),
    sa.Column("summary", sa.JSON, nullable=False, comment="Whatever else the run reported"),
    sa.Column("error", sa.Text, comment="Why it failed, one sentence"),
    sa.Column("started_at_utc", UtcDateTime, nullable=False, comment="When its driver started"),
    sa.Column("finished_at_utc", UtcDateTime, comment="When it was published or failed"),
    one_of("kind", RUN_KINDS, "kind_listed"),
    one_of("state", RUN_STATES, "state_listed"),
    comment="One row a run; a rerun keeps its row",
)

rejected_images = sa.Table(
    "rejected_images",
    metadata,
    sa.Column(
        "run_id",
        key_text(),
        sa.ForeignKey("runs.run_id"),
        primary_key=True,
        comment="Run that met it",
    ),
    sa.Column("product_id", key_text(), primary_key=True, comment="The product"),
    sa.Column(
        "image_no",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="Place in the product",
    ),
    sa.Column("image_uri", sa.Text, nullable=False, comment="Where it was read"),
    sa.Column(
        "image_sha256",
        key_text(),
        comment="Of its bytes; empty where none could be read",
    ),
    sa.Column("ingest_date", sa.Date, nullable=False, comment="Night of the attempt"),
    sa.Column("reason", sa.Text, nullable=False, comment="One of a closed list"),
    sa.Column("detail", sa.Text, comment="What exactly, one sentence"),
    sa.Column("seen_at_utc", UtcDateTime, nullable=False, comment="When it was read"),
    one_of("reason", REJECTION_REASONS, "reason_listed"),
    comment="Images that could not be used, one row a run and product image",
)

run_category_counts = sa.Table(
    "run_category_counts",
    metadata,
    sa.Column("run_id", key_text(), sa.ForeignKey("runs.run_id"), primary_key=True, comment="The run"),
    sa.Column("category_id", key_text(), primary_key=True, comment="The category; '' for images without one"),
    sa.Column("image_count", sa.BigInteger, nullable=False, comment="Images that the run put there"),
    sa.Column("confidence_sum_e9", sa.BigInteger, nullable=False, comment="Sum of 1e9 * confidence over these images"),
    sa.Column("product_count", sa.BigInteger, nullable=False, comment="Products there when the run was published"),
    comment="What each run said and left, one row a run and category; stays when its predictions are pruned",
)

run_highlights = sa.Table(
    "run_highlights",
    metadata,
    sa.Column("run_id", key_text(), sa.ForeignKey("runs.run_id"), primary_key=True, comment="The run"),
    sa.Column("kind", sa.Text, primary_key=True, comment="moved (to another category) or least_certain (in review)"),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False, comment="In the order to look at, from 1"),
    sa.Column("product_id", key_text(), nullable=False, comment="The product"),
    sa.Column("category_id", key_text(), sa.ForeignKey("categories.category_id"), comment="What the run answered"),
    sa.Column(
        "previous_category_id",
        key_text(),
        sa.ForeignKey("categories.category_id"),
        comment="What readers saw before the run; empty where there was nothing",
    ),
    sa.Column("confidence", sa.Double, comment="Calibrated probability of the answer, 0 to 1"),
    sa.Column("status", sa.Text, nullable=False, comment="auto, review or unknown, as the run left it"),
    sa.Column("ingest_date", sa.Date, nullable=False, comment="Newest ingest date among the product's images"),
    one_of("kind", HIGHLIGHTS, "kind_listed"),
    one_of("status", ("auto", "review", "unknown"), "status_listed"),
    confidence_range(),
    comment="Products of a run that are worth a look, some dozen rows a run; stays when its predictions are pruned",
)

run_leases = sa.Table(
    "run_leases",
    metadata,
    sa.Column("run_id", key_text(), primary_key=True, comment="The run; without a foreign key, as it comes first"),
    sa.Column("token", sa.Text, nullable=False, comment="Only who holds this may publish the run"),
    sa.Column("holder", sa.Text, nullable=False, comment="Host and process that took it, for people"),
    sa.Column("taken_at_utc", UtcDateTime, nullable=False, comment="When"),
    comment="Runs that a driver is working on; the row goes with the publish",
)
