"""Starting and stopping Spark, here or on a cluster, with what would fail late or never end checked first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import RunFailed
from jobs.spark.config import SparkConfig
from jobs.spark.faults import check_reachable, explained

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG_CONFIG = Path(__file__).with_name("log4j2.properties")
JAVA_VERSIONS = (17, 21)
LOCAL_ATTEMPTS = 3
GATHERING_SECONDS = 1.0
MOST_GATHERING_SECONDS = 10.0


@contextmanager
def spark_session(
    config: SparkConfig, *, name: str, task_cpus: int | None = None, gpu: bool = False
) -> Iterator[SparkSession]:
    """Start Spark for one step and stop it afterwards.

    Args:
        config: Master, memory and scratch place.
        name: Shown in Spark's UI.
        task_cpus: Cores that one task owns; None is one. Predict owns all of an executor's, because its networks and
            decoders use them; that is a property of the application, so the steps of a night have one each.
        gpu: Whether each executor, and with it each of its tasks, shall have one GPU.

    Yields:
        The session; on a cluster one of its executors has run a first task, so that it is known to work.

    Raises:
        RunFailed: If Java is missing or of a version that Spark 4 does not run on, if the master cannot be reached, if
            no executor comes or it lacks something, or when Spark gives up later; says what to do.
    """
    check_java()
    master = master_of(config)
    cluster = is_cluster(master)
    archive = config.scratch_dir / f"shelfwise-{uuid.uuid4().hex[:12]}.zip"
    if cluster and _submitted_with("spark.kubernetes.submitInDriver") != "true":
        check_reachable(master)  # a pod reaches Kubernetes under another address than the one that submitted it
    with explained():
        session = _started(config, master, name, _options(config, master, task_cpus or 1, gpu=gpu and cluster))
        try:
            if cluster:
                from jobs.spark.executors import first_task, ship_code

                ship_code(session, archive)
                first_task(session, config, gpu=gpu)
                _spread(session, config)
            yield session
        finally:
            _stop(session)
            archive.unlink(missing_ok=True)


def _spread(session: SparkSession, config: SparkConfig) -> None:
    """Shuffle into twice as many parts as there are cores, now that they are known; Spark's own is 200 everywhere."""
    _gathered(session)
    key = "spark.sql.shuffle.partitions"
    if key not in config.properties:
        session.conf.set(key, str(2 * session.sparkContext.defaultParallelism))


def _gathered(session: SparkSession) -> None:
    """Wait until no further executor comes for a second: the first one is there before its brothers are."""
    cores, since = 0, time.monotonic()
    started = since
    while time.monotonic() - since < GATHERING_SECONDS and time.monotonic() - started < MOST_GATHERING_SECONDS:
        found = session.sparkContext.defaultParallelism
        if found != cores:
            cores, since = found, time.monotonic()
        time.sleep(0.1)


def tasks_at_once(session: SparkSession) -> int:
    """Return how many tasks can run at the same time, counting the executors that dynamic allocation may add."""
    cores = session.sparkContext.defaultParallelism
    if session.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        most = session.conf.get("spark.dynamicAllocation.maxExecutors", "0")
        cores = max(cores, int(most or 0) * int(session.conf.get("spark.executor.cores", "1") or 1))
    return cores // int(session.conf.get("spark.task.cpus", "1") or 1)


def _stop(session: SparkSession) -> None:
    """Stop a session; when its Java is dead already, why it died is the better error."""
    from py4j.protocol import Py4JError

    with suppress(Py4JError):
        session.stop()


def _started(config: SparkConfig, master: str, name: str, options: dict[str, str]) -> SparkSession:
    from pyspark.sql import SparkSession

    if not is_cluster(master):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    config.scratch_dir.mkdir(parents=True, exist_ok=True)
    builder = SparkSession.builder.appName(name)
    if not submitted():
        builder = builder.master(_patient(master))
    for key, value in options.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def _options(config: SparkConfig, master: str, task_cpus: int, *, gpu: bool) -> dict[str, str]:
    options = {
        "spark.driver.memory": config.driver_memory,
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOG_CONFIG.as_uri()}",
        "spark.local.dir": str(config.scratch_dir),
        "spark.sql.warehouse.dir": str(config.scratch_dir / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
        "spark.task.cpus": str(task_cpus),
        "spark.ui.showConsoleProgress": "false",
        # Spark starts them with -m: Python would look for every module in the working directory first.
        "spark.executorEnv.PYTHONSAFEPATH": "1",
    }
    if is_cluster(master):
        options["spark.executor.cores"] = str(cores_of_a_task(master, config.executor_cores))
        # Said even when there is none: a session inherits what the one before it in this process was told.
        options["spark.executor.resource.gpu.amount"] = options["spark.task.resource.gpu.amount"] = "01"[gpu]
        if master == "yarn":  # it would try for a quarter of an hour
            options["spark.hadoop.yarn.resourcemanager.connect.max-wait.ms"] = str(1000 * config.wait_seconds)
    else:
        options |= {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": str(2 * cores_of_a_task(master)),
        }
    return {**options, **config.properties}


def _patient(master: str) -> str:
    """Let local mode try a task again too: a Python process may be killed there as anywhere."""
    match = re.fullmatch(r"local(?:\[([0-9*]+)\])?", master)
    return f"local[{match[1] or 1},{LOCAL_ATTEMPTS}]" if match else master


def submitted() -> bool:
    """Return whether spark-submit started this process: then its master holds, and its Java is running already."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def master_of(config: SparkConfig) -> str:
    """Return the master that a session will have: that of spark-submit if it started this process, else the setting."""
    return _submitted_with("spark.master") or config.master


def _submitted_with(key: str) -> str | None:
    """Return what spark-submit was told, if it started this process."""
    if not submitted():
        return None
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()  # no public call joins spark-submit's Java earlier
    return SparkConf().get(key)


def is_cluster(master: str) -> bool:
    """Say whether tasks run in executors of their own, not in the driver's process."""
    return re.fullmatch(r"local(\[.*\])?", master) is None


def cores_of_a_task(master: str, executor_cores: int = 0) -> int:
    """Return how many cores a predict task should own: all that the machine, or one executor, has.

    Args:
        master: As `master_of` returns it.
        executor_cores: Of an executor, on a cluster; 0 takes what spark-submit was told, else 1.
    """
    match = re.fullmatch(r"local\[(\*|[0-9]+)(?:,.*)?\]", master)
    if match:
        return len(os.sched_getaffinity(0)) if match[1] == "*" else int(match[1])
    if not is_cluster(master):
        return 1
    small = re.fullmatch(r"local-cluster\[\s*\d+\s*,\s*(\d+)\s*,.*\]", master)
    return executor_cores or (int(small[1]) if small else int(_submitted_with("spark.executor.cores") or 1))


def check_java() -> None:
    """Raise RunFailed with the command that installs Java, unless version 17 or 21 would be started."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    remedy = "install one, on Debian or Ubuntu with `sudo apt-get install openjdk-17-jre-headless`"
    try:
        answer = subprocess.run([java or "java", "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError) as error:
        raise RunFailed(f"Spark needs Java 17 or 21 and none was found; {remedy}") from error
    version = re.search(r'version "(\d+)', answer)
    if not version or int(version[1]) not in JAVA_VERSIONS:
        found = version[1] if version else "an unknown version"
        raise RunFailed(f"Spark needs Java 17 or 21 and {java} is {found}; {remedy}, or point JAVA_HOME to it")
