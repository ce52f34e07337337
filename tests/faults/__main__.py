"""Kills, corruptions and power cuts in runs on toys: ``python -m tests.faults --kills 200 --corruptions 200``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.campaign import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    for flag in ("kills", "corruptions", "power-cuts"):
        parser.add_argument(f"--{flag}", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.exit(1 if main(given.kills, given.corruptions, given.power_cuts, given.seed) else 0)
