"""Every command that the README shows is run."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from models import fashion_mnist
from models.release import SHIPPED
from tests.conftest import picture
from tests.dags.conftest import jobs_environment, started_airflow, until
from tests.end_to_end.conftest import Shelfwise, dump
from tests.pages import chapter, dead_links, shell_lines
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
DOWNLOADS = ROOT / ".shelfwise" / "downloads"
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_RELEASE = chapter(README, "Your first release")
"""The chapter that trains: test_first_release.py runs it, with small networks."""


MAKE = {
    "demo": ".venv/bin/shelfwise demo",
    "test": ".venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder",
    "airflow": ".venv/bin/python .ci/local_airflow.py",
    "airflow CATALOG=shop.csv": '.venv/bin/python .ci/local_airflow.py  --catalog "shop.csv"',
}


def test_the_make_targets_call_what_they_are_named_for() -> None:
    assert {line for line in shell_lines(README) if line.startswith("make")} < {f"make {target}" for target in MAKE}
    for target, program in MAKE.items():
        assert f"make {target}" in README
        command = ["make", "--no-print-directory", "--dry-run", *target.split()]
        plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert plan.stdout.splitlines()[-1].strip() == program


@pytest.mark.usefixtures("one_spark")
@pytest.mark.timeout(1500)  # each step of the local Airflow starts Spark, and the machine may be busy
def test_who_follows_this_page_from_its_top_to_its_end_gets_what_it_says(
    shelfwise: Shelfwise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one state, as in a clone: what the demo and the own catalog leave must not trip the local Airflow up."""
    state = tmp_path / ".shelfwise"
    fashion_mnist.load("t10k", cache_dir=DOWNLOADS)
    state.mkdir()
    (state / "downloads").symlink_to(DOWNLOADS)
    own_catalogs(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHELFWISE_HOME", str(state))
    monkeypatch.setenv("SHELFWISE_RELEASE_DIR", str(SHIPPED))
    followed = []
    for line in shell_lines(README.replace(FIRST_RELEASE, "")):
        if line == "make airflow":
            before = dump(state)
            night_and_backfill(state, tmp_path)
            assert dump(state) == before, "the example is apart from what was done before"
            [(home, question)] = re.findall(r"ask\s`SHELFWISE_HOME=(\S+) (shelfwise [^`]+)`", README)
            monkeypatch.setenv("SHELFWISE_HOME", home)
            done = shelfwise(*shlex.split(question)[1:], "--format", "json")
            assert sum(row["product_count"] for row in done.json) == 200
        elif line == "shelfwise review serve":
            opened_pages(state)
        elif line == "make demo" or line.startswith("shelfwise"):
            words = ["demo", "--products", "100"] if line == "make demo" else shlex.split(line)[1:]
            done = shelfwise(*words)
            assert done.code == 0, (line, done.err)
            assert done.out.strip(), line
        else:
            continue
        followed.append(line)
    assert [line for line in followed if line.startswith("make")] == ["make demo", "make airflow"]
    assert len(followed) >= 11


def opened_pages(state: Path) -> None:
    """Serve the review pages, open the printed address, and look at what the demo and the catalog left to people."""
    port = free_port()
    environment = jobs_environment(state, SHIPPED) | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "jobs.cli.main", "review", "serve", "--port", str(port), "--by", "ada"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            [address] = re.findall(r"^Open (\S+) \(it works once, within an hour\)", server.stdout.readline())
            browser = build_opener(HTTPCookieProcessor())
            browser.open(address, timeout=30).close()
            with browser.open(urljoin(address, "/queue"), timeout=30) as page:
                assert "Suggested category" in page.read().decode()
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 0


def own_catalogs(directory: Path) -> None:
    """Write the catalogs that the page takes for the reader's own."""
    (directory / "photos" / "shirts").mkdir(parents=True)
    (directory / "photos" / "shirts" / "sku-1003.jpg").write_bytes(picture(3))
    for number in (1001, 1002):
        (directory / f"{number}.jpg").write_bytes(picture(number))
    rows = "".join(f"sku-{number},{number}.jpg\n" for number in (1001, 1002))
    (directory / "shop.csv").write_text("product_id,image_uri\n" + rows, encoding="utf-8")


def night_and_backfill(state: Path, directory: Path) -> None:
    """Do what the page says of the local Airflow: look at the night that it tags at once, and answer it again."""
    environment = jobs_environment(state, SHIPPED) | {"PYTHONPATH": str(ROOT)}
    del environment["AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"]
    with started_airflow(environment, directory) as (api, _):
        night, backfill = "nightly_tagging", "backfill_predictions"
        [run] = until(lambda: api.call("GET", f"/dags/{night}/dagRuns")["dag_runs"])
        assert api.wait(night, run["dag_run_id"]) == "success", api.states(night, run["dag_run_id"])
        day = run["logical_date"][:10]
        told = api.asset_event(run["dag_run_id"])
        assert (told["run_id"], told["release_id"]) == (f"nightly-{day}", SHIPPED.name)
        assert told["counts"]["images"] == 200
        again = api.trigger(backfill, conf={"from": day, "to": day})
        assert api.wait(backfill, again) == "success", api.states(backfill, again)


def test_the_other_lines_are_known() -> None:
    rest = [line for line in shell_lines(README) if not line.startswith(("make", "shelfwise"))]
    assert rest == ["pip install .", ". .venv/bin/activate"]  # tests/unit/test_pins.py runs the first


def test_every_link_leads_somewhere() -> None:
    assert dead_links(README, ROOT) == []


def test_every_setting_is_in_the_table() -> None:
    from jobs.settings import Settings

    settings = (ROOT / "jobs" / "SETTINGS.md").read_text(encoding="utf-8")

    for name in Settings.model_fields:
        variable = f"SHELFWISE_{name.upper()}"
        short = f"`_{name.removeprefix('products_').upper()}`"
        assert variable in settings or short in settings, variable
