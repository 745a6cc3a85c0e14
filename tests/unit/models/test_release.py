"""Release directories: written whole or not at all, read only if complete and unaltered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from models.answers.decision import AUTO_THRESHOLD
from models.answers.promises import CategoryPromise
from models.networks.weights import save_half, to_float16
from models.release import MANIFEST, Release, ReleaseError, as_data, load_release, save_release, sha256_of
from models.spec import Category, Head, HeadLayer, NetworkSpec
from tests import tiny_network

SHIRT, COAT = Category("apparel.tops.shirt", "Apparel > Tops > Shirt"), Category("apparel.coat", "Apparel > Coat")


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, Path]:
    """Two files of bytes that stand in for weights: a release does not look inside them."""
    files = {"efficientnetb0": tmp_path / "made" / "e.h5", "xception": tmp_path / "made" / "x.h5"}
    (tmp_path / "made").mkdir()
    for name, path in files.items():
        path.write_bytes(name.encode() * 1000)
    return files


@pytest.fixture
def release(weights: dict[str, Path]) -> Release:
    """A release of both networks over two categories."""
    return Release(
        release_id="autumn-1",
        taxonomy_version="shop-2",
        categories=(SHIRT, COAT),
        networks=(
            NetworkSpec("efficientnetb0", 56, "e.weights.h5", sha256_of(weights["efficientnetb0"]), 0.25),
            NetworkSpec("xception", 71, "x.weights.h5", sha256_of(weights["xception"]), 0.75),
        ),
        temperature=1.3,
        thresholds={SHIRT.category_id: 0.6},
        metrics={"accuracy": 0.91},
        training={"seed": 7},
        code_version="0.1.0",
    )


@pytest.fixture
def saved(release: Release, weights: dict[str, Path], tmp_path: Path) -> Path:
    """That release, written."""
    directory = tmp_path / "releases" / "autumn-1"
    save_release(release, directory, weights=weights)
    return directory


def edit(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = directory / MANIFEST
    document = json.loads(manifest.read_text())
    change(document)
    manifest.write_text(json.dumps(document))


def nested(depth: int) -> dict[str, Any]:
    """Return an object in an object, so many times."""
    return {} if depth == 1 else {"a": nested(depth - 1)}


def steep(**numbers: Any) -> dict[str, Any]:
    """Return a head with one `relu` that has these numbers."""
    return {"pooling": "avg", "layers": [{"kind": "relu", **numbers}]}


def test_a_loaded_release_equals_the_saved_one(release: Release, saved: Path, weights: dict[str, Path]) -> None:
    loaded = load_release(saved)
    assert loaded == release
    assert loaded.decode_px == 71
    assert (loaded.policy.threshold(SHIRT.category_id), loaded.policy.threshold(COAT.category_id)) == (
        0.6,
        AUTO_THRESHOLD,
    )
    assert sorted(path.name for path in saved.iterdir()) == ["e.weights.h5", MANIFEST, "x.weights.h5"]
    assert (saved / "x.weights.h5").read_bytes() == weights["xception"].read_bytes()


HEAD = Head("max", (HeadLayer("dense", units=100), HeadLayer("relu", slope=0.1, limit=6.0), HeadLayer("scale")))


def test_the_description_of_a_head_is_kept(release: Release, weights: dict[str, Path], tmp_path: Path) -> None:
    plain, other = release.networks
    release = replace(release, networks=(plain, replace(other, head=HEAD)))
    save_release(release, tmp_path / "with-head", weights=weights)
    assert load_release(tmp_path / "with-head") == release


def test_a_head_that_joins_middles_is_kept_and_one_that_does_not_is_written_as_ever(
    release: Release, weights: dict[str, Path], tmp_path: Path
) -> None:
    plain, other = release.networks
    release = replace(release, networks=(replace(plain, head=HEAD), replace(other, head=Head(middles=2))))
    save_release(release, tmp_path / "middles", weights=weights)
    assert load_release(tmp_path / "middles") == release
    written = [network["head"] for network in json.loads((tmp_path / "middles" / MANIFEST).read_text())["networks"]]
    assert [head.get("middles") for head in written] == [None, 2]


@pytest.mark.parametrize(
    ("place", "middles", "sentence"),
    [
        *(
            (
                1,
                middles,
                f"a head joins the middles of {middles} earlier feature maps where at most 8 were expected; upgrade",
            )
            for middles in (-1, 9, True, "2", 2.0)
        ),
        (
            0,
            2,
            "head of efficientnetb0 joins the middles of 2 earlier feature maps where at most 0 were expected; upgrade",
        ),
        (1, 4, "head of xception joins the middles of 4 earlier feature maps where at most 2 were expected; upgrade"),
    ],
)
def test_feature_maps_that_cannot_be_joined_are_refused(saved: Path, place: int, middles: Any, sentence: str) -> None:
    head = {"pooling": "avg", "layers": [], "middles": middles}
    edit(saved, lambda document: document["networks"][place].update(head=head))
    with pytest.raises(ReleaseError, match=f"is not a release manifest .*{sentence}"):
        load_release(saved)


def test_a_release_without_heads_of_its_own_can_be_read_by_older_versions(release: Release, saved: Path) -> None:
    networks = json.loads((saved / MANIFEST).read_text())["networks"]
    former = {"architecture", "input_px", "weights_file", "weights_sha256", "ensemble_weight", "preprocessing"}
    assert [set(network) for network in networks] == [former, former]
    assert [set(network) for network in as_data(release)["networks"]] == [former, former]


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ({}, "pooling, avg or max, and layers were expected"),
        ({"pooling": "sum", "layers": []}, "pooling, avg or max, and layers were expected"),
        ({"pooling": "avg", "layers": [], "code": "x"}, "pooling, avg or max, and layers were expected"),
        ({"pooling": "avg", "layers": [{"kind": "lambda"}]}, "'lambda' of a head's layer is unknown; upgrade"),
        ({"pooling": "avg", "layers": [{"kind": ["relu"]}]}, "of a head's layer is unknown"),
        ({"pooling": "avg", "layers": [{"kind": "relu", "code": "x"}]}, "code"),
        ({"pooling": "avg", "layers": [{"kind": "dense"}]}, "0 units where 1 to 16384 were expected"),
        ({"pooling": "avg", "layers": [{"kind": "dense", "units": 16_385}]}, "16385 units"),
        ({"pooling": "avg", "layers": [{"kind": "dense", "units": True}]}, "True units"),
        ({"pooling": "avg", "layers": [{"kind": "tanh", "units": 3}]}, "3 units where 0 to 0 were expected"),
        ({"pooling": "avg", "layers": [{"kind": "relu", "slope": "x"}]}, "'x' where a number was expected"),
        ({"pooling": "avg", "layers": [{"kind": "relu", "limit": float("nan")}]}, "'nan' where a number was expected"),
        ({"pooling": "avg", "layers": [{"kind": "relu", "limit": -1}]}, "a limit of -1 where one above 0"),
        ({"pooling": "avg", "layers": [{"kind": "relu"}] * 65}, "65 layers where at most 64 were expected"),
        ({"pooling": "avg", "layers": [{"kind": "dense", "units": 9000}] * 9}, "about 682,200,000 weights"),
    ],
)
def test_a_head_that_cannot_be_served_is_refused(saved: Path, head: dict[str, Any], sentence: str) -> None:
    edit(saved, lambda document: document["networks"][0].update(head=head))
    with pytest.raises(ReleaseError, match=f"is not a release manifest .*{sentence}"):
        load_release(saved)


def test_a_release_may_be_copied_elsewhere(release: Release, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "other place")
    assert load_release(tmp_path / "other place") == release


def test_a_release_without_promises_loads_and_decides_as_it_did(release: Release, saved: Path) -> None:
    """Releases that were made before categories could share a threshold lack the field."""
    edit(saved, lambda document: document.pop("promises"))
    loaded = load_release(saved)
    assert loaded.promises == {}
    assert loaded == release
    assert loaded.policy == release.policy


def test_promises_are_saved_and_loaded(release: Release, weights: dict[str, Path], tmp_path: Path) -> None:
    promises = {
        SHIRT.category_id: CategoryPromise("own", examples=300, above=298, right=297),
        COAT.category_id: CategoryPromise("closed", examples=3, reason="few"),
    }
    thresholds = {SHIRT.category_id: 0.6, COAT.category_id: None}
    promising = replace(release, promises=promises, thresholds=thresholds)
    save_release(promising, tmp_path / "releases" / "autumn-1", weights=weights)
    assert load_release(tmp_path / "releases" / "autumn-1") == promising


class TestRefused:
    def test_a_missing_directory_or_manifest_is_refused(self, tmp_path: Path) -> None:
        for directory in (tmp_path / "nowhere", tmp_path):
            with pytest.raises(ReleaseError, match=f"no release at {directory}: expected release.json"):
                load_release(directory)

    def test_a_missing_weights_file_is_named(self, saved: Path) -> None:
        (saved / "x.weights.h5").unlink()
        with pytest.raises(ReleaseError, match=r"autumn-1 lacks .*/x\.weights\.h5; copy the whole directory"):
            load_release(saved)

    @pytest.mark.parametrize(
        "damage", [lambda data: data[:-1], lambda data: b"E" + data[1:], lambda data: data + b"\0"]
    )
    def test_an_altered_weights_file_is_named(self, damage: Callable[[bytes], bytes], saved: Path) -> None:
        path = saved / "e.weights.h5"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(ReleaseError, match=r"/e\.weights\.h5 was altered: expected SHA-256 [0-9a-f]{64}, found"):
            load_release(saved)

    @pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that can be opened and not be read")
    def test_a_weights_file_that_cannot_be_read_is_named(self, saved: Path) -> None:
        (saved / "e.weights.h5").unlink()
        (saved / "e.weights.h5").symlink_to("/proc/self/mem")
        with pytest.raises(ReleaseError, match=r"/e\.weights\.h5 cannot be read"):
            load_release(saved)

    @pytest.mark.parametrize("name", ["../e.weights.h5", "/etc/passwd", "sub/e.weights.h5", "..", ".", ""])
    def test_weights_outside_the_directory_are_refused(self, name: str, saved: Path) -> None:
        shutil.copy(saved / "e.weights.h5", saved.parent)
        edit(saved, lambda document: document["networks"][0].update(weights_file=name))
        with pytest.raises(ReleaseError, match="leaves the release's directory"):
            load_release(saved)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda document: document.update(format=2), "format 2 where 1 was expected; upgrade shelfwise"),
            (lambda document: document.pop("format"), "'format'"),
            (lambda document: document.pop("temperature"), "temperature"),
            (lambda document: document.update(temperature=0), "temperature is 0"),
            (lambda document: document.update(temperature="warm"), "temperature is 'warm' where a number"),
            (lambda document: document.update(temperature=1e-320), "temperature is 1e-320 where a number from 0.001"),
            (lambda document: document.update(temperature=1e9), "temperature is 1000000000.0 where a number from"),
            (lambda document: document.update(temperature=True), "temperature is True where a number"),
            (lambda document: document.update(temperature=float("nan")), "temperature is nan where a number"),
            (lambda document: document.update(temperature=10**400), "temperature is 10+ where a number"),
            (lambda document: document.update(floor=10**400), "floor is 10+ where a number"),
            (
                lambda document: document["networks"][1].update(ensemble_weight=-(10**400)),
                "weight is -10+ where",
            ),
            (lambda document: document.update(thresholds={"apparel.coat": 10**400}), "of apparel.coat is 10+ where"),
            (lambda document: document["networks"][0].update(head=steep(slope=10**400)), "has '10+' where a number"),
            (lambda document: document["networks"][0].update(head=steep(limit=10**400)), "has '10+' where a number"),
            (lambda document: document["networks"][0].update(head=steep(slope=True)), "has 'True' where a number"),
            (lambda document: document.update(floor=True), "floor is True where a number"),
            (lambda document: document["networks"][0].update(ensemble_weight=float("nan")), "ensemble weight is nan"),
            (lambda document: document["networks"][0].update(ensemble_weight=True), "ensemble weight is True"),
            (lambda document: document["networks"][0].update(input_px=10**9), "input_px of efficientnetb0 is 10{9} "),
            (lambda document: document["networks"][0].update(input_px=1), "input_px of efficientnetb0 is 1 where"),
            (
                lambda document: document["networks"][0].update(input_px=True),
                "input_px of efficientnetb0 is True where",
            ),
            (lambda document: document["networks"][1].update(input_px=32), "xception is 32 where pixels from 71 to"),
            (
                lambda document: document["networks"][1].update(architecture="efficientnetb0"),
                "networks are efficientnetb0, efficientnetb0 where different architectures",
            ),
            *(
                (
                    lambda document, name=name: document["categories"][0].update(category_id=name),
                    "without a letter or a",
                )
                for name in ("", " ", ".a", "a.", "a..b", "a. .b", "../../x", "a.-", "☕")
            ),
            *(
                (lambda document, name=name: document["categories"][0].update(category_id=name), "cannot be seen")
                for name in ("\u200b", "a.\u200b", "\u202egnp.a", "a\ufeff")
            ),
            *(
                (lambda document, name=name: document["categories"][0].update(category_id=name), "control characters")
                for name in ("a\x00", "a\nb", "\x1b[2Ja", "\udcff", "a\u2028b")
            ),
            (lambda document: document["categories"][0].update(category_path="A\x00"), "control characters"),
            (lambda document: document.update(metrics=nested(65)), "it is nested too deep"),
            (lambda document: document.update(networks=[]), "names no network"),
            (lambda document: document.update(categories=[]), "no category"),
            (
                lambda document: document["categories"].append(document["categories"][0]),
                "3 categories of which 2 differ",
            ),
            (
                lambda document: document["categories"].append({"category_id": "apparel", "category_path": "Apparel"}),
                "its category 'apparel' is the parent of others",
            ),
            (lambda document: document.update(networks=None), "NoneType"),
            (lambda document: document.update(surprise=1), "surprise"),
            (lambda document: document["networks"][0].update(architecture="resnet50"), "'resnet50' is unknown"),
            (lambda document: document["networks"][0].update(ensemble_weight=0.5), r"\[0.5, 0.75\] .* sum to 1"),
            (lambda document: document["networks"][0].update(input_px="56"), "input_px of efficientnetb0 is '56'"),
            (lambda document: document["networks"][0].update(weights_file=5), "int"),
            (lambda document: document.update(release_id="../../.config/autostart"), "its release_id is '../../.conf"),
            (lambda document: document.update(release_id="/tmp/elsewhere"), "its release_id is '/tmp/elsewhere'"),
            (lambda document: document.update(release_id=7), "its release_id is 7"),
            (lambda document: document.update(taxonomy_version=7), "7 stands where a text was expected"),
            (lambda document: document["categories"][0].update(category_path=None), "None stands where a text"),
            (lambda document: document["categories"][0].update(category_id=5), "'int'|5 stands"),
            (lambda document: document.update(thresholds=[0.5]), "its thresholds are not an object"),
            (lambda document: document.update(promises=[]), "its promises are not an object"),
            (lambda document: document.update(promises={"apparel.coat": 5}), "must be a mapping"),
            (lambda document: document.update(promises={"apparel.coat": {"sort": "own"}}), "sort"),
            (lambda document: document.update(promises={"apparel.coat": {}}), "such as 'apparel.tops.shirt'"),
            (lambda document: document.update(metrics=[]), "its metrics are not an object"),
            (lambda document: document.update(training="long"), "its training are not an object"),
        ],
    )
    def test_a_manifest_with_wrong_values_is_refused(
        self, change: Callable[[dict[str, Any]], None], says: str, saved: Path
    ) -> None:
        edit(saved, change)
        with pytest.raises(ReleaseError, match=f"release.json is not a release manifest .*{says}"):
            load_release(saved)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "null",
            '"x"',
            "[" * 100_000,
            '{"format": ' + "9" * 5000 + "}",
            "\ud800".encode("utf-8", "surrogatepass"),
        ],
    )
    def test_a_manifest_that_is_not_a_json_object_is_refused(self, text: str | bytes, saved: Path) -> None:
        (saved / MANIFEST).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ReleaseError, match=r"release\.json is not a release manifest"):
            load_release(saved)


class TestSaving:
    def test_a_manifest_of_hundreds_of_megabytes_was_read_whole(self, saved: Path) -> None:
        with (saved / MANIFEST).open("r+b") as file:
            file.truncate(10**12)
        with pytest.raises(ReleaseError, match=r"release\.json is not a release manifest \(it has more than 32 MiB\)"):
            load_release(saved)

    def test_a_refusal_does_not_repeat_a_long_value(self, saved: Path) -> None:
        edit(saved, lambda document: document.update(temperature="9" * 10_000))
        with pytest.raises(ReleaseError) as caught:
            load_release(saved)
        assert len(str(caught.value)) < 1000

    def test_a_release_is_never_changed(self, release: Release, saved: Path, weights: dict[str, Path]) -> None:
        before = {path.name: path.read_bytes() for path in saved.iterdir()}
        with pytest.raises(FileExistsError, match="a release is never changed; choose another release_id"):
            save_release(replace(release, temperature=2.0), saved, weights=weights)
        assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
        assert list(saved.parent.iterdir()) == [saved]

    def test_saving_weights_that_differ_from_the_manifest_leaves_no_files(
        self, release: Release, weights: dict[str, Path], tmp_path: Path
    ) -> None:
        weights["xception"].write_bytes(b"other")
        with pytest.raises(ReleaseError, match="was altered"):
            save_release(release, tmp_path / "releases" / "autumn-1", weights=weights)
        assert list((tmp_path / "releases").iterdir()) == []

    def test_an_interrupted_save_leaves_no_files(
        self, release: Release, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copyfile = shutil.copyfile
        copied: list[str | Path] = []

        def interrupted(source: Path, target: Path) -> None:
            if copied:
                raise KeyboardInterrupt
            copied.append(copyfile(source, target))

        monkeypatch.setattr(shutil, "copyfile", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save_release(release, tmp_path / "releases" / "autumn-1", weights=weights)
        assert copied, "the first file was there already"
        assert list((tmp_path / "releases").iterdir()) == []

    def test_a_killed_save_does_not_block_the_next_one(
        self, release: Release, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a container the process number is the same each time, so it did not make a name of one's own."""
        directory = tmp_path / "releases" / "autumn-1"
        with monkeypatch.context() as killed:
            killed.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing up
            weights["xception"].rename(tmp_path / "away")
            with pytest.raises(FileNotFoundError):
                save_release(release, directory, weights=weights)
        assert list(directory.parent.iterdir()), "the remains of the killed one"
        (tmp_path / "away").rename(weights["xception"])
        save_release(release, directory, weights=weights)
        assert list(directory.parent.iterdir()) == [directory], "the remains went"
        assert load_release(directory) == release


