"""The most confident errors of a model, worst first."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.run.tables import FAILURES
from bench.stats.predictions import Predictions


@dataclass(frozen=True)
class Failures:
    """Errors of a model, the most confident first.

    Attributes:
        table: one row per listed error; ``confidence`` is the probability of the predicted
            class, and ``copies`` the number of errors on the very same image, of which one is shown.
        positions: of the images that are shown, among the images given, shape (n_shown,).
        ranks: of the images that are shown, from 1, shape (n_shown,).
    """

    table: pd.DataFrame
    positions: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]


def failures(table: pd.DataFrame, predictions: Predictions, most: int = 200, shown: int = 12) -> Failures:
    """Images whose most probable class is not their label, by falling probability of that class, ties by name.

    Args:
        table: columns ``image``, ``label``, ``patient``, and maybe ``pixels`` (equal for identical images), one row
            per image.
        predictions: of the same images.
        most: errors that are listed.
        shown: errors whose images are shown.
    """
    y_score, predicted = predictions.scores, predictions.predicted
    wrong = np.flatnonzero(~predictions.right)
    names = table["image"].astype(str).to_numpy()
    order = np.lexsort((names[wrong], -y_score[wrong, predicted[wrong]]))
    listed = wrong[order][:most]
    ranks = np.arange(1, len(listed) + 1)
    errors = table.iloc[listed][["image", "label", "patient"]].reset_index(drop=True)
    errors.insert(0, "rank", ranks)
    errors["predicted"] = [predictions.classes[index] for index in predicted[listed]]
    errors["confidence"] = y_score[listed, predicted[listed]].astype(np.float64)
    errors["probability_of_label"] = y_score[listed, predictions.labels[listed]].astype(np.float64)
    same = table["pixels" if "pixels" in table else "image"]
    errors["copies"] = same.map(same.iloc[wrong].value_counts()).iloc[listed].to_numpy(dtype=np.int64)
    chosen = np.flatnonzero(~same.iloc[listed].duplicated().to_numpy())[:shown]
    errors["shown"] = np.isin(ranks, ranks[chosen])
    return Failures(FAILURES.frame(errors), listed[chosen], ranks[chosen])
