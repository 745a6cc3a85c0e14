"""What a killed Spark leaves is removed by the next process, and what a living one uses is not."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from jobs.spark.config import SparkConfig
from jobs.spark.scratch import directory_options, process_directory, temporary_files_in
from jobs.spark.session import spark_session
from tests.unit.fake_spark import FakeSpark

PROGRAM = """
import sys
from pathlib import Path
from jobs.spark.scratch import process_directory
directory = process_directory(Path(sys.argv[1]))
(directory / "blockmgr-1").mkdir()
print(directory, flush=True)
sys.stdin.read()
"""


def other_process(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that has a directory; return it and the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_a_killed_night_left_its_shuffle_files_for_ever(tmp_path: Path) -> None:
    process, directory = other_process(tmp_path)
    ours = process_directory(tmp_path)
    assert ours != directory
    assert (directory / "blockmgr-1").is_dir(), "another run works in the same home"

    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (directory / "blockmgr-1").is_dir(), "what a killed process leaves"
    process, following = other_process(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([ours, following])

    process.communicate("")
    assert list(tmp_path.iterdir()) == [ours], "a process that ends removes its own"


def test_a_process_has_one_directory_for_all_its_sessions(tmp_path: Path) -> None:
    assert process_directory(tmp_path) == process_directory(tmp_path)


def test_spark_and_its_java_write_into_the_directory_of_the_process(
    fake_spark: Callable[..., FakeSpark], tmp_path: Path
) -> None:
    spark = fake_spark()
    with spark_session(SparkConfig("local-cluster[3,4,1024]", "1g", tmp_path), name="test"):
        [code] = list(tmp_path.glob("*/code-*.zip"))
    directory = process_directory(tmp_path)
    assert code.parent == directory
    assert spark.properties["spark.local.dir"] == str(directory)
    assert shlex.split(spark.properties["spark.driver.defaultJavaOptions"]) == [f"-Djava.io.tmpdir={directory}"]


def test_a_property_that_someone_chose_stays(fake_spark: Callable[..., FakeSpark], tmp_path: Path) -> None:
    spark = fake_spark()
    with spark_session(
        SparkConfig("local-cluster[3,4,1024]", "1g", tmp_path, properties={"spark.local.dir": "/fast"}), name="test"
    ):
        pass
    assert spark.properties["spark.local.dir"] == "/fast"


def test_a_directory_with_blanks_and_quotes_is_one_option_of_java() -> None:
    directory = Path('/data/it\'s a "home"')
    assert shlex.split(directory_options(directory)["spark.driver.defaultJavaOptions"]) == [
        f"-Djava.io.tmpdir={directory}"
    ]


def test_python_waits_for_java_with_a_file_in_the_directory(tmp_path: Path) -> None:
    before = tempfile.gettempdir()
    with temporary_files_in(tmp_path):
        assert Path(tempfile.mkdtemp()).parent == tmp_path
    assert tempfile.gettempdir() == before
