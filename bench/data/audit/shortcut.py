"""The shortcut baselines: how well the label is predicted without the picture, by metadata, or by its border alone.

A model that learns from images of one hospital, scanner or compression a class can score well by recognising
those. If width, height, colour mode and compression alone predict the label, a high score proves little; nor does it if
brightness, contrast and noise of the border do, where devices and marks show, and diseases seldom.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import uniform_filter
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bench.data.images.decode import Pixels
from bench.run.documents import MetadataFeature, ShortcutRecord
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions

LIMIT = 0.6  # AUC above which the whole interval must lie for the audit to warn
ENOUGH = 10
"""Patients of each class from which on a perfect score, whose interval is not known as all draws agree, warns too."""
FOLDS = 5
FRAME, CORNER = 1 / 16, 1 / 10
"""Width of the border, and side of its corners, as shares of the image."""
MOST_IMAGES = 20_000  # more images are not needed for an interval of a percent, and would take long


def metadata(facts: pd.DataFrame) -> pd.DataFrame:
    """What is known of images without seeing them: one row per image, one column per feature, all numbers."""
    pixels = (facts["width"] * facts["height"]).clip(lower=1)
    return pd.DataFrame(
        {
            "width": facts["width"],
            "height": facts["height"],
            "aspect": facts["width"] / facts["height"].clip(lower=1),
            "colour mode": pd.factorize(facts["mode"], sort=True)[0],
            "bytes per pixel": facts["bytes"] / pixels,
        }
    ).astype(float)


def shortcut(facts: pd.DataFrame, labels: Sequence[str], groups: Sequence[Any], seed: int) -> ShortcutRecord:
    """How well metadata alone predict the label: AUC of boosted trees, cross-validated with groups kept whole.

    The AUC is macro one-vs-rest for several classes, its 95 % interval from groups drawn again; ``low`` and ``high``
    are None where there is none, and ``auc`` where it cannot be computed. Features alone come by descending AUC.

    Args:
        facts: of the decoded images that are not in test, columns as in `bench.data.images.decode.Facts`.
        labels: class of each.
        groups: what must not be parted (patients and duplicates), for each.
        seed: decides folds and bootstrap draws.
    """
    kept = _some(np.asarray(groups), seed)
    features = metadata(facts.iloc[kept])
    return _predicted(features, np.asarray(labels, dtype=object)[kept], np.asarray(groups)[kept], seed, _trees)


def border_shortcut(
    thumbnails: Pixels, rows: Sequence[int], labels: Sequence[str], groups: Sequence[Any], seed: int
) -> ShortcutRecord:
    """How well the border alone predicts the label: as `shortcut`, by logistic regression on `borders`.

    Args:
        thumbnails: uint8 of shape (n_images, side, side).
        rows: of the images that are not in test.
        labels: class of each of these.
        groups: what must not be parted, for each.
        seed: decides folds and bootstrap draws.
    """
    kept = _some(np.asarray(groups), seed)
    features = borders(thumbnails, np.asarray(rows, dtype=np.int64)[kept])
    return _predicted(features, np.asarray(labels, dtype=object)[kept], np.asarray(groups)[kept], seed, _line)


def borders(thumbnails: Pixels, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """What the border of each image is like, in grey levels: one row per image, one column per feature.

    Noise is the median distance of a pixel from the mean of the nine about it.
    """
    side = thumbnails.shape[1]
    wide, corner = max(1, round(side * FRAME)), max(1, round(side * CORNER))
    inner = slice(wide, side - wide)
    frame = np.ones((side, side), dtype=bool)
    frame[inner, inner] = False
    low, high = slice(0, corner), slice(side - corner, side)
    corners = {"top left": (low, low), "top right": (low, high)}
    corners |= {"bottom left": (high, low), "bottom right": (high, high)}
    found = []
    for row in rows.tolist():
        image = np.asarray(thumbnails[row], dtype=np.float32)
        ring = image[frame]
        about: dict[str, float] = {
            "brightness of the border": float(ring.mean()),
            "contrast of the border": float(ring.std()),
            "noise of the border": float(np.median(np.abs(image - uniform_filter(image, 3))[frame])),
            "darkest grey of the border": float(np.quantile(ring, 0.01)),
        }
        found.append(about | {f"{name} corner": float(image[place].mean()) for name, place in corners.items()})
    return pd.DataFrame(found, dtype=float)


def _predicted(
    features: pd.DataFrame, labels: npt.NDArray[Any], groups: npt.NDArray[Any], seed: int, model: "Model"
) -> ShortcutRecord:
    """How well ``features`` predict the labels, together and each alone."""
    names, y = np.unique(labels.astype(str), return_inverse=True)
    own = pd.factorize(groups)[0]
    n_patients = int(own.max(initial=-1)) + 1
    fewest = pd.Series(own).groupby(y).nunique().min() if len(names) > 1 else 0
    if fewest < 2:
        reason = "each class needs at least two patients outside the test split"
        return ShortcutRecord(auc=None, reason=reason, limit=LIMIT, images=len(y), patients=n_patients)
    differing = [name for name in map(str, features) if features[name].nunique() > 1]
    alone: dict[str, float] = dict.fromkeys(map(str, features), 0.5)
    auc, low, high = 0.5, 0.5, 0.5  # type: tuple[float, float | None, float | None]
    if differing:
        folds = _folds(y, own, min(FOLDS, int(fewest)), seed)
        for name in differing:
            if model is _line:
                alone[name] = _by_rank(features[name].to_numpy(), y)
            else:
                scores = out_of_fold(features[[name]], y, folds, model)
                alone[name] = METRICS["auc"].compute(y, scores)
        several = len(differing) > 1 or model is _line
        together = out_of_fold(features[differing], y, folds, model) if several else scores
        interval = intervals(Predictions(y, together, own), Bootstrap(1000, seed=seed), ["auc"])["auc"]
        auc, low, high = interval.value, interval.low, interval.high
    ranked = sorted(alone, key=lambda name: -alone[name])
    return ShortcutRecord(
        auc=auc,
        low=low,
        high=high,
        limit=LIMIT,
        images=len(y),
        patients=n_patients,
        warns=bool(auc > LIMIT and fewest >= ENOUGH if low is None else low > LIMIT),
        features=tuple(MetadataFeature(name=name, auc=alone[name]) for name in ranked),
    )


def _some(groups: npt.NDArray[Any], seed: int) -> npt.NDArray[np.int64]:
    """Positions of all images, or of whole groups drawn until there are MOST_IMAGES."""
    if len(groups) <= MOST_IMAGES:
        return np.arange(len(groups))
    codes = pd.factorize(groups)[0]
    order = np.random.default_rng(seed).permutation(codes.max() + 1)
    taken = np.cumsum(np.bincount(codes)[order]) <= MOST_IMAGES
    return np.flatnonzero(np.isin(codes, order[taken]))


def _folds(y: npt.NDArray[Any], groups: npt.NDArray[Any], k: int, seed: int) -> list[tuple[Any, Any]]:
    splitter = StratifiedGroupKFold(n_splits=k, shuffle=True, random_state=seed)
    return [(train, test) for train, test in splitter.split(y, y, groups) if len(np.unique(y[train])) > y.max()]


Model = Callable[[int], Any]
"""Number of training images -> a classifier of scikit-learn."""


def _trees(n_images: int) -> Any:
    leaf = max(2, min(20, n_images // 20))
    return HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, min_samples_leaf=leaf, random_state=0)


def _line(n_images: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))


def _by_rank(values: npt.NDArray[np.float64], y: npt.NDArray[Any]) -> float:
    """AUC of a feature as it stands, whichever way it points; the mean over classes against the rest."""
    found = [roc_auc_score(y == one, values) for one in range(int(y.max()) + 1)]
    return float(np.mean([max(one, 1 - one) for one in found]))


def out_of_fold(
    features: pd.DataFrame, y: npt.NDArray[Any], folds: list[tuple[Any, Any]], model: Model = _trees
) -> npt.NDArray[np.float64]:
    """Probabilities that models give for the images that they were not fitted on: shape (n_images, n_classes)."""
    scores = np.full((len(y), y.max() + 1), 1 / (y.max() + 1))
    with threadpool_limits(1):  # fits so small gain nothing from threads, and wait half a minute where cores are busy
        for train, test in folds:
            fitted = model(len(train)).fit(features.to_numpy()[train], y[train])
            scores[test] = fitted.predict_proba(features.to_numpy()[test])
    return scores
