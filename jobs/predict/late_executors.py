"""Executors that came after the driver's plan of a run in bfloat16 and cannot compute in it: they hand shards back.

Their processor lacks the instructions, or is of a model on which the release has not passed.

The driver sends those shards again, until other executors have predicted them. An error instead would use up the
attempts of a task: Spark repeats it, and an executor that only fails is soon free for it.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jobs.errors import RunFailed
from jobs.predict.config import PredictConfig
from jobs.predict.reports import ShardReport
from jobs.predict.selection import Selected
from jobs.storage.places import Place
from jobs.storage.stores import uri
from models.serving.devices import may_have_accelerator, multiplies_bfloat16, processor

log = logging.getLogger(__name__)

HOLD_SECONDS = 20.0
"""For how long such an executor keeps a task, so that the others meanwhile take the next ones."""


@dataclass(frozen=True)
class HandedBack:
    """What a task returns that predicts nothing.

    Attributes:
        shards: URIs of its shards.
        host: Name of the machine.
    """

    shards: tuple[str, ...]
    host: str


def may_compute(config: PredictConfig) -> bool:
    """Return whether this machine can compute in the precision of the run's plan; an accelerator has its own."""
    computing = config.computing
    if computing.plan.allows(processor().name, bfloat16=multiplies_bfloat16()):
        return True
    return computing.engine != "openvino" and may_have_accelerator()


def handed_back(shards: Iterable[Place], *, hold_seconds: float) -> HandedBack:
    """Keep the task for a while, and return its shards; called on an executor."""
    time.sleep(hold_seconds)
    return HandedBack(tuple(uri(shard) for shard in shards), socket.gethostname())


def in_rounds(
    send: Callable[[Sequence[Selected]], Iterable[ShardReport | HandedBack]],
    todo: Sequence[Selected],
    *,
    run_id: str,
    any_able: Callable[[], bool],
) -> list[ShardReport]:
    """Send shards to the executors, and those that come back again, until all are predicted.

    Args:
        send: Predicts shards in Spark tasks, and returns their reports and what was handed back.
        todo: Shards to predict.
        run_id: Identifier of the run, for messages.
        any_able: Asks the executors whether one of them can compute; called if no shard was predicted in a round.

    Raises:
        RunFailed: If no executor is left that can compute; the message names the remedy.
    """
    reports, hosts = list[ShardReport](), set[str]()
    left = todo
    while left:
        answers = list(send(left))
        now = [answer for answer in answers if isinstance(answer, ShardReport)]
        back = [answer for answer in answers if isinstance(answer, HandedBack)]
        reports += now
        if new := {answer.host for answer in back} - hosts:
            hosts |= new
            log.warning(
                "the processor of an executor on %s cannot compute run %s, which is in bfloat16: it lacks the "
                "instructions, or is of a model on which the release has not passed; others predict its shards",
                ", ".join(sorted(new)),
                run_id,
            )
        names = {name for answer in back for name in answer.shards}
        left = [chosen for chosen in left if uri(chosen.shard) in names]
        if left and not now and not any_able():
            raise RunFailed(
                f"no executor is left that can compute run {run_id}, which is in bfloat16; start one with a processor "
                "on which it was planned, or set SHELFWISE_PRECISION=float32 and run again with another --run-id"
            )
    return reports
