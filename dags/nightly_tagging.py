"""### Tag what is new or changed in the catalog, every night.

`ingest >> predict >> publish >> report`, the first three by spark-submit. The night is the run's logical date, never
the clock's, so that `airflow backfill create` for past dates leaves the rows that those nights would have left.

A task that failed or was killed is run again; what it had finished is kept, and readers of the product database see
last night or tonight, never half of it. What comes from outside is set as `shelfwise_steps.py` says on top.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from shelfwise_steps import DEFAULTS, MACROS, PRODUCT_DATABASE, LocalStep, SparkStep, tell_delay

NIGHT = "{{ night_of(dag_run) }}"
RUN = f"nightly-{NIGHT}"
SHARE = "{{ params.max_rejected }}"

with DAG(
    "nightly_tagging",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # From the queue on, so that a backfill of last month is not late before it begins.
    deadline=DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=6), SyncCallback(tell_delay)),
    default_args=DEFAULTS,
    params={
        "catalog": Param(
            None,
            type=["null", "string"],
            description="A directory, a .csv, .jsonl or .parquet file, or `products`; empty: the variable "
            "shelfwise_catalog. `{{ ds }}` in it becomes the night.",
        ),
        "max_rejected": Param(
            0.2, type="number", minimum=0, maximum=1, description="Share of new images that may be unusable."
        ),
    },
    user_defined_macros=MACROS,
    tags=["shelfwise"],
    doc_md=__doc__,
):
    ingest = SparkStep(
        task_id="ingest",
        name=f"shelfwise ingest {NIGHT}",
        application_args=["ingest", "--catalog", "{{ catalog_of(params, dag_run) }}", "--run-date", NIGHT],
        pool="catalog",  # of one slot: nights are read one after another, the earliest first
        doc_md="Read, verify and store the images that are new or changed.",
    )
    predict = SparkStep(
        task_id="predict",
        name=f"shelfwise predict {NIGHT}",
        application_args=["predict", "--run-date", NIGHT, "--max-rejected", SHARE],
        pool="gpu",
        execution_timeout=timedelta(hours=12),
        doc_md="Ask both networks what the stored images show. What is finished is never computed again.",
    )
    publish = SparkStep(
        task_id="publish",
        name=f"shelfwise publish {NIGHT}",
        application_args=["publish", "--run-date", NIGHT, "--max-rejected", SHARE],
        shelfwise_run=RUN,
        outlets=[PRODUCT_DATABASE],
        doc_md="Merge the answers into the product database, in one transaction.",
    )
    report = LocalStep(
        task_id="report",
        arguments=["report", "--run-id", RUN],
        shelfwise_run=RUN,
        doc_md="Write the page of the night; the log and the task's XCom say where.",
    )
    ingest >> predict >> publish >> report
