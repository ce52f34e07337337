"""One method under one seed: a process of its own, watched until it ends or its time is up."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import psutil

from bench.compare.methods.methods import Method
from bench.compare.spec import COLUMNS, Spec
from bench.run.folder import write_json
from bench.run.results import TEXT_COLUMNS


@dataclass(frozen=True)
class Ended:
    """How a method ended.

    Attributes:
        method: its name.
        seed: of its run.
        state: ``finished``, ``time limit`` (its rows so far count) or ``failed``.
        seconds: after how long.
        reason: why it failed.
        notes: what it wants the reader to know.
        time_limit: seconds that it was given; None if it had no limit.
    """

    method: str
    seed: int
    state: str
    seconds: float
    reason: str = ""
    notes: tuple[str, ...] = ()
    time_limit: float | None = None

    def stands(self, time_limit: float | None) -> bool:
        """Whether it need not be run again under ``time_limit``: it did not fail, nor would it get more time."""
        if self.state == "time limit":
            given = self.seconds if self.time_limit is None else self.time_limit
            return time_limit is not None and time_limit <= given
        return self.state != "failed"


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

    @property
    def outcomes(self) -> Path:
        """Its rows."""
        return self.folder / "outcomes.csv"

    def ended(self) -> Ended | None:
        """How it ended; None if it has not."""
        try:
            return Ended(**json.loads((self.folder / "ended.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def rows(self) -> pd.DataFrame:
        """Its rows; none if it has none."""
        if not self.outcomes.exists():
            return pd.DataFrame(columns=list(COLUMNS))
        return pd.read_csv(
            self.outcomes,
            dtype=dict.fromkeys(("method", *TEXT_COLUMNS), str),
            keep_default_na=False,
            na_values={name: [""] for name in COLUMNS if name not in ("reason", *TEXT_COLUMNS)},
        )

    def begin_anew(self) -> None:
        """Forget what an interrupted run has left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def carry_out(self, spec: Spec, time_limit: float | None) -> Ended:
        """Run the method; its rows are in ``outcomes`` whatever becomes of it, and its words in log.txt."""
        file = spec.save(self.folder)
        spec.scratch.mkdir(parents=True)
        log = self.folder / "log.txt"
        started = time.monotonic()
        with log.open("w", encoding="utf-8") as told:
            process = subprocess.Popen(
                [sys.executable, "-m", f"bench.compare.methods.{self.method.module}", str(file)],
                stdout=told,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the comparison, which ends the method in order
            )
            try:
                status = process.wait(time_limit)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                end(process.pid)
                process.wait()
        seconds = time.monotonic() - started
        shutil.rmtree(spec.scratch, ignore_errors=True)
        state = "time limit" if status is None else "failed" if status else "finished"
        reason = _last_line(log) if state == "failed" else ""
        notes = self.folder / "notes.txt"
        told_us = tuple(notes.read_text(encoding="utf-8").splitlines()) if notes.exists() else ()
        ended = Ended(self.method.name, self.seed, state, round(seconds, 3), reason, told_us, time_limit)
        write_json(self.folder / "ended.json", asdict(ended))
        return ended


def end(pid: int, patience: float = 5.0) -> None:
    """End a process and all that it has started; kill what does not end within ``patience`` seconds."""
    try:
        process = psutil.Process(pid)
        family: Sequence[psutil.Process] = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for method in ("terminate", "kill"):
        for member in family:
            try:
                getattr(member, method)()
            except psutil.NoSuchProcess:
                continue
        _, family = psutil.wait_procs(family, timeout=patience)
        if not family:
            return


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"
