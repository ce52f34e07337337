"""The demo data set: its sizes and patients, what gives the class away, what does not, and the ceiling."""

import inspect
from collections import Counter
from functools import cache

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.data.sources import demo
from bench.data.sources.demo import CLASSES, SHOWN_AS_OTHER, DemoSet, draw
from bench.errors import ConfigError

SEEDS = (0, 1, 2, 3)


@cache
def default_set(seed):
    """A set of the default number of images; seed 0 at the default size, the others smaller, to be quick."""
    return draw(seed) if seed == 0 else draw(seed, size=80)


def small_set(seed=0, **changes):
    return draw(seed, **{"n_train": 24, "n_val": 12, "n_test": 12, "size": 48} | changes)


def is_opacity(names):
    return np.array(names) == "OPACITY"


def in_split(demo_set, split):
    return np.array(demo_set.splits) == split


def pixel_histograms(images, n_bins=32):
    return np.stack([np.histogram(image, n_bins, (0, 256))[0] / image.size for image in images])


def lung_texture(images):
    """What an informed reader looks for: the spread of a band of mid frequencies where the lungs usually lie.

    Both lungs' standard deviations are added, after each image's contrast is divided out.
    """
    size = images.shape[1]
    low, high = np.quantile(images, (0.1, 0.9), axis=(1, 2))[:, :, None, None]
    level = ((images - low) / (high - low)).astype(np.float32)
    fine, coarse = (ndimage.gaussian_filter(level, (0, sigma * size, sigma * size)) for sigma in (0.012, 0.03))
    band = (fine - coarse)[:, int(0.2 * size) : int(0.6 * size)]
    left, right = (band[:, :, int(start * size) : int((start + 0.24) * size)] for start in (0.16, 0.60))
    return left.std(axis=(1, 2)) + right.std(axis=(1, 2))


# Shape and determinism


def test_default_set_has_the_stated_sizes():
    demo_set = default_set(0)
    assert demo_set.images.shape == (480, 160, 160)
    assert demo_set.images.dtype == np.uint8
    assert len(demo_set.labels) == len(demo_set.patients) == len(demo_set.splits) == len(demo_set.findings) == 480
    assert Counter(demo_set.splits) == {"train": 240, "val": 120, "test": 120}


@pytest.mark.parametrize("size", [16, 48, 81])
def test_any_size_is_drawn(size):
    images = small_set(size=size).images
    assert images.shape == (48, size, size)
    assert np.all(images.std(axis=(1, 2)) > 10)


def test_same_seed_gives_the_same_bytes():
    first, second = small_set(seed=3), small_set(seed=3)
    assert first.images.tobytes() == second.images.tobytes()
    for name in ("labels", "patients", "splits", "findings"):
        assert getattr(first, name) == getattr(second, name)


def test_seeds_differ_and_no_image_occurs_twice():
    images = np.concatenate([small_set(seed=seed).images for seed in (0, 1)])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_set_cannot_be_changed():
    with pytest.raises(AttributeError):
        small_set().labels = []


# Classes and patients


def test_classes_are_unbalanced_one_to_two():
    demo_set = default_set(0)
    counts = Counter(zip(demo_set.splits, demo_set.labels, strict=True))
    assert counts == {
        ("train", "NORMAL"): 80,
        ("train", "OPACITY"): 160,
        ("val", "NORMAL"): 40,
        ("val", "OPACITY"): 80,
        ("test", "NORMAL"): 40,
        ("test", "OPACITY"): 80,
    }


@pytest.mark.parametrize("n_images", [2, 3, 7, 12])
def test_every_split_of_a_small_set_has_both_classes(n_images):
    demo_set = draw(1, n_train=n_images, n_val=n_images, n_test=n_images, size=16)
    for split in demo.SPLITS:
        labels = np.array(demo_set.labels)[in_split(demo_set, split)]
        assert len(labels) == n_images
        assert set(labels) == set(CLASSES)


