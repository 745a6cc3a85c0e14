"""What outlives a process, and what must not: the name of a run's release, scratch files, and what a disk refuses."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from jobs.cli import main as cli
from jobs.cli import resume as calls
from jobs.cli.options import context_of
from jobs.cli.runs import nightly as nightly_command
from jobs.predict import job as predict
from jobs.predict.config import PredictConfig
from jobs.predict.reports import PredictSummary
from jobs.releases import inspection
from jobs.releases.lookup import find_release, lasting_name
from jobs.runs import night as nightly
from jobs.runs.config import RunConfig
from jobs.runs.inputs import RunInputs
from jobs.settings import Settings
from jobs.spark.config import SparkConfig
from jobs.spark.session import spark_session
from jobs.storage.file_uris import path_of_file_uri
from models.release import MANIFEST, SHIPPED
from tests.unit.fake_spark import FakeSpark
from tests.unit.predict.test_predict_loop import DAY

ROOT = Path(__file__).parents[3]
OPTIONS = {"release": None, "batch_size": None}


def settings(tmp_path: Path, home: Path | UPath, **more: Any) -> Settings:
    return Settings(home=home, local_dir=tmp_path / "local", **more)


def stored(release: Path, target: UPath) -> str:
    """Put a release in a store and return its URI."""
    target.mkdir(parents=True, exist_ok=True)
    for path in release.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return str(target)


def pinned(found: Settings, release: str | None) -> str:
    """Return the release that a night of these settings would go on with."""
    context = context_of(found, {**OPTIONS, "release": release})
    given = ["--catalog", "products", "--run-date", str(DAY)]
    with nightly_command.make_context("nightly", given):
        call = calls.resumable(RunConfig("r", "nightly", DAY), context).call
    return call[call.index("--release") + 1]


def test_a_run_goes_on_with_its_release_where_no_copy_of_it_is(tiny_release: Path, tmp_path: Path, home: Path) -> None:
    bucket = UPath(f"memory://{tmp_path.name}")
    uri = stored(tiny_release, bucket / "elsewhere" / "tiny-9")
    by_setting = settings(tmp_path, tmp_path / "home", release_dir=UPath(uri))
    assert pinned(by_setting, None) == uri
    own = stored(tiny_release, bucket / "home" / "releases" / tiny_release.name)
    in_store = settings(tmp_path, bucket / "home")
    assert pinned(in_store, tiny_release.name) == own
    assert inspection.details(in_store, tiny_release.name)["release"] == own
    made_here = in_store.places.local_home / "releases" / tiny_release.name
    made_here.parent.mkdir(parents=True)
    made_here.symlink_to(tiny_release)
    assert pinned(in_store, tiny_release.name) == own
    assert pinned(in_store, str(tiny_release)) == str(tiny_release), "what was named by its path is there"
    copy = in_store.places.local_home / "release-copies" / "0" / "a"
    assert lasting_name(in_store, "s3://shop/releases/a", copy) == "s3://shop/releases/a"


def test_the_shipped_release_is_found_by_its_name(tmp_path: Path, home: Path) -> None:
    assert (SHIPPED / MANIFEST).is_file()
    assert lasting_name(Settings(), None, SHIPPED) == SHIPPED.name
    assert find_release(Settings(), SHIPPED.name) == SHIPPED


def refused(command: click.Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line that is this command, and return its sentence."""
    monkeypatch.setattr(cli, "main_group", command)
    monkeypatch.setattr("sys.argv", ["shelfwise"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    [sentence] = capsys.readouterr().err.splitlines()
    return sentence


def test_a_full_disk_of_the_driver_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full.parquet").symlink_to("/dev/full")
    table = pa.table({"product_id": ["p"]})

    @click.command()
    def writing() -> None:
        with pq.ParquetWriter(tmp_path / "full.parquet", table.schema) as writer:  # its error names no file
            writer.write_table(table)

    sentence = refused(writing, monkeypatch, capsys)
    assert "TMPDIR cannot be written or read (No space left on device); free some space on its disk; what" in sentence


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, r"(Permission denied); give this user the right to it, or name another place; what was"),
        (errno.EROFS, r"(Read-only file system); its disk takes no writing, so name another place; what was"),
        (errno.EDQUOT, r"(Disk quota exceeded); free some space, or have the quota raised; what was"),
    ],
)
def test_what_a_disk_refuses_names_file_and_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, words: str
) -> None:
    @click.command()
    def refusing() -> None:
        raise OSError(number, os.strerror(number), "/srv/scratch/spark")

    sentence = refused(refusing, monkeypatch, capsys)
    assert sentence.startswith(f"shelfwise: /srv/scratch/spark cannot be written or read {words}")


