"""A night with a challenger in the shadow, in one command or two: two releases answer, one is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SmallShop, make_release
from tests.end_to_end.conftest import Shelfwise, ask, dump

pytestmark = pytest.mark.usefixtures("one_spark")

NIGHT = "2026-11-01"


def test_a_shadow_night_publishes_the_champion_alone(
    shelfwise: Shelfwise,
    home: Path,
    shop: SmallShop,
    tiny_release: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop.add_many(["a", "b", "c"])
    night = ("nightly", "--catalog", shop.catalog, "--run-date", NIGHT, "--json")
    alone = shelfwise(*night, "--shadow")
    assert (alone.code, alone.json["state"], alone.json["shadow"]["state"]) == (0, "published", "failed"), alone.err
    assert "no release is challenger; promote one" in alone.json["shadow"]["reason"]
    assert ask(home, "SELECT count(*) FROM product_categories") == [(3,)]

    other = make_release(tmp_path / "other", architectures={"efficientnetb0": 40}, release_id="tiny-2")
    monkeypatch.delenv("SHELFWISE_RELEASE_DIR")
    assert shelfwise("release", "promote", tiny_release).code == 0
    assert shelfwise("release", "promote", other, "--alias", "challenger").code == 0
    listed = {row["release_id"]: row["alias"] for row in shelfwise("release", "list", "--json").json["releases"]}
    assert (listed["tiny-1"], listed["tiny-2"]) == ("champion", "challenger")

    apart = shelfwise("shadow", "--run-date", NIGHT, "--json")
    assert (apart.code, apart.json["state"], apart.json["images_changed"]) == (0, "answered", 3), apart.err
    assert (apart.json["champion"], apart.json["release_id"]) == ("tiny-1", "tiny-2")

    done = shelfwise(*night, "--shadow")
    assert done.code == 0, done.err
    assert (done.json["release_id"], done.json["shadow"]["release_id"]) == ("tiny-1", "tiny-2")
    assert ask(home, "SELECT DISTINCT release_id FROM product_categories") == [("tiny-1",)]
    history = "SELECT release_id, count(*), count(DISTINCT run_id) FROM category_predictions GROUP BY 1 ORDER BY 1"
    assert ask(home, history) == [("tiny-1", 3, 1), ("tiny-2", 3, 1)]
    asked = ("query", "release_agreement", "-p", "release_id=tiny-1", "-p", "other_release_id=tiny-2")
    rows = shelfwise(*asked, "--format", "json").json
    assert sum(row["image_count"] for row in rows) == 3

    assert done.json["shadow"]["state"] == "answered"

    before = dump(home)
    again = shelfwise(*night, "--shadow")
    assert (again.code, again.json["shadow"]["images_changed"], again.json["shadow"]["images"]) == (0, 0, 0)
    assert dump(home) == before

    weights = next((home / "releases" / "tiny-2").glob("*.weights.h5"))
    sound = weights.read_bytes()
    weights.write_bytes(b"overwritten")
    broken = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", "2026-11-02", "--json", "--shadow")
    assert (broken.code, broken.json["state"], broken.json["shadow"]["state"]) == (0, "published", "failed")
    assert "was altered" in broken.json["shadow"]["reason"]
    assert ask(home, "SELECT state FROM runs ORDER BY run_id") == [("published",), ("published",)]
    assert ask(home, history) == [("tiny-1", 3, 1), ("tiny-2", 3, 1)], "nothing of the broken one is left"
    weights.write_bytes(sound)
    resumed = shelfwise("runs", "resume", "nightly-2026-11-02", "--json")
    assert (resumed.code, resumed.json["shadow"]["state"]) == (0, "answered"), "its shadow was left to do"

    directory = home / "releases" / "tiny-2"
    directory.rename(tmp_path / "away")
    gone = shelfwise("nightly", "--catalog", shop.catalog, "--run-date", "2026-11-02", "--json", "--shadow")
    assert (gone.code, gone.json["shadow"]["state"]) == (0, "failed")
    assert "no release 'tiny-2'" in gone.json["shadow"]["reason"]
    (tmp_path / "away").rename(directory)

    assert shelfwise("release", "promote", "tiny-2").code == 0
    promoted = shelfwise("runs", "resume", "nightly-2026-11-02", "--json")
    assert (promoted.code, promoted.json["release_id"], promoted.json["shadow"]["state"]) == (0, "tiny-1", "failed")
    assert "no release is challenger" in promoted.json["shadow"]["reason"], "it has won and is tried no more"
    assert shelfwise("release", "rollback", "--json").json["release_id"] == "tiny-1"


def test_the_shadow_of_a_run_with_the_longest_name_is_not_in_the_run_s_own_place(
    shelfwise: Shelfwise, shop: SmallShop, tiny_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add_many(["a"])
    other = make_release(tmp_path / "other", architectures={"efficientnetb0": 40}, release_id="tiny-2")
    monkeypatch.delenv("SHELFWISE_RELEASE_DIR")
    assert shelfwise("release", "promote", tiny_release).code == 0
    assert shelfwise("release", "promote", other, "--alias", "challenger").code == 0
    run = ("--run-date", NIGHT, "--run-id", "n" * 128)
    done = shelfwise("nightly", "--catalog", shop.catalog, *run, "--shadow", "--json")
    assert (done.code, done.json["shadow"]["state"], done.json["shadow"]["images"]) == (0, "answered", 1), done.err
    published = shelfwise("publish", *run)
    assert published.code == 0, f"the challenger wrote over the champion's predictions: {published.err}"
