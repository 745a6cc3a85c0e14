"""### Answer earlier dates again, with another release or with what is missing

Started by hand, from its form. The first task checks the call and says how many images and about how many seconds it
takes; with `dry_run` nothing else happens. Then each date is predicted and published by a task of its own, at most
`parallelism` of them at once and never more than the pool `gpu` allows. No source image is read; what a person decided
stays; dates that are finished are finished, so that starting the same form again does only what is left.

A night that never ran is another matter: `airflow backfill create --dag-id nightly_tagging --from-date ... --to-date ...`
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup, task
from shelfwise_steps import DEFAULTS, PRODUCT_DATABASE, LocalStep, SparkStep

LANES = 4
RELEASE = "{{ '--release=' ~ params.release if params.release else '' }}"
CATEGORY = "{{ '--category=' ~ params.category if params.category else '' }}"
FLAGS = [f"{{{{ '--{name}' if params['{name.replace('-', '_')}'] else '' }}}}" for name in ("only-missing", "force")]
CHOICES = [RELEASE, CATEGORY, *FLAGS]


def day(description: str) -> Param:
    """Return a field for a date."""
    return Param(type="string", format="date", description=description)


@task
def deal(plan: dict[str, Any], lane: int, choices: list[str], params: Any = None) -> list[dict[str, Any]]:
    """Return the steps of a lane: every so many dates as there are lanes; none on a dry run."""
    dates = [] if params["dry_run"] or lane >= params["parallelism"] else plan["dates"][lane :: params["parallelism"]]
    runs = [f"backfill-{date}-{date}-{plan['release_id']}" for date in dates]
    return [
        {
            "name": f"shelfwise {run}",
            "shelfwise_run": run,
            "application_args": ["backfill", "--from", date, "--to", date, "--run-id", run, *filter(None, choices)],
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
        "from": day("First ingest date."),
        "to": day("Last ingest date, included."),
        "release": Param(None, type=["null", "string"], pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Its id or "
            "alias; empty: the one that the nights use."),
        "category": Param(None, type=["null", "string"], pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Only "
            "products that are in this category now, or below it: `apparel.tops`."),
        "only_missing": Param(False, type="boolean", description="Only what this release has not answered yet."),
        "force": Param(False, type="boolean", description="Replace answers of newer releases; never a person's."),
        "dry_run": Param(False, type="boolean", description="Only say what would be done."),
        "parallelism": Param(1, type="integer", minimum=1, maximum=LANES, description="Dates at once."),
    },
    tags=["shelfwise"],
    doc_md=__doc__,
):  # fmt: skip
    RANGE = ["--from", "{{ params['from'] }}", "--to", "{{ params['to'] }}"]
    plan = LocalStep(task_id="plan", arguments=["backfill", "--dry-run", *RANGE, *CHOICES], doc_md="Check and count.")
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
