"""Publishers in processes of their own, to be killed or to run beside each other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess

_FORK = multiprocessing.get_context("fork")


def start(work: Callable[[], object]) -> BaseProcess:
    """Run `work` in a child that shares this process's rows but none of its connections."""
    child = _FORK.Process(target=_quietly, args=(work,))
    child.start()
    return child


def together(*work: Callable[[], object]) -> list[int | None]:
    """Run several at the same moment; return their exit codes."""
    barrier = _FORK.Barrier(len(work))

    def at_once(one: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            barrier.wait()
            return one()

        return run

    children = [start(at_once(one)) for one in work]
    for child in children:
        child.join()
    return [child.exitcode for child in children]


def kill_itself() -> None:
    """End this process at once, as kill -9 and a lost machine do."""
    os.kill(os.getpid(), signal.SIGKILL)


def _quietly(work: Callable[[], object]) -> None:
    with contextlib.redirect_stderr(sys.__stdout__):
        work()
