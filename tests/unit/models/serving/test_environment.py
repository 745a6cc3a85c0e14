"""Which library multiplies matrices on how many cores; the rest of the environment is tested where it matters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import scipy.linalg  # noqa: F401  (loads the BLAS of SciPy, as an optimiser does)
from threadpoolctl import threadpool_info, threadpool_limits

from models.serving.environment import multiplying_on_all_cores, usable_cores

CORES = usable_cores()


def threads() -> dict[str, int]:
    """Return the threads of each library's BLAS by the folder of its wheel."""
    return {Path(each["filepath"]).parent.name: each["num_threads"] for each in threadpool_info()}


@pytest.mark.parametrize("libraries", [("numpy",), ("scipy",), ("numpy", "scipy")])
def test_only_the_named_libraries_multiply_on_all_cores_and_only_within_the_block(libraries: tuple[str, ...]) -> None:
    """Two libraries that take turns would wait for each other with all threads of both."""
    with threadpool_limits(1, user_api="blas"):
        with multiplying_on_all_cores(*libraries):
            within = threads()
        after = threads()
    for library in ("numpy", "scipy"):
        assert within[f"{library}.libs"] == (CORES if library in libraries else 1)
        assert after[f"{library}.libs"] == 1


def test_all_cores_count_where_a_system_does_not_tell_which_a_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no affinity."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()
    with multiplying_on_all_cores("numpy"):
        pass
