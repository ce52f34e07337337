"""One display of a run from its start to its report: the stage, what is done, what is running, the time that is left.

On a terminal it is shown live below all lines; elsewhere it is a line at least once a minute.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import fmean
from types import TracebackType
from typing import Protocol

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.cluster import Ended, Job
from bench.numbers import duration, score
from bench.run.console import Screen, describe_config
from bench.run.forecast import STAGES, Forecast, after, left_of
from bench.run.results import TrialLog, TrialRecord
from bench.stats.metrics import Metric
from bench.texts import visible
from bench.trial import Running, TrialConfig

MINUTE = 60.0
BAR = 30
"""Columns of the bar."""


class Part(Protocol):
    """A stage, as the display looks at it; from several threads."""

    def status(self) -> str:
        """What is done, in words; empty where there is nothing to say."""

    def running(self) -> Sequence[str]:
        """What is running, one each."""

    def left(self, forecast: Forecast, elapsed: float) -> float:
        """Seconds until the stage ends, ``elapsed`` seconds after it began."""


class RunDisplay:
    """What a run is at, while the context lasts.

    Args:
        screen: where it is shown.
        every: seconds from one line that tells the time left to the next, at most, where there is no live terminal.

    Attributes:
        forecast: None until it is known where the run runs.
    """

    def __init__(self, screen: Screen, every: float = MINUTE) -> None:
        self.screen = screen
        self.forecast: Forecast | None = None
        self._every = every
        self._started = self._began = self._told = time.monotonic()
        self._stage = "start"
        self._jobs = Jobs("start", screen)
        self._part: Part = self._jobs
        self._over = threading.Event()
        self._teller: threading.Thread | None = None
        self._open = ExitStack()

    def __enter__(self) -> "RunDisplay":
        self._open.enter_context(self.screen.showing(self))
        if not self.screen.is_live:
            self._teller = threading.Thread(target=self._tell_regularly, name="progress", daemon=True)
            self._teller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._teller is not None:
            self._teller.join()
        self._open.close()

    def begin(self, stage: str, part: Part | None = None) -> None:
        """A stage begins, one of `STAGES`; ``part`` tells of it, by default its jobs."""
        self._jobs = Jobs(stage, self.screen)
        self._stage, self._part, self._began = stage, part or self._jobs, time.monotonic()

    def knows(self, log: TrialLog) -> None:
        """These are the trials so far; they tell how long the rest will take."""
        if self.forecast is not None:
            self.forecast.log = log

    def planned(self, jobs: Mapping[Job, float]) -> None:
        """These are the next jobs of the stage, with the seconds that each is expected to take (0 if unknown)."""
        self._jobs.plan(jobs)

    def job_began(self, job: Job, worker: int) -> None:
        """A worker, by its number, has been given a job."""
        self._jobs.begin(job, worker)

    def job_ended(self, ended: Ended) -> None:
        """A job has ended."""
        expected = self._jobs.end(ended)
        if expected and self.forecast is not None:
            self.forecast.job_ended(ended.ended - ended.began, expected)

    def ahead(self) -> dict[str, float]:
        """Seconds until each of the stages ends that has not; empty if that cannot be told."""
        try:
            if self.forecast is None:
                return {}
            left = {self._stage: self._part.left(self.forecast, time.monotonic() - self._began)}
            return left | {stage: self.forecast.of(stage) for stage in after(self._stage)}
        except Exception:  # whatever it is, the run is worth more than its forecast
            return {}

    def time_left(self) -> list[str]:
        """Until the report is written, in words, for the end of a line; nothing if it cannot be told."""
        self._told = time.monotonic()
        ahead = self.ahead()
        return [f"about {duration(sum(ahead.values()))} to the report"] if ahead else []

    def _tell_regularly(self) -> None:
        while not self._over.wait(max(0.01, self._told + self._every - time.monotonic())):
            if time.monotonic() >= self._told + self._every:
                running = self._part.running()
                parts = [self._part.status(), f"running: {' | '.join(running)}" if running else ""]
                elapsed = f"{duration(time.monotonic() - self._started)} elapsed"
                self.screen.line(
                    f"{STAGES[self._stage]}: {'; '.join(filter(None, [*parts, elapsed, *self.time_left()]))}"
                )

    def __rich__(self) -> RenderableType:
        elapsed, ahead = time.monotonic() - self._started, self.ahead()
        left = sum(ahead.values())
        words = [f"{duration(elapsed)} elapsed", *([f"about {duration(left)} to the report"] if ahead else [])]
        head = Table.grid(padding=(0, 1))
        head.add_row(ProgressBar(elapsed + left, elapsed if ahead else 0.0, width=BAR), ", ".join(words))
        looped = self._stage == "outer" or bool(ahead.get("outer"))
        stages = Text(" › ").join(self._title(stage, ahead) for stage in STAGES if stage != "outer" or looped)
        lines = [(self._part.status(), ""), *((f"  running: {one}", "dim") for one in self._part.running())]
        return Group(head, stages, *(Text(visible(text), style) for text, style in lines if text))

    def _title(self, stage: str, ahead: Mapping[str, float]) -> Text:
        title = STAGES[stage]
        if stage == self._stage:
            return Text(title, "bold")
        return Text(f"{title} ({duration(ahead[stage])})" if stage in ahead else title, "dim")


class Jobs:
    """A stage whose jobs `bench.cluster.run_jobs` carries out, one lot of them after another."""

    def __init__(self, stage: str, screen: Screen) -> None:
        self._stage, self._screen = stage, screen
        self._kinds: set[str] = set()
        self._waiting: dict[Job, float] = {}
        self._current: dict[int, tuple[Job, float]] = {}
        self._planned = self._ended = 0
        self._took: list[float] = []

    def plan(self, jobs: Mapping[Job, float]) -> None:
        """The next lot."""
        self._kinds = self._kinds | {job.kind for job in jobs}
        self._planned, self._took = len(jobs), []
        self._waiting = dict(jobs)

    def begin(self, job: Job, worker: int) -> None:
        """A worker has been given a job."""
        self._current = {**self._current, worker: (job, time.monotonic())}

    def end(self, ended: Ended) -> float:
        """A job has ended; returns the seconds that it was expected to take."""
        self._current = {worker: one for worker, one in self._current.items() if one[0] is not ended.job}
        self._ended += 1
        self._took.append(ended.ended - ended.began)
        return self._waiting.pop(ended.job, 0.0)

    def status(self) -> str:
        """How many of the lot are done."""
        if not self._planned:
            return "" if self._screen.is_live else self._screen.counted
        of = "baselines" if "baseline" in self._kinds else "finalists"
        what = f"trainings of {of}" if self._stage == "finalists" else "steps"
        return f"{len(self._took)} of {self._planned} {what} done"

    def running(self) -> Sequence[str]:
        """The names of the jobs."""
        return [job.name for job, _ in self._current.copy().values()]

    def left(self, forecast: Forecast, elapsed: float) -> float:
        """By what is expected of the stage, and of its jobs: by name after the search, else as those of their lot."""
        now = time.monotonic()
        began = dict(self._current.copy().values())
        if self._stage != "finalists":
            expected = left_of(forecast.of(self._stage), elapsed)
            return max(expected, self._left_by_steps(forecast, [now - since for since in began.values()]))
        if not self._kinds:
            return forecast.finalists()
        jobs = {job: forecast.pace_of_jobs * expected for job, expected in self._waiting.copy().items()}
        seconds = [left_of(expected, now - began.get(job, now)) for job, expected in jobs.items()]
        return forecast.shared(seconds) + (0.0 if "baseline" in self._kinds else forecast.baselines())

    def _left_by_steps(self, forecast: Forecast, running: Sequence[float]) -> float:
        """If all steps that are to come take as long as those of this lot; ``running`` are those that run, so far."""
        if not self._took:
            return 0.0
        usual = fmean(self._took)
        usual = fmean([*self._took, *(seconds for seconds in running if seconds > usual)])
        waiting = max(0, forecast.steps(self._stage) - self._ended - len(running))
        return forecast.shared([*(left_of(usual, seconds) for seconds in running), *[usual] * waiting])


class SearchDisplay:
    """The search: done, running, stopped early, failed, best so far; whoever carries it out tells of its trials.

    Args:
        display: of the run, which this is a part of until the next stage begins.
        metric: of the run.
        total: trials of the search.
        log: the trials that are done; grows.
        on_trial_end: called whenever another trial is in trials.csv; must return at once.
    """

    def __init__(
        self, display: RunDisplay, metric: Metric, total: int, log: TrialLog, on_trial_end: Callable[[], None]
    ) -> None:
        self._display, self._screen = display, display.screen
        self._metric, self._total, self._log = metric, total, log
        self._on_trial_end = on_trial_end
        self._running: dict[int, tuple[Running, float]] = {}
        display.begin("search", self)

    def trial_started(self, trial: int, config: TrialConfig) -> None:
        """A trial is about to run."""
        self._running[trial] = Running(trial, config), time.monotonic()

    def trial_scored(self, trial: int, score: float, epoch: int) -> None:
        """A running trial has ended an epoch; ``score`` is its best so far."""
        if trial in self._running:
            running, began = self._running[trial]
            self._running[trial] = replace(running, score=score, epoch=epoch), began

    def trials(self) -> list[Running]:
        """The trials that are running, in the order of their numbers; may be called from any thread."""
        return sorted((one for one, _ in self._running.copy().values()), key=lambda one: one.trial)

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is in trials.csv."""
        self._running.pop(record.trial, None)
        if not self._screen.is_live:
            self._screen.line(self._one_line(record))
        self._on_trial_end()

    def note(self, text: str) -> None:
        """Something that the user should know."""
        self._screen.line(f"  note: {text}")

    def close(self) -> None:
        """The search is over, or was ended."""
        self._running.clear()
        self._screen.line(self.status())

    def status(self) -> str:
        """The trials that are done: how they ended, and the best of them."""
        current = self._log.current
        states = Counter(record.state for record in current)
        parts = [f"{len(current)} of {self._total} trials done"]
        ends = (("pruned", "stopped early"), ("failed", "failed"))
        parts += [f"{states[state]} {words}" for state, words in ends if states[state]]
        if best := self._log.best(self._metric):
            parts.append(f"best validation {self._metric.title} {self._score(best)} ({describe_config(best.config)})")
        return "; ".join(parts)

    def running(self) -> Sequence[str]:
        """The trials that are running, and what they have reached."""
        if not self._screen.is_live:
            return [f"trial {one.trial}" for one in self.trials()]
        return [f"trial {one.trial}: {describe_config(one.config)}: {self._so_far(one)}" for one in self.trials()]

    def left(self, forecast: Forecast, elapsed: float) -> float:
        """By what the trials so far took."""
        now = time.monotonic()
        return forecast.search([(one.config, now - began) for one, began in self._running.copy().values()])

    def _so_far(self, one: Running) -> str:
        if one.score is None:
            return "no epoch finished yet"
        return f"{self._metric.title} {score(one.score)} so far, epoch {one.epoch}"

    def _score(self, record: TrialRecord) -> str:
        return score((record.metrics or {}).get(self._metric.name))

    def _one_line(self, record: TrialRecord) -> str:
        ended = f"failed: {record.reason}" if record.metrics is None else f"{self._metric.title} {self._score(record)}"
        ended += " (stopped early)" if record.state == "pruned" else ""
        parts = [f"{describe_config(record.config)}: {ended}, {duration(record.seconds)}"]
        if best := self._log.best(self._metric):
            parts.append(f"best {self._score(best)}")
        done = len(self._log.current)
        return f"[{done}/{self._total}] trial {record.trial}: {'; '.join([*parts, *self._display.time_left()])}"
