"""What the page says of more patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from report_outline import outline
from report_run import write_run

from bench.report.figures.training import by_patients
from bench.report.read.files import read
from bench.report.tables.learning_curve import growth
from bench.run.folder import RunDir
from bench.run.tables import LEARNING_CURVE
from bench.stats.metrics import METRICS

RENDERED = ("data", "comparison", "winner")

AUC, LOSS = METRICS["auc"], METRICS["log_loss"]


def rows(shares: tuple[float, ...] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)) -> pd.DataFrame:
    random = np.random.default_rng(0)
    found = []
    for share in shares:
        patients = round(400 * share)
        for draw in (1, 2, 3):
            error = 0.02 + 0.6 * patients**-0.6 + random.normal(0, 0.002)
            about = {"share": share, "draw": draw, "images": 2 * patients, "patients": patients, "state": "completed"}
            found.append(about | {"seed": draw, "metric_auc": 1 - error, "metric_log_loss": error, "epochs": 3})
    return LEARNING_CURVE.frame(found)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return write_run(tmp_path / "xray", trials=6, image_side=16)


@pytest.mark.usefixtures("undrawn")
def test_the_page_says_what_twice_as_many_patients_would_give(run: RunDir) -> None:
    assert "Would more patients help?" not in outline(run).text, "a run that has no learning curve"
    LEARNING_CURVE.write(run.path, rows().to_dict("records"))
    text = " ".join(outline(run).text.split())
    said = text.partition("Would more patients help?")[2].partition("On the internal test")[0]
    assert "on fewer of its 400 training patients" in said
    assert "expects twice as many patients to raise ROC AUC by 0.00" in said and "the line is a power law" in said
    LEARNING_CURVE.write(run.path, rows((1 / 4, 1 / 2, 1)).to_dict("records"))
    text = " ".join(outline(run).text.split())
    assert "too few sizes to fit a law to" in text and "the line is a power law" not in text


def test_scores_are_fitted_from_the_side_that_is_perfect() -> None:
    for metric in (AUC, LOSS):
        found = growth(rows(), metric, 2)
        assert found is not None and found.law is not None
        assert found.patients == 400
        gain, low, high = found.doubled(0.95)
        assert low <= gain <= high
        assert gain == pytest.approx(0.6 * (400**-0.6 - 800**-0.6), abs=0.004)
        fitted = found.expected(found.sizes["patients"])
        assert fitted.to_numpy() == pytest.approx(found.sizes["score"].to_numpy(), abs=0.006)


def test_failed_trainings_do_not_count() -> None:
    table = rows()
    table.loc[table["share"] == 1 / 8, "state"] = "failed"
    found = growth(table, AUC, 2)
    assert found is not None and len(found.sizes) == 4
    assert growth(table.assign(state="failed"), AUC, 2) is None


def test_the_figure_has_a_point_per_training_and_goes_on_to_twice_as_many() -> None:
    found = growth(rows(), AUC, 2)
    assert found is not None
    figure = by_patients(found, AUC)
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    assert len(ax.collections[0].get_offsets()) == 15
    assert max(line.get_xdata().max() for line in ax.lines) == pytest.approx(800)
    assert ax.get_xticks()[-1] == 800 and "power law" in [one.get_text() for one in figure.legends[0].get_texts()]


def test_the_figure_shows_no_law_where_none_was_fitted() -> None:
    found = growth(rows(), AUC, 2)
    assert found is not None
    figure = by_patients(replace(found, law=None), AUC)
    assert figure.axes[0].get_xticks()[-1] == found.sizes["patients"].max()
    assert [one.get_text() for one in figure.legends[0].get_texts()] == ["one training", "mean"]


def test_a_table_cut_short_is_told(run: RunDir) -> None:
    LEARNING_CURVE.write(run.path, rows().to_dict("records"))
    run.learning_curve.write_text(run.learning_curve.read_text() + "0.5,1,")
    assert "learning_curve.csv" in read(run).problems
