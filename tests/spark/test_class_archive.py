"""The first Java of a home archives Spark's classes, and the next ones load them from there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.class_archives import written_archive

PROGRAM = """
import sys
from pathlib import Path
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
home = Path(sys.argv[1])
with spark_session(SparkConfig("local[1]", "512m", home / "scratch", java_dir=home / "java"), name="test") as session:
    print(session.range(10).repartition(3).count())
"""
FROM_THE_ARCHIVE = "shared objects file (top)"


def spark(home: Path, log: Path) -> int:
    """Run a session in a process of its own; return how many classes its Java took from the archive."""
    options = f"{os.environ['SPARK_SUBMIT_OPTS']} -Xlog:class+load:file={log}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, home],
        env={**os.environ, "SPARK_SUBMIT_OPTS": options},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr
    assert "cds" not in done.stderr
    return log.read_text().count(FROM_THE_ARCHIVE)


def test_the_next_java_takes_the_classes_of_spark_from_the_archive(tmp_path: Path) -> None:
    home = tmp_path / "it's a home"
    assert spark(home, tmp_path / "first.log") == 0
    written_archive(home / "java")
    assert spark(home, tmp_path / "second.log") > 5000
    [archive] = (home / "java").iterdir()
    whole = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(whole[: len(whole) // 2] + bytes(1 << 20) + whole[len(whole) // 2 + (1 << 20) :])
    assert spark(home, tmp_path / "damaged.log") == 0, "a damaged one is not used"
