"""Runs that stop anywhere and go on: what `shelfwise runs` promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.release import SHIPPED
from tests.conftest import SmallShop
from tests.end_to_end.conftest import Shelfwise, ask, dump

pytestmark = pytest.mark.usefixtures("one_spark")

NIGHT_1, NIGHT_2 = "2026-11-01", "2026-11-02"


def test_a_night_killed_while_it_ingests_is_resumed_from_anywhere(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add_many(["a", "b", "c"])
    name = Path(shop.catalog).name
    shelfwise.killed_at(
        "ingest_step", "nightly", "--catalog", name, "--run-date", NIGHT_1, "--batch-size", 7, cwd=shop.directory
    )
    [listed] = shelfwise("runs", "list", "--json").json["runs"]
    assert (listed["run_id"], listed["state"]) == (f"nightly-{NIGHT_1}", "running")
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(SHIPPED))  # what is the default now is not what the run began with
    done = shelfwise("runs", "resume", f"nightly-{NIGHT_1}", "--json")
    assert done.code == 0, done.err
    assert (done.json["release_id"], done.json["ingest"]["images_stored"]) == ("tiny-1", 3)
    assert ask(home, "SELECT count(*), min(release_id) FROM product_categories") == [(3, "tiny-1")]
    shown = shelfwise("runs", "show", f"nightly-{NIGHT_1}", "--json").json
    assert shown["state"] == "published"
    assert shown["summary"]["call"][:1] == ["nightly"]
    assert {"--batch-size", "7"} <= set(shown["summary"]["call"])
    predicted = shown["summary"]["predict"]
    assert predicted["slowest_stage"]
    assert predicted["devices"][0].startswith("CPU, ")
    assert predicted["engines"] == ["openvino"], "Keras is slower on processors"
    assert {"reading_seconds", "decoding_seconds", "waiting_seconds", "predicting_seconds", "writing_seconds"} <= set(
        predicted["by_shard"][0]
    )
    before = dump(home)
    again = shelfwise("runs", "resume", f"nightly-{NIGHT_1}", "--json").json
    assert again == {"run_id": f"nightly-{NIGHT_1}", "state": "published", "resumed": False}
    assert dump(home) == before


def test_a_backfill_killed_before_publish_is_resumed_with_its_options(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, tiny_pair: Path
) -> None:
    shop.add_many(["a", "b"])
    shelfwise.night(shop.catalog, NIGHT_1)
    category = ask(home, "SELECT category_id FROM product_categories WHERE product_id = 'a'")[0][0]
    options = ("--release", tiny_pair, "--category", category, "--force", "--run-id", "again-1")
    shelfwise.killed_at("publish_step", "backfill", "--from", NIGHT_1, "--to", NIGHT_1, *options, cwd=home)
    assert ask(home, "SELECT count(*) FROM category_predictions WHERE release_id = 'pair-1'") == [(0,)]
    done = shelfwise("runs", "resume", "again-1", "--json")
    assert done.code == 0, done.err
    assert (done.json["predict"]["images"], done.json["kind"]) == (0, "backfill"), "no shard is computed again"
    assert done.json["predict"]["shards_skipped"] == done.json["predict"]["shards"] > 0
    assert (done.json["predict"]["precisions"], done.json["predict"]["engines"]) == (["float32"], ["openvino"])
    of_release = "SELECT DISTINCT product_id FROM category_predictions WHERE release_id = '{}'"
    in_category = ask(home, f"{of_release.format('tiny-1')} AND category_id = '{category}' ORDER BY 1")
    assert in_category
    assert ask(home, f"{of_release.format('pair-1')} ORDER BY 1") == in_category
    call = shelfwise("runs", "show", "again-1", "--json").json["summary"]["call"]
    assert {"--force", "--category", category} <= set(call)


@pytest.mark.parametrize(("command", "dies_at"), [("predict", "predict_step"), ("publish", "publish_step")])
def test_a_night_of_separate_steps_is_resumed_to_its_end(
    shelfwise: Shelfwise, shop: SmallShop, home: Path, tiny_pair: Path, command: str, dies_at: str
) -> None:
    """Resuming it once repeated the step that had died, and left the night unpublished."""
    shop.add_many(["a", "b"])
    shop.rows["broken", 0] = "nowhere.jpg"
    options = ("--run-date", NIGHT_1, "--release", tiny_pair, "--max-rejected", 0.5)
    assert shelfwise("ingest", "--catalog", shop.catalog, "--run-date", NIGHT_1).code == 0
    if command == "publish":
        assert shelfwise("predict", *options).code == 0
    shelfwise.killed_at(dies_at, command, *options, cwd=home)
    resumed = shelfwise("runs", "resume", f"nightly-{NIGHT_1}", "--json")
    assert resumed.code == 0, resumed.err
    assert (resumed.json["state"], resumed.json["release_id"]) == ("published", "pair-1")
    assert ask(home, "SELECT state FROM runs") == [("published",)]
    shown = shelfwise("runs", "show", f"nightly-{NIGHT_1}", "--json").json
    assert shown["seconds"].keys() == {"ingest", "predict"}
    assert shown["summary"]["ingest"]["images_stored"] == 2


def test_a_failed_night_keeps_its_call_even_when_the_catalog_is_gone_meanwhile(
    shelfwise: Shelfwise, shop: SmallShop, home: Path
) -> None:
    shop.add("a")
    for number in range(3):
        shop.rows[f"broken-{number}", 0] = "nowhere.jpg"
    catalog = Path(shop.catalog)
    assert shelfwise("nightly", "--catalog", catalog, "--run-date", NIGHT_1).code == 1
    assert ask(home, "SELECT state FROM runs") == [("failed",)]
    moved = catalog.rename(catalog.with_suffix(".moved"))
    assert shelfwise("runs", "resume", f"nightly-{NIGHT_1}").code == 2
    assert ask(home, "SELECT state FROM runs") == [("failed",)]
    moved.rename(catalog)
    shop.rows = {key: value for key, value in shop.rows.items() if key[0] == "a"}
    (shop.directory / "nowhere.jpg").write_bytes((shop.directory / "a-0.jpg").read_bytes())
    resumed = shelfwise("runs", "resume", f"nightly-{NIGHT_1}", "--json")
    assert resumed.code == 0, resumed.err
    assert ask(home, "SELECT state, error FROM runs") == [("published", None)]


def test_a_call_that_is_wrong_leaves_no_run(shelfwise: Shelfwise, home: Path, tmp_path: Path) -> None:
    assert shelfwise("nightly", "--catalog", tmp_path / "nothing.csv", "--run-date", NIGHT_1).code == 2
    assert shelfwise("runs", "list", "--json").json == {"runs": []}
    assert ask(home, "SELECT count(*) FROM run_leases") == [(0,)]


def test_an_unknown_run_is_a_wrong_call(shelfwise: Shelfwise) -> None:
    done = shelfwise("runs", "resume", "nightly-1999-01-01")
    assert done.code == 2
    assert "no run 'nightly-1999-01-01'; the latest are: there is none yet" in done.err
