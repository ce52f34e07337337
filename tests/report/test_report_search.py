"""The section on the search: over time, against cost, at ASHA's rungs, and by several parameters at once."""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from report_outline import Outline, outline
from report_run import BACKBONE_TITLES, edit_json, write_run

from bench.report import html
from bench.report.blocks import Paragraph
from bench.report.figures import parameters as figures_parameters
from bench.report.figures import search as figures_search
from bench.report.figures import training as figures_training
from bench.report.palette import KNOWN, looks
from bench.report.read.files import read
from bench.report.tables import importance
from bench.report.tables import search as tables_search
from bench.run.folder import RunDir
from bench.stats.metrics import METRICS

RENDERED = ("search",)

AUC, LOG_LOSS = METRICS["auc"], METRICS["log_loss"]
LOOKS = looks(["vgg16", "resnet50"], BACKBONE_TITLES)


def trials(**changes: Any) -> pd.DataFrame:
    """Five trials, two at a time: 1 was stopped early at epoch 2, 3 failed, 4 is the best and the dearest."""
    table = {
        "trial": [0, 1, 2, 3, 4],
        "state": ["completed", "pruned", "completed", "failed", "completed"],
        "reason": [None, "stopped by ASHA after epoch 2", None, "the loss became nan", None],
        "config_backbone": ["vgg16", "resnet50", "vgg16", "vgg16", "resnet50"],
        "config_augmentation": ["none", "light", "none", "none", "light"],
        "config_unfreeze_depth": [0.0, 1.0, 0.0, 0.0, 2.0],
        "config_learning_rate": [1e-3, 3e-3, 5e-4, 1e-2, 1e-3],
        "config_finetune_factor": [np.nan, 0.1, np.nan, np.nan, 0.01],
        "config_dropout": [0.2] * 5,
        "config_label_smoothing": [0.0, 0.1, 0.0, 0.0, 0.0],
        "config_batch_size": [16.0, 32.0, 16.0, 16.0, 16.0],
        "metric_auc": [0.90, 0.70, 0.88, np.nan, 0.95],
        "metric_log_loss": [0.30, 0.90, 0.35, np.nan, 0.20],
        "seconds": [20.0, 5.0, 30.0, 1.0, 60.0],
        "elapsed": [20.0, 5.0, 50.0, 6.0, 66.0],
    }
    return pd.DataFrame({**table, **changes})


def epochs(**by_trial: tuple[str, list[float]]) -> pd.DataFrame:
    """Rows of epochs.csv: ``t4=("hff", [...])`` is a trial whose first epoch trains the head alone."""
    rows = [
        {"kind": "trial", "name": name[1:], "phase": {"h": "head", "f": "finetune"}[phase], "epoch": number}
        | {"metric_auc": score, "loss": 0.5}
        for name, (phases, scores) in by_trial.items()
        for number, (phase, score) in enumerate(zip(phases, scores, strict=True), start=1)
    ]
    finalist = {"kind": "finalist", "name": "vgg16", "phase": "head", "epoch": 1, "metric_auc": 0.99, "loss": 0.1}
    return pd.DataFrame([*rows, finalist])


def test_the_best_over_time_follows_the_ends_of_the_trials_not_their_numbers() -> None:
    table = tables_search.over_time(trials(), AUC)
    assert list(table["trial"]) == [1, 0, 2, 4], "the failed one has no score"
    assert list(table["best"]) == [0.70, 0.90, 0.90, 0.95]
    assert list(table["began"]) == [0, 0, 20, 6]
    assert list(tables_search.over_time(trials(), LOG_LOSS)["best"]) == [0.90, 0.30, 0.30, 0.20]


def test_a_table_without_elapsed_has_no_history_by_time() -> None:
    assert not len(tables_search.over_time(trials().assign(elapsed=np.nan), AUC))


def test_the_pareto_front_holds_what_nothing_beats_in_score_and_cost() -> None:
    assert list(tables_search.pareto(trials(), AUC)["trial"]) == [0, 4], "2 costs more than 0 and scores less"
    assert list(tables_search.pareto(trials(), LOG_LOSS)["trial"]) == [0, 4]
    equal = trials(metric_auc=[0.90, 0.70, 0.95, np.nan, 0.95])
    assert list(tables_search.pareto(equal, AUC)["trial"]) == [0, 2], "of equal scores the cheaper"
    assert not len(tables_search.pareto(trials(state=["failed"] * 5), AUC))


