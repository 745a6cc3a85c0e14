"""Recognise how a catalog is read: by what a person said, its name, its first bytes and its header; never by a guess.

Where these do not say it for certain, the catalog is refused, and the message names `shelfwise catalog check`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from jobs.catalog.applicable import passed_over_keys, refuse_without_effect
from jobs.catalog.description import Description, description_file, read_description
from jobs.catalog.errors import catalog_error, refusals_point_to_check
from jobs.catalog.files import names_of
from jobs.catalog.forms.json import json_form
from jobs.catalog.forms.xml import looks_like_xml, xml_encoding
from jobs.catalog.layout import PRESETS, SEPARATORS, Layout
from jobs.catalog.opening import Inside, look_inside
from jobs.catalog.rows import column_places, has_own_numbers
from jobs.catalog.tables import tables_in
from jobs.catalog.text import UTF_8, encoding_name
from jobs.dataset.schema import CATALOG_REQUIRED
from jobs.errors import UsageError
from jobs.storage.faults import masked
from jobs.storage.places import Place
from jobs.storage.stores import is_dir, is_file, place

_FORMS = {
    **{"csv": "csv", "tsv": "csv", "txt": "csv", "tab": "csv"},
    **{"jsonl": "jsonl", "ndjson": "jsonl", "json": "json", "parquet": "parquet"},
    **{"xlsx": "xlsx", "xlsm": "xlsx", "xls": "xlsx", "xml": "xml", "rss": "xml", "atom": "xml"},
}
_FILES = "a .csv, .tsv, .json, .jsonl, .xml, .xlsx or .parquet file"


@dataclass(frozen=True)
class Recognised:
    """A catalog's layout, and what a person reads of it.

    Attributes:
        layout: How the catalog is read.
        names: Names of its columns; empty for a directory of pictures.
        words: What it was taken for: `CSV with semicolons in UTF-8, an export for Shopify`.
        encoding: Encoding of its text; empty for forms that are not text, and for directories.
        notes: What of a `shelfwise.toml` beside it does not count for it, in sentences.
    """

    layout: Layout
    names: tuple[str, ...]
    words: str
    encoding: str = ""
    notes: tuple[str, ...] = ()


def recognise(catalog: str | Place, options: Description | None = None) -> Recognised:
    """Recognise how a file or directory is read.

    Args:
        catalog: Path or URI of the catalog.
        options: What the command line says; it takes precedence over `shelfwise.toml`.

    Raises:
        UsageError: If there is no such file, its form or its columns are not known for certain, or something is said
            that does not count for its form.
    """
    where = place(catalog)
    options = options or Description()
    written = read_description(where)
    said = options.over(written)
    if is_dir(where):
        with refusals_point_to_check():
            has_tables = next(tables_in(where), None) is not None
        for each in (options, written):
            refuse_without_effect(each, "tables" if has_tables else "folders", where, by_file=each is written)
        if not has_tables:
            return Recognised(with_details(Layout("folders"), said), (), "a directory of pictures")
        with refusals_point_to_check(), _naming_description(where, written):
            return _by_header(where, with_details(Layout("parquet"), said), said, None)
    if not is_file(where):
        raise UsageError(f"no catalog at {masked(where)}; give a directory, {_FILES}, or `products`")
    with refusals_point_to_check():
        inside = look_inside(where)
        form = form_of(where, said, inside)
    refuse_without_effect(options, form, where)
    written, notes = passed_over_keys(written, form)
    said = options.over(written)
    with refusals_point_to_check(), _naming_description(where, written):
        layout = with_details(Layout(form), said)
        layout = replace(layout, is_encoding_written=bool(written.encoding and not options.encoding))
        if form == "csv" and not said.separator:
            layout = replace(layout, separator="\t" if said.format == "tsv" else separator_of(where, layout, said))
        return replace(_by_header(where, layout, said, inside), notes=notes)


@contextmanager
def _naming_description(where: Place, written: Description) -> Iterator[None]:
    """Name the file that says how a catalog is read, where it does not fit; it counts for all files beside it."""
    try:
        yield
    except UsageError as error:
        if written == Description():
            raise
        raise UsageError(
            f"{error}; {masked(description_file(where))} says how each file of its folder is read: correct it, name "
            "the columns of this file with --columns, or keep it in another folder"
        ) from error


def form_of(where: Place, said: Description, inside: Inside) -> str:
    """Return the form of a file: what was said, what its first bytes show for certain, else what its name says.

    A file whose name says nothing is taken for CSV if its header has the columns of a catalog.

    Args:
        where: The file.
        said: What a person says of it.
        inside: What a look into it shows.

    Raises:
        UsageError: If nothing says it, or the file is Parquet inside of a compressed one.
    """
    if said.format in _FORMS:
        return _FORMS[said.format]
    suffix = inside.name.lower().rpartition(".")[2]
    if inside.container == "xlsx":
        return "xlsx"
    if inside.head.startswith(b"PAR1"):
        if inside.container != "plain":
            raise catalog_error(where, "holds Parquet that is compressed once more; unpack it")
        return "parquet"
    if looks_like_xml(inside.head):
        return "xml"
    form = _FORMS.get(suffix, "")
    if form in ("json", "jsonl") or (not form and inside.head.lstrip()[:1] in (b"{", b"[")):
        return json_form(inside.head)
    if form or any(
        _fits(where, replace(with_details(Layout("csv"), said), separator=each), said) for each in SEPARATORS
    ):
        return form or "csv"
    raise catalog_error(
        where,
        f"is of an unknown form; expected a directory, {_FILES}, or give --format",
    )


def separator_of(where: Place, layout: Layout, said: Description) -> str:
    """Return the one separator with which the header has the columns that a catalog needs; else the comma."""
    fitting = [each for each in SEPARATORS if _fits(where, replace(layout, separator=each), said)]
    return fitting[0] if len(fitting) == 1 else ","


def _fits(where: Place, layout: Layout, said: Description) -> bool:
    try:
        _columns(where, layout, said, names_of(where, layout))
    except UsageError:
        return False
    return True


def _by_header(where: Place, layout: Layout, said: Description, inside: Inside | None) -> Recognised:
    names = names_of(where, layout)
    layout = _columns(where, layout, said, names)
    encoding = encoding_of(layout, inside.head) if inside else ""
    return Recognised(layout, tuple(names), words_of(layout, inside), encoding)


def _columns(where: Place, layout: Layout, said: Description, names: Sequence[str]) -> Layout:
    """Return the layout with the columns that the header has, or that were said.

    Raises:
        UsageError: If a column that is needed is missing.
    """
    kind = said.format if said.format in PRESETS else kind_of(names)
    if said.format not in PRESETS and said.columns.keys() >= set(CATALOG_REQUIRED):
        kind = ""  # what was said leaves nothing to the columns of a shop system
    if kind:
        preset = PRESETS[kind]
        known = {name.strip().lower() for name in names}
        group_by = next((name for name in preset.group_by if name.lower() in known), "")
        layout = replace(
            layout,
            kind=kind,
            columns=preset.columns,
            # XML has an element for each link, and a link may hold a comma.
            image_separator=layout.image_separator or ("" if layout.form == "xml" else preset.image_separator),
            group_by=layout.group_by or group_by,
            passed_over=preset.passed_over,
            id_prefix=preset.id_prefix,
        )
    needed = [name for theirs in said.columns.values() for name in theirs]
    # A person's group_by as well: of a misspelt one nobody would see that each variant has become a product.
    needed += [said.group_by] if said.group_by else []
    layout = replace(layout, columns={**layout.columns, **said.columns}, needed=tuple(needed))
    if not names:
        return layout
    places = column_places(names, layout, where)
    return replace(layout, own_numbers=has_own_numbers(places, layout))


def kind_of(names: Sequence[str]) -> str:
    """Return the shop system whose export has these columns; empty if it is none, or the names are a catalog's own."""
    known = {name.strip().lower() for name in names}
    if known.issuperset(CATALOG_REQUIRED):
        return ""
    return next((kind for kind, preset in PRESETS.items() if any(known >= each for each in preset.signature)), "")


