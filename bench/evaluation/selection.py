"""What choosing on validation has cost: the score of the whole selection, and how often another backbone would win.

The best of many trials is the luckiest, too, so its score on the images that chose it is too good. Nothing is trained
for this: what every trial said of the validation images, epoch by epoch, is in predictions_epochs.jsonl.gz.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.run.courses import Course, kept_images
from bench.run.documents import SelectionRecord
from bench.stats.bootstrap import SAME, Bootstrap, blocks_of_draws
from bench.stats.metrics import Metric, Scores, Weights
from bench.stats.predictions import Predictions

DRAWS = 500
MOST_CANDIDATES = 200
"""Of all configurations and epochs, the best so many stand for selection in a draw: the others would hardly win it."""
FEWEST_CANDIDATES = 25
MOST_SCORED = 140_000
"""Candidates times images, at most: the more images, the fewer candidates ever win a draw, and the dearer each is."""
FEWEST_PATIENTS = 20
"""With fewer, too few are left out of a draw to score anything."""


@dataclass(frozen=True)
class Choosing:
    """What the choice is made on.

    Attributes:
        images: the validation images, as kept; their scores are not read.
        metric: the run's.
        bootstrap: level and seed.
    """

    images: Predictions
    metric: Metric
    bootstrap: Bootstrap

    def scored(self, scores: Scores, weights: Weights) -> npt.NDArray[np.float64]:
        """The metric of a model in each draw, larger is better; minus infinity where a class is missing."""
        found = self.metric.weighted(self.images.labels, scores, weights)
        better = found if self.metric.higher_is_better else -found
        return np.asarray(np.where(np.isfinite(found), better, -np.inf))


def selection(courses: Sequence[Course], images: Predictions, metric: Metric, bootstrap: Bootstrap) -> SelectionRecord:
    """The bias-corrected score of the search's best, and the share of draws in which each backbone wins.

    Patients are drawn with replacement. In each draw the best configuration and epoch is chosen by the patients drawn
    and scored on those left out; the mean of these scores is what the selection as a whole can be expected to reach
    (bootstrap bias correction: Tsamardinos, Greasidou & Borboudakis, Machine Learning 107:1895, 2018, there over
    out-of-fold predictions). It is a little pessimistic, since a draw holds 63 % of the patients to choose by. For the
    backbones the seeds of each finalist are drawn too, and the best mean of them wins, as in the run.

    Args:
        courses: of trials and finalists.
        images: the validation images with labels and patients, in the order of the run.
        metric: the run's.
        bootstrap: its level and seed; without draws nothing is computed.
    """
    kept = Choosing(images.part(kept_images(len(images))), metric, bootstrap)
    trials = [course for course in courses if course.curve.kind == "trial"]
    found = SelectionRecord(
        configurations=len(trials), epochs=sum(len(course.epochs) for course in trials), metric=metric.name
    )
    few = images.few_for(metric) or (
        f"{images.n_patients} validation patients are fewer than {FEWEST_PATIENTS}"
        if images.n_patients < FEWEST_PATIENTS
        else ""
    )
    if not trials or not bootstrap.draws or few or images.missing_classes:
        reason = images.missing_classes or few or ("no bootstrap draws" if trials else "no predictions were kept")
        return found.model_copy(update={"reason": reason})
    candidates = _candidates(trials, kept)
    corrected = _corrected(candidates, kept)
    apparent = metric.compute(kept.images.labels, candidates[0])
    sign = 1 if metric.higher_is_better else -1
    if not len(corrected):
        return found.model_copy(update={"apparent": apparent, "reason": "no draw leaves every class out and in"})
    low, high = np.quantile(sign * corrected, [(1 - bootstrap.level) / 2, (1 + bootstrap.level) / 2]).tolist()
    if high - low <= SAME:  # draws that agree, as where every ranking is perfect, do not make a score certain
        low = high = None
    return found.model_copy(
        update={
            "apparent": apparent,
            "corrected": float(sign * corrected.mean()),
            "low": low,
            "high": high,
            "chosen": _chosen([course for course in courses if course.curve.kind == "finalist"], kept),
            "draws": DRAWS,
        }
    )


def _candidates(trials: Sequence[Course], kept: Choosing) -> list[Scores]:
    """What each configuration and epoch says of the images, the best first, as many as may win a draw."""
    most = max(FEWEST_CANDIDATES, min(MOST_CANDIDATES, MOST_SCORED // len(kept.images)))
    every = [scores for course in trials for scores in course.scores]
    plain = np.ones((1, len(kept.images)))
    values = np.concatenate([kept.scored(scores, plain) for scores in every])
    return [every[place] for place in np.argsort(-values, kind="stable")[:most]]


def _corrected(candidates: Sequence[Scores], kept: Choosing) -> npt.NDArray[np.float64]:
    """Of each draw, the score of what it chose on the patients that it left out; larger is better."""
    found = []
    for weights in blocks_of_draws(kept.images.patients, DRAWS, kept.bootstrap.seed):
        out = (weights == 0).astype(np.float64)
        inside = np.stack([kept.scored(scores, weights) for scores in candidates])
        best, draws = inside.argmax(axis=0), np.arange(len(weights))
        outside = np.full(len(weights), -np.inf)
        for candidate in np.unique(best):
            outside[best == candidate] = kept.scored(candidates[candidate], out[best == candidate])
        found.append(outside[np.isfinite(inside[best, draws])])
    values = np.concatenate(found)
    return np.asarray(values[np.isfinite(values)])


def _chosen(finalists: Sequence[Course], kept: Choosing) -> dict[str, float]:
    """Backbone -> the share of draws of patients and seeds in which the mean of its seeds is the best."""
    seeds: dict[str, list[Scores]] = {}
    for course in finalists:
        seeds.setdefault(course.curve.name, []).append(course.scores[-1])
    if not seeds:
        return {}
    random, wins = np.random.default_rng(kept.bootstrap.seed), np.zeros(len(seeds))
    for weights in blocks_of_draws(kept.images.patients, DRAWS, kept.bootstrap.seed):
        means = []
        for models in seeds.values():
            values = np.stack([kept.scored(scores, weights) for scores in models])
            drawn = random.integers(0, len(models), values.shape)
            means.append(np.take_along_axis(values, drawn, axis=0).mean(axis=0))
        scored = np.stack(means)
        first = scored >= scored.max(axis=0) - SAME
        first = first[:, np.isfinite(scored).any(axis=0)]
        wins += (first / first.sum(axis=0)).sum(axis=1)  # who are level share the draw
    return {name: float(share) for name, share in zip(seeds, wins / max(1, wins.sum()), strict=True)}
