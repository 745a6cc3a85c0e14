"""What every DAG promises, read from what Airflow makes of the files; nothing is run."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from jobs.cli import main as cli
from jobs.dataset.label_map import LabelMap, parse_label_map
from jobs.errors import UsageError
from jobs.releases.new_releases import check_release_id
from models.answers.taxonomy import fault_of_id, has_control_character
from models.spec import is_name
from tests.dags.conftest import ROOT, jobs_environment
from tests.dags.describe import BELOW, EVALUATED, NAMES

DAG_IDS = ("nightly_tagging", "backfill_predictions", "fine_tune_release")
PEOPLE = ("approve", "offer_backfill")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The document of `tests.dags.describe`, with a catalog whose name has the night in it."""
    place = tmp_path_factory.mktemp("described")
    environment = jobs_environment(place, place) | {
        "AIRFLOW_HOME": str(place),
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_VAR_SHELFWISE_CATALOG": "/data/{{ ds }}/shop.csv",
    }
    command = [sys.executable, "-m", "tests.dags.describe", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((place / "dags.json").read_text(encoding="utf-8"))


def test_all_dags_are_there_and_import_nothing_heavy(described: Any) -> None:
    assert described["errors"] == {}
    assert sorted(described["dags"]) == sorted(DAG_IDS)
    assert described["heavy"] == []
    assert not [name for name in described["files"] if name.startswith("shelfwise_")], "shared, and not parsed as a DAG"
    assert described["seconds"] < len(DAG_IDS), "seconds of processor time for parsing all"


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_a_dag_keeps_to_the_rules(described: Any, dag_id: str) -> None:
    dag = described["dags"][dag_id]
    assert dag["warnings"] == 0
    assert dag["max_active_runs"] == 1
    assert dag["tags"] == ["shelfwise"]
    assert dag["doc_md"].startswith("### ")
    for name, task in dag["tasks"].items():
        assert task["owner"] == "catalog", name
        assert task["callbacks"] == 1, name
        if name in PEOPLE:
            assert (task["retries"], task["response_timeout"]) == (0, True), name
        else:
            assert task["retries"] >= 1, name
            assert task["backoff"] == 2, name
            assert task["execution_timeout"] > 0, name


def test_the_night(described: Any) -> None:
    night = described["dags"]["nightly_tagging"]
    assert night["schedule"] == "0 2 * * *"
    assert night["deadline"]
    chain = ["ingest", "predict", "publish", "report", "decisions"]
    for earlier, later in pairwise(chain):
        assert night["tasks"][later]["upstream"] == [earlier]
    assert [night["tasks"][name]["pool"] for name in chain] == ["catalog", "gpu", *["default_pool"] * 3]
    assert night["tasks"]["publish"]["outlets"] == ["shelfwise://product-database/"]
    ingest = ["ingest", "--catalog", "/data/2026-11-01/shop.csv", "--run-date", "2026-11-01"]
    options = ["--max-left=0.5", "--catalog-name=Big shop", "--partial", "--labels=/shop/map.csv"]
    assert [*ingest, *options] in night["calls"]
    for step in ("predict", "publish"):
        assert [step, "--run-date", "2026-11-01", "--max-rejected", "0.2", "--allow-shift"] in night["calls"]
    assert "shelfwise predict 2026-11-01" in night["names"]


def test_the_night_has_the_label_map_of_the_form_or_of_a_variable_or_none(described: Any) -> None:
    assert described["label_maps"] == [
        *(["", "", ""], ["", " ", ""], ["", "s3://shop/map.csv", "--labels=s3://shop/map.csv"]),
        *(["", "", ""], ["", " ", ""], ["", "s3://shop/map.csv", "--labels=s3://shop/map.csv"]),
        *(["/form.csv", variable, "--labels=/form.csv"] for variable in ("", " ", "s3://shop/map.csv")),
    ]


def test_the_challenger_answers_beside_the_report_and_only_where_that_is_asked_for(described: Any) -> None:
    """The night does not wait for a slot of a graphics processor only to find that there is no shadow."""
    night = described["dags"]["nightly_tagging"]
    gate, shadow = night["tasks"]["with_shadow"], night["tasks"]["shadow"]
    assert (gate["upstream"], shadow["upstream"]) == (["publish"], ["with_shadow"])
    assert (gate["pool"], shadow["pool"]) == ("default_pool", "gpu")
    assert shadow["outlets"] == [], "what others read does not change"
    assert night["calls"][-2] == ["shadow", "--run-date", "2026-11-01", "--allow-shift"]
    asked = [[form, variable] for form, variable, wanted in described["shadows"] if wanted]
    assert asked == [[False, "true"], [True, ""], [True, "false"], [True, "true"]]


def test_a_backfill_has_a_step_a_date_and_no_more_lanes_than_asked_for(described: Any) -> None:
    backfill = described["dags"]["backfill_predictions"]
    dry, *steps = backfill["calls"]
    assert "--dry-run" in dry
    assert dry[-4:] == ["--only-missing", "--include-left", "--force", "--allow-shift"]
    assert [(step[2], step[4], step[6]) for step in steps] == [
        (date, date, f"backfill-{date}-{date}-shop-2-apparel.tops-missing") for date in ("2026-11-01", "2026-11-03")
    ]
    lanes = [name for name in backfill["tasks"] if name.endswith(".backfill")]
    assert len(lanes) == 4
    assert {backfill["tasks"][name]["pool"] for name in lanes} == {"gpu"}


def test_a_comparison_has_the_labels_of_its_training_and_leaves_out_the_same(described: Any) -> None:
    """What was left out on purpose is told as that, and not among what a release does not know."""
    [evaluate] = [call for call in described["dags"]["fine_tune_release"]["calls"] if call[0] == "evaluate"]
    assert evaluate[-4:] == [
        "--part=test",
        "--leave-out=apparel.hats",
        "--leave-out=Home & Garden/Lamps",
        "--labels=/shop/map.csv",
    ]


def takes(check: Callable[[str], object], name: str) -> bool:
    """Return whether a check of the command line lets a name pass."""
    try:
        check(name)
    except UsageError:
        return False
    return True


def label_map_with(category_id: str) -> LabelMap:
    """Return a label map that maps one text to this category_id."""
    file = io.StringIO()
    csv.writer(file).writerows([("category", "category_id"), ("Tops", category_id)])
    return parse_label_map(file.getvalue().encode("utf-8", "surrogatepass"), "map.csv")


def test_a_form_takes_the_names_that_files_and_the_command_line_take(described: Any) -> None:
    """`Men's Shoes` is a category of a taxonomy, and was refused in a form, and later in a label map alone."""
    taken = described["taken"]
    assert taken["category"] == [name for name in NAMES if not fault_of_id(name)]
    assert NAMES[7] in taken["category"], "joiners belong to the spelling of words"
    bare = [name for name in NAMES if name and name == name.strip()]
    assert [name for name in bare if takes(label_map_with, name)] == [name for name in bare if not fault_of_id(name)]
    assert taken["release"] == [name for name in NAMES if is_name(name)]
    assert taken["release_id"] == [name for name in NAMES if takes(check_release_id, name)]
    assert "champion" in taken["release"], "an alias, which a new release must not have"
    assert taken["options"] == [name for name in NAMES if name and not has_control_character(name)]


def test_who_approves_reads_which_release_is_new_and_what_was_compared(described: Any) -> None:
    _, *usual = described["questions"]
    assert usual == [f"shop-1 is in use, shop-2 is new.\n\n{EVALUATED}"] * 2
    [evaluate] = [call for call in described["dags"]["fine_tune_release"]["calls"] if call[0] == "evaluate"]
    assert evaluate[1:5] == ["--compare", "/releases/champion", "shop-2", "--format=markdown"]


def test_who_approves_reads_that_a_release_does_not_keep_its_promise(described: Any) -> None:
    """The command line told it; a person who approved in Airflow did not see it."""
    assert described["questions"][0] == f"shop-1 is in use, shop-2 is new.\n\n{BELOW}\n\n{EVALUATED}"


def test_a_release_is_promoted_by_a_person_alone(described: Any) -> None:
    """`--promote` among the options made it champion before anybody was asked."""
    [finetune] = [call for call in described["dags"]["fine_tune_release"]["calls"] if call[0] == "finetune"]
    assert "--epochs=1" in finetune
    assert "--promote" not in finetune


def test_a_training_begins_by_hand_or_by_an_event_of_the_nights_last_task(described: Any) -> None:
    [asset] = described["dags"]["nightly_tagging"]["tasks"]["decisions"]["outlets"]
    assert described["dags"]["fine_tune_release"]["schedule"] == asset == "shelfwise://new-decisions/"
    assert ["query", "decisions_since_training", "--format=json"] in described["dags"]["nightly_tagging"]["calls"]
    counts = {text: found for text, found in described["thresholds"] if not isinstance(found, str)}
    assert counts == {"": None, " ": None, "1": 1, "200": 200}
    wrong = [found for _, found in described["thresholds"] if isinstance(found, str)]
    assert len(wrong) == 4
    assert wrong[-1] == (
        "shelfwise_retrain_after is a number of products from 1 on, received 'ten'; correct that variable"
    )


def test_a_training_that_decisions_start_has_a_name_and_the_options_of_a_variable(described: Any) -> None:
    name = "learned-20261101T020000"
    compared = f"evaluate --compare /releases/champion {name} --format=markdown --part=test"
    promoted = f"release promote {name}"
    assert described["by_decisions"] == {
        "without": [f"finetune --release-id {name} --start-from=imagenet", compared, promoted],
        "with options": [
            f"finetune --release-id {name} --quick --network=xception --leave-out=toys",
            f"{compared} --leave-out=toys",
            promoted,
        ],
    }


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_what_a_task_calls_is_what_the_command_line_takes(described: Any, dag_id: str) -> None:
    calls = described["dags"][dag_id]["calls"]
    assert calls
    for words in calls:
        group: click.Command = cli.main_group
        as_text = any(word.startswith("--format=") for word in words)
        context, rest = click.Context(cli.main_group), [*words, *([] if as_text else ["--json"])]
        while isinstance(group, click.Group):
            assert rest[0] in group.commands, words
            group, rest = group.commands[rest[0]], rest[1:]
        group.make_context("task", rest, parent=context)


def test_the_file_for_spark_submit_stands_alone() -> None:
    """spark-submit puts its folder first on sys.path, where a neighbour could hide a library."""
    folder = Path(ROOT, "jobs", "submit")
    assert [path.name for path in folder.iterdir() if path.name != "__pycache__"] == ["shelfwise_job.py"]
