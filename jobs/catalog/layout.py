"""How a catalog is read: its form, the columns of its file that hold the catalog's columns, and the details of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from jobs.catalog.description import DEFAULT_MAX_IMAGES

Columns = Mapping[str, tuple[str, ...]]

SEPARATORS: Mapping[str, str] = MappingProxyType({",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"})
"""Separators of text files that are recognised, and their words in messages."""


@dataclass(frozen=True)
class Layout:
    """How a catalog is read; complete, so that every task of a run reads it in the same way.

    Attributes:
        form: `csv` (of any separator), `jsonl`, `json`, `parquet`, `xlsx`, `xml`, `folders` or `table`.
        kind: The shop system whose export it is (`google`, `shopify`, `woocommerce`), or empty.
        columns: Maps a column of the catalog to the columns of the file that may hold it. Of several, the first with a
            value counts; those of `image_uri` all count, in their order.
        needed: Columns that the file has to have, as a person named them; the file is refused without one.
        separator: Character between two values of a text file.
        quote: Character around values; empty means that there is none.
        encoding: Python's name of the text's encoding; empty means UTF-8 with or without a byte order mark, or UTF-16
            with one.
        is_encoding_written: Whether `shelfwise.toml` says the encoding, so that a file in UTF-8 is refused.
        header_line: Number of the line with the columns' names, from 1.
        base_url: What relative links are relative to; empty means the catalog's own directory.
        image_separator: Text between several links in one value; empty means that a value is one link.
        group_by: Column whose value is the product_id of all rows that share it; empty if each row has its own product.
        product_id: `stem`, `path` or `folder`: what of a path is the product_id in a directory of pictures.
        max_images: Most images of a product that are read.
        own_numbers: Whether each row has one image, with the number that the catalog gives it; then all are read.
        passed_over: A column and its value: records with this value and without an image are no products.
        id_prefix: Text before the id of a group, or of the product that several rows are, which is no part of it.
    """

    form: str
    kind: str = ""
    columns: Columns = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    separator: str = ","
    quote: str = '"'
    encoding: str = ""
    is_encoding_written: bool = False
    header_line: int = 1
    base_url: str = ""
    image_separator: str = ""
    group_by: str = ""
    product_id: str = "stem"
    max_images: int = DEFAULT_MAX_IMAGES
    own_numbers: bool = False
    passed_over: tuple[str, str] | None = None
    id_prefix: str = ""


@dataclass(frozen=True)
class Preset:
    """What the export of a shop system is known by, and how it is read.

    Attributes:
        name: Name of the shop system.
        signature: Sets of columns, in lower case; a header that has all of one set is of this shop system.
        columns: As in `Layout`; the columns need not be in the file.
        image_separator: As in `Layout`.
        group_by: Names that the column `Layout.group_by` has had.
        passed_over: As in `Layout`.
        id_prefix: As in `Layout`.
    """

    name: str
    signature: tuple[frozenset[str], ...]
    columns: Columns
    image_separator: str = ""
    group_by: tuple[str, ...] = ()
    passed_over: tuple[str, str] | None = None
    id_prefix: str = ""


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "google": Preset(
            "Google Merchant",
            (frozenset({"id", "image_link"}),),
            {
                "product_id": ("id",),
                "image_uri": ("image_link", "additional_image_link"),
                "title": ("title",),
                "category": ("product_type", "google_product_category"),
                "group_id": ("item_group_id",),
            },
            image_separator=",",
        ),
        "shopify": Preset(
            "Shopify",
            (frozenset({"handle", "image src"}), frozenset({"url handle", "product image url"})),
            {
                "product_id": ("Handle", "URL handle"),
                "image_no": ("Image Position",),
                "image_uri": ("Image Src", "Product image URL"),
                "title": ("Title",),
                "category": ("Product Category", "Product category", "Type"),
            },
            group_by=("Handle", "URL handle"),
        ),
        "woocommerce": Preset(
            "WooCommerce",
            (frozenset({"sku", "name", "images"}),),
            {
                "product_id": ("SKU", "ID"),
                "image_uri": ("Images",),
                "title": ("Name",),
                "category": ("Categories",),
                "group_id": ("Parent",),
            },
            image_separator=",",
            # A variation without a picture is shown with its parent's.
            passed_over=("Type", "variation"),
            id_prefix="id:",  # a parent without SKU is named by its ID
        ),
    }
)
"""By name of the shop system. After the vendors' own documentation of their exports."""
