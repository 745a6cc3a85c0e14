"""Pictures that people allowed: a picture under many products that holds no answer back any more."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sql.engine import writing
from sql.errors import UnknownNameError
from sql.publishing import settling
from sql.publishing.positions import prepare_affected
from sql.publishing.shared_pictures import REASON
from sql.publishing.staging import analyze
from sql.schema.decisions import allowed_pictures
from sql.store import ProductDatabase

_KNOWN = sa.text("""
SELECT 1
WHERE
    EXISTS (SELECT 1 FROM product_images WHERE image_sha256 = :image_sha256)
    OR EXISTS (SELECT 1 FROM category_predictions WHERE image_sha256 = :image_sha256)
""")

# The reason is written out, so that the index of such predictions serves the statements.
_AFFECTED = sa.text(f"""
INSERT INTO affected_products (product_id)
SELECT DISTINCT product_id
FROM category_predictions
WHERE held_by = '{REASON}' AND image_sha256 = :image_sha256
""")  # noqa: S608 - a reason of our own

_RELEASE = f"""
UPDATE {{table}}
SET held_by = NULL
WHERE held_by = '{REASON}' AND image_sha256 = :image_sha256
"""  # noqa: S608 - a reason of our own


def allow_picture(
    database: ProductDatabase,
    image_sha256: str,
    *,
    by: str,
    combine_by: settling.CombineBy,
    why: str | None = None,
    at_utc: datetime | None = None,
) -> int:
    """Allow a picture that many products have: from now on it holds no answer back, and what it held back is settled.

    The products with this picture are answered by what remains, in one transaction. Decisions of people stand, and so
    do other reasons to review an answer.

    Args:
        database: Migrated.
        image_sha256: SHA-256 of the picture's bytes, hexadecimal.
        by: Person who allows it.
        combine_by: Returns, for a release's manifest, the function that computes one answer from several images.
        why: Reason, in the person's words.
        at_utc: Time of the change, with a time zone; None is now.

    Returns:
        Number of products whose answer changed.

    Raises:
        UnknownNameError: No product ever had this picture; nothing was written.
        ValueError: The picture is allowed already, or `by` is empty.
    """
    if not by.strip():
        raise ValueError("Nobody allows the picture: expected the name of a person, as in --by maria.")
    image_sha256 = image_sha256.strip().lower()
    moment = at_utc or datetime.now(UTC)
    database.check()
    with writing(database.engine) as connection:
        _refuse(connection, image_sha256)
        values = {"image_sha256": image_sha256, "allowed_by": by, "why": why, "allowed_at_utc": moment}
        connection.execute(allowed_pictures.insert().values(values))
        prepare_affected(connection)
        connection.execute(_AFFECTED, {"image_sha256": image_sha256})
        analyze(connection, "affected_products")
        # A run that is taken back brings its replaced predictions back, which must not hold anything back either.
        for table in ("category_predictions", "replaced_predictions"):
            connection.execute(sa.text(_RELEASE.format(table=table)), {"image_sha256": image_sha256})
        return settling.answer_again(connection, combine_by, moment)


def _refuse(connection: Connection, image_sha256: str) -> None:
    """Raise an exception for a picture that is allowed already, or that no product had."""
    same = allowed_pictures.c.image_sha256 == image_sha256
    allowed = connection.execute(sa.select(allowed_pictures).where(same)).first()
    if allowed is not None:
        raise ValueError(
            f"Picture {image_sha256} is allowed already, by {allowed.allowed_by} at "
            f"{allowed.allowed_at_utc:%Y-%m-%d %H:%M} UTC: expected one of the query `shared_pictures`."
        )
    if connection.execute(_KNOWN, {"image_sha256": image_sha256}).first() is None:
        raise UnknownNameError(
            f"No product has a picture with the SHA-256 {image_sha256!r}: expected one of the query `shared_pictures`, "
            "64 hexadecimal digits."
        )
