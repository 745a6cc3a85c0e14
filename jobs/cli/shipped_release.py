"""Tell users who tag a catalog of their own with the shipped release that it is made for the demo."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

from jobs.demo.shop import is_shop
from jobs.ingest.reports import last_catalog
from jobs.releases.lookup import current_aliases
from jobs.settings import Settings
from models.release import SHIPPED

log = logging.getLogger(__name__)


def warn_of_shipped_release(settings: Settings, name: str | None, release_dir: Path, catalog: str) -> None:
    """Log a line if a night uses the shipped release only because there is no other, and not for the demo's articles.

    Args:
        settings: Settings with the default release.
        name: Release as the user gave it; None if no release was given.
        release_dir: Directory of the release that the night uses.
        catalog: Catalog of the night.
    """
    chosen = name is not None or settings.release_dir != SHIPPED
    if chosen or release_dir.absolute() != SHIPPED.absolute() or is_shop(catalog):
        return
    if current_aliases(settings).get("champion"):
        return  # somebody has promoted the shipped release
    log.warning(
        "the shipped release %s is for the demo: it knows ten kinds of articles on black and will mistake other "
        "products; make your own with `shelfwise finetune --quick`, or take one with `shelfwise release import`",
        release_dir.name,
    )


def warn_of_ingested_night(settings: Settings, name: str | None, release_dir: Path, day: date) -> None:
    """Log the same line for a night that an earlier command has ingested, if its catalog is known.

    Args:
        settings: Settings with the default release, and the home with the report of the ingest.
        name: Release as the user gave it; None if no release was given.
        release_dir: Directory of the release that the night uses.
        day: Date of the night.
    """
    catalog = last_catalog(settings.places, day)
    if catalog is not None:
        warn_of_shipped_release(settings, name, release_dir, catalog)
