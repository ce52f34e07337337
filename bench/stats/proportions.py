"""Counted proportions and tests of counts, by statsmodels: Wilson's interval, exact McNemar, Holm's correction.

Wilson's interval and McNemar's test take images for independent. Where patients have several images they are too sure;
the patient-clustered bootstrap leads there, and where it knows no interval, `wilson_by_patients` stands in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
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
        p: two-sided exact p of McNemar's test; 1 where they never disagree.
    """

    only_a: int
    only_b: int
    p: float


def exact_mcnemar(a_right: Mask, b_right: Mask) -> Discordance:
    """McNemar's exact test of two models on the same images, by whether each is right, shape (n_images,).

    Source: McNemar, Psychometrika 12:153 (1947); exact by the binomial distribution.
    """
    only_a, only_b = int(np.sum(a_right & ~b_right)), int(np.sum(~a_right & b_right))
    agreed = len(a_right) - only_a - only_b
    found: Any = mcnemar([[agreed, only_a], [only_b, 0]], exact=True)
    return Discordance(only_a, only_b, float(min(1.0, found.pvalue)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for as many tests as there are p values; None stays None.

    Source: Holm, Scandinavian Journal of Statistics 6:65 (1979).
    """
    known = [p for p in p_values if p is not None]
    tested: Any = multipletests(known, method="holm") if known else (None, ())
    corrected = iter(tested[1])
    return [None if p is None else float(next(corrected)) for p in p_values]