@pytest.mark.parametrize("most", [1, 2, 4, 5, 12, 17, 18, 30, 100])
def test_milestones_are_those_of_ray(most: int) -> None:
    schedulers = pytest.importorskip("ray.tune.schedulers.async_hyperband")
    tune = pytest.importorskip("bench.search.tune")
    bracket = schedulers._Bracket(
        min_t=min(tune.GRACE_EPOCHS, most), max_t=most + 1, reduction_factor=tune.REDUCTION_FACTOR, s=0
    )
    assert tables_search.milestones(most) == sorted(milestone for milestone, _ in bracket._rungs)


def test_rungs_count_epochs_after_the_warm_up_and_know_who_stopped_whom() -> None:
    rows = epochs(
        t0=("hhhhhh", [0.6, 0.7, 0.8, 0.9, 0.85, 0.88]),
        t1=("hhhff", [0.9, 0.95, 0.96, 0.7, 0.65]),
        t2=("hh", [0.8, 0.88]),
        t4=("hff", [0.99, 0.94, 0.95]),
    )
    late = trials(
        state=["completed", "pruned", "pruned", "failed", "completed"],
        reason=[None, "stopped by ASHA after epoch 2", "stopped by the time limit", "it broke", None],
    )
    deciding = tables_search.deciding_epochs(rows, late, AUC)
    assert list(deciding.loc[deciding["trial"] == 1, "turn"]) == [1, 2], "the warm-up is not counted"
    assert list(deciding.loc[deciding["trial"] == 0, "best"]) == [0.6, 0.7, 0.8, 0.9, 0.9, 0.9]
    summary = tables_search.rungs(tables_search.arrivals(deciding, 12), AUC).set_index("rung")
    assert list(summary.index) == [2, 6]
    assert (summary.loc[2, "arrived"], summary.loc[2, "stopped"]) == (4, 1), "the time limit is no rung"
    assert summary.loc[2, "share"] == 0.25
    assert summary.loc[2, "cutoff"] == pytest.approx(np.percentile([0.7, 0.7, 0.88, 0.95], 200 / 3))
    assert (summary.loc[6, "arrived"], summary.loc[6, "stopped"]) == (1, 0)
    unknown = tables_search.arrivals(deciding, None)
    assert set(unknown["rung"]) == {2}, "where the settings are lost, the rungs are those where trials ended"
    assert not len(tables_search.rungs(unknown.head(0), AUC))


COURSES = epochs(
    t0=("hhhhhh", [0.6, 0.7, 0.8, 0.9, 0.85, 0.88]),
    t1=("hhhff", [0.9, 0.95, 0.96, 0.7, 0.65]),
    t2=("h", [0.88]),
    t4=("hff", [0.99, 0.94, 0.95]),
)


def test_trials_are_compared_after_the_same_training() -> None:
    found = tables_search.at_common_rung(trials(), COURSES, AUC)
    assert found is not None and (found.turn, found.left_out) == (2, 0)
    by_trial = found.trials.set_index("trial")["metric_auc"]
    assert by_trial.to_dict() == {0: 0.7, 1: 0.7, 2: 0.88, 4: 0.95}, "0 had 0.7 by then; 2 had ended by itself"
    late = trials(state=["completed", "pruned", "pruned", "failed", "completed"])
    late.loc[2, "reason"] = "stopped by the time limit"
    cut = tables_search.at_common_rung(late, COURSES, AUC)
    assert cut is not None and (set(cut.trials["trial"]), cut.left_out) == ({0, 1, 4}, 1)


def test_without_a_trial_stopped_early_the_last_scores_are_compared() -> None:
    found = tables_search.at_common_rung(trials().drop(index=1), None, AUC)
    assert found is not None and (found.turn, list(found.trials["metric_auc"])) == (None, [0.9, 0.88, 0.95])


def test_without_the_epochs_of_trials_stopped_early_nothing_is_compared() -> None:
    assert tables_search.at_common_rung(trials(), None, AUC) is None
    assert tables_search.at_common_rung(trials(), COURSES[COURSES["name"] != "1"], AUC) is None


