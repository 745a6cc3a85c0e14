"""What people decided teaches a release, and neither calibrates nor measures it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.dataset.decided_labels import Decided, Decision
from jobs.dataset.labels import PEOPLE
from jobs.dataset.parts import part_of
from jobs.errors import UsageError
from jobs.evaluation.evaluate import load_predictor
from jobs.storage.places import Places
from jobs.training import finetune, quick
from jobs.training.export import ArraysConfig
from jobs.training.export import run as export
from jobs.training.quick_config import QuickConfig, QuickNetwork
from jobs.training.selection import Selection, training_set
from models.card import NAME
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_weights
from models.release import load_release
from tests import tiny_network
from tests.labelled import BLUE, GREEN, LEAVES, RED, write_labelled
from tests.unit.training.test_finetune import PRODUCTS as TRAINED
from tests.unit.training.test_finetune import config as training
from tests.unit.training.test_finetune_resumed import gone_on, stopped
from tests.unit.training.test_quick import silent

ICE = "cold.ice"
CATALOG = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]
QUEUE = [(f"waiting-{number:03d}", None, [number % 3]) for number in range(60)]
"""Products without a category in the catalog, on which people decide."""


class Log:
    """What people have decided, one decision after another, as the database keeps it."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str | None]] = []

    def add(self, *rows: tuple[str, str | None]) -> Log:
        self._rows += rows
        return self

    def __call__(self, until: int | None = None) -> Decided:
        rows = self._rows[:until]
        return Decided({name: Decision(category) for name, category in rows}, {ICE: "Cold > Ice"}, len(rows))


def in_part(products: Any, *parts: str) -> list[str]:
    return [name for name, *_ in products if part_of(name) in parts]


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights file of a backbone without a head."""
    import keras

    keras.utils.set_random_seed(0)
    file = tmp_path_factory.mktemp("weights") / "tiny_imagenet_notop.weights.h5"
    save_weights(architecture(tiny_network.NAME).backbone(input_px=16), file)
    return file


def test_people_s_labels_teach_and_the_catalog_s_alone_choose_and_measure(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [*CATALOG, *QUEUE])
    plain = training_set(Selection(Places(tmp_path)))
    wrong = [(name, RED if label != RED else BLUE) for name, label, _ in CATALOG]
    decided = Log().add(*wrong, *((name, ICE) for name, *_ in QUEUE))
    both = training_set(Selection(Places(tmp_path), decisions=decided))
    assert both.category_ids == (BLUE, ICE, RED), "nobody teaches green any more, and ice is new"
    assert {image.source for image in both.sides["train"]} == {PEOPLE}
    assert [category.category_path for category in both.categories] == ["Cold > Blue", "Cold > Ice", "Warm > Red"]
    for part in ("validation", "test"):
        assert both.sides[part] == [image for image in plain.sides[part] if image.category_id != GREEN]
    assert both.labels_told() == {
        "labels_from": "both",
        "products_labelled_by_people": len(in_part([*CATALOG, *QUEUE], "train")),
        "products_labelled_by_catalog": 0,
        "decisions_until": 150,
    }


def test_what_is_decided_in_the_part_test_teaches_nothing(tmp_path: Path) -> None:
    """Its catalog may give it a category later, which then measures."""
    write_labelled(Places(tmp_path), [*CATALOG, *QUEUE])
    found = training_set(Selection(Places(tmp_path), decisions=Log().add(*((name, RED) for name, *_ in QUEUE))))
    by_person = {part: {i.product_id for i in images if i.source == PEOPLE} for part, images in found.taught.items()}
    assert by_person == {part: set(in_part(QUEUE, part)) for part in ("train", "validation")}
    assert not {image.product_id for images in found.measured.values() for image in images} & {n for n, *_ in QUEUE}


def test_arrays_for_another_machine_hold_out_the_catalog_s_labels(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [*CATALOG, *QUEUE])
    decisions = Log().add(*((name, RED) for name, *_ in QUEUE))
    done = export(ArraysConfig(Selection(Places(tmp_path), decisions=decisions), tmp_path / "a.npz", 16))
    assert done["images"] == len(in_part([*CATALOG, *QUEUE], "train"))
    assert done["held_out_images"] == len(in_part(CATALOG, "validation"))
    assert done["products_labelled_by_people"] == len(in_part(QUEUE, "train"))


def quick_config(home: Path, weights: Path, **selection: Any) -> QuickConfig:
    networks = (QuickNetwork(tiny_network.NAME, 16, str(weights)),)
    return QuickConfig("colours-2", Selection(Places(home), **selection), networks, batch_size=8)


def test_a_quick_release_learns_decisions_and_is_calibrated_on_the_catalog_alone(tmp_path: Path, weights: Path) -> None:
    """The wrong decisions on a third of the catalog's products are learned, and measured against the catalog."""
    write_labelled(Places(tmp_path), [*CATALOG, *QUEUE])
    moved = {name: BLUE for name, label, _ in CATALOG if label == GREEN}
    decisions = Log().add(*moved.items(), *((name, LEAVES[image[0]]) for name, _, image in QUEUE))
    done = quick.run(quick_config(tmp_path, weights, decisions=decisions, min_products=10), watch=silent)
    release = load_release(tmp_path / "releases" / "colours-2")
    told = release.training
    teaching = len(in_part(QUEUE, "train", "validation")) + len(in_part(moved.items(), "train", "validation"))
    assert told["products_labelled_by_people"] == teaching
    assert told["products_labelled_by_catalog"] == len(in_part(CATALOG, "train", "validation")) - len(
        in_part(moved.items(), "train", "validation")
    )
    assert told["calibrated_on_products"] == len(in_part(CATALOG, "train", "validation"))
    assert done["test_products"] == len(in_part(CATALOG, "test"))
    card = (tmp_path / "releases" / "colours-2" / NAME).read_text(encoding="utf-8")
    assert f"| products labelled by people | {teaching} |" in card
    greens = [name for name in in_part(CATALOG, "test") if name in moved]
    assert done["ensemble_test_accuracy"] > 1 - 2 * len(greens) / done["test_products"], "green is still known by some"


