"""What spark-submit runs: `spark-submit jobs/submit/shelfwise_job.py nightly --catalog shop.csv --run-date 2026-11-01`.

Alone in its folder, because spark-submit puts that folder first on sys.path, where a neighbour could hide a library.
"""

import atexit
import shutil
import sys
import tempfile
import zipfile


def unpack_wheel() -> None:
    """Unpack the wheel that --py-files brought, if any: migrations, queries and pages have to be files."""
    for place in [path for path in sys.path if zipfile.is_zipfile(path)]:
        with zipfile.ZipFile(place) as archive:
            if "jobs/cli.py" not in archive.namelist():
                continue
            unpacked = tempfile.mkdtemp(prefix="shelfwise-code-")
            atexit.register(shutil.rmtree, unpacked, ignore_errors=True)
            archive.extractall(unpacked)
        sys.path.insert(0, unpacked)
        return


if __name__ == "__main__":
    unpack_wheel()
    from jobs.cli import main

    main()