def test_importance_counts_what_early_stopping_stopped() -> None:
    """A strong policy is stopped early wherever it is tried: of the trials that went on, none shows its harm."""
    random = np.random.default_rng(0)
    strong = np.arange(40) % 2 == 1
    rates = 10 ** random.uniform(-4, -3, 40)
    early = np.where(strong, 0.5, 0.8) + random.normal(0, 0.01, 40)
    table = pd.DataFrame(
        {
            "trial": range(40),
            "state": np.where(strong & (np.arange(40) > 2), "pruned", "completed"),
            "reason": np.where(strong & (np.arange(40) > 2), "stopped by ASHA after epoch 2", ""),
            "config_backbone": "vgg16",
            "config_augmentation": np.where(strong, "strong", "none"),
            "config_unfreeze_depth": 0.0,
            "config_learning_rate": rates,
            "metric_auc": np.where(strong, early, 0.9 + 0.1 * np.log10(rates)),
        }
    )
    courses = epochs(**{f"t{number}": ("hh", [0.4, score]) for number, score in enumerate(early)})
    found = tables_search.at_common_rung(table, courses, AUC)
    assert found is not None and (found.turn, len(found.trials)) == (2, 40)
    assert importance.importance(found.trials, AUC, draws=2)["parameter"].iloc[0] == "augmentation"
    completed = table[table["state"] == "completed"]
    assert importance.importance(completed[completed["trial"] != 1], AUC, draws=2)["parameter"].tolist() == [
        "learning_rate"
    ], "what completed trials alone would have said"


def test_equal_chances_are_the_mean_best_over_all_draws() -> None:
    table = pd.DataFrame(
        {
            "trial": range(7),
            "state": ["completed"] * 6 + ["failed"],
            "config_backbone": ["vgg16"] * 4 + ["resnet50"] * 2 + ["resnet50"],
            "metric_auc": [0.9, 0.5, 0.7, 0.6, 0.8, 0.85, np.nan],
            "metric_log_loss": [0.1, 0.5, 0.3, 0.4, 0.2, 0.15, np.nan],
        }
    )
    found, fewest = tables_search.equal_chances(table, AUC)
    pairs = [max(pair) for pair in itertools.combinations([0.9, 0.5, 0.7, 0.6], 2)]
    assert fewest == 2
    assert list(found["config_backbone"]) == ["resnet50", "vgg16"], "the best of 2 of vgg16 is worse, as a rule"
    assert list(found["expected"]) == pytest.approx([0.85, np.mean(pairs)])
    assert list(found["best"]) == [0.85, 0.9]
    losses = tables_search.equal_chances(table, LOG_LOSS)[0]
    least = [min(pair) for pair in itertools.combinations([0.1, 0.5, 0.3, 0.4], 2)]
    assert list(losses["expected"]) == pytest.approx([0.15, np.mean(least)])


def test_the_best_trials_are_a_fifth_and_follow_the_metric() -> None:
    many = pd.DataFrame(
        {"trial": range(30), "state": "completed", "metric_auc": range(30), "metric_log_loss": range(30)}
    )
    assert list(tables_search.chosen(many, AUC)["trial"]) == [29, 28, 27, 26, 25, 24]
    assert list(tables_search.chosen(many, LOG_LOSS)["trial"]) == [0, 1, 2, 3, 4, 5]
    assert len(tables_search.chosen(many.head(5), AUC)) == 3


def test_summaries_say_what_share_was_stopped_and_what_one_trial_cost() -> None:
    row = tables_search.by_backbone(trials(), AUC).set_index("config_backbone").loc["resnet50"]
    assert (row["share_stopped"], row["seconds_each"], row["seconds"]) == (0.5, 32.5, 65.0)


def test_importance_is_less_sure_than_one_forest() -> None:
    random = np.random.default_rng(0)
    count = 24
    table = pd.DataFrame(
        {
            "trial": range(count),
            "state": "completed",
            "config_backbone": random.choice(["a", "b"], count),
            "config_dropout": random.uniform(0, 1, count),
            "config_learning_rate": 10 ** random.uniform(-4, -2, count),
            "metric_auc": random.uniform(0.5, 1, count),
        }
    )
    summary = importance.importance(table, AUC)
    assert summary["mean"].sum() == pytest.approx(1)
    assert summary["sd"].max() > 0.05, "noise has no certain cause"
    again = importance.importance(table, AUC)
    assert summary.equals(again), "the draws are the same in every rendering"


