"""`finetune --quick`: from labelled products to a calibrated release in one go, and what it keeps for the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.dataset.labels import LabelledImage
from jobs.dataset.parts import part_of
from jobs.errors import RunFailed, UsageError
from jobs.evaluation.config import EvaluateConfig
from jobs.evaluation.evaluate import load_predictor
from jobs.evaluation.image_predictions import features_of
from jobs.evaluation.product_predictions import Measured, measure, measured_parts
from jobs.releases.calibrate import Calibration, Promise, recalibrate
from jobs.storage.places import Places
from jobs.training import features, finetune, quick
from jobs.training.examples import Examples
from jobs.training.finetune import FinetuneConfig, NetworkPlan
from jobs.training.known_images import features_in
from jobs.training.quick_config import QuickConfig, QuickNetwork
from jobs.training.selection import Selection
from models.card import NAME, known_images
from models.known.images import read_known
from models.networks.pixels import PIXELS, STATISTICS
from models.networks.registry import ARCHITECTURES, EARLIER_MAPS, INPUT_PX, architecture
from models.networks.weights import save_weights
from models.release import CROSS_FITTED, FEATURES_ENGINE, load_release
from models.serving import conversion
from models.serving.engines import ConversionRefused
from models.spec import Head
from models.training.recipe import Recipe
from tests import tiny_network
from tests.labelled import BLUE, DAY, GREEN, LEAVES, RED, write_labelled

TINIER = "tinier"
PRODUCTS = [(f"product-{number:03d}", LEAVES[number % 3], [number % 3]) for number in range(90)]


@pytest.fixture(scope="module", autouse=True)
def tiny_architectures() -> Iterator[None]:
    """Make the tiny network known, by two names; heads of the second one join the middle of an earlier feature map."""
    for name in (tiny_network.NAME, TINIER):
        ARCHITECTURES[name], INPUT_PX[name] = "tests.tiny_network", (16, 16)
    EARLIER_MAPS[TINIER] = ("block2a_conv",)
    yield
    del EARLIER_MAPS[TINIER]
    for name in (tiny_network.NAME, TINIER):
        del ARCHITECTURES[name], INPUT_PX[name]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights files of two different backbones, without heads."""
    import keras

    files = {}
    for seed, name in enumerate((tiny_network.NAME, TINIER)):
        keras.utils.set_random_seed(seed)
        files[name] = tmp_path_factory.mktemp("weights") / f"{name}_imagenet_notop.weights.h5"
        save_weights(architecture(name).backbone(input_px=16), files[name])
    return files


def config(
    home: Path, weights: dict[str, Path], names: tuple[str, ...] = (tiny_network.NAME,), **changes: Any
) -> QuickConfig:
    networks = tuple(QuickNetwork(name, 16, str(weights[name])) for name in names)
    selection = replace(Selection(Places(home)), **changes.pop("selection", {}))
    told = QuickConfig(
        "colours-2", selection, networks, batch_size=8, command="shelfwise ...", promise=Promise(0.6, 0.1)
    )
    return replace(told, **changes)


def silent(name: str, total: int) -> Callable[[int], None]:
    """Watch nothing."""
    return lambda done: None


class Counting:
    """Count the images whose features are computed, by network; raise an error after some of them."""

    def __init__(self, *, stop_after: int | None = None, error: BaseException | None = None) -> None:
        self.totals: dict[str, int] = {}
        self.computed: dict[str, int] = {}
        self._stop_after, self._error = stop_after, error or KeyboardInterrupt()

    def __call__(self, name: str, total: int) -> Callable[[int], None]:
        """Return the callback of one network."""
        self.totals[name] = total

        def watch(done: int) -> None:
            self.computed[name] = done
            if self._stop_after is not None and done >= self._stop_after:
                raise self._error

        return watch


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Path]) -> tuple[Path, dict[str, Any]]:
    """A home with a release of two networks that was made quickly."""
    home = tmp_path_factory.mktemp("home")
    write_labelled(Places(home), PRODUCTS)
    return home, quick.run(config(home, weights, (tiny_network.NAME, TINIER)), watch=silent)


