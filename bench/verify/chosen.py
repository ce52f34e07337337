"""The search and what choosing in it has cost, computed again from predictions_epochs.jsonl.gz."""

import gzip
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.verify.reading import SMALLER_IS_BETTER, Folder, NotThere, Predicted, Tally
from bench.verify.resampled import ERRORS, check_within, few, redrawn
from bench.verify.scores import NEEDS_ALL_CLASSES, score, scores_told
from bench.verify.weighted import Floats, metrics

FILE = "predictions_epochs.jsonl.gz"
MOST_IMAGES = 5000
"""Of more validation images, so many, evenly spaced, are in the file."""
CANDIDATES, FEWEST_CANDIDATES, MOST_SCORED = 200, 25, 140_000
"""The best so many stand for the search, fewer where candidates times images would be more, never below the fewest."""
FEWEST_PATIENTS = 20
EXPORTED = 0.02
"""Files are computed in float32, what was trained perhaps not."""
Key = tuple[str, str, int | None, int | None]


@dataclass(frozen=True)
class Course:
    """What a training said of the validation images after each epoch that could be chosen.

    Attributes:
        epochs: their numbers.
        scores: shape (n_epochs, n_images, n_classes).
    """

    epochs: tuple[int, ...]
    scores: npt.NDArray[np.float64]


def courses(run: Folder) -> dict[Key, Course]:
    """The last line of each training, by kind, name, repeat and fold.

    Raises:
        NotThere: if the file is not there.
    """
    found: dict[Key, Course] = {}
    with gzip.open(run.file(FILE), "rt", encoding="utf-8") as file:
        for line in file:
            one = json.loads(line)
            key = (one["kind"], one["name"], one["repeat"], one["fold"])
            found.pop(key, None)
            found[key] = Course(tuple(one["epochs"]), np.array(one["probabilities"]))
    return found


def kept(run: Folder) -> Predicted:
    """The validation images that the file is about."""
    val = run.winners("val")
    rows = np.unique(np.linspace(0, len(val.labels) - 1, min(len(val.labels), MOST_IMAGES)).astype(int))
    return Predicted(tuple(np.array(val.images)[rows]), val.labels[rows], val.scores[rows], val.patients[rows])


def trainings(run: Folder, tally: Tally) -> None:
    """Each training's scores in trials.csv, finalists.csv, baselines.csv and learning_curve.csv, from the file.

    Of a training that went on for several epochs, the best of those that could be chosen.
    """
    found, images = courses(run), kept(run)
    if len(images.labels) < len(run.winners("val").labels):
        raise NotThere(f"{FILE} holds {len(images.labels):,} of the validation images, the tables are about all")
    for _, table in run.tables_of("trials.csv"):
        for _, row in table[table["state"] != "failed"].iterrows():
            _scores(run, ("trial", f"{row['trial']:.0f}", None, None), row, found, images, tally)
    for name, column, kind in (("finalists", "backbone", "finalist"), ("baselines", "baseline", "baseline")):
        for _, table in run.tables_of(f"{name}.csv"):
            for _, row in table[(table["state"] == "completed") & table["model"].notna()].iterrows():
                _scores(run, (kind, row[column], int(row["repeat"]), None), row, found, images, tally)
    for _, table in run.tables_of("learning_curve.csv"):
        for _, row in table[(table["state"] == "completed") & (table["share"] < 1)].iterrows():
            _scores(run, ("size", f"{row['share']:g}", int(row["draw"]), None), row, found, images, tally)


def _scores(run: Folder, key: Key, row: pd.Series, found: dict[Key, Course], images: Predicted, tally: Tally) -> None:
    where = " ".join(str(part) for part in key if part is not None)
    if pd.isna(row[f"metric_{run.metric}"]):
        return
    tally.check(key in found, f"{where}: it has a score, but {FILE} does not hold it")
    if key not in found:
        return
    every = [replace(images, scores=scores) for scores in found[key].scores]
    values = [score(run.metric, one) for one in every]
    known = [
        (value if run.metric in SMALLER_IS_BETTER else -value, place)
        for place, value in enumerate(values)
        if value is not None
    ]
    best = every[min(known)[1]]
    exact = key[0] in ("trial", "size")
    for metric in scores_told(row) if not exact else (run.metric,):
        tally.close(f"{where}: {metric}", row[f"metric_{metric}"], score(metric, best), 1e-5 if exact else EXPORTED)


