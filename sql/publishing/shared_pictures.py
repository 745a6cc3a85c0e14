"""Hold back the answers of a run whose picture many different products have, such as one that says `no image`.

A picture is shared if the current positions of enough groups of products have its content. Products of one group_id are
one group, and so are those whose titles differ in their last words only: variants of an article often have one picture.
Where the catalog has categories of the shop's own, the products must also be in several of them.

Titles, groups and categories come from the table `products`. Where a shop has a table of its own, that table is empty
and only the products of the run are known, by its catalog rows: each other one counts as a group, and as a category of
its own, because nothing tells that it is a variant.

What was found is in the run's summary as `gates.shared_pictures`, a document with two keys:

- `contents`: image_sha256 of each shared picture, sorted; given as `SharedPictures.noted` it holds the same rows again;
- `shown`: at most `SHOWN` of them, those of the most groups first, each as `{"image_sha256": ..., "products": number of
  groups, "categories": number of the shop's own categories, "example": a product_id}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeEngine

from sql.publishing.replaced import keep_unheld
from sql.publishing.staging import analyze, create_temporary, insert_rows, rows_about, staged_images
from sql.records import RunRecord, SharedPictures
from sql.schema.columns import key_text
from sql.schema.runs import runs

REASON = "shared_picture"
"""Reason for which these answers are held back, one of `sql.records.REVIEW_REASONS`."""

SHOWN = 100
"""Highest number of pictures that a run's summary describes."""

LAST_WORDS = 2
"""Number of words at the end of a title in which variants of one article differ, such as a colour and a size.

Of a title of two or three words it is the last one alone."""

_CONTENTS: dict[str, TypeEngine[Any]] = {"image_sha256": key_text()}
_POSITIONS: dict[str, TypeEngine[Any]] = {**_CONTENTS, "product_id": key_text(), "image_no": sa.Integer()}

# A group has at least one position, so that contents with fewer positions need no look at the catalog.
_FREQUENT = """
INSERT INTO frequent_pictures (image_sha256)
SELECT image_sha256
FROM (
    SELECT image_sha256
    FROM product_images
    WHERE left_at IS NULL AND {few}
    GROUP BY image_sha256
    HAVING count(*) >= :groups
) AS frequent
EXCEPT
SELECT image_sha256 FROM allowed_pictures
"""
_OF_PRODUCTS = """
image_sha256 IN (
    SELECT own.image_sha256
    FROM product_images AS own
    WHERE own.left_at IS NULL AND own.product_id IN (SELECT product_id FROM staged_predictions)
)
"""
# Its planner would read all positions once more; LATERAL with OFFSET looks the products up in the index.
_OF_PRODUCTS_POSTGRESQL = """
image_sha256 IN (
    SELECT own.image_sha256
    FROM staged_predictions
    CROSS JOIN LATERAL (
        SELECT position.image_sha256
        FROM product_images AS position
        WHERE position.product_id = staged_predictions.product_id AND position.left_at IS NULL
        OFFSET 0
    ) AS own
)
"""
_OF_FEW = {
    "sqlite": sa.text(_FREQUENT.format(few=_OF_PRODUCTS)),
    "postgresql": sa.text(_FREQUENT.format(few=_OF_PRODUCTS_POSTGRESQL)),
}
_OF_MANY = sa.text(_FREQUENT.format(few="image_sha256 IS NOT NULL"))

# Looking each product up among those of the run is fast if the run has few, and much slower than counting all if not.
_MANY = 10
"""A run has many images if they are more than one in so many of all positions."""

_POSITIONS_OF = """
INSERT INTO frequent_positions (image_sha256, product_id, image_no)
SELECT image_sha256, product_id, image_no
FROM product_images
WHERE left_at IS NULL AND image_sha256 IN (SELECT image_sha256 FROM {pictures})
"""

# Also a picture that a product of the run has had for long: it is answered by all of its pictures.
_OF_THE_RUN = sa.text("""
INSERT INTO run_pictures (image_sha256)
SELECT DISTINCT image_sha256
FROM frequent_positions
WHERE product_id IN (SELECT product_id FROM staged_predictions)
""")

# Most frequent pictures are those of one article in many variants, which never reach Python.
_PRODUCTS = """
SELECT
    position.image_sha256,
    position.product_id,
    min(product.group_id) AS group_id,
    min(product.title) AS title,
    min(product.category) AS category,
    count(product.product_id) > 0 AS is_known
FROM frequent_positions AS position
LEFT JOIN {catalog}
WHERE position.image_sha256 IN (
    SELECT position.image_sha256
    FROM frequent_positions AS position
    LEFT JOIN {catalog}
    WHERE position.image_sha256 IN (SELECT image_sha256 FROM run_pictures)
    GROUP BY position.image_sha256
    HAVING count(DISTINCT coalesce('group ' || product.group_id, 'product ' || position.product_id)) >= :groups
)
GROUP BY position.image_sha256, position.product_id
ORDER BY position.image_sha256, position.product_id
"""
_IN_TABLE = sa.text(
    _PRODUCTS.format(
        catalog="products AS product ON product.product_id = position.product_id "
        "AND product.image_no = position.image_no"
    )
)
_IN_RUN = sa.text(_PRODUCTS.format(catalog="staged_products AS product ON product.product_id = position.product_id"))

