"""The statistics of an evaluation: 652 test images, four models of five seeds, 2,000 draws by patients.

Wanted: all comparisons and intervals within 10 s on one core, all tables and curves of the winner within 15 s.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from cohorts import cohort

from bench.evaluation.comparisons import Rules, comparisons
from bench.evaluation.curves import curves
from bench.evaluation.decision_curve import decision_curve
from bench.evaluation.inputs import ScoredModel
from bench.evaluation.operating_points import operating_points
from bench.run.documents import Threshold
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions

IMAGES, DRAWS, SEEDS = 652, 2000, 5
NAMES = ("auc", "pr_auc", "accuracy", "f1", "brier")
MODELS = ("vgg16", "resnet50", "inceptionv3", "recipe")
CLASSES = {2: ["NORMAL", "PNEUMONIA"], 3: ["normal", "bacteria", "virus"]}

pytestmark = pytest.mark.parametrize("n_classes", [2, 3])


def models(n_classes):
    """Predictions of four models for the same images."""
    labels, _, patients = cohort(IMAGES, n_classes)
    return {
        name: Predictions(labels, cohort(IMAGES, n_classes, seed=seed)[1], patients, CLASSES[n_classes])
        for seed, name in enumerate(MODELS)
    }


@pytest.mark.benchmark(group="statistics")
def test_intervals_and_comparisons(benchmark, n_classes):
    scored = {
        name: ScoredModel(
            name, "control" if name == "recipe" else "finalist", dict.fromkeys(range(1, SEEDS + 1), one), 1
        )
        for name, one in models(n_classes).items()
    }

    def work():
        found = [intervals(model.predictions, Bootstrap(DRAWS), NAMES) for model in scored.values()]
        return found, comparisons(scored, Rules("vgg16", METRICS["auc"], 0.01, Bootstrap(DRAWS)))

    found, table = benchmark.pedantic(work, rounds=3)
    assert len(found) == len(MODELS)
    assert len(table) == 4


@pytest.mark.benchmark(group="statistics")
def test_tables_and_curves(benchmark, n_classes):
    predictions, bootstrap = models(n_classes), Bootstrap(DRAWS)
    winner, classes = predictions["vgg16"], CLASSES[n_classes]
    thresholds = [Threshold(label=name, value=0.7) for name in (classes[1:] if n_classes == 2 else classes)]

    def work():
        points, _ = operating_points(winner, thresholds, bootstrap)
        worth = decision_curve(winner, bootstrap)
        return points, worth, curves({name: predictions[name] for name in MODELS[:3]}, bootstrap)

    points, worth, drawn = benchmark.pedantic(work, rounds=3)
    assert len(points) == 10 * len(thresholds)
    assert worth["low"].notna().mean() > 0.9, "draws agree, and leave no band, at the last thresholds alone"
    assert len(drawn) == 3 * 2 * 101 * len(thresholds)
