"""The winner's configuration trained on fewer patients: learning_curve.csv, from which more patients' worth is told."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.finalists.seeds import Outcome, Repeats, Train, Wanted, config_columns, earlier_rows, judge, reached
from bench.run.courses import Curve
from bench.run.tables import LEARNING_CURVE, Row
from bench.seeds import stable_seed
from bench.train.job import TrainingJob
from bench.trial import TrialConfig

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Of the training patients; all of them are the finalist itself."""
DRAWS = 3
FEWEST_PATIENTS = 3
"""Of a class, at the least: with fewer, a training says nothing of its size."""
KIND = "size"


@dataclass(frozen=True)
class Subset:
    """Some of the training patients.

    Attributes:
        share: of all of them.
        draw: the number of the draw, from 1; the smaller subsets of a draw are parts of the larger.
        rows: row numbers of their images, sorted.
        patients: how many they are.
    """

    share: float
    draw: int
    rows: npt.NDArray[np.int64]
    patients: int


def subsets(
    rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], seed: int
) -> list[Subset]:
    """Subsets of the training images by whole groups of patients, every class in its share.

    Args:
        rows: row numbers of the training images.
        labels: class index of each.
        groups: of each, what must stay together: a patient, or patients who share images.
        seed: decides the draws.

    Returns:
        of the shares that hold `FEWEST_PATIENTS` of every class, `DRAWS` subsets each.
    """
    names, first, index = np.unique(groups, return_index=True, return_inverse=True)
    of_class = labels[first]  # of a group that has several, the first image's
    found = []
    for draw in range(1, DRAWS + 1):
        order = np.random.default_rng([seed, draw]).permutation(len(names))
        for share in SHARES:
            counts = {kind: round(share * np.count_nonzero(of_class == kind)) for kind in np.unique(of_class)}
            if min(counts.values()) < FEWEST_PATIENTS:
                continue
            taken = np.concatenate([order[of_class[order] == kind][:count] for kind, count in counts.items()])
            inside = np.isin(index, taken)
            found.append(Subset(share, draw, np.sort(rows[inside]), len(taken)))
    return found


def whole_row(row: Row, images: int, images_val: int, patients: int) -> Row:
    """A row of learning_curve.csv of a training on all patients, from that of finalists.csv."""
    about = {"share": 1.0, "draw": row["repeat"], "images": images, "images_val": images_val, "patients": patients}
    return {name: row.get(name) for name in LEARNING_CURVE.names} | about


class LearningCurve:
    """learning_curve.csv as it grows: whole after each training, and what fits is not repeated.

    Args:
        config: the winner's.
        chosen: what it is trained on.
        validation: row numbers of the validation images.
        whole: rows of the finalist, which was trained on all patients.
        how: as the finalists were trained.
    """

    def __init__(
        self,
        config: TrialConfig,
        chosen: Sequence[Subset],
        validation: npt.NDArray[np.int64],
        whole: Sequence[Row],
        how: Repeats,
    ) -> None:
        self._config, self._validation, self._whole, self._how = config, validation, whole, how
        self._subsets = {Curve(KIND, f"{one.share:g}", one.draw): one for one in chosen}
        self._seeds = {
            curve: stable_seed("learning curve", how.seed, config.key, one.share, one.draw, len(one.rows))
            for curve, one in self._subsets.items()
        }
        rows = {row["seed"]: row for row in earlier_rows(LEARNING_CURVE, how.run) if row["state"] == "completed"}
        self._rows: dict[Curve, Row] = {curve: rows[seed] for curve, seed in self._seeds.items() if seed in rows}
        how.epochs.keep(KIND, set(self._rows))

    def beside(self, train: Train) -> Train:
        """``train``, which carries out these trainings beside those that it is given, and keeps them to itself."""

        def both(wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Outcome]]:
            for one, outcome in train([*wanted, *self._wanted()]):
                if one.curve.kind == KIND:
                    self._take(one.curve, outcome)
                else:
                    yield one, outcome
            self._write()

        return both

    def _wanted(self) -> list[Wanted]:
        return [
            Wanted(curve, self._job(one, self._seeds[curve]))
            for curve, one in self._subsets.items()
            if curve not in self._rows
        ]

    def _job(self, one: Subset, seed: int) -> TrainingJob:
        rows = {"train": one.rows, "val": self._validation}
        return TrainingJob(self._config, seed, self._how.views, one.draw - 1, rows)

    def _take(self, curve: Curve, outcome: Outcome) -> None:
        one = self._subsets[curve]
        result, reason, _ = judge(outcome)
        if result is not None:
            self._how.epochs.add(curve, result.epochs, result.scored)
        self._rows[curve] = {
            "share": one.share,
            "draw": one.draw,
            "images": len(one.rows),
            "images_val": len(self._validation),
            "patients": one.patients,
            "state": "completed" if result else "failed",
            "reason": reason,
            "seed": self._seeds[curve],
            **reached(result),
            **config_columns(self._config),
        }
        self._write()

    def _write(self) -> None:
        rows = [self._rows[key] for key in self._subsets if key in self._rows]
        LEARNING_CURVE.write(self._how.run.path, [*rows, *self._whole])
