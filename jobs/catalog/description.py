"""What a person says about a catalog: its form and columns, by options or in a `shelfwise.toml` beside it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from jobs.catalog.errors import catalog_error, read_errors_explained
from jobs.catalog.links import checked_base_url
from jobs.dataset.schema import CATALOG_COLUMNS
from jobs.errors import UsageError
from jobs.storage.places import Place
from jobs.storage.stores import is_dir, is_file, place, read_bytes

Format = Literal["auto", "csv", "tsv", "jsonl", "json", "parquet", "xlsx", "xml", "google", "shopify", "woocommerce"]
FORMATS: tuple[str, ...] = get_args(Format)
ProductIdOf = Literal["stem", "path", "folder"]
PRODUCT_IDS_OF: tuple[str, ...] = get_args(ProductIdOf)
FILE_NAME = "shelfwise.toml"
DEFAULT_MAX_IMAGES = 10
_COLUMN = re.compile(r'\s*([^\s=,"]+)\s*=\s*(?:"((?:[^"]|"")+)"|([^",\s][^,]*?))\s*(?=,|$)')
"""A part of `--columns`: a column of the catalog, and one of the file, with or without quotation marks around it."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_several)]


class Description(BaseModel):
    """What a person says about a catalog; None or empty where nothing is said.

    Attributes:
        format: One of `FORMATS`; `auto` recognises it by the name, the first bytes and the header.
        columns: Maps a column of the catalog to the file's columns that hold it, in the order in which they count:
            `{"product_id": ("sku",), "image_uri": ("main_image", "other_image*")}`. A `*` at the end stands for a
            number.
        separator: Character between two values of a text file; `\\t` is a tab.
        quote: Character around values that hold separators or newlines; empty means that there is none.
        encoding: Encoding of a text file, by a name that Python knows.
        base_url: What relative links are relative to: an http(s) or s3 URL. The catalog's own directory without it.
        image_separator: Text between several links in one value.
        header_line: Number of the line with the names of the columns, from 1; lines above it are skipped.
        group_by: Column whose value makes one product of several rows, and their pictures its images.
        product_id: What of a file's path is the product_id in a directory of pictures: its name without the suffix, its
            path, or its folder.
        max_images: Most images of a product that are read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format = "auto"
    columns: dict[str, Names] = Field(default_factory=dict)
    separator: str = Field(default="", max_length=1)
    quote: str | None = Field(default=None, max_length=1)
    encoding: str = ""
    base_url: str = ""
    image_separator: str = ""
    header_line: int | None = Field(default=None, ge=1, le=100)
    group_by: str = ""
    product_id: ProductIdOf | None = None
    max_images: int | None = Field(default=None, ge=1, le=1000)

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, columns: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        unknown = sorted(set(columns) - set(CATALOG_COLUMNS))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no column of a catalog; expected {', '.join(CATALOG_COLUMNS)}")
        for name, theirs in columns.items():
            if not theirs or not all(theirs):
                raise ValueError(f"{name} is given no column")
            if len(set(theirs)) < len(theirs):
                raise ValueError(f"{name} is given one column twice")
        return columns

    @field_validator("base_url")
    @classmethod
    def _usable_base_url(cls, base_url: str) -> str:
        return checked_base_url(base_url)

    def over(self, other: Description) -> Description:
        """Return a description that says what this one says, and where it says nothing, what the other one says."""
        return other.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


def described(**said: Any) -> Description:
    """Return the description of options, of which those that were not given are None.

    Raises:
        UsageError: If a value is not allowed; the message names the option.
    """
    given = {name: value for name, value in said.items() if value is not None}
    try:
        return Description.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{str(first['loc'][0]).replace('_', '-')}: {_reason(first)}") from error


def parse_columns(text: str) -> dict[str, tuple[str, ...]]:
    """Parse the option `--columns product_id=sku,image_uri=image_link`; image_uri may be given several columns.

    A name with a comma stands in quotation marks, as in CSV: `image_uri="Image URLs (x,y,z...)"`.

    Raises:
        UsageError: If a part is not `column=theirs`, or a column other than image_uri is given twice.
    """
    columns: dict[str, tuple[str, ...]] = {}
    at = 0
    while at <= len(text):
        match = _COLUMN.match(text, at)
        if match is None:
            part = text[at:] if '"' in text[at:] else text[at:].partition(",")[0]
            raise UsageError(
                f"--columns has {part.strip()!r}; write column=theirs, such as product_id=sku,title=name, and a name "
                "with a comma in quotation marks"
            )
        ours, quoted, plain = match.groups()
        if ours in columns and ours != "image_uri":
            raise UsageError(f"--columns names {ours} twice; name it once")
        theirs = plain if quoted is None else quoted.replace('""', '"')
        columns[ours] = (*columns.get(ours, ()), theirs)
        at = match.end() + 1
    return columns


def description_file(catalog: str | Place) -> Place:
    """Return where the description of a catalog lies: in a directory, or beside a file."""
    where = place(catalog)
    return (where if is_dir(where) else where.parent) / FILE_NAME


def read_description(catalog: str | Place) -> Description:
    """Read the `shelfwise.toml` of a catalog; an empty description if there is none.

    Raises:
        UsageError: If the file is no TOML, or has a key or value that is not allowed.
    """
    file = description_file(catalog)
    if not is_file(file):
        return Description()
    with read_errors_explained(file):
        content = read_bytes(file)
    try:
        said = tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise catalog_error(file, "is nested too deep; write keys and values alone") from error
    except ValueError as error:  # faulty TOML, no UTF-8, or a number with more digits than Python converts
        raise catalog_error(file, f"is no TOML ({str(error)[:200]}); correct it") from error
    try:
        return Description.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"][:2]))
        raise catalog_error(file, f"has {name!r}: {_reason(first)}") from error


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return f"no such key; expected {', '.join(Description.model_fields)}"
    return str(error["msg"]).removeprefix("Value error, ")[:300]


def is_description(path: Path) -> bool:
    """Return whether a file of a directory is its description, not data."""
    return path.name == FILE_NAME


def toml_of(description: Description) -> str:
    """Return the text of a `shelfwise.toml` that says the same."""
    said = description.model_dump(mode="json", exclude_defaults=True)
    columns = said.pop("columns", {})
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in said.items()]
    if columns:
        lines += ["", "[columns]"]
    for ours, theirs in columns.items():
        value = theirs[0] if len(theirs) == 1 else theirs
        lines.append(f"{ours} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines).strip() + "\n"
