"""What the database stores of a release: records of the release and its categories, and the rule of its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from models.answers.decision import Policy
from models.answers.products import ImageVote, answer_of_images
from models.release import Release, as_data
from sql.records import (
    CategoryRecord,
    Combine,
    Decision,
    ReleaseRecord,
    StoredImage,
)


def category_records(release: Release) -> list[CategoryRecord]:
    """Make the database records of a release's categories: leaves and inner nodes."""
    return [CategoryRecord(**asdict(category)) for category in release.nodes]


def release_record(release: Release) -> ReleaseRecord:
    """Make the database record of a release."""
    return ReleaseRecord(release.release_id, release.taxonomy_version, manifest_of(release))


def decider(manifest: Mapping[str, Any]) -> Combine:
    """Turn the manifest that the database keeps of a release into a function that decides a product by its images.

    Args:
        manifest: Manifest of the release that predicted, from `manifest_of` or the table `releases`.
    """
    policy = Policy(manifest["thresholds"], manifest["floor"])

    def combine(images: Sequence[StoredImage]) -> Decision:
        answer = answer_of_images([ImageVote(*image) for image in images], policy)
        return Decision(answer.category_id, answer.confidence, answer.status, answer.review_reason)

    return combine


def manifest_of(release: Release) -> dict[str, Any]:
    """Make the manifest that the database stores: release.json without what other columns and tables contain."""
    whole = as_data(release)
    left_out = ("release_id", "taxonomy_version", "categories")
    return {key: value for key, value in whole.items() if key not in left_out}
