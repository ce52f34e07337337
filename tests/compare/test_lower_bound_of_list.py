"""The lower bound of a fixed list: the work of the shipped list by hand, and the table of the page."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import cli
from bench.compare.lower_bound import lower_bound
from bench.compare.lower_bound.calibrate import Rate
from bench.compare.lower_bound.work import Part
from bench.compare.methods.experiment import OUTCOMES
from bench.compare.page import render
from bench.compare.record import find_comparison
from bench.errors import ConfigError
from bench.run.folder import write_json
from bench.search.space import load_space

BOUND = {"cold": {"seconds": 250.0}, "warm": {"seconds": 160.0}}


def rows(method: str, seconds: float, done: int = 24, failed: int = 0) -> list[dict[str, Any]]:
    """Trials of ``method``, the last of which ended after ``seconds``."""
    return [
        {
            **dict.fromkeys(OUTCOMES.names),
            "method": method,
            "seed": 0,
            "trial": number,
            "state": "failed" if number >= done else "completed",
            "ended": seconds * (number + 1) / (done + failed),
            "core_seconds": 1.0,
            "auc": 0.9,
            "epochs": 4,
        }
        for number in range(done + failed)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A comparison of a user's own copy of the shipped list with 1,000 and 250 images."""
    sizes = {"vgg16": 96, "resnet50": 96, "inceptionv3": 96}
    settings = {"list": True, "space": "own", "budget": 24, "epochs": 4, "views": 4, "image_size": sizes}
    settings["patience"] = 4
    data = {"path": "x", "train": 1000, "val": 250, "classes": ["a", "b"], "sizes": sizes, "synthetic": False}
    ends = [
        {"method": "suite-no-cache", "seed": 0, "state": "time limit", "seconds": 2000.0, "reason": "", "notes": []},
        {"method": "suite-float32", "seed": 0, "state": "failed", "seconds": 2000.0, "reason": "Boom", "notes": []},
    ]
    machine = {"cpus": 2, "memory_gib": 8, "machine": "x", "system": "y", "gpus": []}
    about = {"weights": {"kind": "random", "note": "n"}, "hardware": machine, "packages": {"keras": "3"}}
    write_json(tmp_path / "compare.json", {"settings": settings, "data": data, "runs": ends, **about})
    (tmp_path / "space.yaml").write_text(load_space("compare24").text)
    trials = rows("suite", 300) + rows("suite-warm", 200) + rows("ray-tune", 1500)
    trials += rows("suite-no-cache", 1990, done=20) + rows("suite-float32", 50, done=3)
    trials += rows("suite-cold-workers", 400, done=23, failed=1)
    pd.DataFrame(trials, columns=OUTCOMES.names).to_csv(tmp_path / "compare.csv", index=False)
    return tmp_path


def test_the_lower_bound_of_the_shipped_list(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: dict[Part, int] = {}

    def calibrated(work: dict[Part, int], *arguments: Any) -> dict[Part, Rate]:
        counted.update(work)
        return {part: Rate(100.0, "float32", 32, 2, 1, False, "2026-01-01", 0.0) for part in work}

    monkeypatch.setattr(lower_bound, "calibrate", calibrated)
    monkeypatch.setattr(lower_bound, "render", lambda folder: folder)
    found = lower_bound.lower_bound_of_list(folder, tmp_path / "cache")
    # a backbone: 4 views and the clean one of 1,250 images, 250 of them to validate; 8 trials train their head for 4
    # epochs, 2 go on at depth 1 and 2 at depth 2
    by_kind = {(part.backbone, part.kind, part.depth): images for part, images in counted.items()}
    assert by_kind["vgg16", "forward", 0] == 6250
    assert by_kind["vgg16", "training", 0] == 8 * 4000
    assert by_kind["resnet50", "training", 1] == by_kind["resnet50", "training", 2] == 2 * 4000
    assert by_kind["inceptionv3", "validation", 2] == 2 * 4 * 250
    total = 3 * (6250 + 32000 + 16000 + 8 * 1000 + 4 * 1000)
    assert found.cold.seconds == pytest.approx(total / 100)
    assert found.warm.seconds == pytest.approx((total - 3 * 6250) / 100)
    (folder / "space.yaml").unlink()
    with pytest.raises(ConfigError, match=r"space.yaml.* is missing"):
        lower_bound.lower_bound_of_list(folder, tmp_path / "cache")


def shown(folder: Path) -> dict[str, str]:
    """Method -> the last cell of its row in the table of the lower bound."""
    source = render(folder).read_text(encoding="utf-8")
    if "Wall-clock over the lower bound." not in source:
        return {}
    table = source.split("<span>Wall-clock over the lower bound.</span>")[1].split("</table>")[0]
    found = {}
    for name, cells in re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', table, flags=re.S):
        last = cells.split("<td")[-1].partition(">")[2]
        found[name] = " ".join(re.sub(r"<[^>]+>", " ", last).split())
    return found


def test_every_method_stands_against_the_lower_bound_that_is_its_own(folder: Path) -> None:
    assert shown(folder) == {}
    write_json(folder / "limit.json", BOUND)
    found = shown(folder)
    assert found["This suite"] == "1.2"  # 300 / 250
    assert found["This suite, cache already filled"] == "1.25"  # 200 / 160
    assert found["Ray Tune with OptunaSearch"] == "6"  # 1500 / 250
    told = lower_bound.describe_list(folder)
    assert "suite-warm, seed 0: 200 s, 1.25 times the limit" in told
    assert "ray-tune, seed 0: 1500 s, 6.00 times the limit" in told


def test_less_work_than_the_list_has_no_ratio(folder: Path) -> None:
    write_json(folder / "limit.json", BOUND)
    found = shown(folder)
    assert found["This suite without its cache"] == "– 20 of 24 trials"
    assert found["This suite, a fresh process per trial"] == "– 23 of 24 trials", "the last of them failed"
    assert "This suite in float32" not in found, "it failed"
    told = lower_bound.describe_list(folder)
    assert "suite-no-cache, seed 0: 2000 s, 20 of 24 trials" in told, "the wall is the limit's time"
    assert "suite-float32" not in told


def test_a_comparison_can_be_given_by_its_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(lower_bound, "lower_bound_of_list", lambda found, cache: asked.append(found))
    monkeypatch.setattr(lower_bound, "describe_list", str)
    monkeypatch.chdir(folder)
    for given in (str(folder), ".", f"../{folder.name}"):
        assert cli.main(["compare", "--limit", given, "--output", str(folder / "elsewhere")]) == 0
    assert cli.main(["compare", "--limit", folder.name, "--output", str(folder.parent)]) == 0
    assert [found.resolve() for found in asked] == [folder] * 4 and all(found.name for found in asked)


def test_a_run_in_the_output_folder_comes_before_a_comparison_of_the_same_path(tmp_path: Path) -> None:
    write_json(tmp_path / "output" / "x" / "run.json", {})
    write_json(tmp_path / "x" / "compare.json", {})
    assert find_comparison(str(tmp_path / "x"), tmp_path / "output") == tmp_path / "x"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert find_comparison("x", tmp_path / "output") is None
        assert find_comparison("y", tmp_path / "output") is None


def test_a_search_has_no_list(tmp_path: Path) -> None:
    write_json(tmp_path / "compare.json", {"settings": {"list": False}})
    with pytest.raises(ConfigError, match="--list"):
        lower_bound.lower_bound_of_list(tmp_path, tmp_path)
