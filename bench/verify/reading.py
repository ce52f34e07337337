"""A run folder as `verify` reads it, and the tally of what agrees with it."""

import hashlib
import json
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.texts import from_cell

TOLERANCE = 1e-6
TEXTS = {"image", "label", "predicted", "patient", "class", "model", "backbone", "baseline", "group", "value", "point"}
TEXTS |= {"name", "pixels", "sha256"}
SMALLER_IS_BETTER = {"log_loss", "brier"}
NUMBERS_IN = {"operating_points.csv": {"value"}}
Json = dict[str, Any]


class NotThere(Exception):
    """A file that a check needs is not in the folder; there is nothing to be checked."""


@dataclass
class Tally:
    """What was compared, and what does not agree.

    Attributes:
        compared: how many values.
        wrong: a sentence for each that does not agree.
        skipped: why nothing, or not everything, was compared.
    """

    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    skipped: str = ""

    def check(self, holds: bool, sentence: str) -> None:
        """``sentence`` says what is wrong if something does not hold."""
        self.compared += 1
        if not holds:
            self.wrong.append(sentence)

    def note(self, sentence: str) -> None:
        """Something was not compared, beside what was noted before."""
        self.skipped = "; ".join(filter(None, (self.skipped, sentence)))

    def add(self, other: "Tally") -> None:
        """What was compared of a part."""
        self.compared += other.compared
        self.wrong += other.wrong

    def same(self, where: str, told: object, found: object) -> None:
        """Both are the same text or count."""
        self.check(told == found, f"{where}: {told} is told, {found} is found")

    def whole(self, where: str, told: Iterable[object], wanted: Iterable[object]) -> None:
        """Every row that is wanted is told, each by what tells it from others."""
        missing = sorted(map(str, {*wanted} - {*told}))
        self.check(not missing, f"{where}: {len(missing)} missing, such as {', '.join(missing[:2])}")

    def close(self, where: str, told: Any, found: Any, tolerance: float = TOLERANCE) -> None:
        """Both are the same number within a tolerance, or both are missing."""
        first, second = _number(told), _number(found)
        both = math.isnan(first) and math.isnan(second)
        self.check(both or abs(first - second) <= tolerance, f"{where}: {first:.6g} is told, {second:.6g} is found")


def _number(value: Any) -> float:
    return math.nan if value is None or value is pd.NA else float(value)


@dataclass(frozen=True)
class Predicted:
    """What a model says of some images.

    Attributes:
        images: their names.
        labels: class indices, shape (n_images,).
        scores: probabilities, shape (n_images, n_classes).
        patients: of each image.
    """

    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    patients: npt.NDArray[Any]


