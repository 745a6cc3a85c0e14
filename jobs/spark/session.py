"""Start and stop Spark, on this machine or on a cluster.

First checks what would otherwise fail late or wait without end: versions, Java, the master and the executors.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import RunFailed
from jobs.pins import check_pins
from jobs.spark.class_archive import archive_options
from jobs.spark.config import SparkConfig
from jobs.spark.faults import check_reachable, lost_application_explained, spark_errors_explained
from jobs.spark.scratch import directory_options, move_temporary_files, process_directory, temporary_files_in

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

LOG_CONFIG = Path(__file__).with_name("log4j2.properties")
JAVA_VERSIONS = (17, 21)
QUICK_START = "-XX:TieredStopAtLevel=1"
"""Option of Java on one machine: its slower, more thorough compiler takes the cores from the first minute's work."""
LOCAL_ATTEMPTS = 3
GATHERING_SECONDS = 1.0
MOST_GATHERING_SECONDS = 10.0


@contextmanager
def spark_session(
    config: SparkConfig, *, name: str, task_cpus: int | None = None, gpu: bool = False
) -> Iterator[SparkSession]:
    """Start Spark for one step and stop it afterwards.

    Args:
        config: Master, memory and scratch directory.
        name: Name of the application in Spark's UI.
        task_cpus: Cores of each task; None is 1. A predict task takes all cores of an executor, because its networks
            and decoders use them. This is a property of the whole application, so each step of a night starts its own
            Spark application.
        gpu: Whether each executor, and so each of its tasks, needs one GPU.

    Yields:
        The session. On a cluster the executors have each run a first task successfully.

    Raises:
        RunFailed: If the installed packages do not work together, if Java is missing or has a version that Spark 4 does
            not support, if the master cannot be reached, if no executor starts, if one lacks something or differs from
            the driver, or if Spark fails later. The message names the remedy.
    """
    check_pins()
    java = check_java()
    master = master_of(config)
    cluster = is_cluster(master)
    if cluster and _submitted_property("spark.kubernetes.submitInDriver") != "true":
        check_reachable(
            master
        )  # inside a pod, Kubernetes has another address than for the machine that submitted the job
    directory = process_directory(config.scratch_dir)
    archive = directory / f"code-{uuid.uuid4().hex[:12]}.zip"
    options = _options(config, master, task_cpus or 1, java, gpu=gpu and cluster) | directory_options(directory)
    with spark_errors_explained():
        if submitted():
            move_temporary_files(directory)
        with temporary_files_in(directory):
            session = _start(master, name, {**options, **config.properties})
        try:
            with lost_application_explained(_is_lost):
                if cluster:
                    from jobs.spark.executors import check_executors, first_task, ship_code

                    ship_code(session, archive)
                    first_task(session, config, gpu=gpu)
                    _wait_for_executors(session)
                    check_executors(session, config)
                    _set_shuffle_partitions(session, config)
                yield session
        finally:
            _stop(session, {**options, **config.properties})
            archive.unlink(missing_ok=True)


def _set_shuffle_partitions(session: SparkSession, config: SparkConfig) -> None:
    """Set the number of shuffle partitions to twice the cores of the cluster; Spark's default is always 200.

    The cores are known only after the executors have started, so this runs after `_wait_for_executors`.
    """
    key = "spark.sql.shuffle.partitions"
    if key not in config.properties:
        session.conf.set(key, str(2 * session.sparkContext.defaultParallelism))


def _wait_for_executors(session: SparkSession) -> None:
    """Wait until no further executor has registered for `GATHERING_SECONDS`: executors start at different times."""
    cores, since = 0, time.monotonic()
    started = since
    while time.monotonic() - since < GATHERING_SECONDS and time.monotonic() - started < MOST_GATHERING_SECONDS:
        registered = session.sparkContext.defaultParallelism
        if registered != cores:
            cores, since = registered, time.monotonic()
        time.sleep(0.1)


def tasks_at_once(session: SparkSession) -> int:
    """Return how many tasks a session runs at a time, including on executors that dynamic allocation may add."""
    cores = session.sparkContext.defaultParallelism
    if session.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        most = session.conf.get("spark.dynamicAllocation.maxExecutors", "0")
        cores = max(cores, int(most or 0) * int(session.conf.get("spark.executor.cores", "1") or 1))
    return cores // int(session.conf.get("spark.task.cpus", "1") or 1)


def _stop(session: SparkSession | SparkContext | None, options: Iterable[str]) -> None:
    """Stop a session, and remove its options from the JVM, which would give them to the next session.

    Errors are ignored if the JVM has died, because the cause of its death is the better error.

    Args:
        session: The session, or its context if the session was not made; None if there is neither.
        options: Names of its options. The session that started the JVM left them there as system properties; those of
            spark-submit stay.
    """
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    with suppress(Py4JError):
        if session is not None:
            with _collecting_ends_later(session if isinstance(session, SparkContext) else session.sparkContext):
                session.stop()
        jvm = SparkContext._jvm
        for name in () if submitted() or jvm is None else options:
            jvm.java.lang.System.clearProperty(name)  # type: ignore[union-attr]


