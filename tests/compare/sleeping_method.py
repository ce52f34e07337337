"""A method of the comparison that ends one trial and then never comes to its end."""

import time
from typing import Any

from bench.trial import TrialConfig


def run(experiment: Any, outcomes: Any) -> None:
    """One row, and sleep."""
    outcomes.note("about to sleep")
    outcomes.add(TrialConfig("toy"), 0.75, 2, "completed")
    time.sleep(600)
