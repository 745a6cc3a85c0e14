"""What pytest-xdist needs of our tests: every worker collects the same names."""

from __future__ import annotations

import os

import pytest


@pytest.mark.parametrize("drawn", [os.urandom(9), b"b"])
def test_no_name_of_a_test_is_made_of_bytes(request: pytest.FixtureRequest, drawn: bytes) -> None:
    """A zip archive made while collecting holds the time: two workers in different seconds had different names."""
    assert request.node.name in {f"{request.node.originalname}[drawn{index}]" for index in range(2)}, drawn
