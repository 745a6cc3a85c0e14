"""Which keys of a description count for which form of catalog; what a person says to no effect is refused or named.

An option names one catalog, so one that its form has no use for is refused. A `shelfwise.toml` serves all files beside
it, of any form: keys that are for others of these files are passed over, in words. Where the catalog is the directory
in which it lies, it serves this catalog alone, and such a key is refused as an option is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from jobs.catalog.description import FILE_NAME, Description
from jobs.catalog.errors import catalog_error
from jobs.storage.places import Place

_TEXTS = ("csv", "jsonl", "json", "xml")
_RECORDS = (*_TEXTS, "xlsx", "parquet", "tables")
_FILES = "files and tables"
_COUNT_FOR: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "format": ("files", _RECORDS),
        "columns": (_FILES, _RECORDS),
        "separator": ("CSV", ("csv",)),
        "quote": ("CSV", ("csv",)),
        "encoding": ("CSV, JSON and XML", _TEXTS),
        "base_url": (_FILES, _RECORDS),
        "image_separator": (_FILES, _RECORDS),
        "header_line": ("CSV and XLSX", ("csv", "xlsx")),
        "group_by": (_FILES, _RECORDS),
        "product_id": ("directories of pictures", ("folders",)),
        "max_images": ("all catalogs", (*_RECORDS, "folders")),
    }
)
_WORDS = {
    **{"csv": "CSV", "jsonl": "JSON Lines", "json": "JSON", "xml": "XML", "xlsx": "an XLSX workbook"},
    **{"parquet": "Parquet", "tables": "a directory of Parquet files", "folders": "a directory of pictures"},
}
_REMEDIES = {
    ("group_by", "folders"): "leave it out; --product-id folder makes the pictures of each folder one product",
    ("product_id", "tables"): "leave it out, or name the column with --columns product_id=COLUMN",
}


def refuse_without_effect(said: Description, form: str, where: Place, *, by_file: bool = False) -> None:
    """Refuse what a person says of a catalog that does not count for its form.

    Args:
        said: Options, or the `shelfwise.toml` of a directory.
        form: As in `jobs.catalog.layout.Layout`; `tables` is a directory of Parquet files.
        where: The catalog.
        by_file: Whether the description comes from a `shelfwise.toml`.

    Raises:
        UsageError: If there is such a key; the message names it and what it is for.
    """
    for name in without_effect(said, form):
        key = f"{name} of its {FILE_NAME}" if by_file else f"--{name.replace('_', '-')}"
        remedy = _REMEDIES.get((name, form), "leave it out")
        raise catalog_error(where, f"is {_WORDS[form]}, and {key} is for {_COUNT_FOR[name][0]}; {remedy}")


def without_effect(said: Description, form: str) -> list[str]:
    """Return the keys that a description sets and that do not count for a form of catalog.

    Args:
        said: The description.
        form: As in `refuse_without_effect`.
    """
    names = [name for name, (_, forms) in _COUNT_FOR.items() if _is_set(said, name) and form not in forms]
    # Of a directory only the Parquet files are read; the name of a shop system says which columns they have.
    others = form == "tables" and said.format not in ("auto", "parquet", "google", "shopify", "woocommerce")
    return ["format", *names] if others else names


def passed_over_keys(written: Description, form: str) -> tuple[Description, tuple[str, ...]]:
    """Leave out of a `shelfwise.toml` beside a file what is for files of other forms.

    Args:
        written: The description beside the file.
        form: Form of the file.

    Returns:
        The description of this file, and a sentence about what was left out, or none.
    """
    names = without_effect(written, form)
    if not names:
        return written, ()
    kept = {name: getattr(written, name) for name in written.model_fields_set if name not in names}
    sentence = f"passed over {', '.join(names)} of {FILE_NAME}, as the file is {_WORDS[form]}"
    return Description.model_validate(kept), (sentence,)


def _is_set(said: Description, name: str) -> bool:
    return name in said.model_fields_set and getattr(said, name) != Description.model_fields[name].get_default(
        call_default_factory=True
    )
