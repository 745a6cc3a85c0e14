"""Whole nights with everything in an object store: the same rows as on a disk, and no half-finished night."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from jobs.storage.stores import place
from tests.conftest import SmallShop, picture
from tests.end_to_end.conftest import Shelfwise, ask, shared_spark
from tests.object_store import ObjectStore, object_store

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"
ROWS = {
    "product_categories": "product_id, category_id, confidence, status, release_id, image_count, run_id",
    "category_predictions": "product_id, image_no, image_uri, image_sha256, release_id, category_id, confidence, top_k",
    "rejected_images": "product_id, image_no, image_uri, reason, detail, ingest_date",
    "products": "product_id, image_no, image_uri, title, category",
}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server; temporary files of these nights lie where no other test's do, so that they can be counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr(tempfile, "tempdir", None)
        with object_store() as running:
            yield running


@pytest.fixture(scope="module", autouse=True)
def one_spark(s3: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Spark session for all tests; its workers know the store from their start."""
    with shared_spark(tmp_path_factory.mktemp("spark")):
        yield


@pytest.fixture
def bucket(s3: ObjectStore, request: pytest.FixtureRequest) -> UPath:
    """An empty bucket."""
    found = place(f"s3://{request.node.name.replace('_', '-')[:60]}/shop")
    assert isinstance(found, UPath)
    found.fs.mkdir(found.path.partition("/")[0])
    return found


