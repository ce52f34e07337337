"""The diff of CONTRIBUTING.md under 'A further metric' does what it promises, applied to a copy of the package."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from contributing import environment

ROOT = Path(__file__).parents[2]
CHECK = """
import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

import bench
from bench.run.tables import EPOCHS
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.metrics import METRICS, evaluate
from bench.stats.predictions import Predictions

assert bench.__file__.startswith({copy!r})
assert "metric_matthews" in EPOCHS.names
for n_classes in (2, 3):
    rng = np.random.default_rng(n_classes)
    patients = np.arange(120) // 2
    labels = patients % n_classes
    scores = rng.dirichlet(np.ones(n_classes), 120) + 0.2 * np.eye(n_classes)[labels]
    scores /= scores.sum(axis=1, keepdims=True)
    value = matthews_corrcoef(labels, scores.argmax(axis=1))
    assert evaluate(labels, scores)["matthews"] == value

    def plain(weights):
        rows = [np.repeat(np.arange(120), draw.astype(int)) for draw in weights]
        return np.array([[matthews_corrcoef(labels[part], scores[part].argmax(axis=1))] for part in rows])

    expected = Bootstrap(300, seed=7).resample(plain, patients).ends(0)
    found = intervals(Predictions(labels, scores, patients), Bootstrap(300, seed=7), ["matthews"])["matthews"]
    assert (found.value, found.low, found.high) == pytest.approx((value, *expected), abs=1e-12)
    assert -1 <= found.low < value < found.high <= 1
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A folder with a copy of the package to which the diff was applied."""
    folder = tmp_path_factory.mktemp("further-metric")
    shutil.copytree(ROOT / "bench", folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = re.search(r"^## A further metric\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    (diff,) = re.findall(r"```diff\n(.*?)```", section[1], re.DOTALL)
    changed = subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=folder, capture_output=True)
    assert changed.returncode == 0, changed.stderr
    return folder


def run(copy, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=environment(copy),
        text=True,
        capture_output=True,
        timeout=120,
    )


def test_it_is_computed_with_an_interval_and_has_a_column(copy):
    done = run(copy, "-c", CHECK.format(copy=str(copy)))
    assert done.returncode == 0, done.stderr


def test_it_is_a_choice_of_metric(copy):
    told = run(copy, "-m", "bench", "run", "--data", "demo", "--metric", "nothing")
    assert told.returncode == 2
    assert re.search(r"known metrics: .*\bmatthews\b", told.stderr), told.stderr