@contextmanager
def _collecting_ends_later(context: SparkContext) -> Iterator[None]:
    """Let a context stop without its server for accumulators, which then ends in the background.

    The server looks once a second whether it shall end, and `SparkContext.stop` would wait for that.
    """
    server = getattr(context, "_accumulatorServer", None)
    context._accumulatorServer = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if server is not None:
            threading.Thread(target=server.shutdown, name="accumulators-end", daemon=True).start()


def _start(master: str, name: str, options: dict[str, str]) -> SparkSession:
    """Start a session; if that fails, nothing of it is left for the next one."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    if not is_cluster(master):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    if not submitted():
        builder = builder.master(_with_retries(master))
    for key, value in options.items():
        builder = builder.config(key, value)
    try:
        with lost_application_explained(_is_lost):
            return builder.getOrCreate()
    except (Py4JError, PySparkException, RunFailed):
        _stop(SparkContext._active_spark_context, options)  # the next session would take it for its own
        raise


def _is_lost() -> bool:
    """Return whether the cluster has given the application up, so that Spark itself has stopped its context."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    with suppress(Py4JError):
        return context is not None and is_cluster(str(context.master)) and bool(context._jsc.sc().isStopped())
    return False


def _options(config: SparkConfig, master: str, task_cpus: int, java: str, *, gpu: bool) -> dict[str, str]:
    java_options = [f"-Dlog4j2.configurationFile={LOG_CONFIG.as_uri()}"]
    if not is_cluster(master):
        java_options.append(QUICK_START)
    if not _java_runs():
        java_options += archive_options(config.java_dir, java, config.properties)
    options = {
        "spark.driver.memory": config.driver_memory,
        "spark.driver.extraJavaOptions": " ".join(java_options),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
        "spark.task.cpus": str(task_cpus),
        # When a Python process crashes in a library, the message of the task's failure has its traceback.
        "spark.python.worker.faulthandler.enabled": "true",
        "spark.ui.showConsoleProgress": "false",
        # Spark starts Python workers with -m: without this, Python would import from the working directory first.
        "spark.executorEnv.PYTHONSAFEPATH": "1",
    }
    if is_cluster(master):
        options["spark.executor.cores"] = str(cores_of_a_task(master, config.executor_cores))
        # Set even without a GPU, because a session inherits the options of the previous session in this process.
        options["spark.executor.resource.gpu.amount"] = options["spark.task.resource.gpu.amount"] = "01"[gpu]
        if master == "yarn":  # Spark's default is 15 minutes
            options["spark.hadoop.yarn.resourcemanager.connect.max-wait.ms"] = str(1000 * config.wait_seconds)
    else:
        options |= {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": str(2 * cores_of_a_task(master)),
        }
    return options


def _with_retries(master: str) -> str:
    """Return a local master with retries of failed tasks; its Python processes may be killed as on a cluster."""
    match = re.fullmatch(r"local(?:\[([0-9*]+)\])?", master)
    return f"local[{match[1] or 1},{LOCAL_ATTEMPTS}]" if match else master


def submitted() -> bool:
    """Return whether spark-submit started this process; its master is used then, and its JVM is running already."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def master_of(config: SparkConfig) -> str:
    """Return the master of a session: the one of spark-submit if it started this process, else the configured one."""
    return _submitted_property("spark.master") or config.master


def _java_runs() -> bool:
    """Return whether a session uses a Java that was started before: by spark-submit or by an earlier session."""
    from pyspark import SparkContext

    return submitted() or SparkContext._gateway is not None


def _submitted_property(key: str) -> str | None:
    """Return a Spark property that spark-submit was given; None if it was not, or did not start this process."""
    if not submitted():
        return None
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()  # connects to spark-submit's JVM, for which there is no public function
    return SparkConf().get(key)


def is_cluster(master: str) -> bool:
    """Return whether a session's tasks run in separate executor processes, not in the driver's process."""
    return re.fullmatch(r"local(\[.*\])?", master) is None


def cores_of_a_task(master: str, executor_cores: int = 0) -> int:
    """Return the number of cores for a predict task in a session: all cores of the machine, or of one executor.

    Args:
        master: Master URL, as `master_of` returns it.
        executor_cores: Cores of each executor on a cluster; 0 uses the value given to spark-submit, or else 1.
    """
    match = re.fullmatch(r"local\[(\*|[0-9]+)(?:,.*)?\]", master)
    if match:
        from models.serving.environment import usable_cores

        return usable_cores() if match[1] == "*" else int(match[1])
    if not is_cluster(master):
        return 1
    small = re.fullmatch(r"local-cluster\[\s*\d+\s*,\s*(\d+)\s*,.*\]", master)
    return executor_cores or (int(small[1]) if small else int(_submitted_property("spark.executor.cores") or 1))


def check_java() -> str:
    """Return what the Java that Spark would start says of its version.

    Raises:
        RunFailed: There is no Java 17 or 21; the message has the command that installs one.
    """
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    remedy = "install one, on Debian or Ubuntu with `sudo apt-get install openjdk-17-jre-headless`"
    try:
        output = subprocess.run([java or "java", "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError) as error:
        raise RunFailed(f"Spark needs Java 17 or 21 and none was found; {remedy}") from error
    version = re.search(r'version "(\d+)', output)
    if not version or int(version[1]) not in JAVA_VERSIONS:
        actual = version[1] if version else "an unknown version"
        raise RunFailed(f"Spark needs Java 17 or 21 and {java} is {actual}; {remedy}, or point JAVA_HOME to it")
    return output
