"""Settings from the `SHELFWISE_*` environment variables; the command line reads them once."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, PlainValidator, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jobs.errors import UsageError
from jobs.ingest.config import HttpLimits, IngestConfig, ProductSource
from jobs.spark.config import SparkConfig
from jobs.storage.places import Place, Places
from jobs.storage.stores import place, scheme_of
from models.release import SHIPPED
from sql.records import SharedPictures

_CLONE = Path(__file__).resolve().parents[1]


def default_home() -> Path:
    """Return the default of SHELFWISE_HOME: `.shelfwise` in the clone, or in the working directory without one."""
    return (_CLONE if (_CLONE / "pyproject.toml").is_file() else Path.cwd()) / ".shelfwise"


def _place(value: str | Place) -> Place:
    """Turn the text of a setting into a place; an empty one would silently be the working directory."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty, where a directory or the URI of a store was expected; name one, or unset it")
    return place(value)


AnyPlace = Annotated[Place, PlainValidator(_place)]

_PREFIX = "SHELFWISE_"
_OF_OTHERS = frozenset(
    {"SHELFWISE_FASHION_MNIST", "SHELFWISE_IMAGES", "SHELFWISE_BATCHES", "SHELFWISE_STEP_SECONDS", "SHELFWISE_SECONDS"}
)
"""Variables that are no settings: of `models.fashion_mnist` and of the benchmark tests/benchmarks/on_device.sh."""
_OF_TESTS = "SHELFWISE_TEST_"


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
        precision: Number format in which the networks compute. `auto` uses mixed_float16 on a GPU, and bfloat16 on
            processors that multiply it, each once the answers were compared with those in float32, else float32.
        engine: What computes the networks. `auto` uses OpenVINO on processors and Keras on a GPU.
        engines_dir: Directory on this machine for releases in OpenVINO's format, which the homes of a user may share;
            None is `engines` in the home, or in `local_dir` if the home is in a store.
        java_dir: Directory on this machine for the archive of Spark's classes, some 180 MB, which the homes of a user
            may share; None is `java` in the home, or in `local_dir` if the home is in a store.
        products_url: SQLAlchemy URL of the database that the catalog `products` reads; if empty, the product database.
        products_table: Name of the table or view there, with its schema if the database needs one.
        products_columns: JSON object that maps a catalog column to the table's column where the names differ, or to
            several columns: `{"product_id": "sku", "image_uri": ["front", "back"]}`.
        http_allowed_networks: Networks that image links may lead to although they are not public, separated by commas.
        http_per_host: Most concurrent requests to one web server.
        http_total_seconds: Longest duration of one request for an image in seconds, from connecting to the last byte.
        http_tries: Most attempts for one image; a retry follows if the server is busy or the connection breaks.
        http_headers: JSON object of the headers that requests for images have for single hosts:
            `{"cdn.shop.example": {"Referer": "https://shop.example/", "User-Agent": "Mozilla/5.0"}}`.
        max_megapixels: Millions of pixels that are decoded of an image; a larger one is rejected.
        shared_picture_groups: Fewest groups of products whose same picture holds their answers back for a person; 0
            looks for no shared pictures.
        shared: Whether other users work in the home: new files get the modes of the umask. By default they are for
            this user alone, unless the home exists and lets others in; see `private_home`.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, hide_input_in_errors=True)

    home: AnyPlace = Field(default_factory=default_home)
    local_dir: AnyPlace | None = None
    database_url: str = ""
    release_dir: AnyPlace = SHIPPED
    master: str = "local[*]"
    driver_memory: str = Field(default="2g", pattern=r"^[0-9]+[mg]$")
    executor_cores: int = Field(default=0, ge=0)
    executor_wait_seconds: int = Field(default=120, ge=1)
    gpu: bool = False
    spark_conf: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    precision: Literal["auto", "float32", "mixed_float16"] = "auto"
    engine: Literal["auto", "openvino", "keras"] = "auto"
    engines_dir: AnyPlace | None = None
    java_dir: AnyPlace | None = None
    products_url: str = ""
    products_table: str = "products"
    products_columns: Annotated[dict[str, str | list[str]], NoDecode] = Field(default_factory=dict)
    http_allowed_networks: str = ""
    http_per_host: int = Field(default=HttpLimits.per_host, ge=1, le=256)
    http_total_seconds: float = Field(default=HttpLimits.total_seconds, gt=0)
    http_tries: int = Field(default=HttpLimits.tries, ge=1, le=20)
    http_headers: Annotated[dict[str, Any], NoDecode] = Field(default_factory=dict, repr=False)
    max_megapixels: int = Field(default=IngestConfig.max_megapixels, ge=1, le=1000)
    shared_picture_groups: int = Field(default=SharedPictures.groups, ge=0)
    shared: bool = False

    @field_validator("spark_conf", mode="before")
    @classmethod
    def _properties(cls, value: Any) -> Any:
        """Parse the JSON object of Spark properties; numbers and booleans become their texts."""
        document = _json_object(value, '{"spark.executor.memory": "8g"}')
        texts = {key: _property(each) for key, each in document.items()}
        if wrong := [key for key, text in texts.items() if text is None]:
            raise ValueError(f'{wrong[0]!r} has no text as its value; write the object as {{"NAME": "VALUE"}}')
        return texts

    @field_validator("products_columns", mode="before")
    @classmethod
    def _columns(cls, value: Any) -> Any:
        """Parse the JSON object of columns, and check that each is a name or a list of names."""
        document = _json_object(value, '{"product_id": "sku"}')
        for name, columns in document.items():
            several = columns if isinstance(columns, list) else [columns]
            if not several or any(not isinstance(column, str) for column in several):
                raise ValueError(f"{name!r} names no column of the table; give a column's name or a list of names")
        return document

    @field_validator("http_headers", mode="before")
    @classmethod
    def _headers(cls, value: Any) -> Any:
        """Parse the JSON object of headers by host; `HttpLimits` checks what is in it."""
        return _json_object(value, '{"cdn.shop.example": {"Referer": "https://shop.example/"}}')

    @field_validator("home", "local_dir", "engines_dir", "java_dir")
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

    @field_validator("home", "local_dir", "engines_dir", "java_dir")
    @classmethod
    def _directory(cls, directory: Place | None) -> Place | None:
        """Refuse a path on which, or above which, there is something else than a directory."""
        if not isinstance(directory, Path):
            return directory
        path = directory.expanduser().absolute()
        for each in (path, *path.parents):
            try:
                if each.is_dir():
                    break
                if os.path.lexists(each):
                    raise ValueError(f"{each} is no directory, so {path} cannot be one; choose another directory")
            except OSError as error:
                raise ValueError(f"{each} cannot be used ({error.strerror}); choose another directory") from error
        return directory

    @field_validator("local_dir", "engines_dir", "java_dir")
    @classmethod
    def _on_this_machine(cls, directory: Place | None) -> Place | None:
        """Refuse an object store for files that need a disk."""
        if directory is not None and not isinstance(directory, Path):
            raise ValueError(f"{directory} is in a store, and its files need a disk; give a directory of this machine")
        return directory

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
    def engines_path(self) -> Path | None:
        """Return the absolute directory of releases in OpenVINO's format; None if the home's own is used."""
        return _absolute(self.engines_dir)

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
            headers=self.http_headers,
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
            java_dir=_absolute(self.java_dir) or places.local_home / "java",
            properties=self.spark_conf,
        )


