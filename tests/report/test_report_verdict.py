"""Who won is said where the comparison says it, the same in every place, and a baseline that keeps up in red."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_outline import Outline, outline
from report_run import edit_json, write_run

from bench.report import cautions, first_screen, model_card, summary
from bench.report.model_card import markdown
from bench.report.page import Page
from bench.report.read.files import read
from bench.report.side_by_side.page import render_side_by_side
from bench.report.verdict import Standing, headline, verdict
from bench.run import messages
from bench.run.folder import RunDir

RENDERED = ("comparison",)

SAME, FIRST, SECOND = "cannot be told apart", "a better", "b better"
ALONE = "VGG16 won: better on the internal test than every other backbone and every baseline"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run whose winner is VGG16, far above every baseline; for tests to copy."""
    run = write_run(tmp_path_factory.mktemp("whole") / "xray", trials=12, image_side=16)
    edit_json(run.evaluation, winner="vgg16")
    finalists = pd.read_csv(run.finalists)
    finalists["winner"] = (finalists["backbone"] == "vgg16") & finalists["representative"]
    finalists.to_csv(run.finalists, index=False)
    edit_json(run.run, winner={"backbone": "vgg16", "score": 0.97, "metric": "auc"})
    return run


@pytest.fixture
def run(whole: RunDir, tmp_path: Path) -> RunDir:
    found = RunDir(Path(shutil.copytree(whole.path, tmp_path / "xray")))
    compare(found, {})
    return found


def pair(family: str, a: str, b: str, told: str, difference: float, reach: float = 0.02) -> dict[str, Any]:
    row = {"family": family, "a": a, "b": b, "difference": difference, "verdict": told, "sentence": ""}
    known = told in (SAME, FIRST, SECOND)
    return row | {"low": difference - reach if known else None, "high": difference + reach if known else None}


def compare(run: RunDir, told: dict[tuple[str, str], str], **baselines: tuple[str, float, float]) -> None:
    """Write comparisons.csv: pairs of finalists, the first better where ``told`` has no verdict, and baselines.

    A baseline is given as its verdict, the difference and the reach of its interval; else it loses by 0.3.
    """
    rows = [
        pair("finalists", a, b, told.get((a, b), FIRST), 0.01 if told.get((a, b)) == SAME else 0.1)
        for a, b in (("vgg16", "resnet50"), ("vgg16", "inceptionv3"), ("resnet50", "inceptionv3"))
    ]
    for name in ("recipe", "small_cnn", "majority", "metadata"):
        rows.append(pair("controls", "vgg16", name, *baselines.get(name, (FIRST, 0.3, 0.02))))
    pd.DataFrame(rows).to_csv(run.comparisons, index=False)


def told(run: RunDir) -> str:
    return headline(verdict(read(run)))


@pytest.mark.parametrize(("way", "difference"), [(SAME, 0.0), (SECOND, -0.1)])
def test_another_initialisation_of_the_winner_need_not_lose(run: RunDir, way: str, difference: float) -> None:
    """It says whether the weights mattered; before, such a run had no winner, or a baseline that beat it."""
    table = pd.read_csv(run.comparisons)
    other = pair("controls", "vgg16", "initialisation", way, difference)
    pd.concat([table, pd.DataFrame([other])]).to_csv(run.comparisons, index=False)
    found = verdict(read(run))
    assert found.won and not found.beaten_by and headline(found) == ALONE
    assert summary.banners(read(run)) == [] and first_screen.strongest(found) is not None
    assert "initialisation" not in [one.name for one in found.baselines]


A, B, C = ("vgg16", "resnet50"), ("vgg16", "inceptionv3"), ("resnet50", "inceptionv3")


