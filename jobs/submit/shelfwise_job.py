"""File to give to spark-submit: it starts the command line.

    spark-submit jobs/submit/shelfwise_job.py nightly --catalog shop.csv --run-date 2026-11-01

It is the only file of its folder: spark-submit puts the folder first on sys.path, where another file could shadow a
library.
"""

import atexit
import fcntl
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path


def locked_directory() -> str:
    """Make the directory for the code that spark-submit brought; the next run removes it if this process is killed."""
    while True:
        directory = tempfile.mkdtemp(prefix="shelfwise-code-")
        lock = Path(directory, ".in-use")
        fcntl.flock(os.open(lock, os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)  # held until the process ends
        if lock.exists():  # if not, another process removed the directory before the lock was held
            return directory


def unpack_wheel() -> None:
    """Unpack spark-submit's wheel of --py-files, if any: migrations, queries and page templates must be files."""
    for wheel in [path for path in sys.path if zipfile.is_zipfile(path)]:
        with zipfile.ZipFile(wheel) as archive:
            if "jobs/cli/main.py" not in archive.namelist():
                continue
            unpacked = locked_directory()
            atexit.register(shutil.rmtree, unpacked, ignore_errors=True)
            archive.extractall(unpacked)
        sys.path.insert(0, unpacked)
        return


if __name__ == "__main__":
    unpack_wheel()
    from jobs.cli.main import main
    from models.temporary import remove_left_behind

    remove_left_behind(Path(tempfile.gettempdir()))
    main()
