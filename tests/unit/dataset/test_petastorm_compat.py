"""What Petastorm is given in place of names that pyarrow and NumPy have removed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import pins
from jobs.dataset import petastorm_compat
from jobs.dataset.petastorm_adapter import TimedFiles
from jobs.dataset.petastorm_compat import FileList, RowGroup, petastorm
from jobs.errors import RunFailed
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session


@pytest.fixture
def not_adapted() -> Iterator[None]:
    petastorm_compat._adapted.cache_clear()
    yield
    petastorm_compat._adapted.cache_clear()


@pytest.mark.usefixtures("not_adapted")
@pytest.mark.parametrize(
    ("package", "found", "sentence"),
    [
        ("petastorm", "0.14.0", r"expected Petastorm 0\.13\.1, found 0\.14\.0; install petastorm==0\.13\.1"),
        ("petastorm", None, r"expected Petastorm 0\.13\.1, found none; install petastorm==0\.13\.1"),
        (
            "pyarrow",
            "17.0.0",
            r"expected pyarrow 18 or newer, found 17\.0\.0; install the version that requirements\.txt",
        ),
        ("pyarrow", "9.0", r"expected pyarrow 18 or newer, found 9\.0; install the version that requirements\.txt"),
    ],
)
def test_another_version_is_one_sentence_with_both_versions_before_spark_or_a_reader_starts(
    package: str, found: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def version(name: str) -> str:
        if name == package and found is None:
            raise PackageNotFoundError(name)
        return found or "" if name == package else metadata.version(name)

    monkeypatch.setattr(pins, "version", version)
    with pytest.raises(RunFailed, match=sentence):
        petastorm()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "no-java"))  # which would be refused next
    with (
        pytest.raises(RunFailed, match=sentence),
        spark_session(SparkConfig("local[1]", "1g", tmp_path / "spark"), name="never"),
    ):
        pytest.fail("Spark was started")


@pytest.mark.usefixtures("not_adapted")
@pytest.mark.parametrize("found", ["18.0.0", "26.0.1", "100.0.0.dev3"])
def test_a_pyarrow_that_works_is_taken(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "version", lambda name: found if name == "pyarrow" else metadata.version(name))
    assert petastorm().make_batch_reader


def test_only_petastorm_sees_the_replacements() -> None:
    assert petastorm() is petastorm()
    assert sys.modules["petastorm.reader"].pq.ParquetDataset is FileList
    assert pq.ParquetDataset is not FileList
    assert not hasattr(np, "unicode_")


def test_nothing_of_what_was_removed_stays_in_the_process() -> None:
    program = (
        "import sys; from jobs.dataset.petastorm_compat import petastorm; petastorm()\n"
        "print([name for name in sys.modules if name in ('pyarrow.filesystem', 'pyarrow.hdfs', 'distutils.version')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_directory_or_a_filter_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="a list of files without filters"):
        FileList("some/directory", SimpleNamespace(open=None))
    with pytest.raises(NotImplementedError, match="a list of files without filters"):
        FileList(["a.parquet"], SimpleNamespace(open=None), filters=[("a", "=", 1)])


def test_a_row_group_is_read_with_the_footer_that_its_files_have_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), tmp_path / "f.parquet", row_group_size=2)
    files = TimedFiles(lambda seconds: None)
    path = str(tmp_path / "f.parquet")
    group = RowGroup(path, files.open, 1)
    assert group.get_metadata() is files.footer(path)
    assert group.read(["b"]).to_pydict() == {"b": ["z"]}
    assert RowGroup(path, files.open).read().num_rows == 3
