"""Configuration of one ingest: its catalog and dataset, and the limits for fetching images from web servers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from jobs.catalog.description import Description
from jobs.dataset.label_map import LabelMap
from jobs.errors import UsageError
from jobs.ingest.addresses import PORTS, AddressGuard
from jobs.ingest.catalog_names import catalog_name_of, check_catalog_name
from jobs.ingest.request_headers import check_headers
from jobs.storage.places import Places


@dataclass(frozen=True)
class ProductSource:
    """Configuration of the catalog `products`: the table that it reads, of the product database or of a shop.

    Attributes:
        url: SQLAlchemy URL of the database; never shown, since it may hold a password.
        table: Name of the table or view, with its schema if the database needs one: `shop.products`.
        columns: Maps a catalog column to the table's column where the names differ, or to several columns:
            `{"product_id": "sku", "image_uri": ["front", "back"]}`.
        own: Whether it is the product database's own table, which publish fills. A shop's table is only read.
    """

    url: str = field(repr=False)
    table: str = "products"
    columns: Mapping[str, str | list[str]] = field(default_factory=dict)
    own: bool = False


@dataclass(frozen=True)
class HttpLimits:
    """Configuration of the limits for fetching images from web servers.

    Attributes:
        per_host: Most concurrent requests to one host, over all tasks of the run.
        connect_seconds: Longest wait for a connection to one address.
        read_seconds: Longest wait for the next bytes of a response.
        total_seconds: Longest duration of one request, from connecting to the last byte.
        tries: Most attempts for one image, the first included.
        longest_wait_seconds: Longest pause that a server may ask for before a retry. A server that asks for more gets
            no further request in this run.
        redirects: Most redirects to follow for one image.
        allowed_networks: Networks that may be reached on any port although they are not public: `10.2.0.0/16`,
            `127.0.0.1`.
        ports: TCP ports that are allowed for public addresses.
        headers: Headers for single hosts, `cdn.shop.example` or `cdn.shop.example:8080`: name to value. They may hold
            secrets, so they are not shown.
    """

    per_host: int = 8
    connect_seconds: float = 5.0
    read_seconds: float = 15.0
    total_seconds: float = 60.0
    tries: int = 4
    longest_wait_seconds: float = 60.0
    redirects: int = 5
    allowed_networks: tuple[str, ...] = ()
    ports: tuple[int, ...] = PORTS
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raise UsageError if an entry of `allowed_networks` is no network or address, or `headers` cannot be sent."""
        check_headers(self.headers)
        for text in self.allowed_networks:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise UsageError(
                    f"SHELFWISE_HTTP_ALLOWED_NETWORKS: {text!r} is no network ({error}); write 10.2.0.0/16 or 10.2.3.4"
                ) from error

    @property
    def guard(self) -> AddressGuard:
        """Return the guard that checks each address before a connection."""
        return AddressGuard(tuple(ipaddress.ip_network(text) for text in self.allowed_networks), self.ports)


FEWEST_LEFT = 50
"""Products that may leave a catalog in one night whatever share of it they are."""


@dataclass(frozen=True)
class IngestConfig:
    """Configuration of one ingest: its catalog, date and dataset.

    Attributes:
        catalog: Path or URI of a directory or file, or `products` for a database table.
        ingest_date: Partition to which new images are written.
        places: Directories of the home.
        shard_bytes: Size of a dataset file: it is closed once its JPEGs reach this many bytes.
        products: Database table that the catalog `products` reads.
        http: Limits for fetching images from web servers.
        labels: The shop's label map, against which the catalog's categories are checked; None checks none. It does not
            change what is stored.
        description: What the command line says about the catalog.
        catalog_name: Name under which products remember this catalog; an empty text is derived from `catalog`.
        partial: Whether the catalog names changes only; then nothing leaves.
        max_left: Largest share of the catalog's products that may leave in one night, in [0, 1]; `FEWEST_LEFT` products
            always may.
        max_megapixels: Millions of pixels that are decoded of an image, at least 1; of a JPEG that is decoded in parts
            at least 400.
    """

    catalog: str
    ingest_date: date
    places: Places
    shard_bytes: int = 64 * 1024 * 1024
    products: ProductSource | None = None
    http: HttpLimits = field(default_factory=HttpLimits)
    labels: LabelMap | None = None
    description: Description = field(default_factory=Description)
    catalog_name: str = ""
    partial: bool = False
    max_left: float = 0.2
    max_megapixels: int = 64

    def __post_init__(self) -> None:
        """Raise UsageError if the name cannot be one of a catalog, or the share is none."""
        if self.catalog_name:
            check_catalog_name(self.catalog_name)
        if not 0.0 <= self.max_left <= 1.0:
            raise UsageError(f"--max-left is a share between 0 and 1, received {self.max_left}")

    @property
    def name(self) -> str:
        """Name under which products remember this catalog."""
        return check_catalog_name(self.catalog_name) if self.catalog_name else catalog_name_of(self.catalog)
