"""Build the configuration of finetune from the options of its command."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

from jobs.cli.labels_from import decisions_of
from jobs.cli.options import label_map_of
from jobs.dataset.labels import CATALOG
from jobs.errors import UsageError
from jobs.releases.calibrate import Promise
from jobs.releases.lookup import release_directory
from jobs.releases.new_releases import ALIASES, check_release_id
from jobs.settings import Settings
from jobs.training.finetune import FinetuneConfig, NetworkPlan
from jobs.training.quick_config import QuickConfig, QuickNetwork
from jobs.training.selection import Selection
from jobs.wording import listed
from models.networks.registry import ARCHITECTURES, INPUT_PX
from models.release import MANIFEST, Release, load_release
from models.release_checks import MAX_INPUT_PX
from models.training.recipe import IMAGENET, NOTHING, Recipe

log = logging.getLogger(__name__)


def config_of(settings: Settings, options: Mapping[str, Any], *, command: str) -> FinetuneConfig:
    """Build the configuration of a finetune run from its command's options.

    Args:
        settings: Settings of this process.
        options: Parsed options of the command `finetune`, by parameter name.
        command: Command line as it was typed, for the record in the release.

    Raises:
        UsageError: If a network is unknown or named twice, or an option names a network that is not trained; the
            message lists the expected ones.
    """
    networks = _networks(options)
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
        alias = starts[name] if starts[name] in ALIASES else ""
        start = _located(settings, starts[name])
        of_network = {"unfreeze_from": blocks[name], "train_norms": start == NOTHING}
        if start == NOTHING:
            of_network["head_epochs"] = 0
        try:
            recipe = Recipe(**{**shared, **of_network})
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error
        plans.append(NetworkPlan(name, _side(name, sizes[name]), start, recipe, alias))
    return FinetuneConfig(
        release_id=options["release_id"],
        selection=selection_of(settings, options),
        networks=tuple(plans),
        batch_size=options["batch_size"],
        decode_workers=options["decode_workers"],
        promise=Promise(options["target_precision"], options["floor"], options["promise"]),
        command=command,
    )


def quick_config_of(
    settings: Settings, options: Mapping[str, Any], *, command: str, given: Collection[str] = ()
) -> QuickConfig:
    """Build the configuration of a quick fine-tuning from the options of the command `finetune`.

    Args:
        settings: Settings of this process.
        options: Parsed options of the command, by parameter name.
        command: Command line as it was typed, for the record in the release.
        given: Names of the parameters that were given on the command line.

    Raises:
        UsageError: As for `config_of`, or if an option of a longer training was given too.
    """
    if foreign := [name for name in (*(field.name for field in fields(Recipe)), "unfreeze_from") if name in given]:
        others = [f"--{name.replace('_', '-')}" for name in dict.fromkeys(foreign) if name != "seed"]
        if others:
            raise UsageError(
                f"--quick trains no layer but the last, and takes no {' and '.join(others)}; leave out either"
            )
    check_release_id(options["release_id"])
    networks = _networks(options) if "networks" in given else _networks_of_start(settings, options)
    starts = _by_network("--start-from", options["start_from"], networks, default=IMAGENET)
    sizes = _by_network("--input-px", options["input_px"], networks, default="")
    for name in (name for name, start in starts.items() if start == NOTHING):
        raise UsageError(
            f"--quick trains no layer but the last, and {name} with random weights sees nothing; give imagenet, a "
            ".weights.h5 file or a release with --start-from"
        )
    located = {name: _located(settings, starts[name]) for name in networks}
    return QuickConfig(
        release_id=options["release_id"],
        selection=selection_of(settings, options),
        networks=tuple(
            QuickNetwork(name, _side(name, sizes[name] or _side_of_start(name, start)), start)
            for name, start in located.items()
        ),
        batch_size=options["batch_size"],
        decode_workers=options["decode_workers"],
        promise=Promise(options["target_precision"], options["floor"], options["promise"]),
        seed=options["seed"],
        engine=settings.engine,
        vouched=options["start_unseen"],
        command=command,
    )


def again_config_of(settings: Settings, source: Path, options: Mapping[str, Any], *, command: str) -> QuickConfig:
    """Build the configuration that calibrates a release of `finetune --quick` again: its own heads are fitted as then.

    Args:
        settings: Settings of this process.
        source: Directory of the release.
        options: Parsed options of the command `release calibrate`, by parameter name.
        command: Command line as it was typed, for the record in the release.
    """
    release = load_release(source)
    labels_from = str(release.training.get("labels_from", CATALOG))
    selection = Selection(
        settings.places,
        taxonomy_version=release.taxonomy_version,
        first=options["first"] or date.min,
        last=options["last"] or date.max,
        leave_out=options["leave_out"],
        labels=label_map_of(settings, options["labels"]),
        labels_from=labels_from,
        decisions=decisions_of(settings, labels_from),
        release=release,
        known_only=options["known_only"],
    )
    return QuickConfig(
        release_id=options["release_id"],
        selection=selection.until(release.training.get("decisions_until", 0)),
        networks=tuple(QuickNetwork(each.architecture, each.input_px, str(source)) for each in release.networks),
        batch_size=options["batch_size"],
        decode_workers=options["decode_workers"],
        promise=Promise(options["target_precision"], options["floor"], options["promise"]),
        seed=release.training.get("seed", QuickConfig.seed),
        engine=settings.engine,
        command=command,
    )


def selection_of(settings: Settings, options: Mapping[str, Any]) -> Selection:
    """Build the selection of labelled products from the options of finetune or export-arrays."""
    return Selection(
        settings.places,
        options["taxonomy"],
        options["taxonomy_version"],
        options["first"] or date.min,
        options["last"] or date.max,
        options["leave_out"],
        options["min_products"],
        label_map_of(settings, options["labels"]),
        options["labels_from"],
        decisions_of(settings, options["labels_from"]),
    )


def _networks(options: Mapping[str, Any]) -> list[str]:
    """Return the networks to train; raise UsageError if one is unknown or named twice."""
    networks = list(options["networks"])
    unknown = [name for name in networks if name not in ARCHITECTURES]
    if unknown or len(set(networks)) < len(networks):
        problem = f"there is no network {unknown[0]!r}" if unknown else "a network is named twice"
        raise UsageError(f"{problem}; expected different ones of {', '.join(ARCHITECTURES)}")
    return networks


def _networks_of_start(settings: Settings, options: Mapping[str, Any]) -> list[str]:
    """Return the networks of the release that `--start-from` names for all networks; without one, the usual ones."""
    for_all = [start for start in options["start_from"] if start.partition("=")[0] not in ARCHITECTURES]
    release = _release_at(_located(settings, for_all[-1])) if for_all else None
    if release is None:
        return _networks(options)
    shown = [f"{network.architecture} at {network.input_px} px" for network in release.networks]
    log.info("finetune: the networks of release %s, %s, unless others are given", release.release_id, listed(shown))
    return [network.architecture for network in release.networks]


def _side_of_start(name: str, start: str) -> str:
    """Return the input of a network in the release that it starts from, in pixels; empty if it starts otherwise."""
    release = _release_at(start)
    sides = {network.architecture: str(network.input_px) for network in release.networks} if release else {}
    return sides.get(name, "")


def _release_at(start: str) -> Release | None:
    """Return the release in a directory from which a training starts; None if it starts from something else."""
    return load_release(Path(start)) if (Path(start) / MANIFEST).is_file() else None


def _located(settings: Settings, start: str) -> str:
    """Return a start as it is, or the directory of the release that it names."""
    if start in (IMAGENET, NOTHING) or start.endswith(".h5"):
        return start
    return str(release_directory(settings, start).absolute())


def _refuse_phases_of_nothing(starts: Mapping[str, str], blocks: Mapping[str, str], head_epochs: int | None) -> None:
    """Raise UsageError if a network that starts from nothing gets options of phases.

    Such a network has random weights, so all of its layers are trained from the first step on.
    """
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
    """Return an option's value for each network.

    Args:
        option: Name of the option, for messages.
        values: Values as typed: `VALUE` for all networks, or `NETWORK=VALUE` for one.
        networks: Networks to train.
        default: Value of a network for which none is given.

    Raises:
        UsageError: If a value is for a network that is not trained.
    """
    by_network = dict.fromkeys(networks, default)
    # Values for all networks come first, so that a value for one network replaces them.
    for value in sorted(values, key=lambda text: text.partition("=")[0] in networks):
        name, separator, network_value = value.partition("=")
        if separator and name in networks:
            by_network[name] = network_value
        elif separator and name in ARCHITECTURES:
            raise UsageError(f"{option} {value} is for a network that is not trained; these are {', '.join(networks)}")
        else:
            by_network = dict.fromkeys(networks, value)
    return by_network


def _side(name: str, value: str) -> int:
    if value and not (value.isdecimal() and len(value) < 9):
        raise UsageError(f"--input-px is a number of pixels, received {value!r}")
    smallest, usual = INPUT_PX[name]
    side = int(value or usual)
    if side < smallest:
        raise UsageError(f"{name} takes inputs of at least {smallest} px, received {side}; raise --input-px")
    if side > MAX_INPUT_PX:
        raise UsageError(f"--input-px is at most {MAX_INPUT_PX} px, received {side}; lower it")
    return side