def texts(figure: Figure) -> str:
    """Every word of a figure."""
    figure.draw_without_rendering()
    found = [text.get_text() for ax in figure.axes for text in ax.texts]
    found += [label.get_text() for ax in figure.axes for label in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    found += [word for ax in figure.axes for word in (ax.get_xlabel(), ax.get_ylabel(), ax.get_title("left"))]
    return " | ".join(found + [text.get_text() for legend in figure.legends for text in legend.get_texts()])


def test_times_are_in_the_unit_that_suits_them() -> None:
    assert "since the search began (s)" in texts(figures_search.history_by_time(trials(), AUC, LOOKS))
    slow = trials(elapsed=[1200.0, 300.0, 3000.0, 360.0, 3960.0])
    assert "since the search began (min)" in texts(figures_search.history_by_time(slow, AUC, LOOKS))
    assert figures_search.unit_of(7200) == (3600, "h")


def test_the_cost_figure_names_the_front_and_is_logarithmic_where_costs_differ_much() -> None:
    words = texts(figures_search.cost(trials(), AUC, LOOKS))
    assert "(s, logarithmic)" in words and "stopped early" in words
    assert re.search(r"(^| )0 \| 4 \|", words), "trials 0 and 4"
    assert "Pareto front" in words
    alone = texts(figures_search.cost(trials(seconds=[20.0, 19.0, 30.0, 18.0, 1.0]), AUC, LOOKS))
    assert "Pareto front" not in alone, "one point is no line"
    alike = trials(seconds=[20.0, 19.0, 30.0, 18.0, 60.0])
    assert "logarithmic" not in texts(figures_search.cost(alike, AUC, LOOKS))


def test_the_best_lines_have_their_backbone_s_colour_and_frozen_trials_no_factor() -> None:
    figure = figures_parameters.parallel(trials(), AUC, LOOKS)
    words = texts(figure)
    assert "Dropout" not in words, "it was never varied"
    assert "none" in words and "Fine-tuning\nfactor" in words
    colours = [to_hex(line.get_color()) for line in figure.axes[0].lines if len(line.get_xdata()) > 2]  # type: ignore[arg-type]
    assert sorted(colours) == sorted(to_hex(KNOWN[name].colour) for name in ("resnet50", "vgg16", "vgg16"))


@pytest.mark.parametrize(("metric", "best"), [(AUC, 0.95), (LOG_LOSS, 0.20)])
def test_better_is_upwards_whichever_way_the_metric_points(metric: Any, best: float) -> None:
    figure = figures_parameters.parallel(trials(), metric, LOOKS)
    highest = max((text for text in figure.axes[0].texts), key=lambda text: (text.xy[0], text.xy[1]))  # type: ignore[attr-defined]
    assert highest.get_text() == f"{best:.3f}"


def test_the_map_has_a_panel_a_backbone_and_a_ring_on_its_best() -> None:
    figure = figures_parameters.rate_by_depth(trials(), AUC, LOOKS)
    titles = [ax.get_title("left") for ax in figure.axes if ax.get_title("left")]
    assert titles == ["VGG16", "ResNet50"]
    ring = figure.axes[1].lines[-1]
    assert list(ring.get_xdata()) == [1e-3]  # type: ignore[arg-type]
    assert "(lower is better)" in texts(figures_parameters.rate_by_depth(trials(), LOG_LOSS, LOOKS))
    with pytest.raises(ValueError, match="learning rate"):
        figures_parameters.rate_by_depth(trials(config_learning_rate=np.nan), AUC, LOOKS)


def test_stopped_trials_are_hollow_at_their_rung() -> None:
    rows = epochs(t0=("hh", [0.6, 0.7]), t1=("hff", [0.9, 0.6, 0.65]), t4=("ff", [0.9, 0.95]))
    arrived = tables_search.arrivals(tables_search.deciding_epochs(rows, trials(), AUC), 4)
    figure = figures_training.rungs(arrived, tables_search.rungs(arrived, AUC), AUC, LOOKS)
    assert "after epoch 2\n3 arrived\n1 stopped" in texts(figure)
    hollow = [
        part for part in figure.axes[0].collections[1:] if len(part.get_offsets()) and not len(part.get_facecolor())
    ]  # type: ignore[arg-type]
    assert sum(len(part.get_offsets()) for part in hollow) == 1  # type: ignore[arg-type]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has no other section."""
    monkeypatch.setattr(html, "_SECTIONS", [section for section in html._SECTIONS if section[0] == "search"])
    monkeypatch.setattr(html, "_MADE", [])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return write_run(tmp_path_factory.mktemp("whole") / "xray", trials=24, seeds=1, image_side=16)


@pytest.fixture
def run(whole: RunDir, tmp_path: Path) -> RunDir:
    """A run whose files a test may change."""
    return RunDir(Path(shutil.copytree(whole.path, tmp_path / "xray")))


def words_of(run: RunDir) -> str:
    return " ".join(outline(run).text.replace("\u00a0", " ").split())


@pytest.mark.usefixtures("alone", "undrawn")
def test_every_part_of_the_search_is_there(run: RunDir) -> None:
    text = words_of(run)
    for expected in (
        "How it went",
        "Optimisation history by time.",
        "Learning curves of the trials.",
        "Early-stopping rungs. ASHA stopped",
        "What was varied",
        "Learning rate and unfreeze depth together.",
        "All parameters at once.",
        "resampled 10 times",
        "What it cost",
        "In numbers",
        "Trials by backbone, augmentation and unfreeze depth, best first.",
        "Every trial, ranked",
    ):
        assert expected in text, expected
    assert not re.search(r"\bnan\b|\bNone\b", text)


@pytest.mark.usefixtures("alone", "undrawn")
@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({}, "It ended when all 24 trials of its budget had been run."),
        ({"stopped_by": "time limit"}, "It ended at its time limit, before all 24 trials of its budget had been run."),
        ({"stopped_by": "settled: so"}, "It ended before all 24 trials of its budget had been run: settled: so."),
        (
            {"settled": {"chance": 0.031, "trials": 20, "saved_trials": 4, "saved_seconds": 50.0}},
            "--until-settled would have ended it after 20 trials, when the chance that one of those left beats the "
            "best by more than its standard error on validation was 3.1 %. That would have saved 4 trials and 50 s, "
            "and lost nothing.",
        ),
        (
            {"settled": {"chance": 0.0, "trials": 20, "saved_trials": 4, "lost": 0.0035, "standard_error": 0.02}},
            "lost 0.0035 of the best ROC AUC, of which the standard error was 0.0200.",
        ),
        ({"settled": {"chance": 0.0, "trials": 24}}, "the trials that were left were running already."),
        ({"settled": {"chance": 0.21}}, "would not have ended it earlier: the chance that one of the trials left"),
        (
            {"settled": {}},
            "it waits for at least 20 trials with a score, 5 of each backbone among them, and for every",
        ),
    ],
)
def test_how_the_search_ended_and_when_it_would_have(run: RunDir, search: dict[str, Any], expected: str) -> None:
    found = json.loads(run.run.read_text())["search"]
    edit_json(run.run, search={**found, **search})
    assert expected in words_of(run)


