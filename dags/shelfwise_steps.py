"""Operators and functions for the DAGs of this folder: start shelfwise commands, pass settings, send alerts. Not a DAG.

They read these from Airflow. All but `spark_default` are optional:

- connection `spark_default`: Spark's master: `local[*]`, `spark://...`, `yarn`, or, with Airflow's provider
  `cncf.kubernetes` installed, `k8s://...`.
- connection `shelfwise_db`: the product database and its password. It is passed to a job in the environment of its
  process and is in no rendered field. In deploy mode `cluster` a secret of the cluster must set SHELFWISE_DATABASE_URL.
- connection `shelfwise_alerts`: type http; `{"text": ...}` is posted there when a task fails, a night is late, or its
  images are unlike those that its release knows. Its password is the path of the address, which is usually secret.
- variable `shelfwise_settings`: JSON of further `SHELFWISE_*` settings; they override the environment of the worker.
- variable `shelfwise_catalog`: catalog of a night; `{{ ds }}` in it becomes the night, as in `/data/{{ ds }}.parquet`.
- variable `shelfwise_labels`: file that maps the catalog's category texts to category_ids. Without it and the form's
  field `labels`, a night keeps the map that is in the home. It has no `{{ ds }}`: a night that is caught up later would
  put an older map into the place of a newer one.
- variable `shelfwise_shadow`: `true` also predicts every night with the challenger, after it is published.
- variable `shelfwise_application`: path of `shelfwise_job.py` for Spark, if not in this clone.
- pool `catalog`: one slot, so that several nights started at once are read in their order.
- pool `gpu`: number of predictions and trainings that may run at once.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Asset, BaseOperator, Connection, Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException
from airflow.sdk.log import mask_secret

log = logging.getLogger(__name__)

PRODUCT_DATABASE = Asset(name="shelfwise_product_database", uri="shelfwise://product-database/")
LOG_CONFIG = (
    "-Dlog4j2.configurationFile=" + (Path(__file__).parents[1] / "jobs" / "spark" / "log4j2.properties").as_uri()
)
_SUBMITTED = Path(__file__).parents[1] / "jobs" / "submit" / "shelfwise_job.py"
APPLICATION = f"{{{{ var.value.get('shelfwise_application', '{_SUBMITTED}') }}}}"
WRONG_CALL = 2
CALLED_WRONGLY = re.compile(
    rf"(?:Error code is:|Kubernetes spark exit code is:|User application exited with status) {WRONG_CALL}\b"
)
"""Matches the error of a submission whose job ended with exit code 2, a wrong call.

