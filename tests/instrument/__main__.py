"""Runs on labels that mean nothing: ``python -m tests.instrument --runs 50``; 5 % may find something by chance."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from instrument.null import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.instrument", description=__doc__)
    parser.add_argument("--runs", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    given = parser.parse_args()
    sys.exit(1 if main(given.runs, given.seed) > max(3, 0.06 * given.runs) else 0)
