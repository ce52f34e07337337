"""What a method is given and what it leaves: an `Experiment` goes in, one row per ended trial comes out."""

import csv
import threading
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import psutil

from bench.compare.methods.table import Method
from bench.data.images.store import StoredImages
from bench.run.results import STATES
from bench.run.tables import CONFIG, Column, Schema, Type, integers, keys, numbers, text
from bench.search.space import Space
from bench.texts import as_cell
from bench.train.task import Task
from bench.trial import TrialConfig

OUTCOMES = Schema(
    "outcomes.csv",
    (
        *keys("method"),
        Column("seed", Type.INTEGER, needed=True),
        Column("trial", Type.INTEGER, needed=True),
        *keys("state"),
        *numbers("ended", "core_seconds", "auc"),
        *integers("epochs"),
        *text("reason"),
        *CONFIG,
    ),
)
"""One row per trial: ``ended`` in seconds since the method's process started, ``core_seconds`` of CPU time until then,
``auc`` on validation, ``epochs`` of all phases."""
COMPARED = replace(OUTCOMES, file="compare.csv")
"""The rows of all methods."""
SEARCHED = "searched"
"""In a method's folder, once its search has come to its end and evaluated models are still to follow."""
SAMPLING_SECONDS = 0.5
"""Between two samples of the processes' CPU times; of a process that ends, the time since its last sample is lost."""


@dataclass(frozen=True)
class WholeWay:
    """What a method needs that goes on from the search to evaluated models.

    Attributes:
        flags: of this suite's command, without their dashes -> their values.
        cache: of the comparison; what is decoded already lies there.
        images: backbone name -> the stored set at that backbone's size, without a seal.
        rows: row numbers of the test images; a method predicts them after its choices.
        labels: class indices of these.
        classes: names.
        repeats: seeds that the best of each backbone is trained with.
    """

    flags: Mapping[str, Any]
    cache: Path
    images: Mapping[str, StoredImages]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    repeats: int


@dataclass(frozen=True)
class Experiment:
    """All that a method needs: images, labels, weights, space and number of trials are the same for every method.

    Attributes:
        method: row of the table of methods.
        task: images, labels, weights and limits of training; its seed decides samples, initial heads, orders and
            augmentation; views and feature cache are used by this suite only.
        space: what is searched.
        configurations: a fixed list to train instead of a search; empty for a search.
        budget: number of trials.
        jobs: trials at a time; 0 lets a method choose.
        scratch: folder for temporary files.
        whole: for methods that go the whole way.
    """

    method: Method
    task: Task
    space: Space
    configurations: tuple[TrialConfig, ...]
    budget: int
    jobs: int
    scratch: Path
    whole: WholeWay | None = None


def read_rows(schema: Schema, folder: Path) -> pd.DataFrame:
    """The rows of ``schema`` in ``folder``, if any; what a method that was killed has left half is no row."""
    return schema.frame(schema.read_leniently(folder)[0] if (folder / schema.file).exists() else [])


class Clock:
    """Seconds since this process was started, and core-seconds of it and its descendants, Ray's workers included.

    `resource.getrusage` would miss what is still running, and children that Ray does not wait for; so a thread samples
    the whole tree of processes twice a second and remembers what each has used, also once it is gone.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._used: dict[tuple[int, float], float] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def read(self) -> tuple[float, float]:
        """(seconds, core-seconds) since the process was started."""
        with self._lock:
            self._sample()
            return time.time() - self._process.create_time(), sum(self._used.values())

    def _watch(self) -> None:
        while True:
            with self._lock:
                self._sample()
            time.sleep(SAMPLING_SECONDS)

    def _sample(self) -> None:
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                times = process.cpu_times()
                self._used[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:  # it has just ended
                continue


class Outcomes:
    """The rows of one method, written as soon as each trial has ended: a method that is killed keeps them."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder = folder
        self._file, self._notes = folder / OUTCOMES.file, folder / "notes.txt"
        self._name, self._seed = experiment.method.name, experiment.task.seed
        self._clock = Clock()
        self._trial = 0
        with self._file.open("w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerow(OUTCOMES.names)

    def note(self, text: str) -> None:
        """Something that the reader of the comparison should know."""
        with self._notes.open("a", encoding="utf-8") as notes:
            notes.write(" ".join(text.split()) + "\n")

    def searched(self) -> None:
        """Note that the search has come to its end: what follows is no part of its time."""
        (self.folder / SEARCHED).touch()

    def add(self, config: TrialConfig, auc: float | None, epochs: int, state: str, reason: str = "") -> None:
        """Write the row of a trial that has just ended.

        Args:
            config: what was trained.
            auc: on validation, of its best epoch of the phase that counts; None if it failed.
            epochs: of all its phases.
            state: ``completed``, ``pruned`` or ``failed``.
            reason: why it was stopped or failed.

        Raises:
            ValueError: for an unknown state, or a score that does not go with it.
        """
        if state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}, but got {state!r}")
        if (auc is None) != (state == "failed"):
            raise ValueError(f"a trial has a score unless it failed, but got {auc!r} of a {state} trial")
        ended, core_seconds = self._clock.read()
        row = [self._name, self._seed, self._trial, state, round(ended, 3), round(core_seconds, 2), auc, epochs]
        self._trial += 1
        with self._file.open("a", newline="", encoding="utf-8") as table:
            csv.writer(table).writerow([*row, as_cell(" ".join(reason.split())), *astuple(config)])