_HELD = "SELECT image_sha256 FROM held_pictures EXCEPT SELECT image_sha256 FROM allowed_pictures"

_HELD_POSITIONS = sa.text(f"""
INSERT INTO held_positions (product_id, image_sha256)
SELECT DISTINCT product_id, image_sha256
FROM frequent_positions
WHERE image_sha256 IN ({_HELD}) AND product_id IN (SELECT product_id FROM staged_predictions)
""")  # noqa: S608 - texts of our own

# The reason is written out, so that the index of such predictions serves the statement.
_HELD_SINCE = sa.text(f"""
UPDATE staged_predictions
SET held_by = '{REASON}'
WHERE
    held_by IS NULL
    AND (product_id, image_sha256) IN (
        SELECT product_id, image_sha256
        FROM category_predictions
        WHERE held_by = '{REASON}' AND release_id = :release_id AND run_id <> :run_id
    )
""")  # noqa: S608 - a reason of our own

# The place of a picture goes with the run that predicted it.
_HOLD_OLDER = sa.text("""
UPDATE category_predictions
SET
    held_by = :reason,
    picture_at = CASE WHEN run_id = :run_id THEN picture_at END,
    run_id = :run_id
WHERE
    release_id = :release_id
    AND held_by IS NULL
    AND (product_id, image_sha256) IN (SELECT product_id, image_sha256 FROM held_positions)
""")

_HOLD = sa.text(f"""
UPDATE staged_predictions
SET held_by = :reason
WHERE held_by IS NULL AND image_sha256 IN ({_HELD})
""")  # noqa: S608 - texts of our own


def hold(connection: Connection, run: RunRecord, release_id: str, pictures: SharedPictures) -> RunRecord:
    """Set `held_by` of the staged predictions whose picture is shared, where no other reason holds them back.

    Args:
        connection: In the publishing transaction, after positions and catalog rows were merged.
        run: The run as its driver reports it.
        release_id: The release that predicted it.
        pictures: Which pictures are shared, or those that an earlier publish found.

    Returns:
        The run; its summary has what was found, unless `pictures` says not to look.
    """
    if pictures.noted is not None:
        contents = sorted(set(pictures.noted))
        shown = _shown_before(connection, run.run_id, contents)
        hold_noted(connection, run.run_id, release_id, contents)
    elif pictures.groups > 0:
        create_temporary(connection, "frequent_positions", _POSITIONS)
        found = _find(connection, pictures)
        contents = sorted(picture["image_sha256"] for picture in found)
        shown = sorted(found, key=lambda picture: (-picture["products"], picture["image_sha256"]))[:SHOWN]
        _hold(connection, contents)
    else:
        _hold(connection, ())
        return run
    gates = {**run.summary.get("gates", {}), "shared_pictures": {"contents": contents, "shown": shown}}
    return replace(run, summary={**run.summary, "gates": gates})


def noted(connection: Connection, run_id: str) -> list[str]:
    """Return the image_sha256 of each picture that a run's last publish found to be shared."""
    return list(_note(connection, run_id).get("contents", ()))


def hold_noted(connection: Connection, run_id: str, release_id: str, contents: Sequence[str]) -> None:
    """Set `held_by` of the staged predictions whose picture a publish found to be shared.

    What a later run has held back for such a picture stays as it is, so that the same run again changes no row.

    Args:
        connection: In a transaction that holds the writers' lock, with the predictions in `staged_predictions`.
        run_id: The run.
        release_id: The release that predicted the staged rows.
        contents: image_sha256 of the pictures; those that people have allowed since hold nothing back.
    """
    create_temporary(connection, "frequent_positions", _POSITIONS)
    if contents:
        _list_held(connection, contents)
        connection.execute(sa.text(_POSITIONS_OF.format(pictures="held_pictures")))
    _hold(connection, contents)
    connection.execute(_HELD_SINCE, {"run_id": run_id, "release_id": release_id})


def hold_older(connection: Connection, run_id: str, release_id: str) -> int:
    """Hold the products of a run back by a shared picture that they have had for longer.

    The predictions of these pictures become the run's own, so that what they were comes back if it is retracted.

    Args:
        connection: In the same transaction, after `hold` or `hold_noted` and after the staged predictions were merged.
        run_id: The run.
        release_id: The release that predicted it.

    Returns:
        Number of predictions that are held back now and were not before.
    """
    if connection.execute(sa.text("SELECT 1 FROM held_positions LIMIT 1")).first() is None:
        return 0
    keep_unheld(connection, run_id, release_id, "held_positions")
    values = {"reason": REASON, "run_id": run_id, "release_id": release_id}
    return connection.execute(_HOLD_OLDER, values).rowcount


