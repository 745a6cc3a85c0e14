"""Predict a published night a second time with the challenger release; the published categories do not change.

    shelfwise nightly --catalog shop.csv --run-date 2026-11-01 --shadow
    shelfwise shadow --run-date 2026-11-01

Runs after the champion's night is published, over the same shards. Writes predictions/run_id=R.shadow.C-DIGEST/ and the
prediction history. `shelfwise query release_agreement` then shows where the two releases differ. A failure of the
challenger, also if there is no challenger, is reported in the summary; the champion's night stays published.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jobs.errors import RunFailed, UsageError
from jobs.predict.selection import of_run
from jobs.releases import records
from jobs.runs import publish
from jobs.runs.config import RunConfig, RunContext
from jobs.runs.gates import NOTE, gates_of, noted, noted_shadow_gates, printed
from jobs.runs.inputs import RunInputs
from jobs.runs.night import predict_config, predict_step
from jobs.runs.run_ids import shadow_run_id
from models.release import ReleaseError
from sql.shadow import publish_shadow
from sql.store import ProductDatabase

log = logging.getLogger(__name__)


def publisher(row: Mapping[str, Any], run: RunConfig) -> str:
    """Return, for a shadow run, the release that published the night, even if another is champion now.

    Args:
        row: Database row of the run with the night's run_id.
        run: The night.

    Raises:
        UsageError: If that run is not this night; leave `--run-id` out, or give the date of its night.
        RunFailed: If the run is not published, or was retracted; resume it first.
    """
    if (row["kind"], row["run_date"]) != (run.kind, run.run_date):
        raise UsageError(
            f"run {run.run_id} is the {row['kind']} run of {row['run_date']} and not the night {run.run_date}; "
            "leave --run-id out, or give the date of its night"
        )
    if row["state"] != "published":
        raise RunFailed(
            f"run {run.run_id} is {row['state']}, and a challenger answers what is published; "
            f"go on with it first: `shelfwise runs resume {run.run_id}`"
        )
    if row["retracted_at_utc"] is not None:
        raise RunFailed(
            f"run {run.run_id} was retracted, and a challenger answers what is published; publish it again first: "
            f"`shelfwise runs resume {run.run_id}`"
        )
    call = row["summary"].get("call") or ()
    return str(call[call.index("--release") + 1] if "--release" in call else row["release_id"])


def try_challenger(
    champion: RunContext, challenger: Callable[[], RunContext], database: ProductDatabase, run: RunConfig
) -> dict[str, Any]:
    """Do a shadow run with the challenger of a published run; return a failure as a report instead of raising it.

    Args:
        champion: Resources of the release that published the run.
        challenger: Opens the resources of the challenger; it may fail if there is none or its release is damaged.
        database: Migrated database.
        run: The champion's run.

    Returns:
        The report, with `state` `answered`; or `state` `failed` and the `reason`.
    """
    try:
        return {"state": "answered", **shadow_step(champion, challenger(), database, run)}
    except Exception as error:  # this step must not fail: the night is published, and that is a success
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0]}"[:500]
        unforeseen = not isinstance(error, UsageError | ReleaseError)
        log.warning(
            "shadow: the challenger failed, run %s stays published: %s", run.run_id, reason, exc_info=unforeseen
        )
        return {"state": "failed", "reason": reason}


def shadow_step(
    champion: RunContext, challenger: RunContext, database: ProductDatabase, run: RunConfig
) -> dict[str, Any]:
    """Do a shadow run: predict a published run with the challenger, and write the predictions to the history.

    Args:
        champion: Resources of the release that published the run.
        challenger: Resources of the challenger.
        database: Migrated database.
        run: The champion's run.

    Returns:
        The report of the step, with the `gates` of the challenger: which of its answers are held back.
    """
    check(champion, challenger)
    release = challenger.release
    shadow_run = replace(run, run_id=shadow_run_id(run.run_id, release.release_id))
    predicting = predict_config(challenger, shadow_run)
    inputs = RunInputs(selected=tuple(of_run(predicting)))
    step = predict_step(challenger, shadow_run, inputs)
    files = publish.collect(predicting, release, inputs)
    # Gates of its own, which refuse nothing; the same shadow again uses what was noted, as a night does.
    decided = gates_of(files.reports, release, allow_shift=run.allow_shift)
    gates = noted(decided, noted_shadow_gates(database, run.run_id, release.release_id))
    changed = publish_shadow(
        database,
        run.run_id,
        predictions=publish.prediction_rows(files, gates),
        categories=records.category_records(release),
        release=records.release_record(release),
        gates=gates.note(),
    )
    for sentence in gates.alerts:
        log.warning("shadow: %s", sentence)
    log.info("shadow: %s images answered by %s, %s rows changed", files.images, release.release_id, changed)
    return {"release_id": release.release_id, "images_changed": changed, **step, NOTE: printed(gates.note())}


def check(champion: RunContext, challenger: RunContext) -> None:
    """Refuse a shadow run whose challenger cannot be compared with the champion, before it predicts.

    Raises:
        UsageError: If it is the champion itself, or has another taxonomy or other categories.
    """
    one, other = champion.release, challenger.release
    if one.release_id == other.release_id:
        raise UsageError(f"release {one.release_id} is champion and challenger; promote another one as challenger")
    same = {category.category_id for category in one.categories} == {each.category_id for each in other.categories}
    if one.taxonomy_version != other.taxonomy_version or not same:
        raise UsageError(
            f"the challenger {other.release_id} answers with {len(other.categories)} categories of taxonomy "
            f"{other.taxonomy_version} and the champion {one.release_id} with {len(one.categories)} of "
            f"{one.taxonomy_version}; only releases of the same categories can be compared"
        )
