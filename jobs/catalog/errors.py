"""Errors of reading a catalog: one sentence each, with the file, the place in it and the remedy."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from jobs.errors import RunFailed, UsageError
from jobs.storage.faults import masked
from jobs.storage.places import Place
from jobs.wording import one_line

CHECK_HINT = "`shelfwise catalog check --write` shows how it is read and guesses what it does not say"


@contextmanager
def refusals_point_to_check() -> Iterator[None]:
    """Add to the refusal of a catalog, once, which command shows what is understood of it.

    Raises:
        UsageError: The refusal.
    """
    try:
        yield
    except UsageError as error:
        if CHECK_HINT in str(error):
            raise
        raise UsageError(f"{error}; {CHECK_HINT}") from error


def catalog_error(where: str | Place, what: str) -> UsageError:
    """Return the error for a faulty row or file of any catalog format: one line of printable characters."""
    return UsageError(one_line(f"catalog {masked(where)} {what}"))


@contextmanager
def read_errors_explained(where: str | Place) -> Iterator[None]:
    """Replace the exceptions of reading a catalog file of any format by errors of one sentence.

    Raises:
        UsageError: If the file is damaged or missing, or this user has no permission to read it.
        RunFailed: If its disk failed to read; the same command may succeed when it is repeated.
    """
    try:
        yield
    except MemoryError:  # pyarrow's MemoryError is an ArrowException too
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise catalog_error(where, "is gone; put it back, or correct the call") from error
    except IsADirectoryError as error:
        raise catalog_error(
            where, "is a directory where a file is expected; name that directory as the catalog"
        ) from error
    except UnicodeEncodeError as error:  # pyarrow opens no other paths
        raise catalog_error(where, "has a path that is no UTF-8; rename the file or its folders") from error
    except PermissionError as error:
        raise catalog_error(where, "may not be read by this user; grant reading") from error
    except (pa.ArrowException, EOFError, zlib.error, OSError) as error:
        # A damaged Parquet file points to offsets outside itself, which raises EINVAL; gzip's error has no errno.
        number = error.errno if isinstance(error, OSError) else None
        if number not in (None, errno.EINVAL):
            raise RunFailed(
                f"catalog {masked(where)} cannot be read ({os.strerror(number)}); see to its disk and "
                "run the same again"
            ) from error
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise catalog_error(where, f"cannot be read ({reason}); write it again") from error
