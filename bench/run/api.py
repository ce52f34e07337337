"""Runs from Python: `run` carries one out, `read` opens a folder that is there; both give a `RunResult`."""

import difflib
import html
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pandas as pd

from bench import cluster
from bench.device import quiet
from bench.errors import ConfigError
from bench.invocation import in_output, typed
from bench.report.runs import Listed, listed_run
from bench.run import tables
from bench.run.documents import AuditRecord, CalibrationRecord, EvaluationRecord, ModelCard
from bench.run.folder import RunDir, find_run
from bench.run.record import Document, RunRecord, WinnerRecord, read_strictly
from bench.settings import REPORTS, RunSettings, flag_of
from bench.texts import visible

if TYPE_CHECKING:
    from bench.reuse.model import ReusableModel

GROWING = (tables.TRIALS, tables.EPOCHS)
"""Tables that grow by a row at a time, so that the last one may be cut short."""


class Table:
    """A table of a run folder; read from a `RunResult`, it is a DataFrame with the columns of its schema."""

    def __init__(self, schema: tables.Schema) -> None:
        self.schema = schema

    @overload
    def __get__(self, result: None, owner: type["RunResult"]) -> "Table": ...
    @overload
    def __get__(self, result: "RunResult", owner: type["RunResult"]) -> pd.DataFrame: ...
    def __get__(self, result: "RunResult | None", owner: type["RunResult"]) -> "Table | pd.DataFrame":
        return self if result is None else result.table(self.schema)


@dataclass(frozen=True, repr=False)
class RunResult:
    """What a run has left in its folder; each table and each record is read from its file when it is asked for.

    Tables are DataFrames whose columns docs/api.md and `bench.run.tables` name. What the run does not have (yet) raises
    a ConfigError that says why.

    Attributes:
        path: the run folder.
    """

    path: Path

    trials = Table(tables.TRIALS)
    epochs = Table(tables.EPOCHS)
    finalists = Table(tables.FINALISTS)
    baselines = Table(tables.BASELINES)
    folds = Table(tables.FOLDS)
    learning_curve = Table(tables.LEARNING_CURVE)
    outer = Table(tables.OUTER)
    outer_predictions = Table(tables.OUTER_PREDICTIONS)
    splits = Table(tables.SPLITS)
    suspected_labels = Table(tables.SUSPECTED_LABELS)
    predictions_val = Table(tables.PREDICTIONS_VAL)
    predictions_test = Table(tables.PREDICTIONS_TEST)
    predictions_models = Table(tables.PREDICTIONS_MODELS)
    comparisons = Table(tables.COMPARISONS)
    operating_points = Table(tables.OPERATING_POINTS)
    prevalences = Table(tables.PREVALENCES)
    decision_curve = Table(tables.DECISION_CURVE)
    curves = Table(tables.CURVES)
    subgroups = Table(tables.SUBGROUPS)
    failures = Table(tables.FAILURES)
    robustness = Table(tables.ROBUSTNESS)
    predictions_altered = Table(tables.PREDICTIONS_ALTERED)
    predictions_patients = Table(tables.PREDICTIONS_PATIENTS)
    predictions_secondary = Table(tables.PREDICTIONS_SECONDARY)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self._folder.report

    @property
    def record(self) -> RunRecord:
        """run.json: settings, data, seeds, versions, hardware, seconds by stage."""
        return self._folder.read()

    @property
    def winner(self) -> WinnerRecord:
        """The backbone that validation chose, with its validation score over seeds."""
        if (winner := self.record.winner) is None:
            raise ConfigError(f"Run {self.name!r} has no winner yet; finish it by {_again(self._folder)}.")
        return winner

    @property
    def evaluation(self) -> EvaluationRecord:
        """evaluation.json: scores on the internal test, with intervals, of finalists and baselines."""
        return self._document(EvaluationRecord, self._folder.evaluation)

    @property
    def calibration(self) -> CalibrationRecord:
        """calibration.json: agreement of probabilities with what was observed."""
        return self._document(CalibrationRecord, self._folder.calibration)

    @property
    def audit(self) -> AuditRecord:
        """audit.json: what the audit of the images found."""
        return self._document(AuditRecord, self._folder.audit)

    @property
    def card(self) -> ModelCard:
        """best_model.json: classes, input, threshold, calibration map and provenance of the exported model."""
        return self._document(ModelCard, self._folder.best_model_card)

    def model(self) -> "ReusableModel":
        """The exported model, for images that the run has not seen.

        Raises:
            ConfigError: if there is none yet, or it is not as the run wrote it.
        """
        from bench.reuse.model import load_model

        return load_model(str(self.path), self.path.parent)

    def table(self, schema: tables.Schema) -> pd.DataFrame:
        """A table of the run folder, every column of its schema's type.

        Raises:
            ConfigError: if the run has none, or it cannot be read.
        """
        try:
            return schema.read(self.path, grown=schema in GROWING)
        except FileNotFoundError:
            raise ConfigError(self._lacks(self.path / schema.file)) from None
        except (ValueError, OSError) as error:
            raise ConfigError(f"{self.path / schema.file} cannot be read: {error}.") from error

    @property
    def _folder(self) -> RunDir:
        return RunDir(self.path)

    def _document(self, kind: type[Document], path: Path) -> Document:
        if not path.is_file():
            raise ConfigError(self._lacks(path))
        return read_strictly(kind, path)

    def _lacks(self, path: Path) -> str:
        if path in self._folder.of_test and not self._folder.evaluation.exists():
            why = f"Run {self.name!r} has no {path.name}, for its test split is not evaluated"
            if not self._folder.finished("finalists"):
                return f"{why} before the run has its finalists; go on by {_again(self._folder)}."
            return f"{why}; `{typed('evaluate', self.name, *in_output(self.path.parent))}` opens it."
        return f"Run {self.name!r} has no {path.name}: it has not come so far, or its settings leave that out."

    @property
    def _listed(self) -> Listed:
        return listed_run(self.path)

    def __repr__(self) -> str:
        _, state, _, chosen, score, *_ = self._listed.cells(datetime.now(UTC))
        return visible(f"RunResult({self.name}: {', '.join(filter(None, (state, chosen, score)))})")

    def _repr_html_(self) -> str:
        _, state, data, chosen, score, _, note = self._listed.cells(datetime.now(UTC))
        rows = {"run": self.name, "data": data, "state": state, "chosen": chosen, "score": score, "note": note}
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{_shown(text)}</td></tr>"
            for name, text in rows.items()
            if text
        )
        return f"<table>{cells}</table><p>Research use only. Report: <code>{_shown(str(self.report))}</code></p>"


