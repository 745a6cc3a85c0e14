"""Keep the predictions that a run overwrites, and bring them back when the run is retracted.

The rows that were ever written for one key (product, release and image content) form a chain in order of writing. The
last one is in `category_predictions`. Each earlier one is in `replaced_predictions`, under the run that overwrote it. A
run is at most once in a chain: when it writes again after another run, its earlier place is given up.

A row by which a run only holds an earlier one back is a copy of that one, and goes with it. If the earlier one had
overwritten another, the row holds that back instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.publishing.staging import analyze, create_temporary
from sql.schema.columns import key_text
from sql.schema.products import category_predictions, replaced_predictions

_KEY = ("product_id", "release_id", "image_sha256")
_VALUES = tuple(
    column.name
    for column in category_predictions.columns
    if column.name not in (*_KEY, "run_id") and column.name in replaced_predictions.columns
)
_SAME = " AND ".join(f"{{one}}.{name} = {{other}}.{name}" for name in _KEY)
_IS_LATER = (
    "({of}.product_id, {of}.release_id, {of}.image_sha256) IN ("
    "SELECT product_id, release_id, image_sha256 FROM later_predictions)"
)

# PostgreSQL's staged rows may have duplicates here; SQLite's do not.
_OVERWRITTEN = """
INSERT INTO overwritten_predictions (product_id, release_id, image_sha256)
SELECT {distinct} stored.product_id, stored.release_id, stored.image_sha256
FROM staged_predictions AS staged
INNER JOIN category_predictions AS stored
    ON
        stored.product_id = staged.product_id
        AND stored.release_id = :release_id
        AND stored.image_sha256 = staged.image_sha256
WHERE stored.run_id <> :run_id AND ({changed})
"""

_UNHELD = """
INSERT INTO overwritten_predictions (product_id, release_id, image_sha256)
SELECT stored.product_id, stored.release_id, stored.image_sha256
FROM {pictures} AS picture
INNER JOIN category_predictions AS stored
    ON
        stored.product_id = picture.product_id
        AND stored.release_id = :release_id
        AND stored.image_sha256 = picture.image_sha256
WHERE stored.run_id <> :run_id AND stored.held_by IS NULL
"""

_KEEP = sa.text(f"""
INSERT INTO replaced_predictions ({", ".join(("run_id", *_KEY, *_VALUES, "replaced_run_id"))})
SELECT :run_id, {", ".join(f"stored.{name}" for name in (*_KEY, *_VALUES))}, stored.run_id
FROM overwritten_predictions AS overwritten
INNER JOIN category_predictions AS stored ON {_SAME.format(one="stored", other="overwritten")}
WHERE true
ON CONFLICT (run_id, product_id, release_id, image_sha256) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in (*_VALUES, "replaced_run_id"))}
""")  # noqa: S608 - names of our own

# The keys of which another run has overwritten what the run had written.
_LATER = f"""
INSERT INTO later_predictions (product_id, release_id, image_sha256)
SELECT later.product_id, later.release_id, later.image_sha256
FROM replaced_predictions AS later
INNER JOIN {{keys}} AS named ON {_SAME.format(one="named", other="later")}
WHERE later.replaced_run_id = :run_id
"""  # noqa: S608 - names of our own

# What the run had overwritten goes to the run that has overwritten it in turn.
_PASS_ON = sa.text(f"""
UPDATE replaced_predictions
SET {", ".join(f"{name} = earlier.{name}" for name in (*_VALUES, "replaced_run_id"))}
FROM replaced_predictions AS earlier
WHERE
    replaced_predictions.replaced_run_id = :run_id
    AND earlier.run_id = :run_id
    AND {_SAME.format(one="earlier", other="replaced_predictions")}
    AND {_IS_LATER.format(of="replaced_predictions")}
