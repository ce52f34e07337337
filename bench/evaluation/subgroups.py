"""How a model fares on parts of the test images: subgroups.csv."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.evaluation.bins import in_order, tertiles
from bench.evaluation.scoring import missing_classes
from bench.stats.bootstrap import resample
from bench.stats.enough import Parts, by_class, too_few
from bench.stats.metrics import Labels, Scores
from bench.stats.proportions import wilson
from bench.stats.weighted import WEIGHTED, Values, Weights
from bench.stats.words import listed

MEASURES = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity")
COLUMNS = (
    "group",
    "value",
    "images",
    "patients",
    "small",
    *(f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")),
    "reason",
)
SMALL = 30
"""Images below which a subgroup is marked as small."""
MOST_NUMBERS = 6
"""With more different values than this, a column of numbers is cut into three groups."""
MOST_TEXTS = 20
"""With more different values than this, the rarest of a column of texts are put together."""
NOT_GIVEN = "(not given)"
SQUARE_PIXELS = 1e6
Ends = tuple[float, float | None, float | None]
"""A value and its interval."""


def image_groups(facts: pd.DataFrame) -> dict[str, list[str]]:
    """Groups by the size and the shape that the images had in their files; left out where all are alike.

    Args:
        facts: a row an image, columns ``width`` and ``height`` in pixels.

    Returns:
        ``image size`` (in megapixels, or thousand pixels where images are small) and ``aspect ratio`` (width by
        height) -> the group of each image.
    """
    width, height = (facts[name].to_numpy(dtype=np.float64) for name in ("width", "height"))
    if not len(facts):
        return {}
    large = np.median(width * height) >= SQUARE_PIXELS / 10
    groups = {
        "image size": tertiles(
            width * height / (SQUARE_PIXELS if large else 1e3), "megapixels" if large else "thousand pixels"
        ),
        "aspect ratio": tertiles(width / height),
    }
    return {name: values for name, values in groups.items() if len(set(values)) > 1}


def subgroups(
    y_true: Labels,
    y_score: Scores,
    patients: npt.NDArray[Any],
    groups: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    threshold: float | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of each subgroup with intervals by patients.

    Accuracy, balanced accuracy, sensitivity and specificity are those at ``threshold``. A subgroup in which a class
    is missing has neither a balanced accuracy, which would be that of the other classes alone, nor an AUC of its own;
    where a group only ever parts one of two classes (a subtype), the AUC is of the subgroup against all images of the
    other class. ``reason`` says so. Where no draw differs from another, the
    bootstrap knows no interval: proportions get Wilson's over patients then, other scores none.

    Args:
        y_true: class indices, shape (n_images,).
        y_score: probabilities, shape (n_images, n_classes).
        patients: patient of each image, shape (n_images,).
        groups: name of the grouping -> value of each image, empty where it has none.
        classes: class names by index.
        threshold: probability of the second of two classes at and above which an image is called positive; None
            calls the most probable class.
        draws: bootstrap draws.
        level: of the intervals.
        seed: decides the draws.

    Returns:
        a row a subgroup, columns as in ``COLUMNS``; what cannot be computed is empty.
    """
    scorer = _Scorer(y_true, y_score, np.asarray(patients), classes, threshold, draws, level, seed)
    rows = []
    for name, given in groups.items():
        values = np.asarray(_grouped(list(given)), dtype=object)
        parts_one_class = len(classes) == 2 and all(
            len(np.unique(y_true[values == value])) == 1 for value in set(values) - {""}
        )
        for value in in_order(values.tolist()):
            inside = values == value
            rows.append(scorer.row(name, value or NOT_GIVEN, inside, beside=parts_one_class and bool(value)))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(object)
    return table.where(table.notna(), None)


def _grouped(values: list[str]) -> list[str]:
    """Values as they are, unless there are too many different ones to show."""
    given = [value for value in values if value]
    distinct = sorted(set(given))
    if len(distinct) > MOST_NUMBERS and (numbers := _numbers(given)) is not None:
        names = iter(tertiles(numbers))
        return [next(names) if value else "" for value in values]
    if len(distinct) > MOST_TEXTS:
        often = sorted(distinct, key=lambda value: (-given.count(value), value))[: MOST_TEXTS - 1]
        rest = f"(the other {len(distinct) - len(often)} values)"
        return [value if value in often or not value else rest for value in values]
    return values


def _numbers(values: Sequence[str]) -> npt.NDArray[np.float64] | None:
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


