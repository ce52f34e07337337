"""The reports that the tests of the page and of the browser share: whole, hostile, unfinished and damaged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from report_run import edit_json, write_run

from bench.report import pictures
from bench.report.blocks import Picture
from bench.report.html import render
from bench.report.live import SEARCHING, Renderer
from bench.report.side_by_side.page import render_side_by_side
from bench.report.tables import importance
from bench.run.folder import RunDir

HOSTILE = ("<script>alert(1)</script>", 'a"b&c', "</style></table>'><img src=x onerror=alert(2)>")
"""Class names that would do harm on a page that does not escape them."""

HOSTILE_TEXT = (*HOSTILE, "a<b>&c", "</td><script>alert(3)</script>", '"><svg onload=alert(4)>')


BLANK = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='640' height='480'/%3E"
"""The picture on pages that are not opened for their pictures: drawing takes most of the time."""


class Reports:
    """The pages by name, each written and rendered below ``folder`` when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        done = self._folder / f"{name}.done"
        with FileLock(self._folder / f"{name}.lock"):
            if not done.exists():
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(pictures, "PAPER_DPI", 20)  # the .png files are not in the page
                    if name not in DRAWN:
                        draw_nothing(patch)
                    done.write_text(str(RENDER[name](self._folder)), encoding="utf-8")
        return Path(done.read_text(encoding="utf-8"))


def shared(factory: pytest.TempPathFactory) -> Reports:
    """The same pages for every folder of tests, and for every process (``-n``)."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "rendered"
    folder.mkdir(exist_ok=True)
    return Reports(folder)


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Blank pictures, and no forest for the importance."""
    table = pd.DataFrame({"parameter": ["dropout"], "mean": [1.0], "sd": [0.0]})
    patch.setattr(importance, "importance", lambda trials, metric: table)
    patch.setattr(
        pictures, "picture", lambda folder, name, draw, alt, caption: Picture(BLANK, 640, 480, alt, caption, False)
    )


def _several(path: Path) -> RunDir:
    """A run on four classes, with folds."""
    return write_run(path, trials=14, classes=("CNV", "DME", "DRUSEN", "NORMAL"), image_side=16, folds=3)


def _hostile(path: Path) -> RunDir:
    """A run whose names, command, reasons and policies are markup."""
    run = write_run(path, trials=14, classes=HOSTILE, seeds=1, image_side=16)
    edit_json(run.run, command="run --name '<img src=x onerror=alert(5)>'")
    trials = pd.read_csv(run.trials)
    trials.loc[trials["state"] == "failed", "reason"] = "</td><script>alert(3)</script>"
    trials["config_augmentation"] = trials["config_augmentation"].replace("strong", '"><svg onload=alert(4)>')
    trials.to_csv(run.trials, index=False)
    return run


def _beaten(path: Path) -> RunDir:
    """A run whose chosen model loses to a baseline, and says so in red."""
    run = write_run(path, trials=12, image_side=16)
    pairs = pd.read_csv(run.comparisons)
    pairs.loc[pairs["b"] == "small_cnn", ["difference", "low", "high", "verdict"]] = [
        -0.078,
        -0.134,
        -0.021,
        "b better",
    ]
    pairs.to_csv(run.comparisons, index=False)
    return run


def _unfinished(path: Path) -> RunDir:
    """A run in the middle of its search."""
    run = write_run(path, trials=6, image_side=16)
    kept = {run.trials, run.epochs, run.run, run.splits, run.audit, run.augmentation}
    for left in path.iterdir():
        if left.is_file() and left not in kept:
            left.unlink()
        elif left.is_dir():
            shutil.rmtree(left)
    edit_json(run.run, winner=None, search=None, seconds=None)
    return run


def _damaged(path: Path) -> RunDir:
    """A run with a file missing, one cut short and one that is not text."""
    run = write_run(path, trials=12, image_side=16)
    run.splits.unlink()
    whole = run.evaluation.read_bytes()
    run.evaluation.write_bytes(whole[: len(whole) // 2])
    run.epochs.write_bytes(b"\xff\x00\x9f" * 50)
    return run


def _empty(path: Path) -> RunDir:
    """A folder with nothing in it."""
    path.mkdir()
    return RunDir(path)


def _side_by_side(folder: Path) -> Path:
    """A whole run, an unfinished one, a damaged one and one whose names are markup."""
    whole = write_run(folder / "first", trials=12, image_side=16)
    others = (_unfinished(folder / "second"), _damaged(folder / "third"), _hostile(folder / "a<b>&c"))
    return render_side_by_side([whole, *others], folder)


DRAWN = ("whole", "live", "side by side")
"""The pages with their pictures."""

RENDER: dict[str, Callable[[Path], Path]] = {
    "whole": lambda folder: render(write_run(folder / "whole" / "xray")),
    "hostile": lambda folder: render(_hostile(folder / "a<b>&c")),
    "several classes": lambda folder: render(_several(folder / "several")),
    "beaten": lambda folder: render(_beaten(folder / "beaten")),
    "unfinished": lambda folder: render(_unfinished(folder / "unfinished")),
    "damaged": lambda folder: render(_damaged(folder / "damaged")),
    "empty": lambda folder: render(_empty(folder / "empty")),
    "live": lambda folder: Renderer()(_unfinished(folder / "live"), SEARCHING),
    "side by side": lambda folder: _side_by_side(folder / "several runs"),
}
