"""learning_curve.csv -> scores by number of patients, and what twice as many can be expected to give."""

from dataclasses import dataclass

import pandas as pd

from bench.report.tables.search import column
from bench.stats.metrics import Metric
from bench.stats.power_law import PowerLaw, fit_power_law


@dataclass(frozen=True)
class Growth:
    """How the validation score grows with the patients trained on.

    Attributes:
        trainings: completed ones: ``patients``, ``images``, ``score``, ``draw``.
        sizes: one row per size: ``patients``, ``images`` (means), ``score``, ``sd``, ``trainings``.
        law: fitted to what is missing to a perfect score; None where there are too few sizes.
        best: the perfect score.
        sign: 1 where larger scores are better, else -1.
    """

    trainings: pd.DataFrame
    sizes: pd.DataFrame
    law: PowerLaw | None
    best: float
    sign: int

    @property
    def patients(self) -> int:
        """All of them."""
        return int(self.sizes["patients"].max())

    def doubled(self, level: float) -> tuple[float, float, float] | None:
        """By how much the score rises with twice as many patients: value, lower and upper end."""
        return None if self.law is None else self.law.gain(self.patients, 2.0, level)

    def expected(self, patients: "pd.Series[float]") -> "pd.Series[float]":
        """The fitted score."""
        assert self.law is not None
        return pd.Series(self.best - self.sign * self.law.error(patients), index=patients.index)


def growth(rows: pd.DataFrame, metric: Metric, n_classes: int) -> Growth | None:
    """What ``rows``, as in learning_curve.csv, say; None where no training was completed."""
    done = rows[(rows["state"] == "completed") & rows[column(metric)].notna()]
    done = done.assign(score=done[column(metric)])
    if not len(done):
        return None
    sizes = (
        done.groupby("share")
        .agg(
            patients=("patients", "mean"),
            images=("images", "mean"),
            score=("score", "mean"),
            sd=("score", "std"),
            trainings=("score", "size"),
        )
        .reset_index(drop=True)
    )
    lowest, highest = metric.limits(n_classes)
    best, sign = (highest, 1) if metric.higher_is_better else (lowest, -1)
    errors = [(sign * (best - one["score"])).tolist() for _, one in done.groupby("share")]
    return Growth(done, sizes, fit_power_law(sizes["patients"].tolist(), errors), best, sign)
