"""From what is typed to what finetune is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

from jobs.errors import UsageError
from jobs.releases.calibrate import Promise
from jobs.releases.lookup import ALIASES, check_release_id, in_use
from jobs.settings import Settings
from jobs.training.finetune import FinetuneConfig, NetworkPlan
from jobs.training.selection import Selection
from models.networks.registry import ARCHITECTURES, INPUT_PX
from models.training.recipe import IMAGENET, NOTHING, Recipe

log = logging.getLogger(__name__)


def config_of(settings: Settings, options: Mapping[str, Any], *, command: str) -> FinetuneConfig:
    """Return what to do.

    Args:
        settings: Where state lives.
        options: Of the command `finetune`, by their names.
        command: As it was typed.

    Raises:
        UsageError: If a network is unknown or named twice, or an option is for none of them.
    """
    networks = list(options["networks"])
    unknown = [name for name in networks if name not in ARCHITECTURES]
    if unknown or len(set(networks)) < len(networks):
        wrong = f"there is no network {unknown[0]!r}" if unknown else "a network is named twice"
        raise UsageError(f"{wrong}; expected different ones of {', '.join(ARCHITECTURES)}")
    check_release_id(options["release_id"])
    starts = _by_network("--start-from", options["start_from"], networks, default=IMAGENET)
    sizes = _by_network("--input-px", options["input_px"], networks, default="")
    blocks = _by_network("--unfreeze-from", options["unfreeze_from"], networks, default="")
    names = {field.name for field in fields(Recipe)}
    shared = {name: value for name, value in options.items() if name in names and name != "unfreeze_from"}
    _refuse_phases_of_nothing(starts, blocks, options["head_epochs"])
    shared["head_epochs"] = Recipe.head_epochs if options["head_epochs"] is None else options["head_epochs"]
    plans = []
    for name in networks:
        start = starts[name]
        alias = start if start in ALIASES else ""
        if start not in (IMAGENET, NOTHING) and not start.endswith(".h5"):
            start = str(in_use(settings, start).absolute())
        own = {"unfreeze_from": blocks[name], "train_norms": start == NOTHING}
        if start == NOTHING:
            own["head_epochs"] = 0
        try:
            recipe = Recipe(**{**shared, **own})
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error
        plans.append(NetworkPlan(name, _side(name, sizes[name]), start, recipe, alias))
    return FinetuneConfig(
        release_id=options["release_id"],
        selection=selection_of(settings, options),
        networks=tuple(plans),
        batch_size=options["batch_size"],
        decode_workers=options["decode_workers"],
        promise=Promise(options["target_precision"], options["floor"]),
        command=command,
    )


def selection_of(settings: Settings, options: Mapping[str, Any]) -> Selection:
    """Return which labelled products a command's options name."""
    return Selection(
        settings.places,
        options["taxonomy"],
        options["taxonomy_version"],
        options["first"] or date.min,
        options["last"] or date.max,
        options["leave_out"],
        options["min_products"],
    )


def _refuse_phases_of_nothing(starts: Mapping[str, str], blocks: Mapping[str, str], head_epochs: int | None) -> None:
    """Refuse phases for a network that starts from nothing: all of it is trained from the first step on."""
    for name in (name for name, start in starts.items() if start == NOTHING):
        if blocks[name]:
            raise UsageError(
                f"{name} starts from nothing and is trained whole; give --unfreeze-from as NETWORK=BLOCK to the others"
            )
        if head_epochs and set(starts.values()) == {NOTHING}:
            raise UsageError(f"{name} starts from nothing and is trained whole; leave --head-epochs out")
        if head_epochs:
            log.info("finetune: %s starts from nothing, so --head-epochs is for the others", name)


def _by_network(option: str, values: Sequence[str], networks: Sequence[str], *, default: str) -> dict[str, str]:
    """Read values that are for all networks, or `NETWORK=VALUE` for one."""
    found = dict.fromkeys(networks, default)
    for value in sorted(values, key=lambda one: one.partition("=")[0] in networks):  # what is for all comes first
        name, separator, own = value.partition("=")
        if separator and name in networks:
            found[name] = own
        elif separator and name in ARCHITECTURES:
            raise UsageError(f"{option} {value} is for a network that is not trained; these are {', '.join(networks)}")
        else:
            found = dict.fromkeys(networks, value)
    return found


def _side(name: str, value: str) -> int:
    if value and not value.isdigit():
        raise UsageError(f"--input-px is a number of pixels, received {value!r}")
    smallest, usual = INPUT_PX[name]
    side = int(value or usual)
    if side < smallest:
        raise UsageError(f"{name} takes inputs of at least {smallest} px, received {side}; raise --input-px")
    return side