Airflow's message contains the exit code of spark-submit, which in deploy mode `client` is that of the job, or the exit
code of the driver's pod. YARN has its own message for a driver.
"""
REFUSED = "RunRefused: "
"""Begins the error in the row of a run that failed because its input was refused."""
_CLOCKS_DIFFER = timedelta(minutes=2)
"""By so much the clock of a driver may be behind that of the worker."""


def notify_failure(context: Any) -> None:
    """Send an alert with the failed task, its error and the row of the run in the product database."""
    instance, error = context["ti"], context.get("exception")
    text = f"{instance.dag_id}.{instance.task_id} of {instance.run_id} failed at attempt {instance.try_number}: {error}"
    run = getattr(context.get("task"), "shelfwise_run", None) or ""
    if run and "{{" not in run:
        try:
            text += f"\n{run}: {json.dumps(run_summary(run) or 'it left no row')}"
        except AirflowException as query_error:
            text += f"\n{run}: {query_error}"
    send_alert(text)


def notify_delay(context: Any) -> None:
    """Send an alert that the DAG run of a night is later than its deadline."""
    run = context["dag_run"]
    send_alert(
        f"{run['dag_id']} of {run['dag_run_id']} is late: it was to be done by {context['deadline']['deadline_time']}"
    )


DEFAULTS: dict[str, Any] = {
    "owner": "catalog",
    "retries": 3,
    "retry_exponential_backoff": 2.0,  # from Airflow's own default_task_retry_delay on: 5, 10 and 20 minutes
    "max_retry_delay": timedelta(minutes=30),
    "execution_timeout": timedelta(hours=4),
    "on_failure_callback": [notify_failure],
}

PERSON: dict[str, Any] = {"retries": 0, "execution_timeout": None, "response_timeout": timedelta(days=14)}
"""Options of tasks that wait for a person; they differ from `DEFAULTS`."""


class SparkStep(SparkSubmitOperator):
    """Operator that runs a shelfwise command by spark-submit, on the master of the connection.

    An argument that renders to several lines becomes several arguments; one that renders to nothing is left out. If it
    writes to the product database (`outlets`), the event of the asset contains the row of the run, and an alert is sent
    if the run's images are unlike those that its release knows. A wrong call fails at once and is not retried, and
    neither is a run whose input was refused; its alert has the sentence. A retry always submits again, also on YARN in
    deploy mode `cluster`: two jobs of the same run do no harm.
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "shelfwise_run")

    def __init__(self, *, shelfwise_run: str = "", conf: dict[str, str] | None = None, **options: Any) -> None:
        conf = {"spark.driver.extraJavaOptions": LOG_CONFIG, **(conf or {})}
        super().__init__(**{"application": APPLICATION, "conf": conf, "durable": False, **options})
        self.shelfwise_run = shelfwise_run

    def execute(self, context: Any) -> dict[str, Any] | None:  # type: ignore[override]
        """Submit the job, wait for it, and return the row of the run; None without a run or a row."""
        self.application_args = [line for each in self.application_args or () for line in str(each).splitlines()]
        began = datetime.now(UTC)
        with job_environment() as environment:
            self.conf = {"spark.driver.memory": environment.get("SHELFWISE_DRIVER_MEMORY", "2g"), **(self.conf or {})}
            try:
                super().execute(context)
            except (AirflowException, RuntimeError) as error:
                if CALLED_WRONGLY.search(str(error)):
                    raise AirflowFailException(str(error)) from error
                if refusal := self._refusal(began - _CLOCKS_DIFFER):
                    raise AirflowFailException(refusal) from error
                raise
        if not self.shelfwise_run:
            return None
        row = run_summary(self.shelfwise_run)
        if row is None:
            return None
        row["attempt"] = context["ti"].try_number
        if PRODUCT_DATABASE in self.outlets:
            context["outlet_events"][PRODUCT_DATABASE].extra = row
            if row["alerts"]:
                waiting = "; ".join(row["alerts"])
                send_alert(f"{row['run_id']} is published, but answers of it wait for a person: {waiting}")
        return row

    def _refusal(self, since: datetime) -> str | None:
        """Return why the job that just failed was refused; None if it failed otherwise, or if nobody can say."""
        words = self.application_args or []
        try:
            if words[:1] == ["ingest"]:
                night = words[words.index("--run-date") + 1]
                found = asked("ingest-refusal", "--run-date", night, "--json")
                refused_at, sentence = found["refused_at_utc"], found["sentence"]
            elif self.shelfwise_run:
                rows = asked("query", "run_summary", "--param", f"run_id={self.shelfwise_run}", "--format", "json")
                error, refused_at = _failure(rows[0]) if rows else ("", None)
                sentence = error.removeprefix(REFUSED) if error.startswith(REFUSED) else None
            else:
                return None
            return sentence if sentence and _moment(refused_at) >= since else None
        except (AirflowException, ValueError, LookupError, TypeError) as error:
            log.warning("whether the job was refused cannot be found out: %s", error)
            return None


def _failure(row: dict[str, Any]) -> tuple[str, str | None]:
    """Return the error in the row of a run and its time; of a published run why its repetition was refused last."""
    if row["error"]:
        return row["error"], row["finished_at_utc"]
    again = row["summary"].get("refused") or {}
    return again.get("error") or "", again.get("at_utc")


