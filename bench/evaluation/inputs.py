"""What the evaluation works on: data as known before the test split is opened, decisions, scored models."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.images.store import StoredImages
from bench.data.images.window import Window
from bench.data.splits import labels_of, rows_of, units_of
from bench.models.augmentation import Policy
from bench.run.documents import AveragedViews, EnsembleChoice, ModelInput, PatientLevel, Threshold
from bench.run.record import RunRecord
from bench.settings import RunSettings
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import Choice
from bench.stats.conformal import ConformalScores, conformal_scores
from bench.stats.metrics import Metric, Scores, get_metric
from bench.stats.predictions import Predictions
from bench.train.task import balanced_weights

CallAll = Callable[[Sequence[Callable[[], Any]]], list[Any]]
"""``call_all(calls)`` runs partials of functions of `bench.evaluation.in_worker` in workers, side by side.

What they return comes in their order; the first error is raised after all have ended.
"""


def prefix_precision(record: RunRecord, backbones: Iterable[str]) -> dict[str, str]:
    """What the frozen layers of each backbone were computed in by a run: ``float32`` or ``bfloat16``."""
    chosen = record.precision
    if isinstance(chosen, dict):
        return {name: one.prefix for name, one in chosen.items()}
    return dict.fromkeys(backbones, chosen or "float32")


@dataclass(frozen=True)
class EvaluationInputs:
    """What the evaluation knows before the test split is opened.

    Attributes:
        settings: of the run.
        table: one row per image: ``image``, ``label`` (empty for test images), ``patient_id``, ``split``.
        facts: one row per image, columns as in `bench.data.images.decode.Facts`.
        classes: class names by index.
        images: backbone name -> the stored set at that backbone's size, rows as in ``table``, test images sealed.
        finalists: finalists.csv with representatives and the winner marked.
        baselines: baselines.csv; may be empty.
        window: what all images of more than 8 bits went through; None if each had its own, or there are none.
        precision: backbone name -> what looks at the winner without deciding anything is computed in.
        policies: augmentation policies of the search space by name.
    """

    settings: RunSettings
    table: pd.DataFrame
    facts: pd.DataFrame
    classes: Sequence[str]
    images: Mapping[str, StoredImages]
    finalists: pd.DataFrame
    baselines: pd.DataFrame
    window: Window | None = None
    precision: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        """The run's metric."""
        return get_metric(self.settings.metric)

    @property
    def ordinal(self) -> bool:
        """Whether the classes have an order, which is that of their indices."""
        return self.settings.ordinal is not None

    @property
    def bootstrap(self) -> Bootstrap:
        """The run's draws and seed."""
        return Bootstrap(self.settings.bootstrap, seed=self.settings.seed)

    def taken_by(self, backbone: str) -> ModelInput:
        """What an exported model of a ``backbone`` takes."""
        stored = self.images[backbone]
        return ModelInput(
            height=stored.size,
            width=stored.size,
            channels=stored.channels,
            range=(0, 255),
            resize=self.settings.resize,
            window=asdict(self.window) if self.window else None,
        )

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Row numbers of a split."""
        return rows_of(self.table, split)

    def labels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class indices of some rows, none of them in test."""
        return labels_of(self.table, rows, self.classes)

    @property
    def class_weights(self) -> tuple[float, ...]:
        """Of the training loss by class; empty if all are alike."""
        labels = self.labels(self.rows("train"))
        weights = balanced_weights(labels, len(self.classes)) if self.settings.class_weights else np.ones(1)
        return tuple(map(float, weights)) if len(labels) and np.ptp(weights) > 0 else ()

    def on_validation(self, scores: Scores) -> Predictions:
        """A model's probabilities of the validation images; patients as `bench.data.splits.units` tells them apart."""
        rows = self.rows("val")
        patients = np.asarray(units_of(self.table).iloc[rows])
        return Predictions(self.labels(rows), scores, patients, self.classes, self.ordinal)

    def on_test(self, table: pd.DataFrame, scores: Scores) -> Predictions:
        """A model's probabilities of the test images, whose rows of the ``table`` are known once it is opened."""
        labels = labels_of(table.reset_index(drop=True), np.arange(len(table)), self.classes)
        return Predictions(labels, scores, np.asarray(units_of(table)), self.classes, self.ordinal)


@dataclass(frozen=True)
class Secondary:
    """What was decided on validation of what is set beside the winner; None where nothing was.

    Attributes:
        ensemble: as best_model.json has it.
        of_ensemble: its probabilities of the validation images that predictions_epochs.jsonl.gz keeps.
        views: averaged augmented copies, as best_model.json has them.
        of_views: their probabilities of the validation images.
    """

    ensemble: EnsembleChoice | None = None
    of_ensemble: Scores | None = None
    views: AveragedViews | None = None
    of_views: Scores | None = None


@dataclass(frozen=True)
class Decisions:
    """What was decided on validation.

    Attributes:
        winner: name of the winning backbone.
        calibration: the winner's calibration map, and what it was chosen from.
        thresholds: frozen, of the second of two classes or of each of several.
        validation: backbone -> what its representative's reloaded file predicts for the validation images.
        by_patient: how images of a patient are aggregated; None where no patient has several.
        secondary: what is set beside the winner.
    """

    winner: str
    calibration: Choice
    thresholds: tuple[Threshold, ...]
    validation: Mapping[str, Predictions]
    by_patient: PatientLevel | None = None
    secondary: Secondary | None = None

    @property
    def conformal(self) -> ConformalScores:
        """What prediction sets rest on: the winner's calibrated probabilities of validation."""
        own = self.validation[self.winner]
        return conformal_scores(own.labels, self.calibration.map(own.scores), own.patients)

    @property
    def threshold(self) -> Threshold | None:
        """That of two classes; None if there are more."""
        return self.thresholds[0] if len(self.thresholds) == 1 else None


@dataclass(frozen=True)
class ScoredModel:
    """What one model, finalist or baseline, says of the test images.

    Attributes:
        title: for people.
        kind: ``finalist`` or ``control``, as evaluation.json has it.
        repeats: repeat -> predictions, all of the same images.
        representative: the repeat that stands for the others where one is wanted.
        seeded: whether another seed would give another model.
    """

    title: str
    kind: str
    repeats: Mapping[int, Predictions]
    representative: int
    seeded: bool = True

    @property
    def predictions(self) -> Predictions:
        """Those of the representative."""
        return self.repeats[self.representative]
