"""Rules that aggregate the images of a patient, against numbers by hand."""

import numpy as np
import pytest

from bench.stats.patients import RULES, aggregate, by_patient
from bench.stats.predictions import Predictions

PATIENTS = np.array(["b", "a", "b", "b", "b"])
SICK = np.array([0.2, 0.6, 0.4, 0.9, 0.5])


@pytest.mark.parametrize(
    ("rule", "b"), [("mean", 0.5), ("maximum", 0.9), ("noisy-or", 1 - 0.8 * 0.6 * 0.1 * 0.5), ("top", 0.6)]
)
def test_of_two_classes_the_second_is_aggregated(rule: str, b: float) -> None:
    names, scores = aggregate(np.column_stack([1 - SICK, SICK]), PATIENTS, rule)
    assert names.tolist() == ["a", "b"]
    np.testing.assert_allclose(scores, [[0.4, 0.6], [1 - b, b]])


def test_of_several_classes_each_is_and_the_sum_is_one() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
    _, found = aggregate(scores, np.array([7, 7, 3]), "maximum")
    np.testing.assert_allclose(found, [[0.2, 0.2, 0.6], np.array([0.7, 0.6, 0.3]) / 1.6])
    for rule in RULES:
        _, found = aggregate(scores, np.array([7, 7, 3]), rule)
        np.testing.assert_allclose(found[0], scores[2], err_msg="one image is what it is")
        np.testing.assert_allclose(found.sum(axis=1), 1)


def test_an_unknown_rule_and_other_patients_are_refused() -> None:
    with pytest.raises(ValueError, match="mean, maximum, noisy-or, top, but got 'median'"):
        aggregate(np.ones((1, 2)), np.array(["a"]), "median")
    with pytest.raises(ValueError, match="as many patients as scores, but got 1 and 2"):
        aggregate(np.ones((2, 2)), np.array(["a"]), "mean")


def test_a_patient_whose_images_have_different_labels_is_left_out() -> None:
    scores = np.column_stack([1 - SICK, SICK])
    images = Predictions(np.array([0, 1, 0, 1, 0]), scores, np.array(["u", "u", "u", "u", "u"]), ("A", "B"))
    found = by_patient(images, PATIENTS, "mean")
    assert (found.names.tolist(), found.left_out, found.left_out_images, found.several) == (["a"], 1, 4, 0)
    assert found.predictions.labels.tolist() == [1] and found.predictions.patients.tolist() == ["u"]
