"""What a run needs on its disks, as it is checked before it begins."""

from typing import Any

import pytest

from bench.errors import ConfigError
from bench.run import request
from bench.run.request import check_disk, needed_bytes, prepare
from bench.settings import make_settings

DEMO: dict[str, Any] = {"data": "demo", "budget": 6, "backbones": "vgg16", "repeats": 1, "epochs": 2, "name": "x"}


def test_the_estimate_is_that_of_a_run_that_was_measured() -> None:
    """`run_bench.py --budget 6 --backbones vgg16 --weights random --repeats 1 --epochs 2` left 217 MB in the cache.

    Its folder had 67 MB: the default recipe was the winner's, and not trained, which nobody knows before; and
    best_model.h5, a copy of 59 MB since, was a link.
    """
    cache, output = needed_bytes(prepare(make_settings(**DEMO, weights="random")))
    assert 217e6 / 1.5 < cache < 217e6 * 1.5
    assert (67e6 + 2 * 59e6) / 1.5 < output < (67e6 + 2 * 59e6) * 1.5


def test_weights_that_are_there_already_need_no_room() -> None:
    drawn, _ = needed_bytes(prepare(make_settings(**DEMO, weights="random")))
    published, _ = needed_bytes(prepare(make_settings(**DEMO, weights="imagenet")))
    assert drawn - published == 59 * 10**6


def test_a_disk_without_room_is_refused_before_the_run_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    asked = prepare(make_settings(**DEMO, weights="random", cache=tmp_path / "c", output=tmp_path / "o"))
    cache, output = needed_bytes(asked)
    usage = type("Usage", (), {"free": cache + output})
    monkeypatch.setattr(request.shutil, "disk_usage", lambda folder: usage)
    assert "up to 0.2 GB" in check_disk(asked)
    usage.free -= 1
    with pytest.raises(ConfigError, match=r"may write 0\.4 GB but only 0\.4 GB are free in .*--cache"):
        check_disk(asked)
