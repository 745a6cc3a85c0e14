"""Run a standalone Spark cluster of real processes on the loopback interface: one master and some workers."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyspark

from tests.class_archives import archive_option
from tests.ports import free_port

SPARK_HOME = Path(pyspark.__file__).parent
ROOT = Path(__file__).parents[1]
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"
"""Options for short runs: compiling and garbage collection take half of the CPU time of a Java that runs a minute."""
QUICK_SPARK = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Properties for small tables: they are ready before Spark has made Java code of a plan, or has planned it anew."""
USUAL_SPARK = {
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.codegen.wholeStage": "true",
    "spark.sql.codegen.factoryMode": "FALLBACK",
}
"""Spark's own values of these properties, for the tests that run as a user's night does."""
FEW_PARTITIONS = {"spark.sql.shuffle.partitions": "2"}
"""Property of sessions that tests share: two partitions of a small table are planned and run in two thirds of the time
of four, and still rows of one product can lie in two."""
QUICK_SUBMIT = " ".join((QUICK_JAVA, *(f"-D{name}={value}" for name, value in QUICK_SPARK.items())))
"""`SPARK_SUBMIT_OPTS` of a driver with both."""
_START_SECONDS = 90


@dataclass(frozen=True)
class Worker:
    """A worker to start: its cores, the GPU addresses that its discovery script prints, and its own PYTHONPATH."""

    cores: int
    gpus: Sequence[str] = ()
    python_path: Path | None = None


@dataclass(frozen=True)
class Standalone:
    """A running cluster.

    Attributes:
        url: URL of the master, `spark://127.0.0.1:PORT`.
        directory: Work directory of the executors, with one directory per worker.
        workers: Processes of the workers.
    """

    url: str
    directory: Path
    workers: tuple[psutil.Process, ...]

    def executors(self) -> list[psutil.Process]:
        """Return the running Java processes of the executors."""
        below = [child for worker in self.workers for child in worker.children()]
        return [child for child in below if "CoarseGrainedExecutorBackend" in " ".join(command_of(child))]

    def python_workers(self) -> list[psutil.Process]:
        """Return the running Python processes of tasks: children of each executor's daemon."""
        daemons = [child for executor in self.executors() for child in children_of(executor)]
        return [worker for daemon in daemons for worker in children_of(daemon)]


def command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process; empty if it has ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the child processes; empty if the process has ended."""
    try:
        return list(process.children())
    except psutil.Error:
        return []


@contextmanager
def standalone(directory: Path, workers: Sequence[Worker], *, python_path: Path = ROOT) -> Iterator[Standalone]:
    """Start a cluster, and stop it with all its child processes when the block ends.

    Args:
        directory: Directory for logs and for the work directories of executors.
        workers: Workers to start.
        python_path: First directory of PYTHONPATH of executors whose worker has none; by default this clone.
    """
    port, web = free_port(), free_port()
    url = f"spark://127.0.0.1:{port}"
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_start(directory, "master", "master.Master", ["--port", port, "--webui-port", web]))
        _wait(web, alive=0)
        for number, worker in enumerate(workers):
            place = directory / f"worker-{number}"
            place.mkdir(parents=True)
            # An address each: Spark speculates on another host only, and would take two on one address for one.
            host = f"127.0.0.{number + 1}"
            options = ["-c", worker.cores, "-m", "3g", "-d", place, "--webui-port", free_port(), url]
            if worker.gpus:
                options = ["--properties-file", _discovery(place, worker.gpus), *options]
            path = worker.python_path or python_path
            started.append(_start(directory, f"worker-{number}", "worker.Worker", options, host=host, python_path=path))
        _wait(web, alive=len(workers))
        yield Standalone(url, directory, tuple(psutil.Process(process.pid) for process in started[1:]))
    finally:
        everything = [child for process in started for child in _below(process)]
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        for child in psutil.wait_procs(everything, timeout=5)[1]:
            child.kill()


def _below(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.Error:
        return []


def _start(
    directory: Path,
    name: str,
    what: str,
    options: Sequence[object],
    *,
    host: str = "127.0.0.1",
    python_path: Path = ROOT,
) -> subprocess.Popen[bytes]:
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_LOCAL_IP": host,
        "SPARK_DAEMON_MEMORY": "256m",
        "JAVA_TOOL_OPTIONS": f"{QUICK_JAVA} {archive_option()}",  # for executors too
        "PYTHONPATH": str(python_path),
    }
    command = [str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{what}", "--host", host]
    with (directory / f"{name}.log").open("wb") as log:
        arguments = [*command, *map(str, options)]
        return subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=directory)


def _discovery(place: Path, addresses: Sequence[str]) -> Path:
    """Write a discovery script that prints these GPU addresses, and the worker configuration that names it."""
    script = place / "find_gpus.sh"
    script.write_text(f"#!/bin/sh\necho '{json.dumps({'name': 'gpu', 'addresses': list(addresses)})}'\n")
    script.chmod(0o755)
    properties = place / "worker.conf"
    properties.write_text(
        f"spark.worker.resource.gpu.amount {len(addresses)}\nspark.worker.resource.gpu.discoveryScript {script}\n"
    )
    return properties


def _wait(web: int, *, alive: int) -> None:
    """Wait until the master answers and has this number of workers."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{web}/json/", timeout=5) as answer:
                if json.load(answer)["aliveworkers"] >= alive:
                    return
        except (OSError, ValueError, KeyError):
            pass  # nothing listens yet, or the page is not there yet
        assert time.monotonic() < deadline, "the cluster did not start; its logs say why"
        time.sleep(0.3)
