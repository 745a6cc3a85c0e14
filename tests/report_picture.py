"""Make the picture of a report in the README: of the second night of the demo.

    python -m tests.report_picture jobs/report.png

Runs the demo in a temporary home, writes the report, and takes a screenshot of its upper part with the test browser.
The file is reduced to few colours, so that it is small.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from jobs.demo.nights import RUN_IDS
from tests.browser import screenshot

HEIGHT_PX = 1900


def main(target: Path) -> None:
    """Write the picture to a PNG file."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "SHELFWISE_HOME": home}
        page = Path(home) / "report.html"
        for arguments in (["demo"], ["report", "--run-id", RUN_IDS[1], "--output", str(page)]):
            subprocess.run([sys.executable, "-m", "jobs.cli.main", *arguments], env=environment, check=True)
        screenshot(page.as_uri(), target, height_px=HEIGHT_PX, whole=False)
    with Image.open(target) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
