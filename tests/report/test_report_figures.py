"""What figures show of many classes and of pairs: drawn, not saved."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from report_run import write_run

from bench.report.figures import comparison as figures_comparison
from bench.report.figures import winner as figures_winner
from bench.report.palette import MUTED
from bench.report.tables import models as tables_models
from bench.run.tables import COMPARISONS
from bench.stats.metrics import METRICS


def classes(number: int) -> list[str]:
    return [f"class {place}" for place in range(number)]


def prevalences(number: int) -> Figure:
    rows = pd.DataFrame({"class": classes(number), "point": "frozen", "observed": False})
    values = ("ppv", "ppv_low", "ppv_high", "npv", "npv_low", "npv_high")
    rows = rows.assign(prevalence=0.1, **dict.fromkeys(values, 0.5))
    return figures_winner.prevalences(rows)


def decision(number: int) -> Figure:
    rows = pd.DataFrame({"class": classes(number), "threshold": 0.1})
    return figures_winner.decision(rows.assign(model=0.2, treat_all=0.1, low=0.1, high=0.3))


@pytest.mark.parametrize(("draw", "source"), [(prevalences, "prevalences.csv"), (decision, "decision_curve.csv")])
def test_classes_without_a_panel_are_counted_in_the_figure(draw: Any, source: str) -> None:
    assert draw(15).get_supxlabel() == f"The first 9 of 15 classes; {source} has all."
    assert draw(9).get_supxlabel() == ""


def looks(ax: Axes) -> list[tuple[str, str]]:
    """Colour and dashes of the lines that belong to a class."""
    lines = [line for line in ax.lines if to_hex(line.get_color()) != MUTED]
    return [(to_hex(line.get_color()), str(line._dash_pattern[1])) for line in lines]  # type: ignore[attr-defined]


def test_no_two_of_many_classes_look_alike() -> None:
    named = pd.DataFrame({"label": classes(15), "auc": 0.9, "area": 0.8, "share": 0.1})
    roc = named.merge(pd.DataFrame({"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]}), how="cross")
    by_recall = named.merge(pd.DataFrame({"recall": [0.0, 1.0], "precision": [1.0, 0.1]}), how="cross")
    bins = pd.DataFrame({"class": classes(15), "images": 4.0, "predicted": 0.2, "observed": 0.3})
    bins = bins.assign(low=0.1, high=0.5).merge(pd.DataFrame({"step": ["before", "after"]}), how="cross")
    bands = pd.DataFrame(columns=["class", "curve", "x", "low", "high"], dtype="float64")
    for figure in (figures_winner.curves(roc, by_recall, bands), figures_winner.reliability(bins)):
        for ax in figure.axes:
            assert len(looks(ax)) == len(set(looks(ax))) == 15


def test_the_first_classes_are_drawn_without_dashes() -> None:
    assert {figures_winner.line(place)["linestyle"] for place in range(8)} == {"-"}


def test_pairs_are_coloured_by_their_verdict_and_not_by_their_interval() -> None:
    verdicts = ["a better", "b better", "cannot be told apart", "not computed"]
    rows = pd.DataFrame({"family": "finalists", "a": "vgg16", "b": "resnet50", "verdict": verdicts})
    rows = COMPARISONS.frame(rows.assign(difference=0.02, low=0.001, high=0.04, reason=[None, None, None, "too few"]))
    (ax,) = figures_comparison.differences(tables_models.pairs(rows, "finalists", str), METRICS["auc"]).axes
    bars = [line.get_color() for line in ax.lines if np.allclose(line.get_xdata(), [0.001, 0.04])]
    blue = figures_comparison.TOLD_APART
    assert bars == [blue, blue, MUTED, MUTED]


def test_every_seed_is_drawn_below_its_model() -> None:
    seeds = [[0.91, 0.93, 0.95], []]
    rows = pd.DataFrame({"backbone": ["vgg16", "majority"], "title": ["VGG16", "Majority class"], "seeds_auc": seeds})
    rows = rows.assign(test_auc=[0.92, 0.5], test_auc_low=[0.9, 0.5], test_auc_high=[0.94, 0.5])
    (ax,) = figures_comparison.intervals(rows, ["auc"], {}).axes
    drawn = [list(line.get_xdata()) for line in ax.lines if line.get_markersize() == 4 and line.get_marker() == "o"]
    assert drawn == seeds


def test_where_less_is_better_the_better_one_of_a_pair_lies_left() -> None:
    rows = COMPARISONS.frame([{"family": "finalists", "a": "vgg16", "b": "resnet50", "metric": "log_loss"}])
    (ax,) = figures_comparison.differences(tables_models.pairs(rows, "finalists", str), METRICS["log_loss"]).axes
    assert ax.get_xlabel() == "Difference in test log loss (left: the first is better)"


def test_made_up_runs_hold_images_of_every_class(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        run = write_run(tmp_path / "xray", trials=12, image_side=16, classes=tuple(classes(45)))
    splits = pd.read_csv(run.splits)
    assert (splits.groupby("split")["label"].nunique() == 45).all()
