"""Runs side by side: what differs is said loudly, damaged runs cost no more than themselves, nothing is executed."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_outline import Outline
from report_run import edit_json, write_run

from bench import cli
from bench.errors import ConfigError
from bench.report import pictures
from bench.report.figures import comparison as figures_comparison
from bench.report.palette import KNOWN
from bench.report.read.files import read
from bench.report.side_by_side import sides
from bench.report.side_by_side.page import CHOOSING, MOST_RUNS, render_side_by_side
from bench.report.side_by_side.sides import Side
from bench.report.verdict import headline, verdict
from bench.run.folder import RunDir
from bench.stats.metrics import METRICS


def side(run: RunDir) -> Side:
    return Side(run.name, run, read(run))


def page_of(*runs: RunDir) -> Outline:
    return Outline(render_side_by_side(runs, runs[0].path.parent).read_text(encoding="utf-8"))


def words_of(*runs: RunDir) -> str:
    return " ".join(page_of(*runs).text.split())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs on the same splits, of 12 and of 18 trials; to be copied, not to be changed."""
    folder = tmp_path_factory.mktemp("written")
    first = write_run(folder / "xray", trials=12, image_side=16)
    second = write_run(folder / "longer", trials=18, image_side=16)
    shutil.copy(first.splits, second.splits)
    table = pd.read_csv(first.predictions_test)
    noise = np.random.default_rng(0).normal(0, 0.02, len(table))
    table["prob_PNEUMONIA"] = (table["prob_PNEUMONIA"] + noise).clip(0, 1)
    table.assign(prob_NORMAL=1 - table["prob_PNEUMONIA"]).to_csv(second.predictions_test, index=False)
    return folder


