"""Checks of the name of a new release, and the errors of writing one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import RunFailed, UsageError, check_name
from jobs.storage.places import Place, Places
from jobs.storage.stores import is_file
from models.release import MANIFEST, Release, ReleaseExists

ALIASES = ("champion", "challenger")
"""Names that can point to any release; therefore a release itself must not have such a name."""


def check_release_id(name: str) -> None:
    """Refuse a name for a new release that would be a path outside its directory, or that is an alias."""
    check_name("--release-id", name)
    if name in ALIASES:
        raise UsageError(f"--release-id {name} is an alias, which stands for the release that has it; choose a name")


def check_new(target: Path, places: Places) -> None:
    """Refuse a name for a new release that an existing one has, before any work is done.

    Args:
        target: Local directory of the new release.
        places: Directories and stores of the home; its store must not contain a release of that name either.

    Raises:
        UsageError: If the name is taken; choose another `--release-id`.
    """
    shared = places.releases / target.name
    message = "is there already and a release is never changed; choose another --release-id"
    if not isinstance(shared, Path) and is_file(shared / MANIFEST):
        raise UsageError(f"{shared} {message}")
    if target.exists():
        remedy = f", or take it to {shared} with `shelfwise release promote {target.name} --alias challenger`"
        raise UsageError(f"{target} {message}{'' if isinstance(shared, Path) else remedy}")


def check_same(where: Place, existing: Release, release: Release) -> None:
    """Refuse to write a new release over a different one of the same name.

    Args:
        where: Location of the existing release, for the message.
        existing: Existing release.
        release: Release to write.

    Raises:
        UsageError: If the two differ; rename one of them.
    """
    if existing != release:
        raise UsageError(f"{where} is another release of that name; a release is never changed, so rename one of them")


@contextmanager
def release_written(release_id: str, kept: str = "") -> Iterator[None]:
    """Replace the errors of a block that writes a new release by one clear message.

    Args:
        release_id: Identifier of the release.
        kept: Sentence on what is not lost, added to the message; empty adds nothing.

    Raises:
        UsageError: If another process made a release of that name meanwhile.
        RunFailed: In place of another OSError; then no release exists. Free some space and run the command again.
    """
    try:
        yield
    except ReleaseExists as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise RunFailed(
            f"release {release_id} could not be written ({error.strerror or error}); free some space and run the same "
            f"command{kept and f': {kept}'}"
        ) from error
