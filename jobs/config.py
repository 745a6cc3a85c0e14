"""What each job is told: one frozen object a job, checked when it is built.

Below the command line nobody reads arguments or the environment; see `jobs.settings` for the latter.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from upath import UPath

from jobs.addresses import PORTS, AddressGuard
from models.spec import MAX_NAME_CHARACTERS, is_name

Place = Path | UPath
"""A path of this machine, or a place in an object store; see `jobs.stores`."""

ALIASES = ("champion", "challenger")
"""What a release may be beside its name, so no name of a release."""

DEFAULT_BATCH = 32
"""Images a call of the networks on a processor."""


class UsageError(ValueError):
    """The call is wrong, not the run: the message says what to call instead, and the exit code is 2."""


def check_name(what: str, name: str) -> None:
    """Refuse the name of a run or release that could leave its directory."""
    if not is_name(name):
        allowed = f"letters, digits, '.', '_' and '-' only, {MAX_NAME_CHARACTERS} at most"
        raise UsageError(f"{what} {name!r} may hold {allowed}")


def check_release_id(name: str) -> None:
    """Refuse a new release's name that could leave its directory, or that means whichever release has an alias."""
    check_name("--release-id", name)
    if name in ALIASES:
        raise UsageError(f"--release-id {name} is an alias, which stands for the release that has it; choose a name")


class RunFailed(RuntimeError):
    """The run could not be finished; nothing was published; the message says why, and the exit code is 1."""


@dataclass(frozen=True)
class Places:
    """The directories under `SHELFWISE_HOME`.

    Attributes:
        home: Where the dataset, predictions and releases are; may be in an object store.
        local: A directory of this machine for what cannot be there: scratch files, caches, training, the embedded
            database. None is `home`.
    """

    home: Place
    local: Path | None = None

    @property
    def local_home(self) -> Path:
        """Return the directory of this machine."""
        found = self.local or self.home
        if not isinstance(found, Path):
            raise UsageError(f"{found} is in a store, and scratch files need a disk; set SHELFWISE_LOCAL_DIR")
        return found

    @property
    def scratch(self) -> Path:
        """Files that live no longer than a run."""
        return self.local_home / "scratch"

    @property
    def releases(self) -> Place:
        """Releases of one's own, a directory each."""
        return self.home / "releases"

    @property
    def images(self) -> Place:
        """The Petastorm dataset, `ingest_date=YYYY-MM-DD/` below it."""
        return self.home / "images"

    @property
    def seen(self) -> Place:
        """What ingest read and did not store, `ingest_date=YYYY-MM-DD/` below it."""
        return self.home / "seen"

    @property
    def catalog_rows(self) -> Place:
        """What the catalog says anew of images that are stored, `ingest_date=YYYY-MM-DD/` below it."""
        return self.home / "catalog_rows"

    @property
    def ingests(self) -> Place:
        """What the last ingest of each date reported, `ingest_date=YYYY-MM-DD/` below it."""
        return self.home / "ingests"

    @property
    def of_runs(self) -> tuple[Place, ...]:
        """The directories that runs fill, each with directories named by ingest date or run."""
        of_dates = (self.images, self.seen, self.catalog_rows, self.ingests)
        return *of_dates, self.predictions("").parent, self.selections("").parent

    def partition(self, root: Place, ingest_date: date) -> Place:
        """Return one date's directory under `images`, `seen` or `catalog_rows`."""
        return root / f"ingest_date={ingest_date.isoformat()}"

    def predictions(self, run_id: str) -> Place:
        """Return one run's prediction files."""
        return self.home / "predictions" / f"run_id={run_id}"

    def selections(self, run_id: str) -> Place:
        """Return where one run's choice of images lies, where it does not take all."""
        return self.home / "selections" / f"run_id={run_id}"


@dataclass(frozen=True)
class SparkConfig:
    """How Spark is started.

    Attributes:
        master: `local[N]`, `spark://…` or another master URL.
        driver_memory: `2g`, `512m`.
        scratch_dir: For shuffles and temporary files.
        shared_dir: What executors must see as the driver does; None where they need not.
        executor_cores: Of each executor on a cluster; 0 takes what spark-submit was told, else 1.
        gpu: Whether each executor that predicts shall have one GPU.
        wait_seconds: How long a cluster may take to start the first executor.
        properties: Further properties of Spark, such as `spark.executor.memory`; they win over what is set here.
    """

    master: str
    driver_memory: str
    scratch_dir: Path
    shared_dir: Path | None = None
    executor_cores: int = 0
    gpu: bool = False
    wait_seconds: int = 120
    properties: Mapping[str, str] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Computing:
    """What the networks compute on, and how.

    Attributes:
        gpu: Whether each task must have a GPU; otherwise it takes what it finds.
        precision: `auto` is mixed_float16 on an accelerator where that answers as float32 does, and float32 elsewhere.
        tune: Whether the batch size is found by trying, on an accelerator.
        tuned: What was found earlier: batch size and precision, by device.
    """

    gpu: bool = False
    precision: str = "auto"
    tune: bool = False
    tuned: Mapping[str, tuple[int, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictConfig:
    """What one predict does.

    Attributes:
        run_id: Names the run; its finished shards are not computed again.
        dates: The ingest dates whose shards it covers.
        places: Where state lives.
        release_dir: The release to run.
        batch_size: Images a call of the networks.
        decode_workers: Threads that decode while the networks compute.
        selects: Whether it takes only the images that `jobs.selection` has written down for the run.
        computing: What it computes on, and how.
    """

    run_id: str
    dates: tuple[date, ...]
    places: Places
    release_dir: Path
    batch_size: int = DEFAULT_BATCH
    decode_workers: int = 2
    selects: bool = False
    computing: Computing = field(default_factory=lambda: Computing())


@dataclass(frozen=True)
class RunConfig:
    """Which run it is, for publish and for the summary.

    Attributes:
        run_id: Its name; the same for a rerun.
        kind: `nightly` or `backfill`.
        run_date: The night; of a backfill, its last date.
        dates: The ingest dates that it predicts and publishes.
        max_rejected: Share of a night's new images that may be rejected, in [0, 1].
        force: Replace answers of a newer release too; never those of newer images or of people.
        category: Take only products that are now in this category or below it; empty takes all.
        only_missing: Take only images that the release has not answered.
        call: The arguments that call it again; see `jobs.calls`.
    """

    run_id: str
    kind: str
    run_date: date
    dates: tuple[date, ...] = field(default_factory=tuple)
    max_rejected: float = 0.2
    force: bool = False
    category: str = ""
    only_missing: bool = False
    call: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        """Whether it takes only some images of its partitions."""
        return bool(self.category) or self.only_missing

    def __post_init__(self) -> None:
        """Refuse a run_id that could leave its directory, and a share outside [0, 1]."""
        check_name("run id", self.run_id)
        if not 0.0 <= self.max_rejected <= 1.0:
            raise UsageError(f"--max-rejected is a share between 0 and 1, received {self.max_rejected}")