@pytest.mark.parametrize(
    ("verdicts", "standing", "said"),
    [
        ({}, Standing.WON, ALONE),
        (
            {A: SAME, B: SAME, C: SAME},
            Standing.TIED,
            "No clear winner: VGG16, ResNet50 and InceptionV3 cannot be told apart",
        ),
        ({A: SAME}, Standing.TIED, "No clear winner: VGG16 and ResNet50 cannot be told apart; InceptionV3 is worse"),
        (
            {A: SAME, C: SAME},
            Standing.TIED,
            "No clear winner: VGG16 and ResNet50 cannot be told apart; InceptionV3 is worse than VGG16",
        ),
        (
            {A: SAME, B: SAME},
            Standing.TIED,
            "No clear winner: ResNet50 and InceptionV3 cannot be told apart from VGG16",
        ),
        ({A: SECOND}, Standing.LOST, "VGG16 led on validation, but ResNet50 is better on the internal test"),
        (
            {A: SECOND, B: SECOND},
            Standing.LOST,
            "VGG16 led on validation, but ResNet50 and InceptionV3 are better on the internal test",
        ),
        (
            {A: "not computed", B: "not computed", C: "not computed"},
            Standing.UNCOMPARED,
            "No clear winner: VGG16, ResNet50 and InceptionV3 were not compared on the internal test",
        ),
    ],
)
def test_a_winner_is_named_only_where_the_comparison_names_it(
    run: RunDir, verdicts: dict[tuple[str, str], str], standing: Standing, said: str
) -> None:
    compare(run, verdicts)
    found = verdict(read(run))
    assert (found.standing, headline(found)) == (standing, said)
    assert found.won is (standing is Standing.WON)
    assert summary.banners(read(run)) == []


def test_it_does_not_matter_which_of_a_pair_stands_first(run: RunDir) -> None:
    table = pd.read_csv(run.comparisons)
    turned = table["family"] == "finalists"
    table.loc[turned, ["a", "b"]] = table.loc[turned, ["b", "a"]].to_numpy()
    table.loc[turned, "verdict"] = SECOND
    table.loc[turned, ["difference", "low", "high"]] *= -1
    table.to_csv(run.comparisons, index=False)
    assert told(run) == ALONE


def test_a_finalist_that_the_comparison_left_out_is_not_beaten(run: RunDir) -> None:
    table = pd.read_csv(run.comparisons)
    table[table["b"] != "inceptionv3"].to_csv(run.comparisons, index=False)
    assert told(run) == (
        "No clear winner: VGG16 and InceptionV3 were not compared on the internal test; ResNet50 is worse than VGG16"
    )
    run.comparisons.unlink()
    assert verdict(read(run)).standing is Standing.UNCOMPARED


