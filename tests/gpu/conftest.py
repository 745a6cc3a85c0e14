"""Tests of this folder need a GPU that Keras's backend can use; without one each is skipped, and says so."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip this folder's tests where there is no GPU."""
    ours = [item for item in items if "tests/gpu/" in str(item.path)]
    if not ours:
        return
    from models.serving.devices import device

    found = device()
    if not found.accelerator:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=f"needs a GPU; Keras computes on {found.name}"))
