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
from sklearn.metrics import roc_auc_score

from bench.report import palette
from bench.report.figures import comparison as figures_comparison
from bench.report.figures import failures as figures_failures
from bench.report.figures import search as figures_search
from bench.report.figures import timeline as figures_timeline
from bench.report.figures import winner as figures_winner
from bench.report.page import Page
from bench.report.palette import MUTED
from bench.report.read.files import read
from bench.report.sections import winner as section_winner
from bench.report.tables import models as tables_models
from bench.report.templating import paragraphs
from bench.run.folder import RunDir
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


@pytest.mark.parametrize("low", [0.9, None])
def test_the_forest_speaks_of_intervals_where_it_has_any(low: float | None) -> None:
    rows = pd.DataFrame({"title": ["VGG16"], "test_auc": [0.92], "test_auc_low": [low], "test_auc_high": [low]})
    told = {"rows": rows, "name": "test_auc", "metric": METRICS["auc"], "level": "95 %", "bounded": low is not None}
    said = paragraphs("forest.txt.j2", **told, several=False, left_out=[], titles={})
    assert ["interval" in one for one in said] == 2 * [low is not None]
    assert "internal test with 95" in said[1] or "internal test; baselines" in said[1]


def test_every_seed_is_drawn_below_its_model() -> None:
    seeds = [[0.91, 0.93, 0.95], []]
    rows = pd.DataFrame({"backbone": ["vgg16", "majority"], "title": ["VGG16", "Majority class"], "seeds_auc": seeds})
    rows = rows.assign(test_auc=[0.92, 0.5], test_auc_low=[0.9, 0.5], test_auc_high=[0.94, 0.5])
    (ax,) = figures_comparison.forest(rows, METRICS["auc"], {}, "vgg16").axes
    drawn = [list(line.get_xdata()) for line in ax.lines if line.get_markersize() == 4 and line.get_marker() == "o"]
    assert drawn == seeds
    means = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "|" and line.get_markersize() == 10]
    assert means == [[pytest.approx(0.93)]], "one model has seeds"


def with_predictions(run: RunDir) -> pd.DataFrame:
    """The finalists that stand for the others; their predictions are now in the ``run``, with those of another seed."""
    rows, finalists = pd.read_csv(run.predictions_test), pd.read_csv(run.finalists)
    trained = finalists[finalists["representative"]]
    parts = [rows.assign(model=row.backbone, repeat=row.repeat, split="test") for row in trained.itertuples()]
    columns = [name for name in rows if name.startswith("prob_")]
    other = rows.assign(model=trained["backbone"].iloc[0], repeat=99, split="test", **dict.fromkeys(columns, 0.5))
    pd.concat([*parts, other]).to_csv(run.predictions_models, index=False)
    return trained


def frozen_point(run: RunDir, label: str) -> tuple[float, float]:
    """False and true positive rate at the frozen threshold of a class."""
    rows = pd.read_csv(run.path / "operating_points.csv")
    values = rows[(rows["point"] == "frozen") & (rows["class"] == label)].set_index("measure")["value"]
    return 1 - values["specificity"], values["sensitivity"]


def drawn_point(ax: Axes) -> tuple[float, float]:
    point = next(line for line in ax.lines if str(line.get_label()).startswith("frozen"))
    return point.get_xdata()[0], point.get_ydata()[0]  # type: ignore[index,return-value]


def test_all_finalists_are_drawn_with_the_frozen_point(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=8, image_side=16)
    trained = with_predictions(run)
    files = read(run)
    it = section_winner._curves(Page(run, files, palette.looks(files.backbones, files.titles)))
    assert it["roc"] is None, "the chosen one is drawn once"
    it, area = it["of_all"], files.chosen_scores["auc"][0]
    assert (
        set(it["finalists"]["backbone"]) == set(trained["backbone"]) and it["finalists"]["backbone"][0] == files.chosen
    )
    assert it["finalists"]["auc"].to_numpy() == pytest.approx(area, abs=0.02), "the seed that stands for the others"
    left, _, right = it["drawing"].draw().axes
    assert drawn_point(left) == pytest.approx(frozen_point(run, files.classes[1]))
    curves = [line for line in right.lines if line.get_marker() not in ("None", None, "")]
    assert len(curves) == len(trained) and all(len(line.get_xdata()) == 10 for line in curves)


