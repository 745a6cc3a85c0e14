"""Prints as JSON what Airflow makes of the folder dags/, in a process of its own: importing Airflow changes a process.

python -m tests.dags.describe DIRECTORY
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

DAGS = Path(__file__).parents[2] / "dags"
HEAVY = ("pyspark", "tensorflow", "keras", "petastorm", "jobs", "models", "sql")
MOMENT = datetime(2026, 11, 1, 2, tzinfo=UTC)
OPTIONS = [
    "--network=efficientnetb0",
    "--leave-out=apparel.hats",
    "--epochs=1",
    "--leave-out=Home & Garden/Lamps",
    "--labels=/shop/map.csv",
    "--promote",
]
FORMS: dict[str, dict[str, Any]] = {
    "nightly_tagging": {"catalog_name": "Big shop", "partial": True, "max_left": 0.5, "allow_shift": True}
    | {"labels": "/shop/map.csv"},
    "backfill_predictions": {"from": "2026-11-01", "to": "2026-11-03", "category": "Men's Shoes", "release": "shop-2"}
    | {"only_missing": True, "include_left": True, "force": True, "allow_shift": True, "parallelism": 2},
    "fine_tune_release": {"release_id": "shop-2", "options": OPTIONS},
}
NAMES = [
    *(
        "apparel.tops.t-shirt",
        "Men's Shoes",
        "Home & Garden/Lamps",
        "靴.長靴",
        "Одежда.Брюки",
        "Dr. Martens",
        "Größe 💡",
        "\u06a9\u0641\u0634\u200c\u0647\u0627",  # Persian, shoes
    ),
    *(
        "champion",
        "challenger",
        "champions",
        "Champion",
        "shop.champion",
        "C++",
        "☕",
        "a.💡",
        "a.-",
        "_",
        "\ue000",
        "५",
        "½",
    ),
    *("\u200b", "a.\u200b", "a\u200cb", "\u202egnp.a", "a\ufeff", "a\xad", "\U000e0041", "a\U0001d173", "\u0301"),
    *("shop-2", "a" * 128, "a" * 129, "", " ", ".", ".a", "a.", "a..b", "a. .b", " .a", "a. ", "a .b", "-a", "../x"),
    *("a\n", "a\nb", "a\rb", "a\x1b[2J", "a\x7f", "a\x85b", "a\u2028b", "a\u2029", "\na", "a\x00", "a\tb"),
]
"""Names that a form takes or refuses, as the command line and files do."""

EVALUATED = "| release | accuracy |\n| --- | --- |\n| shop-1 | 0.5000 |\n"
BELOW = "of the part test 90 products would be published and 70 of these are right"
TRAINED: list[dict[str, Any]] = [{"below_promise": BELOW}, {"below_promise": None}, {}]
"""What trainings return; those of earlier versions say nothing of the promise."""

PLAN = {
    "run_id": "backfill-2026-11-01-2026-11-03-shop-2-apparel.tops-missing",
    "release": "/releases/shop-2",
    "images_by_date": {"2026-11-01": 5, "2026-11-03": 2},
}


def rendered(task: Any, context: dict[str, Any]) -> tuple[list[str], str | None]:
    """Return the arguments that a task would give to the command line, and what Spark would call its application."""
    own = copy.copy(task)
    own.render_template_fields({**context, "task": own}, jinja_env=task.dag.get_template_env())
    given = getattr(own, "application_args", None) or getattr(own, "arguments", None) or ()
    return [line for argument in given for line in str(argument).splitlines()], getattr(own, "name", None)


def shadows(gate: Any) -> list[tuple[bool, str, bool]]:
    """Return what the form and the variable may say of a shadow, and whether there is one then."""
    found = []
    for form in (False, True):
        for variable in ("", "false", "true"):
            os.environ["AIRFLOW_VAR_SHELFWISE_SHADOW"] = variable
            found.append((form, variable, gate.python_callable(params={"shadow": form})))
    return found


def label_maps(dag: Any) -> list[tuple[str, str, str]]:
    """Return what the form and the variable may name as a label map, and which option the ingest of a night has."""
    params = {name: one.value if one.has_value else None for name, one in dag.params.items()}
    found = []
    for form in (None, "", "/form.csv"):
        for variable in ("", " ", "s3://shop/map.csv"):
            os.environ["AIRFLOW_VAR_SHELFWISE_LABELS"] = variable
            context = {"params": params | {"labels": form}, "dag_run": SimpleNamespace(logical_date=MOMENT)}
            arguments = rendered(dag.get_task("ingest"), {**context, "var": {"value": {}}})[0]
            found.append((form or "", variable, " ".join(word for word in arguments if word.startswith("--labels"))))
    del os.environ["AIRFLOW_VAR_SHELFWISE_LABELS"]
    return found


def question(dag: Any, finetuned: dict[str, Any]) -> str:
    """Return what a person reads who is asked whether a release shall answer, by what its training returned."""
    own = copy.copy(dag.get_task("approve"))
    told = {"in_use": {"release_id": "shop-1"}, "finetune": finetuned, "evaluate": EVALUATED}
    context = {"params": FORMS["fine_tune_release"], "ti": SimpleNamespace(xcom_pull=told.get)}
    own.render_template_fields(context, jinja_env=dag.get_template_env())
    return str(own.body)


def taken(dags: Any) -> dict[str, list[str]]:
    """Return which of NAMES each field of a form takes."""
    from airflow.sdk.exceptions import ParamValidationError

    backfill, training = dags["backfill_predictions"].params, dags["fine_tune_release"].params
    fields: dict[str, Callable[[str], Any]] = {
        "category": lambda name: backfill.get_param("category").resolve(name),
        "release": lambda name: backfill.get_param("release").resolve(name),
        "release_id": lambda name: training.get_param("release_id").resolve(name),
        "options": lambda name: training.get_param("options").resolve([f"--leave-out={name}"]),
    }
    found: dict[str, list[str]] = {field: [] for field in fields}
    for field, resolve in fields.items():
        for name in NAMES:
            with contextlib.suppress(ParamValidationError):
                resolve(name)
                found[field].append(name)
    return found


def by_decisions(dag: Any) -> dict[str, list[str]]:
    """Return what a training calls that no person has started, with and without options in a variable."""
    found = {}
    params = {name: one.value if one.has_value else None for name, one in dag.params.items()}
    told = {"in_use": SimpleNamespace(release="/releases/champion")}
    context = {
        "params": params,
        "dag_run": SimpleNamespace(run_after=MOMENT),
        "ti": SimpleNamespace(xcom_pull=told.get),
    }
    for options in ("", "--quick\n--promote\n--network=xception\n--leave-out=toys\n"):
        os.environ["AIRFLOW_VAR_SHELFWISE_RETRAIN_OPTIONS"] = options
        calls = [rendered(dag.get_task(name), context)[0] for name in ("finetune", "evaluate", "promote")]
        found["with options" if options else "without"] = [" ".join(call) for call in calls]
    return found


def thresholds() -> list[tuple[str, Any]]:
    """Return how many products start a training by what a form or variable says; a wrong text gives a sentence."""
    from shelfwise_decisions import products_of

    found: list[tuple[str, Any]] = []
    for text in ("", " ", "1", "200", "0", "-1", "1.5", "ten"):
        try:
            found.append((text, products_of(text)))
        except Exception as error:
            found.append((text, str(error)))
    return found


def described(dag: Any, warned: int) -> dict[str, Any]:
    """Return what the tests look at of a DAG."""
    params = {name: one.value if one.has_value else None for name, one in dag.params.items()} | FORMS[dag.dag_id]
    told = {"in_use": SimpleNamespace(release="/releases/champion"), "offer_backfill": None}
    context = {
        "params": params,
        "dag_run": SimpleNamespace(logical_date=MOMENT, run_after=MOMENT),
        "ti": SimpleNamespace(xcom_pull=told.get),
        "var": {"value": {}},
    }
    tasks, calls, names = {}, [], []
    for task in dag.tasks:
        tasks[task.task_id] = {
            "owner": task.owner,
            "retries": task.retries,
            "backoff": task.retry_exponential_backoff,
            "execution_timeout": task.execution_timeout.total_seconds() if task.execution_timeout else None,
            "response_timeout": getattr(task, "response_timeout", None) is not None,
            "pool": task.pool,
            "callbacks": len(task.on_failure_callback or ()),
            "outlets": [outlet.uri for outlet in task.outlets],
            "upstream": sorted(task.upstream_task_ids),
        }
        if type(task).__name__ in ("SparkStep", "LocalStep", "DecisionsStep"):
            arguments, name = rendered(task, context)
            calls.append(arguments)
            names.append(name)
        if task.task_id.endswith("deal"):
            lane = int(task.task_id[5]) - 1
            calls += [step["application_args"] for step in task.python_callable(PLAN, lane, ["--force"], params)]
    return {
        "warnings": warned,
        "schedule": dag.schedule if isinstance(dag.schedule, (str, type(None))) else dag.schedule.uri,
        "max_active_runs": dag.max_active_runs,
        "tags": sorted(dag.tags),
        "doc_md": dag.doc_md,
        "deadline": bool(dag.deadline),
        "tasks": tasks,
        "calls": calls,
        "names": names,
    }


def main() -> None:
    from airflow.dag_processing.dagbag import BundleDagBag

    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bag = BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="shelfwise")
    seconds = time.process_time() - began
    stats = {Path(one.file).name: one for one in bag.dagbag_stats}
    dags = {}
    for dag in bag.dags.values():
        one = stats[Path(dag.fileloc).name]
        dags[dag.dag_id] = described(dag, one.warning_num)
    heavy = sorted(name for name in HEAVY if name in sys.modules)
    document = {"errors": bag.import_errors, "heavy": heavy, "seconds": seconds, "files": sorted(stats), "dags": dags}
    training = bag.dags["fine_tune_release"]
    document["questions"] = [question(training, {**each, "release_id": "shop-2"}) for each in TRAINED]
    document["by_decisions"] = by_decisions(bag.dags["fine_tune_release"])
    document["label_maps"] = label_maps(bag.dags["nightly_tagging"])
    document["taken"] = taken(bag.dags)
    document["thresholds"] = thresholds()
    document["shadows"] = shadows(bag.dags["nightly_tagging"].get_task("with_shadow"))
    Path(sys.argv[1], "dags.json").write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main()
