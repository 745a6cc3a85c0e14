"""The command `shelfwise`: parse the arguments, call one job, print one summary, and exit with a code.

Exit codes: 0 if the job succeeded, 1 if the run failed, 2 if the command was wrong. With `--json` one JSON document is
written to stdout. Log lines and error messages go to stderr.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext

import click
from pydantic import ValidationError

from jobs.cli import catalog as cli_catalog
from jobs.cli import database as cli_database
from jobs.cli import decisions as cli_decisions
from jobs.cli import demo as cli_demo
from jobs.cli import output, past_runs
from jobs.cli import releases as cli_releases
from jobs.cli import report as cli_report
from jobs.cli import review as cli_review
from jobs.cli import runs as cli_runs
from jobs.cli import training as cli_models
from jobs.errors import RunFailed, UsageError
from jobs.settings import misspelt, private_home, sentence_of
from jobs.storage.modes import private_files
from models.options import HELP
from models.release import ReleaseError
from sql.errors import DatabaseError, UnknownNameError

_GOES_ON = "what was finished is kept, and the same command goes on from there"
_REMEDIES = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "free some space, or have the quota raised",
    errno.EACCES: "give this user the right to it, or name another place",
    errno.EROFS: "its disk takes no writing, so name another place",
    errno.ENOTDIR: "something above it is no directory, so name another place",
    errno.ENAMETOOLONG: "its name is too long, so name another place",
    errno.ELOOP: "its symbolic links form a loop, so name another place",
}
"""What the user can do about an error of the file system, by errno; used whichever step raised it."""


@click.group(context_settings=HELP)
@click.version_option(package_name="shelfwise")
def main_group() -> None:
    """Put products into categories by their images, with a confidence for each answer.

    \b
    Example:
      shelfwise nightly --catalog shop.csv --run-date 2026-11-01
      shelfwise query category_counts
    """


for command in (
    cli_demo.demo,
    cli_catalog.catalog,
    cli_runs.nightly,
    cli_runs.backfill,
    cli_runs.ingest,
    cli_runs.ingest_refusal,
    cli_runs.predict,
    cli_runs.publish,
    cli_runs.finish_night,
    cli_runs.shadow,
    past_runs.runs,
    cli_report.report,
    cli_models.finetune,
    cli_models.evaluate,
    cli_models.export_arrays,
    cli_releases.release,
    cli_database.query,
    cli_decisions.override,
    cli_decisions.review,
    cli_database.db,
):
    main_group.add_command(command)
for command in (cli_review.serve, cli_review.people):
    cli_decisions.review.add_command(command)


def main() -> None:
    """Run the command line; turn every expected error into a one-sentence message and an exit code."""
    output.configure_logging()
    for sentence in misspelt(os.environ):
        logging.getLogger(__name__).warning("%s", sentence)
    try:
        with _modes():
            main_group(standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        output.message(shown.getvalue().removesuffix("\n"))
        sys.exit(2)
    except click.Abort:
        _fail(f"interrupted; {_GOES_ON}", 1)
    except ValidationError as error:
        _fail(sentence_of(error), 2)
    except (UsageError, ReleaseError, UnknownNameError) as error:
        _fail(str(error), 2)
    except (RunFailed, DatabaseError) as error:
        _fail(str(error), 1)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:  # probably a bug of this program, so its traceback is needed
            raise
        where = error.filename or "a file in SHELFWISE_HOME, SHELFWISE_LOCAL_DIR or TMPDIR"
        _fail(f"{where} cannot be written or read ({os.strerror(error.errno or 0)}); {remedy}; {_GOES_ON}", 1)


def _modes() -> AbstractContextManager[None]:
    """Return the block in which new files are for this user alone, unless the home is shared."""
    home = private_home()
    return nullcontext() if home is None else private_files(home)


def _fail(sentence: str, code: int) -> None:
    output.message(f"shelfwise: {sentence}")
    sys.exit(code)


if __name__ == "__main__":
    main()
