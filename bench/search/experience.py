"""What recipes have reached on real images (`search_spaces/outcomes.csv`), and which is tried first by it.

A row of the table is one training: images, their number and size in pixels, the seed, the configuration (columns
``config_*``), and the scores on validation and on the test images. docs/recipes.md tells how the rows were made and
what they say. Only validation scores are used here.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd

from bench.search.parameters import TrialConfig, Value
from bench.search.shipped import SHIPPED

OUTCOMES = SHIPPED / "outcomes.csv"


@cache
def recorded() -> Mapping[str, float]:
    """Key of a configuration -> its mean validation AUC over data sets, of each the mean over trainings."""
    table = pd.read_csv(OUTCOMES)
    rows: list[dict[str, Any]] = [{str(name): value for name, value in row.items()} for _, row in table.iterrows()]
    keys = [TrialConfig.from_row(row).key for row in rows]
    scores: pd.Series[float] = table["auc_validation"].groupby([pd.Index(keys), table["data"]]).mean()
    return {str(key): float(score) for key, score in scores.groupby(level=0).mean().items()}


def best_first(configurations: Sequence[Mapping[str, Value]]) -> list[Mapping[str, Value]]:
    """Whole configurations by what is recorded of them, best first; those of which nothing is come last, as given."""

    def score(values: Mapping[str, Value]) -> float:
        return recorded().get(TrialConfig.from_mapping(values).key, -1.0)

    return sorted(configurations, key=score, reverse=True)