def test_the_release_knows_its_colours_and_is_as_any_other(made: Any) -> None:
    home, summary = made
    place = home / "releases" / "colours-2"
    release = load_release(place)
    assert [network.architecture for network in release.networks] == [tiny_network.NAME, TINIER]
    assert summary["ensemble_test_accuracy"] == release.metrics["ensemble_test_accuracy"] == 1.0
    parts = [part_of(product) for product, _, _ in PRODUCTS]
    assert release.metrics["test_products"] == parts.count("test")
    assert release.training["calibrated_on_products"] == parts.count("train") + parts.count("validation")
    assert release.training[CROSS_FITTED] == 5
    assert release.training[f"{TINIER}{FEATURES_ENGINE}"] == "openvino"
    assert all(release.thresholds[leaf] is not None for leaf in LEAVES), "two dozen right answers open a gate at 0.6"
    assert summary["automatic_categories"] == 3
    assert summary["below_promise"] is None
    assert release.known is not None
    assert f"calibrated on {release.known.calibrated_on:,} images" in summary["known_images"]
    assert "shelfwise ..." in (place / NAME).read_text(encoding="utf-8")
    assert sorted(path.name for path in home.iterdir()) == ["features", "images", "releases"]
    assert [path.name for path in place.parent.iterdir()] == ["colours-2"], "no scratch is left"


def test_a_head_joins_the_middle_of_the_feature_map_that_its_architecture_names(made: Any) -> None:
    """Serving then computes the features that it learned from: see the two tests that follow."""
    home, _ = made
    release = load_release(home / "releases" / "colours-2")
    assert [network.head for network in release.networks] == [None, Head(middles=1)]
    widths = {}
    for file in (home / "features").rglob("*.parquet"):
        widths[file.parent.name.split("-")[0]] = pq.read_schema(file).field("features").type.list_size
    assert widths == {tiny_network.NAME: 6, TINIER: 12, PIXELS: STATISTICS}


def test_the_release_knows_its_images_and_scores_them_as_its_kept_features_did(made: Any) -> None:
    """The description is made of kept features; serving computes the features from the pictures again."""
    home, _ = made
    place = home / "releases" / "colours-2"
    release = load_release(place)
    assert release.known is not None
    assert release.known.references == release.known.calibrated_on == sum(part_of(p) != "test" for p, *_ in PRODUCTS)
    reading = EvaluateConfig(Places(home), part="test")
    images = sorted(reading.images(), key=lambda image: (image.product_id, image.image_no))
    served = features_of(load_predictor(place)[0], images, reading)
    stores = {}
    for network, width in zip(release.networks, (6, 12), strict=True):
        [directory] = [
            each for each in (home / "features").iterdir() if each.name.startswith(f"{network.architecture}-")
        ]
        key = features.key_in(directory)
        assert key is not None
        stores[network.architecture] = features.FeatureStore(directory, key, width, last_width=6)
    [directory] = (home / "features").glob(f"{PIXELS}-16-*")
    key = features.key_in(directory)
    assert key is not None
    stores[PIXELS] = features.FeatureStore(directory, key, STATISTICS)
    kept = features_in(stores, images)
    assert {name: values.shape[1] for name, values in kept.features.items()} == {
        name: values.shape[1] for name, values in served.features.items()
    }
    known = read_known(place / release.known.file)
    # Pictures of three colours lie at three distances, so that the limit leaves the pixels no room in the score.
    np.testing.assert_allclose(served.features[PIXELS], kept.features[PIXELS], atol=1e-2)
    np.testing.assert_allclose(known.scores(served.features), known.scores(kept.features), atol=1e-2)


