"""### Tag what is new or changed in the catalog, every night.

`ingest >> predict >> publish >> report`, and `shadow` where it is asked for; all but the report by spark-submit. The
night is the logical date, never the clock's: `airflow backfill create` leaves what missed nights would have left.

A task that failed or was killed is run again; what it had finished is kept, and readers of the product database see
last night or tonight, never half of it. What comes from outside is set as `shelfwise_steps.py` says on top.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import DAG, Param
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from shelfwise_steps import DEFAULTS, MACROS, PRODUCT_DATABASE, LocalStep, SparkStep, tell_delay, wants_shadow

NIGHT = "{{ night_of(dag_run) }}"
RUN = f"nightly-{NIGHT}"

with DAG(
    "nightly_tagging",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # From the queue on, so that a backfill of last month is not late before it begins.
    deadline=DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=6), SyncCallback(tell_delay)),
    default_args={**DEFAULTS, "name": f"shelfwise {{{{ task.task_id }}}} {NIGHT}"},
    params={
        "catalog": Param(
            None,
            type=["null", "string"],
            description="A directory, a .csv, .jsonl or .parquet file, or `products`; empty: the variable "
            "shelfwise_catalog. `{{ ds }}` in it becomes the night.",
        ),
        "max_rejected": Param(0.2, type="number", minimum=0, maximum=1, description="Tolerated share of bad images."),
        "shadow": Param(False, type="boolean", description="The challenger answers too, once the night is published."),
    },
    user_defined_macros=MACROS,
    tags=["shelfwise"],
    doc_md=__doc__,
):
    ingest = SparkStep(
        task_id="ingest",
        application_args=["ingest", "--catalog", "{{ catalog_of(params, dag_run) }}", "--run-date", NIGHT],
        pool="catalog",  # of one slot: nights are read one after another, the earliest first
        doc_md="Read, verify and store the images that are new or changed.",
    )
    predict = SparkStep(
        task_id="predict",
        application_args=["predict", "--run-date", NIGHT, "--max-rejected", "{{ params.max_rejected }}"],
        pool="gpu",
        execution_timeout=timedelta(hours=12),
        doc_md="Ask both networks what the stored images show. What is finished is never computed again.",
    )
    publish = SparkStep(
        task_id="publish",
        application_args=["publish", "--run-date", NIGHT, "--max-rejected", "{{ params.max_rejected }}"],
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
    shadow = SparkStep(
        task_id="shadow",
        application_args=["shadow", "--run-date", NIGHT],
        shelfwise_run=RUN,
        pool="gpu",
        execution_timeout=timedelta(hours=12),
        doc_md="Let the challenger answer the night too; `query release_agreement` compares.",
    )
    ingest >> predict >> publish >> report
    publish >> ShortCircuitOperator(task_id="with_shadow", python_callable=wants_shadow) >> shadow