@pytest.mark.usefixtures("alone", "undrawn")
def test_of_a_run_of_an_earlier_version_trials_csv_tells_when_it_would_have_ended(run: RunDir) -> None:
    table = pd.read_csv(run.trials)
    table.loc[table["state"] == "pruned", "reason"] = "stopped by ASHA after epoch 2"
    table.to_csv(run.trials, index=False)
    assert "--until-settled would" in words_of(run)
    table.drop(columns="metric_brier").to_csv(run.trials, index=False)  # a row that is not whole
    assert "--until-settled" not in words_of(run)


@pytest.mark.usefixtures("alone", "unsaved")
@pytest.mark.parametrize(
    ("metric", "backbones", "count"),
    [("auc", ("vgg16",), 4), ("log_loss", ("vgg16", "resnet50", "a<b>$x$", "a_net_of_our_own"), 16)],
)
def test_every_picture_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, backbones: tuple[str, ...], count: int
) -> None:
    seen: list[Figure] = []
    monkeypatch.setattr(
        "bench.report.pictures._save", lambda figure, folder, name: seen.append(figure) or "<svg></svg>"
    )
    run = write_run(tmp_path / "xray", trials=count, backbones=backbones, metric=metric, seeds=1, image_side=16)
    text = words_of(run)
    assert "could not be drawn" not in text
    assert "could not be written" not in text
    assert len(seen) >= 9


@pytest.mark.parametrize("metric", [AUC, LOG_LOSS])
def test_no_legend_is_cut_off(whole: RunDir, metric: Any) -> None:
    files = read(whole)
    assert files.trials is not None and files.epochs is not None
    known = looks(files.backbones, files.titles)
    arrived = tables_search.arrivals(tables_search.deciding_epochs(files.epochs, files.trials, metric), 10)
    for figure in (
        figures_search.history_by_time(files.trials, metric, known),
        figures_search.cost(files.trials, metric, known),
        figures_parameters.rate_by_depth(files.trials, metric, known),
        figures_parameters.parallel(files.trials, metric, known),
        figures_training.rungs(arrived, tables_search.rungs(arrived, metric), metric, known),
    ):
        figure.draw_without_rendering()
        for legend in figure.legends:
            assert legend.get_window_extent().x1 <= figure.bbox.x1 + 1