class LocalStep(BaseOperator):
    """Operator that runs a shelfwise command without Spark on the worker, and returns what it prints.

    That is a JSON document; with `text` the command prints text for people, by its own options. An argument that
    renders to several lines becomes several arguments; one that renders to nothing is left out.
    """

    template_fields: Sequence[str] = ("arguments", "shelfwise_run")

    def __init__(
        self, *, arguments: Sequence[str], shelfwise_run: str = "", text: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.arguments, self.shelfwise_run, self.text = arguments, shelfwise_run, text
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> Any:
        """Run the command; a wrong call fails at once and is not retried."""
        return self.run([line for argument in self.arguments for line in str(argument).splitlines()])

    def run(self, arguments: Sequence[str]) -> Any:
        """Run `shelfwise` with these arguments, and log its messages and its result."""
        last: deque[str] = deque(maxlen=1)
        with job_environment(), tempfile.TemporaryFile("w+", encoding="utf-8") as out:
            command = ["shelfwise", *arguments, *([] if self.text else ["--json"])]
            self.log.info("Running %s", " ".join(command))
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
            for line in self._process.stderr or ():
                last.append(line.strip())
                self.log.info("%s", last[-1])
            code = self._process.wait()
            out.seek(0)
            printed = out.read()
        if code:
            sentence = last[-1] if last else f"shelfwise ended with {code}"
            raise (AirflowFailException if code == WRONG_CALL else AirflowException)(sentence)
        result = printed if self.text else json.loads(printed)
        self.log.info("%s", printed.strip())
        return result

    def on_kill(self) -> None:
        """Terminate the command when the task is stopped."""
        if self._process and self._process.poll() is None:
            self._process.terminate()


def run_summary(run_id: str) -> dict[str, Any] | None:
    """Return, for a DAG's task, the main columns of a run's row in the product database; None if it has no row.

    `alerts` are sentences on a night or categories whose images are unlike those that its release knows, and on a night
    for which that could not be computed.
    """
    rows = asked("query", "run_summary", "--param", f"run_id={run_id}", "--format", "json")
    if not rows:
        return None
    columns = ("run_id", "kind", "run_date", "release_id", "state", "counts", "error")
    summary = rows[0]["summary"]
    found = {"taken_over": summary.get("taken_over", []), "alerts": (summary.get("gates") or {}).get("alerts", [])}
    return {name: rows[0][name] for name in columns} | found


def asked(*words: str) -> Any:
    """Return, for a DAG's task, the JSON document that a `shelfwise` command prints."""
    command = ["shelfwise", *words]
    with job_environment():
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AirflowException(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{command} failed")
    return json.loads(done.stdout)


def _moment(text: str) -> datetime:
    """Return a time in ISO 8601; one without an offset is in UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def job_environment() -> Iterator[dict[str, str]]:
    """Set PATH, settings and database URL for the processes of a DAG's task; restore the environment afterwards."""
    changes = dict(Variable.get("shelfwise_settings", default={}, deserialize_json=True))
    if any(not name.startswith("SHELFWISE_") or name == "SHELFWISE_DATABASE_URL" for name in changes):
        raise AirflowFailException(
            "the variable shelfwise_settings holds SHELFWISE_* settings only, and not SHELFWISE_DATABASE_URL: "
            "make the connection shelfwise_db, which keeps its password secret"
        )
    changes["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    if url := database_url():
        changes["SHELFWISE_DATABASE_URL"] = url
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update({name: str(value) for name, value in changes.items()})
    try:
        yield dict(os.environ)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def database_url() -> str | None:
    """Return the URL of the connection `shelfwise_db`, masked in all logs; None without that connection."""
    connection = find_connection("shelfwise_db")
    if connection is None:
        return None
    if connection.conn_type == "sqlite":
        return f"sqlite:///{quote(connection.host or '')}"
    password = quote(connection.password or "", safe="")
    login = quote(connection.login or "", safe="") + (f":{password}" if password else "")
    options = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in connection.extra_dejson.items())
    url = f"postgresql://{login}{'@' if login else ''}{connection.host or ''}"
    url += (f":{connection.port}" if connection.port else "") + f"/{connection.schema or ''}"
    url += f"?{options}" if options else ""
    if password:
        mask_secret(password)
        mask_secret(url)
    return url


def find_connection(name: str) -> Connection | None:
    """Return an Airflow connection; None if it does not exist."""
    try:
        connection: Connection = Connection.get(name)
    except AirflowNotFoundException:
        return None
    return connection


def send_alert(text: str) -> None:
    """Log a text as an error and post it to `shelfwise_alerts`, if that exists; a failure to post is only logged."""
    log.error("%s", text)
    target = find_connection("shelfwise_alerts")
    if target is None:
        return
    port = f":{target.port}" if target.port else ""
    url = f"{target.schema or 'https'}://{target.host}{port}/{target.password or ''}"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps({"text": text}).encode(), headers)  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=20).close()  # noqa: S310
    except OSError as error:
        log.error("nobody was told of it: %s", error)