def test_the_release_answers_as_its_features_did(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of the card were computed from features; serving computes the whole network from the pictures."""
    home, _summary = made
    predictor, release, _ = load_predictor(home / "releases" / "colours-2")
    reading = EvaluateConfig(Places(home), part="test")
    measured = measure(predictor, release, reading.images(), reading)
    seen: list[Measured] = []

    def kept(*args: Any) -> Measured:
        seen.append(measured_parts(*args))
        return seen[-1]

    monkeypatch.setattr("jobs.training.quick.measured_parts", kept)
    files = {
        network.architecture: home / "releases" / "colours-2" / network.weights_file for network in release.networks
    }
    quick.run(config(home, files, (tiny_network.NAME, TINIER), release_id="colours-3"), watch=silent)
    [of_features] = seen
    assert of_features.product_ids == measured.product_ids
    np.testing.assert_allclose(of_features.confidences, measured.confidences, atol=2e-3)
    assert [answer.status for answer in of_features.answers] == [answer.status for answer in measured.answers]


def test_a_second_call_computes_new_images_only(tmp_path: Path, weights: dict[str, Path]) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    first, second = Counting(), Counting()
    quick.run(config(tmp_path, weights), watch=first)
    write_labelled(Places(tmp_path), [(f"new-{number}", RED, [0]) for number in range(5)], day=DAY + timedelta(days=1))
    done = quick.run(config(tmp_path, weights, release_id="colours-3"), watch=second)
    assert (first.totals, second.totals) == ({tiny_network.NAME: 90, PIXELS: 90}, {tiny_network.NAME: 5, PIXELS: 5})
    told = load_release(Path(done["release_dir"])).training
    assert sum(told[f"{part}_images"] for part in ("train", "validation", "test")) == 95
    third = Counting()
    quick.run(config(tmp_path, weights, (TINIER,), release_id="colours-4"), watch=third)
    assert third.totals == {TINIER: 95}, "another backbone has other features"


def test_a_killed_run_leaves_no_release_and_the_next_goes_on(
    tmp_path: Path, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "FILE_ROWS", 16)
    write_labelled(Places(tmp_path), PRODUCTS)
    with pytest.raises(KeyboardInterrupt):
        quick.run(config(tmp_path, weights), watch=Counting(stop_after=40))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features", "images"]
    again = Counting()
    done = quick.run(config(tmp_path, weights), watch=again)
    assert again.totals == {tiny_network.NAME: 50, PIXELS: 90}, "pixels come after the backbones"
    whole = Counting()
    write_labelled(Places(tmp_path / "other"), PRODUCTS)
    same = quick.run(config(tmp_path / "other", weights), watch=whole)
    one, other = (load_release(Path(each["release_dir"])) for each in (done, same))
    assert one.temperature == other.temperature
    assert one.thresholds == other.thresholds


def test_features_that_keras_computes_in_place_of_openvino_are_not_taken_for_those_of_openvino(
    tmp_path: Path, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lay under OpenVINO's key, and one name stood for what both had computed."""

    def refused(*_given: object, **_options: object) -> None:
        raise ConversionRefused("the features differ")

    def engine_told(release_id: str) -> Any:
        done = quick.run(config(tmp_path, weights, release_id=release_id), watch=computed)
        return load_release(Path(done["release_dir"])).training[f"{tiny_network.NAME}{FEATURES_ENGINE}"]

    write_labelled(Places(tmp_path), PRODUCTS)
    with monkeypatch.context() as patched:
        patched.setattr(conversion, "compare", refused)
        computed = Counting()
        assert engine_told("colours-2") == "tensorflow"
        assert computed.totals == {tiny_network.NAME: 90, PIXELS: 90}
        computed = Counting()
        assert engine_told("colours-3") == "tensorflow"
        assert computed.totals == {}
    computed = Counting()
    assert engine_told("colours-4") == "openvino"
    assert computed.totals == {tiny_network.NAME: 90}
    keys = [features.key_in(directory) for directory in (tmp_path / "features").glob(f"{tiny_network.NAME}-*")]
    assert {key.engine for key in keys if key} == {"openvino", "tensorflow"}


def test_the_part_test_teaches_and_calibrates_nothing(tmp_path: Path, weights: dict[str, Path]) -> None:
    """With wrong labels throughout the part test everything but its figures stays the same."""
    wrong = {RED: GREEN, GREEN: BLUE, BLUE: RED}
    mixed = [(name, wrong[label] if part_of(name) == "test" else label, image) for name, label, image in PRODUCTS]
    releases = []
    for name, products in (("right", PRODUCTS), ("wrong", mixed)):
        write_labelled(Places(tmp_path / name), products)
        done = quick.run(config(tmp_path / name, weights), watch=silent)
        releases.append((load_release(Path(done["release_dir"])), done))
    (right, first), (other, second) = releases
    assert (first["ensemble_test_accuracy"], second["ensemble_test_accuracy"]) == (1.0, 0.0)
    assert (right.thresholds, right.temperature) == (other.thresholds, other.temperature)
    assert first["below_promise"] is None
    published = right.metrics["test_products"]
    assert (
        f"of the part test {published} products would be published and 0 of these are right" in second["below_promise"]
    )
    assert "release colours-2 was made and is not to be promoted" in second["below_promise"]


def test_a_backbone_that_saw_train_is_calibrated_by_the_groups_in_validation() -> None:
    """By its own product_id p1 is in train, and article-00003 in validation; their groups are the other way round."""
    images = [
        LabelledImage(name, 0, name, RED, Path(), group_id=group_id)
        for name, group_id in (("p1", "article-00003"), ("article-00003", "p1"))
    ]
    known = Examples(images, np.zeros(2, np.int64), 0, dict(enumerate(images)))
    network: Any = SimpleNamespace(architecture="tiny")
    fitted = quick._Fitted(network, Path(), np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), True, {})
    assert [image.product_id for image in quick._to_calibrate(known, [fitted]).images] == ["p1"]


