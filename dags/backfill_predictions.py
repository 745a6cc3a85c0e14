"""### Answer earlier dates again, with another release or where answers are missing.

Started by hand, from its form. The first task checks the call and says how many images and about how many seconds it
takes; with `dry_run` nothing else happens. Then each date is predicted and published by a task of its own, at most
`parallelism` of them at once and never more than the pool `gpu` allows. No source image is read; what a person decided
stays; dates that are finished are finished, so that starting the same form again does only what is left.

A night that never ran is another matter: `airflow backfill create --dag-id nightly_tagging --from-date A --to-date B`
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup, task
from shelfwise_steps import DEFAULTS, NAME, PRODUCT_DATABASE, LocalStep, SparkStep

LANES = 4
RELEASE = "{{ '--release=' ~ params.release if params.release else '' }}"
CATEGORY = "{{ '--category=' ~ params.category if params.category else '' }}"
FLAGS = [f"{{{{ '--{name}' if params['{name.replace('-', '_')}'] else '' }}}}" for name in ("only-missing", "force")]
CHOICES = [CATEGORY, *FLAGS]


@task
def deal(plan: dict[str, Any], lane: int, choices: list[str], params: Any = None) -> list[dict[str, Any]]:
    """Return the steps of a lane: every so many dates as there are lanes; none on a dry run."""
    lanes, whole = params["parallelism"], f"-{params['from']}-{params['to']}-"
    dates = [] if params["dry_run"] or lane >= lanes else sorted(plan["images_by_date"])[lane::lanes]
    runs = [plan["run_id"].replace(whole, f"-{date}-{date}-", 1) for date in dates]
    return [
        {
            "name": f"shelfwise {run}",
            "shelfwise_run": run,
            "application_args": [
                *("backfill", "--from", date, "--to", date, "--run-id", run),
                *("--release", plan["release"], *filter(None, choices)),
            ],
        }
        for date, run in zip(dates, runs, strict=True)
    ]


with DAG(
    "backfill_predictions",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "from": Param(type="string", format="date", description="First ingest date."),
        "to": Param(type="string", format="date", description="Last ingest date, included."),
        "release": Param(None, type=["null", "string"], **NAME, description="Id or alias; empty: the nights' own."),
        "category": Param(None, type=["null", "string"], **NAME, description="Only what is in it now, or below it."),
        "only_missing": Param(False, type="boolean", description="Only what this release has not answered yet."),
        "force": Param(False, type="boolean", description="Replace answers of newer releases; never a person's."),
        "dry_run": Param(False, type="boolean", description="Only say what would be done."),
        "parallelism": Param(1, type="integer", minimum=1, maximum=LANES, description="Dates at once."),
    },
    tags=["shelfwise"],
    doc_md=__doc__,
):
    RANGE = ["--from", "{{ params['from'] }}", "--to", "{{ params['to'] }}"]
    plan = LocalStep(task_id="plan", arguments=["backfill", "--dry-run", *RANGE, RELEASE, *CHOICES])
    for lane in range(LANES):
        with TaskGroup(f"lane_{lane + 1}"):
            SparkStep.partial(
                task_id="backfill",
                max_active_tis_per_dagrun=1,
                pool="gpu",
                execution_timeout=timedelta(hours=12),
                outlets=[PRODUCT_DATABASE],
                map_index_template="{{ task.shelfwise_run }}",
            ).expand_kwargs(deal(plan.output, lane, CHOICES))  # type: ignore[arg-type]
