"""A release of `finetune --quick` that is calibrated again: what stays of it, and what is told of it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.training.quick_config import QuickConfig
from jobs.training.selection import TrainingSet
from models.networks.weights import hold_the_same
from models.release import Release
from models.training.seen import VOUCHED_BACKBONES

log = logging.getLogger(__name__)


def warn_of_other_products(before: Release, learned_from: TrainingSet) -> None:
    """Warn if the labelled products are not those from which the heads of a release learned."""
    if before.training.get("data_sha256") != learned_from.data_sha256:
        log.warning(
            "the labelled products are not those from which release %s learned, so its heads are fitted anew",
            before.release_id,
        )


def made_by(config: QuickConfig) -> dict[str, Any]:
    """Return by which command a release is made, and when; of one that is calibrated again also which it was before."""
    now, before = datetime.now(UTC).isoformat(timespec="seconds"), config.selection.release
    if before is None:
        return {"command": config.command, "made_at_utc": now}
    made = {name: before.training[name] for name in ("command", "made_at_utc") if name in before.training}
    calibrated = {"calibrated_from": before.release_id, "calibrated_by": config.command, "calibrated_at_utc": now}
    return made | calibrated


def kept_of(before: Release) -> dict[str, Any]:
    """Return what stays true of the backbones of a release that is calibrated again, which are its own."""
    names = {VOUCHED_BACKBONES, *(f"{network.architecture}_starts_from" for network in before.networks)}
    return {name: value for name, value in before.training.items() if name in names}


def former_file(written: Path, name: str, before: Release, directory: Path) -> Path:
    """Return the weights file of a network: that of the release if it holds the same, so that its hash stays too.

    Args:
        written: Weights file with the head that was fitted again.
        name: Name of the network's architecture.
        before: Release that is calibrated again.
        directory: Its directory.
    """
    former = [directory / network.weights_file for network in before.networks if network.architecture == name]
    return next((file for file in former if hold_the_same(file, written)), written)
