"""A shop's own map from category texts to category_ids: its file, the copy that ingest keeps, and how a text is found.

The file is CSV, or TSV if its header has a tab, in UTF-8, with the columns `category` (the text as in the catalog),
`category_id` and, optionally, `category_path`. A row without category_id maps nothing. A text is found in whatever
case, blanks and Unicode form it is written. If a cell names several categories and is not in the file as a whole, each
of them is looked up, and the deepest category_id counts. A text that the file does not have, but that is one of its
category_ids in whatever spelling, is that one. What is not found has no label.

`ingest` and `nightly` keep the map that they are called with in `label_map.csv` of the home. Commands that read labels
use it unless they are called with another one.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jobs.dataset.category_texts import MAX_CHARACTERS, Levels, shop_categories, text_key
from jobs.errors import UsageError
from jobs.storage.faults import masked
from jobs.storage.places import Places
from jobs.storage.stores import is_file, place, read_bytes, write_bytes
from jobs.wording import listed, quoted
from models.answers.taxonomy import above_others, fault_of_id
from models.spec import Category

_TEXT, _ID, _PATH = "category", "category_id", "category_path"
_EXPECTED = f"expected a CSV file in UTF-8 with the columns {_TEXT}, {_ID} and, optionally, {_PATH}"
_MOST_CHARACTERS_OF_A_VALUE = 2**20


@dataclass(frozen=True)
class LabelMap:
    """A shop's map from category texts to categories.

    Attributes:
        name: Name of its file, for messages.
        content: Bytes of the file.
        by_text: Maps the key of a text to the category_id; empty for a row without one.
        paths: Maps each category_id to its readable path; empty if the file gives none.
        by_id: Maps the key of a category_id to the category_id.
    """

    name: str
    content: bytes = field(repr=False)
    by_text: Mapping[tuple[Levels, ...], str] = field(repr=False)
    paths: Mapping[str, str] = field(repr=False)
    by_id: Mapping[tuple[Levels, ...], str] = field(repr=False)

    def category(self, text: str) -> Category | None:
        """Return the category of a shop's text; None if the map does not have it."""
        category_id = self._category_id(text)
        return Category(category_id, self.paths[category_id]) if category_id else None

    def _category_id(self, text: str) -> str:
        """Return the category_id of a text; empty if it has none. A line of the file counts before a category_id."""
        key = text_key(text)
        whole = self._found(key, text.strip())
        if whole is not None:
            return whole
        pieces = [self._found((each.levels,), each.spelling) or "" for each in shop_categories(text)]
        return max(filter(None, pieces), key=lambda category_id: category_id.count("."), default="")

    def _found(self, key: tuple[Levels, ...], spelling: str) -> str | None:
        if key in self.by_text:
            return self.by_text[key]
        return spelling if spelling in self.paths else self.by_id.get(key)


def read_label_map(name: str) -> LabelMap:
    """Read a label map from a path or a URI in an object store.

    Raises:
        UsageError: If it is no label map, names a text twice with different category_ids, has a category_id with
            characters that none may have, or has one that is the parent of another; the message names the remedy.
    """
    where = place(name)
    try:
        content = read_bytes(where)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
        raise UsageError(f"label map {masked(where)} cannot be read ({reason}); {_EXPECTED}") from error
    return parse_label_map(content, masked(where))


def kept_label_map(places: Places) -> LabelMap | None:
    """Return the map that the last ingest with one has kept in the home; None if there is none."""
    return read_label_map(str(places.label_map)) if is_file(places.label_map) else None


def keep_label_map(places: Places, labels: LabelMap) -> None:
    """Keep a map in the home for the commands that read labels; it replaces an earlier one."""
    write_bytes(places.label_map, labels.content)


def parse_label_map(content: bytes, name: str) -> LabelMap:
    """Read a label map from the bytes of its file; see `read_label_map`."""
    by_text: dict[tuple[Levels, ...], str] = {}
    paths: dict[str, str] = {}
    for line, text, category_id, path in _rows(content, name):
        key = text_key(text)
        if not key:
            raise UsageError(f"label map {name} has no text in line {line}; write the shop's text as {_TEXT}")
        if not category_id:
            by_text.setdefault(key, "")
            continue
        _check_id(category_id, f"label map {name} has in line {line}")
        if (by_text.get(key) or category_id) != category_id:
            raise UsageError(
                f"label map {name} names the text {quoted(text)} twice, as {quoted(by_text[key])} and in line {line} "
                f"as {quoted(category_id)}; leave one of these lines"
            )
        by_text[key] = category_id
        if path and paths.setdefault(category_id, path) not in ("", path):
            raise UsageError(
                f"label map {name} gives {quoted(category_id)} two paths, {quoted(paths[category_id])} and in line "
                f"{line} {quoted(path)}; give it one"
            )
        paths[category_id] = path or paths.get(category_id, "")
    if not paths:
        raise UsageError(f"label map {name} maps no text to a category_id; {_EXPECTED}")
    if above := above_others(paths):
        raise UsageError(
            f"label map {name} has {'a category' if len(above) == 1 else f'{len(above):,} categories'} that "
            f"{'is the parent' if len(above) == 1 else 'are parents'} of others: {listed([*map(quoted, above)])}; "
            "products can only be labelled with the leaves, so map these texts to categories below, or to none"
        )
    by_id: dict[tuple[Levels, ...], str] = {}
    for category_id in paths:
        by_id.setdefault(text_key(category_id), category_id)
    return LabelMap(name, content, by_text, paths, by_id)


def _rows(content: bytes, name: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield the line number, text, category_id and path of each row; the last two are empty if they are missing."""
    try:
        lines = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"label map {name} is not UTF-8; {_EXPECTED}") from error
    header, _, _ = lines.partition("\n")
    csv.field_size_limit(_MOST_CHARACTERS_OF_A_VALUE)
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter="\t" if "\t" in header else ",", strict=True)
    try:
        columns = [column.strip().lower() for column in next(reader, [])]
        if columns.count(_TEXT) != 1 or columns.count(_ID) != 1 or columns.count(_PATH) > 1:
            raise UsageError(f"{name} is no label map, its first line is {quoted(header.rstrip())}; {_EXPECTED}")
        for row in reader:
            if len(row) not in (0, len(columns)):
                raise UsageError(
                    f"label map {name} has {len(row)} values in line {reader.line_num}, and its header has "
                    f"{len(columns)}; quote a value that holds commas"
                )
            if any(value.strip() for value in row):
                values = dict(zip(columns, row, strict=True))
                category_id = unicodedata.normalize("NFC", values[_ID].strip())
                yield reader.line_num, values[_TEXT], category_id, " ".join(values.get(_PATH, "").split())
    except csv.Error as error:
        raise UsageError(f"label map {name} cannot be read in line {reader.line_num} ({error}); {_EXPECTED}") from error


def _check_id(category_id: str, where: str) -> None:
    """Refuse what cannot be a category_id of a release, before anything is learned of it."""
    fault = fault_of_id(category_id)
    if not fault and len(category_id) > MAX_CHARACTERS:
        fault = f"has {len(category_id):,} characters, where {MAX_CHARACTERS} at most were expected"
    if fault:
        raise UsageError(f"{where} the category_id {quoted(category_id)}, which {fault}; correct it")
