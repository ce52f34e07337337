"""Which of several choices are worth considering where two things count: the Pareto front."""

import math
from collections.abc import Sequence


def on_front(scores: Sequence[float], costs: Sequence[float], higher_is_better: bool) -> list[bool]:
    """Of each choice, whether no other is at least as good in both things and better in one; equal ones stand together.

    Args:
        scores: of each choice; ``higher_is_better`` says which way.
        costs: of each choice, smaller is better.
        higher_is_better: of the scores.
    """
    sign = -1 if higher_is_better else 1
    points = [(cost, sign * score) for score, cost in zip(scores, costs, strict=True)]
    front, best = set(), math.inf
    for cost, score in sorted(set(points)):
        if score < best:
            front.add((cost, score))
            best = score
    return [one in front for one in points]
