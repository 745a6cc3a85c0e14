"""What the forms of the DAGs ask, which texts they accept, and which options of commands come of them.

The variables that stand in for empty fields are listed at the top of `shelfwise_steps.py`.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from airflow.sdk import Param, Variable
from airflow.sdk.exceptions import AirflowFailException

log = logging.getLogger(__name__)


def night_of(dag_run: Any) -> str:
    """Return the night of a DAG run, YYYY-MM-DD: its logical date, never the current date."""
    moment: datetime | None = dag_run.logical_date
    if moment is None:
        raise AirflowFailException(
            "the night to tag is the run's logical date and this run has none; trigger it again with one, as 2026-11-01"
        )
    return moment.strftime("%Y-%m-%d")


def catalog_of(params: Any, dag_run: Any) -> str:
    """Return the catalog of a DAG run: from the form, else from the variable, else the table `products`."""
    catalog = params.get("catalog") or Variable.get("shelfwise_catalog", default="products")
    return str(catalog).replace("{{ ds }}", night_of(dag_run))


def labels_of(params: Any) -> str:
    """Return the option of a night's label map: from the form, else from the variable; empty without one."""
    name = str(params.get("labels") or Variable.get("shelfwise_labels", default="")).strip()
    return f"--labels={name}" if name else ""


FORM: dict[str, Param] = {
    "catalog": Param(
        None,
        type=["null", "string"],
        description="A directory, a file that a shop system exports, or `products`; empty: the variable "
        "shelfwise_catalog. `{{ ds }}` in it becomes the night.",
    ),
    "labels": Param(
        None,
        type=["null", "string"],
        pattern=r"^[^\x00-\x1f]*(?![\s\S])",
        description="CSV or TSV file that maps the catalog's category texts to category_ids; empty: the variable "
        "shelfwise_labels, or the map that the home has.",
    ),
    "catalog_name": Param(
        None,
        type=["null", "string"],
        pattern=r"^[^\x00-\x1f]*$",
        description="Name under which products remember the catalog; empty: made from the name of its file.",
    ),
    "partial": Param(False, type="boolean", description="The catalog names changes only; what it does not name stays."),
    "max_left": Param(
        0.2, type="number", minimum=0, maximum=1, description="Share of products that may leave at once."
    ),
}
"""Fields of a form: the catalog of a night, the map of its categories, and what leaves with it."""


def leaving_of(params: Any) -> str:
    """Return the options of a form that say what leaves with its catalog, one a line."""
    options = [f"--max-left={params['max_left']}"]
    if params.get("catalog_name"):
        options.append(f"--catalog-name={params['catalog_name']}")
    return "\n".join([*options, "--partial"] if params["partial"] else options)


def wants_shadow(params: Any) -> bool:
    """Return, in a DAG's task that occupies no slot of the pool `gpu`, whether to predict with the challenger too."""
    wanted = params["shadow"] or str(Variable.get("shelfwise_shadow", default="")).strip().lower() == "true"
    if not wanted:
        log.info("no challenger is asked: `shadow` of the form is off, and the variable shelfwise_shadow is not `true`")
    return bool(wanted)


# `$` would also match before a newline at the end. What is refused beside it ends a line or commands a terminal.
_END, _CONTROL = r"(?![\s\S])", r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_UNSEEN = (  # the characters of the Unicode category Cf, without the joiners of Persian and Hindi words
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    r"\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0001\U000e0020-\U000e007f"
)
_LETTER = r"(?:[^\W_]|[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd])"  # or a digit; also for private use
_LEVEL = rf"(?=[^.]*?{_LETTER})[^.{_CONTROL}{_UNSEEN}]+"

_NAME = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,127}}{_END}"

NAME: dict[str, Any] = {"pattern": rf"^{_NAME}"}
"""Schema of the name of a release in a form, or of an alias; the rule of the command line."""

NEW_NAME: dict[str, Any] = {"pattern": rf"^(?!(?:champion|challenger){_END}){_NAME}"}
"""Schema of the name of a new release in a form, which is no alias."""

CATEGORY_NAME: dict[str, Any] = {"pattern": rf"^{_LEVEL}(?:\.{_LEVEL})*{_END}"}
"""Schema of a category_id in a form; the rule of a taxonomy: names in any alphabet with a dot between levels."""

OPTION: dict[str, Any] = {"pattern": rf"^--[a-z-]+(=[^{_CONTROL}]+)?{_END}"}
"""Schema of an option of the command line in a form: `--epochs=8`, `--leave-out=Men's Shoes`."""


MACROS = {"night_of": night_of, "catalog_of": catalog_of, "labels_of": labels_of, "leaving_of": leaving_of}