def test_other_faults_keep_their_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def wrong() -> None:
        raise OSError(errno.EBADF, "ours")

    monkeypatch.setattr(cli, "main_group", wrong)
    monkeypatch.setattr("sys.argv", ["shelfwise"])
    with pytest.raises(OSError, match="ours"):
        cli.main()


def test_the_code_that_was_sent_is_gone_with_its_session(tmp_path: Path, fake_spark: Callable[..., FakeSpark]) -> None:
    scratch = tmp_path / "home #1"
    scratch.mkdir()
    spark = fake_spark()
    with spark_session(SparkConfig("local-cluster[1,1,1024]", "1g", scratch), name="test"):
        [sent] = spark.code
        assert sent.startswith("file:///")
        assert "#" not in sent, "Spark would take what follows for another name of the file"
        assert zipfile.is_zipfile(path_of_file_uri(sent))
    assert not list(scratch.rglob("*.zip")), "the directory stays until the process ends"


def test_the_code_that_a_killed_process_unpacked_is_removed_by_the_next(tmp_path: Path) -> None:
    wheel, unpacked = tmp_path / "code.whl", tmp_path / "tmp"
    unpacked.mkdir()
    main = "import os, sys\ndef main():\n    print(__file__)\n    len(sys.argv) > 1 and os.kill(os.getpid(), 9)\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("jobs/__init__.py", "")
        archive.writestr("jobs/cli/main.py", main)
        archive.writestr("models/__init__.py", "")
        archive.write(ROOT / "models" / "temporary.py", "models/temporary.py")
    job = [sys.executable, str(ROOT / "jobs" / "submit" / "shelfwise_job.py")]
    environment = {**os.environ, "PYTHONPATH": str(wheel), "TMPDIR": str(unpacked)}
    killed = subprocess.run([*job, "die"], env=environment, capture_output=True, text=True)
    assert killed.returncode == -9
    assert len(list(unpacked.glob("shelfwise-code-*"))) == 1
    subprocess.run(job, env=environment, check=True, capture_output=True)
    assert not list(unpacked.iterdir())


@pytest.mark.parametrize("gpu", ["0", "1"])
def test_a_gpu_that_is_asked_for_is_asked_of_spark_and_of_the_task(
    gpu: str, tiny_release: Path, home: Path, monkeypatch: pytest.MonkeyPatch, fake_spark: Callable[..., FakeSpark]
) -> None:
    monkeypatch.setenv("SHELFWISE_GPU", gpu)
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(tiny_release))
    monkeypatch.setenv("SHELFWISE_MASTER", "local-cluster[1,3,1024]")
    demanded: list[bool] = []

    def run(open_session: Any, config: PredictConfig, _release: object, **_: object) -> PredictSummary:
        """Stand for the job, which would start tasks."""
        demanded.append(config.computing.gpu)
        with open_session():
            return PredictSummary(0, 0, 0, 0.0, ())

    spark = fake_spark()
    monkeypatch.setattr(nightly, "spark_progress", lambda *_: nullcontext())
    monkeypatch.setattr(predict, "run", run)
    context = context_of(Settings(), OPTIONS)
    nightly.predict_step(context, RunConfig("r", "nightly", DAY, dates=(DAY,)), RunInputs())
    assert demanded == [gpu == "1"]
    assert [spark.properties[f"spark.{of}.resource.gpu.amount"] for of in ("executor", "task")] == [gpu, gpu]
    cores = [spark.properties["spark.executor.cores"], spark.properties["spark.task.cpus"]]
    assert cores == ["3", "3"], "a task owns all cores of its executor, to decode for its GPU"