""")  # noqa: S608 - names of our own

_FIRST = sa.text(f"""
DELETE FROM replaced_predictions
WHERE
    replaced_run_id = :run_id
    AND {_IS_LATER.format(of="replaced_predictions")}
""")  # noqa: S608 - names of our own

_WRITTEN = sa.text("""
INSERT INTO retracted_predictions (product_id, release_id, image_sha256)
SELECT product_id, release_id, image_sha256
FROM category_predictions
WHERE run_id = :run_id AND release_id IN :release_ids
UNION
SELECT product_id, release_id, image_sha256
FROM replaced_predictions
WHERE replaced_run_id = :run_id AND release_id IN :release_ids
""").bindparams(sa.bindparam("release_ids", type_=sa.Text(), expanding=True))

_BRING_BACK = sa.text(f"""
UPDATE category_predictions
SET {", ".join(f"{name} = earlier.{name}" for name in _VALUES)}, run_id = earlier.replaced_run_id
FROM replaced_predictions AS earlier
WHERE
    category_predictions.run_id = :run_id
    AND earlier.run_id = :run_id
    AND {_SAME.format(one="earlier", other="category_predictions")}
    AND (earlier.product_id, earlier.release_id, earlier.image_sha256) IN (
        SELECT product_id, release_id, image_sha256 FROM retracted_predictions
    )
""")  # noqa: S608 - names of our own

_DELETE = sa.text("""
DELETE FROM category_predictions
WHERE
    run_id = :run_id
    AND (product_id, release_id, image_sha256) IN (
        SELECT product_id, release_id, image_sha256 FROM retracted_predictions
    )
""")

# What a run wrote over another's row, to hold it back, differs in nothing but that; what it predicted always does.
_COPIED = (
    *("predicted_at_utc", "ingest_date", "ingest_no", "image_no", "image_uri"),
    *("category_id", "confidence", "status", "review_reason", "foreign_score"),
)
_COPY = f"""
{_SAME.format(one="retracted", other="{held}")}
AND {" AND ".join(f"{{held}}.{name} IS NOT DISTINCT FROM retracted.{name}" for name in _COPIED)}
AND retracted.replaced_run_id = :run_id
AND {_IS_LATER.format(of="retracted")}
"""

_HOLD_EARLIER = f"""
UPDATE {{held}}
SET
    {", ".join(f"{name} = earlier.{name}" for name in _VALUES if name not in ("held_by", "picture_at"))},
    held_by = coalesce(earlier.held_by, {{held}}.held_by),
    picture_at = NULL
FROM replaced_predictions AS retracted
INNER JOIN replaced_predictions AS earlier ON {_SAME.format(one="earlier", other="retracted")}
WHERE {_COPY} AND earlier.run_id = :run_id {{others}}
"""  # noqa: S608 - names of our own

_DELETE_HELD = f"""
DELETE FROM {{held}}
WHERE
    EXISTS (SELECT 1 FROM replaced_predictions AS retracted WHERE {_COPY})
    AND NOT EXISTS (
        SELECT 1
        FROM replaced_predictions AS earlier
        WHERE earlier.run_id = :run_id AND {_SAME.format(one="earlier", other="{held}")}
    )
    {{others}}
