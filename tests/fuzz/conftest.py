"""Finds the helpers of the tests whose files are damaged here."""

import sys
from pathlib import Path

for folder in ("data", "report"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
