"""Answer affected products again: those of which a picture has left, moved or returned, or whose decision was cleared.

A run answers the products that it predicts (`sql.publishing.answers`). Others may need another answer because of what
the catalog names now. Each is answered by the release that answers it already, as long as one of its current images has
a prediction of this release. Otherwise the release of its newest image answers; of several the one with the highest
rank. A product whose current images have no prediction has no answer. A person's decision stands, as far as its
pictures have not changed, and stands again when they are what they were (`sql.publishing.changed_pictures`). The answer
of a product that has left stands too, and is in no count until the product returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.publishing import answer_changes as changes
from sql.publishing import answers, changed_pictures
from sql.publishing.releases import ranked_releases, shadow_releases
from sql.publishing.staging import analyze, create_temporary, insert_rows
from sql.records import Combine
from sql.schema.columns import key_text
from sql.schema.products import product_categories
from sql.schema.releases import releases

CombineBy = Callable[[Mapping[str, Any]], Combine]
"""Returns, for a release's manifest, the function that computes one answer from several images."""

_RANKS: dict[str, TypeEngine[Any]] = {"release_id": key_text(), "place": sa.Integer()}
_SETTLED: dict[str, TypeEngine[Any]] = {
    "product_id": key_text(),
    "release_id": key_text(),
    "over_people": sa.Boolean(),
}

# With IN SQLite looks up the few affected products; with a join it would read all predictions, in order of product.
_CANDIDATES = """
    SELECT
        image.product_id,
        image.release_id,
        row_number() OVER (
            PARTITION BY image.product_id
            ORDER BY
                CASE
                    WHEN image.release_id = stored.release_id AND stored.run_id IS DISTINCT FROM :without_run THEN 0
                    ELSE 1
                END,
                image.ingest_date DESC,
                image.ingest_no DESC,
                release_ranks.place DESC
        ) AS choice
    FROM current_images AS image
    INNER JOIN release_ranks ON release_ranks.release_id = image.release_id
    LEFT JOIN product_categories AS stored ON stored.product_id = image.product_id
    WHERE
        image.product_id IN (SELECT product_id FROM affected_products)
        AND image.product_id NOT IN (SELECT product_id FROM answer_changes WHERE replaces)
        AND (stored.decided IS NULL OR NOT stored.decided OR :decisions)
"""

_CHOOSE = sa.text(f"""
INSERT INTO settled_products (product_id, release_id, over_people)
SELECT product_id, release_id, CAST(:decisions AS BOOLEAN) FROM ({_CANDIDATES}) AS candidates WHERE choice = 1
""")  # noqa: S608 - texts of our own

_CHOSEN = sa.text("SELECT DISTINCT release_id, over_people FROM settled_products ORDER BY release_id, over_people")

_SETTLED_NOW = sa.text("""
INSERT INTO settled_now
SELECT product_id FROM settled_products WHERE release_id = :release_id AND over_people = :over_people
""").bindparams(sa.bindparam("over_people", type_=sa.Boolean()))

# The run's own answer for these products does not replace the current one, which is settled instead.
_DROP_UNUSED = sa.text("""
DELETE FROM answer_changes WHERE NOT replaces AND product_id IN (SELECT product_id FROM settled_products)
""")

# Each affected product with an answer has one from the run or from `settle`.
_WITHOUT_ANSWER = sa.text("""
INSERT INTO unanswered_products (product_id)
SELECT affected.product_id
FROM affected_products AS affected
INNER JOIN product_categories AS stored ON stored.product_id = affected.product_id
WHERE
    (NOT stored.decided OR :decisions)
    AND (
        :decisions
        OR EXISTS (
            SELECT 1 FROM product_images AS image WHERE image.product_id = affected.product_id AND image.left_at IS NULL
        )
    )
    AND affected.product_id NOT IN (SELECT product_id FROM settled_products)
    AND affected.product_id NOT IN (SELECT product_id FROM answer_changes WHERE replaces)
""")

_LEFT = sa.text("""
INSERT INTO presence_changes (product_id, left_at, was_left, category_id, status, review_reason, confidence)
SELECT
    stored.product_id,
    found.left_at,
    stored.left_at IS NOT NULL,
    stored.category_id,
    stored.status,
    stored.review_reason,
    stored.confidence
FROM product_categories AS stored
INNER JOIN (
    SELECT
        image.product_id,
        CASE WHEN count(*) = count(image.left_at) THEN max(image.left_at) END AS left_at
    FROM product_images AS image
    WHERE image.product_id IN (SELECT product_id FROM affected_products)
    GROUP BY image.product_id
) AS found ON found.product_id = stored.product_id
WHERE found.left_at IS DISTINCT FROM stored.left_at
""")

