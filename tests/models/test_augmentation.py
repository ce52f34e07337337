"""Policies: what is accepted, and what the layers do to images."""

import numpy as np
import pytest

from bench.errors import ConfigError
from bench.models.augmentation import Augmenter, Policy, make_policy

AMOUNTS = {
    "rotation": 10.0,
    "shift": 0.1,
    "zoom": 0.2,
    "crop": 0.2,
    "brightness": 0.2,
    "contrast": 0.3,
    "horizontal_flip": True,
    "vertical_flip": True,
}


@pytest.fixture
def images() -> np.ndarray:
    gradient = np.linspace(20, 230, 24, dtype=np.uint8)
    image = np.broadcast_to(gradient[None, :, None], (24, 24, 1)).copy()
    image[:6] = 255 - image[:6]
    images = np.repeat(image[None], 32, axis=0)
    images[:, 12, 12, 0] = np.arange(32)  # an image's draw is its own by its content
    return images


@pytest.mark.parametrize("name", AMOUNTS)
def test_every_amount_changes_images_and_alone_is_reproducible(name: str, images: np.ndarray) -> None:
    policy = make_policy("one", {name: AMOUNTS[name]})
    drawn = Augmenter(policy, seed=1)(images)
    assert drawn.shape == images.shape
    assert drawn.dtype == np.uint8
    assert not np.array_equal(drawn, images)
    np.testing.assert_array_equal(drawn, Augmenter(policy, seed=1)(images))
    assert not np.array_equal(drawn, Augmenter(policy, seed=2)(images))
    assert len({image.tobytes() for image in drawn}) > 1  # images of a batch differ from each other


def test_none_changes_nothing(images: np.ndarray) -> None:
    np.testing.assert_array_equal(Augmenter(make_policy("none", {}), seed=0)(images), images)
    assert make_policy("none", None).identity


def test_flips_mirror_about_half_of_the_images(images: np.ndarray) -> None:
    drawn = Augmenter(make_policy("flip", {"horizontal_flip": True}), seed=0)(images)
    flipped = [np.array_equal(image, original[:, ::-1]) for image, original in zip(drawn, images, strict=True)]
    kept = [np.array_equal(image, original) for image, original in zip(drawn, images, strict=True)]
    assert all(a or b for a, b in zip(flipped, kept, strict=True))
    assert 8 <= sum(flipped) <= 24
    upside = Augmenter(make_policy("flip", {"vertical_flip": True}), seed=0)(images)
    assert any(np.array_equal(image, original[::-1]) for image, original in zip(upside, images, strict=True))


def test_a_random_crop_enlarges_and_uncovers_nothing() -> None:
    white = np.full((16, 32, 32, 1), 200, np.uint8) + np.arange(16, dtype=np.uint8)[:, None, None, None]
    drawn = Augmenter(make_policy("crop", {"crop": 0.25}), seed=0)(white)
    assert drawn.min() >= 199


def test_brightness_stays_within_its_amount(images: np.ndarray) -> None:
    middle = np.full((64, 8, 8, 1), 128, np.uint8)
    middle[:, 4, 4, 0] = np.arange(64)
    drawn = Augmenter(make_policy("b", {"brightness": 0.1}), seed=0)(middle).astype(float)
    changes = drawn[:, 0, 0, 0] - 128
    assert np.abs(changes).max() <= 0.1 * 255 + 1
    assert changes.min() < 0 < changes.max()


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"rotatoin": 5}, r"unknown entry 'rotatoin'; known entries: rotation, shift"),
        ({"rotation": -1}, r"0 <= rotation <= 180"),
        ({"shift": "far"}, r"0 <= shift"),
        ({"zoom": 2}, r"0 <= zoom"),
        ({"horizontal_flip": 1}, r"true or false"),
        ([1, 2], r"must be a mapping"),
    ],
)
def test_impossible_policies_are_refused(amounts: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_policy("bad", amounts)  # type: ignore[arg-type]


def test_amounts_are_what_was_given() -> None:
    assert make_policy("all", AMOUNTS).amounts() == AMOUNTS
    assert Policy("none").amounts() == {}


EVERYTHING = Policy("all", **AMOUNTS)


def test_an_image_is_drawn_the_same_whatever_stands_beside_it(images: np.ndarray) -> None:
    """So that batches, splits and subsets change nothing of what is cached."""
    together = Augmenter(EVERYTHING, seed=5)(images)
    for number in (0, 7, 31):
        np.testing.assert_array_equal(Augmenter(EVERYTHING, seed=5)(images[number : number + 1])[0], together[number])
    np.testing.assert_array_equal(Augmenter(EVERYTHING, seed=5)(images[::-1])[::-1], together)


def test_one_amount_more_leaves_the_draws_of_the_others(images: np.ndarray) -> None:
    less, more = Policy("less", brightness=0.2), Policy("more", brightness=0.2, horizontal_flip=True)
    drawn = Augmenter(more, seed=5)(images)
    plain = Augmenter(less, seed=5)(images)
    assert all(
        np.array_equal(one, other) or np.array_equal(one[:, ::-1], other)
        for one, other in zip(plain, drawn, strict=True)
    )


@pytest.mark.parametrize("name", [name for name in AMOUNTS if name != "contrast"])
def test_copies_are_distributed_as_those_of_keras_layers(name: str) -> None:
    """Keras draws contrast once for a batch (3.15), so it alone is left out."""
    from bench.models.augmentation import make_layers

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    picture = 100 * ((rows > 14) & (rows < 40) & (columns > 10) & (columns < 25)) + columns
    batch = np.repeat(picture[None, :, :, None], 600, axis=0).astype(np.uint8)
    batch += rng.integers(0, 3, batch.shape, dtype=np.uint8)
    policy = Policy(name, **{name: AMOUNTS[name]})
    ours = Augmenter(policy, seed=1)(batch).astype(np.float32)
    theirs = batch.astype(np.float32)
    for layer in make_layers(policy, seed=1):
        theirs = np.asarray(layer(theirs, training=True))
    for moment in (np.mean, np.std):
        assert np.abs(moment(ours, axis=0) - moment(theirs, axis=0)).mean() < 2.5
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.06)
