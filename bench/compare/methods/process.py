"""One method under one seed: a process of its own, watched until it ends or its time is up."""

import importlib
import multiprocessing
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.compare.family import end, end_with_parent
from bench.compare.methods.experiment import OUTCOMES, SEARCHED, Experiment, Outcomes, read_rows
from bench.compare.methods.table import Method
from bench.compare.record import Ended, read
from bench.device import plain_keras, quiet
from bench.run.folder import write_json


@dataclass(frozen=True)
class MethodRun:
    """The folder of one method under one seed; its marker ``ended.json`` is written last."""

    folder: Path
    method: Method
    seed: int

    @property
    def cache(self) -> Path:
        """Its feature cache, kept for a method that goes on from it."""
        return self.folder / "cache"

    def ended(self) -> Ended | None:
        """How it ended; None if it has not."""
        return read(Ended, self.folder / "ended.json")

    def end(self, state: str, seconds: float = 0.0, reason: str = "", time_limit: float | None = None) -> Ended:
        """Write how it ended."""
        notes = self.folder / "notes.txt"
        told = tuple(notes.read_text(encoding="utf-8").splitlines()) if notes.exists() else ()
        ended = Ended(
            method=self.method.name,
            seed=self.seed,
            state=state,
            seconds=round(seconds, 3),
            search=self._searched() if self.method.whole else None,
            reason=reason,
            notes=told,
            time_limit=time_limit,
        )
        write_json(self.folder / "ended.json", ended)
        return ended

    def _searched(self) -> float | None:
        """Seconds until the last trial ended; None if none did, or the search did not come to its end."""
        ended = self.rows()["ended"]
        return float(ended.max()) if (self.folder / SEARCHED).exists() and ended.notna().any() else None

    def rows(self) -> pd.DataFrame:
        """Its rows; none if it has none."""
        return read_rows(OUTCOMES, self.folder)

    def forget(self) -> None:
        """Remove what it has left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def begin_anew(self) -> None:
        """Forget what an interrupted run has left."""
        self.forget()
        self.folder.mkdir(parents=True)

    def no_cache(self) -> str:
        """Why no other method can go on from its cache; empty if one can."""
        ended = self.ended()
        if ended is None or ended.state != "finished":
            return f"{self.method.name} did not finish under this seed, so its cache is not whole"
        return "" if self.cache.is_dir() else f"{self.method.name} left no cache under this seed"

    def carry_out(self, experiment: Experiment, time_limit: float | None) -> Ended:
        """Run the method; its rows are kept whatever becomes of it, and its output in log.txt."""
        experiment.scratch.mkdir(parents=True)
        started = time.monotonic()
        process = multiprocessing.get_context("spawn").Process(target=_run, args=(experiment, self.folder))
        try:
            process.start()
            process.join(time_limit)
            status = process.exitcode
        finally:
            if process.pid is not None:
                end(process.pid)
                process.join()
        seconds = time.monotonic() - started
        shutil.rmtree(experiment.scratch, ignore_errors=True)
        state = "time limit" if status is None else "failed" if status else "finished"
        return self.end(state, seconds, _last_line(self.folder / "log.txt") if status else "", time_limit)


def _run(experiment: Experiment, folder: Path) -> None:
    """In the method's process: run it; what it prints goes into log.txt."""
    end_with_parent()
    os.setsid()  # Ctrl-C reaches the comparison, which ends the method in order
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    quiet()
    outcomes = Outcomes(folder, experiment)
    method = importlib.import_module(experiment.method.module)
    if "keras" in sys.modules:
        plain_keras()
    method.run(experiment, outcomes)


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without output"
