"""Prediction sets computed again: from the calibrated columns of validation and test, by other code."""

import math

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from bench.verify.reading import Folder, Tally

STEP = 1e-6
"""Scores are written with six digits, rounded up."""
ROUNDED = 1.5 * STEP


def prediction_sets(run: Folder, tally: Tally) -> None:
    """The scores of validation, the limit at the coverage, and what the sets came to on test."""
    told = run.evaluation.get("conformal")
    if told is None:
        tally.skipped = "there are none, as in earlier versions"
        return
    card = run.json("best_model.json")["conformal"]
    val = run.winners("val", "calibrated_")
    worst: dict[object, float] = {}
    for patient, label, row in zip(val.patients, val.labels, val.scores, strict=True):
        worst[patient] = max(worst.get(patient, 0.0), 1 - row[label])
    scores = sorted(worst.values())
    n, kept = len(scores), len(card["scores"])
    tally.same("validation patients of the prediction sets", card["patients"], n)
    for place, one in enumerate(card["scores"], start=1):
        tally.close(f"score {place} of validation", one, scores[math.ceil(place * n / kept) - 1], ROUNDED)
    level = math.ceil(round((n + 1) * told["coverage"], 9)) / n
    if level > 1:
        tally.check(told.get("limit") is None, "a limit of prediction sets is told, with too few validation patients")
        limit = math.inf
    else:
        of_all = float(np.quantile(scores, level, method="inverted_cdf"))
        higher = [one for one in card["scores"] if one >= of_all + STEP - ROUNDED]  # rounded up, none is far below
        tally.close("limit of the prediction sets", told["limit"], min(higher), ROUNDED)
        limit = float(told["limit"])
    _on_test(run, limit, tally)


def _on_test(run: Folder, limit: float, tally: Tally) -> None:
    told, test = run.evaluation["conformal"], run.winners("test", "calibrated_")
    sets = [{k for k, p in enumerate(row) if 1 - p <= limit} for row in test.scores]
    held = [label in one for label, one in zip(test.labels.tolist(), sets, strict=True)]
    missed = {patient for patient, right in zip(test.patients, held, strict=True) if not right}
    single = [right for one, right in zip(sets, held, strict=True) if len(one) == 1]
    patients = len(set(test.patients))
    for name, hits, of in (
        ("patients_covered", patients - len(missed), patients),
        ("covered", sum(held), len(held)),
        ("single", len(single), len(sets)),
        ("right", sum(single), len(single)),
    ):
        one = told[name]
        tally.same(f"{name}, counted", (one["hits"], one["of"]), (hits, of))
        low, high = proportion_confint(hits, of, method="wilson") if of else (None, None)
        for end, value in (("value", hits / of if of else None), ("low", low), ("high", high)):
            tally.close(f"{name}, {end}", one.get(end), value)
    tally.same("empty sets", told["empty"], sum(not one for one in sets))
