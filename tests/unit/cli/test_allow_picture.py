"""What a person types to allow a picture that different products share, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.cli import main as cli
from jobs.storage.places import Places
from sql.records import ReleaseRecord
from sql.store import ProductDatabase, open_database
from tests.report_nights import Answer, Nights

PICTURE = "ab" * 32


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProductDatabase:
    """A night of two products, one of which is held back because of its picture."""
    url = f"sqlite:///{tmp_path}/shelfwise.db"
    monkeypatch.setenv("SHELFWISE_DATABASE_URL", url)
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path / "home"))
    database = open_database(url)
    database.upgrade()
    nights = Nights(database, Places(tmp_path / "home"), {"shop.shirt": "Shirt"})
    nights.release = ReleaseRecord("release-1", "taxonomy-1", {"thresholds": {}, "floor": 0.2})
    run = nights.run_of(0)
    free, held = (Answer(name, "shop.shirt").prediction(run.run_date) for name in "pq")
    nights.publish(run, [free, (held[0], PICTURE, *held[2:13], "shared_picture", *held[14:])], [])
    return database


def ask(arguments: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["shelfwise", *arguments.split()])
    code = 0
    try:
        cli.main()
    except SystemExit as left:
        code = int(left.code or 0)
    return code, *capfd.readouterr()


def test_a_picture_is_allowed_once_by_a_person(
    database: ProductDatabase, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def statuses() -> list[tuple[str, str]]:
        with database.engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT product_id, status FROM product_categories ORDER BY 1"))
            return [(row[0], row[1]) for row in rows]

    assert statuses() == [("p", "auto"), ("q", "review")]
    code, out, _ = ask(f"review allow-picture {PICTURE} --by ada --why logo --json", monkeypatch, capfd)
    assert (code, json.loads(out)) == (0, {"image_sha256": PICTURE, "changed": 1})
    assert statuses() == [("p", "auto"), ("q", "auto")]
    for refused, reason in (
        (f"review allow-picture {PICTURE} --by ada", "is allowed already, by ada"),
        ("review allow-picture 1234 --by ada", "No product has a picture with the SHA-256 '1234'"),
        (f"review allow-picture {PICTURE}", "Missing option '--by'"),
    ):
        code, _, err = ask(refused, monkeypatch, capfd)
        assert (code, reason in err) == (2, True), err
        assert "Usage" in err or len(err.strip().splitlines()) == 1