def test_a_product_that_is_none_of_the_categories_measures_and_does_not_teach(tmp_path: Path, weights: Path) -> None:
    write_labelled(Places(tmp_path), CATALOG)
    name = in_part(CATALOG, "train")[0]
    config = quick_config(tmp_path, weights, decisions=Log().add((name, None)))
    quick.run(config, watch=silent)
    told = load_release(tmp_path / "releases" / "colours-2").training
    outside = len(in_part(CATALOG, "train", "validation"))
    assert (told["products_labelled_by_catalog"], told["calibrated_on_products"]) == (outside - 1, outside)


def test_a_killed_command_is_finished_also_if_people_have_decided_since(tmp_path: Path, weights: Path) -> None:
    write_labelled(Places(tmp_path), CATALOG)
    first, second = in_part(CATALOG, "train")[:2]
    decisions = Log().add((first, None))
    config = replace(quick_config(tmp_path, weights, decisions=decisions), command="shelfwise finetune --quick ...")
    done = quick.run(config, watch=silent)
    decisions.add((second, None))
    assert quick.run(config, watch=silent) == done


@pytest.mark.parametrize("job", ["quick", "whole"])
def test_a_category_that_is_new_to_the_shop_becomes_known(job: str, tmp_path: Path, weights: Path) -> None:
    write_labelled(Places(tmp_path), [*CATALOG, *[(name, None, [2]) for name, *_ in QUEUE]])
    selection: dict[str, Any] = {"decisions": Log().add(*((name, ICE) for name, *_ in QUEUE))}
    if job == "quick":
        quick.run(quick_config(tmp_path, weights, **selection), watch=silent)
    else:
        finetune.run(training(tmp_path, selection=Selection(Places(tmp_path), **selection)), watch=lambda _: None)
    [made] = (tmp_path / "releases").iterdir()
    release = load_release(made)
    assert ICE in {category.category_id for category in release.categories}
    assert release.thresholds[ICE] is None, "no label of the catalog measured it"


def test_a_training_that_goes_on_learns_the_decisions_that_it_was_begun_with(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), TRAINED)
    names = in_part(TRAINED, "train")
    decisions = Log().add((names[0], BLUE))
    told = training(tmp_path, selection=Selection(Places(tmp_path), decisions=decisions))
    begun = training_set(told.selection).data_sha256
    with pytest.raises(KeyboardInterrupt):
        stopped(told, in_epoch=3)
    decisions.add((names[0], GREEN), (names[1], BLUE), (names[2], None))
    gone_on(told)
    made = load_release(told.target).training
    assert (made["data_sha256"], made["decisions_until"]) == (begun, 1)
    assert training_set(told.selection).data_sha256 != begun, "the next training learns them"


@pytest.mark.parametrize("labels_from", ["both", "people"])
def test_without_a_label_of_the_catalog_a_whole_training_is_refused(labels_from: str, tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), QUEUE)
    log = Log().add(*((name, LEAVES[image[0]]) for name, _, image in QUEUE))
    told = training(tmp_path, selection=Selection(Places(tmp_path), decisions=log, labels_from=labels_from))
    with pytest.raises(UsageError, match=r"precision cannot be measured on the decisions of people alone.* at random"):
        finetune.run(told, watch=lambda _: None)
    assert not (tmp_path / "releases").exists()


def test_the_catalog_measures_where_people_alone_teach(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [*CATALOG, *QUEUE])
    log = Log().add(*((name, RED if number % 2 else BLUE) for number, (name, *_) in enumerate(QUEUE)))
    chosen = Selection(Places(tmp_path), decisions=log, labels_from="people")
    found = training_set(chosen)
    assert found.category_ids == (BLUE, RED)
    assert {image.source for image in found.taught["train"]} == {PEOPLE}
    assert {image.product_id for image in found.measured["test"]} == {
        name for name, label, _ in CATALOG if label != GREEN and part_of(name) == "test"
    }
    assert training_set(replace(chosen, labels_from="catalog")).category_ids == (BLUE, GREEN, RED)


def test_a_quick_release_without_a_label_of_the_catalog_publishes_nothing(tmp_path: Path, weights: Path) -> None:
    """It learns what people said, and leaves every answer to a person: nobody can say how often it is right."""
    write_labelled(Places(tmp_path), QUEUE)
    log = Log().add(*((name, LEAVES[image[0]]) for name, _, image in QUEUE))
    done = quick.run(quick_config(tmp_path, weights, decisions=log), watch=silent)
    assert done["below_promise"].startswith("release colours-2: precision cannot be measured on the decisions of peo")
    predictor, release, _ = load_predictor(tmp_path / "releases" / "colours-2")
    assert release.metrics == {}
    assert [release.thresholds[leaf] for leaf in LEAVES] == [None] * 3
    assert release.known is not None
    squares = np.zeros((3, 16, 16, 3), np.uint8)
    squares[range(3), :, :, range(3)] = 255
    winners = predictor.predict(squares).confidences.argmax(axis=1)
    assert [release.categories[int(place)].category_id for place in winners] == [RED, GREEN, BLUE]
    assert "Nothing: measure it with" in (tmp_path / "releases" / "colours-2" / NAME).read_text(encoding="utf-8")
