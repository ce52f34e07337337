"""Altered images: what is altered, by how much, and what becomes of the scores."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.evaluation import robustness as altered
from bench.evaluation.corruptions import CORRUPTIONS, add_noise, brighten, recompress, turn
from bench.run.tables import ROBUSTNESS
from bench.stats.bootstrap import Bootstrap
from bench.stats.predictions import Predictions

CLASSES = ("A", "B")


def robustness(images, labels, patients, predict, classes, draws=2000):
    predictions = Predictions(labels, np.empty((len(labels), 2)), patients, classes)
    scores = {name: [predict(some) for some in altered.alter(images, name, 0)] for name in altered.ALTERATIONS}
    table = altered.robustness(scores, predictions, Bootstrap(draws), "bfloat16")
    assert set(table["precision"]) <= {"bfloat16"}
    return table.astype(object).where(table.notna(), None)


def choose_rows(labels, patients, most, seed=0):
    return altered.choose_rows(Predictions(labels, np.empty((len(labels), 2)), patients), most, seed)


def pictures(n_images=24, size=32, channels=1, seed=0):
    """Smooth grey images, brighter on the right where the label is 1, and their labels and patients."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_images) % 2
    ramp = np.linspace(-1, 1, size)[None, None, :, None]
    values = 110 + 3 * ramp * (2 * labels[:, None, None, None] - 1) + rng.normal(0, 14, (n_images, 1, 1, 1))
    values = values + rng.normal(0, 8, n_images)[:, None, None, None] * ramp
    images = np.clip(values + np.zeros((n_images, size, size, channels)), 0, 255).astype(np.uint8)
    return images, labels, np.arange(n_images) // 2 * 2 + labels


def predict(images):
    """Right half against left half."""
    half = images.shape[2] // 2
    values = images.astype(np.float64).mean(axis=(1, 3))
    logit = (values[:, half:].mean(axis=1) - values[:, :half].mean(axis=1)) / 10
    return np.column_stack([1 - 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-logit))])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda one: one.name)
def test_each_corruption_does_more_at_a_stronger_level_and_the_same_again(corruption, channels):
    images = np.random.default_rng(1).integers(60, 180, (3, 32, 32, channels), dtype=np.uint8)
    before = images.copy()
    moved = []
    for level in corruption.levels:
        altered = corruption.alter(images, level, 7)
        assert (altered.shape, altered.dtype) == (images.shape, np.uint8)
        np.testing.assert_array_equal(altered, corruption.alter(images, level, 7))
        moved.append(np.abs(altered.astype(int) - images).mean())
    np.testing.assert_array_equal(images, before)
    if corruption.name == "brightness":
        assert moved[0] > moved[1] and moved[3] > moved[2]
    elif corruption.name != "rotation":  # of noise, any turn moves as much
        assert moved == sorted(moved)
    assert min(moved) > 0


def test_brightness_is_a_percentage_and_is_cut_off():
    images = np.array([0, 100, 200], np.uint8).reshape(1, 1, 3, 1)
    assert brighten(images, 40).ravel().tolist() == [0, 140, 255]
    assert brighten(images, -20).ravel().tolist() == [0, 80, 160]


def test_noise_has_the_deviation_asked_for_and_leaves_grey_grey():
    noisy = add_noise(np.full((2, 64, 64, 3), 128, np.uint8), 20, 3)
    assert (noisy.astype(float) - 128).std() == pytest.approx(20, rel=0.05)
    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 2])
    assert (noisy[0] != noisy[1]).any()
    assert (noisy != add_noise(np.full((2, 64, 64, 3), 128, np.uint8), 20, 4)).any(), "another seed, other noise"


def test_a_turn_leaves_the_centre_and_fills_what_comes_in():
    images = np.full((8, 33, 33, 1), 90, np.uint8)
    np.testing.assert_array_equal(turn(images, 15, 0), images)
    images[:, 16, 26:] = 250
    turned = turn(images, 15, 0)
    rows = turned[..., 0].argmax(axis=1)[:, 30]
    assert set(np.sign(rows - 16)) == {-1, 1}, "both ways occur"
    np.testing.assert_array_equal(turned[:, 16, 16], images[:, 16, 16])


def test_recompression_is_what_pillow_writes():
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) * 3
    assert np.abs(recompress(image, 75).astype(int) - image).max() < 20


def test_scores_and_paired_changes():
    images, labels, patients = pictures()
    table = robustness(images, labels, patients, predict, CLASSES, draws=200)
    assert list(table) == ROBUSTNESS.names
    assert len(table) == 1 + sum(len(corruption.levels) for corruption in CORRUPTIONS)
    clean = table.iloc[0]
    assert (clean["corruption"], clean["level"], clean["unit"], clean["auc_change"]) == ("none", None, "", None)
    assert clean["auc"] == pytest.approx(roc_auc_score(labels, predict(images)[:, 1]))
    assert set(table["images"]) == {24}
    for row in table.iloc[1:].to_dict("records"):
        assert row["auc_change"] == pytest.approx(row["auc"] - clean["auc"], abs=1e-12)
        if row["auc_change_low"] is not None:
            assert row["auc_change_low"] <= row["auc_change"] <= row["auc_change_high"]
            assert row["auc_change_low"] < row["auc_change_high"]
    assert table["auc_change_low"].notna().any()
    brighter = table[(table["corruption"] == "brightness") & (table["level"] == 20)].iloc[0]
    assert abs(brighter["auc_change"]) < 0.02, "the toy compares halves, so brightness is nothing to it"
    assert brighter["auc_change_high"] - brighter["auc_change_low"] < brighter["auc_high"] - brighter["auc_low"]


