"""### Tag the new and changed products of the catalog, every night.

The tasks are `ingest >> predict >> publish >> report >> decisions`, and `shadow` if it is switched on. The night is the
run's logical date, never the current date, so `airflow backfill create` gives missed nights the same result.

A failed task is retried and keeps its finished files. Readers of the database see the last night or this one, whole.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import DAG, Param
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from shelfwise_decisions import RETRAIN_AFTER, DecisionsStep
from shelfwise_forms import FORM, MACROS, wants_shadow
from shelfwise_steps import DEFAULTS, PRODUCT_DATABASE, LocalStep, SparkStep, notify_delay

NIGHT, OPTIONS = "{{ night_of(dag_run) }}", "{{ leaving_of(params) }}\n{{ labels_of(params) }}"
SHIFT, RUN = "{{ '--allow-shift' if params.allow_shift else '' }}", f"nightly-{NIGHT}"
LIMITS = ["--max-rejected", "{{ params.max_rejected }}", SHIFT]

with DAG(
    "nightly_tagging",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # Counted from queueing, not from the logical date: a backfill of last month must not be late at its start.
    deadline=DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=6), SyncCallback(notify_delay)),
    default_args={**DEFAULTS, "name": f"shelfwise {{{{ task.task_id }}}} {NIGHT}"},
    params={
        **FORM,
        "max_rejected": Param(0.2, type="number", minimum=0, maximum=1, description="Tolerated share of bad images."),
        "allow_shift": Param(False, type="boolean", description="Publish images unlike those that the release knows."),
        "retrain_after": RETRAIN_AFTER,
        "shadow": Param(False, type="boolean", description="Predict with the challenger too, after publishing."),
    },
    user_defined_macros=MACROS,
    tags=["shelfwise"],
    doc_md=__doc__,
):
    ingest = SparkStep(
        task_id="ingest",
        application_args=["ingest", "--catalog", "{{ catalog_of(params, dag_run) }}", "--run-date", NIGHT, OPTIONS],
        pool="catalog",  # one slot, so that nights are read one after another, the earliest first
        doc_md="Read, verify and store the images that are new or changed.",
    )
    predict = SparkStep(
        task_id="predict",
        application_args=["predict", "--run-date", NIGHT, *LIMITS],
        shelfwise_run=RUN,
        pool="gpu",
        execution_timeout=timedelta(hours=12),
        doc_md="Classify the stored images with all networks. Finished parts are never computed again.",
    )
    publish = SparkStep(
        task_id="publish",
        application_args=["publish", "--run-date", NIGHT, *LIMITS],
        shelfwise_run=RUN,
        outlets=[PRODUCT_DATABASE],
        doc_md="Merge the answers into the product database, in one transaction.",
    )
    report = LocalStep(
        task_id="report",
        arguments=["report", "--run-id", RUN],
        shelfwise_run=RUN,
        doc_md="Write the page of the night; the log and the task's XCom contain its path.",
    )
    shadow = SparkStep(
        task_id="shadow",
        application_args=["shadow", "--run-date", NIGHT, SHIFT],
        shelfwise_run=RUN,
        pool="gpu",
        execution_timeout=timedelta(hours=12),
        doc_md="Predict the night with the challenger too; `query release_agreement` compares the answers.",
    )
    ingest >> predict >> publish >> report >> DecisionsStep(task_id="decisions")
    publish >> ShortCircuitOperator(task_id="with_shadow", python_callable=wants_shadow) >> shadow
