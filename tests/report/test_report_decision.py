"""In which ranges of the threshold the model is of use, in words."""

from collections.abc import Sequence

import pandas as pd
import pytest

from bench.report.sections.winner import spans, useful

STEPS = [round(0.1 * step, 1) for step in range(1, 10)]


def rows(gain: Sequence[float], everyone: Sequence[float], sure: Sequence[float] | None = None) -> pd.DataFrame:
    better = [max(one, 0.0) for one in everyone]
    return pd.DataFrame(
        {"class": "ill", "threshold": STEPS, "treat_all": everyone, "gain_low": sure}
        | {"model": [base + more for base, more in zip(better, gain, strict=True)]}
    )


EVERYONE = [0.4, 0.3, 0.2, 0.1, -0.1, -0.3, -0.6, -0.9, -2.0]


def test_ranges_are_told_and_not_counted() -> None:
    gain = [0, -0.01, -0.01, 0.02, 0.05, 0.04, 0.02, 0.01, -0.01]
    sure = [-1, -1, -1, -0.01, 0.01, 0.02, -0.01, -0.02, -1]
    assert useful(rows(gain, EVERYONE, sure)) == (
        "For ill the model is better than acting on everyone or on nobody at 0.4 to 0.8 (beyond its "
        "interval at 0.5 to 0.6); at 0.2 to 0.3 acting on everyone is better; at 0.9 acting on nobody is better; at "
        "0.1 the model is worth just as much as the better of the two."
    )


def test_a_gain_that_no_interval_bears_out_is_said_to_be_none() -> None:
    text = useful(rows([0.01] * 9, EVERYONE, [-0.01] * 9))
    assert text.endswith("on nobody at every threshold (nowhere beyond its interval).")
    assert "interval" not in useful(rows([0.01] * 9, EVERYONE)), "an earlier version knew none"


def test_a_model_of_no_use_is_said_to_be_none() -> None:
    text = useful(rows([-0.1] * 9, EVERYONE, [-0.2] * 9))
    assert text == (
        "For ill the model is at no threshold better than acting on everyone or on nobody; up to 0.4 "
        "acting on everyone is better; from 0.5 acting on nobody is better."
    )


def test_classes_of_the_same_ranges_are_told_together() -> None:
    one = rows([0.1] * 9, EVERYONE, [0.05] * 9)
    text = useful(pd.concat([one, one.assign(**{"class": "worse"})]))
    assert text.startswith("For ill and worse the model is better") and text.count("For") == 1


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ("110110011", "up to 0.2, at 0.4 to 0.5 and from 0.8"),
        ("000010000", "at 0.5"),
        ("000000001", "at 0.9"),
        ("111111111", "at every threshold"),
        ("000000000", ""),
    ],
)
def test_spans(inside: str, told: str) -> None:
    assert spans(STEPS, [sign == "1" for sign in inside]) == told
