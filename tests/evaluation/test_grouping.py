"""Tertiles with names that hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.evaluation.grouping import in_order, tertiles


def test_three_groups_of_about_equal_size():
    values = np.arange(1, 31) / 10
    names = tertiles(values, "megapixels")
    assert in_order(names) == ["up to 1 megapixels", "1 to 2 megapixels", "above 2 megapixels"]
    assert [names.count(name) for name in in_order(names)] == [10, 10, 10]


def test_an_edge_belongs_to_the_lower_group():
    assert tertiles(np.array([1.0, 2.0, 3.0])) == ["up to 1", "1 to 2", "above 2"]


def test_many_alike_make_two_groups():
    assert tertiles(np.array([1.0] * 9 + [2.0])) == ["up to 1"] * 9 + ["above 1"]


@pytest.mark.parametrize("values", [[], [4.0], [4.0] * 5])
def test_nothing_that_varies_is_one_group(values):
    assert tertiles(np.array(values)) == ["all"] * len(values)


def test_close_values_take_more_digits():
    assert tertiles(np.array([1.001, 1.002, 1.003])) == ["up to 1.001", "1.001 to 1.002", "above 1.002"]


def test_large_numbers_are_written_out():
    names = tertiles(np.array([150.0, 2500.0, 360000.0]))
    assert names == ["up to 150", "150 to 2500", "above 2500"]


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=40))
def test_groups_follow_the_order_of_the_values(values):
    names = tertiles(np.array(values))
    order = in_order(names)
    places = [order.index(names[index]) for index in np.argsort(values, kind="stable")]
    assert places == sorted(places)
    assert len(order) <= 3


def test_other_names_go_by_the_alphabet_and_nothing_comes_last():
    assert in_order(["virus", "", "bacteria", "virus"]) == ["bacteria", "virus", ""]
