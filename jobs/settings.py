"""Settings from the `SHELFWISE_*` environment variables; the command line reads them once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, PlainValidator, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.ingest.config import HttpLimits, ProductSource
from jobs.spark.config import SparkConfig
from jobs.storage.places import Place, Places
from jobs.storage.stores import place, scheme_of
from models.release import SHIPPED

_CLONE = Path(__file__).resolve().parents[1]


def default_home() -> Path:
    """Return the default of SHELFWISE_HOME: `.shelfwise` in the clone, or in the working directory without one."""
    return (_CLONE if (_CLONE / "pyproject.toml").is_file() else Path.cwd()) / ".shelfwise"


AnyPlace = Annotated[Place, PlainValidator(place)]


class Settings(BaseSettings):
    """Checked values of the `SHELFWISE_*` environment variables.

    Attributes:
        home: Directory of all state; may be in an object store: `s3://bucket/shelfwise`.
        local_dir: Directory on this machine for files that cannot be in a store; used if `home` is in one.
        database_url: SQLAlchemy URL of the product database; if empty, an SQLite file in `home`.
        release_dir: Directory of the release that predict uses; may be in an object store.
        master: Spark master URL.
        driver_memory: Memory of Spark's JVM: `2g`, `512m`. In local mode this JVM is all of Spark.
        executor_cores: Cores of each executor on a cluster; 0 uses the value given to spark-submit, or else 1.
        executor_wait_seconds: Longest wait for the first executor of a cluster, in seconds.
        gpu: Whether each predict task needs a GPU.
        spark_conf: JSON object of further Spark properties: `{"spark.executor.memory": "8g"}`.
        precision: Number format in which the networks compute. `auto` uses mixed_float16 on a GPU if the answers stay
            the same, else float32.
        products_url: SQLAlchemy URL of the database that the catalog `products` reads; if empty, the product database.
        products_table: Name of the table or view there, with its schema if the database needs one.
        products_columns: JSON object that maps a catalog column to the table's column where the names differ, or to
            several columns: `{"product_id": "sku", "image_uri": ["front", "back"]}`.
        http_allowed_networks: Networks that image links may lead to although they are not public, separated by commas.
        http_per_host: Most concurrent requests to one web server.
        http_total_seconds: Longest duration of one request for an image in seconds, from connecting to the last byte.
        http_tries: Most attempts for one image; a retry follows if the server is busy or the connection breaks.
    """

    model_config = SettingsConfigDict(env_prefix="SHELFWISE_", frozen=True)

    home: AnyPlace = Field(default_factory=default_home)
    local_dir: AnyPlace | None = None
    database_url: str = ""
    release_dir: AnyPlace = SHIPPED
    master: str = "local[*]"
    driver_memory: str = Field(default="2g", pattern=r"^[0-9]+[mg]$")
    executor_cores: int = Field(default=0, ge=0)
    executor_wait_seconds: int = Field(default=120, ge=1)
    gpu: bool = False
    spark_conf: dict[str, str] = Field(default_factory=dict)
    precision: Literal["auto", "float32", "mixed_float16"] = "auto"
    products_url: str = ""
    products_table: str = "products"
    products_columns: dict[str, str | list[str]] = Field(default_factory=dict)
    http_allowed_networks: str = ""
    http_per_host: int = Field(default=HttpLimits.per_host, ge=1, le=256)
    http_total_seconds: float = Field(default=HttpLimits.total_seconds, gt=0)
    http_tries: int = Field(default=HttpLimits.tries, ge=1, le=20)

    @field_validator("home", "local_dir")
    @classmethod
    def _printable_without_comma(cls, directory: Place | None) -> Place | None:
        """Refuse a path with a comma, which Spark would split, or with an unprintable character."""
        text = str(directory.expanduser().absolute()) if isinstance(directory, Path) else ""
        if "," in text or not text.isprintable():
            raise ValueError(
                f"{text!r} has a comma in its path, at which Spark would cut it, or a character that cannot be "
                "printed; choose another directory"
            )
        return directory

    @field_validator("local_dir")
    @classmethod
    def _on_this_machine(cls, local_dir: Place | None) -> Place | None:
        """Refuse an object store for files that need a disk."""
        if local_dir is not None and not isinstance(local_dir, Path):
            raise ValueError(
                f"{local_dir} is in a store, and scratch files need a disk; give a directory of this machine"
            )
        return local_dir

    @field_validator("database_url")
    @classmethod
    def _database_on_a_disk(cls, url: str) -> str:
        """Refuse an SQLite file in a store: SQLite needs the locks of a disk."""
        if re.match(r"sqlite.*://.*:/", url) or scheme_of(url):
            raise ValueError("SQLite needs a disk of this machine; give a local file or a postgresql:// URL")
        return url

    @property
    def places(self) -> Places:
        """Return the directories of the home, with absolute local paths."""
        local = self.local_dir if isinstance(self.local_dir, Path) else None
        if isinstance(self.home, Path):
            home = self.home.expanduser().absolute()
            return Places(home)
        return Places(self.home, (local or default_home()).expanduser().absolute())

    @property
    def url(self) -> str:
        """Return the SQLAlchemy URL of the product database."""
        return self.database_url or f"sqlite:///{quote(str(self.embedded_database))}"

    @property
    def embedded_database(self) -> Path:
        """Return the file of the SQLite database that is used if no URL is set."""
        return self.places.local_home / "shelfwise.db"

    @property
    def products(self) -> ProductSource:
        """Return the database table that the catalog `products` reads."""
        own = not self.products_url and not self.products_columns and self.products_table == "products"
        return ProductSource(self.products_url or self.url, self.products_table, self.products_columns, own)

    @property
    def http(self) -> HttpLimits:
        """Return the limits for fetching images from web servers."""
        return HttpLimits(
            per_host=self.http_per_host,
            total_seconds=self.http_total_seconds,
            tries=self.http_tries,
            allowed_networks=tuple(text.strip() for text in self.http_allowed_networks.split(",") if text.strip()),
        )

    @property
    def spark(self) -> SparkConfig:
        """Return the configuration of Spark sessions."""
        places = self.places
        return SparkConfig(
            master=self.master,
            driver_memory=self.driver_memory,
            scratch_dir=places.scratch / "spark",
            shared_dir=places.home if isinstance(places.home, Path) else None,
            executor_cores=self.executor_cores,
            gpu=self.gpu,
            wait_seconds=self.executor_wait_seconds,
            properties=self.spark_conf,
        )
