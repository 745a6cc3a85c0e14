"""Starting and stopping Spark, with Java checked first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.config import RunFailed, SparkConfig

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG_CONFIG = Path(__file__).with_name("log4j2.properties")
JAVA_VERSIONS = (17, 21)


@contextmanager
def spark_session(config: SparkConfig, *, name: str, task_cpus: int | None = None) -> Iterator[SparkSession]:
    """Start Spark for one step and stop it afterwards.

    Args:
        config: Master, memory and scratch place.
        name: Shown in Spark's UI.
        task_cpus: Cores that one task owns; None is one. Predict owns all of an executor's, because its networks and
            decoders use them; that is a property of the application, so the steps of a night have one each.

    Yields:
        The session.

    Raises:
        RunFailed: If Java is missing or of a version that Spark 4 does not run on; says how to install it.
    """
    check_java()
    from pyspark.sql import SparkSession

    local = master_of(config).startswith("local")
    if local:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    config.scratch_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "spark.driver.memory": config.driver_memory,
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOG_CONFIG.as_uri()}",
        "spark.local.dir": str(config.scratch_dir),
        "spark.sql.warehouse.dir": str(config.scratch_dir / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
        "spark.task.cpus": str(task_cpus or 1),
        "spark.ui.showConsoleProgress": "false",
    }
    if local:
        options |= {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": str(2 * cores_of_a_task(master_of(config))),
        }
    builder = SparkSession.builder.appName(name)
    if not submitted():
        builder = builder.master(config.master)
    for key, value in options.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


def submitted() -> bool:
    """Return whether spark-submit started this process: then its master holds, and its Java is running already."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def master_of(config: SparkConfig) -> str:
    """Return the master that a session will have: that of spark-submit if it started this process, else the setting."""
    if not submitted():
        return config.master
    from pyspark import SparkConf, SparkContext

    SparkContext._ensure_initialized()  # no public call joins spark-submit's Java earlier
    return str(SparkConf().get("spark.master", config.master))


def is_cluster(master: str) -> bool:
    """Say whether tasks run in executors of their own, not in the driver's process."""
    return re.fullmatch(r"local(\[.*\])?", master) is None


def cores_of_a_task(master: str) -> int:
    """Return how many cores a predict task should own: in local mode all that the master has, else one.

    A cluster's executors say how many they have with `spark.executor.cores`; there, `spark.task.cpus` is set at submit.
    """
    match = re.fullmatch(r"local\[(\*|[0-9]+)(?:,.*)?\]", master)
    if not match:
        return 1
    return len(os.sched_getaffinity(0)) if match[1] == "*" else int(match[1])


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
