"""What can be set from outside: the environment's `SHELFWISE_*` variables, read once at the command line's edge."""

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
    """Return `.shelfwise` in the clone, or in the working directory where the package is installed without one."""
    return (_CLONE if (_CLONE / "pyproject.toml").is_file() else Path.cwd()) / ".shelfwise"


AnyPlace = Annotated[Place, PlainValidator(place)]


class Settings(BaseSettings):
    """The environment's `SHELFWISE_*` variables, checked.

    Attributes:
        home: Where all state lives; may be in an object store: `s3://bucket/shelfwise`.
        local_dir: Where what cannot be in a store lives if `home` is in one.
        database_url: SQLAlchemy URL of the product database; empty is SQLite in `home`.
        release_dir: The release that predict uses; may be in an object store.
        master: Spark's master.
        driver_memory: Of Spark's JVM; in local mode that is all of Spark.
        executor_cores: Of each executor on a cluster; 0 takes what spark-submit was told, else 1.
        executor_wait_seconds: How long a cluster may take to start the first executor.
        gpu: Whether predict must have a GPU for each of its tasks.
        spark_conf: JSON, further properties of Spark: `{"spark.executor.memory": "8g"}`.
        precision: What the networks compute in; `auto` is mixed_float16 on a GPU where that answers the same.
        products_url: Database of the table that the catalog `products` means; empty is the product database.
        products_table: That table or view, with its schema where it needs one.
        products_columns: JSON, its name of each catalog column that is called otherwise: `{"product_id": "sku"}`.
        http_allowed_networks: Networks that image links may lead to although they are not public, with commas between.
        http_per_host: Requests that one web server has to answer at a time.
        http_total_seconds: One request for an image, from its connection to its last byte.
        http_tries: Of one image, where the server is busy or the connection breaks.
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
    products_columns: dict[str, str] = Field(default_factory=dict)
    http_allowed_networks: str = ""
    http_per_host: int = Field(default=HttpLimits.per_host, ge=1, le=256)
    http_total_seconds: float = Field(default=HttpLimits.total_seconds, gt=0)
    http_tries: int = Field(default=HttpLimits.tries, ge=1, le=20)

    @field_validator("home", "local_dir")
    @classmethod
    def _taken_as_it_is(cls, directory: Place | None) -> Place | None:
        """Refuse what Spark takes for two directories, and what would break the lines of its messages."""
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
        """Refuse a store for what needs a disk."""
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
        """Return where everything lies, with the paths of this machine made absolute."""
        local = self.local_dir if isinstance(self.local_dir, Path) else None
        if isinstance(self.home, Path):
            home = self.home.expanduser().absolute()
            return Places(home)
        return Places(self.home, (local or default_home()).expanduser().absolute())

    @property
    def url(self) -> str:
        """Return the product database's URL."""
        return self.database_url or f"sqlite:///{quote(str(self.embedded_database))}"

    @property
    def embedded_database(self) -> Path:
        """Return the file of the SQLite database that serves when no URL is set."""
        return self.places.local_home / "shelfwise.db"

    @property
    def products(self) -> ProductSource:
        """Return the table that the catalog `products` means."""
        own = not self.products_url and not self.products_columns and self.products_table == "products"
        return ProductSource(self.products_url or self.url, self.products_table, self.products_columns, own)

    @property
    def http(self) -> HttpLimits:
        """Return how images are fetched from web servers."""
        return HttpLimits(
            per_host=self.http_per_host,
            total_seconds=self.http_total_seconds,
            tries=self.http_tries,
            allowed_networks=tuple(text.strip() for text in self.http_allowed_networks.split(",") if text.strip()),
        )

    @property
    def spark(self) -> SparkConfig:
        """Return how Spark is started."""
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
