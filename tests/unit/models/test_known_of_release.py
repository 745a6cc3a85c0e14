"""The entry of the known images in release.json: kept, verified with the release, and refused if it is hostile."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from models.release import MANIFEST, Release, ReleaseError, as_data, load_release, save_release, sha256_of
from models.spec import Category, KnownSpec, NetworkSpec

CONTENT = b"a description"
KNOWN = KnownSpec("known.h5", hashlib.sha256(CONTENT).hexdigest(), 1.5, 200, 300, 1)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    (tmp_path / "w.h5").write_bytes(b"weights")
    network = NetworkSpec("xception", 71, "x.weights.h5", sha256_of(tmp_path / "w.h5"), 1.0)
    return Release("autumn-1", "shop-2", (Category("a", "A"), Category("b", "B")), (network,), 1.0, known=KNOWN)


@pytest.fixture
def saved(release: Release, tmp_path: Path) -> Path:
    directory = tmp_path / "autumn-1"
    save_release(release, directory, weights={"xception": tmp_path / "w.h5"}, documents={"known.h5": CONTENT})
    return directory


def test_a_description_is_kept_with_the_release(release: Release, saved: Path) -> None:
    assert load_release(saved) == release
    assert release.files == {"x.weights.h5": release.networks[0].weights_sha256, "known.h5": KNOWN.sha256}
    assert as_data(release)["known"]["limit"] == 1.5


def test_an_altered_or_missing_description_is_refused_as_altered_weights_are(saved: Path) -> None:
    (saved / "known.h5").write_bytes(b"another one")
    with pytest.raises(ReleaseError, match=r"known\.h5 was altered: expected SHA-256"):
        load_release(saved)
    (saved / "known.h5").unlink()
    with pytest.raises(ReleaseError, match=r"autumn-1 lacks .*known\.h5; copy the whole directory"):
        load_release(saved)


def test_a_release_without_its_description_is_not_written(release: Release, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"lacks .*known\.h5"):
        save_release(release, tmp_path / "r", weights={"xception": tmp_path / "w.h5"})
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"file": "../known.h5"}, "leaves the release's directory"),
        ({"file": "/etc/passwd"}, "leaves the release's directory"),
        ({"file": ".."}, "leaves the release's directory"),
        ({"file": ""}, "leaves the release's directory"),
        ({"file": None}, "leaves the release's directory"),
        ({"file": "x.weights.h5"}, "'x.weights.h5' is another file of the release"),
        ({"file": MANIFEST}, "'release.json' is another file of the release"),
        ({"sha256": 7}, "SHA-256 of its known images is 7 where a text was expected"),
        ({"limit": float("nan")}, "limit of its known images is nan where a number above 0"),
        ({"limit": float("inf")}, "is inf where"),
        ({"limit": 0}, "is 0 where"),
        ({"limit": -1.0}, "is -1.0 where"),
        ({"limit": True}, "is True where"),
        ({"limit": "1"}, "is '1' where"),
        ({"limit": 10**400}, "where a number above 0"),
        ({"calibrated_on": 0}, "counts"),
        ({"references": -3}, "counts"),
        ({"references": 2.5}, "counts"),
        ({"references": True}, "counts"),
        ({"version": "1"}, "counts"),
        ({"code": "x"}, "not an object of file, sha256, limit"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused_in_one_sentence(
    saved: Path, change: dict[str, Any], sentence: str
) -> None:
    document = json.loads((saved / MANIFEST).read_text())
    document["known"].update(change)
    (saved / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(ReleaseError, match=f"is not a release manifest .*{sentence}") as refused:
        load_release(saved)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("known", [[], "known.h5", 7, {}, {"file": "known.h5"}])
def test_an_entry_of_another_kind_is_refused(saved: Path, known: Any) -> None:
    document = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps({**document, "known": known}))
    with pytest.raises(ReleaseError, match="its known images are not an object of file, sha256, limit"):
        load_release(saved)