def selection(run: Folder, tally: Tally) -> None:
    """The best score, the corrected one with its interval, and how often each backbone would be chosen."""
    told = run.evaluation.get("selection")
    if not told:
        raise NotThere("evaluation.json says nothing of what choosing has cost, as in earlier versions")
    found, images = courses(run), kept(run)
    known = {
        f"{n:.0f}"
        for n, s in zip(*(run.table("trials.csv")[c] for c in ("trial", "state")), strict=True)
        if s != "failed"
    }
    trials = [one for key, one in found.items() if key[0] == "trial" and key[1] in known]
    tally.same("configurations", told["configurations"], len(trials))
    tally.same("epochs", told["epochs"], sum(len(one.epochs) for one in trials))
    sides = [images.labels == number for number in range(len(run.classes))]
    why = few(images.patients, *(sides if run.metric in NEEDS_ALL_CLASSES else [])) or not all(map(np.any, sides))
    why = why or not trials or len(set(images.patients)) < FEWEST_PATIENTS
    corrected = told.get("corrected")
    if why or corrected is None:
        tally.check(why, f"no corrected score is told where there can be one: {told.get('reason', '')}")
        tally.close("corrected score", corrected, None)
        return
    _corrected(run, told, trials, images, tally)
    _chosen(run, told, found, images, tally)


def _better(run: Folder, images: Predicted, scores: npt.NDArray[np.float64], weights: Floats) -> Floats:
    """The metric in each draw, larger is better; minus infinity where it cannot be computed."""
    values = metrics(replace(images, scores=scores), [run.metric])(weights)[:, 0]
    values = -values if run.metric in SMALLER_IS_BETTER else values
    return np.where(np.isfinite(values), values, -np.inf)


def _corrected(run: Folder, told: dict[str, Any], trials: list[Course], images: Predicted, tally: Tally) -> None:
    """Chosen by the patients of a draw, scored on the others; each draw is one study, so that plain quantiles hold."""
    every = [scores for one in trials for scores in one.scores]
    whole = np.array([_better(run, images, scores, np.ones((1, len(images.labels))))[0] for scores in every])
    most = max(FEWEST_CANDIDATES, min(CANDIDATES, MOST_SCORED // len(images.labels)))
    best = np.argsort(-whole, kind="stable")[:most]
    sign = -1 if run.metric in SMALLER_IS_BETTER else 1
    tally.close("apparent score of the best", told["apparent"], sign * whole[best[0]])

    def outside(weights: Floats) -> Floats:
        inside = np.stack([_better(run, images, every[place], weights) for place in best])
        winner, found = inside.argmax(axis=0), np.full(len(weights), np.nan)
        for number in np.unique(winner):
            rows = winner == number
            found[rows] = _better(run, images, every[best[number]], (weights[rows] == 0).astype(float))
        found[~np.isfinite(found) | ~np.isfinite(inside.max(axis=0))] = np.nan
        return sign * found[:, None]

    drawn = redrawn(images.patients, outside, jackknife=False, draws=2 * told["draws"])
    known = drawn.drawn[np.isfinite(drawn.drawn[:, 0]), 0]
    room = ERRORS * known.std() * np.sqrt(1 / told["draws"] + 1 / len(known))
    tally.close("corrected score", told["corrected"], known.mean(), float(room) + 1e-9)
    if told["low"] is None:
        tally.check(np.ptp(np.quantile(known, [0.03, 0.97])) < 1e-9, "corrected score: no interval is told")
        return
    band = drawn.quantiles(0, run.level, told["draws"])
    check_within(tally, "corrected score: lower end", told["low"], band.low)
    check_within(tally, "corrected score: upper end", told["high"], band.high)


def _chosen(run: Folder, told: dict[str, Any], found: dict[Key, Course], images: Predicted, tally: Tally) -> None:
    """The share of draws of patients and of seeds in which the mean over a backbone's seeds is the best."""
    table = run.table("finalists.csv")
    done = table[table["state"] == "completed"]
    wanted = {("finalist", row["backbone"], int(row["repeat"]), None) for _, row in done.iterrows()}
    seeds: dict[str, list[npt.NDArray[np.float64]]] = {}
    for key, one in found.items():
        if key in wanted:
            seeds.setdefault(key[1], []).append(one.scores[-1])
    tally.same("backbones to choose from", sorted(told["chosen"]), sorted(seeds))

    def scores(weights: Floats) -> Floats:
        return np.column_stack([_better(run, images, one, weights) for some in seeds.values() for one in some])

    drawn = redrawn(images.patients, scores, jackknife=False, draws=4 * told["draws"]).drawn
    rng, start, means = np.random.default_rng(40_000), 0, []
    for some in seeds.values():
        part, start = drawn[:, start : start + len(some)], start + len(some)
        picked = rng.integers(0, len(some), part.shape)
        means.append(np.take_along_axis(part, picked, axis=1).mean(axis=1))
    every = np.stack(means)
    every = every[:, np.isfinite(every).any(axis=0)]
    first = every >= every.max(axis=0) - 1e-12
    shares = (first / first.sum(axis=0)).mean(axis=1)
    for name, share in zip(seeds, shares.tolist(), strict=True):
        both = (share + told["chosen"][name]) / 2  # a share near 0 or 1 says little of its own error
        room = ERRORS * np.sqrt(max(both * (1 - both), 0.002) * (1 / told["draws"] + 1 / every.shape[1]))
        tally.close(f"share of draws in which {name} wins", told["chosen"][name], share, float(room))