def rows(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What the product database says, without when it was said."""
    return {table: sorted(ask(home, f"SELECT {columns} FROM {table}"), key=repr) for table, columns in ROWS.items()}


def upload(shop: SmallShop, bucket: UPath) -> str:
    """Put a small shop's pictures and catalog into a bucket."""
    for path in shop.directory.glob("*.jpg"):
        (bucket / path.name).write_bytes(path.read_bytes())
    (bucket / "catalog.csv").write_bytes(Path(shop.catalog).read_bytes())
    return str(bucket / "catalog.csv")


@pytest.mark.timeout(900)  # six nights
def test_nights_and_a_backfill_in_a_store_give_the_rows_of_a_disk(
    shelfwise: Shelfwise,
    shop: SmallShop,
    home: Path,
    bucket: UPath,
    tiny_release: Path,
    tiny_pair: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for release in (tiny_release, tiny_pair):
        for path in release.iterdir():
            (bucket / "releases" / release.name / path.name).write_bytes(path.read_bytes())
    stored, local = bucket / "home", tmp_path / "local"
    summaries: dict[str, list[Any]] = {"disk": [], "store": []}

    def both(*arguments: object) -> None:
        for name in ("disk", "store"):
            remote = name == "store"
            monkeypatch.setenv("SHELFWISE_HOME", str(stored if remote else home))
            monkeypatch.setenv("SHELFWISE_LOCAL_DIR", str(local if remote else home))
            releases = (bucket / "releases") if remote else None
            chosen = [
                str(releases / one.name if releases else one) if isinstance(one, Path) else one for one in arguments
            ]
            catalog = upload(shop, bucket) if remote else shop.catalog
            done = shelfwise(*[catalog if one == "CATALOG" else one for one in chosen], "--json")
            assert done.code == 0, done.err
            summaries[name].append(done.json)

    shop.add_many([f"p{number}" for number in range(6)])
    shop.add("pair", image_no=0)
    shop.add("pair", image_no=1)
    shop.rows["gone", 0] = "gone.jpg"
    both("nightly", "--catalog", "CATALOG", "--run-date", NIGHT_1, "--release", tiny_release)
    shop.add("p3", seed=1234)
    shop.add("new")
    both("nightly", "--catalog", "CATALOG", "--run-date", NIGHT_2, "--release", tiny_release)
    both("backfill", "--from", NIGHT_1, "--to", NIGHT_2, "--release", tiny_pair)

    first, second, third = summaries["store"]
    assert first["ingest"]["images_stored"] == 8
    assert (second["ingest"]["images_unchanged"], second["ingest"]["images_stored"]) == (8, 2)
    assert second["ingest"]["source_bytes"] < first["ingest"]["source_bytes"] / 3, (
        "unchanged objects are not read again"
    )
    assert third["predict"]["images"] == 10
    assert rows(local) == rows(home)
    assert not [path for path in local.rglob("*.parquet") if "scratch" not in path.parts]
    assert not list(Path(tempfile.gettempdir()).glob("shelfwise-*"))


def test_a_release_is_promoted_to_where_all_machines_find_it(
    shelfwise: Shelfwise, bucket: UPath, tiny_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = bucket / "home" / "releases" / "tiny-1"
    monkeypatch.setenv("SHELFWISE_HOME", str(bucket / "home"))
    monkeypatch.setenv("SHELFWISE_LOCAL_DIR", str(tmp_path / "one"))
    for path in tiny_release.iterdir():
        (bucket / "elsewhere" / "tiny-1" / path.name).write_bytes(path.read_bytes())
    assert shelfwise("db", "upgrade").code == 0
    done = shelfwise("release", "promote", bucket / "elsewhere" / "tiny-1")
    assert done.code == 0, done.err
    assert (stored / "release.json").is_file()
    monkeypatch.setenv("SHELFWISE_LOCAL_DIR", str(tmp_path / "another"))
    rows = shelfwise("release", "list", "--json").json["releases"]
    assert [row["state"] for row in rows if row["release_id"] == "tiny-1"] == ["sound"]


def test_other_catalogs_in_a_store(
    shelfwise: Shelfwise, bucket: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFWISE_HOME", str(bucket / "home"))
    monkeypatch.setenv("SHELFWISE_LOCAL_DIR", str(tmp_path / "local"))
    for number, name in enumerate(("tops/a.jpg", "tops/b #1.jpg", "shoes/c.jpg", ".hidden/d.jpg")):
        (bucket / "folder" / name).write_bytes(picture(number))
    done = shelfwise("ingest", "--catalog", bucket / "folder", "--run-date", NIGHT_1, "--json")
    assert done.code == 0, done.err
    assert (done.json["catalog_rows"], done.json["images_stored"]) == (3, 3)
    text = io.StringIO()
    title = 'two lines,\n"quoted" '
    csv.writer(text).writerows(
        [
            ("product_id", "image_uri", "title"),
            ("absolute", str(bucket / "folder" / "tops" / "a.jpg"), title),
            ("other-bucket", "s3://no-such-bucket/a.jpg", ""),
            ("other-scheme", "ftp://host/a.jpg", ""),
        ]
    )
    (bucket / "catalog.csv").write_bytes(text.getvalue().encode())
    done = shelfwise("ingest", "--catalog", bucket / "catalog.csv", "--run-date", NIGHT_2, "--json")
    assert done.code == 0, done.err
    assert done.json["images_stored"] == 1
    assert done.json["rejected_by_reason"] == {"missing": 1, "uri_not_allowed": 1}
    (bucket / "cut #1.csv").write_bytes(text.getvalue().encode()[:-20] + b',"')
    done = shelfwise("ingest", "--catalog", bucket / "cut #1.csv", "--run-date", NIGHT_2)
    assert done.code == 2
    assert f"catalog {bucket / 'cut #1.csv'} ends inside of a quoted value of line 5" in done.err
    names = {path.name.partition("=")[0] for path in (bucket / "home" / "catalogs").iterdir()}
    assert names == {"ingest_date"}, "a listing needs no file"


@pytest.mark.parametrize(
    ("settings", "code", "sentence"),
    [
        ({"SHELFWISE_HOME": "s3://no-such-bucket/home"}, 1, "there is no bucket s3://no-such-bucket; make it"),
        ({"SHELFWISE_HOME": "ftp://host/home"}, 2, "SHELFWISE_HOME: .*unknown kind"),
        ({"SHELFWISE_HOME": "gs://bucket/home"}, 2, "pip install gcsfs"),
        ({"SHELFWISE_LOCAL_DIR": "s3://bucket/x"}, 2, "SHELFWISE_LOCAL_DIR: .*needs? a disk"),
        ({"SHELFWISE_DATABASE_URL": "sqlite:///s3://bucket/x.db"}, 2, "SHELFWISE_DATABASE_URL: .*needs a disk"),
        ({"SHELFWISE_RELEASE_DIR": "s3://no-such-bucket/r"}, 2, "no release at s3://no-such-bucket/r"),
    ],
)
def test_places_that_cannot_serve_are_one_sentence(
    settings: dict[str, str],
    code: int,
    sentence: str,
    shelfwise: Shelfwise,
    s3: ObjectStore,
    shop: SmallShop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    monkeypatch.setenv("SHELFWISE_LOCAL_DIR", str(tmp_path / "local"))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    shop.add("a")
    done = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1)
    assert done.code == code
    assert re.search(sentence, done.err), done.err
    assert len(done.err.strip().splitlines()) == 1, done.err


def test_a_missing_catalog_in_a_store_is_one_sentence(shelfwise: Shelfwise, bucket: UPath) -> None:
    done = shelfwise("nightly", "--catalog", bucket / "none.csv", "--run-date", NIGHT_1)
    assert done.code == 2
    assert f"no catalog at {bucket / 'none.csv'}" in done.err
