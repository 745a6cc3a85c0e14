"""That `--allow-shift` and the setting of shared pictures reach what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.cli import main as cli
from jobs.runs import backfill as backfills
from jobs.runs import night as nights
from jobs.runs.config import RunConfig, RunContext

NIGHT = ("--run-date", "2026-11-01")
CALLS: dict[str, tuple[str, ...]] = {
    "nightly": ("nightly", *NIGHT, "--catalog", "products"),
    "predict_night": ("predict", *NIGHT),
    "publish_night": ("publish", *NIGHT),
    "finish_night": ("finish-night", *NIGHT),
    "backfill": ("backfill", "--from", "2026-11-01", "--to", "2026-11-01"),
}


def started(job: str, arguments: tuple[str, ...], patch: pytest.MonkeyPatch) -> tuple[RunContext, RunConfig]:
    """Return what a command would run, and with what."""
    found: list[Any] = []

    def run(*given: Any, **_: Any) -> dict[str, Any]:
        found.extend(given)
        return {}

    patch.setattr(backfills if job == "backfill" else nights, job, run)
    patch.setattr(backfills, "backfill_dates", lambda *_: ())
    cli.main_group.main([*CALLS[job], *arguments], standalone_mode=False)
    [context] = [one for one in found if isinstance(one, RunContext)]
    [config] = [one for one in found if isinstance(one, RunConfig)]
    return context, config


@pytest.mark.parametrize("job", CALLS)
def test_a_command_allows_a_shift_only_if_it_is_told_to_and_resumes_with_it(
    job: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, config = started(job, (), monkeypatch)
    assert (config.allow_shift, "--allow-shift" in config.call) == (False, False)
    _, config = started(job, ("--allow-shift",), monkeypatch)
    assert (config.allow_shift, "--allow-shift" in config.call) == (True, True)


@pytest.mark.parametrize(("value", "groups"), [(None, 20), ("0", 0), ("7", 7)])
def test_the_setting_of_shared_pictures_reaches_a_run(
    value: str | None, groups: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("SHELFWISE_SHARED_PICTURE_GROUPS", value)
    context, _ = started("publish_night", (), monkeypatch)
    assert context.shared_picture_groups == groups


def test_a_negative_number_of_groups_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_SHARED_PICTURE_GROUPS", "-1")
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        started("publish_night", (), monkeypatch)
