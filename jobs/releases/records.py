"""What the product database keeps of a release, and how its manifest decides for a product of several images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from models.answers.decision import Policy
from models.answers.products import answer_of_images
from models.release import Release
from sql.records import (
    CategoryRecord,
    Combine,
    Decision,
    ReleaseRecord,
)


def category_records(release: Release) -> list[CategoryRecord]:
    """Return the leaves and inner nodes that a release answers with."""
    return [CategoryRecord(**asdict(category)) for category in release.nodes]


def release_record(release: Release) -> ReleaseRecord:
    """Return how the database knows a release."""
    return ReleaseRecord(release.release_id, release.taxonomy_version, manifest_of(release))


def decider(manifest: Mapping[str, Any]) -> Combine:
    """Return how several images of a product become one answer.

    Args:
        manifest: Of the release that answered, as `manifest_of` makes it and the table `releases` keeps it.
    """
    policy = Policy(manifest["thresholds"], manifest["floor"])

    def combine(images: Sequence[Sequence[tuple[str, float]]]) -> Decision:
        answer = answer_of_images(images, policy)
        return Decision(answer.category_id, answer.confidence, answer.status)

    return combine


def manifest_of(release: Release) -> dict[str, Any]:
    """Return what the database keeps of release.json."""
    whole = asdict(release)
    left_out = ("release_id", "taxonomy_version", "categories")
    return {key: value for key, value in whole.items() if key not in left_out}
