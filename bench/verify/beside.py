"""What several checks share about predictions that stand beside the winner's: scores, intervals and frozen points."""

from collections.abc import Sequence

import numpy as np

from bench.verify.reading import Json, Place, Predicted
from bench.verify.resampled import check_ends, few, redrawn
from bench.verify.scores import NEEDS_ALL_CLASSES, SCORES, score
from bench.verify.weighted import Floats, metrics, quotient


def scores(place: Place, told: Json, found: Predicted) -> None:
    """Each metric with its interval, and the confusion matrix."""
    run = place.run
    names = [name for name in told["metrics"] if name in SCORES and score(name, found) is not None]
    draws = 0 if few(found.patients) else run.draws_on_validation
    drawn = redrawn(found.patients, metrics(found, names)) if names and draws else None
    sides = [found.labels == number for number in range(len(run.classes))]
    for column, name in enumerate(names):
        one = told["metrics"][name]
        place.close(name, one["value"], score(name, found))
        why = few(found.patients, *(sides if name in NEEDS_ALL_CLASSES else []))
        band = drawn.band(column, run.level, draws) if drawn else None
        check_ends(place.tally, place.of(name), one.get("low"), one.get("high"), band, why)
    counts = np.zeros((len(run.classes), len(run.classes)), dtype=int)
    np.add.at(counts, (found.labels, found.scores.argmax(axis=1)), 1)
    place.same("confusion", [list(row) for row in told["confusion"]], counts.tolist())


def points(place: Place, told: Sequence[Json], found: Predicted) -> None:
    """Sensitivity and specificity at frozen thresholds, with intervals by patients."""
    run = place.run
    for one in told:
        own = place.inside(one["class"])
        positive = found.labels == run.classes.index(one["class"])
        called = found.scores[:, run.classes.index(one["class"])] >= one["threshold"]
        for name, side, right in (("sensitivity", positive, called), ("specificity", ~positive, ~called)):
            own.close(name, one[name].get("value"), right[side].mean() if side.any() else None)

            def share(weights: Floats, hits: Floats = (right & side) * 1.0, of: Floats = side * 1.0) -> Floats:
                return quotient(weights @ hits, weights @ of)[:, None]

            draws = 0 if few(found.patients) else run.draws_on_validation
            band = redrawn(found.patients, share).band(0, run.level, draws) if draws else None
            why = not side.any() or few(found.patients, side)
            check_ends(own.tally, own.of(name), one[name].get("low"), one[name].get("high"), band, why)
