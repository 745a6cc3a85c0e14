"""Takes a picture of the graph of the newest finished night of a running local Airflow, as the README shows it.

AIRFLOW_HOME=.shelfwise/example/home/airflow python -m tests.dags.picture dags/finished_night.png
"""

from __future__ import annotations

import configparser
import json
import os
import sys
from pathlib import Path

from playwright.sync_api import Page

from tests.browser import screenshot
from tests.dags.airflow_api import AirflowApi

DAG = "nightly_tagging"


def take(api: AirflowApi, target: Path) -> Path:
    """Log in as a person does, open the night's graph and take the picture.

    Args:
        api: Of the running Airflow; a night of it has finished well.
        target: The PNG file.
    """
    (run,) = api.call("GET", f"/dags/{DAG}/dagRuns?state=success&order_by=-logical_date&limit=1")["dag_runs"]

    def prepare(page: Page) -> None:
        page.fill("input[name=username]", api.user)
        page.fill("input[name=password]", api.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/login" not in url)
        page.goto(f"{api.url}/dags/{DAG}/runs/{run['dag_run_id']}")
        page.click("[aria-label^='Show Graph'], [aria-label^='Show Grid'] ~ [aria-label*='Graph']", timeout=60_000)
        page.wait_for_selector(".react-flow__node", timeout=60_000)
        page.wait_for_timeout(3000)  # the graph glides into its place

    return screenshot(f"{api.url}/auth/login", target, height_px=760, whole=False, prepare=prepare)


def main() -> None:
    home = Path(os.environ["AIRFLOW_HOME"])
    config = configparser.ConfigParser(interpolation=None)
    config.read(home / "airflow.cfg", encoding="utf-8")
    ((user, password),) = json.loads((home / "passwords.json").read_text(encoding="utf-8")).items()
    print(take(AirflowApi(config["api"]["base_url"], user, password), Path(sys.argv[1])))


if __name__ == "__main__":
    main()
