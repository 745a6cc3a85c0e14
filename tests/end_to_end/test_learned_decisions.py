"""The loop of a shop: a night answers, people decide, a training learns it, and the catalog alone measures it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from jobs.dataset.parts import part_of
from jobs.evaluation.evaluate import load_predictor
from models.card import NAME
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_weights
from models.release import MANIFEST
from models.spec import Category
from sql.decided import record
from sql.engine import writing
from sql.store import open_database
from tests import tiny_network
from tests.end_to_end.conftest import Shelfwise, ask
from tests.untrained import untrained_release

pytestmark = [pytest.mark.usefixtures("one_spark"), pytest.mark.timeout(600)]

NIGHT = "2026-11-01"
SHIRT, TROUSERS, POLO = "apparel.tops.shirt", "apparel.bottoms.trousers", "apparel.tops.polo"
TAXONOMY = (
    Category(SHIRT, "Apparel > Tops > Shirt"),
    Category(TROUSERS, "Apparel > Bottoms > Trousers"),
    Category(POLO, "Apparel > Tops > Polo shirt"),
)
LABELLED = {f"known-{number:02d}": (SHIRT, TROUSERS)[number % 2] for number in range(80)}
WAITING = [f"new-{number:02d}" for number in range(40)]
TEACHING = [name for name in WAITING if part_of(name) != "test"]
COLOURS = {SHIRT: 0, TROUSERS: 1, "": 2}


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


@pytest.fixture
def start(tmp_path: Path) -> tuple[str, ...]:
    """Options of a training on a tiny network with weights of its own."""
    keras.utils.set_random_seed(0)
    file = tmp_path / "tiny_imagenet_notop.weights.h5"
    save_weights(architecture(tiny_network.NAME).backbone(input_px=16), file)
    return ("--network", tiny_network.NAME, "--start-from", str(file), "--batch-size", "8", "--target-precision", "0.6")


@pytest.fixture
def answered(shelfwise: Shelfwise, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelfwise:
    """A home after a night of red shirts and green trousers, and of blue products without a category."""
    names = {**LABELLED, **dict.fromkeys(WAITING, "")}
    with (tmp_path / "shop.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("product_id", "image_uri", "category"))
        for number, (name, category) in enumerate(names.items()):
            photograph(tmp_path / f"{name}.jpg", COLOURS[category], number)
            rows.writerow((name, f"{name}.jpg", category))
    knows_all = untrained_release(tmp_path / "first", {"efficientnetb0": 32}, TAXONOMY, release_id="first-1")
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(knows_all))
    shelfwise.night(tmp_path / "shop.csv", NIGHT)
    return shelfwise


def photograph(path: Path, channel: int, seed: int) -> None:
    """Write a photograph that is bright in one channel, and differs from every other one."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (40, 40, 3), np.uint8)
    pixels[..., 2 - channel] = random.integers(150, 255)  # OpenCV writes blue first
    cv2.imwrite(str(path), pixels)


def manifest(home: Path, release_id: str) -> Any:
    return json.loads((home / "releases" / release_id / MANIFEST).read_text(encoding="utf-8"))


