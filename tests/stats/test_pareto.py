"""The Pareto front: what nothing else equals in both things and beats in one."""

import pytest

from bench.stats.pareto import on_front


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.98, 24.0), (0.97, 6.0), (0.96, 9.0)], [True, True, False]),
        ([(0.98, 24.0), (0.98, 6.0)], [False, True]),  # as good and faster
        ([(0.98, 6.0), (0.97, 6.0)], [True, False]),  # as fast and better
        ([(0.98, 6.0), (0.98, 6.0), (0.97, 6.0)], [True, True, False]),  # equal ones stand together
        ([(0.5, 100.0)], [True]),
        ([], []),
    ],
)
def test_the_front(points: list[tuple[float, float]], expected: list[bool]) -> None:
    scores, costs = [score for score, _ in points], [cost for _, cost in points]
    assert on_front(scores, costs, higher_is_better=True) == expected
    assert on_front([1 - score for score in scores], costs, higher_is_better=False) == expected
