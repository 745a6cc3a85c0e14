"""Releases in a home: found, shown, verified, imported, promoted and rolled back."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli.main import main_group
from jobs.errors import UsageError
from jobs.releases import aliases as releases
from jobs.releases import inspection, lookup
from jobs.releases.lookup import find_release
from jobs.releases.new_releases import check_release_id
from jobs.settings import Settings
from models.answers.promises import CURVE, CategoryPromise
from models.card import NAME
from models.networks.registry import ARCHITECTURES, architecture
from models.release import FORMER_NAMES, MANIFEST, SHIPPED, Release, ReleaseError, load_release, save_release, sha256_of
from models.spec import Category, KnownSpec, NetworkSpec
from sql.errors import UnknownNameError
from sql.store import ProductDatabase, open_database
from tests import tiny_network
from tests.untrained import broken_release

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
        target = (place or lookup.roots(settings)[0]) / release_id
        save_release(release, target, weights={"tiny": tmp_path / "w.weights.h5"}, documents={NAME: "a card"})
        return target

    return made


def test_the_champion_is_used_unless_another_release_is_named(
    settings: Settings, database: ProductDatabase, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lookup.release_directory(settings, None) == SHIPPED
    one, two = make("one"), make("two")
    assert releases.promote(settings, database, "one", "champion") == {
        "alias": "champion",
        "release_id": "one",
        "changed": True,
    }
    releases.promote(settings, database, "two", "challenger")
    assert lookup.release_directory(settings, None) == one
    assert lookup.release_directory(settings, "challenger") == two
    assert lookup.release_directory(settings, "two") == two
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(two))
    assert lookup.release_directory(Settings(), None) == two


def test_an_alias_without_a_release_gives_one_sentence(settings: Settings) -> None:
    with pytest.raises(UsageError, match="no release is challenger; promote one"):
        lookup.release_directory(settings, "challenger")
    assert not settings.places.home.exists(), "asking makes no database"


@pytest.mark.parametrize("named", ["clothing", "./clothing", "clothing/"])
def test_a_directory_without_a_release_does_not_hide_the_release_of_its_name(
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
    assert find_release(settings, named) == (clothing if named == "clothing" else Path("clothing"))
    for name in ("clothing", make("next").name):
        releases.promote(settings, database, name, "champion")
    Path("clothing", MANIFEST).write_text("{")
    assert find_release(settings, named) == Path("clothing"), "what calls itself a release was meant"
    assert releases.rollback(settings, database)["release_id"] == "clothing"
    assert lookup.release_directory(settings, None) == lookup.release_directory(settings, "champion") == clothing


def test_the_champion_cannot_become_challenger(settings: Settings, database: ProductDatabase, make: Make) -> None:
    make("one")
    releases.promote(settings, database, "one", "champion")
    with pytest.raises(UsageError, match="release one is the champion; promote another one as challenger"):
        releases.promote(settings, database, "one", "challenger")
    assert lookup.current_aliases(settings) == {"champion": "one"}


def test_demote_removes_the_challenger(settings: Settings, database: ProductDatabase, make: Make) -> None:
    make("one")
    releases.promote(settings, database, "one", "challenger")
    assert releases.demote(database) == {"alias": "challenger", "release_id": "one", "changed": True}
    assert lookup.current_aliases(settings) == {}
    assert releases.demote(database) == {"alias": "challenger", "release_id": None, "changed": False}


def test_promote_challenger_promotes_the_release_with_that_alias(
    settings: Settings, database: ProductDatabase, make: Make
) -> None:
    for name in ("one", "two"):
        make(name)
    releases.promote(settings, database, "one", "champion")
    releases.promote(settings, database, "two", "challenger")
    assert releases.promote(settings, database, "challenger", "champion")["release_id"] == "two"
    assert lookup.current_aliases(settings)["champion"] == "two"


@pytest.mark.parametrize("name", ["champion", "challenger"])
def test_an_alias_is_refused_as_the_name_of_a_release(name: str) -> None:
    with pytest.raises(UsageError, match=f"--release-id {name} is an alias"):
        check_release_id(name)


def test_a_release_id_that_leaves_the_releases_directory_is_refused(
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
    assert lookup.current_aliases(settings) == {"champion": "two"}


def test_promoting_a_release_from_elsewhere_copies_it_into_the_home(
    settings: Settings, database: ProductDatabase, make: Make, tmp_path: Path
) -> None:
    elsewhere = make("far", place=tmp_path / "elsewhere")
    releases.promote(settings, database, str(elsewhere), "champion")
    shutil.rmtree(elsewhere)
    found = lookup.release_directory(settings, None)
    assert load_release(found).release_id == "far"
    assert (found / NAME).read_text() == "a card"


def test_another_release_of_the_same_name_is_refused(
    settings: Settings, database: ProductDatabase, make: Make, tmp_path: Path
) -> None:
    make("one")
    with pytest.raises(UsageError, match="another release of that name"):
        releases.promote(settings, database, str(make("one", place=tmp_path / "elsewhere")), "champion")
    assert lookup.current_aliases(settings) == {}


def test_the_list_shows_broken_releases(settings: Settings, database: ProductDatabase, make: Make) -> None:
    make("one")
    broken = make("two")
    releases.promote(settings, database, "one", "champion")
    (broken / "w.weights.h5").write_bytes(b"altered")
    manifest = make("three") / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"temperature": 10**400}))
    rows = {row["release_id"]: row for row in inspection.listed(settings)}
    assert (rows["one"]["alias"], rows["one"]["state"], rows["one"]["test_accuracy"]) == ("champion", "sound", 0.5)
    assert "was altered" in rows["two"]["state"]
    assert "its temperature is 1000" in rows["three"]["state"], "no float holds it"


def test_verify_runs_the_networks(make: Make) -> None:
    place = make("one")
    assert inspection.verify(place)["state"] == "sound"
    (place / "w.weights.h5").write_bytes(b"altered")
    with pytest.raises(ReleaseError, match="was altered"):
        inspection.verify(place)
    document = json.loads((place / MANIFEST).read_text())
    document["networks"][0]["weights_sha256"] = sha256_of(place / "w.weights.h5")
    (place / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(ReleaseError, match=r"the weights of .*one do not fit its networks .*; copy it again"):
        inspection.verify(place)


def test_verify_names_a_weight_that_is_no_number(tiny_release: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"^a weight of the efficientnetb0 of release broken-1, .* is not a finite"):
        inspection.verify(broken_release(tiny_release, tmp_path))


def test_show_gives_release_id_aliases_and_categories(
    settings: Settings, database: ProductDatabase, make: Make
) -> None:
    make("one")
    releases.promote(settings, database, "one", "champion")
    shown = inspection.details(settings, "champion")
    assert (shown["release_id"], shown["aliases"], shown["categories"]) == ("one", "champion", 3)


def test_show_gives_the_promise_of_each_category_and_the_curve_in_text_and_json(
    settings: Settings, make: Make, tmp_path: Path
) -> None:
    plain = make("one", place=tmp_path)
    promises = {
        "a.one": CategoryPromise("pool", "a", examples=50, above=44, right=43),
        "a.two": CategoryPromise("pool", "a", examples=30, above=30, right=30),
        "b": CategoryPromise("closed", examples=3, reason="few"),
    }
    curve = [{"target_precision": 0.9, "category": 0.62, "catalog": 0.72}]
    promising = replace(
        load_release(plain),
        release_id="two",
        thresholds={"a.one": 0.8, "a.two": 0.8, "b": None},
        promises=promises,
        training={"target_precision": 0.95, CURVE: curve},
    )
    place = lookup.roots(settings)[0] / "two"
    save_release(promising, place, weights={"tiny": plain / "w.weights.h5"})
    done = CliRunner().invoke(main_group, ["release", "show", "two", "--json"], catch_exceptions=False)
    shown = json.loads(done.stdout)
    assert {name: (row["kind"], row["members"]) for name, row in shown["promises"].items()} == {
        "a.one": ("pool", 2),
        "a.two": ("pool", 2),
        "b": ("closed", 0),
    }
    assert shown["promises"]["a.one"] == {
        **asdict(promises["a.one"]),
        "threshold": 0.8,
        "members": 2,
        "text": "0.95 on average over these 2 categories below a, in the shares seen in calibration "
        "(73 of 74 calibrating answers were right)",
    }
    assert shown["training"][CURVE] == curve
    lines = CliRunner().invoke(main_group, ["release", "show", "two"], catch_exceptions=False).stdout.splitlines()
    assert f"  a.one: {shown['promises']['a.one']['text']}" in lines
    assert "  b: none: too few calibrating answers to join a pool (3)" in lines
    assert "    0.9: 0.6200 by --promise category, 0.7200 by --promise catalog" in lines


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Articles-1 was shipped once; articles-2 is in its place."""
    monkeypatch.setitem(FORMER_NAMES, "articles-1", "articles-2")