def test_products_that_share_a_picture_are_in_one_fold(tmp_path: Path, weights: dict[str, Path]) -> None:
    """Twenty variants with one picture are one group; so the category has no three of them."""
    places = Places(tmp_path)
    write_labelled(places, [product for product in PRODUCTS if product[1] != RED])
    variants = [f"variant-{number}" for number in range(40)]
    write_labelled(places, [(name, RED, [0]) for name in variants if part_of(name) == "train"], content="same")
    with pytest.raises(UsageError, match=r"^category 'warm.red' has 1 products outside .* --leave-out 'warm.red'$"):
        quick.run(config(tmp_path, weights), watch=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["images"], "refused before any feature is computed"


@pytest.mark.parametrize("broken", [float("nan"), 0.0])
def test_a_backbone_without_usable_features_gives_one_sentence(
    broken: float, tmp_path: Path, weights: dict[str, Path]
) -> None:
    body = architecture(tiny_network.NAME).backbone(input_px=16)
    body.load_weights(weights[tiny_network.NAME])
    body.set_weights([each * broken for each in body.get_weights()])
    save_weights(body, tmp_path / "broken.weights.h5")
    write_labelled(Places(tmp_path), PRODUCTS)
    with pytest.raises(RunFailed, match=r"^tiny: the features of .* start from another backbone with --start-from"):
        quick.run(config(tmp_path, {tiny_network.NAME: tmp_path / "broken.weights.h5"}), watch=silent)
    assert not list((tmp_path / "releases").iterdir()), "no half release"


def test_a_backbone_file_of_another_architecture_is_refused(tmp_path: Path, weights: dict[str, Path]) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    networks = (QuickNetwork("xception", 71, str(weights[tiny_network.NAME])),)
    with pytest.raises(UsageError, match="does not hold weights of xception: its layers are others"):
        quick.run(config(tmp_path, weights, networks=networks), watch=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["images"], "nothing was begun"


@pytest.mark.parametrize(
    ("products", "sentence"),
    [
        ([*PRODUCTS, ("one", "cold.white", [0])], "category 'cold.white' has 1 products and at least 10 are needed"),
        ([(f"p{number}", RED, [0]) for number in range(40)], "all labelled products are 'warm.red'; at least two"),
        ([(name, label, [-1]) for name, label, _ in PRODUCTS], "none of the .* labelled images could be decoded"),
    ],
)
def test_products_that_teach_nothing_give_one_sentence(
    products: Any, sentence: str, tmp_path: Path, weights: dict[str, Path]
) -> None:
    write_labelled(Places(tmp_path), products)
    with pytest.raises((UsageError, RunFailed), match=sentence):
        quick.run(config(tmp_path, weights), watch=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["images"], "nothing was begun"


def test_images_that_do_not_decode_are_left_out(tmp_path: Path, weights: dict[str, Path]) -> None:
    broken = [(f"broken-{number}", RED, [-1]) for number in range(20)]
    write_labelled(Places(tmp_path), [*PRODUCTS, *broken])
    done = quick.run(config(tmp_path, weights), watch=silent)
    parts = [part_of(product) for product, _, _ in PRODUCTS]
    release = load_release(Path(done["release_dir"]))
    assert release.training["calibrated_on_products"] == len(parts) - parts.count("test")
    assert done["test_products"] == parts.count("test")


def test_an_existing_release_is_not_made_again(made: Any, weights: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="never changed; choose another --release-id"):
        quick.run(config(made[0], weights, command="shelfwise finetune ..."), watch=silent)
    with pytest.raises(UsageError, match="never changed; choose another --release-id"):
        quick.run(config(made[0], weights, seed=8), watch=silent)


def killed(*_: object, **__: object) -> None:
    """Stand for a process that is killed at this moment."""
    raise KeyboardInterrupt


def test_a_run_that_was_killed_after_its_release_was_complete_is_finished_by_the_same_call(
    tmp_path: Path, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name was taken then, by its own release: the same command was refused for ever."""
    write_labelled(Places(tmp_path), PRODUCTS)
    with monkeypatch.context() as patched:
        patched.setattr(quick, "share", killed)
        with pytest.raises(KeyboardInterrupt):
            quick.run(config(tmp_path, weights), watch=silent)
    shared: list[Path] = []
    monkeypatch.setattr(quick, "share", lambda directory, places: shared.append(directory))
    computed = Counting()
    done = quick.run(config(tmp_path, weights), watch=computed)
    release = load_release(tmp_path / "releases" / "colours-2")
    assert shared == [tmp_path / "releases" / "colours-2"]
    assert computed.totals == {}
    assert done == {
        "release_id": "colours-2",
        "release_dir": str(shared[0]),
        **release.metrics,
        "known_images": known_images(release),
        "below_promise": None,
    }


def test_the_same_call_is_refused_when_there_are_other_products(tmp_path: Path, weights: dict[str, Path]) -> None:
    """It would make another release; a person who labelled more must not take the old one for it."""
    write_labelled(Places(tmp_path), PRODUCTS)
    quick.run(config(tmp_path, weights), watch=silent)
    write_labelled(Places(tmp_path), [("new", RED, [0])], day=DAY + timedelta(days=1))
    with pytest.raises(UsageError, match="never changed; choose another --release-id"):
        quick.run(config(tmp_path, weights), watch=silent)


def tuned_in(home: Path, start: Path, release_id: str) -> Path:
    """Fine-tune a network from a start for two epochs; return the directory of its release."""
    recipe = Recipe(head_epochs=1, epochs=1, learning_rate=0.01, train_norms=True, dropout=0.0)
    plan = NetworkPlan(tiny_network.NAME, 16, str(start), recipe)
    training = FinetuneConfig(release_id, Selection(Places(home)), (plan,), batch_size=8)
    return Path(finetune.run(training, watch=lambda name: None)["release_dir"])


def test_a_backbone_that_was_trained_on_the_part_train_is_calibrated_on_validation_alone(
    tmp_path: Path, weights: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It knows the products of the part train, so that no head makes their answers as unsure as those for new ones."""
    write_labelled(Places(tmp_path), PRODUCTS)
    tuned = tuned_in(tmp_path, weights[tiny_network.NAME], "tuned-1")
    caplog.set_level("INFO")
    files = {tiny_network.NAME: tuned}
    done = quick.run(config(tmp_path, files), watch=silent)
    held_out = [part_of(product) for product, _, _ in PRODUCTS].count("validation")
    assert load_release(Path(done["release_dir"])).training["calibrated_on_products"] == held_out
    assert f"the {held_out} images of the part validation alone calibrate" in caplog.text
    files = {tiny_network.NAME: Path(done["release_dir"])}
    again = quick.run(config(tmp_path, files, release_id="colours-3"), watch=silent)
    assert load_release(Path(again["release_dir"])).training["calibrated_on_products"] == held_out, (
        "nor is it forgotten"
    )


def test_a_start_of_unknown_training_is_named_before_and_after_and_on_the_card(
    tmp_path: Path, weights: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """If these products taught it, no fold holds anything back; nothing was said, and the release was promoted."""
    write_labelled(Places(tmp_path), PRODUCTS)
    theirs = tmp_path / "theirs.weights.h5"
    theirs.symlink_to(weights[tiny_network.NAME])
    files = {**weights, tiny_network.NAME: theirs}
    done = quick.run(config(tmp_path, files, (tiny_network.NAME, TINIER)), watch=silent)
    assert f"tiny starts from {theirs}, and nobody knows what that has learned from" in caplog.text
    assert "tinier starts from" not in caplog.text
    assert "the backbone of tiny has learned from, and if it was these products" in done["below_promise"]
    directory = Path(done["release_dir"])
    assert "what the backbone of tiny has learned from. If it was the products" in (directory / NAME).read_text()
    assert all(load_release(directory).thresholds[leaf] for leaf in LEAVES), "a person may promote it all the same"
    caplog.clear()
    again = quick.run(config(tmp_path, {TINIER: directory}, (TINIER,), release_id="colours-3"), watch=silent)
    assert again["below_promise"] is None, "its other backbone is ImageNet's"
    again = quick.run(config(tmp_path, {tiny_network.NAME: directory}, release_id="colours-4"), watch=silent)
    assert "nobody knows what" in again["below_promise"], "nor is it forgotten"
    vouched = config(tmp_path, {tiny_network.NAME: directory}, release_id="colours-5", vouched=True)
    caplog.clear()
    done = quick.run(vouched, watch=silent)
    assert (done["below_promise"], "nobody knows" in caplog.text) == (None, False)
    training = load_release(Path(done["release_dir"])).training
    assert training["backbones_vouched_for"] == "tiny"
    assert "| backbones vouched for | tiny |" in (Path(done["release_dir"]) / NAME).read_text()


def test_nobody_vouches_for_a_backbone_that_is_known_to_have_learned_from_the_products(
    tmp_path: Path, weights: dict[str, Path]
) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    tuned = tuned_in(tmp_path, weights[tiny_network.NAME], "tuned-1")
    done = quick.run(config(tmp_path, {tiny_network.NAME: tuned}, vouched=True), watch=silent)
    training = load_release(Path(done["release_dir"])).training
    assert training["calibrated_on_products"] == [part_of(name) for name, *_ in PRODUCTS].count("validation")
    assert "backbones_vouched_for" not in training


def test_a_whole_training_goes_on_from_a_quick_release(made: Any) -> None:
    home, _ = made
    tuned = load_release(tuned_in(home, home / "releases" / "colours-2", "tuned-9"))
    assert CROSS_FITTED not in tuned.training
    parts = [part_of(product) for product, _, _ in PRODUCTS]
    assert tuned.training["calibrated_on_products"] == parts.count("validation")


def test_a_quick_release_is_not_calibrated_again_on_what_its_heads_have_learned(made: Any, tmp_path: Path) -> None:
    home, _ = made
    for part in ("train", "validation"):
        again = Calibration(home / "releases" / "colours-2", tmp_path / "again", part, EvaluateConfig(Places(home)))
        with pytest.raises(UsageError, match=r"heads of release colours-2 learned from .* finetune --quick`"):
            recalibrate(again)
    assert not (tmp_path / "again").exists()
