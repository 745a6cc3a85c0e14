"""### Predict earlier dates again, with another release or only where answers are missing.

Trigger it with the form. The first task checks the parameters and reports the number of images and the estimated
seconds. With `dry_run` nothing else happens. Otherwise one task per date predicts and publishes: at most `parallelism`
tasks at once, and never more than the pool `gpu` allows. Source images are not read again. People's decisions are
kept. Finished dates are skipped, so a second run with the same form does only the rest.

For a night that never ran, use `airflow backfill create --dag-id nightly_tagging --from-date A --to-date B`
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup, task
from shelfwise_forms import CATEGORY_NAME, NAME
from shelfwise_steps import DEFAULTS, PRODUCT_DATABASE, LocalStep, SparkStep

LANES = 4
RELEASE = "{{ '--release=' ~ params.release if params.release else '' }}"
CATEGORY = "{{ '--category=' ~ params.category if params.category else '' }}"
FLAGS = ("only-missing", "include-left", "force", "allow-shift")
CHOICES = [CATEGORY, *(f"{{{{ '--{name}' if params['{name.replace('-', '_')}'] else '' }}}}" for name in FLAGS)]


@task
def deal(plan: dict[str, Any], lane: int, choices: list[str], params: Any = None) -> list[dict[str, Any]]:
    """Distribute the dates of a backfill over the DAG's lanes; return the Spark steps of one lane, none on a dry run.

    Lanes count from 0; those from `parallelism` on get no dates. Empty `choices` are left out.
    """
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
        "release": Param(None, type=["null", "string"], **NAME, description="Id or alias; empty: as for nights."),
        "category": Param(None, type=["null", "string"], **CATEGORY_NAME, description="Only products in or below it."),
        "only_missing": Param(False, type="boolean", description="Only images without an answer of this release."),
        "include_left": Param(False, type="boolean", description="Also products that no catalog names any more."),
        "force": Param(False, type="boolean", description="Replace answers of newer releases too, not of people."),
        "allow_shift": Param(False, type="boolean", description="Publish images unlike those that the release knows."),
        "dry_run": Param(False, type="boolean", description="Only report what would be done."),
        "parallelism": Param(1, type="integer", minimum=1, maximum=LANES, description="Number of dates at once."),
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
