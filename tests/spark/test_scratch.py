"""A Spark that is killed leaves nothing outside the home's scratch directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
with spark_session(SparkConfig("local[1]", "512m", Path(sys.argv[1])), name="killed") as session:
    session.range(10).repartition(3).count()
    print(session.sparkContext._jvm.java.lang.System.getProperty("java.io.tmpdir"), flush=True)
    sys.stdin.read()
"""


def test_a_killed_spark_left_files_in_tmp_in_spite_of_tmpdir(tmp_path: Path) -> None:
    home, temporary = tmp_path / "it's a home", tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, home],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    of_java = Path(process.stdout.readline().strip())
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert of_java.parent == home
    assert [path.name for path in of_java.iterdir() if path.name.startswith("blockmgr-")], "Spark was at work"
    assert list(temporary.iterdir()) == []