@pytest.mark.parametrize("seed", SEEDS)
def test_patients_have_one_split_one_label_and_often_several_images(seed):
    demo_set = default_set(seed)
    n_images = Counter(demo_set.patients)
    assert set(n_images.values()) == {1, 2, 3, 4}
    assert sum(count > 1 for count in n_images.values()) > len(n_images) / 2
    for per_image in (demo_set.splits, demo_set.labels):
        assert len(set(zip(demo_set.patients, per_image, strict=True))) == len(n_images)


def test_patients_are_numbered_in_order_and_the_number_does_not_give_the_class_away():
    numbers = [int(name.removeprefix("demo-")) for name in default_set(0).patients]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, numbers[-1] + 1))

    scores = []
    for seed in range(100):
        roster = demo._roster(np.random.default_rng(seed), 120)
        scores.append(roc_auc_score(is_opacity([label for label, _ in roster]), np.arange(len(roster))))
    assert np.mean(scores) == pytest.approx(0.5, abs=0.03)


# What gives the class away


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("split", ["val", "test"])
def test_pixel_histogram_does_not_give_the_class_away(seed, split):
    demo_set = default_set(seed)
    y, x = is_opacity(demo_set.labels), pixel_histograms(demo_set.images)
    train, held_out = in_split(demo_set, "train"), in_split(demo_set, split)
    for strength in (0.1, 1.0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        score = model.fit(x[train], y[train]).decision_function(x[held_out])
        assert roc_auc_score(y[held_out], score) < 0.70


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_brightness_does_not_give_the_class_away(seed):
    demo_set = default_set(seed)
    assert 0.35 < roc_auc_score(is_opacity(demo_set.labels), demo_set.images.mean(axis=(1, 2))) < 0.65


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("split", demo.SPLITS)
def test_texture_of_the_lungs_tells_the_class(seed, split):
    demo_set = default_set(seed)
    chosen = in_split(demo_set, split)
    score = roc_auc_score(is_opacity(demo_set.labels)[chosen], lung_texture(demo_set.images[chosen]))
    assert 0.85 < score < 0.985


# The ceiling


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("split", demo.SPLITS)
def test_ranking_by_the_finding_reaches_the_stated_ceiling(seed, split):
    demo_set = default_set(seed)
    chosen = in_split(demo_set, split)
    score = roc_auc_score(is_opacity(demo_set.labels)[chosen], is_opacity(demo_set.findings)[chosen])
    assert score == pytest.approx(1 - sum(SHOWN_AS_OTHER.values()) / 2)
    assert score == pytest.approx(0.969, abs=1e-3)


def test_label_plays_no_part_in_the_drawing():
    assert "label" not in inspect.signature(demo._draw_image).parameters


def test_images_shown_as_the_other_class_look_like_it():
    sets = [default_set(seed) for seed in SEEDS]
    texture = np.concatenate([lung_texture(demo_set.images) for demo_set in sets])
    label = np.concatenate([is_opacity(demo_set.labels) for demo_set in sets])
    finding = np.concatenate([is_opacity(demo_set.findings) for demo_set in sets])
    shown_as_other = label != finding
    assert roc_auc_score(finding[shown_as_other], texture[shown_as_other]) > 0.9
    assert roc_auc_score(finding, texture) > roc_auc_score(label, texture) + 0.01


# What is refused


@pytest.mark.parametrize("split", demo.SPLITS)
def test_split_too_small_for_both_classes_is_refused(split):
    with pytest.raises(ConfigError, match=rf"at least 2 images.*got 1 for '{split}'"):
        small_set(**{f"n_{split}": 1})


def test_tiny_images_are_refused():
    with pytest.raises(ConfigError, match=r"16 pixels or more.*size=8"):
        small_set(size=8)


def test_a_demo_set_names_its_parts():
    assert [*DemoSet.__dataclass_fields__] == ["images", "labels", "patients", "splits", "findings"]
