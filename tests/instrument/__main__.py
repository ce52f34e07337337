"""Runs on labels that mean nothing: ``python -m tests.instrument --runs 50``; 5 % may find each kind by chance.

``--coverage 200`` simulates so many studies of each kind instead, and prints how often each interval held the truth.
With ``--planted``, runs on images with a leak, a shortcut, a mark and a scanner effect, of which each must be told.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from instrument import coverage, planted
from instrument.null import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.instrument", description=__doc__)
    parser.add_argument("--runs", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--relabel", type=int, default=0, metavar="N", help="draw the test labels of each run N times")
    parser.add_argument("--planted", action="store_true", help="plant faults instead")
    parser.add_argument("--coverage", type=int, metavar="STUDIES", help="simulate studies instead")
    given = parser.parse_args()
    if given.planted:
        sys.exit(1 if planted.main(given.seed) else 0)
    if given.coverage:
        print(coverage.table(coverage.KINDS, given.coverage).mul(100).round(1).to_string())
        sys.exit()
    sys.exit(0 if main(given.runs, given.seed, given.relabel) else 1)