def without(column: str) -> Callable[[RunDir], None]:
    def edit(run: RunDir) -> None:
        pd.read_csv(run.trials).drop(columns=column).to_csv(run.trials, index=False)

    return edit


def without_scores(run: RunDir) -> None:
    table = pd.read_csv(run.trials)
    table.assign(state="failed", reason="it broke").to_csv(run.trials, index=False)


@pytest.mark.usefixtures("alone", "undrawn")
@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (without("elapsed"), "trials.csv does not say when trials ended"),
        (without("seconds"), "trials.csv does not say how long trials took"),
        (without_scores, "No trial has a validation ROC AUC yet"),
        (lambda run: run.epochs.unlink(), "epochs.csv is missing"),
        (lambda run: edit_json(run.run, settings={"scheduler": "none"}), "Every trial, ranked"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_shown(
    run: RunDir, edit: Callable[[RunDir], None], sentence: str
) -> None:
    edit(run)
    text = words_of(run)
    assert sentence in text
    assert "Every trial, ranked" in text
    assert "could not be written" not in text


@pytest.mark.usefixtures("alone", "undrawn")
def test_without_a_scheduler_there_are_no_rungs(run: RunDir) -> None:
    assert "Early-stopping rungs" in words_of(run)
    edit_json(run.run, settings={"scheduler": "none"})
    assert "Early-stopping rungs" not in words_of(run)
    edit_json(run.run, settings={"scheduler": "asha", "epochs": 10})
    table = pd.read_csv(run.trials)
    table[table["state"] == "completed"].to_csv(run.trials, index=False)
    assert "The scheduler stopped no trial early." in words_of(run)


@pytest.mark.usefixtures("alone", "undrawn")
def test_tables_are_whole_without_scripts_and_know_what_may_be_chosen(run: RunDir) -> None:
    page = Outline(html.render(run).read_text(encoding="utf-8"))
    chosen = [attributes for attributes in page.named("th") if "data-choose" in attributes]
    assert len(chosen) >= 5, "backbone and augmentation, and the end of a trial"
    for tag in ("input", "select", "button"):
        assert not page.named(tag), "made by the script, or not there at all"
    trials = read(run).trials
    assert trials is not None
    assert len(page.named("tr")) > 2 * len(trials)


@pytest.fixture(scope="module")
def board(whole: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page of a run, opened in a browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("there is no chromium to open the page with")
    run = RunDir(Path(shutil.copytree(whole.path, tmp_path_factory.mktemp("browser") / "xray")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "_SECTIONS", [section for section in html._SECTIONS if section[0] == "search"])
        patch.setattr(html, "_MADE", [])
        patch.setattr("bench.report.pictures.picture", lambda folder, name, draw, alt, caption: Paragraph(caption))
        html.render(run)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(run.report.as_uri())
        yield page
        browser.close()


def test_rows_that_lack_a_word_or_a_choice_are_hidden_and_counted(board: Any, whole: RunDir) -> None:
    table = board.locator("#search table.sortable").last
    bar = board.locator("#search .filter").last
    field, status = bar.get_by_label("Filter"), bar.get_by_role("status")
    known = pd.read_csv(whole.trials)
    assert status.inner_text() == "24 of 24 rows"
    field.fill("RESNET50  light")
    expected = ((known["config_backbone"] == "resnet50") & (known["config_augmentation"] == "light")).sum()
    assert 0 < expected < 24
    assert table.locator("tbody tr:visible").count() == expected
    assert status.inner_text() == f"{expected} of 24 rows"
    bar.get_by_label("Ended").select_option("failed")
    assert status.inner_text() == "0 of 24 rows"
    field.fill("")
    assert table.locator("tbody tr:visible").count() == (known["state"] == "failed").sum()
    bar.get_by_label("Ended").select_option("all")
    assert status.inner_text() == "24 of 24 rows"


def test_a_heading_sorts_by_keyboard_and_rows_without_a_value_stay_last(board: Any, whole: RunDir) -> None:
    table = board.locator("#search table.sortable").last
    heading = table.get_by_role("button", name="ROC AUC", exact=True)
    known = pd.read_csv(whole.trials)["metric_auc"].dropna()
    for turn, first in (("ascending", known.min()), ("descending", known.max())):
        heading.press("Enter")
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == turn
        cells = table.locator("tbody tr td:nth-child(4)").all_inner_texts()
        assert cells[0] == f"{first:.3f}"
        assert cells[-1] == "–", "a failed trial has no score"
