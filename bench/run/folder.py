"""The files of a run folder: their names, atomic writes and the markers of finished stages.

Nothing here knows what the files mean. Every file is written to a temporary name beside it and renamed, so
that a reader (or a crash) never meets half a file; a stage's marker is written after all of its files.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import ConfigError

STAGES = ("data", "search", "finalists", "evaluation")
"""Stages that leave a marker, in order; the report is rendered anew whenever it is asked for."""


LOCK = ".lock"
"""Held by the process that writes to a run folder."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON in one step; NaN and infinity are refused with a ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write ``table`` as CSV without its index in one step."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class RunDir:
    """The folder ``reports/NAME`` of one run."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def best_model(self) -> Path:
        """The winner, as a Keras model."""
        return self.path / "best_model.h5"

    @property
    def best_model_card(self) -> Path:
        """Its classes, input, threshold, temperature and provenance."""
        return self.path / "best_model.json"

    @property
    def trials(self) -> Path:
        """A row a trial."""
        return self.path / "trials.csv"

    @property
    def epochs(self) -> Path:
        """A row an epoch of a trial or finalist."""
        return self.path / "epochs.csv"

    @property
    def finalists(self) -> Path:
        """A row a finalist and repeat."""
        return self.path / "finalists.csv"

    @property
    def controls(self) -> Path:
        """A row a control and repeat."""
        return self.path / "controls.csv"

    @property
    def folds(self) -> Path:
        """A row a finalist and fold."""
        return self.path / "folds.csv"

    @property
    def predictions_test(self) -> Path:
        """A row a test image: what the winner says."""
        return self.path / "predictions_test.csv"

    @property
    def predictions_val(self) -> Path:
        """A row a validation image: what the winner says."""
        return self.path / "predictions_val.csv"

    @property
    def predictions_models(self) -> Path:
        """A row a model, repeat and image: what every finalist and control says."""
        return self.path / "predictions_models.csv"

    @property
    def comparisons(self) -> Path:
        """A row a pair of models: their paired difference on test."""
        return self.path / "comparisons.csv"

    @property
    def calibration(self) -> Path:
        """Reliability of the winner's probabilities, before and after temperature scaling."""
        return self.path / "calibration.json"

    @property
    def operating_points(self) -> Path:
        """A row a class, operating point and measure."""
        return self.path / "operating_points.csv"

    @property
    def prevalences(self) -> Path:
        """A row a class, operating point and prevalence: PPV and NPV."""
        return self.path / "prevalences.csv"

    @property
    def decision_curve(self) -> Path:
        """A row a class and threshold: net benefit."""
        return self.path / "decision_curve.csv"

    @property
    def curves(self) -> Path:
        """ROC and precision-recall curves with their bands."""
        return self.path / "curves.csv"

    @property
    def subgroups(self) -> Path:
        """A row a subgroup of the test split."""
        return self.path / "subgroups.csv"

    @property
    def failures(self) -> Path:
        """A row an error, the most confident first."""
        return self.path / "failures.csv"

    @property
    def failures_images(self) -> Path:
        """Images of the errors that are shown."""
        return self.path / "failures.npz"

    @property
    def robustness(self) -> Path:
        """A row a way of altering images, and its level."""
        return self.path / "robustness.csv"

    @property
    def saliency(self) -> Path:
        """What the saliency maps are, and of which cases."""
        return self.path / "saliency.json"

    @property
    def saliency_images(self) -> Path:
        """The cases' images and maps."""
        return self.path / "saliency.npz"

    @property
    def splits(self) -> Path:
        """Which image went where."""
        return self.path / "splits.csv"

    @property
    def audit(self) -> Path:
        """What was found out about the images."""
        return self.path / "audit.json"

    @property
    def run(self) -> Path:
        """Settings, versions, hardware, seconds by stage."""
        return self.path / "run.json"

    @property
    def space(self) -> Path:
        """The search-space file, as it was."""
        return self.path / "space.yaml"

    @property
    def evaluation(self) -> Path:
        """Scores on the test split."""
        return self.path / "evaluation.json"

    @property
    def of_test(self) -> tuple[Path, ...]:
        """Every file that comes of the test split; evaluation.json, which vouches for the others, first."""
        return (
            self.evaluation,
            self.predictions_test,
            self.predictions_models,
            self.comparisons,
            self.calibration,
            self.operating_points,
            self.prevalences,
            self.decision_curve,
            self.curves,
            self.subgroups,
            self.failures,
            self.failures_images,
            self.robustness,
            self.saliency,
            self.saliency_images,
        )

    @property
    def augmentation(self) -> Path:
        """One image under every policy."""
        return self.path / "augmentation.npz"

    @property
    def study(self) -> Path:
        """The Optuna study, an SQLite file."""
        return self.path / "study.db"

    @property
    def checkpoints(self) -> Path:
        """Weights of what is being retrained."""
        return self.path / "checkpoints"

    @property
    def models(self) -> Path:
        """The finalists that were not exported, and the controls."""
        return self.path / "models"

    @property
    def figures(self) -> Path:
        """The figures of the report."""
        return self.path / "figures"

    def read_run(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            ConfigError: if the folder holds no readable run.json.
        """
        try:
            content: dict[str, Any] = json.loads(self.run.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{self.path} is not a run folder: it holds no run.json.") from None
        except json.JSONDecodeError as error:
            raise ConfigError(f"{self.run} cannot be read: it is not valid JSON ({error}).") from None
        return content

    def update_run(self, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Apply ``change`` to the content of run.json, write it back and return it."""
        content = self.read_run()
        change(content)
        write_json(self.run, content)
        return content

    def _marker(self, stage: str) -> Path:
        if stage not in STAGES:
            raise ValueError(f"stage must be one of {', '.join(STAGES)}, but got {stage!r}")
        return self.path / ".stages" / stage

    def finish(self, stage: str) -> None:
        """Mark ``stage`` as finished; to be called after all of its files are written."""
        write_text(self._marker(stage), "")

    def reopen(self, stage: str) -> None:
        """Take back the markers of ``stage`` and of every later stage."""
        for later in STAGES[STAGES.index(stage) :]:
            self._marker(later).unlink(missing_ok=True)

    def unfinish(self, stage: str) -> None:
        """Take back the marker of ``stage`` alone."""
        self._marker(stage).unlink(missing_ok=True)

    @property
    def begun(self) -> bool:
        """Whether any stage has ever been finished here."""
        return (self.path / ".stages").is_dir()

    def finished(self, stage: str) -> bool:
        """Whether ``stage`` and all of its files are whole."""
        return self._marker(stage).exists()


def find_run(name: str, folder: Path) -> RunDir:
    """The run folder called ``name`` in ``folder``; a path to a run folder is taken too.

    Raises:
        ConfigError: if there is no such run; the message lists the runs there are.
    """
    for path in (folder / name, Path(name)):
        if (path / "run.json").is_file():
            return RunDir(path)
    names = sorted(path.parent.name for path in folder.glob("*/run.json"))
    known = f"the runs there are: {', '.join(names)}" if names else "there is no run yet"
    raise ConfigError(f"There is no run {name!r} in {folder}; {known}.")