@pytest.mark.usefixtures("renamed")
def test_a_release_is_found_by_its_former_name_only_if_the_former_one_is_gone(
    settings: Settings, database: ProductDatabase, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no release 'articles-1'; give a directory or one of"):
        lookup.release_directory(settings, "articles-1")
    former, later = make("articles-1"), make("articles-2")
    releases.promote(settings, database, "articles-1", "champion")
    assert lookup.release_directory(settings, "articles-1") == former
    shutil.rmtree(former)
    assert lookup.release_directory(settings, "articles-1") == later
    assert lookup.release_directory(settings, None) == lookup.release_directory(settings, "champion") == later
    assert lookup.release_directory(settings, str(former)) == later, "a resumed run names the directory"
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(former))
    assert lookup.release_directory(Settings(), None) == later


@pytest.mark.usefixtures("renamed")
def test_an_alias_of_a_former_name_is_that_of_the_release_in_its_place(
    settings: Settings, database: ProductDatabase, make: Make
) -> None:
    former = make("articles-1")
    releases.promote(settings, database, "articles-1", "champion")
    make("articles-2")
    assert inspection.details(settings, "articles-2")["aliases"] == "", "the former one is still there"
    shutil.rmtree(former)
    assert inspection.details(settings, None)["aliases"] == "champion"
    assert {row["release_id"]: row["alias"] for row in inspection.listed(settings)}["articles-2"] == "champion"
    with pytest.raises(UsageError, match="release articles-2 is the champion"):
        releases.promote(settings, database, "articles-2", "challenger")


def test_show_says_which_images_a_release_knows(settings: Settings, make: Make, tmp_path: Path) -> None:
    plain, content = make("one", place=tmp_path), b"a description"
    known = KnownSpec("known.h5", hashlib.sha256(content).hexdigest(), 1.5, 200, 300, 1)
    weights = {"tiny": plain / "w.weights.h5"}
    place = lookup.roots(settings)[0]
    save_release(replace(load_release(plain), release_id="old"), place / "old", weights=weights)
    release = replace(load_release(plain), release_id="new", known=known)
    save_release(release, place / "new", weights=weights, documents={"known.h5": content})

    def shown(*words: str) -> str:
        return CliRunner().invoke(main_group, ["release", "show", *words], catch_exceptions=False).stdout

    assert json.loads(shown("new", "--json"))["known"] == asdict(known)
    assert json.loads(shown("old", "--json"))["known"] is None
    assert "known_images: Images like the 300 learned images in known.h5: up to the limit 1.5000" in shown("new")
    assert "known_images: The release has no description of the images that it knows" in shown("old")
    assert not [line for line in shown("new").splitlines() if line.startswith("known:")]
    assert inspection.verify(place / "new")["files"] == ["w.weights.h5", "known.h5"]
