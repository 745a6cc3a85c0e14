"""Web hosts that hold on to whoever asks them, and machines that ask without an installed package."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest

from jobs.web_images import WebImages
from tests.unit.test_web_images import HERE, RED
from tests.web import image, web_server


def test_a_machine_without_the_package_fetches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor has the driver's archive of code, and no installed distribution that would tell a version."""

    def absent(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with web_server() as server:
        server.answers["/a.jpg"] = image(RED)
        assert WebImages(HERE).fetch(f"{server.url}/a.jpg").data == RED
