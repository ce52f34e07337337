"""The most confident errors: which, in what order."""

import numpy as np
import pandas as pd
import pytest

from bench.evaluation.failures import failures as failures_of
from bench.run.tables import FAILURES
from bench.stats.predictions import Predictions

CLASSES = ("A", "B", "C")


def failures(table, y_true, y_score, classes, **limits):
    return failures_of(table, Predictions(y_true, y_score, table["patient"].to_numpy(), classes), **limits)


@pytest.fixture
def table():
    return pd.DataFrame({"image": ["e", "d", "c", "b", "a"], "label": list("AABBC"), "patient": list("12345")})


Y_TRUE = np.array([0, 0, 1, 1, 2])
Y_SCORE = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.9, 0.05, 0.05], [0.1, 0.2, 0.7], [0.1, 0.3, 0.6]])


def test_the_most_confident_error_comes_first_and_ties_go_by_name(table):
    found = failures(table, Y_TRUE, Y_SCORE, CLASSES)
    assert list(found.table) == FAILURES.names
    assert found.table["image"].tolist() == ["c", "b", "d"], "b and d are as confident: b before d by name"
    assert found.table["rank"].tolist() == [1, 2, 3]
    assert found.table["predicted"].tolist() == ["A", "C", "B"]
    assert found.table["patient"].tolist() == ["3", "4", "2"]
    assert found.table["confidence"].tolist() == [0.9, 0.7, 0.7]
    assert found.table["probability_of_label"].tolist() == [0.05, 0.2, 0.1]
    assert found.positions.tolist() == [2, 3, 1]


def test_only_so_many_are_listed_and_shown(table):
    found = failures(table, Y_TRUE, Y_SCORE, CLASSES, most=2, shown=1)
    assert found.table["rank"].tolist() == [1, 2]
    assert found.table["shown"].tolist() == [True, False]
    assert (found.positions.tolist(), found.ranks.tolist()) == ([2], [1])


def test_a_flawless_model_has_none(table):
    found = failures(table, Y_TRUE, np.eye(3)[Y_TRUE], CLASSES)
    assert (len(found.table), found.positions.shape) == (0, (0,))
    assert np.zeros((5, 2, 2, 1))[found.positions].shape == (0, 2, 2, 1)
    assert list(found.table) == FAILURES.names


def test_the_order_of_images_does_not_matter(table):
    turned = failures(table[::-1], Y_TRUE[::-1], Y_SCORE[::-1], CLASSES)
    pd.testing.assert_frame_equal(turned.table, failures(table, Y_TRUE, Y_SCORE, CLASSES).table)


def test_identical_images_are_shown_once_with_their_number(table):
    """Of five errors four are on two images; each is listed, and each image shown once."""
    score = np.array([[0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.9, 0.05, 0.05], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
    found = failures(table.assign(pixels=["x", "x", "y", "z", "y"]), Y_TRUE, score, CLASSES, shown=2)
    assert found.table["image"].tolist() == ["c", "e", "b", "d", "a"]
    assert found.table["copies"].tolist() == [2, 2, 1, 2, 2]
    assert found.table["shown"].tolist() == [True, True, False, False, False]
    assert (found.positions.tolist(), found.ranks.tolist()) == ([2, 0], [1, 2])
    every = failures(table.assign(pixels=["x", "x", "y", "z", "y"]), Y_TRUE, score, CLASSES)
    assert every.ranks.tolist() == [1, 2, 3]
    assert failures(table, Y_TRUE, score, CLASSES).table["copies"].tolist() == [1] * 5


def test_a_copy_that_is_no_error_does_not_count(table):
    found = failures(table.assign(pixels=["x", "x", "y", "z", "w"]), Y_TRUE, Y_SCORE, CLASSES)
    assert found.table.set_index("image")["copies"].to_dict() == {"c": 1, "b": 1, "d": 1}
