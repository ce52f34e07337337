"""The searches that are simulated over recorded trainings, on a table whose answer is known."""

import math

import numpy as np
import pytest
from benchmarks.simulated_search import Row, Search, compare_settled, outcome

from bench.run.results import TrialRecord
from bench.search.parameters import TrialConfig
from bench.search.space import Space, load_space
from bench.stats.metrics import METRICS


@pytest.fixture
def space() -> Space:
    return load_space("demo")


@pytest.fixture
def rows(space: Space) -> list[Row]:
    """60 trainings of four epochs of a second each; the larger the learning rate, the better from the first epoch."""
    made = []
    for number in range(60):
        rate = 1e-4 * 1.07**number
        depth = number % 3
        config = TrialConfig(space.backbones[number // 3 % 3], "none", depth, rate, 0.1 if depth else None)
        score = 0.6 + 0.005 * number
        record = TrialRecord(number, "completed", "", "point", config, dict.fromkeys(METRICS, score), 4, 4, 4.0, 4.0)
        made.append(Row(record, tuple(score - 0.01 * left for left in (3, 2, 1, 0)), 0.5 * bool(depth), 1.0))
    return made


def test_without_early_stopping_every_trial_takes_all_its_epochs(rows: list[Row], space: Space) -> None:
    search = Search(rows, space, 20, seed=0, grace=math.inf).run()
    assert [one.state for one in search.ended] == ["completed"] * 20
    assert len({one.config.key for one in search.ended}) == 20
    seconds = sum(4 + 0.5 * bool(one.config.unfreeze_depth) for one in search.ended)
    assert search.scores[-1][0] == pytest.approx(seconds / 2, abs=4.5), "two workers, both busy"
    assert sum(one.seconds for one in search.ended) == pytest.approx(seconds)


@pytest.mark.parametrize("grace", [1, 2])
def test_weak_trials_are_stopped_at_a_rung_and_the_best_is_found_sooner(
    rows: list[Row], space: Space, grace: int
) -> None:
    whole, stopping = (Search(rows, space, 40, seed=1, grace=rung).run() for rung in (math.inf, grace))
    stopped = [one for one in stopping.ended if one.state == "pruned"]
    assert len(stopped) > 10
    assert {round(one.seconds % 1, 3) for one in stopped} <= {0.0, 0.5}
    assert min(one.seconds for one in stopped) in (grace, grace + 0.5)
    assert outcome(stopping)["total"] < outcome(whole)["total"]


def test_by_depth_the_second_depth_is_for_the_best_third_of_the_first(rows: list[Row], space: Space) -> None:
    search = Search(rows, space, 40, seed=0, by_depth=True).run()
    depths = np.array([one.config.unfreeze_depth for one in search.ended])
    assert 0 < (depths == 2).sum() <= (depths == 1).sum() / 3 + 1


def test_what_a_settled_search_saves_falls_with_the_patients(rows: list[Row], space: Space) -> None:
    saved = compare_settled(rows, space, budget=45, seeds=3)["saved"]
    assert saved.iloc[0] > saved.iloc[-1] >= 0
