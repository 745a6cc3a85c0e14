"""What starts a training when people have decided enough, for the DAGs of this folder. Not a DAG.

The last task of a night counts the products on which people decided since the champion's training. If these are enough,
it emits an event of the asset `NEW_DECISIONS`, on which `fine_tune_release` is scheduled. Read from Airflow, all
optional:

- variable `shelfwise_retrain_after`: so many products start a training; without it none starts by itself.
- variable `shelfwise_retrain_options`: options of `shelfwise finetune` for such a training, one a line; without it
  those that the form begins with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from airflow.sdk import Asset, Param, Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from shelfwise_forms import NEW_NAME
from shelfwise_steps import LocalStep

NEW_DECISIONS = Asset(name="shelfwise_new_decisions", uri="shelfwise://new-decisions/")

RETRAIN_AFTER = Param(
    None,
    type=["null", "integer"],
    minimum=1,
    description="Newly decided products that start a training; empty: the variable shelfwise_retrain_after.",
)
RELEASE_ID = Param(
    None,
    type=["null", "string"],
    **NEW_NAME,
    description="Name of the new release; empty: learned- and the run's time.",
)
RELEASE = "{{ params.release_id or 'learned-' ~ dag_run.run_after.strftime('%Y%m%dT%H%M%S') }}"
"""The new release of a run of `fine_tune_release`: the same one at each attempt."""


class DecisionsStep(LocalStep):
    """Operator that emits `NEW_DECISIONS` if people have decided on enough products, and is skipped otherwise.

    Decisions that an earlier event told of do not count again: while its training waits for a person, or after a person
    refused the release, the same decisions start no other one.
    """

    template_fields: Sequence[str] = (*LocalStep.template_fields, "enough")

    def __init__(self, *, enough: str = "{{ params.retrain_after or '' }}", **options: Any) -> None:
        counting = ["query", "decisions_since_training", "--format=json"]
        assets = {"inlets": [NEW_DECISIONS], "outlets": [NEW_DECISIONS]}
        told = "Let a training begin if people have decided on enough products since the last one."
        super().__init__(**{"arguments": counting, "text": True, "doc_md": told, **assets, **options})
        self.enough = enough

    def execute(self, context: Any) -> dict[str, Any]:
        """Count, and return what was counted, which the event holds too."""
        enough = products_of(self.enough or str(Variable.get("shelfwise_retrain_after", default="")))
        if enough is None:
            raise AirflowSkipException("no number of decisions starts a training: see shelfwise_retrain_after")
        told = [event.extra for event in context["inlet_events"][NEW_DECISIONS].ascending(False).limit(1)]
        after = max((int(each.get("last_override_id", 0)) for each in told), default=0)
        [found] = json.loads(self.run([*self.arguments, f"--param=after={after}"]))
        if found["decided_count"] < enough:
            raise AirflowSkipException(f"{found['decided_count']:,} of {enough:,} products are newly decided on")
        context["outlet_events"][NEW_DECISIONS].extra = found
        return dict(found)


def products_of(text: str) -> int | None:
    """Return the number of products that a form or variable gives; None if it gives none."""
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise AirflowFailException(
            f"shelfwise_retrain_after is a number of products from 1 on, received {text[:50]!r}; correct that variable"
        )
    return int(text)


def options_of(params: Any) -> list[str]:
    """Return the options of `shelfwise finetune`: those of the form, or of the variable if decisions started it.

    `--promote` is not among them, because a person decides that later.
    """
    given = [] if params["release_id"] else str(Variable.get("shelfwise_retrain_options", default="")).split("\n")
    options = [line.strip() for line in given if line.strip()] or list(params["options"])
    return [option for option in options if option != "--promote"]


def shared_options_of(params: Any) -> list[str]:
    """Return the options of a training that its evaluation has too: the same labels, without the same categories."""
    return [each for each in options_of(params) if each.startswith(("--leave-out=", "--labels="))]


MACROS = {"options_of": options_of, "shared_options_of": shared_options_of}