def test_a_model_that_looks_at_noise_suffers_from_noise():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = np.clip(128 + rng.normal(0, 3 + 3 * labels[:, None, None, None], (60, 16, 16, 1)), 0, 255)

    def by_spread(some):
        spread = some.astype(float).std(axis=(1, 2, 3)) / 100
        return np.column_stack([1 - spread, spread])

    table = robustness(images.astype(np.uint8), labels, np.arange(60), by_spread, CLASSES, draws=200)
    change = table[table["corruption"] == "noise"].set_index("level")
    assert table["auc"].iloc[0] == 1.0
    assert change.loc[40, "auc_change"] < change.loc[5, "auc_change"]
    assert change.loc[40, "auc_change_high"] < 0


@pytest.mark.parametrize("few", [False, True])
def test_what_cannot_be_computed_says_why(few):
    images, labels, patients = pictures()
    chosen = slice(0, 8) if few else labels == 1
    table = robustness(images[chosen], labels[chosen], patients[chosen], predict, CLASSES, draws=100)
    assert not any(isinstance(cell, float) and not np.isfinite(cell) for cell in table.to_numpy().ravel())
    if few:
        assert table["auc"].notna().all() and table["auc_low"].isna().all() and table["auc_change_low"].isna().all()
        assert set(table["reason"]) == {"no intervals: there are 8 patients, fewer than 10"}
    else:
        assert table["auc"].isna().all() and table["auc_change"].isna().all() and table["accuracy_low"].notna().all()
        assert set(table["reason"]) == {"no ROC AUC: the split holds no image of A"}
    assert len(robustness(images[:0], labels[:0], patients[:0], predict, CLASSES)) == 0


def test_rows_are_whole_patients_in_the_proportions_of_the_classes():
    rng = np.random.default_rng(0)
    patients = np.sort(rng.integers(0, 300, 900))
    labels = (patients % 4 == 0).astype(int)
    rows = choose_rows(labels, patients, 256, seed=1)
    assert 240 <= len(rows) <= 256
    assert (np.diff(rows) > 0).all()
    assert set(np.flatnonzero(np.isin(patients, patients[rows]))) == set(rows)
    assert labels[rows].mean() == pytest.approx(labels.mean(), abs=0.02)
    np.testing.assert_array_equal(rows, choose_rows(labels, patients, 256, seed=1))
    assert set(rows) != set(choose_rows(labels, patients, 256, seed=2))


def test_few_images_are_all_taken_and_a_rare_class_is_kept():
    assert choose_rows(np.array([0, 1, 0]), np.array(["a", "b", "a"]), 256).tolist() == [0, 1, 2]
    labels = np.array([1] + [0] * 999)
    rows = choose_rows(labels, np.arange(1000), 100)
    assert 0 in rows and len(rows) <= 100


def test_a_patient_with_too_many_images_is_passed_over():
    patients = np.array(["many"] * 50 + [str(number) for number in range(50)])
    rows = choose_rows(np.zeros(100, dtype=int), patients, 20)
    assert len(rows) == 20 and rows.min() >= 50


@pytest.mark.parametrize(
    ("classes", "of_each", "series"), [(2, 6, 150), (2, 6, 101), (2, 3, 250), (3, 4, 70), (2, 1, 500)]
)
def test_of_long_series_evenly_spaced_images_of_each_patient_are_taken(classes, of_each, series):
    """Before: with more images a patient than the room of a class, none were altered, and nothing said why."""
    patients = np.repeat(np.arange(classes * of_each), series)
    labels = patients % classes
    rows = choose_rows(labels, patients, 200)
    assert 150 <= len(rows) <= 200
    counts = np.bincount(patients[rows], minlength=classes * of_each)
    assert counts.min() == counts.max() == 200 // classes // of_each
    of_one = rows[patients[rows] == patients[rows[0]]] % series
    assert np.ptp(np.diff(of_one)) <= 1


def test_a_class_of_long_series_is_not_lost_beside_one_of_single_images():
    patients = np.concatenate([np.repeat(np.arange(40), 4), np.repeat(np.arange(40, 48), 190)])
    labels = (patients >= 40).astype(int)
    rows = choose_rows(labels, patients, 200)
    assert len(set(patients[rows][labels[rows] == 1])) == 8 and (labels[rows] == 0).any()


def test_both_classes_of_a_patient_with_a_long_series_are_among_its_images():
    labels = np.arange(3000) % 300 >= 200
    rows = choose_rows(labels.astype(int), np.arange(3000) // 300, 200)
    assert len(rows) == 200 and labels[rows].mean() == pytest.approx(1 / 3, abs=0.05)
