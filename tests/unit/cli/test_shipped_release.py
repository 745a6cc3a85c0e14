"""A night of one's own products with the release that is shipped for the demo: when a line is said about it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from jobs.cli.main import main_group
from jobs.cli.shipped_release import warn_of_shipped_release
from jobs.dataset.label_map import LabelMap
from jobs.demo.shop import Shop
from jobs.ingest.reports import keep_report, last_report
from jobs.releases.aliases import promote
from jobs.runs import night
from jobs.settings import Settings
from models.fashion_mnist import Articles
from models.release import SHIPPED
from models.spec import Category
from sql.store import open_database

OWN = "product_id,image_uri,title,category\nsku-1,images/sku-1.png,Shirt,\n"


@pytest.fixture
def own(home: Path, tmp_path: Path) -> str:
    (tmp_path / "shop.csv").write_text(OWN)
    return str(tmp_path / "shop.csv")


def said(caplog: pytest.LogCaptureFixture, catalog: str, *, name: str | None = None, used: Path = SHIPPED) -> list[str]:
    caplog.clear()
    warn_of_shipped_release(Settings(), name, used, catalog)
    return caplog.messages


def test_own_products_and_nothing_but_the_shipped_release(own: str, caplog: pytest.LogCaptureFixture) -> None:
    line = (
        "the shipped release fashion-mnist-6 is for the demo: it knows ten kinds of articles on black and will mistake "
        "other products; make your own with `shelfwise finetune --quick`, or take one with `shelfwise release import`"
    )
    other = Path(own).with_name("other.csv")
    other.write_text("sku,image_uri,title,category\narticle-00001,images/article-00001.png,,\n")
    for catalog in (own, str(other), str(Path(own).parent), "products", "s3://bucket/shop.csv", "no such file"):
        assert said(caplog, catalog) == [line]


def test_who_has_chosen_a_release_hears_nothing(
    own: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert said(caplog, own, name="fashion-mnist-6") == []
    assert said(caplog, own, used=tmp_path) == []
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(SHIPPED))
    assert len(said(caplog, own)) == 1, "the default, written out"
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(tmp_path))
    assert said(caplog, own) == []
    monkeypatch.delenv("SHELFWISE_RELEASE_DIR")
    home.mkdir()
    database = open_database(Settings().url)
    database.make()
    assert len(said(caplog, own)) == 1
    promote(Settings(), database, "fashion-mnist-6", "champion")
    assert said(caplog, own) == []


def test_the_demo_and_the_example_of_the_local_airflow_hear_nothing(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    articles = Articles(np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8), "")
    shop = Shop(tmp_path / "demo", articles)
    shop.open(2)
    assert said(caplog, str(tmp_path / "demo" / "catalog.csv")) == []


@pytest.mark.parametrize("step", ["predict", "publish"])
@pytest.mark.parametrize("demo", [True, False])
def test_a_night_of_separate_steps_says_it_once_before_it_predicts(
    step: str,
    demo: bool,
    own: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Airflow calls them one after another, and no `nightly`."""
    Shop(tmp_path / "demo", Articles(np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8), "")).open(2)
    catalog = str(tmp_path / "demo" / "catalog.csv") if demo else own
    keep_report(Settings().places, date(2026, 11, 1), {"started_at_utc": "2026-11-01T02:00:00+00:00"}, catalog=catalog)
    said_before: list[int] = []

    def called(*_arguments: object) -> dict[str, str]:
        said_before.append(sum("is for the demo" in message for message in caplog.messages))
        return {"state": "published"}

    monkeypatch.setattr(night, f"{step}_night", called)
    call = [step, "--run-date", "2026-11-01", "--json"]
    CliRunner().invoke(main_group, call, catch_exceptions=False, standalone_mode=False)
    assert said_before == [1 if step == "predict" and not demo else 0]
    assert last_report(Settings().places, date(2026, 11, 1)) == {"started_at_utc": "2026-11-01T02:00:00+00:00"}


def test_a_date_of_which_no_catalog_is_known_says_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(night, "predict_night", lambda *_arguments: {"state": "published"})
    call = ["predict", "--run-date", "2026-11-01", "--json"]
    CliRunner().invoke(main_group, call, catch_exceptions=False, standalone_mode=False)
    assert not [message for message in caplog.messages if "is for the demo" in message]


@pytest.mark.parametrize("labels", [True, False])
def test_a_night_says_it_before_it_starts_and_goes_on(
    labels: bool,
    own: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    said_before: list[int] = []
    maps: list[LabelMap | None] = []

    def nightly(*_arguments: object, labels: LabelMap | None, **_others: object) -> dict[str, str]:
        said_before.append(sum("is for the demo" in message for message in caplog.messages))
        maps.append(labels)
        return {"state": "published"}

    monkeypatch.setattr(night, "nightly", nightly)
    (tmp_path / "map.csv").write_text("category,category_id\nTops,apparel.tops\n")
    options = ["--labels", str(tmp_path / "map.csv")] if labels else []
    call = ["nightly", "--catalog", own, "--run-date", "2026-11-01", *options, "--json"]
    done = CliRunner().invoke(main_group, call, catch_exceptions=False, standalone_mode=False)
    assert json.loads(done.stdout) == {"state": "published"}
    assert said_before == [1]
    assert [each and each.category("tops") for each in maps] == [Category("apparel.tops", "") if labels else None]
