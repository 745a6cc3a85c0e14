"""The pauses between the tries of a web server that is busy."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from jobs.images.normalise import Rejected
from jobs.ingest.config import HttpLimits
from jobs.ingest.web import WebImages
from tests.web import status, web_server


def test_a_busy_server_is_asked_after_longer_and_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=pauses.append))  # other threads still sleep
    limits = replace(HttpLimits(), tries=9, longest_wait_seconds=8, allowed_networks=("127.0.0.1",))
    random.seed(3)
    with web_server() as server:
        server.answers["/a.jpg"] = status(503)
        with pytest.raises(Rejected, match="9 tries"):
            WebImages(limits, max_bytes=10**6).fetch(f"{server.url}/a.jpg")
    assert len(pauses) == len(set(pauses)) == 8, "never the same, so that clients do not come back together"
    assert all(0 < pause <= min(8, 0.5 * 2**number) for number, pause in enumerate(pauses))
    assert sum(pauses[4:]) > 2 * sum(pauses[:4])