def test_one_backbone_has_its_score(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", trials=6, backbones=("vgg16",), image_side=16)
    score = read(run).tested.models["vgg16"].metrics["auc"]
    value = f"{score.value:.3f} ({score.low:.3f}–{score.high:.3f})"
    recipe = "but it is not shown to be better than the default recipe"
    assert told(run) == f"VGG16 reached ROC AUC {value} on the internal test, {recipe}"
    content = json.loads(run.evaluation.read_text(encoding="utf-8"))
    content["models"]["vgg16"]["metrics"]["auc"] = {"value": None, "reason": "no image of A"}
    edit_json(run.evaluation, **content)
    accuracy = content["models"]["vgg16"]["metrics"]["accuracy"]["value"]
    assert told(run).startswith(f"VGG16 reached accuracy {accuracy:.3f} (")
    content["models"]["vgg16"]["metrics"] = {}
    edit_json(run.evaluation, **content)
    assert told(run) == f"VGG16 was tested, but no score could be computed, {recipe}"


def test_without_the_internal_test_validation_alone_is_spoken_of(run: RunDir) -> None:
    mean = pd.read_csv(run.finalists).query("backbone == 'vgg16'")["metric_auc"].mean()
    run.evaluation.unlink()
    assert told(run) == f"VGG16 scored best on validation, ROC AUC {mean:.3f}; the test split is sealed"
    edit_json(run.run, test={"openings": [{"time": "now"}]})
    assert told(run).endswith("; the internal test was not finished")
    finalists = pd.read_csv(run.finalists)
    finalists[finalists["backbone"] == "vgg16"].to_csv(run.finalists, index=False)
    edit_json(run.run, test={})
    untrained = "ResNet50 and InceptionV3 were not trained to the end"
    assert told(run) == f"VGG16 reached ROC AUC {mean:.3f} on validation; the test split is sealed; {untrained}"


def test_over_folds_the_score_is_the_mean_that_chose(tmp_path: Path) -> None:
    run = write_run(tmp_path / "folds", trials=12, folds=5, image_side=16)
    run.evaluation.unlink()
    won = pd.read_csv(run.finalists).query("winner").iloc[0]
    mean = f"{won['fold_mean']:.3f}"
    assert told(run).startswith(f"InceptionV3 scored best on validation, ROC AUC {mean} over 5 folds;")
    shown = {one.label: (one.value, one.detail) for one in first_screen.tiles(Page(run, read(run), {}))}
    assert shown["Validation ROC AUC"] == (mean, f"InceptionV3, mean over 5 folds ± {won['fold_sd']:.3f} (SD)")


def lose(run: RunDir, *backbones: str, baselines: tuple[str, ...] = ()) -> None:
    """Every training of these fails, so that the evaluation knows nothing of them."""
    for path, column, names in ((run.finalists, "backbone", backbones), (run.baselines, "baseline", baselines)):
        table = pd.read_csv(path).astype(object)
        table.loc[table[column].isin(names), ["state", "reason"]] = ["failed", "out of memory"]
        table.to_csv(path, index=False)
    lost = [*backbones, *baselines]
    pairs = pd.read_csv(run.comparisons)
    pairs[~pairs["a"].isin(lost) & ~pairs["b"].isin(lost)].to_csv(run.comparisons, index=False)
    models = json.loads(run.evaluation.read_text(encoding="utf-8"))["models"]
    edit_json(run.evaluation, models={name: model for name, model in models.items() if name not in lost})


def beaten(run: RunDir) -> tuple[str, str]:
    return next((one.level, one.text) for one in first_screen.lights(read(run)) if one.title == "Baselines beaten")


AMONG = "VGG16 won over those that could be tested: better on the internal test than every other backbone"


def test_what_was_not_trained_to_its_end_is_not_beaten(run: RunDir) -> None:
    assert beaten(run) == ("good", "all 4 on the internal test") and verdict(read(run)).missing == ()
    lose(run, "inceptionv3")
    assert told(run) == f"{AMONG} and every baseline among them; InceptionV3 was not trained to the end"
    lose(run, baselines=("small_cnn",))
    untrained = "InceptionV3 and a small CNN from scratch were not trained to the end"
    assert told(run) == f"{AMONG} and every baseline among them; {untrained}"
    assert beaten(run) == ("unknown", "a small CNN from scratch was not trained to the end")
    assert any(one.startswith(f"{untrained}, so that nothing says") for one in cautions.cautions(read(run)))
    card = markdown("card", model_card.card(Page(run, read(run), {})))
    assert f"| Verdict of the run | {told(run)} |" in card
    lose(run, "resnet50")
    untrained = "ResNet50, InceptionV3 and a small CNN from scratch were not trained to the end"
    assert verdict(read(run)).standing is Standing.SINGLE
    assert told(run).startswith("VGG16 reached ROC AUC ") and told(run).endswith(f"on the internal test; {untrained}")
    run.evaluation.unlink()
    assert told(run).endswith(f" on validation; the test split is sealed; {untrained}")


def test_a_backbone_without_a_finalist_is_missing_and_a_recipe_that_won_is_not(run: RunDir) -> None:
    for path, column in ((run.finalists, "backbone"), (run.comparisons, "b")):
        table = pd.read_csv(path)
        table[table[column] != "inceptionv3"].to_csv(path, index=False)
    models = json.loads(run.evaluation.read_text(encoding="utf-8"))["models"]
    edit_json(run.evaluation, models={name: model for name, model in models.items() if name != "inceptionv3"})
    assert verdict(read(run)).missing == ("inceptionv3",)
    baselines = pd.read_csv(run.baselines).astype(object)
    baselines.loc[baselines["baseline"] == "recipe", "state"] = "skipped"
    small = baselines.index[baselines["baseline"] == "small_cnn"]
    baselines.loc[small[1:], "state"] = "failed"
    baselines.to_csv(run.baselines, index=False)
    assert verdict(read(run)).missing == ("inceptionv3",), "one seed of the small CNN is enough"
    compare(run, {}, small_cnn=(SAME, 0.01, 0.02))
    table = pd.read_csv(run.comparisons)
    table[table["b"] != "inceptionv3"].to_csv(run.comparisons, index=False)
    assert told(run) == (
        "VGG16 is the best of the backbones tested, but it is not shown to be better than a small CNN from scratch; "
        "InceptionV3 was not trained to the end"
    )


LOSES = (SECOND, -0.078, 0.057)


@pytest.mark.parametrize(
    ("baselines", "said", "banner", "text"),
    [
        (
            {"small_cnn": LOSES},
            "VGG16 is the best of the backbones, but a small CNN from scratch beats it",
            "A baseline beats the chosen model",
            "a small CNN from scratch by 0.078 (0.021–0.135)",
        ),
        (
            {"recipe": LOSES},
            "VGG16 is the best of the backbones, but the default recipe beats it",
            "A baseline beats the chosen model",
            "the default recipe by 0.078",
        ),
        (
            {"metadata": LOSES},
            "VGG16 is the best of the backbones, but metadata alone beats it",
            "A baseline beats the chosen model",
            "a network may learn how the images were made",
        ),
        (
            {"metadata": (SAME, -0.01, 0.03)},
            "VGG16 is the best of the backbones, but it is not shown to be better than metadata alone",
            "Metadata alone cannot be told apart from the chosen model",
            "is −0.010 in ROC AUC on the internal test, an interval (−0.040 to +0.020) that includes 0.",
        ),
        (
            {"majority": (SAME, 0.04, 0.05)},
            "VGG16 is the best of the backbones, but it is not shown to be better than answering the majority class",
            "The chosen model cannot be told apart from guessing",
            "It is not shown to have learned anything.",
        ),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_a_baseline_that_keeps_up_is_said_in_red(
    run: RunDir, baselines: dict[str, tuple[str, float, float]], said: str, banner: str, text: str
) -> None:
    assert not [attributes for _, attributes in outline(run).tags if attributes.get("class") == "banner grave"]
    compare(run, {}, **baselines)
    assert told(run) == said
    found = {one.title: one for one in summary.banners(read(run))}
    assert found[banner].grave and text in found[banner].text
    page = outline(run)
    grave = [attributes for _, attributes in page.tags if attributes.get("class") == "banner grave"]
    assert len(grave) == len(found)
    assert banner in page.text and text in " ".join(page.text.split())


@pytest.mark.parametrize(
    "baselines",
    [
        {"small_cnn": (SAME, -0.01, 0.02)},  # ahead, but not beyond its interval
        {"recipe": (SAME, -0.01, 0.02)},
    ],
)
def test_a_trained_baseline_that_keeps_up_takes_the_win_without_red(
    run: RunDir, baselines: dict[str, tuple[str, float, float]]
) -> None:
    compare(run, {}, **baselines)
    name = {"small_cnn": "a small CNN from scratch", "recipe": "the default recipe"}[next(iter(baselines))]
    assert told(run) == f"VGG16 is the best of the backbones, but it is not shown to be better than {name}"
    assert not verdict(read(run)).won and summary.banners(read(run)) == []


def test_the_headline_is_no_surer_than_holms_correction(run: RunDir) -> None:
    compare(run, {}, metadata=(SAME, 0.03, 0.02))
    assert told(run) == "VGG16 is the best of the backbones, but it is not shown to be better than metadata alone"
    (banner,) = summary.banners(read(run))
    assert banner.grave
    assert "an interval (+0.010 to +0.050) that excludes 0, but not after Holm’s adjustment" in banner.text
    compare(run, {}, small_cnn=(SAME, -0.05, 0.02))
    (banner,) = summary.banners(read(run))
    assert banner.title == "A baseline beats the chosen model"
    assert (
        "After Holm’s adjustment for all baselines, the lead of a small CNN from scratch is not significant"
        in banner.text
    )
    compare(run, {}, small_cnn=LOSES)
    assert "Holm" not in summary.banners(read(run))[0].text


def test_guessing_that_scores_the_same_in_every_draw_is_a_tie(run: RunDir) -> None:
    compare(run, {}, majority=(SAME, 0.0, 0.0))
    table = pd.read_csv(run.comparisons)
    table.loc[table["b"] == "majority", ["low", "high"]] = None  # as draws that are all alike have no interval
    table.to_csv(run.comparisons, index=False)
    said = "it is not shown to be better than answering the majority class"
    assert told(run) == f"VGG16 is the best of the backbones, but {said}"
    (banner,) = summary.banners(read(run))
    assert banner.grave and "on the internal test, the same in every bootstrap draw. " in banner.text


@pytest.mark.usefixtures("undrawn")
def test_a_small_cnn_that_ties_is_a_caution(run: RunDir) -> None:
    said = "It is not shown that pretraining helps: the lead of VGG16 over a small CNN from scratch is"
    assert said not in outline(run).text
    compare(run, {}, small_cnn=(SAME, 0.01, 0.02))
    assert said in outline(run).text.partition("What to beware of")[2]


def test_where_nobody_won_a_baseline_is_told_all_the_same(run: RunDir) -> None:
    compare(run, {A: SAME, B: SAME, C: SAME}, small_cnn=LOSES)
    assert told(run) == (
        "No clear winner: VGG16, ResNet50 and InceptionV3 cannot be told apart, and a small CNN from scratch beats "
        "VGG16"
    )
    compare(run, {A: SAME}, small_cnn=LOSES, metadata=(SAME, -0.01, 0.03))
    said = "VGG16 and ResNet50 cannot be told apart; InceptionV3 is worse, and a small CNN from scratch beats VGG16"
    assert told(run) == f"No clear winner: {said}"
    titles = [banner.title for banner in summary.banners(read(run))]
    assert len(titles) == 2 and "Metadata alone cannot be told apart from the chosen model" in titles


class Lines:
    """Takes the place of the screen."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, text: str) -> None:
        self.said.append(text)

    def warning(self, text: str) -> None:
        self.said.append(f"ATTENTION: {text}")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("verdicts", [{}, {A: SAME, B: SAME, C: SAME}, {A: SECOND}])
def test_every_place_says_the_same(run: RunDir, verdicts: dict[tuple[str, str], str], tmp_path: Path) -> None:
    compare(run, verdicts, small_cnn=LOSES)
    said = told(run)
    page = outline(run)
    assert f"<title>xray: {said}</title>" in run.report.read_text(encoding="utf-8")
    head, _, rest = page.text.partition("Summary")
    assert said in head and "Validation chose VGG16" in " ".join(rest.split())
    assert said not in rest.partition("Model details")[0], "it stands over the page, and is not said again below"
    card = markdown("card", model_card.card(Page(run, read(run), {})))
    assert f"| Verdict of the run | {said} |" in card and "A baseline beats the chosen model" in card
    other = RunDir(Path(shutil.copytree(run.path, tmp_path / "other")))
    beside = Outline(render_side_by_side([run, other], tmp_path).read_text(encoding="utf-8")).text
    assert f"xray: {said}." in " ".join(beside.split())
    lines = Lines()
    messages.headline(lines, run)  # type: ignore[arg-type]
    assert f"{said}." in lines.said
    assert any(line.startswith("ATTENTION: A baseline beats the chosen model.") for line in lines.said)
    everything = " ".join([page.text, card, beside, *lines.said])
    assert "VGG16 won" not in everything and "VGG16, winner" not in everything


def test_the_console_gives_the_primary_contrast_in_its_own_words(run: RunDir) -> None:
    table = pd.read_csv(run.comparisons).assign(sentence="")
    primary = table["b"] == "recipe"
    table.loc[primary, ["family", "verdict", "sentence"]] = ["primary", "undecided", "Tuning is undecided."]
    lines = Lines()
    messages.headline(lines, run)  # type: ignore[arg-type]
    assert "Tuning is undecided." not in lines.said, "an older run has none"
    table.to_csv(run.comparisons, index=False)
    messages.headline(lines, run)  # type: ignore[arg-type]
    assert "Tuning is undecided." in lines.said
    assert f"{ALONE}." in lines.said


@pytest.mark.parametrize(("metric", "way"), [("auc", -0.1), ("log_loss", 0.1)])
def test_a_baseline_beats_the_chosen_model_by_the_metric_of_the_run(run: RunDir, metric: str, way: float) -> None:
    table = pd.read_csv(run.comparisons).assign(metric=metric)
    table.loc[table["b"] == "small_cnn", ["difference", "low", "high", "verdict"]] = [
        way,
        way - 0.02,
        way + 0.02,
        SECOND,
    ]
    others = (table["family"] == "controls") & (table["b"] != "small_cnn")
    table.loc[others, ["difference", "low", "high"]] = [-3 * way, -3 * way - 0.02, -3 * way + 0.02]
    table.to_csv(run.comparisons, index=False)
    found = verdict(read(run))
    assert [one.name for one in found.beaten_by] == ["small_cnn"]
    (banner,) = [one for one in summary.banners(read(run)) if one.title == "A baseline beats the chosen model"]
    words = {"auc": "ROC AUC", "log_loss": "log loss"}[metric]
    assert banner.text.startswith(f"In {words} on the internal test, VGG16 is worse than")
    assert "a small CNN from scratch by 0.100 (0.080–0.120)" in banner.text
    assert "with one seed" not in banner.text
    table["verdict"] = "not computed"
    table.to_csv(run.comparisons, index=False)
    (banner,) = [one for one in summary.banners(read(run)) if one.title == "A baseline beats the chosen model"]
    assert "for patients alone: with a single seed, another seed might reverse it" in banner.text


@pytest.mark.usefixtures("undrawn")
def test_a_winner_that_won_is_called_one(run: RunDir) -> None:
    text = " ".join(outline(run).text.split())
    assert f"{ALONE} Run created" in text and "VGG16, winner" in text
    assert "“The winner” below" not in text
    compare(run, {A: SAME})
    text = " ".join(outline(run).text.split())
    assert "VGG16, chosen" in text and "“The winner” below means this model" in text


def test_a_loss_far_beyond_a_constant_guesss_is_something_to_beware_of(run: RunDir) -> None:
    assert not any("constant guess" in one for one in cautions.cautions(read(run)))
    epochs, trials = pd.read_csv(run.epochs, dtype={"name": str}), pd.read_csv(run.trials)
    far = trials.loc[(trials["config_backbone"] == "inceptionv3") & (trials["epochs"] > 0), "trial"].iloc[0]
    first = epochs.index[(epochs["kind"] == "trial") & (epochs["name"] == str(far))][0]
    epochs.loc[first, "loss"] = 6.9  # ten times ln 2 is 6.93
    epochs.to_csv(run.epochs, index=False)
    assert not any("constant guess" in one for one in cautions.cautions(read(run)))
    epochs.loc[first, "loss"] = 3500.0
    epochs.loc[epochs.index[epochs["name"] == "vgg16"][0], "metric_log_loss"] = 13.87
    epochs.to_csv(run.epochs, index=False)
    (said,) = [one for one in cautions.cautions(read(run)) if "constant guess" in one]
    assert "InceptionV3 (5,049 times) and VGG16 (20 times)" in said
    epochs.loc[[first, epochs.index[epochs["name"] == "vgg16"][0]], "kind"] = ["baseline", "fold"]
    epochs.to_csv(run.epochs, index=False)
    assert not any("constant guess" in one for one in cautions.cautions(read(run))), "nor of folds"