@pytest.mark.parametrize(("models", "below"), [(3, False), (8, True)])
def test_a_long_legend_stands_below_its_panel_and_hides_no_curve(models: int, below: bool) -> None:
    names = [*palette.KNOWN, "my_net"][:models]
    ends = pd.DataFrame([{"backbone": name, "at": at} for name in names for at in (0.0, 1.0)])
    roc = ends.assign(label="A", fpr=ends["at"], tpr=ends["at"], auc=0.5)
    by_recall = ends.assign(recall=ends["at"], precision=ends["at"], area=0.5, share=0.5)
    bins = ends.assign(predicted=ends["at"], observed=ends["at"], images=9)
    bands = pd.DataFrame({"class": ["A"], "curve": ["roc"], "x": [0.5], "low": [0.4], "high": [0.6]})
    known = palette.looks(names, dict.fromkeys(names, "A network’s name"))
    points = [("frozen 0.5", 0.1, 0.9), ("threshold 0.500", 0.2, 0.9)]
    of_two = figures_winner.finalists(roc, by_recall, bins, bands, points, known)
    by_class = figures_winner.finalists_by_class(roc, bins, bands, {"A": points}, known)
    for figure, panels in ((of_two, of_two.axes[:2]), (by_class, by_class.axes[:1])):
        figure.draw_without_rendering()
        for ax in panels:
            legend = ax.get_legend().get_window_extent()
            assert bool(legend.y1 < ax.get_window_extent().y0) is below
            assert legend.y0 >= 0 and len(ax.get_legend().get_texts()) > models


def test_all_finalists_are_drawn_by_class_where_there_are_several(tmp_path: Path) -> None:
    run = write_run(tmp_path / "several", trials=8, classes=("A", "B", "C"), image_side=16)
    trained = with_predictions(run)
    files = read(run)
    page = Page(run, files, palette.looks(files.backbones, files.titles))
    it = section_winner._curves(page)
    assert set(it["roc"]["label"]) == set(files.classes), "precision by recall stays"
    of_all = it["of_all"]
    assert len(of_all["finalists"]) == len(trained) * 3
    predictions = pd.read_csv(run.predictions_test)
    *panels, calibration = of_all["drawing"].draw().axes[:4]
    for ax, label in zip(panels, files.classes, strict=True):
        assert ax.get_title("left") == f"ROC, {label}" and drawn_point(ax) == pytest.approx(frozen_point(run, label))
        area = roc_auc_score(predictions["label"] == label, predictions[f"prob_{label}"])
        words = [text.get_text() for text in ax.get_legend().get_texts()]
        assert sum(f"{area:.3f}" in word for word in words) == len(trained)
    probabilities = predictions[[f"prob_{label}" for label in files.classes]].to_numpy()
    right = np.array(files.classes)[probabilities.argmax(axis=1)] == predictions["label"]
    points = [line for line in calibration.lines if line.get_marker() not in ("None", None, "")]
    assert len(points) == len(trained)
    assert np.mean(points[0].get_ydata()) == pytest.approx(right.mean(), abs=0.01), (
        "bins hold a tenth of the images each"
    )


def test_predictive_values_are_drawn_at_two_hundred_prevalences() -> None:
    sensitivity, specificity = 0.9, 0.8
    rows = pd.DataFrame({"prevalence": [0.01, 0.05, 0.2, 0.5, 0.744]})
    share = rows["prevalence"]
    for end, (hits, spared) in {"": (0.9, 0.8), "_low": (0.85, 0.75), "_high": (0.95, 0.88)}.items():
        rows[f"ppv{end}"] = share * hits / (share * hits + (1 - share) * (1 - spared))
        rows[f"npv{end}"] = (1 - share) * spared / ((1 - share) * spared + share * (1 - hits))
    for name in ("ppv", "npv"):
        curve = figures_winner.dense(rows, name)
        assert len(curve) == 200 and (curve["prevalence"].iloc[0], curve["prevalence"].iloc[-1]) == pytest.approx(
            (0.01, 0.744)
        )
        for end in ("", "_low", "_high"):
            between = np.interp(np.log(share), np.log(curve["prevalence"]), curve[f"{name}{end}"])
            assert between == pytest.approx(rows[f"{name}{end}"], abs=1e-4)
    some = figures_winner.dense(rows, "ppv").iloc[100]
    here = some["prevalence"]
    expected = here * sensitivity / (here * sensitivity + (1 - here) * (1 - specificity))
    assert some["ppv"] == pytest.approx(expected), "Bayes' rule between the rows"


