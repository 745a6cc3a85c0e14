"""Lets `tests.dags.stand_in` take the place of `shelfwise` in every Python process with this folder on PYTHONPATH."""

import os
import sys
from pathlib import Path

if "STAND_IN" in os.environ and Path(sys.argv[0]).name == "shelfwise":
    from tests.dags.stand_in import shelfwise

    shelfwise()
