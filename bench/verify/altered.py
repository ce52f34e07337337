"""Scores on altered images, and what is said of saliency maps, computed again."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr, t

from bench.verify.reading import Folder, Predicted, Tally
from bench.verify.resampled import Redrawn, check_ends, check_within, few, redrawn
from bench.verify.scores import fewest, score
from bench.verify.weighted import metrics, together

CLOSE = 0.05
"""What is computed in bfloat16 may differ by this from predictions_test.csv."""
EACH = 4
"""Right and wrong answers of which there are maps, at most."""


def robustness(run: Folder, tally: Tally) -> None:
    """Every score, interval and paired change of robustness.csv, from predictions_altered.csv."""
    table, altered = run.table("robustness.csv"), run.table("predictions_altered.csv")
    levels = dict(iter(altered.groupby(["corruption", "level"], sort=False, dropna=False)))
    tally.same("alterations and levels", len(table), len(levels))
    models = [run.predicted(_level(levels, row)) for _, row in table.iterrows()]
    if not models:
        return
    _unaltered(run, models[0], table["precision"].iloc[0], tally)
    both = {name: _together(run, models, name) for name in ("accuracy", "auc")}
    by_class = [models[0].labels == number for number in range(len(run.classes))]
    for place, (_, row) in enumerate(table.iterrows()):
        where = " ".join(str(row[name]) for name in ("corruption", "level") if not pd.isna(row[name]))
        found = models[place]
        tally.same(f"{where}: images", int(row["images"]), len(found.labels))
        tally.check(found.images == models[0].images, f"{where}: other images than unaltered")
        for name in ("accuracy", "auc"):
            tally.close(f"{where}: {name}", row[name], score(name, found))
            why = few(found.patients, *(by_class if name == "auc" else []))
            drawn = both[name]
            band = drawn.band(place, run.level, run.draws) if drawn else None
            check_ends(tally, f"{where}: {name}", row[f"{name}_low"], row[f"{name}_high"], band, why or drawn is None)
        if place and not pd.isna(row["auc"]):
            _change(run, where, row, (both["auc"], place, fewest("auc", found)), tally)


def _level(levels: dict[Any, pd.DataFrame], row: pd.Series) -> pd.DataFrame:
    for (name, level), part in levels.items():
        if name == row["corruption"] and (level == row["level"] or (pd.isna(level) and pd.isna(row["level"]))):
            return part
    raise ValueError(f"predictions_altered.csv does not hold {row['corruption']} {row['level']}")


def _unaltered(run: Folder, found: Predicted, precision: str, tally: Tally) -> None:
    """The images as they are have the scores of predictions_test.csv."""
    test = run.winners()
    row_of = {name: row for row, name in enumerate(test.images)}
    own = test.scores[[row_of[name] for name in found.images]]
    distance = float(abs(own - found.scores).max()) if len(found.labels) else 0.0
    tally.close(
        "unaltered images: distance from predictions_test.csv",
        0.0,
        distance,
        1e-3 if precision == "float32" else 2 * CLOSE,
    )


def _together(run: Folder, models: list[Predicted], name: str) -> Redrawn | None:
    """A metric of all levels in the same draws; None where it cannot be computed."""
    if not run.draws or score(name, models[0]) is None:
        return None
    return redrawn(models[0].patients, together([metrics(one, [name]) for one in models]))


def _change(run: Folder, where: str, row: pd.Series, of: tuple[Redrawn | None, int, int], tally: Tally) -> None:
    """Of the ROC AUC against the images as they are: a t interval of the paired difference.

    Args:
        of: all levels in the same draws, the place of this one, and the patients that the interval goes by.
    """
    drawn, place, patients = of
    if drawn is None:
        return
    change = float(drawn.value[place] - drawn.value[0])
    tally.close(f"{where}: change of ROC AUC", row["auc_change"], change)
    contrast = np.zeros(len(drawn.value))
    contrast[[place, 0]] = 1, -1
    error, off = drawn.standard_error(contrast, run.draws, patients)
    if pd.isna(row["auc_change_low"]):
        tally.check(error < 1e-9 or pd.isna(row["auc_low"]), f"{where}: the change has no interval, but there is one")
        return
    reach = float(t.ppf((1 + run.level) / 2, patients - 1))
    for half in (change - row["auc_change_low"], row["auc_change_high"] - change):
        check_within(
            tally, f"{where}: half the interval of the change", half, (reach * (error - off), reach * (error + off))
        )


def saliency(run: Folder, tally: Tally) -> None:
    """Which images have maps, what is called, and the rank correlations with the maps of the shuffled network."""
    told, found, table = run.json("saliency.json"), run.winners(), run.table("predictions_test.csv")
    items, called = told["items"], found.scores.argmax(axis=1)
    pixels = table["pixels"].to_numpy() if "pixels" in table else np.arange(len(called))
    tally.same(
        "images with maps", [one["image"] for one in items], [found.images[row] for row in _cases(found, pixels)]
    )
    row_of = {name: row for row, name in enumerate(found.images)}
    for one in items:
        row, where = row_of[one["image"]], one["image"]
        tally.same(f"{where}: label", one["label"], run.classes[found.labels[row]])
        tally.same(f"{where}: predicted", one["predicted"], run.classes[called[row]])
        tally.same(f"{where}: right", one["correct"], bool(called[row] == found.labels[row]))
        tally.close(f"{where}: probability", one["probability"], found.scores[row, called[row]])
        if one.get("copies") is not None:
            tally.same(f"{where}: copies", one["copies"], int((pixels == pixels[row]).sum()))
    known = [one["correlation"] for one in items if one.get("correlation") is not None]
    mean = (told.get("randomisation") or {}).get("mean_correlation")
    tally.close("mean rank correlation", mean, np.mean(known) if known else None)
    with np.load(run.file("saliency.npz")) as arrays:
        if "places" not in arrays:
            tally.skipped = "saliency.npz lacks the maps as computed, so that their correlations are not computed again"
            return
        pairs = list(zip(arrays["places"], arrays["randomised_places"], strict=True))
    for one, (own, other) in zip(items, pairs, strict=True):
        varies = all(np.isfinite(part).all() and np.ptp(part) > 0 for part in (own, other))
        value = spearmanr(own.ravel(), other.ravel()).statistic if varies else None
        tally.close(f"{one['image']}: rank correlation", one["correlation"], value)


def _cases(found: Predicted, pixels: Any) -> list[int]:
    """The surest right, then the surest wrong answers, by turns from each class, of identical images one."""
    right, sure = found.scores.argmax(axis=1) == found.labels, found.scores.max(axis=1)
    chosen: list[int] = []
    for kind in (True, False):
        frame = pd.DataFrame({"row": np.arange(len(sure)), "label": found.labels, "sure": -sure, "pixels": pixels})
        frame = frame[right == kind].sort_values(["label", "sure", "row"], kind="stable")
        frame["turn"] = frame.groupby("label").cumcount()
        frame = frame.sort_values(["turn", "label"], kind="stable").drop_duplicates("pixels")
        chosen += frame["row"].head(EACH).tolist()
    return chosen
