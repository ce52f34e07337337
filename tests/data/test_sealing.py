"""Sealed images cannot be read, by whatever way of asking; the others are what they were."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.images.store import StoredImages
from bench.data.sealing import Sealed, SealedPixels, seal_of


@pytest.fixture
def stored(tmp_path: Path) -> StoredImages:
    np.save(tmp_path / "images.npy", np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2, 1))
    return StoredImages(tmp_path / "images.npy", 2, 1, "print")


def test_the_others_are_read_as_before(stored: StoredImages) -> None:
    sealed = stored.sealed(np.array([3, 17, 4]))
    rows = np.array([0, 19, 5, 5])
    np.testing.assert_array_equal(sealed.open()[rows], stored.open()[rows])
    assert sealed.open().shape == (20, 2, 2, 1)
    assert len(sealed.open()) == 20


@pytest.mark.parametrize("rows", [[3], [0, 17], [-3], list(range(20))])
def test_sealed_rows_are_refused(stored: StoredImages, rows: list[int]) -> None:
    with pytest.raises(Sealed, match="test split, which is sealed"):
        stored.sealed(np.array([3, 17, 4])).open()[np.array(rows)]


@pytest.mark.parametrize("asked", [slice(0, 2), 0, [0, 1], np.ones(20, bool), ..., (np.array([0]), 0)])
def test_other_ways_of_asking_are_refused(stored: StoredImages, asked: object) -> None:
    with pytest.raises(TypeError, match="row numbers"):
        stored.sealed(np.array([3])).open()[asked]  # type: ignore[index]


def test_numpy_cannot_take_it_whole(stored: StoredImages) -> None:
    with pytest.raises((TypeError, Sealed)):
        np.asarray(stored.sealed(np.array([3])).open(), dtype=np.float32)


def test_nothing_to_seal(stored: StoredImages) -> None:
    assert stored.sealed(np.array([], np.int64)) == stored


def test_a_seal_survives_json_and_compares(stored: StoredImages) -> None:
    sealed = stored.sealed(np.array([3, 17]))
    content = json.loads(json.dumps({**asdict(sealed), "file": str(sealed.file)}))
    assert StoredImages(**{**content, "file": Path(content["file"])}) == sealed == stored.sealed(np.array([17, 3]))
    assert sealed != stored


@given(st.sets(st.integers(0, 70)), st.integers(71, 90))
def test_exactly_the_sealed_rows_are_refused(rows: set[int], n_images: int) -> None:
    pixels = SealedPixels(np.zeros((n_images, 1, 1, 1), np.uint8), seal_of(np.array(sorted(rows), np.int64)) or "00")
    for row in range(n_images):
        if row in rows:
            with pytest.raises(Sealed):
                pixels[np.array([row])]
        else:
            assert pixels[np.array([row])].shape == (1, 1, 1, 1)
