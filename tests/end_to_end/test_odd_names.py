"""Nights of a home and a catalog whose names mean something to Spark, to a shell or in a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise, ask

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"


def test_two_nights_of_a_home_with_an_odd_name(
    shelfwise: Shelfwise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second night reads what the first one left; Spark would take its path for a pattern, or leave it out."""
    name = "_h [1]{a}*? :%20#;\\é+&=~$"
    home = tmp_path / ".hidden" / name
    monkeypatch.setenv("SHELFWISE_HOME", str(home))
    shop = SmallShop(tmp_path / f"shop {name}")
    shop.add_many(["a", "b"])
    catalog = Path(shop.catalog).rename(shop.directory / f"{name}.csv")
    done = shelfwise("nightly", "--catalog", catalog, "--run-date", NIGHT_1, "--json")
    assert done.code == 0, done.err
    assert done.json["ingest"]["images_stored"] == 2
    shop.add("c")
    shop.titles["a"] = "a new title"
    Path(shop.catalog).replace(catalog)
    done = shelfwise("nightly", "--catalog", catalog, "--run-date", NIGHT_2, "--json")
    assert done.code == 0, done.err
    assert (done.json["ingest"]["images_unchanged"], done.json["ingest"]["images_stored"]) == (2, 1)
    titles = ask(home, "SELECT product_id, title FROM products ORDER BY 1")
    assert titles == [("a", "a new title"), ("b", None), ("c", None)]
    assert done.json["predict"]["shards_tried_again"] == 0, "a third attempt reads without Petastorm"
    assert ask(home, "SELECT count(*) FROM product_categories") == [(3,)]
    assert ask(home, "SELECT * FROM rejected_images") == []
    done = shelfwise("backfill", "--from", NIGHT_1, "--to", NIGHT_2, "--only-missing", "--json")
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", ["a,b", "a\nb"])
def test_a_home_that_cannot_be_is_refused_on_the_first_night(
    shelfwise: Shelfwise, shop: SmallShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / name))
    shop.add("a")
    done = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", NIGHT_1)
    assert done.code == 2
    assert "SHELFWISE_HOME: " in done.err
    assert "has a comma in its path" in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert not (tmp_path / name).exists()
