"""Which options Java gets for the archive of Spark's classes, by what lies in its directory."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.spark.class_archive import archive_options
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
from tests.unit.fake_spark import FakeSpark

JAVA = 'openjdk version "17.0.15"\nOpenJDK 64-Bit Server VM (build 17.0.15+6, mixed mode, sharing)'
WHOLE = b"\xa8\xba\x0b\xf0, what Java writes first of all last"
HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture(autouse=True)
def _spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a Spark of one file, and no settings of it."""
    (tmp_path / "spark" / "jars").mkdir(parents=True)
    (tmp_path / "spark" / "jars" / "spark-core.jar").write_bytes(b"core")
    monkeypatch.setenv("SPARK_HOME", str(tmp_path / "spark"))
    for name in ("SPARK_CONF_DIR", "HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH", "SPARK_CLASSPATH"):
        monkeypatch.delenv(name, raising=False)


def options(directory: Path, java: str = JAVA) -> list[str]:
    """Return the options of a session without properties."""
    return shlex.split(" ".join(archive_options(directory, java, {})))


def made(directory: Path, java: str = JAVA) -> Path:
    """Return the file that a first session lets its Java write."""
    [option] = [option for option in options(directory, java) if option.startswith("-XX:ArchiveClassesAtExit=")]
    return Path(option.partition("=")[2])


def used(directory: Path, java: str = JAVA) -> Path | None:
    """Return the archive that a session uses."""
    found = [option for option in options(directory, java) if option.startswith("-XX:SharedArchiveFile=")]
    return Path(found[0].partition("=")[2]) if found else None


def aged(path: Path, seconds: float) -> None:
    """Set the time of a file's last change."""
    os.utime(path, times=(time.time() - seconds,) * 2)


def test_the_first_java_makes_the_archive_and_the_next_uses_it(tmp_path: Path) -> None:
    directory = tmp_path / "home of a shop" / "java"
    archive = made(directory)
    assert archive.parent == directory
    assert directory.stat().st_mode & 0o777 == 0o700
    archive.write_bytes(WHOLE)
    found = used(directory)
    assert found is not None
    assert found.read_bytes() == WHOLE
    assert options(directory)[:2] == ["-Xlog:cds*=off", "-XX:+VerifySharedSpaces"]
    assert list(directory.iterdir()) == [found]


def test_one_command_at_a_time_makes_it(tmp_path: Path) -> None:
    archive = made(tmp_path / "java")
    assert options(tmp_path / "java") == []
    archive.write_bytes(bytes(4) + b"regions of classes, while their beginning is not written yet")
    assert options(tmp_path / "java") == []


def test_a_java_that_was_killed_leaves_the_work_to_another(tmp_path: Path) -> None:
    archive = made(tmp_path / "java")
    archive.write_bytes(bytes(4) + b"regions")
    aged(archive, HOUR)
    assert made(tmp_path / "java") != archive
    assert not archive.exists()


def test_an_archive_that_was_cut_short_killed_every_java(tmp_path: Path) -> None:
    made(tmp_path / "java").write_bytes(WHOLE)
    archive = used(tmp_path / "java")
    assert archive is not None
    archive.write_bytes(WHOLE[:8])
    assert made(tmp_path / "java").exists()
    assert not archive.exists()


def test_two_that_were_made_at_once_become_one(tmp_path: Path) -> None:
    archive = made(tmp_path / "java")
    archive.write_bytes(WHOLE)
    archive.with_name(archive.name.replace(".unfinished", "0.unfinished")).write_bytes(WHOLE + b" and more")
    assert used(tmp_path / "java") is not None
    assert len(list((tmp_path / "java").iterdir())) == 1


def test_another_java_and_another_spark_make_their_own(tmp_path: Path) -> None:
    made(tmp_path / "java").write_bytes(WHOLE)
    assert used(tmp_path / "java")
    assert made(tmp_path / "java", JAVA.replace("17.0.15", "21.0.2"))
    (tmp_path / "spark" / "jars" / "spark-core.jar").write_bytes(b"newer core")
    assert made(tmp_path / "java")


def test_an_archive_is_made_anew_after_a_month(tmp_path: Path) -> None:
    """Java passes one with a wrong checksum over, and says nothing; the size alone would keep it for ever."""
    made(tmp_path / "java").write_bytes(WHOLE)
    archive = used(tmp_path / "java")
    assert archive is not None
    aged(archive, 29 * DAY)
    assert used(tmp_path / "java") == archive
    aged(archive, 31 * DAY)
    assert made(tmp_path / "java")
    assert not archive.exists()


