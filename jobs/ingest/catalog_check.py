"""What a catalog holds, as ingest would read it: the findings of `shelfwise catalog check`.

Reads the catalog in this process, without Spark, and fetches nothing. Memory is bounded: of products and images it
keeps hashes of eight bytes, of texts and hosts the first 100,000 different ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.catalog.description import Description
from jobs.catalog.files import parts_of, read_part
from jobs.catalog.passed_over import PassedOver
from jobs.catalog.recognise import Recognised, recognise
from jobs.catalog.rows import IMAGES_A_RECORD, column_places
from jobs.catalog.values import image_number
from jobs.dataset.label_findings import text_labels
from jobs.dataset.label_map import LabelMap
from jobs.dataset.schema import CATALOG_COLUMNS
from jobs.ingest.catalog import PRODUCTS_TABLE, bad_product_id, base_directory, remedy_for_repeated
from jobs.ingest.config import HttpLimits, ProductSource
from jobs.ingest.shop_table import shop_table
from jobs.ingest.unfetchable import host_of, why_unfetchable
from jobs.storage.places import Place
from jobs.storage.stores import place

MOST_KEPT = 100_000
MOST_SHOWN = 10
EXAMPLES = 5
FILES_LOOKED_FOR = 10_000
"""Files of this machine that are looked for; of the others only the path is checked."""

Row = Mapping[str, Any]


@dataclass
class Findings:
    """What a catalog holds.

    Attributes:
        recognised: How it is read.
        columns: Maps each column of the catalog to the file's columns that hold it.
        unused: Columns of the file that hold none.
        rows: Number of rows as the file has them: lines of CSV, records, pictures of a directory.
        products: Number of different product_ids.
        images: Number of different images of products that would be read.
        beyond: Images that are not read, because their product has more than the layout's most.
        hosts: Number of images by the host, store or `this machine` that has them.
        empty_links: Rows without a link.
        unfetchable: Number of links by the reason why they cannot be fetched.
        unfetchable_example: A link of each of these reasons.
        categories: Number of these rows by the text of the category.
        category_ids: The category_id of each of the most frequent texts; empty if it has none.
        examples: The first images of rows.
        notes: What was passed over, in sentences.
        refusals: Why a night would refuse the catalog, in sentences.
    """

    recognised: Recognised
    columns: Mapping[str, list[str]]
    unused: list[str]
    rows: int = 0
    products: int = 0
    images: int = 0
    beyond: int = 0
    hosts: Counter[str] = field(default_factory=Counter)
    empty_links: int = 0
    unfetchable: Counter[str] = field(default_factory=Counter)
    unfetchable_example: dict[str, str] = field(default_factory=dict)
    categories: Counter[str] = field(default_factory=Counter)
    category_ids: dict[str, str] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Catalog:
    """A catalog that can be read from its start, again and again.

    Attributes:
        recognised: How it is read.
        read: Yields its rows in batches; its argument is told what a directory has beside its products.
    """

    recognised: Recognised
    read: Callable[[Callable[[PassedOver], None]], Iterator[pa.RecordBatch]]


def check_catalog(
    catalog: str,
    description: Description,
    limits: HttpLimits,
    labels: LabelMap | None = None,
    *,
    products: ProductSource | None = None,
) -> Findings:
    """Read a catalog as ingest would, and count what it has.

    Args:
        catalog: Path or URI of a file or directory, or `products`.
        description: What the command line says about it.
        limits: Which networks links may lead to.
        labels: The shop's label map; None applies the rule to the texts of categories.
        products: Database table to read when `catalog` is `products`.

    Raises:
        UsageError: If the catalog is not recognised or a row of it cannot be read.
        RunFailed: If its disk or store fails.
        DatabaseError: If its database fails.
    """
    opened = _table(products, description) if catalog == PRODUCTS_TABLE else _files(place(catalog), description)
    findings = Findings(opened.recognised, *_columns(opened.recognised), notes=[*opened.recognised.notes])
    counts = _Counts(findings, base_directory(catalog), limits)
    for batch in opened.read(lambda passed_over: findings.notes.extend(passed_over.sentences())):
        counts.add(batch)
    counts.finish()
    repeated = counts.repeated_keys()
    if not findings.rows:
        findings.refusals.append("it is empty; it needs at least one row with product_id and image_uri")
    if repeated.size:
        findings.refusals.append(_repeated_words(repeated, opened))
    texts = [text for text, _ in findings.categories.most_common(MOST_SHOWN)]
    findings.category_ids = dict(text_labels(texts, labels).ids) if texts else {}
    return findings


def _files(where: Place, description: Description) -> _Catalog:
    recognised = recognise(where, description)
    layout = recognised.layout

    def read(tell: Callable[[PassedOver], None]) -> Iterator[pa.RecordBatch]:
        for part in parts_of(where, layout, tell):
            yield from read_part(part, layout, tell)

    return _Catalog(recognised, read)


def _table(products: ProductSource | None, description: Description) -> _Catalog:
    table = shop_table(products, description)

    def read(_tell: Callable[[PassedOver], None]) -> Iterator[pa.RecordBatch]:
        for part in table.ranges(1):
            yield from table.read(part)

    words = f"the table {table.mapping.table} of a database"
    return _Catalog(Recognised(table.layout, table.names, words), read)


def _columns(recognised: Recognised) -> tuple[dict[str, list[str]], list[str]]:
    """Return which columns of a catalog hold ours, and which hold none."""
    names = recognised.names
    if not names:
        return {}, []
    places = column_places(names, recognised.layout, "")
    used = {index for indices in places.values() for index in indices}
    columns = {ours: [names[index] for index in places[ours]] for ours in CATALOG_COLUMNS if ours in places}
    return columns, [name for index, name in enumerate(names) if index not in used]


class _Counts:
    """Counts the rows of a catalog into findings; keeps hashes of the products and images."""

    def __init__(self, findings: Findings, base: Place, limits: HttpLimits) -> None:
        self._findings, self._base, self._limits = findings, base, limits
        self._grouped = bool(findings.recognised.layout.group_by)
        self._products: list[NDArray[np.int64]] = []
        self._keys: list[NDArray[np.int64]] = []
        self._with_link: list[NDArray[np.bool_]] = []
        self._bad_ids, self._bad_numbers = 0, 0
        self._first_bad_id = self._first_bad_number = ""
        self._looked_for = 0
        # A row of a file has several positions, one for each of its images; a picture of a directory is one row.
        self._positions = 1 if findings.recognised.layout.form == "folders" else IMAGES_A_RECORD
        self._last_row = -1

    def add(self, batch: pa.RecordBatch) -> None:
        """Count the rows of a batch."""
        rows = batch.to_pylist()
        findings = self._findings
        for row in rows:
            number = row["position"] // self._positions
            if number != self._last_row:
                self._last_row = number
                self._add_row(row)
            self._add_image(row)
        findings.examples += [_shown(row) for row in rows[: max(0, EXAMPLES - len(findings.examples))]]
        self._products.append(np.fromiter((hash(row["product_id"]) for row in rows), np.int64, len(rows)))
        self._keys.append(np.fromiter((hash(self._key(row)) for row in rows), np.int64, len(rows)))
        self._with_link.append(np.fromiter((bool(row["image_uri"]) for row in rows), np.bool_, len(rows)))

    def _key(self, row: Row) -> tuple[Any, ...]:
        return (row["product_id"], (row["fetch_uri"] or row["image_uri"]) if self._grouped else row["image_no"])

    def _add_row(self, row: Row) -> None:
        """Count a row of the file by its first image, as all of its images have the same texts."""
        findings = self._findings
        findings.rows += 1
        if bad_product_id(row["product_id"]):
            self._bad_ids += 1
            self._first_bad_id = self._first_bad_id or repr(row["product_id"])[:80]
        if not self._grouped and image_number(row["image_no"] or "") is None:
            self._bad_numbers += 1
            self._first_bad_number = self._first_bad_number or repr(row["image_no"])[:80]
        if row["category"] and row["category"].strip():
            _count(findings.categories, row["category"])
        if not row["image_uri"]:
            findings.empty_links += 1

    def _add_image(self, row: Row) -> None:
        """Count the link of an image."""
        findings, link = self._findings, row["image_uri"]
        if not link:
            return
        _count(findings.hosts, host_of(link, self._base))
        self._looked_for += 1
        reason = why_unfetchable(row, self._base, self._limits, look=self._looked_for <= FILES_LOOKED_FOR)
        if reason:
            findings.unfetchable[reason] += 1
            findings.unfetchable_example.setdefault(reason, link[:200])

    def finish(self) -> None:
        """Fill in the numbers of products and images, and what is wrong with keys."""
        findings = self._findings
        products = _joined(self._products)
        findings.products = len(np.unique(products))
        with_link = np.concatenate(self._with_link) if self._with_link else np.empty(0, np.bool_)
        keys, of_products = _joined(self._keys)[with_link], products[with_link]
        _, first = np.unique(keys, return_index=True)
        _, images = np.unique(of_products[first], return_counts=True)
        layout = findings.recognised.layout
        findings.beyond = 0 if layout.own_numbers else int(np.maximum(images - layout.max_images, 0).sum())
        findings.images = int(images.sum()) - findings.beyond
        if self._bad_ids:
            findings.refusals.append(
                f"{self._bad_ids:,} rows have a product_id that is empty, over 255 characters or holds control "
                f"characters, the first {self._first_bad_id}; correct them"
            )
        if self._bad_numbers:
            findings.refusals.append(
                f"{self._bad_numbers:,} rows have an image_no that is not a whole number from 0, the first "
                f"{self._first_bad_number}; correct them"
            )

    def repeated_keys(self) -> NDArray[np.int64]:
        """Return the hashes of the (product_id, image_no) that several rows have; none if rows are grouped."""
        if self._grouped:
            return np.empty(0, np.int64)
        keys, counts = np.unique(_joined(self._keys), return_counts=True)
        return keys[counts > 1]


def _joined(arrays: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


def _count(counts: Counter[str], name: str) -> None:
    if name in counts or len(counts) < MOST_KEPT:
        counts[name] += 1


def _shown(row: Row) -> dict[str, Any]:
    names = ("product_id", "image_no", "image_uri", "title", "category", "group_id")
    return {name: None if row[name] is None else row[name][:200] for name in names}


def _repeated_words(repeated: NDArray[np.int64], catalog: _Catalog) -> str:
    """Read the catalog once more, and name the first rows whose key several have."""
    wanted = set(repeated.tolist())
    found: Counter[tuple[str, str]] = Counter()
    for row in (row for batch in catalog.read(lambda _: None) for row in batch.to_pylist()):
        if hash((row["product_id"], row["image_no"])) in wanted and (len(found) < 3 or _id(row) in found):
            found[_id(row)] += 1
    keys = ", ".join(f"({product_id}, {number}) {count} times" for (product_id, number), count in found.items())
    return (
        f"{len(repeated):,} pairs of product_id and image_no are in more than one row, the first: {keys[:500]}; "
        f"{remedy_for_repeated(catalog.recognised.layout)}"
    )


def _id(row: Row) -> tuple[str, str]:
    return str(row["product_id"])[:80], str(row["image_no"])[:20]
