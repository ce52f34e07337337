"""What runs there are in a folder: a typed row each, from two small files; a damaged folder is a row that says so."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from bench import numbers
from bench.checksums import checksum
from bench.report.read.reading import Problems, changed, document, told_now
from bench.run.documents import EvaluationRecord
from bench.run.folder import STAGES, RunDir, is_held
from bench.run.record import RunRecord
from bench.stats.metrics import METRICS

DAY = 86_400
"""Seconds."""
COLUMNS = ("run", "state", "data", "chosen", "score", "age", "note")


class State(StrEnum):
    """How far a run has come."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    AUDITED = "audit only"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Score:
    """A score of the chosen model: on the internal ``test`` with its interval, or on ``validation`` over seeds.

    ``low`` and ``high`` bound the interval, ``sd`` is the standard deviation over seeds; None where there is none.
    """

    split: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    sd: float | None = None

    def __str__(self) -> str:
        tested = numbers.with_interval(self.value, self.low, self.high)
        shown = tested if self.split == "test" else numbers.with_spread(self.value, self.sd)
        return f"{self.split} {METRICS[self.metric].title} {shown}"


@dataclass(frozen=True)
class Listed:
    """One run of a folder.

    Attributes:
        run: its name.
        state: how far it has come.
        data: as ``--data`` had it.
        chosen: title of the backbone that validation chose; whether it won, the report says.
        score: its score; None while there is none.
        created: when the run began, UTC; None where that cannot be read.
        note: why it failed or cannot be read, in a sentence.
    """

    run: str
    state: State
    data: str = ""
    chosen: str = ""
    score: Score | None = None
    created: datetime | None = None
    note: str = ""

    def cells(self, now: datetime) -> tuple[str, ...]:
        """The row in words, by `COLUMNS`."""
        data = Path(self.data).name if self.data.startswith("/") else self.data
        age = _age((now - self.created).total_seconds()) if self.created else ""
        return self.run, self.state.value, data, self.chosen, str(self.score or ""), age, self.note


def listed(output: str | os.PathLike[str]) -> list[Listed]:
    """The runs in ``output``, the youngest first; a folder that is no run's is left out, a damaged one has its reason.

    Raises:
        OSError: if ``output`` itself cannot be read.
    """
    output = Path(output)
    if not output.is_dir():
        return []
    found = [_one(path) for path in sorted(output.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    begun = datetime.min.replace(tzinfo=UTC)
    return sorted((one for one in found if one is not None), key=lambda one: one.created or begun, reverse=True)


def as_json(rows: Sequence[Listed]) -> str:
    """The rows as a JSON list of objects with the fields of `Listed`; times in ISO 8601."""
    return json.dumps(
        [asdict(one) | {"created": one.created.isoformat() if one.created else None} for one in rows],
        indent=2,
        ensure_ascii=False,
    )


def listed_run(path: Path) -> Listed:
    """The row of the run folder at ``path``, damaged where it cannot be read."""
    return _one(path) or Listed(path.name, State.DAMAGED, note="It holds nothing that a run has left.")


def _one(path: Path) -> Listed | None:
    try:
        return _read(RunDir(path))
    except OSError as error:
        return Listed(path.name, State.DAMAGED, note=f"{error.strerror or type(error).__name__}.")


def _read(run: RunDir) -> Listed | None:
    """The row of a folder; None if no run has left it."""
    running, problems = is_held(run.path), Problems()
    if not run.run.is_file():  # a pipe would never end
        if running:
            return Listed(run.name, State.RUNNING, note="It is reading its images.")
        if run.never_begun:
            return Listed(run.name, State.INTERRUPTED, note="It was ended before it had read its images.")
        left = run.run.exists() or run.begun or run.trials.exists() or run.best_model_card.exists()
        return Listed(run.name, State.DAMAGED, note="run.json is missing.") if left else None
    record = document(RunRecord, run.run, problems)
    if record is None:
        return Listed(run.name, State.DAMAGED, note="run.json cannot be read.")
    if said := run.changes_of_run:
        changed(run.run, problems, said)
    state = State.RUNNING if running else _state(run, record)
    row = Listed(run.name, state, record.settings.data, created=_time(record.created))
    if record.winner is not None:
        name = record.winner.backbone
        row = replace(row, chosen=record.titles.get(name, name), score=_score(run, record, problems))
    note = record.stopped if state is State.FAILED else " ".join(problems.values())
    return replace(row, note=note)


def _state(run: RunDir, record: RunRecord) -> State:
    """How far a run has come that nobody is at."""
    if all(map(run.finished, STAGES)) or (not run.begun and run.evaluation.exists()):
        return State.FINISHED
    if record.stopped:
        return State.FAILED
    return State.INTERRUPTED if run.trials.exists() or not run.audit.exists() else State.AUDITED


def _score(run: RunDir, record: RunRecord, problems: Problems) -> Score | None:
    """The chosen model's score on the internal test, or on validation while that is sealed or of earlier models."""
    winner = record.winner
    assert winner is not None
    metric = winner.metric if winner.metric in METRICS else "auc"
    tested = run.finished("evaluation") or not run.begun
    if tested and run.evaluation.is_file() and (found := document(EvaluationRecord, run.evaluation, problems)):
        told = record.pinned.get(run.evaluation.name)
        if told and checksum(run.evaluation) != told == told_now(run.run, run.evaluation):
            changed(run.evaluation, problems)
        model = found.models.get(found.winner or winner.backbone)
        estimate = model.metrics.get(metric) if model else None
        if estimate is not None and estimate.value is not None:
            return Score("test", metric, estimate.value, estimate.low, estimate.high)
    return None if winner.score is None else Score("validation", metric, winner.score, sd=winner.sd)


def _time(text: str) -> datetime | None:
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        return None
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)


def _age(seconds: float) -> str:
    """``45 s``, ``20 min``, ``3 h 05 min``, ``12 days``."""
    return numbers.duration(max(0.0, seconds)) if seconds < 2 * DAY else numbers.counted(seconds // DAY, "day")


def newest(output: Path) -> RunDir | None:
    """The run in ``output`` that was worked at last; None if there is none."""
    times = [(path.stat().st_mtime, path.parent) for path in output.glob("*/run.json") if path.is_file()]
    return RunDir(max(times)[1]) if times else None
