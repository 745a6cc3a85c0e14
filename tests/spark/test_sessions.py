"""One process starts several Spark sessions, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SESSIONS = """
import sys
from pathlib import Path
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session

for master, properties in (("local[3]", {"spark.executor.cores": "1", "spark.odd": "1"}), ("local[2]", {})):
    config = SparkConfig(master, "512m", Path(sys.argv[1]), properties=properties)
    with spark_session(config, name="test", task_cpus=1 if properties else 2) as session:
        assert session.conf.get("spark.odd", None) == properties.get("spark.odd")
        assert session.conf.get("spark.sql.shuffle.partitions") == str(2 * int(master[6])), "of its own master"
        assert session.range(2).count() == 2
"""


def test_a_session_leaves_no_property_to_the_next_one(tmp_path: Path) -> None:
    """The first session starts the JVM with its properties; one core an executor would forbid tasks of two."""
    done = subprocess.run([sys.executable, "-c", SESSIONS, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
