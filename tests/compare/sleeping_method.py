"""A method of the comparison that ends one trial and then never comes to its end, nor does what it has started."""

import subprocess
import sys
import time
from typing import Any

from bench.trial import TrialConfig


def run(experiment: Any, outcomes: Any) -> None:
    """One row, and sleep beside another process."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    outcomes.note("about to sleep")
    outcomes.add(TrialConfig("toy"), 0.75, 2, "completed")
    time.sleep(600)