@pytest.fixture
def pair(written: Path, tmp_path: Path) -> tuple[RunDir, RunDir]:
    """A copy of the two runs."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return RunDir(tmp_path / "xray"), RunDir(tmp_path / "longer")


def sealed(run: RunDir) -> None:
    """Take back all that came after the search."""
    for path in (run.finalists, run.evaluation, run.predictions_test, run.best_model):
        path.unlink()
    edit_json(run.run, winner=None, search=None)


@pytest.mark.usefixtures("undrawn")
def test_two_runs_on_the_same_data_compare(pair: tuple[RunDir, RunDir]) -> None:
    text = words_of(*pair)
    assert "Validation ROC AUC, mean ± SD over the seeds" in text
    assert "xray and longer side by side" in text
    assert "These runs share their data, splits and rules: their scores compare." in text
    assert "do not compare" not in text and CHOOSING in text
    for label, files in zip(("xray", "longer"), map(read, pair), strict=True):
        mean, deviation = files.over_seeds().mean, files.over_seeds().sd
        test = "test ROC AUC {} ({}–{})".format(*(f"{value:.3f}" for value in files.chosen_scores["auc"]))
        said = f"{files.title(files.chosen)}: validation {mean:.3f} ± {deviation:.3f}, {test}."
        assert f"{label}: {headline(verdict(files))}. {said}" in text, "the numbers of each run's own report"
    assert "xray and longer cannot be told apart on the same 624 test images: ROC AUC differs by" in text
    assert not re.search(r"\bnan\b|\bNone\b|undefined", text)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rules": 2}, "the runs differ in rules version."),
        ({"data": {"fingerprint": "0000"}}, "the runs differ in fingerprint of the data."),
        ({"rules": None}, "not every run says its rules version."),
    ],
)
def test_what_makes_scores_incomparable_is_said_at_the_top(
    pair: tuple[RunDir, RunDir], change: dict[str, object], said: str
) -> None:
    about = pair[1].read_run()
    edit_json(
        pair[1].run,
        **{key: {**about[key], **value} if isinstance(value, dict) else value for key, value in change.items()},
    )
    text = words_of(*pair)
    top = text[: text.index("Summary ", text.index("Summary ") + 1)]
    assert said in top and ("do not compare" in top or "Whether" in top)
    assert "xray and longer cannot be compared on the internal test:" in text and "on the same 624" not in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("split", "other"), [("test", "Validation"), ("val", "Test")])
def test_a_split_that_differs_spoils_its_own_scores_alone(pair: tuple[RunDir, RunDir], split: str, other: str) -> None:
    splits = pd.read_csv(pair[1].splits)
    splits.drop(index=splits.index[splits["split"] == split][:1]).to_csv(pair[1].splits, index=False)
    text = words_of(*pair)
    assert f"differ in {'test' if split == 'test' else 'validation'} images." in text
    assert f"{other} scores do not compare" not in text


@pytest.mark.usefixtures("undrawn")
def test_another_order_of_the_same_splits_is_no_difference(pair: tuple[RunDir, RunDir]) -> None:
    pd.read_csv(pair[1].splits).iloc[::-1].to_csv(pair[1].splits, index=False)
    assert all(fact.same for fact in sides.facts([side(run) for run in pair]))


def test_another_reference_standard_is_a_difference(pair: tuple[RunDir, RunDir]) -> None:
    splits = pd.read_csv(pair[1].splits)
    first = splits.index[splits["split"] == "test"][0]
    splits.loc[first, "label"] = "PNEUMONIA" if splits.loc[first, "label"] == "NORMAL" else "NORMAL"
    splits.to_csv(pair[1].splits, index=False)
    differing = [fact.title for fact in sides.facts([side(run) for run in pair]) if not fact.same]
    assert differing == ["Test images"]


@pytest.mark.usefixtures("undrawn")
def test_settings_that_differ_come_first_and_names_and_folders_are_none(pair: tuple[RunDir, RunDir]) -> None:
    settings = pair[1].read_run()["settings"]
    edit_json(pair[1].run, settings={**settings, "scheduler": "none", "name": "longer", "output": "/elsewhere"})
    found = [side(run) for run in pair]
    differing = sides.settings_table(found, differing=True).set_index("setting")
    assert set(differing.index) == {"budget", "scheduler"}
    assert list(differing.loc["scheduler"]) == ["asha", "none"] and list(differing.loc["budget"]) == ["12", "18"]
    same = set(sides.settings_table(found, differing=False)["setting"])
    assert {"epochs", "seed", "weights used", "package tensorflow", "machine: cpus", "space: dropout"} <= same
    assert not {"name", "output", "cache"} & (same | set(differing.index))


def test_the_winners_and_their_intervals_are_those_of_the_files(pair: tuple[RunDir, RunDir]) -> None:
    found = sides.winners([side(run) for run in pair], METRICS["auc"])
    for position, run in enumerate(pair):
        evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
        told = evaluation["models"][evaluation["winner"]]["metrics"]["auc"]
        row = found.iloc[position]
        assert (row["test_auc"], row["test_auc_low"], row["test_auc_high"]) == (
            told["value"],
            told["low"],
            told["high"],
        )
        finalists = pd.read_csv(run.finalists)
        scores = finalists.loc[finalists["backbone"] == evaluation["winner"], "metric_auc"]
        assert row["mean"] == pytest.approx(scores.mean()) and row["sd"] == pytest.approx(scores.std())
        assert row["seeds"] == 3


def test_by_backbone_the_best_trial_and_the_finalist(pair: tuple[RunDir, RunDir]) -> None:
    found = sides.backbones([side(run) for run in pair], METRICS["auc"]).set_index(["backbone", "label"])
    trials = pd.read_csv(pair[1].trials)
    for name in ("vgg16", "resnet50", "inceptionv3"):
        tried = trials[trials["config_backbone"] == name]
        row = found.loc[(name, "longer")]
        assert row["trials"] == len(tried) and row["best"] == pytest.approx(tried["metric_auc"].max())
        assert "±" in row["finalist"]
    assert found["won"].groupby("label").sum().tolist() == [1, 1]


def test_a_backbone_that_one_run_left_out_has_no_row_of_it(tmp_path: Path) -> None:
    first = write_run(tmp_path / "all", trials=12, image_side=16)
    second = write_run(tmp_path / "two", trials=12, backbones=("vgg16", "my_net"), image_side=16)
    found = sides.backbones([side(first), side(second)], METRICS["auc"])
    rows = set(zip(found["backbone"], found["label"], strict=True))
    assert ("my_net", "two") in rows and ("my_net", "all") not in rows and ("resnet50", "two") not in rows


def test_the_search_history_is_the_running_best(pair: tuple[RunDir, RunDir]) -> None:
    one = side(pair[0])
    trials = pd.read_csv(pair[0].trials)
    by_trial = sides.best_so_far(one, METRICS["auc"], by_time=False)
    by_time = sides.best_so_far(one, METRICS["auc"], by_time=True)
    assert by_trial["best"].is_monotonic_increasing and by_trial["best"].iloc[-1] == trials["metric_auc"].max()
    assert by_trial["x"].max() <= len(trials) and by_trial["x"].min() == 1
    assert by_time["x"].max() <= trials["elapsed"].max() and by_time["best"].iloc[-1] == trials["metric_auc"].max()
    row = sides.searches([one], METRICS["auc"]).iloc[0]
    best = trials["metric_auc"].idxmax()
    assert row["after"] == best + 1 and row["reached"] == pytest.approx(trials.loc[best, "elapsed"])


def test_the_best_score_is_that_of_the_report_although_its_time_is_not_known(pair: tuple[RunDir, RunDir]) -> None:
    trials = pd.read_csv(pair[0].trials)
    best = trials["metric_auc"].idxmax()
    trials.loc[best, "elapsed"] = None
    trials.to_csv(pair[0].trials, index=False)
    row = sides.searches([side(pair[0])], METRICS["auc"]).iloc[0]
    assert row["best"] == trials["metric_auc"].max() and row["after"] == best + 1
    assert pd.isna(row["reached"])


def test_time_is_added_up(pair: tuple[RunDir, RunDir]) -> None:
    edit_json(pair[1].run, seconds={"search": 3600.0, "finalists": 60.0})
    table = sides.time([side(run) for run in pair]).set_index("what")
    assert table.loc["together", "run1"].replace("\u00a0", " ") == "1 h 01 min"
    assert table.loc["trials per hour of search", "run1"] == "18"
    assert table.loc["evaluation on test", "run1"] == "–"


@pytest.mark.usefixtures("undrawn")
def test_searches_by_different_metrics_are_shown_by_one(pair: tuple[RunDir, RunDir]) -> None:
    settings = pair[1].read_run()["settings"]
    edit_json(pair[1].run, settings={**settings, "metric": "log_loss"})
    text = words_of(*pair)
    assert "did not rank by the same metric: xray by ROC AUC and longer by Log loss. They are shown by ROC AUC" in text


@pytest.mark.usefixtures("undrawn")
def test_unfinished_and_damaged_runs_are_shown_as_far_as_they_go(pair: tuple[RunDir, RunDir], tmp_path: Path) -> None:
    first, second = pair
    sealed(second)
    damaged = RunDir(shutil.copytree(first.path, tmp_path / "damaged"))
    damaged.evaluation.write_text('{"models": ', encoding="utf-8")
    damaged.trials.write_bytes(b"\xff\x00")
    damaged.splits.unlink()
    empty = RunDir(tmp_path / "empty")
    empty.path.mkdir()
    empty.run.write_text('{"settings": [], "seconds": 3, "data": null}', encoding="utf-8")
    text = words_of(first, second, damaged, empty)
    assert "longer: unfinished: no winner yet." in text
    assert "evaluation.json could not be read" in text and "trials.csv could not be read" in text
    assert "splits.csv is missing" in text and "empty: unfinished: no trial has ended." in text
    assert "could not be written" not in text
    assert "xray: No clear winner: " in text, "the whole one is whole"
    assert "xray and longer cannot be compared on the internal test: longer has no results on it." in text


@pytest.mark.usefixtures("undrawn")
def test_of_runs_that_are_all_sealed_what_they_chose_is_shown(pair: tuple[RunDir, RunDir]) -> None:
    for run in pair:
        for path in (run.evaluation, run.predictions_test):
            path.unlink()
    text = words_of(*pair)
    assert "could not be written" not in text
    for run in map(read, pair):
        assert f"{run.over_seeds().mean:.3f} ± {run.over_seeds().sd:.3f}" in text


@pytest.mark.usefixtures("undrawn")
def test_a_run_json_that_cannot_be_read_costs_no_other_run(pair: tuple[RunDir, RunDir]) -> None:
    pair[1].run.write_text("{", encoding="utf-8")
    text = words_of(*pair)
    assert "run.json could not be read" in text and "is not known: not every run says its" in text
    assert "xray: No clear winner: " in text


@pytest.mark.usefixtures("undrawn")
def test_warnings_of_each_run_name_the_run(pair: tuple[RunDir, RunDir]) -> None:
    edit_json(pair[1].run, weights={"kind": "random"})
    text = words_of(*pair)
    assert "longer: This is not transfer learning." in text and "xray: This is not" not in text


@pytest.mark.usefixtures("undrawn")
def test_hostile_names_are_harmless(tmp_path: Path) -> None:
    classes = ("<script>alert(1)</script>", 'a"b&c')
    first = write_run(tmp_path / "a<b>&c", trials=12, classes=classes, image_side=16)
    second = write_run(tmp_path / "$x$ {{ 7*7 }}", trials=12, classes=classes, image_side=16)
    edit_json(first.run, command="run --name '<img src=x onerror=alert(1)>'")
    seen = page_of(first, second)
    assert len(seen.named("script")) == 1 and len(seen.named("style")) == 1
    assert not any(key.startswith("on") for _, attributes in seen.tags for key in attributes)
    for words in (*classes, "a<b>&c", "$x$ {{ 7*7 }}", "<img src=x onerror=alert(1)>"):
        assert words in seen.text, words
    assert [path.name for path in tmp_path.glob("*.html")] == ["side-by-side-a_b_c-_x_7_7_.html"]


def test_the_page_is_whole_and_accessible_and_asks_nothing_of_a_network(
    pair: tuple[RunDir, RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "PAPER_DPI", 20)
    path = render_side_by_side(pair, pair[0].path.parent)
    seen = Outline(path.read_text(encoding="utf-8"))
    assert path == pair[0].path.parent / "side-by-side-xray-longer.html"
    assert len(seen.named("img")) == 3 and all(len(image["alt"] or "") > 30 for image in seen.named("img"))
    levels = [int(tag[1]) for tag, _ in seen.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert len(seen.named("caption")) == len(seen.named("table")) >= 7
    anchors = {attributes.get("id") for _, attributes in seen.tags}
    assert {(link["href"] or "")[1:] for link in seen.named("a")} <= anchors
    addresses = [attributes.get(key) for _, attributes in seen.tags for key in ("src", "href", "srcset", "action")]
    assert all(address.startswith(("data:", "#")) for address in addresses if address)
    policies = [meta["content"] for meta in seen.named("meta") if meta.get("http-equiv")]
    assert len(policies) == 1 and (policies[0] or "").startswith("default-src 'none'"), "and no refresh"
    kept = {figure.name for figure in (path.parent / "side-by-side-xray-longer-figures").iterdir()}
    assert kept == {f"{name}.{kind}" for name in ("winners", "history", "history_by_time") for kind in ("png", "svg")}


def test_no_run_looks_like_a_backbone_or_like_another_run() -> None:
    found = [figures_comparison.run_look(position) for position in range(MOST_RUNS)]
    assert len(set(found)) == MOST_RUNS
    assert not {look.colour for look, _ in found} & {look.colour for look in KNOWN.values()}


@pytest.mark.usefixtures("undrawn")
def test_runs_of_the_same_name_are_told_apart_by_their_folders(pair: tuple[RunDir, RunDir], tmp_path: Path) -> None:
    other = RunDir(tmp_path / "elsewhere" / "xray")
    shutil.copytree(pair[0].path, other.path)
    text = words_of(pair[0], other)
    assert str(pair[0].path) in text and str(other.path) in text


@pytest.mark.usefixtures("undrawn")
def test_long_names_make_a_file_that_can_be_written(pair: tuple[RunDir, RunDir], tmp_path: Path) -> None:
    runs = [RunDir(shutil.copytree(pair[0].path, tmp_path / f"{'x' * 90}{number}")) for number in range(4)]
    first = render_side_by_side(runs[:3], tmp_path)
    second = render_side_by_side([*runs[:2], runs[3]], tmp_path)
    assert first.exists() and second.exists() and first != second and len(first.name) < 200


def test_impossible_requests_are_refused_in_one_sentence(pair: tuple[RunDir, RunDir]) -> None:
    with pytest.raises(ConfigError, match="'xray' was given twice"):
        render_side_by_side([pair[0], RunDir(pair[0].path.parent / "longer" / ".." / "xray")], pair[0].path.parent)
    with pytest.raises(ConfigError, match="2 to 8 runs go side by side, but 9 were given"):
        render_side_by_side([RunDir(pair[0].path.parent / str(number)) for number in range(9)], pair[0].path.parent)


@pytest.mark.usefixtures("undrawn")
def test_the_command_takes_several_names(pair: tuple[RunDir, RunDir], capsys: pytest.CaptureFixture[str]) -> None:
    folder = pair[0].path.parent
    assert cli.main(["report", "xray", "longer", "--output", str(folder)]) == 0
    assert f"Side by side: {folder / 'side-by-side-xray-longer.html'}" in capsys.readouterr().out
    assert cli.main(["report", "xray", "longre", "--output", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "There is no run 'longre'" in error and "did you mean longer?" in error and error.count("\n") == 1
    assert cli.main(["report", "xray", "xray", "--output", str(folder)]) == 2
    assert "given twice" in capsys.readouterr().err