def _absolute(directory: Place | None) -> Path | None:
    """Return the absolute path of a directory of this machine; None if there is none."""
    return directory.expanduser().absolute() if isinstance(directory, Path) else None


def _json_object(value: Any, example: str) -> dict[str, Any]:
    """Parse the text of a setting that is a JSON object; messages never repeat it, because it may hold passwords."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"it is not JSON ({error}); write it as {example}") from error
        except RecursionError as error:
            raise ValueError(f"it is nested too deep; write it as {example}") from error
    if not isinstance(value, dict):
        raise ValueError(f"it is {type(value).__name__}, where a JSON object was expected; write it as {example}")
    return value


def _property(value: Any) -> str | None:
    """Return the value of a Spark property as Spark reads it; None if it is no text, number or boolean."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else None


class _Modes(BaseSettings):
    """The settings on which the modes of new files depend, as texts: to read them reaches no store."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, hide_input_in_errors=True)

    home: str = ""
    local_dir: str = ""
    shared: bool = False


def private_home() -> Path | None:
    """Return the home's directory on this machine, in which new files are for this user alone; None if it is shared.

    Values that cannot be used give the default home; the command refuses them when it builds its settings.
    """
    with suppress(ValidationError, UsageError):
        modes = _Modes()
        if modes.shared:
            return None
        text = modes.local_dir if scheme_of(modes.home) else modes.home
        if text:
            return Path(str(place(text))).expanduser().absolute()
    return default_home()


def sentence_of(error: ValidationError) -> str:
    """Return one sentence on the first setting that is wrong: its name and what to do, never its whole value.

    Args:
        error: What building `Settings` raised. Its own text has many lines, and it may repeat a password.
    """
    first = error.errors(include_input=False)[0]
    name = f"{_PREFIX}{str(first['loc'][0]).upper()}" if first["loc"] else "the environment"
    return f"{name}: {first['msg'].removeprefix('Value error, ')}"


def misspelt(names: Iterable[str]) -> list[str]:
    """Return a sentence for each environment variable that looks like a setting and is none.

    Args:
        names: Names of environment variables.
    """
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields} | _OF_OTHERS
    sentences = []
    for name in sorted(names):
        upper = name.upper()
        if not upper.startswith(_PREFIX) or upper.startswith(_OF_TESTS) or upper in known:
            continue
        near = difflib.get_close_matches(upper, sorted(known), n=1, cutoff=0.8)
        sentences.append(f"{name} is no setting and does nothing{f'; did you mean {near[0]}?' if near else ''}")
    return sentences
