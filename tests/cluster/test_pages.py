"""The spark-submit lines of the pages in jobs/cluster: run where a cluster is at hand, else read by Spark itself."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.spark.session import spark_session
from jobs.storage.places import Places
from tests.cluster.shards import spark_config
from tests.conftest import SmallShop
from tests.foreign_files import MODULES, PACKAGES, in_the_way, ran
from tests.standalone import ROOT, SPARK_HOME, Standalone

pytestmark = pytest.mark.timeout(600)
PAGES = ROOT / "jobs" / "cluster"


def submit_line(page: str) -> list[str]:
    """Return the one spark-submit line of a page, in words."""
    text = (PAGES / page).read_text(encoding="utf-8").replace("\\\n", " ")
    [line] = re.findall(r"^spark-submit .*$", text, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize(
    ("page", "master", "parsed"),
    [
        ("yarn.md", "yarn", ["--num-executors", "numExecutors 8", "archives hdfs:///environments/shelfwise.tar.gz"]),
        ("kubernetes.md", "k8s://https://kubernetes.example:6443", ["deployMode cluster", "name shelfwise-predict"]),
        ("standalone.md", "spark://spark.example:7077", ["executorMemory 8g", "executorCores 8"]),
    ],
)
def test_spark_parses_the_spark_submit_line_of_each_page(
    page: str, master: str, parsed: list[str], tmp_path: Path
) -> None:
    line = [str(SPARK_HOME / "bin" / "spark-submit"), "--verbose", *submit_line(page)[1:]]
    environment = {**os.environ, "SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1"}
    environment["HADOOP_CONF_DIR"] = str(tmp_path)
    # Only the arguments are looked at: what follows needs the cluster, and is not waited for.
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        said = []
        for text in process.stderr:
            said.append(" ".join(text.split()))
            if said[-1].startswith(("childArgs", "Exception", "Error")):
                break
        process.kill()
    assert f"master {master}" in said, "\n".join(said)
    for each in parsed:
        assert any(text.startswith(each) for text in said) or each in submit_line(page), (each, "\n".join(said))
    [arguments] = [text for text in said if text.startswith("childArgs")]
    assert "--run-date 2026-11-01" in arguments


def test_the_standalone_line_runs_a_night_with_the_code_as_a_wheel(
    bare_cluster: Standalone, shop: SmallShop, tiny_release: Path, tmp_path: Path
) -> None:
    shop.add_many([f"p{number}" for number in range(6)])
    make = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    source = tmp_path / "source"  # building leaves files behind, which belong in no clone
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("jobs", "models", "sql"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "releases"))
    subprocess.run([*make, "--wheel-dir", tmp_path / "dist", source], check=True)
    [wheel] = (tmp_path / "dist").glob("shelfwise-*.whl")
    replaced = {
        "spark-submit": str(SPARK_HOME / "bin" / "spark-submit"),
        "spark://spark.example:7077": bare_cluster.url,
        "8": "1",
        "8g": "1g",
        "spark.pyspark.python=/opt/shelfwise/bin/python3": f"spark.pyspark.python={sys.executable}",
        "dist/shelfwise-0.1.0-py3-none-any.whl": str(wheel),
        "jobs/submit/shelfwise_job.py": str(ROOT / "jobs" / "submit" / "shelfwise_job.py"),
        "/shared/shop.csv": shop.catalog,
    }
    line = [replaced.get(word, word) for word in submit_line("standalone.md")] + ["--json"]
    environment = {
        **os.environ,
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SHELFWISE_HOME": str(tmp_path / "home"),
        "SHELFWISE_RELEASE_DIR": str(tiny_release),
    }
    directory = in_the_way(tmp_path / "project", MODULES + PACKAGES)
    done = subprocess.run(line, env=environment, cwd=directory, capture_output=True, text=True)
    assert ran(directory) == []
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["state"], told["predict"]["images"]) == ("published", 6)


def test_a_cluster_that_has_nothing_of_the_project_gets_its_code_from_the_driver(
    bare_cluster: Standalone, places: Places
) -> None:
    def look(_: int) -> tuple[str, str, bool]:  # defined here: so it travels whole and needs no module of these tests
        import jobs.storage.stores
        from models.program import program_version

        return Path(jobs.storage.stores.__file__).parents[2].name, program_version(), sys.flags.safe_path

    with spark_session(spark_config(places, bare_cluster.url), name="test") as spark:
        [(archive, version, safe)] = spark.sparkContext.parallelize([0], 1).map(look).collect()
    assert re.fullmatch(r"code-.*\.zip", archive)
    assert version == "", "and no package is installed there"
    assert safe, "where an executor starts is no place for libraries"


def test_the_image_installs_what_the_clone_does() -> None:
    steps = (PAGES / "Dockerfile").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (?!--)(.+) \S+$", steps, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), f"the image copies {name}, which is not here"
    started_in = re.findall(r"^(?:USER|WORKDIR|ENTRYPOINT) .*$", steps, re.MULTILINE)[-3:]
    assert started_in[:2] == ["USER 185", "WORKDIR /home/spark"], "Spark writes to the directory that it starts in"
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(r"^tensorflow==", pins, re.MULTILINE), "the CUDA extra is added to this pin"


def test_the_image_takes_its_entry_point_from_the_spark_that_is_pinned() -> None:
    pinned = re.search(r"^pyspark==(\S+)$", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    image = re.search(r"^ARG SPARK=(\S+)$", (PAGES / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned
    assert image
    assert image[1] == pinned[1]
