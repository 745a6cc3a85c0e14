"""Makes the tiny network known to every Python process that has this folder on PYTHONPATH: tasks, their Spark too."""

from models.networks.registry import ARCHITECTURES, INPUT_PX

ARCHITECTURES["tiny"] = "tests.tiny_network"
INPUT_PX["tiny"] = (16, 16)
