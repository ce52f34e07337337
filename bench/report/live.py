"""The report while a run goes on: when it is renewed, and that this never stops the run.

It is rendered in a thread of the process that records the trials. A process of its own would have to import pandas,
scikit-learn and matplotlib each time, which takes longer than the page itself, and would take the processor from the
trials; in the thread they are imported once, and the report at the end needs them anyway. The thread keeps its
priority: a thread that waits for the processor while it holds the interpreter's lock would hold up the search.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.run.folder import RunDir, write_page
from bench.trial import Running

logger = logging.getLogger(__name__)

LEAST_PAUSE = 60.0
"""Seconds from the end of one rendering of the trials to the start of the next, at least."""

HEARTBEAT = 60.0
"""Seconds after which the page is written again though no trial has ended: what takes long to make is kept."""

PAUSE_PER_SECOND = 50.0
"""Seconds of pause for each second that the last rendering took: so all of them take less than 2 % of the time."""

SEARCHING = "It is searching."
RETRAINING = "Its search is over; the best configuration of each backbone is being retrained."
TRAINING_BASELINES = "The baselines, which should lose, are being trained."
NESTED = "The whole procedure is being carried out anew in outer folds."
EVALUATING = "Every choice is made; the finalists are being evaluated."


class Renderer:
    """Writes report.html of a run that has not finished, and keeps what took long to make for the next heartbeat."""

    def __init__(self) -> None:
        self._kept: Any = None

    def __call__(
        self, run: RunDir, note: str, going_on: bool = True, running: Sequence[Running] = (), anew: bool = True
    ) -> Path:
        """Write the page: the run's history so far, tables of its trials, and what is going on.

        Args:
            run: the run folder, with a run.json.
            note: what the run is doing, as a sentence.
            going_on: whether the run goes on, so that the page loads itself anew; else it has stopped before its end.
            running: the trials that are running.
            anew: whether to read the run's files again; else the page shows what they held the last time.

        Returns:
            the page's path.

        Raises:
            Exception: if it cannot be made or written; what was there before then stays.
        """
        from bench.report.live_page import Trials, live_page  # with matplotlib: not before it is needed

        if anew or self._kept is None:
            self._kept = Trials.of(run)
        write_page(run.report, live_page(run, self._kept, note, going_on, running))
        return run.report


class Pace:
    """When the next rendering is due: at once at first, then after a pause that grows with what the last one took.

    Args:
        clock: seconds from any start, never turned back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: float | None = None

    def wait(self) -> float:
        """Seconds until the next rendering may begin; 0 if it may now."""
        return 0.0 if self._due is None else max(0.0, self._due - self._clock())

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around a rendering: what it takes decides about the next."""
        began = self._clock()
        try:
            yield
        finally:
            ended = self._clock()
            self._due = ended + max(LEAST_PAUSE, PAUSE_PER_SECOND * (ended - began))


class LiveReport:
    """Renews report.html while a run goes on, as a context manager around the run's stages.

    It is written when there is something new, as `Pace` allows, and once a heartbeat in any case, so that a reader can
    tell a run that trains for long from one that has died.

    Nothing that goes wrong here reaches the run: the first error is logged, and the live report is given up. When the
    block ends in an error, the page says that the run has stopped, unless the final report has taken its place.

    Args:
        run: the run folder.
        render: what writes the page; takes what `Renderer` takes.
        pace: decides when.
        heartbeat: seconds.
    """

    def __init__(
        self,
        run: RunDir,
        render: Callable[[RunDir, str, bool, Sequence[Running], bool], Path] | None = None,
        pace: Pace | None = None,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._run = run
        self._render = render or Renderer()
        self._pace = pace or Pace()
        self._heartbeat = heartbeat
        self._changed = threading.Condition()
        self._note = SEARCHING
        self._running: Callable[[], Sequence[Running]] = lambda: ()
        self._wanted = self._closed = self._given_up = False
        self._thread: threading.Thread | None = None
        self._written: int | None = None

    def __enter__(self) -> "LiveReport":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        early = not isinstance(error, KeyboardInterrupt) and not self._run.report.exists()  # it failed before a page
        if error is not None and (self._ours() or early):
            why = "was interrupted" if isinstance(error, KeyboardInterrupt) else f"stopped: {_first_line(error)}"
            self._running = lambda: ()
            self._attempt(f"The run {why.rstrip('.')}.", going_on=False)

    def stage(self, note: str) -> None:
        """The run begins a stage, such as `RETRAINING`; the page says so as soon as it may, if a trial has finished."""
        with self._changed:
            self._note = note
            self._running = lambda: ()
        if self._run.trials.exists():
            self.renew()
        else:
            self._begin()

    def watch(self, running: Callable[[], Sequence[Running]]) -> None:
        """Until the next stage, ``running`` tells which trials are running; it is called from another thread."""
        with self._changed:
            self._running = running

    def renew(self) -> None:
        """There is something new, such as a trial in trials.csv; returns at once, and renders as soon as it may."""
        with self._changed:
            self._wanted = True
            self._changed.notify()
        self._begin()

    def _begin(self) -> None:
        """Start the thread, if there is none yet."""
        with self._changed:
            if self._closed or self._given_up or self._thread is not None:
                return
            self._thread = threading.Thread(target=self._work, name="live-report", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has no thread left
            self._give_up(error)

    def close(self) -> None:
        """Render no more; to be called before the final report is written. Waits for a rendering that has begun."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        beat = time.monotonic() + self._heartbeat
        while True:
            with self._changed:
                while not self._closed:
                    due = self._pace.wait() if self._wanted else math.inf
                    left = min(due, beat - time.monotonic())
                    if left <= 0:
                        break
                    self._changed.wait(left)
                if self._closed:
                    return
                anew, note = due <= 0, self._note
                self._wanted = self._wanted and not anew
            self._attempt(note, True, anew)
            if self._given_up:
                return
            beat = time.monotonic() + self._heartbeat

    def _attempt(self, note: str, going_on: bool, anew: bool = True) -> None:
        try:
            with self._pace.timed() if anew else nullcontext():
                self._render(self._run, note, going_on, self._running(), anew)
            self._written = self._run.report.stat().st_mtime_ns
        except Exception as error:  # whatever it is, the run is worth more than a look at it
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._given_up = True
        logger.warning("The live report is given up, and the run goes on: %s: %s", type(error).__name__, error)

    def _ours(self) -> bool:
        """Whether report.html is still the page that was written here last."""
        try:
            return self._written is not None and self._run.report.stat().st_mtime_ns == self._written
        except OSError:
            return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
