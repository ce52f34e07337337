"""Numbers as sentences write them."""

import pytest

from bench import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9576, "0.958"),
        (-0.0251, "−0.025"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (-0.00001, "0.000"),
        (-0.0003, "−0.0003"),
    ],
)
def test_a_score(value, text):
    assert numbers.spread(value) == text


def test_a_difference_is_turned_round_whole():
    assert numbers.magnitude(-0.03, -0.05, -0.01) == "0.030 (0.010–0.050)"
    assert numbers.magnitude(0.03, -0.01, 0.07) == "0.030 (−0.010 to 0.070)"
    assert numbers.magnitude(-0.03, None, None) == "0.030"


@pytest.mark.parametrize(("p", "text"), [(0.0001, "p <\u00a00.001"), (0.0479, "p = 0.048"), (1.0, "p = 1.000")])
def test_a_p_value(p, text):
    assert numbers.p_value(p) == text


def test_lists_and_counts():
    assert [numbers.joined(list("abc")[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert numbers.joined(["a", "b"], "or") == "a or b"
    assert [numbers.counted(count, "image") for count in (0, 1, 1636)] == ["0 images", "1 image", "1,636 images"]
