"""How often each interval that the report prints holds the true value, in simulated studies of clustered patients.

The intervals are computed by the functions of the suite, on a validation and a test split of one source; the truth is
what the same functions say of many more patients.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import softmax

from bench.evaluation import selection as selecting
from bench.evaluation.curves import curves
from bench.evaluation.decision_curve import decision_curve
from bench.evaluation.operating_points import PREVALENCES, operating_points
from bench.evaluation.retrained import gap
from bench.evaluation.scoring import score_model
from bench.evaluation.subgroups import subgroups
from bench.evaluation.thresholds import frozen_thresholds
from bench.run.courses import Course, Curve
from bench.run.documents import Threshold
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import CalibrationMap
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions

Ends = tuple[float | None, float | None]
DRAWS = 400
CONFIGURATIONS = 20
"""Among which the simulated search chooses, on validation."""
MANY = 60_000
"""Patients of the truth."""


@dataclass(frozen=True)
class Kind:
    """Studies.

    Attributes:
        classes: how many.
        patients: of either split.
        distance: between the classes, on the scale of the scores.
    """

    classes: int
    patients: int
    distance: float = 1.9

    def __str__(self) -> str:
        near = ", AUC near 1" if self.distance > 3 else ""
        return f"{self.classes} classes, {self.patients} patients{near}"


KINDS = (Kind(2, 200), Kind(2, 60), Kind(2, 200, 3.6), Kind(3, 200))


def split(kind: Kind, patients: int, rng: np.random.Generator) -> Predictions:
    """One to four images of a patient, which share an effect on the scores."""
    owner = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    labels = rng.integers(0, kind.classes, patients)[owner]
    shape = (len(owner), kind.classes)
    effects = rng.normal(0, 0.8, (patients, kind.classes))[owner] + rng.normal(0, 0.8, shape)
    scores = softmax(kind.distance * np.eye(kind.classes)[labels] + effects, axis=1)
    return Predictions(labels, scores, owner, tuple("abc"[: kind.classes]))


Printed = Iterator[tuple[str, float, Ends]]
"""What an interval is of, the value, and the ends."""


def of_scores(test: Predictions, bootstrap: Bootstrap) -> Printed:
    """Intervals of a test split that no threshold decides."""
    model = score_model(test, bootstrap)
    for name, one in model.metrics.items():
        yield f"metric {name}", one.value, (one.low, one.high)
    for name, scores in model.per_class.items() if len(test.classes) > 2 else ():
        yield f"AUC of one class|{name}", scores.auc, (scores.auc_low, scores.auc_high)
    for row in curves({"": test}, bootstrap).to_dict("records"):
        if 0.05 <= row["x"] <= 0.95:
            yield f"{row['curve']} curve, by place|{row['class']} {row['x']}", row["y"], (row["low"], row["high"])
    for row in decision_curve(test, bootstrap).to_dict("records"):
        if 0.1 <= row["threshold"] <= 0.9:
            place = f"{row['class']} {row['threshold']}"
            yield f"net benefit, by threshold|{place}", row["model"], (row["low"], row["high"])


def of_calls(test: Predictions, frozen: Sequence[Threshold], bootstrap: Bootstrap) -> Printed:
    """Intervals of a test split at 0.5 and at frozen thresholds."""
    points, prevalences = operating_points(test, frozen, bootstrap)
    for row in points.to_dict("records"):
        yield f"{row['measure']} at {row['point']}|{row['class']}", row["value"], (row["low"], row["high"])
    for row in prevalences[prevalences["prevalence"].isin(PREVALENCES)].to_dict("records"):
        for name in ("ppv", "npv"):
            ends = row[f"{name}_low"], row[f"{name}_high"]
            yield f"{name} by prevalence|{row['class']} {row['point']} {row['prevalence']}", row[name], ends
    group = {"site": np.where(test.patients % 4 == 0, "small", "").tolist()}
    table = subgroups(test, group, frozen[0].value if len(test.classes) == 2 else None, bootstrap)
    for row in table[table["value"] == "small"].to_dict("records"):
        for name in (column.removesuffix("_low") for column in table if column.endswith("_low")):
            yield f"subgroup {name}", row[name], (row[f"{name}_low"], row[f"{name}_high"])


@cache
def many(kind: Kind) -> Predictions:
    """So many patients that what they say is the truth."""
    return split(kind, MANY, np.random.default_rng(0))


@cache
def _true_scores(kind: Kind) -> dict[str, float]:
    return {name: value for name, value, _ in of_scores(many(kind), Bootstrap(0))}


def held(kind: Kind, number: int) -> Iterator[tuple[str, bool]]:
    """(what an interval is of, whether it held the truth) of one study; intervals that are not given are left out."""
    rng = np.random.default_rng([11, number])
    validation, test = split(kind, kind.patients, rng), split(kind, kind.patients, rng)
    bootstrap = Bootstrap(DRAWS, seed=number)
    frozen = frozen_thresholds(validation, None, bootstrap, CalibrationMap())
    truth = dict(_true_scores(kind)) | {name: value for name, value, _ in of_calls(many(kind), frozen, Bootstrap(0))}
    for name, _, (low, high) in (*of_scores(test, bootstrap), *of_calls(test, frozen, bootstrap)):
        if pd.notna(low) and pd.notna(truth[name]):
            yield name.split("|")[0], bool(low <= truth[name] <= high)
    apart = gap(validation, test, METRICS["auc"], bootstrap)
    if apart.low is not None:
        yield "validation less test", apart.low <= 0 <= apart.high
    for one, true in zip(frozen, _best(kind), strict=True):
        if one.low is not None:
            yield "frozen threshold", one.low <= true <= one.high
    points, _ = operating_points(test, frozen, Bootstrap(0), validation)
    for row in points[points["expected_low"].notna()].to_dict("records"):
        yield f"{row['measure']} expected by validation", not row["flagged"]


@cache
def _best(kind: Kind) -> tuple[float, ...]:
    return tuple(one.value for one in frozen_thresholds(many(kind), None, Bootstrap(0), CalibrationMap()))


def selected(kind: Kind, number: int) -> bool | None:
    """Whether the interval of the search's corrected score holds what its choice is worth; None without one.

    Configurations differ in how well they tell the classes apart, and share the difficulty of the images.
    """
    rng = np.random.default_rng([13, number])
    images = split(kind, kind.patients, rng)
    worth = np.random.default_rng(13).normal(0, 0.15, CONFIGURATIONS)
    scores = [_model(images, kind.distance * float(np.exp(one)), rng) for one in worth]
    courses = [Course(Curve("trial", str(place)), (1,), one[None]) for place, one in enumerate(scores)]
    found = selecting.selection(courses, images, METRICS["auc"], Bootstrap(DRAWS, seed=number))
    if found.low is None:
        return None
    return bool(found.low <= _worth_of_choosing(kind) <= found.high)


@cache
def _worth_of_choosing(kind: Kind) -> float:
    """The true AUC of what is chosen on so many patients, on average."""
    rng = np.random.default_rng(17)
    worth = np.random.default_rng(13).normal(0, 0.15, CONFIGURATIONS)
    distances = [kind.distance * float(np.exp(one)) for one in worth]
    whole = split(kind, 20_000, rng)
    auc = METRICS["auc"].compute
    true = [auc(whole.labels, _model(whole, distance, rng)) for distance in distances]
    chosen = []
    for _ in range(200):
        images = split(kind, kind.patients, rng)
        chosen.append(int(np.argmax([auc(images.labels, _model(images, distance, rng)) for distance in distances])))
    return float(np.mean([true[place] for place in chosen]))


def _model(images: Predictions, distance: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    logits = np.log(images.scores) + (distance - 1.9) * np.eye(len(images.classes))[images.labels]
    return softmax(logits + rng.normal(0, 0.6, logits.shape), axis=1).astype(np.float32)


def table(kinds: tuple[Kind, ...], studies: int) -> pd.DataFrame:
    """Per kind of interval and of study: the share that held the truth, and in how many there was an interval."""
    rows = []
    for kind in kinds:
        for number in range(studies):
            rows += [{"interval": name, "kind": str(kind), "held": ok} for name, ok in held(kind, number)]
            ok = selected(kind, number)
            rows += [] if ok is None else [{"interval": "what choosing is worth", "kind": str(kind), "held": ok}]
    return pd.DataFrame(rows).pivot_table("held", "interval", "kind", sort=False, observed=True)
