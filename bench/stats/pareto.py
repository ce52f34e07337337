"""Which of several choices are worth considering where two things count: the Pareto front."""

from collections.abc import Sequence


def on_front(scores: Sequence[float], costs: Sequence[float], higher_is_better: bool) -> list[bool]:
    """Of each choice, whether no other is at least as good in both things and better in one; equal ones stand together.

    Args:
        scores: of each choice; ``higher_is_better`` says which way.
        costs: of each choice, smaller is better.
        higher_is_better: of the scores.
    """
    sign = -1 if higher_is_better else 1
    points = [(sign * score, cost) for score, cost in zip(scores, costs, strict=True)]
    return [not any(other != one and other[0] <= one[0] and other[1] <= one[1] for other in points) for one in points]
