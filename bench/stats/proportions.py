"""Counted proportions and tests of counts: Wilson's interval, McNemar's test by patients, Holm's correction.

Wilson's interval takes images for independent. Where patients have several images it is too sure; the patient-clustered
bootstrap leads there, and where it knows no interval, `wilson_by_patients` stands in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from bench.stats.metrics import Mask

Ends = tuple[float, float] | tuple[None, None]
"""Of an interval; both None where it is not known."""


def wilson(hits: float, of: float, level: float = 0.95) -> Ends:
    """Wilson's score interval of ``hits`` out of ``of``; both ends None out of nothing.

    Source: Wilson, JASA 22:209 (1927).
    """
    if not of:
        return None, None
    low, high = proportion_confint(hits, of, alpha=1 - level, method="wilson")
    return float(low), float(high)


def wilson_by_patients(right: Mask, patients: npt.NDArray[Any], level: float = 0.95) -> Ends:
    """Wilson's interval of a share of images, of as many as are left if all images of a patient are alike.

    These are (sum of m)^2 / (sum of m^2), where m is the number of images of a patient (Kish, Survey Sampling, 1965).
    With one image per patient it is `wilson`.

    Args:
        right: shape (n_images,).
        patients: patient of each image, shape (n_images,).
        level: coverage of the interval.
    """
    if not len(right):
        return None, None
    images = np.unique(patients, return_counts=True)[1]
    left = float(images.sum() ** 2 / (images**2).sum())
    return wilson(float(np.mean(right)) * left, left, level)


def effective_images(right: Mask, patients: npt.NDArray[Any]) -> float:
    """How many independent images the images of these patients are worth, for the share that is right.

    The variance of the share is that of a ratio of sums over patients (Cochran, Sampling Techniques, 1977, section
    9A). It is worth no less than images that are all alike within a patient (`wilson_by_patients`), no more than there
    are images.

    Args:
        right: shape (n_images,), at least one.
        patients: patient of each image, shape (n_images,).
    """
    _, owner, images = np.unique(patients, return_inverse=True, return_counts=True)
    share, fewest = float(np.mean(right)), float(images.sum() ** 2 / (images**2).sum())
    apart = np.bincount(owner, weights=right) - share * images
    variance = float((apart**2).sum() / images.sum() ** 2 * len(images) / max(1, len(images) - 1))
    return float(np.clip(share * (1 - share) / variance, fewest, len(right))) if variance > 0 else fewest


@dataclass(frozen=True)
class Discordance:
    """Where two models disagree about being right.

    Attributes:
        only_a, only_b: images on which only that model is right.
        p: two-sided exact p of McNemar's test by patients; 1 where they never disagree.
    """

    only_a: int
    only_b: int
    p: float


def clustered_mcnemar(a_right: Mask, b_right: Mask, patients: npt.NDArray[Any]) -> Discordance:
    """McNemar's exact test of two models on the same images, with the patient as the unit.

    Were the models alike, a patient's images would speak for either equally often: the images that only a, less those
    that only b has right, keep their number and change their sign by patient at random. The p is that of a sum as far
    from 0 as what was found, over all signs. With one image per patient it is McNemar's exact test (Psychometrika
    12:153, 1947); with many patients it is the modified Obuchowski test (Yang, Sun and Hardin, Biometrical Journal
    52:638, 2010), whose statistic it has.

    Args:
        a_right, b_right: whether each is right, shape (n_images,).
        patients: patient of each image, shape (n_images,).
    """
    only_a, only_b = int(np.sum(a_right & ~b_right)), int(np.sum(~a_right & b_right))
    _, index = np.unique(patients, return_inverse=True)
    by_patient = np.bincount(index, weights=np.asarray(a_right, float) - np.asarray(b_right, float)).astype(np.int64)
    chances, furthest = np.ones(1), 0  # of each sum, from -furthest to furthest
    for size, number in zip(*np.unique(np.abs(by_patient[by_patient != 0]), return_counts=True), strict=True):
        steps = np.zeros(2 * size * number + 1)
        steps[:: 2 * size] = binom.pmf(np.arange(number + 1), number, 0.5)
        chances, furthest = np.convolve(chances, steps), furthest + int(size * number)
    far = np.abs(np.arange(-furthest, furthest + 1)) >= abs(int(by_patient.sum()))
    return Discordance(only_a, only_b, float(min(1.0, chances[far].sum())))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for as many tests as there are p values; None stays None.

    Source: Holm, Scandinavian Journal of Statistics 6:65 (1979).
    """
    known = np.array([p for p in p_values if p is not None], float)
    order = np.argsort(known)
    # not by statsmodels, whose Holm runs the garbage collector: half a second a call beside TensorFlow
    corrected = np.empty_like(known)
    corrected[order] = np.minimum(1, np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1)))
    given = iter(corrected.tolist())
    return [None if p is None else next(given) for p in p_values]
