"""Read release.json, which may come from anywhere, and check its values before anything expensive starts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.answers.taxonomy import fault_of_id, has_control_character
from models.networks.heads import most_middles
from models.networks.registry import ARCHITECTURES, INPUT_PX
from models.spec import PREPROCESSING, Category, NetworkSpec, is_name, is_number

MAX_BYTES = 32 * 2**20
"""Largest release.json that is read, in bytes: ten times that of a release of 20,000 categories."""

MAX_INPUT_PX = 4096
"""Largest side of a network's input, in pixels."""

TEMPERATURES = (1e-3, 1e3)
"""Lowest and highest temperature. Fitted ones lie between 0.05 and 20; beyond these limits numbers overflow."""

_MAX_DEPTH = 64


def read_manifest(path: Path) -> Any:
    """Read release.json.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        ValueError: If it is too large, no JSON in UTF-8, or nested too deep.
    """
    with path.open("rb") as file:
        return parsed_manifest(file.read(MAX_BYTES + 1))


def parsed_manifest(content: bytes) -> Any:
    """Parse the bytes of a release.json.

    Args:
        content: The bytes, at least the first `MAX_BYTES` + 1.

    Returns:
        The value of the JSON document.

    Raises:
        ValueError: If it is too large, no JSON in UTF-8, or nested too deep.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES // 2**20} MiB")
    try:
        document = json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    level = [document]
    for _ in range(_MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise ValueError("it is nested too deep")
    return document


def _inside(value: Any) -> Sequence[Any]:
    """Return the values directly inside of an object or list of JSON."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def check_kinds(raw: Mapping[str, Any], categories: Sequence[Category]) -> None:
    """Check texts and objects: no name may lead to another directory, and no text may hold control characters.

    Args:
        raw: Content of release.json.
        categories: Its categories.

    Raises:
        ValueError: If a value is of another type, or no valid text.
    """
    if not is_name(raw["release_id"]):
        raise ValueError(
            f"its release_id is {raw['release_id']!r} where letters, digits, '.', '_' and '-' were expected"
        )
    texts = [raw["taxonomy_version"], raw.get("code_version", "")]
    texts += [text for category in categories for text in (category.category_id, category.category_path)]
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"{wrong[0]!r} stands where a text was expected")
    if wrong := [text for text in texts if has_control_character(text)]:
        raise ValueError(f"its text {wrong[0][:80]!r} holds control characters")
    for category in categories:
        if fault := fault_of_id(category.category_id):
            raise ValueError(f"its category_id {category.category_id[:80]!r} {fault}")
    for name in ("thresholds", "promises", "metrics", "training"):
        if not isinstance(raw.get(name, {}), dict):
            raise ValueError(f"its {name} are not an object of names and values")


def check_networks(networks: Sequence[NetworkSpec]) -> None:
    """Check files, architectures, inputs and shares of a release's networks.

    Args:
        networks: Networks of release.json, at least one.

    Raises:
        ValueError: If a value cannot be served, or two networks are of one architecture, which is their name.
    """
    for network in networks:
        if Path(network.weights_file).name != network.weights_file or network.weights_file in ("", ".."):
            raise ValueError(f"weights_file {network.weights_file!r} leaves the release's directory")
        if network.architecture not in ARCHITECTURES:
            raise ValueError(f"its architecture {network.architecture!r} is unknown; upgrade shelfwise")
        if network.preprocessing not in PREPROCESSING:
            raise ValueError(f"its preprocessing {network.preprocessing!r} is unknown; upgrade shelfwise")
        if network.middles > (most := most_middles(network.architecture)):
            raise ValueError(
                f"the head of {network.architecture} joins the middles of {network.middles} earlier feature maps "
                f"where at most {most} were expected; upgrade shelfwise"
            )
        smallest = INPUT_PX.get(network.architecture, (1,))[0]
        if type(network.input_px) is not int or not smallest <= network.input_px <= MAX_INPUT_PX:
            raise ValueError(
                f"the input_px of {network.architecture} is {network.input_px!r} where pixels from {smallest} to "
                f"{MAX_INPUT_PX} were expected"
            )
    names = [network.architecture for network in networks]
    if len(set(names)) < len(names):
        raise ValueError(f"its networks are {', '.join(names)} where different architectures were expected")
    shares = [_number(network.ensemble_weight, "an ensemble weight") for network in networks]
    if min(shares) < 0 or abs(math.fsum(shares) - 1) > 1e-6:
        raise ValueError(f"its ensemble weights are {shares} where shares that sum to 1 were expected")


def check_numbers(raw: Mapping[str, Any]) -> None:
    """Check temperature and thresholds, so that no meaningless confidence reaches the database.

    Args:
        raw: Content of release.json.

    Raises:
        ValueError: If a number is out of its range.
    """
    low, high = TEMPERATURES
    if not low <= _number(raw["temperature"], "its temperature") <= high:
        expected = f"a number from {low:g} to {high:g}"
        raise ValueError(f"its temperature is {raw['temperature']} where {expected} was expected")
    limits = {"its floor": raw.get("floor", 0.0)}
    limits |= {f"its threshold of {name}": value for name, value in (raw.get("thresholds") or {}).items()}
    for name, value in limits.items():
        if value is not None and not 0 <= _number(value, name) <= 1:
            raise ValueError(f"{name} is {value} where a confidence from 0 to 1 was expected")


def _number(value: Any, name: str) -> float:
    """Return a value that is a finite number; see `models.spec.is_number` for what is refused."""
    if not is_number(value):
        raise ValueError(f"{name} is {repr(value)[:80]} where a number was expected")
    return float(value)