def run(
    *, resume: str | os.PathLike[str] | None = None, output: str | os.PathLike[str] = REPORTS, **settings: Any
) -> RunResult:
    """Carry out a run, as the command of the same name does: search, retrain, evaluate, report.

    Lines on what is being done are printed. SIGTERM ends a run as Ctrl-C does; other handlers are back after it.

    Args:
        resume: name of a run that goes on, or is extended by a larger ``budget``; None begins one.
        output: folder of run folders.
        settings: the fields of `bench.settings.RunSettings`, each as its flag takes it or as its type says:
            ``run(data="chest_xray", budget=50, backbones=("vgg16", "resnet50"), learning_curve=False)``.

    Raises:
        ConfigError: if the request is impossible; nothing was begun.
        SearchFailed, NoFinalist, ExportMismatch, OSError: what ended the run; ``resume`` goes on with it.
        KeyboardInterrupt: likewise; finished trials are kept.
    """
    from bench.run import pipeline
    from bench.run.console import Screen
    from bench.run.request import begin, go_on

    quiet()
    given = {name: _as_typed(value) for name, value in settings.items()}
    _known(given)
    if cluster.started_elsewhere():
        raise ConfigError("Ray is running in this process already, and a run starts its own; end it by ray.shutdown().")
    place = Path(output)
    request = begin({**given, "output": place}) if resume is None else go_on(os.fspath(resume), given, place)
    screen = Screen(_plain_console())
    with cluster.signals_given_back():
        cluster.interrupted_by_signals()
        try:
            pipeline.execute(request, screen, typed("run", *_flags({**given, "output": place}, resume)))
        except KeyboardInterrupt:
            if request.run.kept:
                screen.line(f"Interrupted. Continue by {_again(request.run)}.")
            raise
        finally:
            cluster.stop()
    pipeline.warn_if_unfair(request.run, screen)
    return RunResult(request.run.path)


def read(name: str | os.PathLike[str], output: str | os.PathLike[str] = REPORTS) -> RunResult:
    """The run called ``name`` in the folder ``output``, or in the run folder at that path; nothing is carried out.

    Raises:
        ConfigError: if there is no such run.
    """
    return RunResult(find_run(os.fspath(name), Path(output)).path)


def signature() -> inspect.Signature:
    """The keywords of `run` with their defaults, for help in an interactive session."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    fields = {
        name: None if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in RunSettings.model_fields.items()
    }
    given = {**fields, "resume": None}
    return inspect.Signature([inspect.Parameter(name, keyword, default=value) for name, value in given.items()])


def _again(run: RunDir) -> str:
    """The call that goes on with a run."""
    place = run.path.parent
    return f"run(resume={run.name!r}{f', output={str(place)!r}' if in_output(place) else ''})"


def _as_typed(value: Any) -> Any:
    """A path as a flag would have it: absolute, for a folder called demo is not the demo data."""
    return str(Path(value).absolute()) if isinstance(value, os.PathLike) else value


def _known(given: Mapping[str, Any]) -> None:
    """Refuse, by a ConfigError, a keyword that is no setting."""
    for name in given:
        if name not in RunSettings.model_fields:
            near = difflib.get_close_matches(name.removeprefix("no_"), RunSettings.model_fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(RunSettings.model_fields)}."
            raise ConfigError(f"run() has no setting {name!r}; {hint}")


def _flags(given: Mapping[str, Any], resume: str | os.PathLike[str] | None) -> Iterator[str]:
    """The settings as flags, so that run.json holds a command that does the same."""
    if resume is not None:
        yield from ("--resume", os.fspath(resume))
    for name, value in given.items():
        if value is None or value == RunSettings.model_fields[name].default:
            continue
        yield flag_of(name)
        if not isinstance(value, bool):
            yield ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _plain_console() -> Any:
    """A console that prints lines: a notebook is no terminal, and its own kind of output would make a table of each."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, soft_wrap=True, force_terminal=False, force_jupyter=False)


def _shown(text: str) -> str:
    return html.escape(visible(text))