_MARK = sa.text("""
UPDATE product_categories
SET left_at = change.left_at
FROM presence_changes AS change
WHERE change.product_id = product_categories.product_id
""")

_LEAVING = """
    SELECT
        coalesce(category_id, '') AS category_id,
        status,
        review_reason,
        confidence,
        CASE WHEN was_left THEN 1 ELSE -1 END AS sign
    FROM presence_changes
    WHERE was_left <> (left_at IS NOT NULL)
"""


def settle(
    connection: Connection,
    combine_by: CombineBy,
    *,
    decisions: bool = False,
    without_run: str = "",
    forced: str = "",
) -> None:
    """Add the answers of the affected products to `answer_changes`, and remove those that have none any more.

    Args:
        connection: In a transaction that holds the writers' lock, with `answer_changes` prepared, the products in
            `affected_products`, and those that people decided on in `decided_products`.
        combine_by: Returns the function that combines images, for the manifest of a release.
        decisions: Whether a person's decision is replaced too, because it is being cleared.
        without_run: Run that is being taken back: the release of an answer that it gave is not preferred.
        forced: Release whose answers win against those of newer ones where a picture changed after a decision.
    """
    create_temporary(connection, "release_ranks", _RANKS)
    create_temporary(connection, "settled_products", _SETTLED)
    hidden = shadow_releases(connection)
    ranked = [name for name in ranked_releases(connection) if name not in hidden]
    insert_rows(connection, "release_ranks", _RANKS, list(zip(ranked, range(len(ranked)), strict=True)))
    changed_pictures.restore(connection, forced)
    connection.execute(_CHOOSE, {"decisions": decisions, "without_run": without_run})
    changed_pictures.choose(connection, forced)
    connection.execute(_DROP_UNUSED)
    analyze(connection, "settled_products")
    for release_id, over_people in connection.execute(_CHOSEN).all():
        stored = sa.select(releases.c.manifest).where(releases.c.release_id == release_id)
        manifest = connection.execute(stored).scalar_one()
        rule = changes.Rule(release_id, anyone=bool(over_people), again=True)
        create_temporary(connection, "settled_now", {"product_id": key_text()})
        connection.execute(_SETTLED_NOW, {"release_id": release_id, "over_people": over_people})
        analyze(connection, "settled_now")
        answers.add_answers(connection, "settled_now", rule, combine_by(manifest), manifest=manifest)
    _remove_unanswered(connection, decisions)


def _remove_unanswered(connection: Connection, decisions: bool) -> None:
    create_temporary(connection, "unanswered_products", {"product_id": key_text()})
    if connection.execute(_WITHOUT_ANSWER, {"decisions": decisions}).rowcount:
        changes.remove(connection, "unanswered_products")


def mark_presence(connection: Connection) -> tuple[int, int]:
    """Write `left_at` of the affected products' answers, and count them in the totals or not.

    Returns:
        Number of products that have left, and number of those that have returned.
    """
    stored = {name: product_categories.c[name].type for name in ("product_id", "left_at")}
    answer = {
        name: product_categories.c[name].type for name in ("category_id", "status", "review_reason", "confidence")
    }
    create_temporary(connection, "presence_changes", {**stored, "was_left": sa.Boolean(), **answer})
    if not connection.execute(_LEFT).rowcount:
        return 0, 0
    connection.execute(_MARK)
    changes.add_to_totals(connection, _LEAVING)
    counts = connection.execute(
        sa.text("""
            SELECT
                coalesce(sum(CASE WHEN left_at IS NOT NULL AND NOT was_left THEN 1 ELSE 0 END), 0),
                coalesce(sum(CASE WHEN left_at IS NULL THEN 1 ELSE 0 END), 0)
            FROM presence_changes
        """)
    ).one()
    return int(counts[0]), int(counts[1])


def answer_again(
    connection: Connection,
    combine_by: CombineBy,
    moment: datetime,
    *,
    decisions: bool = False,
    without_run: str = "",
) -> int:
    """Settle the products in `affected_products`, and write the answers. Return the number of changed answers."""
    changes.prepare(connection)
    changed_pictures.find(connection, () if decisions else changed_pictures.OF_A_CHANGE)
    settle(connection, combine_by, decisions=decisions, without_run=without_run)
    changed = changes.apply(connection, moment) + changed_pictures.mark(connection, moment)
    mark_presence(connection)
    return changed
