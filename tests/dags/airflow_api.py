"""Talks to a local Airflow as its page does: by its REST API, with the token of a person who logged in."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENDED = ("success", "failed")


class Refused(Exception):
    """The API said no; `status` and `text` say how."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


@dataclass
class AirflowApi:
    """One Airflow and one user's token."""

    url: str
    user: str
    password: str
    token: str = ""

    def call(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        """Call the API; log in first."""
        if not self.token:
            self.token = self._send("POST", "/auth/token", {"username": self.user, "password": self.password})[
                "access_token"
            ]
        return self._send(method, f"/api/v2{path}", document)

    def _send(self, method: str, path: str, document: Mapping[str, Any] | None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode()) from error
        return json.loads(text) if text else None

    def trigger(self, dag_id: str, *, logical_date: str | None = None, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run and return its id."""
        moment = f"{logical_date}T02:00:00Z" if logical_date else None
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": moment, "conf": dict(conf or {})})
        return str(run["dag_run_id"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's task instances."""
        answer = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100")
        return list(answer["task_instances"])

    def states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Return the state of each task, of mapped ones with their index."""
        return {
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""): task["state"]
            for task in self.tasks(dag_id, run_id)
        }

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1, map_index: int = -1) -> str:
        """Return what a task wrote."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}?map_index={map_index}"
        return json.dumps(self.call("GET", path)["content"])

    def asset_event(self, run_id: str) -> dict[str, Any]:
        """Return what the event says that a run left with an asset."""
        events = self.call("GET", "/assets/events?order_by=-timestamp")["asset_events"]
        return next(dict(event["extra"]) for event in events if event["source_run_id"] == run_id)

    def question(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return what a task asks a person."""
        return dict(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"))

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str, **filled_in: str) -> None:
        """Answer a task's question as a person does, by a button and the fields of its form."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        self.call("PATCH", path, {"chosen_options": [option], "params_input": filled_in})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Let a task and all that follow it run again."""
        what = {"task_ids": [task_id], "dag_run_id": run_id, "include_downstream": True, "only_failed": False}
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", {"dry_run": False, **what})

    def wait(self, dag_id: str, run_id: str, *, seconds: float = 600) -> str:
        """Wait for a run to end and return its state."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            state = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            if state in ENDED:
                return str(state)
            time.sleep(1)
        raise TimeoutError(f"{dag_id} {run_id} after {seconds} s: {self.states(dag_id, run_id)}")
