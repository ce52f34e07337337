"""Controls: models that should lose to the winner, trained and recorded as finalists are, in controls.csv.

``recipe`` is the winning backbone's default recipe (was tuning worth it?), ``small_cnn`` a small network from scratch
(was pretraining?), ``majority`` the shares of the classes, and ``metadata`` boosted trees that never see a picture.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.finalists.seeds import (
    Row,
    attempt,
    find_model,
    mark_representative,
    outcome,
    own_place,
    place_models,
    repeat_seed,
)
from bench.finalists.untrained import MetadataControl, NothingVaries, majority_scores
from bench.models.small_cnn import count_parameters
from bench.run.folder import RunDir, write_table
from bench.run.results import config_from_row, read_rows
from bench.stats.metrics import METRICS, Metric, evaluate
from bench.trial import TrialConfig, TrialResult

__all__ = ["TITLES", "Material", "MetadataControl", "Training", "majority_scores", "read_controls", "train_controls"]

TITLES = {
    "recipe": "Default recipe",
    "small_cnn": "Small CNN from scratch",
    "majority": "Majority class",
    "metadata": "Metadata only",
}
"""The controls in their order, as a reader is told of them."""
TRAINED = ("recipe", "small_cnn")
"""Those that are networks, and are trained with several seeds."""
SAME_AS_WINNER = "the winner's configuration is the default recipe"


@dataclass(frozen=True)
class Material:
    """What controls are made of; nothing of the test split is in it.

    Attributes:
        labels: ``train`` and ``val`` -> class indices.
        facts: ``train`` and ``val`` -> a row an image in the same order, as in `bench.data.images.decode.Facts`.
        n_classes: number of classes.
        channels: of the images.
    """

    labels: Mapping[str, npt.NDArray[np.int64]]
    facts: Mapping[str, pd.DataFrame]
    n_classes: int
    channels: int


@dataclass(frozen=True)
class Training:
    """How networks are trained, usually in a worker.

    Attributes:
        retrain: ``retrain(config, seed, checkpoint, model_file)``, as for finalists.
        train_small_cnn: ``train_small_cnn(seed, backbone, augmentation, checkpoint, model_file)``.
    """

    retrain: Callable[[TrialConfig, int, Any, Any], TrialResult]
    train_small_cnn: Callable[[int, str, str, Any, Any], TrialResult]


def train_controls(
    winner: TrialConfig,
    recipe: TrialConfig,
    *,
    run: RunDir,
    metric: Metric,
    seed: int,
    repeats: int,
    material: Material,
    training: Training,
    ended: Callable[[Row], None],
    through: Callable[[Sequence[Row]], None] = lambda rows: None,
) -> pd.DataFrame:
    """Train every control; controls.csv is whole after each training, and what is in it is not repeated.

    A control that fails is recorded with its reason. The default recipe is skipped where it has won, and metadata
    where none of them varies.

    Args:
        winner: the winner's configuration; the small CNN takes its images and its augmentation.
        recipe: the default recipe of the winning backbone, within the space.
        run: the run folder; models go to its ``models/``.
        metric: the run's.
        seed: of the run.
        repeats: seeds that networks are trained with; rows of further ones are kept.
        material: labels and facts.
        training: how networks are trained.
        ended: called with each new row.
        through: called with all rows of a control that has been trained.

    Returns:
        controls.csv with representatives marked.
    """
    work = _Work(winner, recipe, run, seed, material, training)
    rows = [row for row in _read(run) if work.still_valid(row)]
    for control in TITLES:
        mine = [row for row in rows if row["control"] == control]
        wanted = set(range(1, repeats + 1)) if control in TRAINED else {1}
        if control == "recipe" and winner == recipe:
            wanted = {1}
        left = sorted(wanted - {row["repeat"] for row in mine})
        for repeat in left:
            rows.append(work.make(control, repeat))
            mine.append(rows[-1])
            _write(rows, run)
            ended(rows[-1])
        mark_representative(mine, metric)
        if left:
            through(mine)
    order = list(TITLES)
    rows.sort(key=lambda row: (order.index(row["control"]), row["repeat"]))
    place_models(rows, run, "control")
    return _write(rows, run)


@dataclass(frozen=True)
class _Work:
    """One call of `train_controls`: makes rows, and knows which of an earlier call still hold."""

    winner: TrialConfig
    recipe: TrialConfig
    run: RunDir
    seed: int
    material: Material
    training: Training

    def seed_of(self, control: str, repeat: int) -> int | None:
        """The seed of a training; it tells rows made for another winner apart. None where nothing is drawn."""
        if control == "recipe":
            return repeat_seed("recipe", repeat, self.seed, self.recipe.key)
        if control == "small_cnn":
            return repeat_seed("small_cnn", repeat, self.seed, self.winner.backbone, self.winner.augmentation)
        return None

    def still_valid(self, row: Row) -> bool:
        """Whether a row of controls.csv is what would be made now, its model still there."""
        control = row["control"]
        if row["state"] == "failed" or row["seed"] != self.seed_of(control, row["repeat"]):
            return False
        if control == "recipe" and (row["state"] == "skipped") != (self.winner == self.recipe):
            return False
        if row["state"] == "skipped" or control not in TRAINED:
            return True
        if control == "recipe" and config_from_row(row) != self.recipe:
            return False
        return find_model(
            row, self.run, (self.run.models / f"{control}.h5", own_place(control, row["repeat"], self.run))
        )

    def make(self, control: str, repeat: int) -> Row:
        """Train one control with one seed; whatever ends it becomes a reason."""
        if control == "recipe" and self.winner == self.recipe:
            return self._row(control, repeat, "skipped", SAME_AS_WINNER, note=SAME_AS_WINNER)
        if control in TRAINED:
            return self._trained(control, repeat)
        started = time.perf_counter()
        labels, n_classes = self.material.labels, self.material.n_classes
        try:
            if control == "majority":
                scores = majority_scores(labels["train"], n_classes, len(labels["val"]))
                note = "the classes' shares of the training images, for every image"
            else:
                model = MetadataControl.fit(self.material.facts["train"], labels["train"], n_classes)
                scores = model.predict(self.material.facts["val"])
                note = "width, height, aspect ratio, colour mode and bytes a pixel"
            metrics = {f"metric_{name}": value for name, value in evaluate(labels["val"], scores).items()}
        except NothingVaries as error:
            return self._row(control, repeat, "skipped", str(error))
        except Exception as error:
            return self._row(control, repeat, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
        row = self._row(control, repeat, "completed", "", note=note)
        return row | metrics | {"seconds": round(time.perf_counter() - started, 3)}

    def _trained(self, control: str, repeat: int) -> Row:
        own_seed, model = self.seed_of(control, repeat), own_place(control, repeat, self.run)
        assert own_seed is not None
        checkpoint = self.run.checkpoints / f"control-{control}.weights.h5"
        if control == "recipe":
            result, reason = attempt(lambda: self.training.retrain(self.recipe, own_seed, checkpoint, model))
            note = "the winning backbone as a textbook would start with it"
            about: Row = {f"config_{key}": value for key, value in asdict(self.recipe).items()}
        else:
            images = (self.winner.backbone, self.winner.augmentation)
            result, reason = attempt(lambda: self.training.train_small_cnn(own_seed, *images, checkpoint, model))
            parameters = count_parameters(self.material.channels, self.material.n_classes)
            note = f"{parameters:,} parameters, augmentation {self.winner.augmentation}"
            about = {"parameters": parameters}
        row = self._row(control, repeat, "completed" if result else "failed", reason, note=note)
        return row | about | outcome(result, model, self.run)

    def _row(self, control: str, repeat: int, state: str, reason: str, note: str = "") -> Row:
        return {
            "control": control,
            "repeat": repeat,
            "seed": self.seed_of(control, repeat),
            "state": state,
            "reason": reason,
            "note": note,
            "representative": False,
            **{f"config_{field.name}": None for field in fields(TrialConfig)},
            **{f"metric_{name}": None for name in METRICS},
            "parameters": None,
            "best_epoch": None,
            "epochs": 0,
            "seconds": 0.0,
            "model": "",
            "sha256": "",
        }


def read_controls(run: RunDir) -> pd.DataFrame:
    """controls.csv, its names as text and representatives as truth values; empty where there is none.

    Raises:
        ValueError: if there is a table that is none of controls.
    """
    if not run.controls.exists():
        return pd.DataFrame()
    rows = read_rows(run.controls)
    texts = ("reason", "note", "model", "sha256")
    table = pd.DataFrame([{**row, **{name: row[name] or "" for name in texts}} for row in rows])
    table["representative"] = table["representative"].astype(str) == "True"
    return table


def _read(run: RunDir) -> list[Row]:
    try:
        rows = read_controls(run).to_dict("records")
        return [
            {str(key): None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}
            | {"repeat": int(row["repeat"]), "seed": None if pd.isna(row["seed"]) else int(row["seed"])}
            for row in rows
        ]
    except (ValueError, KeyError, TypeError):  # truncated: the controls are made again
        return []


def _write(rows: Sequence[Row], run: RunDir) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    for name in ("seed", "best_epoch", "parameters", "config_unfreeze_depth", "config_batch_size"):
        table[name] = table[name].astype("Int64")
    write_table(run.controls, table)
    return table
