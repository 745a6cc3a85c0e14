"""What finetune refuses, or stops at, seen from its own call: no release, and what was trained is kept."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.dataset.catalog_labels import dataset_files
from jobs.dataset.labels import LabelledImage, labelled_images
from jobs.dataset.parts import PARTS
from jobs.errors import RunFailed, UsageError
from jobs.releases.calibrate import Promise, warn_of_categories_without_threshold
from jobs.storage.places import Places
from jobs.training import finetune
from jobs.training.finetune import FinetuneConfig, NetworkPlan
from jobs.training.selection import Selection, training_set
from jobs.training.training_record import RECORD, TrainingRecord, write_record
from models.networks.registry import ARCHITECTURES, INPUT_PX, architecture
from models.networks.weights import save_weights
from models.release import Release, ReleaseError, load_release, save_release, sha256_of
from models.spec import Category, NetworkSpec
from models.training.recipe import CHECKPOINT, NOTHING
from tests import tiny_network
from tests.labelled import DAY, LEAVES, RED, write_labelled
from tests.unit.training.test_finetune import PRODUCTS, RECIPE, config, silent


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME] = "tests.tiny_network", (16, 16)
    yield
    del ARCHITECTURES[tiny_network.NAME], INPUT_PX[tiny_network.NAME]


def test_a_release_under_another_taxonomy_is_not_started_from(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    weights, place = tmp_path / "w.weights.h5", tmp_path / "other-1"
    save_weights(architecture(tiny_network.NAME).build(input_px=16, categories=3), weights)
    network = NetworkSpec(tiny_network.NAME, 16, "tiny.weights.h5", sha256_of(weights), 1.0)
    categories = tuple(Category(leaf, leaf) for leaf in sorted(LEAVES))
    save_release(Release("other-1", "shop-9", categories, (network,), 1.0), place, weights={"tiny": weights})
    plan = NetworkPlan(tiny_network.NAME, 16, str(place), RECIPE)
    with pytest.raises((UsageError, ReleaseError), match=r"trained under taxonomy shop-9 .* labelled under labels-"):
        finetune.run(config(tmp_path, networks=(plan,)), watch=silent)
    assert not (tmp_path / "releases").exists()
    assert not (tmp_path / "training" / "colours-2").exists(), "nothing was trained"


def test_a_nan_loss_fails_the_run_and_a_lower_learning_rate_resumes_it(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)

    def plan(rate: float) -> tuple[NetworkPlan, ...]:
        head = replace(RECIPE, head_epochs=1, epochs=1, train_norms=False, learning_rate=rate)
        return (NetworkPlan(tiny_network.NAME, 16, "nothing", head),)

    with pytest.raises(RunFailed, match=r"loss of tiny became .* in epoch 2; lower the learning rate"):
        finetune.run(config(tmp_path, networks=plan(1e38)), watch=silent)
    assert not (tmp_path / "releases").exists()
    assert (tmp_path / "training" / "colours-2" / tiny_network.NAME / CHECKPOINT).exists()
    seen: list[int] = []
    done = finetune.run(config(tmp_path, networks=plan(1e-4)), watch=lambda name: lambda epoch, *_: seen.append(epoch))
    assert (done["release_id"], set(seen)) == ("colours-2", {2})


def test_a_damaged_file_fails_the_run_with_its_name(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    [shard] = tmp_path.glob("images/*/*.parquet")
    content = bytearray(shard.read_bytes())
    content[4:1004] = bytes(1000)  # in its images; names and labels are elsewhere
    names = content.index(b"product-000")
    assert names > 1004
    shard.write_bytes(bytes(content))
    with pytest.raises(RunFailed, match=rf"{shard.name} cannot be read"):
        finetune.run(config(tmp_path), watch=silent)
    assert not (tmp_path / "releases").exists()


@pytest.mark.parametrize(
    ("products", "sentence"),
    [
        ([(f"p{number}", RED, [0]) for number in range(40)], "all labelled products are 'warm.red'; at least two"),
        ([*PRODUCTS, ("one", "cold.white", [0])], "category 'cold.white' has 1 products and at least 10 are needed"),
        ([*PRODUCTS, *((f"q{number}", "cold", [1]) for number in range(20))], "'cold', which is the parent"),
        ([(product, None, channels) for product, _, channels in PRODUCTS], "none of 90 ingested images has a category"),
    ],
)
def test_products_that_cannot_be_trained_on_give_one_sentence(products: Any, sentence: str, tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), products)
    with pytest.raises(UsageError, match=sentence):
        finetune.run(config(tmp_path), watch=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["images"], "nothing was begun"


def test_a_label_that_the_taxonomy_does_not_contain_is_refused(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    taxonomy = tmp_path / "taxonomy.csv"
    taxonomy.write_text("category_id,category_path\nwarm.red,Warm > Red\ncold.blue,Cold > Blue\n")
    with pytest.raises(UsageError, match=r"'cold.green', which taxonomy .*taxonomy.csv does not know"):
        finetune.run(config(tmp_path, taxonomy=taxonomy), watch=silent)


def test_a_full_disk_leaves_no_half_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        monkeypatch.context() as patched,
        pytest.raises(RunFailed, match=r"No space left on device.*what was trained"),
    ):
        patched.setattr(finetune, "save_release", full)
        finetune.run(config(tmp_path), watch=silent)
    assert not (tmp_path / "releases").exists()
    seen: list[int] = []
    done = finetune.run(config(tmp_path), watch=lambda name: lambda epoch, *_: seen.append(epoch))
    assert (done["release_id"], seen) == ("colours-2", []), "the same command only finishes"


def test_a_checkpoint_of_another_task_is_not_resumed(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)

    def stop(name: str) -> Any:
        def told(epoch: int, *_: Any) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

        return told

    with pytest.raises(KeyboardInterrupt):
        finetune.run(config(tmp_path), watch=stop)
    with pytest.raises(UsageError, match=r"another data_sha256; delete that .*, or choose another --release-id"):
        finetune.run(config(tmp_path, leave_out=(RED,)), watch=silent)


def test_a_training_resumes_only_with_the_min_products_of_its_start(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), [*PRODUCTS, *((f"hat-{number}", "hats", [0]) for number in range(15))])

    def least(products: int | None) -> FinetuneConfig:
        plain = config(tmp_path)
        return replace(plain, selection=replace(plain.selection, min_products=products))

    def stop(epoch: int, *_: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune.run(least(20), watch=lambda _: stop)
    for other in (None, 10):
        with pytest.raises(UsageError, match=r"another .*data_sha256.*; delete that"):
            finetune.run(least(other), watch=silent)
    seen: list[int] = []
    done = finetune.run(least(20), watch=lambda _: lambda epoch, *_: seen.append(epoch))
    assert set(seen) == {3, 4}
    assert len(load_release(Path(done["release_dir"])).categories) == 3


def test_a_training_that_fails_before_its_first_epoch_leaves_no_work_directory(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    plan = NetworkPlan(tiny_network.NAME, 16, str(tmp_path / "absent.weights.h5"), RECIPE)
    with pytest.raises(UsageError, match=r"nothing at .*absent\.weights\.h5"):
        finetune.run(config(tmp_path, networks=(plan,)), watch=silent)
    assert not (tmp_path / "training" / "colours-2").exists()


def test_the_start_of_the_second_network_is_checked_before_the_first_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    for name, known in ((ARCHITECTURES, "tests.tiny_network"), (INPUT_PX, (16, 16))):
        monkeypatch.setitem(name, "second", known)
    first, second = config(tmp_path).networks[0], NetworkPlan("second", 16, str(tmp_path / "absent.h5"), RECIPE)
    frozen = replace(second, start=NOTHING, recipe=replace(RECIPE, unfreeze_from="blokc2"))
    trained: list[str] = []
    for wrong, sentence in ((second, r"nothing at .*absent\.h5"), (frozen, "blokc2")):
        with pytest.raises(UsageError, match=sentence):
            finetune.run(config(tmp_path, networks=(first, wrong)), watch=lambda name: lambda *_: trained.append(name))
    assert trained == []
    assert not (tmp_path / "training" / "colours-2").exists()


def test_a_second_training_of_the_same_name_is_refused_while_one_runs(tmp_path: Path) -> None:
    """A worker that was given up may live on: the later call leaves its files alone, and can be made again."""
    write_labelled(Places(tmp_path), PRODUCTS)
    refused: list[str] = []

    def second(epoch: int, *_: Any) -> None:
        if epoch == 2 and not refused:
            with pytest.raises(RunFailed, match=r"another process trains in .*colours-2; stop it or wait") as error:
                finetune.run(config(tmp_path), watch=silent)
            refused.append(str(error.value))

    done = finetune.run(config(tmp_path), watch=lambda _: second)
    assert (done["release_id"], len(refused)) == ("colours-2", 1)
    assert list((tmp_path / "training").iterdir()) == []


def test_a_release_name_taken_during_the_training_gives_one_sentence(tmp_path: Path) -> None:
    write_labelled(Places(tmp_path), PRODUCTS)
    other = tmp_path / "releases" / "colours-2"
    with pytest.raises(UsageError, match=r"colours-2 is there already and a release is never changed"):
        finetune.run(config(tmp_path), watch=lambda _: lambda *_: other.mkdir(parents=True, exist_ok=True))
    assert list(other.iterdir()) == []


def test_a_resumed_training_uses_the_products_of_its_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A night comes in between, with new products and another label of an old one; both are for the next training."""
    places = Places(tmp_path)
    write_labelled(places, PRODUCTS)

    def stop(epoch: int, *_: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune.run(config(tmp_path), watch=lambda _: stop)
    before = dataset_files(places)
    night = [(f"new-{number}", RED, [0]) for number in range(8)] + [("product-001", RED, [1])]
    write_labelled(places, night, day=DAY + timedelta(days=1))
    seen: list[int] = []
    with caplog.at_level("INFO"):
        done = finetune.run(config(tmp_path), watch=lambda _: lambda epoch, *_: seen.append(epoch))
    assert set(seen) == {3, 4}
    assert "goes on with the files it was begun with; 1 newer ones are for the next training" in caplog.text
    told = load_release(Path(done["release_dir"])).training
    assert told["data_sha256"] == training_set(Selection(places, last=DAY)).data_sha256
    assert sum(told[f"{part}_images"] for part in PARTS) == len(PRODUCTS)
    assert len(dataset_files(places)) == len(before) + 1


def test_a_missing_dataset_file_of_a_resumed_training_is_named(tmp_path: Path) -> None:
    places = Places(tmp_path)
    write_labelled(places, PRODUCTS)
    work = config(tmp_path).work_dir
    write_record(work, TrainingRecord(("images/ingest_date=2026-01-01/part-gone.parquet", *dataset_files(places)), {}))
    (work / "xception").mkdir()
    (work / "xception" / CHECKPOINT).touch()
    with pytest.raises(UsageError, match=r"part-gone.parquet, with which the training in .*colours-2 was begun, is no"):
        finetune.run(config(tmp_path), watch=silent)
    (work / RECORD).write_text("3")
    with pytest.raises(UsageError, match=r"begun.json is damaged \(.*\); delete .*colours-2 to begin again"):
        finetune.run(config(tmp_path), watch=silent)


RANGE = [f"group.leaf-{number}" for number in range(4)]


def labelled_as(counts: Sequence[int], place: Path) -> list[LabelledImage]:
    """Write as many products of each category of `RANGE` as are counted, and return their images."""
    products = [
        (f"{category}-{number}", category, [0, 1] if number == 0 else [0])
        for category, count in zip(RANGE, counts, strict=True)
        for number in range(count)
    ]
    write_labelled(Places(place), products)
    return labelled_images(Places(place))


@pytest.mark.parametrize(
    ("counts", "by", "shut", "sharing"),
    [
        # At a precision of 0.5 five flawless answers are enough, and 25 are for a threshold of its own.
        ((25, 25, 25, 25), "category", 0, 0),
        ((25, 25, 25, 24), "category", 0, 0),  # nobody to share with
        ((25, 25, 5, 6), "category", 0, 2),
        ((25, 25, 5, 4), "category", 1, 0),
        ((0, 24, 5, 4), "category", 2, 2),
        ((25, 25, 5, 4), "catalog", 1, 3),
    ],
)
def test_before_the_training_it_is_said_which_categories_can_be_published(
    counts: tuple[int, ...], by: str, shut: int, sharing: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    warn_of_categories_without_threshold(labelled_as(counts, tmp_path), RANGE, Promise(0.5, by=by))
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    told = [record.message for record in caplog.records if record.levelname == "INFO"]
    assert (len(warned), len(told)) == (bool(shut), bool(sharing))
    if shut:
        assert f"{shut} of 4 categories cannot be published without a person at a precision of 0.5" in warned[0]
        assert "at least 5 validation products, and those that share a threshold take 5 together" in warned[0]
        assert warned[0].endswith("label more products, or lower --target-precision")
    if sharing:
        assert told[0].startswith(f"{sharing} of 4 categories will share a threshold with others, which promises a")
        assert ("one of its own takes 25 validation products" in told[0]) == (by == "category")


def test_a_warning_before_the_training_counts_categories_that_are_too_few_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """58 products do not reach a precision of 0.95 even if all are right; the 59th makes it possible."""
    caplog.set_level("INFO")
    warn_of_categories_without_threshold(labelled_as((20, 20, 18, 0), tmp_path / "58"), RANGE, Promise(0.95))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "4 of 4 categories" in record.message
    caplog.clear()
    warn_of_categories_without_threshold(labelled_as((20, 20, 19, 0), tmp_path / "59"), RANGE, Promise(0.95))
    sharing, warned = caplog.records
    assert "3 of 4 categories will share" in sharing.message
    assert "1 of 4 categories" in warned.message
