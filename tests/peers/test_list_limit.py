"""The limit of a fixed list: the work of the shipped list by hand, and the table of the page."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import ConfigError
from bench.peers import limit_table, list_limit
from bench.peers.calibrate import Rate, What
from bench.rundir import write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A comparison of the shipped list with 1,000 and 250 images."""
    sizes = {"vgg16": 96, "resnet50": 96, "inceptionv3": 96}
    settings = {"list": True, "space": "compare24", "epochs": 4, "views": 4, "image_size": sizes}
    data = {"train": 1000, "val": 250, "classes": ["a", "b"]}
    write_json(tmp_path / "compare.json", {"settings": settings, "data": data})
    rows = [("suite", 0, 300.0), ("suite-warm", 0, 200.0), ("ray-tune", 0, 1500.0), ("ray-tune", 0, 900.0)]
    pd.DataFrame(rows, columns=["method", "seed", "ended"]).to_csv(tmp_path / "compare.csv", index=False)
    return tmp_path


def test_the_limit_of_the_shipped_list(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[What, int] = {}

    def calibrated(work: dict[What, int], *arguments: Any) -> dict[What, Rate]:
        asked.update(work)
        return {what: Rate(100.0, "float32", 32, 2, 1, False, "2026-01-01", 0.0) for what in work}

    monkeypatch.setattr(list_limit, "calibrate", calibrated)
    monkeypatch.setattr(list_limit, "render", lambda folder: folder)
    found = list_limit.run_list_limit(folder, tmp_path / "cache")
    # a backbone: 4 views and the clean one of 1,000 images, and 250 to validate; 8 trials train their head for 4
    # epochs, 2 go on at depth 1 and 2 at depth 2
    by_kind = {(what.backbone, what.kind, what.depth): images for what, images in asked.items()}
    assert by_kind["vgg16", "forward", 0] == 5250
    assert by_kind["vgg16", "training", 0] == 8 * 4000
    assert by_kind["resnet50", "training", 1] == by_kind["resnet50", "training", 2] == 2 * 4000
    assert by_kind["inceptionv3", "validation", 2] == 2 * 4 * 250
    total = 3 * (5250 + 32000 + 16000 + 8 * 1000 + 4 * 1000)
    assert found["cold"]["seconds"] == pytest.approx(total / 100)
    assert found["warm"]["seconds"] == pytest.approx((total - 3 * 5250) / 100)


def test_every_method_stands_against_the_limit_that_is_its_own(folder: Path) -> None:
    assert limit_table.blocks(folder, pd.read_csv(folder / "compare.csv")) == []
    write_json(folder / "limit.json", {"cold": {"seconds": 250.0}, "warm": {"seconds": 160.0}})
    shown = json.dumps(limit_table.blocks(folder, pd.read_csv(folder / "compare.csv")), default=vars)
    for ratio in ("1.2", "1.25", "6"):  # 300/250, 200/160, 1500/250
        assert f'"{ratio}"' in shown or f'"{ratio}0"' in shown
    told = list_limit.describe(folder)
    assert "suite-warm, seed 0: 200 s, 1.25 times the limit" in told
    assert "ray-tune, seed 0: 1500 s, 6.00 times the limit" in told


def test_a_search_has_no_list(tmp_path: Path) -> None:
    write_json(tmp_path / "compare.json", {"settings": {"list": False}})
    with pytest.raises(ConfigError, match="--list"):
        list_limit.run_list_limit(tmp_path, tmp_path)