"""  # noqa: S608 - names of our own

_FORGET = sa.text("""
DELETE FROM replaced_predictions WHERE run_id = :run_id AND release_id IN :release_ids
""").bindparams(sa.bindparam("release_ids", type_=sa.Text(), expanding=True))


def keep_overwritten(connection: Connection, run_id: str, release_id: str, changed: str) -> int:
    """Copy the predictions of other runs that the merge of `staged_predictions` will overwrite.

    Args:
        connection: In the publishing transaction, before the merge.
        run_id: The run that overwrites them.
        release_id: The release that predicted the staged rows.
        changed: SQL condition on `staged` and `stored` under which the merge overwrites a row.

    Returns:
        Number of rows copied.
    """
    if connection.execute(sa.text("SELECT 1 FROM category_predictions LIMIT 1")).first() is None:
        return 0
    distinct = "DISTINCT" if connection.dialect.name == "postgresql" else ""
    overwritten = _OVERWRITTEN.format(distinct=distinct, changed=changed)
    return _keep(connection, run_id, release_id, overwritten, with_held=True)


def keep_unheld(connection: Connection, run_id: str, release_id: str, pictures: str) -> int:
    """Copy the predictions of other runs on which a run has nothing staged, and that it will hold back.

    Args:
        connection: In the publishing transaction.
        run_id: The run that holds them back.
        release_id: The release that predicted them.
        pictures: Name of a temporary table with product_id and image_sha256, each once.

    Returns:
        Number of rows copied.
    """
    return _keep(connection, run_id, release_id, _UNHELD.format(pictures=pictures), with_held=False)


def _keep(connection: Connection, run_id: str, release_id: str, overwritten: str, *, with_held: bool) -> int:
    create_temporary(connection, "overwritten_predictions", dict.fromkeys(_KEY, key_text()))
    if not connection.execute(sa.text(overwritten), {"run_id": run_id, "release_id": release_id}).rowcount:
        return 0
    analyze(connection, "overwritten_predictions")
    _unlink(connection, run_id, "overwritten_predictions", with_held=with_held)
    return connection.execute(_KEEP, {"run_id": run_id}).rowcount


def bring_back(connection: Connection, run_id: str, release_ids: Sequence[str]) -> tuple[int, int]:
    """Take the predictions of a run out of the history; those that it had overwritten are current again.

    Its keys are in the temporary table `retracted_predictions` afterwards.

    Args:
        connection: In a transaction that holds the writers' lock.
        run_id: The run.
        release_ids: Releases whose predictions of this run are taken out.

    Returns:
        Number of predictions deleted, and number of those brought back.
    """
    create_temporary(connection, "retracted_predictions", dict.fromkeys(_KEY, key_text()))
    taken_out = {"run_id": run_id, "release_ids": list(release_ids)}
    connection.execute(_WRITTEN, taken_out)
    analyze(connection, "retracted_predictions")
    deleted = _unlink(connection, run_id, "retracted_predictions", with_held=True)
    back = connection.execute(_BRING_BACK, {"run_id": run_id}).rowcount
    deleted += connection.execute(_DELETE, {"run_id": run_id}).rowcount
    connection.execute(_FORGET, taken_out)
    return deleted, back


def _unlink(connection: Connection, run_id: str, keys: str, *, with_held: bool) -> int:
    """Take a run's overwritten predictions of some keys out of their chains.

    Args:
        connection: In a transaction.
        run_id: The run.
        keys: Name of the temporary table with the keys.
        with_held: Whether the copies by which later runs only hold these predictions back are taken out too.

    Returns:
        Number of such copies that were current and are deleted.
    """
    create_temporary(connection, "later_predictions", dict.fromkeys(_KEY, key_text()))
    if not connection.execute(sa.text(_LATER.format(keys=keys)), {"run_id": run_id}).rowcount:
        return 0
    analyze(connection, "later_predictions")
    deleted = _take_back_held(connection, run_id) if with_held else 0
    connection.execute(_PASS_ON, {"run_id": run_id})
    connection.execute(_FIRST, {"run_id": run_id})
    return deleted


def _take_back_held(connection: Connection, run_id: str) -> int:
    parts = {"category_predictions": "", "replaced_predictions": "AND replaced_predictions.replaced_run_id <> :run_id"}
    deleted = 0
    for held, others in parts.items():
        names = {"held": held, "others": others}
        connection.execute(sa.text(_HOLD_EARLIER.format(**names)), {"run_id": run_id})
        gone = connection.execute(sa.text(_DELETE_HELD.format(**names)), {"run_id": run_id}).rowcount
        deleted += gone if held == "category_predictions" else 0
    return deleted