def test_numbers_on_the_pareto_front_do_not_overprint() -> None:
    figure, (ax,) = palette.new_figure(5.2, 3.5)
    seconds, score = [10.0, 10.1, 10.2, 20.0, 40.0], [0.9, 0.9001, 0.9002, 0.95, 0.99]
    ax.scatter(seconds, score)
    front = pd.DataFrame({"trial": range(5), "seconds": seconds, "score": score})
    figures_search._name(ax, front, front[["seconds", "score"]], -1)
    figure.draw_without_rendering()
    assert [text.get_text() for text in ax.texts] == ["0, 1, 2", "3", "4"]
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


@pytest.mark.parametrize("side", [-1, 1])
def test_a_number_on_the_front_does_not_stand_beside_the_point_of_another_trial(side: int) -> None:
    figure, (ax,) = palette.new_figure(5.2, 3.7)
    every = pd.DataFrame({"seconds": [1.0, 1.0, 9.0], "score": [0.99, 0.99 + side * 0.002, 0.99 + side * 0.06]})
    ax.scatter(every["seconds"], every["score"])
    figures_search._name(ax, every.head(1).assign(trial=12), every, side)
    figure.draw_without_rendering()
    (label,) = ax.texts
    box, (own, other) = label.get_window_extent(), ax.transData.transform(every.to_numpy())[:2]
    middle = (box.y0 + box.y1) / 2
    assert abs(middle - own[1]) < abs(middle - other[1]), "nearer to its own"


def test_a_narrow_screen_stacks_the_panels_of_a_figure_and_leaves_nothing_out() -> None:
    figure, axes = palette.panels(5, 3, 9.6, (0.5, 3.0))
    for ax in axes:
        ax.set(xlabel="x", ylabel="y", title="a panel")
    figure.draw_without_rendering()
    parts = palette.crops(figure)
    assert len(parts) == 5 and all(0 < size < 1 for part in parts for size in part[2:])
    for ax, (left, top, width, height) in zip(axes, parts, strict=True):
        box = ax.get_tightbbox()
        assert box is not None
        assert left * figure.bbox.width <= box.x0 and box.x1 <= (left + width) * figure.bbox.width
        assert (1 - top - height) * figure.bbox.height <= box.y0 and box.y1 <= (1 - top) * figure.bbox.height
    palette.kept_together(figure, 1)
    assert palette.crops(figure) == []


def test_no_measure_has_the_colour_of_a_backbone() -> None:
    taken = {look.colour.lower() for look in palette.KNOWN.values()}
    measures = {figures_winner.MODEL, figures_comparison.TOLD_APART, *figures_winner.CURVES}
    measures |= {colour for _, colour in figures_winner.VALUES.values()}
    measures |= {colour for _, colour, _ in figures_failures.SCORES.values()} | set(figures_timeline.COLOURS.values())
    assert not taken & {colour.lower() for colour in measures}


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


@pytest.mark.parametrize("trials", [1, 3])
def test_trials_of_one_learning_rate_are_drawn_without_a_word(tmp_path: Path, trials: int) -> None:
    """As in a run of one trial, or over a space of one rate; Matplotlib warned on the terminal."""
    write_run(tmp_path)
    files = read(RunDir(tmp_path))
    table = files.trials[files.trials["state"] == "completed"].head(trials).assign(config_learning_rate=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures_search.learning_rate(table, METRICS["auc"], palette.looks(files.backbones, files.titles))
        figure.canvas.draw()
    (ax,) = figure.axes
    assert ax.get_xlim() == pytest.approx((5e-4, 2e-3)) and len(ax.collections) >= 1
