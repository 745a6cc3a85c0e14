"""Releases in a home: found, shown, verified, imported, promoted and rolled back."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import pytest

from jobs import releases
from jobs.config import RunFailed, UsageError, check_release_id
from jobs.measure import EvaluateConfig
from jobs.release_making import Calibration, recalibrate
from jobs.releases import Import
from jobs.settings import Settings
from models.card import NAME
from models.decision import Answer, decide
from models.origin import add_origin, origin_of
from models.registry import ARCHITECTURES, architecture
from models.release import MANIFEST, SHIPPED, Release, ReleaseError, load_release, save_release, sha256_of
from models.spec import Category, NetworkSpec
from sql.errors import UnknownNameError
from sql.store import ProductDatabase, open_database
from tests import tiny_network
from tests.conftest import picture
from tests.unit.test_foreign import trained

CATEGORIES = (Category("a.one", "A > One"), Category("a.two", "A > Two"), Category("b", "B"))
Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def tiny_architecture() -> Iterator[None]:
    """Make the tiny network known."""
    ARCHITECTURES[tiny_network.NAME] = "tests.tiny_network"
    yield
    del ARCHITECTURES[tiny_network.NAME]


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings()


@pytest.fixture
def database(settings: Settings) -> ProductDatabase:
    opened = open_database(settings.url)
    opened.upgrade()
    return opened


@pytest.fixture
def make(settings: Settings, tmp_path: Path) -> Make:
    def made(release_id: str, *, place: Path | None = None) -> Path:
        model = architecture(tiny_network.NAME).build(input_px=16, categories=3)
        model.save_weights(tmp_path / "w.weights.h5")
        network = NetworkSpec(tiny_network.NAME, 16, "w.weights.h5", sha256_of(tmp_path / "w.weights.h5"), 1.0)
        release = Release(release_id, "abc-1", CATEGORIES, (network,), 1.0, metrics={"ensemble_test_accuracy": 0.5})
        target = (place or releases.roots(settings)[0]) / release_id
        save_release(release, target, weights={"tiny": tmp_path / "w.weights.h5"}, documents={NAME: "a card"})
        return target

    return made


def test_the_champion_is_in_use_until_something_else_is_named(
    settings: Settings, database: ProductDatabase, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert releases.in_use(settings, None) == SHIPPED
    one, two = make("one"), make("two")
    assert releases.promote(settings, database, "one", "champion") == {
        "alias": "champion",
        "release_id": "one",
        "changed": True,
    }
    releases.promote(settings, database, "two", "challenger")
    assert releases.in_use(settings, None) == one
    assert releases.in_use(settings, "challenger") == two
    assert releases.in_use(settings, "two") == two
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(two))
    assert releases.in_use(Settings(), None) == two


def test_an_alias_that_stands_for_nothing_is_a_sentence(settings: Settings) -> None:
    with pytest.raises(UsageError, match="no release is challenger; promote one"):
        releases.in_use(settings, "challenger")
    assert not settings.places.home.exists(), "asking makes no database"


@pytest.mark.parametrize("named", ["clothing", "./clothing", "clothing/"])
def test_a_folder_of_photographs_hides_no_release(
    named: str,
    settings: Settings,
    database: ProductDatabase,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It hid the champion of that name, and every night that was started beside it failed."""
    clothing = make("clothing")
    (tmp_path / "shop" / "clothing").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "shop")
    assert settings.find_release(named) == (clothing if named == "clothing" else Path("clothing"))
    for name in ("clothing", make("next").name):
        releases.promote(settings, database, name, "champion")
    Path("clothing", MANIFEST).write_text("{")
    assert settings.find_release(named) == Path("clothing"), "what calls itself a release was meant"
    assert releases.rollback(settings, database)["release_id"] == "clothing"
    assert releases.in_use(settings, None) == releases.in_use(settings, "champion") == clothing


def test_the_champion_is_no_challenger(settings: Settings, database: ProductDatabase, make: Make) -> None:
    make("one")
    releases.promote(settings, database, "one", "champion")
    with pytest.raises(UsageError, match="release one is the champion; promote another one as challenger"):
        releases.promote(settings, database, "one", "challenger")
    assert releases.current_aliases(settings) == {"champion": "one"}


def test_a_challenger_is_taken_away(settings: Settings, database: ProductDatabase, make: Make) -> None:
    make("one")
    releases.promote(settings, database, "one", "challenger")
    assert releases.demote(database) == {"alias": "challenger", "release_id": "one", "changed": True}
    assert releases.current_aliases(settings) == {}
    assert releases.demote(database) == {"alias": "challenger", "release_id": None, "changed": False}


