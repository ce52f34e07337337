"""What a run needs on its disks, as it is checked before it begins."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.data.images.store import store_key
from bench.errors import ConfigError
from bench.run import request
from bench.run.folder import write_text
from bench.run.record import DataRecord, RecordedSettings, RunRecord, SpaceRecord, WeightsRecord
from bench.run.request import Request, check_disk, needed_bytes, prepare, resume
from bench.settings import make_settings
from bench.train import cache as feature_cache

DEMO: dict[str, Any] = {"data": "demo", "budget": 6, "backbones": "vgg16", "repeats": 1, "epochs": 2, "name": "x"}

DRAWN = {**DEMO, "weights": "random"}


@pytest.fixture(autouse=True, scope="module")
def drawn_once() -> Iterator[None]:
    """The demo set is drawn once for all tests: that takes most of their time."""
    drawn = request.open_source("demo", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "open_source", lambda *_, **__: drawn)
        yield


def of_size(path: Path, size: int) -> None:
    """A file that says that it has so many bytes, and takes none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def entry(cache: Path, size: int, **meta: str) -> None:
    """An entry of cached features, of ``size`` bytes."""
    folder = cache / "features" / f"k{len(list(cache.glob('features/*')))}"
    of_size(folder / "values.npy", size)
    (folder / "meta.json").write_text(json.dumps(meta))


def asked(tmp_path: Path, **changes: Any) -> Request:
    return prepare(make_settings(**{**DRAWN, "cache": tmp_path / "c", "output": tmp_path / "o", **changes}))


def begun(tmp_path: Path) -> Request:
    """The same, resumed."""
    new = asked(tmp_path)
    new.run.write(
        RunRecord(
            name="x",
            rules=request.RULES,
            settings=RecordedSettings(**new.settings.model_dump()),
            space=SpaceRecord(name="demo"),
            weights=WeightsRecord(kind="random", sha256={"vgg16": "w"}),
            data=DataRecord(fingerprint="f"),
        )
    )
    write_text(new.run.space, new.space.text)
    return resume(new.run, {})


def test_the_estimate_is_that_of_a_run_that_was_measured(tmp_path: Path) -> None:
    """`run_bench.py --budget 6 --backbones vgg16 --weights random --repeats 1 --epochs 2` left 217 MB in the cache.

    Its folder had 67 MB: the default recipe was the winner's, and not trained, which nobody knows before; and
    best_model.h5, a copy of 59 MB since, was a link.
    """
    cache, output = needed_bytes(asked(tmp_path))
    assert 217e6 / 1.5 < cache < 217e6 * 1.5
    assert (67e6 + 2 * 59e6) / 1.5 < output < (67e6 + 2 * 59e6) * 1.5


def test_weights_that_are_there_already_need_no_room(tmp_path: Path) -> None:
    drawn, _ = needed_bytes(asked(tmp_path))
    published, _ = needed_bytes(asked(tmp_path, weights="imagenet"))
    assert drawn - published == 59 * 10**6
    of_size(tmp_path / "c/weights/vgg16-random-0.weights.h5", 59 * 10**6)
    assert needed_bytes(asked(tmp_path))[0] == published


def test_what_another_set_has_in_the_cache_leaves_no_room_that_is_not_there(tmp_path: Path) -> None:
    before, _ = needed_bytes(asked(tmp_path))
    for _ in range(2):
        entry(tmp_path / "c", 5 * 10**9, images="another's")
    of_size(tmp_path / "c/store/another/96-squash.npy", 30 * 10**9)
    assert needed_bytes(asked(tmp_path))[0] == before, "of 20 GB 10 are left for features"
    for _ in range(2):
        entry(tmp_path / "c", 5 * 10**9)
    full, _ = needed_bytes(asked(tmp_path))
    none, _ = needed_bytes(asked(tmp_path, cache_size=0))
    assert none == full < before, "others leave the cache for what comes, and the disk has what they took"


def test_images_of_this_set_that_are_stored_need_no_room(tmp_path: Path) -> None:
    new = asked(tmp_path, cache_size=0, weights="imagenet")
    folder = tmp_path / "c/store" / store_key(new.source)
    of_size(folder / f"{new.sizes['vgg16']}-squash.npy", 1)
    assert needed_bytes(new)[0] > 0, "images without facts are decoded again"
    for name in ("facts.csv", "thumbnails.npy"):
        of_size(folder / name, 1)
    assert needed_bytes(new)[0] == 0


def test_finalists_draw_more_views_than_the_search(tmp_path: Path) -> None:
    cache = [needed_bytes(asked(tmp_path, epochs=epochs, views=2))[0] for epochs in (2, 8)]
    assert cache[1] > 1.5 * cache[0]


def test_an_entry_that_leaves_meanwhile_is_none(tmp_path: Path) -> None:
    entry(tmp_path, 1000, images="f")
    (tmp_path / "features" / "half").mkdir()
    (tmp_path / "features" / "half" / "meta.json").write_text("{}")
    assert feature_cache.entries(tmp_path) == [({"images": "f"}, 1000)]


def test_a_resumed_run_needs_room_for_what_is_still_to_be_written(tmp_path: Path) -> None:
    cache, output = needed_bytes(begun(tmp_path))
    entry(tmp_path / "c", 10**6, images="f", weights="w")
    entry(tmp_path / "c", 10**6, images="f", weights="other")
    of_size(tmp_path / "o/x/models/vgg16-1.h5", 59 * 10**6)
    of_size(tmp_path / "o/x/best_model.h5", 59 * 10**6)
    assert needed_bytes(begun(tmp_path)) == (cache - 10**6, output - 2 * 59 * 10**6)


def test_a_resumed_run_is_told_what_can_be_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(request.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 0}))
    with pytest.raises(ConfigError, match=r"are free in .*; make room there, or choose another folder by --cache\.$"):
        check_disk(begun(tmp_path))


def test_a_disk_without_room_is_refused_before_the_run_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    new = asked(tmp_path)
    cache, output = needed_bytes(new)
    usage = type("Usage", (), {"free": cache + output})
    monkeypatch.setattr(request.shutil, "disk_usage", lambda folder: usage)
    assert "up to 0.3 GB" in check_disk(new)
    usage.free -= 1
    with pytest.raises(ConfigError, match=r"may write 0\.5 GB but only 0\.5 GB are free in .*--cache"):
        check_disk(new)
