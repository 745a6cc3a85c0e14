"""What one ingest reads, and how it fetches images from web servers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from jobs.errors import UsageError
from jobs.ingest.addresses import PORTS, AddressGuard
from jobs.storage.places import Places


@dataclass(frozen=True)
class ProductSource:
    """The table that the catalog `products` means: the product database's own, or a shop's.

    Attributes:
        url: SQLAlchemy URL of its database; never shown, since it may hold a password.
        table: Table or view, with its schema where it needs one.
        columns: Its name of each catalog column that is called otherwise: `{"product_id": "sku"}`.
        own: Whether it is the product database's own, which publish fills; a shop's is never written to.
    """

    url: str = field(repr=False)
    table: str = "products"
    columns: Mapping[str, str] = field(default_factory=dict)
    own: bool = False


@dataclass(frozen=True)
class HttpLimits:
    """How images are fetched from web servers.

    Attributes:
        per_host: Requests that one host has to answer at a time, from the whole run.
        connect_seconds: To connect to one address.
        read_seconds: Between two pieces of an answer.
        total_seconds: One request, from its connection to its last byte.
        tries: Of one image, the first included.
        longest_wait_seconds: A server that asks for a longer pause before the next try is left alone until tomorrow.
        redirects: Followed for one image.
        allowed_networks: May be reached although they are not public, on any port: `10.2.0.0/16`, `127.0.0.1`.
        ports: Of public addresses.
    """

    per_host: int = 8
    connect_seconds: float = 5.0
    read_seconds: float = 15.0
    total_seconds: float = 60.0
    tries: int = 4
    longest_wait_seconds: float = 60.0
    redirects: int = 3
    allowed_networks: tuple[str, ...] = ()
    ports: tuple[int, ...] = PORTS

    def __post_init__(self) -> None:
        """Refuse what is no network."""
        for text in self.allowed_networks:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise UsageError(
                    f"SHELFWISE_HTTP_ALLOWED_NETWORKS: {text!r} is no network ({error}); write 10.2.0.0/16 or 10.2.3.4"
                ) from error

    @property
    def guard(self) -> AddressGuard:
        """Return what decides where a request may go."""
        return AddressGuard(tuple(ipaddress.ip_network(text) for text in self.allowed_networks), self.ports)


@dataclass(frozen=True)
class IngestConfig:
    """What one ingest does.

    Attributes:
        catalog: A directory, a CSV, JSON Lines or Parquet file, or `products` for the database's table.
        ingest_date: The partition that new images go to.
        places: Where state lives.
        shard_bytes: A dataset file is closed once its JPEGs reach this many bytes.
        products: Which table the catalog `products` means.
        http: How images are fetched from web servers.
    """

    catalog: str
    ingest_date: date
    places: Places
    shard_bytes: int = 64 * 1024 * 1024
    products: ProductSource | None = None
    http: HttpLimits = field(default_factory=HttpLimits)
