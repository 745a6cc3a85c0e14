"""The run_ids of nights, backfills and shadow runs."""

from __future__ import annotations

import hashlib
import re
from datetime import date

from models.spec import MAX_NAME_CHARACTERS, is_name


def nightly_run_id(run_date: date) -> str:
    """Return the run_id of a night, such as `nightly-2026-11-01`; a rerun has the same."""
    return f"nightly-{run_date}"


def backfill_run_id(
    first: date,
    last: date,
    release_id: str,
    *,
    category: str = "",
    only_missing: bool = False,
    include_left: bool = False,
) -> str:
    """Return the run_id of a backfill, made of its dates, release and selection.

    A category may have characters that no run_id has. Each becomes a hyphen, and a digest keeps the names apart.
    """
    parts = ["backfill", str(first), str(last), release_id, *([category] if category else [])]
    name = "-".join([*parts, *(["missing"] if only_missing else []), *(["left"] if include_left else [])])
    return name if is_name(name) else _with_digest(re.sub(r"[^A-Za-z0-9._-]", "-", name), name)


def shadow_run_id(run_id: str, release_id: str) -> str:
    """Return the run_id of a shadow run, different for each run and challenger, and never that of another run."""
    # The digest makes it unique: both names may contain dots, and a user may name a run `night.shadow.shop-2`.
    return _with_digest(f"{run_id}.shadow.{release_id}", run_id, release_id)


def _with_digest(name: str, *of: str) -> str:
    """Shorten a name and append a digest of the values `of`, which identify it."""
    digest = hashlib.sha256("\0".join(of).encode()).hexdigest()[:16]
    return f"{name[: MAX_NAME_CHARACTERS - len(digest) - 1]}-{digest}"