class TestFloat16:
    def test_float32_becomes_float16_and_other_types_are_kept(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "full.h5", "w") as file:
            file.create_dataset("layers/dense/vars/0", data=np.array([[0.1, -2.5]], np.float32))
            file.create_dataset("seed", data=np.array([1, 4_000_000_000], np.uint32))
            file["layers"].attrs["name"] = "x"
        to_float16(tmp_path / "full.h5", tmp_path / "half.h5")
        with h5py.File(tmp_path / "half.h5") as file:
            kernel = file["layers/dense/vars/0"]
            assert kernel.dtype == np.float16
            np.testing.assert_allclose(kernel, [[0.1, -2.5]], rtol=1e-3)
            assert file["seed"][1] == 4_000_000_000
            assert file["layers"].attrs["name"] == "x"

    def test_the_same_weights_give_the_same_bytes(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "full.h5", "w") as file:
            file.create_dataset("a/b", data=np.ones(5, np.float32))
        for name in ("one.h5", "two.h5"):
            to_float16(tmp_path / "full.h5", tmp_path / name)
        assert sha256_of(tmp_path / "one.h5") == sha256_of(tmp_path / "two.h5")

    @pytest.mark.parametrize("value", [70_000.0, np.inf, np.nan])
    def test_a_weight_that_does_not_fit_is_named(self, value: float, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "full.h5", "w") as file:
            file.create_dataset("layers/big", data=np.array([value], np.float32))
        with pytest.raises(ValueError, match="layers/big does not fit float16"):
            to_float16(tmp_path / "full.h5", tmp_path / "half.h5")

    def test_a_network_that_does_not_fit_is_kept_in_full_unless_it_is_broken(self, tmp_path: Path) -> None:
        model = tiny_network.build(input_px=16, categories=2)
        assert save_half(model, tmp_path).name == "half.weights.h5"
        for value, kept in ((70_000.0, True), (np.nan, False)):
            kernel, bias = model.get_layer("logits").get_weights()
            kernel[0, 0] = value
            model.get_layer("logits").set_weights([kernel, bias])
            if not kept:
                with pytest.raises(ValueError, match="does not fit float16"):
                    save_half(model, tmp_path)
                continue
            again = tiny_network.build(input_px=16, categories=2)
            again.load_weights(save_half(model, tmp_path))
            assert float(again.get_layer("logits").get_weights()[0][0, 0]) == value