def test_the_challenger_is_promoted_by_that_name(settings: Settings, database: ProductDatabase, make: Make) -> None:
    for name in ("one", "two"):
        make(name)
    releases.promote(settings, database, "one", "champion")
    releases.promote(settings, database, "two", "challenger")
    assert releases.promote(settings, database, "challenger", "champion")["release_id"] == "two"
    assert releases.current_aliases(settings)["champion"] == "two"


@pytest.mark.parametrize("name", ["champion", "challenger"])
def test_an_alias_is_no_name_of_a_release(name: str) -> None:
    with pytest.raises(UsageError, match=f"--release-id {name} is an alias"):
        check_release_id(name)


def test_a_release_that_would_leave_its_directory_is_not_taken_in(
    settings: Settings, database: ProductDatabase, make: Make, tmp_path: Path
) -> None:
    """What is promoted from a download is copied to a directory of its release_id."""
    theirs = make("theirs", place=tmp_path / "download")
    document = json.loads((theirs / MANIFEST).read_text())
    (theirs / MANIFEST).write_text(json.dumps({**document, "release_id": "../../outside"}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ReleaseError, match=r"its release_id is '../../outside'"):
        releases.promote(settings, database, str(theirs), "champion")
    assert sorted(tmp_path.rglob("*")) == before


def test_rolling_back(settings: Settings, database: ProductDatabase, make: Make) -> None:
    for name in ("one", "two"):
        make(name)
        releases.promote(settings, database, name, "champion")
    assert releases.rollback(settings, database)["release_id"] == "one"
    with pytest.raises(UnknownNameError):
        releases.rollback(settings, database)


def test_a_rollback_to_a_release_whose_files_are_gone_changes_nothing(
    settings: Settings, database: ProductDatabase, make: Make
) -> None:
    one = make("one")
    releases.promote(settings, database, "one", "champion")
    make("two")
    releases.promote(settings, database, "two", "champion")
    shutil.rmtree(one)
    with pytest.raises(UsageError, match="no release 'one'"):
        releases.rollback(settings, database)
    assert releases.current_aliases(settings) == {"champion": "two"}


def test_a_release_from_elsewhere_is_taken_in_whole(
    settings: Settings, database: ProductDatabase, make: Make, tmp_path: Path
) -> None:
    elsewhere = make("far", place=tmp_path / "elsewhere")
    releases.promote(settings, database, str(elsewhere), "champion")
    shutil.rmtree(elsewhere)
    found = releases.in_use(settings, None)
    assert load_release(found).release_id == "far"
    assert (found / NAME).read_text() == "a card"


def test_another_release_of_the_same_name_is_refused(
    settings: Settings, database: ProductDatabase, make: Make, tmp_path: Path
) -> None:
    make("one")
    with pytest.raises(UsageError, match="another release of that name"):
        releases.promote(settings, database, str(make("one", place=tmp_path / "elsewhere")), "champion")
    assert releases.current_aliases(settings) == {}


def test_the_list_names_the_broken_ones(settings: Settings, database: ProductDatabase, make: Make) -> None:
    make("one")
    broken = make("two")
    releases.promote(settings, database, "one", "champion")
    (broken / "w.weights.h5").write_bytes(b"altered")
    rows = {row["release_id"]: row for row in releases.listed(settings)}
    assert (rows["one"]["alias"], rows["one"]["state"], rows["one"]["test_accuracy"]) == ("champion", "sound", 0.5)
    assert "was altered" in rows["two"]["state"]


def test_verify_runs_the_networks(make: Make) -> None:
    place = make("one")
    assert releases.verify(place)["state"] == "sound"
    (place / "w.weights.h5").write_bytes(b"altered")
    with pytest.raises(ReleaseError, match="was altered"):
        releases.verify(place)
    document = json.loads((place / MANIFEST).read_text())
    document["networks"][0]["weights_sha256"] = sha256_of(place / "w.weights.h5")
    (place / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(ReleaseError, match=r"the weights of .*one do not fit its networks .*; copy it again"):
        releases.verify(place)


def test_show_says_who_it_is(settings: Settings, database: ProductDatabase, make: Make) -> None:
    make("one")
    releases.promote(settings, database, "one", "champion")
    shown = releases.shown(settings, "champion")
    assert (shown["release_id"], shown["aliases"], shown["categories"]) == ("one", "champion", 3)


class TestImport:
    def told(self, tmp_path: Path, **changes: Any) -> Import:
        inputs = keras.Input((32, 32, 3))
        body = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
        features = keras.layers.GlobalAveragePooling2D()(body(inputs))
        theirs = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(features))
        trained(theirs, 32, sees=(0.0, 255.0)).save(tmp_path / "theirs.keras")  # an untrained one says nothing apart
        (tmp_path / "classes.txt").write_text("a.one,A > One\na.two\nb\n")
        values = {
            "path": tmp_path / "theirs.keras",
            "release_id": "theirs-1",
            "input_px": 32,
            "categories": tmp_path / "classes.txt",
            "preprocessing": "own",
            "ends_in": "softmax",
            "taxonomy_version": "theirs",
        }
        return Import(**{**values, **changes})

    def test_a_release_is_made_and_publishes_nothing_uncalibrated(self, settings: Settings, tmp_path: Path) -> None:
        done = releases.import_(settings, self.told(tmp_path))
        release = load_release(Path(done["release_dir"]))
        assert release.categories == (Category("a.one", "A > One"), Category("a.two", "a > two"), Category("b", "b"))
        assert release.networks[0].architecture == done["architecture"] == "efficientnetb0"
        assert set(release.thresholds.values()) == {None}
        for leaf, confidence in (("a.one", 0.34), ("b", 0.999999), ("a.two", 1.0)):
            others = (1 - confidence) / 2
            answer = decide({"a.one": others, "a.two": others, "b": others, leaf: confidence}, release.policy)
            assert answer == Answer(leaf, confidence, "review"), "until it is calibrated, all of them go to review"
        many = {"a.one": 0.05, "b": 0.001}
        assert decide(many, release.policy) == Answer("a.one", 0.05, "review"), "the best of many is a suggestion too"
        assert (Path(done["release_dir"]) / NAME).is_file()
        with pytest.raises(UsageError, match="never changed"):
            releases.import_(settings, self.told(tmp_path))

    def test_a_network_that_learned_from_exported_products_is_not_calibrated_on_them(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        told = self.told(tmp_path)
        with told.path.open("r+b") as file:
            add_origin(file, {"train_images": 70, "data_sha256": "0" * 64, "imported_from": "no matter"})
        source = Path(releases.import_(settings, told)["release_dir"])
        training = load_release(source).training
        assert (training["train_images"], training["imported_from"]) == (70, "theirs.keras")
        calibration = Calibration(source, source.with_name("theirs-2"), "train", EvaluateConfig(settings.places))
        with pytest.raises(UsageError, match="learned from the products of the part 'train'"):
            recalibrate(calibration)

    @pytest.mark.parametrize(
        "entry",
        ["[]", "{", '{"train_images": 7}', " " * 5000, json.dumps({"train_images": 7, "data_sha256": "<script>"})],
    )
    def test_what_a_file_of_anybody_says_of_its_training_may_be_anything(self, entry: str, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
            archive.writestr("shelfwise.json", entry)
        assert origin_of(tmp_path / "a.keras") == {}

    def test_the_comparison_is_made_on_the_samples_that_are_given(self, settings: Settings, tmp_path: Path) -> None:
        told = self.told(tmp_path, samples=tmp_path / "samples")
        (tmp_path / "samples").mkdir()
        (tmp_path / "samples" / "notes.txt").write_text("no image")
        with pytest.raises(UsageError, match="no image could be read in"):
            releases.import_(settings, told)
        for number in range(3):
            (tmp_path / "samples" / f"{number}.jpg").write_bytes(picture(1))
        with pytest.raises(ReleaseError, match="answers all 3 samples alike"):
            releases.import_(settings, told)
        for number in range(3, 6):
            (tmp_path / "samples" / f"{number}.jpg").write_bytes(picture(number))
        assert releases.import_(settings, told)["release_id"] == "theirs-1"

    def test_places_that_cannot_be_read_or_written_are_sentences(self, settings: Settings, tmp_path: Path) -> None:
        told = self.told(tmp_path, samples=tmp_path / "absent")
        with pytest.raises(UsageError, match=r"--samples .*absent cannot be read \(No such file or directory\)"):
            releases.import_(settings, told)
        releases.roots(settings)[0].parent.mkdir(parents=True, exist_ok=True)
        releases.roots(settings)[0].write_text("no directory")
        with pytest.raises(RunFailed, match="release theirs-1 could not be written"):
            releases.import_(settings, replace(told, samples=None))

    def test_what_is_refused_leaves_nothing(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
        with pytest.raises(ReleaseError, match="3 categories apart and 4 are named"):
            releases.import_(settings, self.told(tmp_path, categories=tmp_path / "four.txt"))
        assert not releases.roots(settings)[0].exists()

    @pytest.mark.parametrize("text", ["a\na\nb\n", "one\n", ""])
    def test_class_names_that_cannot_be(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(UsageError, match="give at least 2, each once"):
            releases.class_names(tmp_path / "classes.txt")

    def test_a_class_above_another_one_is_no_leaf(self, tmp_path: Path) -> None:
        """Publishing would name it twice, as a leaf and as the node above one, and fail every night."""
        (tmp_path / "classes.txt").write_text("b\napparel.shirt.polo\napparel\n")
        with pytest.raises(UsageError, match=r"'apparel' and 'apparel.shirt.polo' .* such as 'apparel.other'"):
            releases.class_names(tmp_path / "classes.txt")