class _Scorer:
    def __init__(
        self,
        y_true: Labels,
        y_score: Scores,
        patients: npt.NDArray[Any],
        classes: Sequence[str],
        threshold: float | None,
        draws: int,
        level: float,
        seed: int,
    ) -> None:
        self.y_true, self.y_score, self.patients, self.classes = y_true, y_score, patients, classes
        self.draws, self.level, self.seed = draws, level, seed
        binary = len(classes) == 2
        cut = threshold if binary else None
        called = y_score.argmax(axis=1) if cut is None else (y_score[:, 1] >= cut).astype(np.int64)
        self.called = np.eye(len(classes))[called]
        self.right = (called == y_true).astype(np.float64)
        self.proportions = {"accuracy": np.ones(len(y_true), dtype=bool)}
        if binary:
            self.proportions |= {"sensitivity": y_true == 1, "specificity": y_true == 0}

    def row(self, group: str, value: str, inside: npt.NDArray[np.bool_], beside: bool = False) -> dict[str, Any]:
        """One subgroup; ``beside`` allows an AUC against images of the other class that are not in it."""
        n_images, n_patients = int(inside.sum()), len(np.unique(self.patients[inside]))
        few = too_few(self.patients[inside])
        reasons: list[str] = []
        if missing := missing_classes(self.y_true[inside], self.classes).replace("the split", "it"):
            present = np.unique(self.y_true[inside])
            others = inside | (self.y_true != present[0])
            if beside and np.unique(self.y_true[others]).size == len(self.classes):
                found = self._computed(others, ("auc",), reasons)
                other = self.classes[1 - int(present[0])]
                reasons.append(
                    f"no balanced accuracy and no ROC AUC of its own, for it holds no {other}: the ROC AUC shown is "
                    f"against all images of {other}"
                )
            else:
                found = {}
                reasons.append(f"no ROC AUC and no balanced accuracy: {missing}")
            found |= self._computed(inside, ("accuracy", "sensitivity", "specificity"), reasons)
        else:
            found = self._computed(inside, MEASURES, reasons)
        if few:
            reasons.append(f"no intervals: {few}")
        return {
            "group": group,
            "value": value,
            "images": n_images,
            "patients": n_patients,
            "small": n_images < SMALL,
            **{
                f"{measure}{end}": number
                for measure, numbers in found.items()
                for end, number in zip(("", "_low", "_high"), numbers, strict=True)
            },
            "reason": "; ".join(reasons) or None,
        }

    def _computed(self, inside: npt.NDArray[np.bool_], measures: Sequence[str], reasons: list[str]) -> dict[str, Ends]:
        """Measure -> value and interval on some images; without proportions of nothing.

        Why one has no interval of the bootstrap goes into ``reasons``.
        """
        counted_by = {name: images[inside] for name, images in self.proportions.items() if images[inside].any()}
        wanted = [name for name in measures if name in counted_by or name in ("auc", "balanced_accuracy")]
        y_true, y_score = self.y_true[inside], self.y_score[inside]
        called, right = self.called[inside], self.right[inside]

        def compute(measure: str, weights: Weights) -> Values:
            if measure == "auc":
                return WEIGHTED["auc"](y_true, y_score, weights)
            if measure == "balanced_accuracy":
                return WEIGHTED["balanced_accuracy"](y_true, called, weights)
            chosen = weights * counted_by[measure]
            with np.errstate(invalid="ignore"):
                return np.asarray(chosen @ right / chosen.sum(axis=1))

        patients = self.patients[inside]
        draws = 0 if too_few(patients) else self.draws
        found = resample(
            lambda weights: np.column_stack([compute(measure, weights) for measure in wanted]),
            patients,
            draws,
            self.seed,
        )
        ends: dict[str, Ends] = {
            measure: (float(found.value[column]), *found.ends(column, self.level))
            for column, measure in enumerate(wanted)
        }
        if draws:
            reasons += self._without_interval(ends, inside)
        return ends

    def _without_interval(self, ends: dict[str, Ends], inside: npt.NDArray[np.bool_]) -> list[str]:
        """What has no interval by patients, and why; a proportion on which all draws agree gets Wilson's."""
        patients, parts = self.patients[inside], by_class(self.y_true[inside], self.classes)
        looked_at: dict[str, Parts] = {"accuracy": {}}
        if len(self.classes) == 2:
            looked_at |= {"sensitivity": {self.classes[1]: parts[self.classes[1]]}}
            looked_at |= {"specificity": {self.classes[0]: parts[self.classes[0]]}}
        few: dict[str, list[str]] = {}
        agreed: dict[bool, list[str]] = {True: [], False: []}
        for name, (value, low, _) in ends.items():
            if why := too_few(patients, looked_at.get(name, parts)):
                ends[name] = (value, None, None)
                few.setdefault(why, []).append(_title(name))
            elif low is None:
                counts = name in self.proportions and value in (0.0, 1.0)
                agreed[counts].append(_title(name))
                if counts:
                    counting = len(np.unique(self.patients[inside & self.proportions[name]]))
                    ends[name] = (value, *wilson(int(value) * counting, counting, self.level))
        told = [f"no interval of {listed(names)}: {why}" for why, names in few.items()]
        told += [f"all draws agree on {listed(agreed[True])}: Wilson's interval over patients"] if agreed[True] else []
        return told + ([f"all draws agree on {listed(agreed[False])}: no interval"] if agreed[False] else [])


def _title(measure: str) -> str:
    return measure.replace("_", " ").replace("auc", "ROC AUC")
