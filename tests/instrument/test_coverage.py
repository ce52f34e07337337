"""Few studies of every interval; `python -m tests.instrument --coverage 200` makes the whole table."""

import pytest
from scipy.stats import binom

from instrument.coverage import Kind, table

BY_CHANCE = 1e-4
"""Probability that an interval which covers as often as it should fails here; there are 40 of them."""


@pytest.mark.parametrize("kind", [Kind(2, 60), pytest.param(Kind(3, 120), marks=pytest.mark.thorough)], ids=str)
def test_every_interval_holds_the_truth_about_as_often_as_it_says(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    from instrument import coverage

    monkeypatch.setattr(coverage, "DRAWS", 100)
    monkeypatch.setattr(coverage, "MANY", 20_000)
    found = table((kind,), 12)[str(kind)]
    assert len(found) > 25
    fewest = binom.ppf(BY_CHANCE, 12, 0.9) / 12
    assert found[found < fewest].empty