def test_old_archives_of_other_installations_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    """The directory may hold other things of Spark: an old download of it was deleted, and a directory ended it all."""
    made(tmp_path / "java").write_bytes(WHOLE)
    archive = used(tmp_path / "java")
    assert archive is not None
    others = [
        tmp_path / "java" / name for name in ("spark-4.0.0-bin-hadoop3.tgz", "spark-1.jsa", f"{archive.name}.mine")
    ]
    logs, link = tmp_path / "java" / "spark-logs", archive.with_name("spark-0123456789abcdef-1.jsa")
    for other in others:
        other.touch()
    logs.mkdir()
    link.symlink_to(others[0])
    for path in (archive, *others, logs):
        aged(path, 31 * DAY)
    os.utime(link, times=(0, 0), follow_symlinks=False)
    (tmp_path / "spark" / "jars" / "spark-core.jar").write_bytes(b"newer core")
    assert made(tmp_path / "java")
    assert not archive.exists()
    assert all(path.exists() for path in (*others, logs, link))


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_code_of_another_user_is_not_run(tmp_path: Path, mode: int) -> None:
    made(tmp_path / "java").write_bytes(WHOLE)
    (tmp_path / "java").chmod(mode)
    assert options(tmp_path / "java") == []


def test_a_directory_that_cannot_be_made_costs_the_archive_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert options(tmp_path / "file" / "java") == []
    assert options(tmp_path / "file") == []


def test_java_takes_a_colon_for_the_end_of_a_path(tmp_path: Path) -> None:
    assert options(tmp_path / "a:b") == []


def test_a_java_without_an_archive_of_its_own_classes_makes_none(tmp_path: Path) -> None:
    assert options(tmp_path / "java", JAVA.replace(", sharing", "")) == []


@pytest.mark.parametrize("name", ["SPARK_CONF_DIR", "HADOOP_CONF_DIR", "SPARK_DIST_CLASSPATH"])
def test_java_archives_nothing_behind_other_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(tmp_path))
    assert options(tmp_path / "java") == []


def test_nor_behind_other_files_or_settings_of_spark(tmp_path: Path) -> None:
    assert archive_options(tmp_path / "java", JAVA, {"spark.driver.extraClassPath": "driver.jar"}) == []
    (tmp_path / "spark" / "conf").mkdir()
    assert options(tmp_path / "java"), "an empty directory does no harm"
    (tmp_path / "spark" / "conf" / "spark-defaults.conf").touch()
    assert options(tmp_path / "java") == []


@pytest.mark.parametrize("master", ["local[1]", "local-cluster[3,4,1024]"])
def test_the_java_of_a_session_gets_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_spark: Callable[..., FakeSpark], master: str
) -> None:
    spark = fake_spark()
    monkeypatch.setattr("jobs.spark.session.check_java", lambda: JAVA)
    monkeypatch.setattr("pyspark.SparkContext._gateway", None)
    with spark_session(SparkConfig(master, "1g", tmp_path / "scratch", java_dir=tmp_path / "java"), name="test"):
        pass
    assert "-XX:ArchiveClassesAtExit=" in spark.properties["spark.driver.extraJavaOptions"]
    assert len(list((tmp_path / "java").iterdir())) == 1


def test_the_java_of_an_earlier_session_runs_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_spark: Callable[..., FakeSpark]
) -> None:
    """The second step of a night took the file for its own that the night's Java was to write."""
    spark = fake_spark()
    monkeypatch.setattr("jobs.spark.session.check_java", lambda: JAVA)
    monkeypatch.setattr("pyspark.SparkContext._gateway", object())
    with spark_session(SparkConfig("local[1]", "1g", tmp_path / "scratch", java_dir=tmp_path / "java"), name="test"):
        pass
    assert "Archive" not in spark.properties["spark.driver.extraJavaOptions"]
    assert not (tmp_path / "java").exists()


def test_the_java_of_spark_submit_runs_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_spark: Callable[..., FakeSpark]
) -> None:
    spark = fake_spark()
    monkeypatch.setattr("jobs.spark.session.check_java", lambda: JAVA)
    monkeypatch.setattr("jobs.spark.session.submitted", lambda: True)
    monkeypatch.setattr("jobs.spark.session.move_temporary_files", lambda directory: None)
    monkeypatch.setattr("jobs.spark.session._submitted_property", lambda key: "local[1]")
    with spark_session(SparkConfig("local[1]", "1g", tmp_path / "scratch", java_dir=tmp_path / "java"), name="test"):
        pass
    assert "Archive" not in spark.properties["spark.driver.extraJavaOptions"]
    assert not (tmp_path / "java").exists()