def with_details(layout: Layout, said: Description) -> Layout:
    """Return a layout with the details that were said."""
    details = ("separator", "encoding", "base_url", "image_separator", "header_line", "group_by", "product_id")
    given = {name: getattr(said, name) for name in (*details, "max_images") if getattr(said, name)}
    if said.quote is not None:
        given["quote"] = said.quote
    return replace(layout, **given)


def words_of(layout: Layout, inside: Inside | None) -> str:
    """Return what a catalog was taken for.

    Args:
        layout: How it is read.
        inside: What a look into the file shows; None for a directory.
    """
    forms = {"jsonl": "JSON Lines", "parquet": "Parquet", "json": "JSON", "xml": "XML", "xlsx": "an XLSX workbook"}
    words = forms.get(layout.form, f"CSV with {_separator(layout.separator)}")
    if inside and (encoding := encoding_of(layout, inside.head)):
        words += f" in {encoding}"
        words += f", from {inside.container}" if inside.container != "plain" else ""
    if layout.kind:
        words += f", an export for {PRESETS[layout.kind].name}"
    return words


def encoding_of(layout: Layout, head: bytes) -> str:
    """Return the name of a text's encoding for people; empty for forms that are not text.

    Args:
        layout: How the file is read.
        head: First bytes of its content.
    """
    if layout.form not in ("csv", "jsonl", "json", "xml"):
        return ""
    unmarked = UTF_8[0]
    if layout.form == "json":
        unmarked = json.detect_encoding(head)
    elif layout.form == "xml":
        unmarked = xml_encoding(head)
    return encoding_name(head, layout.encoding, unmarked)


def _separator(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))
