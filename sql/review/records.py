"""What the review pages read and write: filters, products that wait, decisions of a page, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

ORDERS = ("surest", "least_sure", "most_useful")
"""Orders of a page: by confidence, highest or lowest first, or by how much a label would teach."""

REVIEWED_STATUSES = ("review", "unknown", "auto")
"""Statuses that a page can show; products of status manual are in the queue where their picture has changed."""

FIRST_PRODUCTS = 10_000
"""Most products, the first of a filter, among which titles are searched."""


@dataclass(frozen=True)
class Filter:
    """Which products a page shows.

    Attributes:
        status: One of `REVIEWED_STATUSES`; with `review` also products whose picture changed after a decision.
        review_reason: One of `sql.records.REVIEW_REASONS`; empty for all.
        category_id: A suggested category, and everything below it; empty for all.
        run_id: Run that gave the answer; empty for all. With another status than `review` only among the filter's first
            `FIRST_PRODUCTS`.
        title: Words that the title contains, in any order, of the filter's first `FIRST_PRODUCTS`; empty for all.
    """

    status: str = "review"
    review_reason: str = ""
    category_id: str = ""
    run_id: str = ""
    title: str = ""


@dataclass(frozen=True)
class Waiting:
    """A suggested category and how many products wait in it.

    Attributes:
        category_id: The category; None for products without a suggestion.
        category_path: Its readable path; empty for None.
        count: Number of products.
    """

    category_id: str | None
    category_path: str
    count: int


@dataclass(frozen=True)
class Leaf:
    """A category to choose: its category_id and its readable path."""

    category_id: str
    category_path: str


@dataclass(frozen=True)
class Pictured:
    """A picture of a product, and where it lies.

    Attributes:
        product_id: The product.
        image_no: Position of the picture in the product, from 0.
        image_sha256: SHA-256 of the source bytes, hexadecimal.
        ingest_date: Date of the ingest that stored it.
        run_id: Run that predicted it; empty if none has.
        picture_at: Column `picture_at` of its prediction; empty if no prediction says where it lies.
    """

    product_id: str
    image_no: int
    image_sha256: str
    ingest_date: date
    run_id: str = ""
    picture_at: str = ""


@dataclass(frozen=True)
class QueueItem:
    """A product on a page.

    Attributes:
        product_id: The product.
        title: As in the catalog; may be empty.
        category_id: Suggested category; None without a suggestion.
        category_path: Its readable path; empty without one.
        confidence: Of the suggestion, 0 to 1; None without one.
        status: Status of the current answer.
        review_reason: Why it was not published by itself; may be empty.
        image_count: Number of images that the answer combines.
        picture: The picture to look at; None if no current picture is known.
        seen: Version of the answer and the pictures that are shown; `write_page` refuses to decide on another one.
        run_id: Run that gave the answer; empty without one.
    """

    product_id: str
    title: str
    category_id: str | None
    category_path: str
    confidence: float | None
    status: str
    review_reason: str
    image_count: int
    picture: Pictured | None
    seen: str
    run_id: str = ""


@dataclass(frozen=True)
class Planted:
    """A product whose category is known, to be shown on a page rightly or wrongly.

    Attributes:
        item: As it is shown: `category_id` is the one that is shown, which may be wrong.
        known_category_id: The category that it is known to have.
    """

    item: QueueItem
    known_category_id: str


@dataclass(frozen=True)
class Choice:
    """What a person chose for one product.

    Attributes:
        product_id: The product.
        seen: `QueueItem.seen` of the answer that the person looked at.
        action: `accept` (the suggestion), `set` (another category) or `none` (none of the categories).
        category_id: The category; None with `none`.
        why: Reason, in the person's words; may be empty.
    """

    product_id: str
    seen: str
    action: str
    category_id: str | None = None
    why: str = ""


@dataclass(frozen=True)
class PlantedAnswer:
    """What a person answered on a planted product: whether the shown category was accepted."""

    product_id: str
    shown_category_id: str
    known_category_id: str
    accepted: bool


@dataclass(frozen=True)
class Written:
    """What a page wrote.

    Attributes:
        decided: Products that the page decided on.
        overtaken: Products that were not decided, because another person or a run was faster, as they are now; a
            product that is gone, or has left, is not among them.
        gone: product_id of the products that the database does not know any more, or that have left.
    """

    decided: tuple[str, ...]
    overtaken: tuple[QueueItem, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that a product's picture got from a release.

    Attributes:
        picture: The picture.
        is_current: Whether a catalog names the picture for the product now.
        release_id: The release.
        category_id: Its answer; None without one.
        category_path: Readable path of it; empty without one.
        confidence: 0 to 1; None without an answer.
        status: auto, review or unknown.
        review_reason: Why it was not published by itself; may be empty.
        top_k: The categories with the highest confidence, as [category_id, confidence].
        by_network: Each network's first choice: {"xception": [category_id, score]}.
        run_id: Run that gave it.
        predicted_at_utc: When that run finished.
    """

    picture: Pictured
    is_current: bool
    release_id: str
    category_id: str | None
    category_path: str
    confidence: float | None
    status: str
    review_reason: str
    top_k: Sequence[tuple[str, float]]
    by_network: dict[str, Any]
    run_id: str
    predicted_at_utc: datetime


@dataclass(frozen=True)
class StoredDecision:
    """A decision of a person on a product, as in the table `overrides`."""

    override_id: int
    action: str
    category_id: str | None
    category_path: str
    decided_by: str
    why: str
    came_by: str
    decided_at_utc: datetime


@dataclass(frozen=True)
class Product:
    """Everything about one product.

    Attributes:
        item: Its current answer; `category_id` is the suggestion where a person's decision waits to be looked at again.
        shop_category: The shop's own category, as in the catalog; may be empty.
        decided: Whether the current answer is a person's.
        decided_category_id: Category that a person decided on; None without one.
        left_at: Night from which no catalog names it any more; None while one does.
        pictures: Its current pictures, in order of image_no.
        likely: The categories to choose from, the likeliest first, with their confidence, from all current pictures.
        answers: Every answer that it got, the newest first.
        decisions: Every decision, the newest first.
    """

    item: QueueItem
    shop_category: str
    decided: bool
    decided_category_id: str | None
    left_at: date | None
    pictures: tuple[Pictured, ...]
    likely: tuple[tuple[Leaf, float], ...]
    answers: tuple[StoredAnswer, ...]
    decisions: tuple[StoredDecision, ...]


@dataclass(frozen=True)
class Found:
    """A product that a search found: product_id, title, readable path of its category, and status."""

    product_id: str
    title: str
    category_path: str
    status: str
