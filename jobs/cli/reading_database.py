"""The product database for commands that only read: they make no home, and no database in it."""

from __future__ import annotations

import atexit
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from jobs.cli.options import database_of
from jobs.settings import Settings
from models.temporary import temporary_directory

if TYPE_CHECKING:
    from sql.store import ProductDatabase

log = logging.getLogger(__name__)

_kept = ExitStack()
atexit.register(_kept.close)


def reading_database_of(settings: Settings) -> ProductDatabase:
    """Open the product database for a command that only reads it, and check its schema.

    If the embedded database does not exist yet, the result is an empty one outside the home, which is deleted when
    the process ends: all queries work, and find nothing.
    """
    from sql.store import open_database

    if settings.database_url or not open_database(settings.url).is_new():
        return database_of(settings)
    log.info("nothing is there yet: the first night makes %s", settings.embedded_database)
    database = open_database(f"sqlite:///{_kept.enter_context(temporary_directory()) / 'empty.db'}")
    database.make()
    return database
