"""Web servers for tests of fetching."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web import WebServer, web_server


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


@pytest.fixture
def other() -> Iterator[WebServer]:
    """A second host, to which redirects lead."""
    with web_server() as running:
        yield running