@dataclass(frozen=True)
class Folder:
    """A run folder."""

    path: Path
    _read: dict[str, Any] = field(default_factory=dict, compare=False)

    def has(self, name: str) -> bool:
        """Whether there is a file."""
        return (self.path / name).is_file()

    def file(self, name: str) -> Path:
        """The path of a file.

        Raises:
            NotThere: if there is none.
        """
        found = self.path / name
        if not self.has(name):
            raise NotThere(f"{name} is not there")
        return found

    def json(self, name: str) -> Json:
        """A JSON document."""
        found: Json = json.loads(self.file(name).read_text(encoding="utf-8"))
        return found

    def table(self, name: str) -> pd.DataFrame:
        """A CSV file; a cell that is empty is NaN, and texts are texts."""
        if name not in self._read:
            self._read[name] = self._parsed(name)
        found: pd.DataFrame = self._read[name]
        return found

    def _parsed(self, name: str) -> pd.DataFrame:
        table = pd.read_csv(self.file(name), keep_default_na=False, na_values=[""], dtype=str, encoding="utf-8")
        table = table.map(from_cell, na_action="ignore").rename(columns=lambda column: from_cell(str(column)))
        for column in table:
            with suppress(ValueError):  # a text; a class called nan, or 0, is a name
                if column not in TEXTS - NUMBERS_IN.get(name, set()) and not str(column).startswith("group:"):
                    table[column] = table[column].map(float)  # to the last digit, unlike the parser of pandas
        return table

    def sha256(self, name: str) -> str:
        """Of a file."""
        with self.file(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def evaluation(self) -> Json:
        """evaluation.json."""
        return self.json("evaluation.json")

    @cached_property
    def run(self) -> Json:
        """run.json."""
        return self.json("run.json")

    @cached_property
    def classes(self) -> list[str]:
        """In the order of their indices."""
        return list(self.evaluation["classes"])

    @property
    def level(self) -> float:
        """Coverage of the intervals."""
        return float(self.evaluation["bootstrap"]["level"])

    @property
    def draws(self) -> int:
        """Of patients, that intervals on test rest on; 0 where there are too few patients."""
        return int(self.evaluation["bootstrap"]["draws"])

    @property
    def draws_on_validation(self) -> int:
        """As the settings have it: too few test patients do not matter there."""
        wanted = self.run.get("settings", {}).get("bootstrap") if self.has("run.json") else None
        return int(wanted or self.draws or 2000)

    @property
    def metric(self) -> str:
        """The metric that decides."""
        if self.has("run.json"):
            return str(self.run.get("settings", {}).get("metric", "auc"))
        return str((self.evaluation.get("gap") or {}).get("metric", "auc"))

    @property
    def winner(self) -> str:
        """The backbone that won."""
        return str(self.evaluation["winner"])

    def tables_of(self, *names: str) -> Iterable[tuple[str, pd.DataFrame]]:
        """Those of some CSV files that are there, by name."""
        return [(name, self.table(name)) for name in names if self.has(name)]

    def predicted(self, table: pd.DataFrame, kind: str = "prob_") -> Predicted:
        """Rows of a table of predictions, with the columns ``prob_CLASS`` or ``calibrated_CLASS``."""
        number = {name: index for index, name in enumerate(self.classes)}
        return Predicted(
            images=tuple(table["image"]),
            labels=np.array([number[label] for label in table["label"]], dtype=np.int64),
            scores=table[[f"{kind}{name}" for name in self.classes]].to_numpy(dtype=np.float64),
            patients=table["patient"].to_numpy(),
        )

    def winners(self, split: str = "test", kind: str = "prob_") -> Predicted:
        """What the winner says of a split."""
        key = f"{split} {kind}"
        if key not in self._read:
            self._read[key] = self.predicted(self.table(f"predictions_{split}.csv"), kind)
        found: Predicted = self._read[key]
        return found

    @cached_property
    def _models(self) -> pd.DataFrame:
        return self.table("predictions_models.csv")

    def repeats(self, model: str, split: str = "test") -> dict[int, Predicted]:
        """What each repeat of a model says of a split."""
        rows = self._models[(self._models["model"] == model) & (self._models["split"] == split)]
        return {int(float(str(repeat))): self.predicted(part) for repeat, part in rows.groupby("repeat")}

    def representative(self, model: str) -> int:
        """The repeat that stands for a model: as its table marks it, or its only one."""
        for _, table in self.tables_of("finalists.csv", "baselines.csv"):
            name = "backbone" if "backbone" in table else "baseline"
            rows = table[(table[name] == model) & table["representative"].astype(str).eq("True")]
            if len(rows) and rows["repeat"].notna().all():
                return int(rows["repeat"].iloc[0])
        return min(self.repeats(model))


@dataclass(frozen=True)
class Place:
    """A part of what is told of a run, where several values stand.

    Attributes:
        run: the folder.
        name: of the part, as sentences about its values begin.
        tally: what is compared there.
    """

    run: Folder
    name: str
    tally: Tally

    def inside(self, name: str) -> "Place":
        """A part of this one."""
        return replace(self, name=f"{self.name}, {name}")

    def of(self, what: str) -> str:
        """What sentences call one of its values."""
        return f"{self.name}: {what}"

    def check(self, holds: bool, sentence: str) -> None:
        """As `Tally.check`, of what stands here."""
        self.tally.check(holds, self.of(sentence))

    def same(self, what: str, told: object, found: object) -> None:
        """As `Tally.same`."""
        self.tally.same(self.of(what), told, found)

    def close(self, what: str, told: Any, found: Any, tolerance: float = TOLERANCE) -> None:
        """As `Tally.close`."""
        self.tally.close(self.of(what), told, found, tolerance)
