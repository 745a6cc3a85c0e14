"""Decide whether the images of a group, or of a whole night, are foreign to the release that answers them.

A few foreign images are normal: of images like the calibrating ones one in a hundred lies beyond the limit. A group is
foreign only if the exact lower bound (Clopper and Pearson, 1934) of its share of such images is high. There are no
tests of equality: with a hundred thousand images every group differs from every other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.answers.thresholds import precision_bound

CERTAINTY = 0.999
"""Certainty of the lower bounds, shared by the categories that have images within the limit (Bonferroni)."""

GROUP_SHARE = 0.1
"""A category's images are foreign if the bound of their share beyond the limit is above this."""

NIGHT_SHARE = 0.5
"""All images of a night or partition are foreign if the bound of their share beyond the limit is above this."""

_DIGITS = 12
"""Digits of a bound: that of 3 of 3 is 0.001 ** (1/3), which is exactly 0.1 and not above it."""


@dataclass(frozen=True)
class ImageCount:
    """Images of a group, and those of them that are foreign, each image by itself.

    Attributes:
        images: Images whose features gave a score.
        foreign: Of these, images with a score above 1.
    """

    images: int = 0
    foreign: int = 0

    @property
    def within(self) -> int:
        """Number of images within the limit."""
        return self.images - self.foreign

    def __add__(self, other: ImageCount) -> ImageCount:
        return ImageCount(self.images + other.images, self.foreign + other.foreign)


def lower_bound(count: ImageCount, *, looked_at: int = 1) -> float:
    """Return the one-sided lower bound of the share of foreign images, in [0, 1]; 0 without images.

    Args:
        count: Images of the group.
        looked_at: Number of groups that are looked at, at least 1; they share the certainty.
    """
    if not count.foreign:
        return 0.0
    bound = float(precision_bound(count.foreign, count.images, certainty=1 - (1 - CERTAINTY) / looked_at))
    return round(bound, _DIGITS)


def foreign_groups(counts: Mapping[str, ImageCount]) -> list[str]:
    """Return the categories whose images are foreign, in the order of the mapping.

    The categories that have images within the limit share the certainty: only these have answers that could be held
    back. If the others shared it too, foreign images of other categories would open the gate of a category.

    Args:
        counts: Images by predicted category, of one night or one partition.
    """
    looked_at = max(sum(count.within > 0 for count in counts.values()), 1)
    return [name for name, count in counts.items() if _exceeds(count, GROUP_SHARE, looked_at=looked_at)]


def foreign_whole(counts: Mapping[str, ImageCount]) -> bool:
    """Return whether all images of a night or partition together are foreign; arguments as for `foreign_groups`."""
    return _exceeds(sum(counts.values(), ImageCount()), NIGHT_SHARE)


def without_scores(images: int, without: int) -> bool:
    """Return whether the gate of a night or partition could not be computed: for all of its images, or surely for many.

    A single picture may overflow the networks; a description that cannot be used leaves every image without a score.

    Args:
        images: All images.
        without: Of these, images without a score.
    """
    return without > 0 and (without == images or _exceeds(ImageCount(images, without), GROUP_SHARE))


def _exceeds(count: ImageCount, share: float, *, looked_at: int = 1) -> bool:
    """Return whether the bound of a group is above a share.

    The bound is never above the share that was observed. So an ordinary night, of which a few images are foreign, does
    without SciPy, which takes 0.5 s to import.
    """
    return count.foreign > share * count.images and lower_bound(count, looked_at=looked_at) > share
