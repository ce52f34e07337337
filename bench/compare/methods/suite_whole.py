"""This suite's whole way, from the start of its command to the report, as a method of the comparison.

`python run_bench.py` runs in a process of its own with a feature cache that is empty; the decoded images are those that
all methods read. The rows of its trials are taken over as they come.
"""

import subprocess
import sys
import time

from bench.compare.methods.experiment import Experiment, Outcomes
from bench.run.folder import RunDir
from bench.run.results import TrialRecord
from bench.run.tables import TRIALS

RUN = "run"
"""The run folder, in the folder of the method."""
SHARED = ("store", "weights")
"""What of the cache is there before any method begins: decoded images and weights."""
POLL_SECONDS = 0.5
DONE = (0, 3)
"""Exit statuses of a run that came to its end; 3 says that many trials failed."""


def run(experiment: Experiment, outcomes: Outcomes) -> None:
    """Run the command, and write every trial's row when it has ended."""
    assert experiment.whole is not None
    cache = experiment.scratch / "cache"
    cache.mkdir()
    for name in SHARED:
        if (experiment.whole.cache / name).is_dir():
            (cache / name).symlink_to(experiment.whole.cache / name, target_is_directory=True)
    places = {"name": RUN, "output": outcomes.folder, "cache": cache, "seed": experiment.task.seed}
    given = {**experiment.whole.flags, **places}
    flags = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", "bench", "run", *flags])
    known: set[int] = set()
    while True:
        ended = process.poll() is not None  # before its rows are read, so that the last ones are
        _take_over(outcomes, known)
        if ended:
            break
        time.sleep(POLL_SECONDS)
    if process.returncode not in DONE:
        raise RuntimeError(f"the run ended with status {process.returncode}; log.txt tells why")
    outcomes.note(f"left {outcomes.folder / RUN / 'report.html'}")


def _take_over(outcomes: Outcomes, known: set[int]) -> None:
    """Write the rows of trials that have ended and were not ``known``, and whether the search has."""
    folder = outcomes.folder / RUN
    searched = RunDir(folder).finished("search")  # likewise
    rows = TRIALS.records(folder) if (folder / TRIALS.file).exists() else []
    for record in (TrialRecord.from_row(row) for row in rows if row["trial"] not in known):
        auc = record.metrics["auc"] if record.metrics else None
        outcomes.add(record.config, auc, record.epochs, record.state, record.reason)
        known.add(record.trial)
    if searched:
        outcomes.searched()
