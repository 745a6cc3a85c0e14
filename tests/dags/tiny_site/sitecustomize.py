"""Makes the tiny network known to every Python process that has this folder on PYTHONPATH: tasks, their Spark too.

Where a test has something stand in for the jobs, it also takes the place of `shelfwise`.
"""

import os
import sys
from pathlib import Path

if "STAND_IN" in os.environ and Path(sys.argv[0]).name == "shelfwise":
    from tests.dags.stand_in import shelfwise

    shelfwise()

from models.networks.registry import ARCHITECTURES, INPUT_PX

ARCHITECTURES["tiny"] = "tests.tiny_network"
INPUT_PX["tiny"] = (16, 16)