def _list_held(connection: Connection, contents: Sequence[str]) -> None:
    create_temporary(connection, "held_pictures", _CONTENTS)
    insert_rows(connection, "held_pictures", _CONTENTS, [(content,) for content in contents])


def _hold(connection: Connection, contents: Sequence[str]) -> None:
    """Hold the staged predictions of some pictures back, and list whose older pictures `hold_older` looks at."""
    create_temporary(connection, "held_positions", {"product_id": key_text(), **_CONTENTS})
    if contents:
        _list_held(connection, contents)
        connection.execute(_HOLD, {"reason": REASON})
        connection.execute(_HELD_POSITIONS)
        analyze(connection, "held_positions")


def group_count(products: Iterable[tuple[str | None, str | None]]) -> int:
    """Return the number of groups that products form.

    Products of one group_id are one group, and so are those whose titles are the same but for their last words. A
    product that has neither is a group of its own.

    Args:
        products: (group_id, title) of each.
    """
    joined: dict[tuple[str, str], tuple[str, str]] = {}

    def top(key: tuple[str, str]) -> tuple[str, str]:
        while (above := joined.setdefault(key, key)) != key:
            joined[key] = joined[above]
            key = above
        return key

    alone = 0
    for group_id, title in products:
        article = article_of(title)
        keys = [*([("group", group_id)] if group_id else []), *([("article", article)] if article else [])]
        tops = [top(key) for key in keys]
        alone += not tops
        for other in tops[1:]:
            joined[other] = tops[0]
    return alone + sum(above == key for key, above in joined.items())


def article_of(title: str | None) -> str:
    """Return a title without case and without its last words, by which its variants differ; '' without a title.

    These are two words if two remain, one of two or three words, and none of one word.
    """
    words = (title or "").casefold().split()
    kept = len(words) - LAST_WORDS if len(words) >= 2 + LAST_WORDS else max(1, len(words) - 1)
    return " ".join(words[:kept])


def _find(connection: Connection, pictures: SharedPictures) -> list[dict[str, Any]]:
    """Return the shared pictures among those of the staged predictions, each as it is shown."""
    if connection.execute(sa.text("SELECT 1 FROM staged_predictions LIMIT 1")).first() is None:
        return []
    many = staged_images(connection) * _MANY > rows_about(connection, "product_images")
    frequent = _OF_MANY if many else _OF_FEW[connection.dialect.name]
    create_temporary(connection, "frequent_pictures", _CONTENTS)
    if not connection.execute(frequent, {"groups": pictures.groups}).rowcount:
        return []
    connection.execute(sa.text(_POSITIONS_OF.format(pictures="frequent_pictures")))
    analyze(connection, "frequent_positions")
    create_temporary(connection, "run_pictures", _CONTENTS)
    if not connection.execute(_OF_THE_RUN).rowcount:
        return []
    statement = _IN_TABLE if pictures.in_table else _IN_RUN
    rows = connection.execute(statement.execution_options(yield_per=1000), {"groups": pictures.groups})
    return list(_shared(rows, pictures))


def _shared(rows: Iterable[sa.Row[Any]], pictures: SharedPictures) -> Iterator[dict[str, Any]]:
    """Yield the shared pictures, from the rows of their products in order of content."""
    for image_sha256, of_content in groupby(rows, key=attrgetter("image_sha256")):
        products = list(of_content)
        groups = group_count((row.group_id, row.title) for row in products)
        categories = {row.category for row in products if row.category}
        unknown = 0 if pictures.in_table else sum(not row.is_known for row in products)
        if groups >= pictures.groups and (len(categories) + unknown >= pictures.categories or not categories):
            yield {
                "image_sha256": image_sha256,
                "products": groups,
                "categories": len(categories),
                "example": products[0].product_id,
            }


def _shown_before(connection: Connection, run_id: str, contents: Sequence[str]) -> list[dict[str, Any]]:
    """Return what an earlier publish of the run wrote of some pictures."""
    return [
        picture for picture in _note(connection, run_id).get("shown", []) if picture["image_sha256"] in set(contents)
    ]


def _note(connection: Connection, run_id: str) -> Mapping[str, Any]:
    """Return what a run's last publish noted of shared pictures; empty if it looked for none."""
    summary = connection.execute(sa.select(runs.c.summary).where(runs.c.run_id == run_id)).scalar() or {}
    shared = (summary.get("gates") or {}).get("shared_pictures")
    return shared if isinstance(shared, dict) else {}
