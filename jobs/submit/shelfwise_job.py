"""What spark-submit runs: `spark-submit jobs/submit/shelfwise_job.py nightly --catalog shop.csv --run-date 2026-11-01`.

Alone in its folder, because spark-submit puts that folder first on sys.path, where a neighbour could hide a library.
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
    """Make a directory that the next run removes if this process is killed; as jobs.storage.temporary does."""
    while True:
        directory = tempfile.mkdtemp(prefix="shelfwise-code-")
        lock = Path(directory, ".in-use")
        fcntl.flock(os.open(lock, os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)  # held until the process ends
        if lock.exists():  # else another process took it for left behind, in the moment before the lock
            return directory


def unpack_wheel() -> None:
    """Unpack the wheel that --py-files brought, if any: migrations, queries and pages have to be files."""
    for place in [path for path in sys.path if zipfile.is_zipfile(path)]:
        with zipfile.ZipFile(place) as archive:
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
    from jobs.storage.temporary import remove_left_behind

    remove_left_behind(Path(tempfile.gettempdir()))
    main()
