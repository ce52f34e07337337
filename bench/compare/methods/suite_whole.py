"""This suite's whole way, from the start of its command to the report, as a method of the comparison.

`python run_bench.py` runs in a process of its own with a feature cache that is empty; the decoded images are those that
all methods read, and the weights those that all begin with. The rows of its trials are taken over as they come.
"""

import subprocess
import sys
import time
from pathlib import Path

from bench import checksums
from bench.compare.methods.experiment import Experiment, Outcomes
from bench.models.backbones import Backbone
from bench.models.weights import random_file
from bench.run.folder import RunDir
from bench.run.results import TrialRecord
from bench.run.tables import TRIALS

RUN = "run"
"""The run folder, in the folder of the method."""
POLL_SECONDS = 0.5
DONE = (0, 3)
"""Exit statuses of a run that came to its end; 3 says that many trials failed."""


def run(experiment: Experiment, outcomes: Outcomes) -> None:
    """Run the command, and write every trial's row when it has ended."""
    assert experiment.whole is not None
    cache = experiment.scratch / "cache"
    share(experiment, cache)
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


def share(experiment: Experiment, cache: Path) -> None:
    """Make ``cache``, with what all methods share: decoded images, and weights.

    A run draws random weights from its own seed, but all methods begin with those of seed 0, so these take the place of
    what it would draw.
    """
    assert experiment.whole is not None
    shared, seed = experiment.whole.cache, experiment.task.seed
    (cache / "weights").mkdir(parents=True)
    if (shared / "store").is_dir():
        (cache / "store").symlink_to(shared / "store", target_is_directory=True)
    files = {file.name: file for file in (shared / "weights").glob("*") if file.is_file()}
    for row in experiment.task.architectures.values():
        for drawn, own in zip(_random_files(row, shared, 0), _random_files(row, cache, seed), strict=True):
            if drawn.name in files:
                files[own.name] = drawn
    for name, file in files.items():
        (cache / "weights" / name).symlink_to(file)


def _random_files(row: Backbone, cache: Path, seed: int) -> tuple[Path, Path]:
    """The random weights of a backbone, and their checksum."""
    file = random_file(row, cache, seed)
    return file, checksums.beside(file)


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