def test_what_people_decide_is_learned_and_a_new_category_becomes_known(
    answered: Shelfwise, home: Path, start: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    answered.done("finetune", "--quick", "--promote", "--release-id", "shop-1", *start)
    assert [each["category_id"] for each in manifest(home, "shop-1")["categories"]] == [TROUSERS, SHIRT]

    inner, cleared, none, *polos = TEACHING
    answered.done("override", "set", cleared, POLO, "--by", "ada")
    for name in polos[:3]:
        answered.done("override", "set", name, POLO, "--by", "ada", "--why", "it has a collar")
    rest = home.parent / "decided.csv"
    rest.write_text("product_id,category_id\n" + "".join(f"{name},{POLO}\n" for name in polos[3:]), encoding="utf-8")
    answered.done("override", "import", rest, "--by", "maria")
    answered.done("override", "set", inner, "apparel.tops", "--by", "ada")
    answered.done("override", "clear", cleared, "--by", "ada")
    with writing(open_database(f"sqlite:///{home / 'shelfwise.db'}").engine) as connection:
        moment = datetime.now(UTC)
        record(connection, [(none, None, None, "ada", moment, "none")], moment=moment, came_by="focus")
    [row] = answered("query", "decisions_since_training", "--format", "json").json
    assert (row["release_id"], row["decided_count"]) == ("shop-1", len(TEACHING) - 1)

    caplog.set_level("INFO")
    done = answered.done("finetune", "--quick", "--promote", "--release-id", "shop-2", *start)
    assert done["promoted"]
    assert f"decisions of people on {len(polos)} products teach" in caplog.text
    assert "decisions of people on 1 products are for inner nodes of the taxonomy and teach nothing" in caplog.text
    assert "decisions of people on 1 products say that they are none of the categories" in caplog.text
    made = manifest(home, "shop-2")
    assert {each["category_id"]: each["category_path"] for each in made["categories"]}[
        POLO
    ] == "Apparel > Tops > Polo shirt"
    told = made["training"]
    assert told["products_labelled_by_people"] == len(polos)
    assert told["products_labelled_by_catalog"] == sum(part_of(name) != "test" for name in LABELLED)
    assert told["calibrated_on_products"] == told["products_labelled_by_catalog"]
    assert done["test_products"] == sum(part_of(name) == "test" for name in LABELLED)
    assert (made["thresholds"][POLO], made["promises"][POLO]["reason"]) == (None, "few")
    card = (home / "releases" / "shop-2" / NAME).read_text(encoding="utf-8")
    assert f"| products labelled by people | {len(polos)} |" in card
    predictor, release, _ = load_predictor(home / "releases" / "shop-2")
    blue = np.zeros((1, release.decode_px, release.decode_px, 3), np.uint8)
    blue[..., 2] = 140
    assert release.categories[int(predictor.predict(blue).confidences[0].argmax())].category_id == POLO
    [row] = answered("query", "decisions_since_training", "--format", "json").json
    assert (row["release_id"], row["decided_count"]) == ("shop-2", 0)

    alone = answered.done("finetune", "--quick", "--release-id", "shop-3", "--labels-from", "catalog", *start)
    assert alone["test_products"] == done["test_products"]
    assert len(manifest(home, "shop-3")["categories"]) == 2


def test_a_queue_that_was_worked_from_its_unsure_end_changes_no_threshold(
    answered: Shelfwise, home: Path, start: tuple[str, ...]
) -> None:
    """People decide on what the machine was unsure of; measured on that, it would seem worse, or better, than it is."""
    brief = ("--head-epochs", "1", "--epochs", "2", "--learning-rate", "0.01")
    answered.done("finetune", "--release-id", "whole-1", *brief, *start)
    calibrate = ("release", "calibrate", "whole-1", "--target-precision", "0.6", "--batch-size", "8", "--release-id")
    answered.done(*calibrate, "before-1")
    measured = answered.done("evaluate", "--release", "before-1")
    queue = answered("query", "review_queue", "--format", "json").json
    assert [row["confidence"] for row in queue] == sorted(row["confidence"] for row in queue), "the unsure end first"
    unsure = [row["product_id"] for row in queue][: len(queue) // 2]
    assert set(unsure) & set(LABELLED), "the catalog says something else of these"
    worked = home.parent / "worked.csv"
    worked.write_text("product_id,category_id\n" + "".join(f"{name},{POLO}\n" for name in unsure), encoding="utf-8")
    answered.done("override", "import", worked, "--by", "ada")
    assert ask(home, "SELECT count(*) FROM overrides") == [(len(unsure),)]

    answered.done(*calibrate, "after-1")
    again = answered.done("evaluate", "--release", "after-1")
    before, after = manifest(home, "before-1"), manifest(home, "after-1")
    fitted = ("thresholds", "promises", "temperature", "networks", "floor", "metrics")
    assert [json.dumps(before[name]) for name in fitted] == [json.dumps(after[name]) for name in fitted]
    assert again["levels"] == measured["levels"]
    assert again["decisions"] == measured["decisions"]
