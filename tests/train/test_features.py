"""The frozen-prefix cache: right, computed once, whole or absent, and held under its budget."""

import dataclasses
import errno
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import overwrite

from bench.models.augmentation import Policy
from bench.models.backbones import boundary_bytes
from bench.models.weights import load_backbone
from bench.train import cache
from bench.train import features as module
from bench.train.cache import FeatureCache, NoRoom
from bench.train.features import FrozenFeatures
from bench.train.networks import Networks
from bench.train.task import Precision

LIGHT = Policy("light", rotation=5, brightness=0.1)
NONE = Policy("none")
BFLOAT16 = {"toy": Precision("bfloat16", "bfloat16")}


def frozen(task: Any, likely: tuple[int, ...] = (), **changes: Any) -> FrozenFeatures:
    return FrozenFeatures(Networks(dataclasses.replace(task, depths=likely, **changes)))


def all_rows(features: Any) -> Any:
    return features.take(np.arange(features.shape[0]))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every chunk of images that is drawn."""
    drawn: list[int] = []
    original = FrozenFeatures._drawn

    def counted(self: FrozenFeatures, one: Any) -> Any:
        for chunk in original(self, one):
            drawn.append(len(chunk))
            yield chunk

    monkeypatch.setattr(FrozenFeatures, "_drawn", counted)
    return drawn


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4, 5])
def test_cached_features_are_the_networks_own(make_task: Callable[..., Any], depth: int) -> None:
    import keras

    from bench.models.assemble import preprocessing_layer
    from bench.models.backbones import boundary_cut

    task = make_task()
    stored, backbone = task.images["toy"], task.backbones["toy"]
    cached = all_rows(frozen(task).validation("toy", depth))
    images = stored.open()[task.rows["val"]].astype("float32")
    if depth == 5:
        np.testing.assert_array_equal(cached, images)
        return
    network = load_backbone(backbone, stored.size, task.weights.files["toy"])
    cut = boundary_cut(backbone, depth)
    part = keras.Model(network.input, network.get_layer(cut).output)
    whole = np.asarray(part(preprocessing_layer(backbone.preprocessing, stored.channels)(images), training=False))
    whole = whole.mean(axis=(1, 2)) if depth == 0 else whole
    np.testing.assert_allclose(cached, whole, rtol=2e-3, atol=1e-4 if depth else 1e-6)


def test_nothing_is_computed_twice(make_task: Callable[..., Any], passes: list[int]) -> None:
    task = make_task()
    first = all_rows(frozen(task).training_views("toy", LIGHT, 1, range(2))[1])
    assert sum(passes) == 2 * len(task.pool)
    passes.clear()
    again = frozen(task)  # another process
    np.testing.assert_array_equal(all_rows(again.training_views("toy", LIGHT, 1, range(2))[1]), first)
    again.training_views("toy", LIGHT, 0, range(2))  # came along with the pass
    assert passes == []


def test_damaged_features_are_computed_again_and_told(make_task: Callable[..., Any], passes: list[int]) -> None:
    task = make_task()
    first = all_rows(frozen(task).training_views("toy", LIGHT, 1, range(2))[1])
    for path in task.cache.glob("features/*/values.npy"):
        content = path.read_bytes()
        overwrite(path, content[: len(content) // 2].ljust(len(content), b"\0"))
    passes.clear()
    again = frozen(task)
    np.testing.assert_array_equal(all_rows(again.training_views("toy", LIGHT, 1, range(2))[1]), first)
    assert sum(passes) == 2 * len(task.pool)
    assert "was not what had been written, and is computed again" in again.notes["damaged"]
    sound = frozen(task)
    np.testing.assert_array_equal(all_rows(sound.training_views("toy", LIGHT, 1, range(2))[1]), first)
    assert sound.notes == {}


def test_images_that_are_damaged_and_cannot_be_removed_are_drawn(
    make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(cache_bytes=10**9)
    first = all_rows(frozen(task).training_views("toy", LIGHT, 5, range(1))[0])

    def refuse(self: Any, key: str) -> None:
        raise NoRoom("the entry is damaged and cannot be removed")

    monkeypatch.setattr("bench.train.cache.FeatureCache.open", refuse)
    again = frozen(task)
    np.testing.assert_array_equal(all_rows(again.training_views("toy", LIGHT, 5, range(1))[0]), first)
    assert "cannot be removed" in again.notes["toy 5"]


def test_one_pass_keeps_the_boundaries_that_others_may_ask_for(
    make_task: Callable[..., Any], passes: list[int]
) -> None:
    features = frozen(make_task(), likely=(0, 1, 2))
    features.validation("toy", 0)
    drawn = len(passes)
    features.validation("toy", 2)
    assert len(passes) == drawn


def test_views_differ_and_none_has_one(make_task: Callable[..., Any]) -> None:
    features = frozen(make_task())
    views = [all_rows(view) for view in features.training_views("toy", LIGHT, 5, range(3))]
    assert len(views) == 3
    assert not np.array_equal(views[0], views[1])
    assert not np.array_equal(views[1], views[2])
    assert len(features.training_views("toy", NONE, 5, range(3))) == 1


def test_views_depend_on_the_seed_and_the_amounts_not_on_the_name(make_task: Callable[..., Any]) -> None:
    task = make_task()
    one = all_rows(frozen(task).training_views("toy", LIGHT, 5, range(1))[0])
    renamed = Policy("other", rotation=5, brightness=0.1)
    np.testing.assert_array_equal(one, all_rows(frozen(task).training_views("toy", renamed, 5, range(1))[0]))
    assert not np.array_equal(one, all_rows(frozen(task, seed=1).training_views("toy", LIGHT, 5, range(1))[0]))


def test_other_weights_are_other_features(make_task: Callable[..., Any]) -> None:
    task = make_task()
    changed = dataclasses.replace(task.weights, sha256={"toy": "another"})
    ours, theirs = frozen(task), frozen(dataclasses.replace(task, weights=changed))
    one = ours.training_views("toy", NONE, 0, range(1))
    assert one
    keys = {path.name for path in (task.cache / "features").glob("[!.]*")}
    theirs.training_views("toy", NONE, 0, range(1))
    assert {path.name for path in (task.cache / "features").glob("[!.]*")} > keys


def test_an_interrupted_pass_leaves_nothing_that_is_taken_for_whole(
    make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    features = frozen(task)
    monkeypatch.setattr(module, "CHUNK", 16)
    original = FrozenFeatures._drawn

    def interrupted(self: FrozenFeatures, one: Any) -> Any:
        yield next(original(self, one))
        raise KeyboardInterrupt

    monkeypatch.setattr(FrozenFeatures, "_drawn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        features.validation("toy", 1)
    assert [path for path in (task.cache / "features").iterdir() if path.name != ".locks"] == []
    monkeypatch.setattr(FrozenFeatures, "_drawn", original)
    assert features.validation("toy", 1).shape[0] == len(task.rows["val"])


def test_concurrent_trials_share_the_work(make_task: Callable[..., Any], passes: list[int]) -> None:
    task = make_task(views=3)
    workers = [frozen(task), frozen(task)]
    for worker in workers:
        worker._networks.prefix("toy", (0, 1))  # networks are built one after another: Keras is not thread-safe there
    passes.clear()
    threads = [threading.Thread(target=worker.training_views, args=("toy", LIGHT, 1, range(3))) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passes) == 3 * len(task.pool)


def kept(task: Any) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in (task.cache / "features").glob("[!.]*/meta.json")]


@pytest.mark.parametrize("depth", [0, 2, 5])
@pytest.mark.parametrize("budget", [0, 3_000])
def test_what_is_not_kept_is_computed_with_the_same_values(
    make_task: Callable[..., Any], depth: int, budget: int
) -> None:
    task = make_task()
    stored = [all_rows(view) for view in frozen(task).training_views("toy", LIGHT, depth, range(2))]
    small = make_task(cache=task.cache.with_name("small"), cache_bytes=budget)
    features = frozen(small)
    views = features.training_views("toy", LIGHT, depth, range(2))
    assert all(isinstance(view, module.ComputedFeatures) for view in views)
    for one, computed in zip(stored, views, strict=True):
        assert computed.shape == one.shape
        np.testing.assert_allclose(all_rows(computed), one, rtol=2e-3, atol=1e-5)
        some = np.array([40, 3, 3, 17])
        np.testing.assert_allclose(computed.take(some), one[some], rtol=2e-3, atol=1e-5)
    assert kept(small) == []
    # who wants no cache need not be told; who has too small a one is told once
    features.training_views("toy", LIGHT, depth, range(2))
    assert list(features.notes) == ([f"toy {depth}"] if budget else [])
    assert all("--cache-size" in note and f"unfreeze depth {depth}" in note for note in features.notes.values())


def test_what_is_computed_is_rounded_as_what_is_kept(make_task: Callable[..., Any]) -> None:
    kept_ones, computed = (frozen(make_task(cache_bytes=size)).validation("toy", 2) for size in (10**9, 0))
    values = all_rows(computed)
    np.testing.assert_array_equal(values, values.astype(np.float16))
    raw = all_rows(frozen(make_task(cache_bytes=0, cache_dtype="float32")).validation("toy", 2))
    assert not np.array_equal(raw, raw.astype(np.float16))
    assert np.mean(values == all_rows(kept_ones)) > 0.99  # but for the last bit of a few, where float32 sums differ


def test_a_refusal_is_for_the_views_that_it_was_about(make_task: Callable[..., Any]) -> None:
    one = frozen(make_task()).entry_bytes("toy", 1)
    features = frozen(make_task(views=3, cache_bytes=2 * (one + 128)))
    assert isinstance(features.training_views("toy", LIGHT, 1, range(3))[0], module.ComputedFeatures)
    assert isinstance(features.training_views("toy", NONE, 1, range(3))[0], module.StoredFeatures)
    assert isinstance(features.validation("toy", 1), module.StoredFeatures)


def test_a_map_that_is_open_may_leave_the_cache(make_task: Callable[..., Any]) -> None:
    """Two workers whose views do not fit side by side both come to an end."""
    one = frozen(make_task()).entry_bytes("toy", 1)
    task = make_task(cache_bytes=3 * (one + 128))
    workers = {name: frozen(task) for name in ("toy", "toy2")}
    for name, worker in workers.items():
        worker._networks.prefix(name, (0, 1))
    found: dict[str, list[Any]] = {}

    def fetch(name: str) -> None:
        found[name] = workers[name].training_views(name, LIGHT, 1, range(3))

    threads = [threading.Thread(target=fetch, args=(name,), daemon=True) for name in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(found) == ["toy", "toy2"]
    assert all(np.isfinite(all_rows(view)).all() for views in found.values() for view in views)


def test_the_budget_is_kept_before_anything_is_written(make_task: Callable[..., Any], tmp_path: Path) -> None:
    """Room is made first: at no time do entries and those in the making take more than the budget."""
    one = frozen(make_task()).entry_bytes("toy", 1)
    task = make_task(cache=tmp_path / "tight", cache_bytes=2 * (one + 128) + 100)
    most = 0
    original = module.create

    def watched(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
        nonlocal most
        made = original(path, dtype, shape)
        most = max(most, sum(file.stat().st_size for file in (task.cache / "features").rglob("values.npy")))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "create", watched)
        for amount in (1, 2, 3):
            views = frozen(task).training_views("toy", Policy("some", rotation=amount), 1, range(2))
            assert all(isinstance(view, module.StoredFeatures) for view in views)
    assert one < most <= task.cache_bytes
    assert [entry["amounts"] for entry in kept(task)] == [{"rotation": 3}] * 2  # the last used stayed


def test_a_full_disk_means_computing(make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    task = make_task()
    expected = all_rows(frozen(task).training_views("toy", LIGHT, 1, range(1))[0])
    other = make_task(cache=task.cache.with_name("full"))
    features = frozen(other)
    monkeypatch.setattr(os, "posix_fallocate", full)
    view = features.training_views("toy", LIGHT, 1, range(1))[0]
    np.testing.assert_allclose(all_rows(view), expected, rtol=2e-3, atol=1e-5)
    assert kept(other) == []
    assert "full" in features.notes["toy 1"]
    assert list((other.cache / "features").glob(".filling-*")) == []


def test_entries_that_cannot_be_put_in_place_mean_computing(
    make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    expected = all_rows(frozen(task).training_views("toy", LIGHT, 1, range(2))[1])
    other = make_task(cache=task.cache.with_name("remote"))
    features, real = frozen(other), Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target.parent == other.cache / "features" and not target.name.startswith("."):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    view = features.training_views("toy", LIGHT, 1, range(2))[1]
    np.testing.assert_allclose(all_rows(view), expected, rtol=2e-3, atol=1e-5)
    assert kept(other) == []
    assert "cannot be put in place (Too many open files)" in features.notes["toy 1"]


def test_entries_that_another_user_keeps_to_himself_mean_computing(
    make_task: Callable[..., Any], passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    expected = all_rows(frozen(task).training_views("toy", LIGHT, 1, range(1))[0])
    monkeypatch.setattr(FeatureCache, "open", lambda self, key: None)
    monkeypatch.setattr(FeatureCache, "has", lambda self, key: False)
    monkeypatch.setattr(cache, "_discard", lambda entry: not entry.exists())
    passes.clear()
    features = frozen(task)
    view = features.training_views("toy", LIGHT, 1, range(1))[0]
    assert "can be neither read nor removed" in features.notes["toy 1"]
    assert sum(passes) <= len(task.pool), "nothing is computed in vain"
    np.testing.assert_allclose(all_rows(view), expected, rtol=2e-3, atol=1e-5)


def test_precision_and_kind_of_number_are_part_of_the_key(make_task: Callable[..., Any]) -> None:
    task = make_task()
    frozen(task).validation("toy", 1)
    count = len(kept(task))
    for change in ({"precision": BFLOAT16}, {"cache_dtype": "float32"}):
        frozen(task, **change).validation("toy", 1)
        assert len(kept(task)) > count
        count = len(kept(task))


def test_bfloat16_features_are_near(make_task: Callable[..., Any]) -> None:
    task = make_task()
    full = all_rows(frozen(task).validation("toy", 0))
    half = all_rows(frozen(task, precision=BFLOAT16).validation("toy", 0))
    assert not np.array_equal(full, half)
    assert np.abs(full - half).max() < 0.05 * full.std()


def test_images_of_one_size_are_augmented_once_for_all_backbones(
    make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    original = module.Augmenter.__call__

    def counted(self: Any, images: Any) -> Any:
        drawn.append(len(images))
        return original(self, images)

    monkeypatch.setattr(module.Augmenter, "__call__", counted)
    features = frozen(make_task(), likely=(0, 1))
    for backbone in ("toy", "toy2"):
        features.training_views(backbone, LIGHT, 1, range(2))
    assert sum(drawn) == 2 * len(features._task.pool)


def test_what_leaves_the_range_of_float16_is_kept_as_float32(make_task: Callable[..., Any]) -> None:
    features, one, exact = frozen(make_task()), module.Pass("toy", NONE), module.Pass("toy", NONE, exact=True)
    assert features._kept_dtype(exact, 1, np.array([1.0, 2.0])) == np.float32
    assert features._kept_dtype(one, 1, np.array([1.0, 2.0])) == np.float16
    assert features._kept_dtype(one, 1, np.array([1.0, 1e5])) == np.float32
    assert features._kept_dtype(one, 1, np.array([1e-5, 0.0])) == np.float32
    assert features._kept_dtype(one, 0, np.array([1.0])) == np.float32
    assert features._kept_dtype(one, 5, np.array([1])) == np.uint8
    assert frozen(make_task(cache_dtype="float32"))._kept_dtype(one, 1, np.array([1.0, 2.0])) == np.float32


def test_a_later_chunk_that_overflows_float16_widens_the_entry(
    make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    expected = all_rows(frozen(task, cache_dtype="float32").training_views("toy", NONE, 1, range(1))[0])
    original, calls = module._through, []

    def growing(prefix: Any, images: Any) -> Any:
        calls.append(len(images))
        return [values * (1e7 if len(calls) > 1 else 1) for values in original(prefix, images)]

    monkeypatch.setattr(module, "CHUNK", 32)
    monkeypatch.setattr(module, "_through", growing)
    view = frozen(make_task(cache=task.cache.with_name("wide"))).training_views("toy", NONE, 1, range(1))[0]
    assert isinstance(view, module.StoredFeatures)
    assert view.values.dtype == np.float32
    places = task.places(task.rows["train"])  # in the pool, whose order is that of the chunks
    np.testing.assert_allclose(all_rows(view)[places < 32], expected[places < 32], rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(all_rows(view)[places >= 32], expected[places >= 32] * 1e7, rtol=1e-3)


def test_boundary_bytes_are_what_an_entry_takes(make_task: Callable[..., Any]) -> None:
    task = make_task()
    features = frozen(task)
    for depth in range(6):
        view = features.validation("toy", depth)
        expected = boundary_bytes(task.backbones["toy"], 32, task.images["toy"].channels, depth)
        assert view.values[0].nbytes == expected


def test_a_split_is_rows_of_the_pool(make_task: Callable[..., Any]) -> None:
    """Whatever the splits are, of the same images: nothing is computed for others."""
    task = make_task()
    first = frozen(task).training_views("toy", LIGHT, 1, range(2))
    count = len(kept(task))
    turned = {"train": task.pool[:30], "val": task.pool[30:]}
    labels = {split: task.labels_of(rows) for split, rows in turned.items()}
    other = frozen(task, rows=turned, labels=labels)
    np.testing.assert_array_equal(np.sort(other._task.pool), np.sort(task.pool))
    views = other.training_views("toy", LIGHT, 1, range(2))
    assert len(kept(task)) == count
    for row in set(turned["train"].tolist()) & set(task.rows["train"].tolist()):
        ours, theirs = (rows.tolist().index(row) for rows in (task.rows["train"], turned["train"]))
        np.testing.assert_array_equal(first[1].take(np.array([ours])), views[1].take(np.array([theirs])))


def test_no_test_image_is_in_any_entry(make_task: Callable[..., Any]) -> None:
    task = make_task()
    features = frozen(task, likely=(0, 1, 2))
    features.training_views("toy", LIGHT, 2, range(2))
    features.exact_validation("toy", 1)
    shapes = {path: np.load(path, mmap_mode="r").shape[0] for path in task.cache.glob("features/*/values.npy")}
    n_test = task.images["toy"].open().shape[0] - len(task.pool)
    assert n_test > 0
    assert set(shapes.values()) == {len(task.pool), len(task.rows["val"])}
    assert set(task.pool.tolist()) == {row for rows in task.rows.values() for row in rows.tolist()}


def test_labels_of_the_pool(make_task: Callable[..., Any]) -> None:
    task = make_task()
    for split, rows in task.rows.items():
        np.testing.assert_array_equal(task.labels_of(rows), task.labels[split])
        np.testing.assert_array_equal(task.pool[task.places(rows)], rows)
    by_class = {split: np.sort(labels) for split, labels in task.labels.items()}  # rows in the order of their classes
    sorted_task = dataclasses.replace(task, labels=by_class)
    for half in np.array_split(sorted_task.pool, 2):
        assert 0.25 < sorted_task.labels_of(half).mean() < 0.75, "no half of an entry is one class"
    assert not np.array_equal(task.pool, np.sort(task.pool))


def test_a_view_is_computed_when_it_is_read(make_task: Callable[..., Any]) -> None:
    task = make_task(views=2)
    views = frozen(task).training_views("toy", LIGHT, 0, [3, 4, 0, 1, 2])
    drawn = lambda: sorted(entry["view"] for entry in kept(task))  # noqa: E731
    assert (len(views), drawn()) == (5, [3, 4])
    assert views[3].shape == (len(task.rows["train"]), 16)
    assert drawn() == [1, 3, 4]
    one = frozen(task).training_views("toy", LIGHT, 0, [1])[0]
    np.testing.assert_array_equal(all_rows(views[3]), all_rows(one))


def test_exact_features_are_float32_whatever_trials_compute_in(make_task: Callable[..., Any]) -> None:
    task = make_task()
    plain = all_rows(frozen(task, cache_dtype="float32").validation("toy", 2))
    for changes in ({}, {"precision": BFLOAT16}):
        exact = frozen(task, **changes).exact_validation("toy", 2)
        np.testing.assert_allclose(all_rows(exact), plain, rtol=1e-5, atol=1e-6)
