"""### Train a release on the products that have a category, and let a person decide whether to use it.

It starts by hand, or after a night when people have decided on enough products: `shelfwise_decisions.py` has the
settings. `finetune >> evaluate` trains the release and compares it with the release in use, on test products on which
neither was trained. Then the run waits for a person. *Required Actions* shows the metrics and what speaks against the
new release; an approval, never `--promote`, makes it champion. A second question offers to predict earlier dates again,
by `backfill_predictions`. If a training was stopped, run its task again: it resumes after the last finished epoch.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param
from shelfwise_decisions import MACROS, NEW_DECISIONS, RELEASE, RELEASE_ID
from shelfwise_forms import OPTION
from shelfwise_steps import DEFAULTS, PERSON, LocalStep

IN_USE = "{{ ti.xcom_pull('in_use').release }}"
IN_USE_ID = "{{ ti.xcom_pull('in_use').release_id }}"
TOLD = "{% set told = ti.xcom_pull('finetune') or {} %}"
BELOW = TOLD + "{{ told['below_promise'] ~ '\n\n' if told.get('below_promise') else '' }}"
OPTIONS, SHARED = "{{ options_of(params) | join('\\n') }}", "{{ shared_options_of(params) | join('\\n') }}"

with DAG(
    "fine_tune_release",
    schedule=NEW_DECISIONS,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "release_id": RELEASE_ID,
        "options": Param(
            ["--start-from=imagenet"],
            type="array",
            items={"type": "string", **OPTION},
            description="Options of `shelfwise finetune`, one per line: `--network=xception`, `--epochs=8`.",
        ),
        "part": Param("test", enum=["test", "validation", "all"], description="Products for the comparison."),
    },
    user_defined_macros=MACROS,
    tags=["shelfwise"],
    doc_md=__doc__,
):
    in_use = LocalStep(task_id="in_use", arguments=["release", "show"], doc_md="The release to compare with.")
    finetune = LocalStep(
        task_id="finetune",
        arguments=["finetune", "--release-id", RELEASE, OPTIONS],
        pool="gpu",
        execution_timeout=timedelta(days=3),
    )
    evaluate = LocalStep(
        task_id="evaluate",
        arguments=["evaluate", "--compare", IN_USE, RELEASE, "--format=markdown", "--part={{ params.part }}", SHARED],
        text=True,
        pool="gpu",
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject=f"Shall {RELEASE} answer from now on?",
        body=f"{IN_USE_ID} is in use, {RELEASE} is new.\n\n{BELOW}{{{{ ti.xcom_pull('evaluate') }}}}",
        **PERSON,
    )
    promote = LocalStep(task_id="promote", arguments=["release", "promote", RELEASE], retries=1)
    offer_backfill = ApprovalOperator(
        task_id="offer_backfill",
        subject=f"{RELEASE} is champion. Shall earlier dates be answered again?",
        body="Approve with the first and last ingest date. What people decided stays.",
        # A person fills these in. Without a default the task would fail before it asks.
        params={name: Param(None, type=["null", "string"], format="date") for name in ("from", "to")},
        **PERSON,
    )
    answered = "{{ ti.xcom_pull('offer_backfill').params_input['%s'] }}"
    backfill = TriggerDagRunOperator(
        task_id="backfill",
        trigger_dag_id="backfill_predictions",
        conf={"from": answered % "from", "to": answered % "to", "release": RELEASE},
    )
    in_use >> finetune >> evaluate >> approve >> promote >> offer_backfill >> backfill
