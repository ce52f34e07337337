"""Scores of a model on parts of the test images: subgroups.csv."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.evaluation.grouping import grouped, in_order
from bench.numbers import joined
from bench.run.tables import SUBGROUPS, Row
from bench.stats.bootstrap import Bootstrap, Interval
from bench.stats.enough import Parts, by_class, too_few
from bench.stats.metrics import METRICS, Mask, Values, Weights
from bench.stats.predictions import Predictions
from bench.stats.proportions import wilson

MEASURES = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity")
SMALL = 30
"""Images below which a subgroup is marked as small."""
NOT_GIVEN = "(not given)"


def subgroups(
    predictions: Predictions, groups: Mapping[str, Sequence[str]], threshold: float | None, bootstrap: Bootstrap
) -> pd.DataFrame:
    """Scores of each subgroup with intervals by patients.

    Accuracy, balanced accuracy, sensitivity and specificity are those at ``threshold``. A subgroup in which a class
    is missing has neither a balanced accuracy, which would be that of the other classes alone, nor an AUC of its own;
    where a group only ever parts one of two classes (a subtype), the AUC is of the subgroup against all images of the
    other class. ``reason`` says so. Where no draw differs from another, the bootstrap knows no interval: proportions
    get Wilson's over patients then, other scores none.

    Args:
        predictions: of the test images.
        groups: name of the grouping -> value of each image, empty where it has none.
        threshold: probability of the second of two classes at and above which an image is called positive; None
            calls the most probable class.
        bootstrap: draws, level, seed.

    Returns:
        one row per subgroup; what cannot be computed is empty.
    """
    called = predictions.predicted
    if threshold is not None and len(predictions.classes) == 2:
        called = (predictions.scores[:, 1] >= threshold).astype(np.int64)
    images = _Images(predictions, called, bootstrap)
    rows = []
    for name, given in groups.items():
        values = np.asarray(grouped(given), dtype=object)
        parts_one_class = len(predictions.classes) == 2 and all(
            len(np.unique(predictions.labels[values == value])) == 1 for value in set(values) - {""}
        )
        for value in in_order(values.tolist()):
            row = images.row(values == value, against_others=parts_one_class and bool(value))
            rows.append({"group": name, "value": value or NOT_GIVEN, **row})
    return SUBGROUPS.frame(rows)


@dataclass(frozen=True)
class _Images:
    """Some test images, and which class each is called, shape (n_images,)."""

    predictions: Predictions
    called: npt.NDArray[np.int64]
    bootstrap: Bootstrap

    def part(self, inside: Mask) -> "_Images":
        return replace(self, predictions=self.predictions.part(inside), called=self.called[inside])

    def row(self, inside: Mask, against_others: bool) -> Row:
        """One subgroup; ``against_others`` allows an AUC against images of the other class that are not in it."""
        part = self.part(inside)
        predictions, classes = part.predictions, self.predictions.classes
        if missing := predictions.missing_classes.replace("the split", "it"):
            present = int(predictions.labels[0])
            both = self.part(inside | (self.predictions.labels != present))
            if against_others and not both.predictions.missing_classes:
                found, reasons = both.scores(("auc",))
                other = classes[1 - present]
                reasons.append(
                    f"no balanced accuracy and no ROC AUC of its own, for it holds no {other}: the ROC AUC shown is "
                    f"against all images of {other}"
                )
            else:
                found, reasons = {}, [f"no ROC AUC and no balanced accuracy: {missing}"]
            proportions, more = part.scores(("accuracy", "sensitivity", "specificity"))
            found, reasons = found | proportions, reasons + more
        else:
            found, reasons = part.scores(MEASURES)
        if predictions.few:
            reasons.append(f"no intervals: {predictions.few}")
        scores = {
            f"{measure}{end}": number
            for measure, one in found.items()
            for end, number in zip(("", "_low", "_high"), astuple(one), strict=True)
        }
        return {
            "images": len(predictions),
            "patients": predictions.n_patients,
            "small": len(predictions) < SMALL,
            **scores,
            "reason": "; ".join(reasons) or None,
        }

    @property
    def proportions(self) -> dict[str, Mask]:
        """Each measure that is a share of images -> of which; without those of no image."""
        labels = self.predictions.labels
        found = {"accuracy": np.ones(len(labels), dtype=bool)}
        if len(self.predictions.classes) == 2:
            found |= {"sensitivity": labels == 1, "specificity": labels == 0}
        return {name: images for name, images in found.items() if images.any()}

    def scores(self, measures: Sequence[str]) -> tuple[dict[str, Interval], list[str]]:
        """Measure -> score, without proportions of nothing; and why one has no interval of the bootstrap."""
        proportions, predictions = self.proportions, self.predictions
        wanted = [name for name in measures if name in proportions or name in ("auc", "balanced_accuracy")]
        right = (self.called == predictions.labels).astype(np.float64)
        called = np.eye(len(predictions.classes))[self.called]

        def compute(measure: str, weights: Weights) -> Values:
            if measure == "auc":
                return METRICS["auc"].weighted(predictions.labels, predictions.scores, weights)
            if measure == "balanced_accuracy":
                return METRICS["balanced_accuracy"].weighted(predictions.labels, called, weights)
            chosen = weights * proportions[measure]
            with np.errstate(invalid="ignore"):
                return np.asarray(chosen @ right / chosen.sum(axis=1))

        bootstrap = self.bootstrap.unless(predictions.few)
        found = bootstrap.resample(
            lambda weights: np.column_stack([compute(measure, weights) for measure in wanted]), predictions.patients
        )
        scores = {
            measure: Interval(float(found.value[column]), *found.ends(column)) for column, measure in enumerate(wanted)
        }
        return self._without_interval(scores) if bootstrap.draws else (scores, [])

    def _without_interval(self, scores: dict[str, Interval]) -> tuple[dict[str, Interval], list[str]]:
        """What has no interval by patients, and why; a proportion on which all draws agree gets Wilson's."""
        patients, classes = self.predictions.patients, self.predictions.classes
        parts, proportions = by_class(self.predictions.labels, classes), self.proportions
        depends_on: dict[str, Parts] = {"accuracy": {}}
        if len(classes) == 2:
            depends_on |= {
                "sensitivity": {classes[1]: parts[classes[1]]},
                "specificity": {classes[0]: parts[classes[0]]},
            }
        few: dict[str, list[str]] = {}
        agreed: dict[bool, list[str]] = {True: [], False: []}
        found = dict(scores)
        for name, score in scores.items():
            if why := too_few(patients, depends_on.get(name, parts)):
                found[name] = Interval(score.value, None, None)
                few.setdefault(why, []).append(_title(name))
            elif score.low is None:
                counts = name in proportions and score.value in (0.0, 1.0)
                agreed[counts].append(_title(name))
                if counts:
                    counting = len(np.unique(patients[proportions[name]]))
                    ends = wilson(int(score.value) * counting, counting, self.bootstrap.level)
                    found[name] = Interval(score.value, *ends)
        reasons = [f"no interval of {joined(names)}: {why}" for why, names in few.items()]
        if agreed[True]:
            reasons.append(f"all draws agree on {joined(agreed[True])}: Wilson's interval over patients")
        if agreed[False]:
            reasons.append(f"all draws agree on {joined(agreed[False])}: no interval")
        return found, reasons


def _title(measure: str) -> str:
    return measure.replace("_", " ").replace("auc", "ROC AUC")
