"""Guess how a file is read that says it neither by its name nor by its header; for `catalog check --write` alone.

A person looks at the guess before a night uses it. Nothing else in shelfwise guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from jobs.catalog.description import Description, read_description
from jobs.catalog.files import names_of, parts_of, read_part
from jobs.catalog.layout import SEPARATORS, Layout
from jobs.catalog.opening import look_inside
from jobs.catalog.recognise import form_of, recognise, with_details
from jobs.catalog.text import is_decodable
from jobs.dataset.schema import CATALOG_REQUIRED
from jobs.errors import UsageError
from jobs.storage.places import Place
from jobs.storage.stores import is_file, on_disk, place, uri

MOST_LINES_ABOVE = 5
_SAMPLE_ROWS = 1000
ENCODINGS = ("", "cp1252")
"""UTF-8 or UTF-16 by its mark; then the encoding that spreadsheets of Western Europe write."""

_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "product_id": (
            *("product_id", "productid", "product id", "sku", "item_sku", "variant sku", "id", "item_id", "article_id"),
            *("product_code", "product reference", "reference", "reference #", "artikelnummer", "artikel-nr", "art_nr"),
        ),
        "image_uri": (
            *("image_uri", "image_url", "image url", "image link", "image_link", "main_image_url", "image", "images"),
            *(
                "image src",
                "image urls (x,y,z...)",
                "base_image",
                "picture",
                "picture_url",
                "photo",
                "bild",
                "bild-url",
            ),
        ),
        "title": ("title", "name", "item_name", "product_name", "product name", "name *", "titel", "bezeichnung"),
        "category": (
            *("category", "categories", "categories (x,y,z...)", "product_type", "product type", "item_type", "type"),
            *("item_type_keyword", "feed_product_type", "kategorie", "kategorien", "warengruppe"),
        ),
        "image_no": ("image_no", "image position"),
        "updated_at": ("updated_at", "updated", "last_modified", "modified"),
        "group_id": ("group_id", "item_group_id", "parent_sku", "parent", "parent_id"),
    }
)
"""What shops call the columns of a catalog, in lower case, the likeliest first."""

_FURTHER_IMAGES = re.compile(r"(additional_image_link|additional_images|other_image_url|additional_image_url).*")
_NUMBERED = re.compile(r"(.*\D)(\d+)")
_SEVERAL = re.compile(r"^\s*\S+\.\w{3,4}\s*([,;|])\s*\S+")


@dataclass(frozen=True)
class _Guess:
    description: Description
    columns: int


def guess(catalog: str | Place, said: Description) -> Description:
    """Guess what a catalog's description should say; what was said stays.

    Args:
        catalog: Path or URI of the catalog.
        said: What the command line says about it.

    Returns:
        The description with which the catalog can be read: what was said, by options and in its `shelfwise.toml`, and
        what was guessed beside it. Empty if nothing was said and the file leaves nothing to guess.

    Raises:
        UsageError: If no guess makes it readable.
    """
    where = place(catalog)
    written = read_description(where)
    try:
        said = _with_encoding(where, said, written)
        recognise(where, said)
    except UsageError as error:
        if not is_file(where):
            raise
        guesses = list(_guesses(where, said))
        if not guesses:
            raise error
        said = max(guesses, key=lambda each: each.columns).description
    return _with_several_images(where, said).over(written)


def _with_encoding(where: Place, said: Description, written: Description) -> Description:
    """Add the encoding of a text file that is not in UTF-8, so that every line of it can be decoded."""
    known = said.over(written)
    if known.encoding or not is_file(where) or form_of(where, known, look_inside(where)) not in ("csv", "jsonl"):
        return said
    with on_disk(where) as path:
        decodable = (each for each in ENCODINGS if is_decodable(path, uri(where), each))
        encoding = next(decodable, "")
    return said.model_copy(update={"encoding": encoding}) if encoding else said


def _guesses(where: Place, said: Description) -> Iterator[_Guess]:
    """Yield the descriptions with which the file has a header with the columns that a catalog needs."""
    form = form_of(where, said, look_inside(where))
    separators = [said.separator] if said.separator or form != "csv" else list(SEPARATORS)
    above = range(1, MOST_LINES_ABOVE + 2)
    header_lines = [said.header_line] if said.header_line or form not in ("csv", "xlsx") else above
    for header_line in header_lines:
        for separator in separators:
            update = {"header_line": header_line, "separator": separator}
            tried = said.model_copy(update={name: value for name, value in update.items() if value})
            try:
                names = names_of(where, with_details(Layout(form), tried))
            except UsageError:
                continue
            columns = {**columns_by_name(names), **said.columns}
            if columns.keys() >= set(CATALOG_REQUIRED):
                yield _Guess(tried.model_copy(update={"columns": columns}), len(columns))


def columns_by_name(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return which columns of a file hold the catalog's, by what shops usually call them."""
    by_name = {name.strip().lower(): name.strip() for name in reversed(names)}
    columns: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for ours, theirs in _NAMES.items():
        name = next((each for each in theirs if each in by_name and each not in taken), None)
        if name is not None:
            columns[ours] = (by_name[name],)
            taken.add(name)
    further = dict.fromkeys(_stem(name) for name in by_name if name not in taken and _is_further(name))
    if further:
        columns["image_uri"] = (*columns.get("image_uri", ()), *(by_name.get(name, name) for name in further))
    return columns


def _is_further(name: str) -> bool:
    """Return whether a column holds further images: by its name, or as it is an image column's with a number."""
    numbered = _NUMBERED.fullmatch(name)
    stem = numbered[1].rstrip("_- ") if numbered else ""
    return _FURTHER_IMAGES.fullmatch(name) is not None or stem in _NAMES["image_uri"]


def _stem(name: str) -> str:
    numbered = _NUMBERED.fullmatch(name)
    return f"{numbered[1]}*" if numbered else name


def _with_several_images(where: Place, said: Description) -> Description:
    """Add the separator of several links in a value, and the product's column if its rows repeat, by the first rows."""
    layout = recognise(where, said).layout
    if layout.form == "folders" or layout.kind:
        return said
    rows = list(_first_rows(where, layout))
    separators = [match[1] for row in rows if (match := _SEVERAL.match(row["image_uri"] or ""))]
    if not layout.image_separator and separators and len(separators) * 20 >= len(rows):
        said = said.model_copy(update={"image_separator": max(set(separators), key=separators.count)})
    keys = [(row["product_id"], row["image_no"]) for row in rows]
    if not layout.group_by and len(set(keys)) < len(keys):
        product = layout.columns.get("product_id", ("product_id",))[0]
        said = said.model_copy(update={"group_by": product})
    return said


def _first_rows(where: Place, layout: Layout) -> Iterable[Mapping[str, str]]:
    for batch in read_part(parts_of(where, layout)[0], layout):
        return list(batch.slice(0, _SAMPLE_ROWS).to_pylist())
    return []
