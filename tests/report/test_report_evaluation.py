"""What the page says of the evaluation: every item of it, and one sentence where a file of it is missing."""

import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from report_outline import outline
from report_run import edit_json, write_run

from bench.report import first_screen, pictures, summary
from bench.report.answers import Facts
from bench.report.blocks import Paragraph
from bench.report.figures import comparison as figures_comparison
from bench.report.figures import failures as figures_failures
from bench.report.page import Page
from bench.report.read import reading
from bench.report.read.files import Images, _gallery, _images, read
from bench.report.sections import failures as section_failures
from bench.report.sections.winner import reliability
from bench.report.tables import models as tables_models
from bench.run.console import Screen
from bench.run.documents import CalibrationRecord, EvaluationRecord, ModelCard, ModelScores, SaliencyCase
from bench.run.folder import RunDir, write_json
from bench.run.messages import headline
from bench.run.tables import Schema, flags, keys, numbers
from bench.stats.metrics import METRICS, Metric

RENDERED = ("winner", "failures", "comparison")

TWO = ("NORMAL", "PNEUMONIA")
THREE = ("NORMAL", "BACTERIA", "VIRUS")
FILES = ("comparisons.csv", "operating_points.csv", "prevalences.csv", "decision_curve.csv", "curves.csv")
FILES += ("calibration.json", "subgroups.csv", "failures.csv", "failures.npz", "robustness.csv", "saliency.json")
FILES += ("saliency.npz", "baselines.csv", "predictions_val.csv", "thumbnails.npz")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs of two and of three classes, for tests to copy."""
    folder = tmp_path_factory.mktemp("whole")
    for classes in (TWO, THREE):
        write_run(folder / str(len(classes)), trials=12, image_side=16, classes=classes)
    return {number: folder / str(number) for number in (2, 3)}


@pytest.fixture
def run(tmp_path: Path, whole: dict[int, Path]) -> RunDir:
    return copy(whole[2], tmp_path)


def copy(path: Path, folder: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(path, folder / "xray")))


def words(run: RunDir) -> str:
    return " ".join(outline(run).text.replace("\u00a0", " ").split())


def change(run: RunDir, name: str, **values: Any) -> None:
    """Set whole columns of a table."""
    table = pd.read_csv(run.path / name)
    table.assign(**values).to_csv(run.path / name, index=False)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.whole_page
def test_every_item_shows(tmp_path: Path, whole: dict[int, Path], classes: int) -> None:
    text = words(copy(whole[classes], tmp_path))
    for said in (
        "Over 3 seeds it reached a mean validation ROC AUC of",
        "on record, by all runs",
        "Default recipe",
        "Small CNN from scratch 93k parameters",
        "Majority class",
        "Metadata only",
        "mean ± SD over the seeds",
        "Interval, by patients",
        "within the spread of the seeds",
        "How faithful the search was",
        "Was tuning worth it? Trained in the same way,",
        "Spread over the seeds on the internal test",
        "p, Holm-corrected",
        "p of McNemar by patients, one seed each, Holm-corrected",
        "cannot be told apart",
        "The primary contrast Value Contrast",
        "Found with 80 % power 0.023",
        "SD between the seeds 0.0",
        "Standard error 0.0071, 9.4 degrees of freedom",
        "Every seed on the internal test. (15 rows)",
        "nearest the median, which is also the one exported",
        "The winner and the majority class, outside the adjustment of the other pairs.",
        "At other prevalences",
        "the prevalence of the test images is set off",
        "the model is better than acting on everyone or on nobody",
        "undoes the class weights of the training loss and then divides the logits by a temperature of 1.31, chosen by",
        "log loss cross-validated over the patients of validation (692 images): none 0.250 and temperature 0.200.",
        "The model was overconfident",
        "It can change an image’s most probable class",
        "The map lowered the log loss; calibrated as far as these images can tell.",
        "if perfect 0.021, up to 0.035",
        "Slope (perfect: 1)",
        "0.930 0.810–1.060",
        "ECE (15 bins)",
        "stands without an interval, because resampling biases it",
        "From validation to test Validation and test differ by no more",
        "The most confident errors The winner made",
        "Fewer than 30 images, too few to judge by: sex $ <b> (18).",
        "The costliest is",
        "Method: class activation map.",
        "explains nothing by itself",
        "How often the test split was opened These 624 test images are opened here; no other opening is on record.",
        "ab12ab12ab12ab12…",
    ):
        assert said in text, said
    assert not re.search(r"\bnan\b|\bNone\b|undefined", text)
    assert "could not be" not in text.replace("could not be used", "")


@pytest.mark.usefixtures("undrawn")
def test_numbers_are_those_of_the_files(run: RunDir) -> None:
    text = words(run)
    finalists, evaluation = pd.read_csv(run.finalists), json.loads(run.evaluation.read_text(encoding="utf-8"))
    won = finalists[finalists["backbone"] == evaluation["winner"]]["metric_auc"]
    assert f"ROC AUC of {won.mean():.3f} ± {won.std():.3f}" in text
    recipe = pd.read_csv(run.path / "baselines.csv").query("baseline == 'recipe'")["metric_auc"]
    assert f"reaches a validation ROC AUC of {recipe.mean():.3f} ± {recipe.std():.3f}" in text
    point = (
        pd.read_csv(run.path / "operating_points.csv").query("measure == 'sensitivity' and point == 'frozen'").iloc[0]
    )
    interval = f"{point['low']:.3f}–{point['high']:.3f} {point['wilson_low']:.3f}–{point['wilson_high']:.3f}"
    assert f"frozen, 0.430 Sensitivity {point['hits']} / {point['of']} {point['value']:.3f} {interval}" in text
    pair = pd.read_csv(run.path / "comparisons.csv").query("family == 'finalists'").iloc[0]
    assert f"{abs(pair['low']):.3f} to" in text.partition("Finalists in pairs")[2]


@pytest.mark.usefixtures("undrawn")
def test_several_classes_are_told_one_by_one(tmp_path: Path, whole: dict[int, Path]) -> None:
    text = words(copy(whole[3], tmp_path))
    for said in ("ROC AUC of each class against the rest", "Each class is set against all others.", "Average (macro)"):
        assert said in text, said
    assert "Operating points by class, with 95 % intervals (by patients)." in text
    assert "AUCs are the mean of each class against the rest (macro)." in text
    points = text.partition("Operating points by class, with")[2]
    assert all(re.search(rf"{label} frozen, 0\.430 0\.\d+", points) for label in THREE)


@pytest.mark.usefixtures("undrawn")
def test_where_no_patient_has_two_images_wilson_leads_unmarked(run: RunDir) -> None:
    assert "Value, 95 % interval by patients 95 % Wilson interval (ignores that images share patients)" in words(run)
    edit_json(run.evaluation, several_images_a_patient=False)
    text = words(run)
    assert "Value, 95 % Wilson interval 95 % interval by patients" in text
    assert "ignores that images" not in text and "treats as independent" not in text


@pytest.mark.whole_page
@pytest.mark.usefixtures("undrawn")
def test_what_a_reader_must_beware_of_is_in_the_summary(run: RunDir) -> None:
    calm = words(run).partition("What to beware of")[2].partition(" Test ")[0]
    content = json.loads(run.evaluation.read_text(encoding="utf-8"))
    content["ledger"] |= {"this_split": 3, "sentence": "These 624 test images have been opened 3 times, by 2 runs."}
    content["gap"] |= {"flagged": True, "sentence": "Validation runs ahead of test by 0.020."}
    content["retrained"][0] |= {"flagged": True, "reach": 0.001, "sentence": "The trial of VGG16 was luck."}
    content["refusals"] = [{"what": "intervals by patients", "reason": "the test split holds 7 patients"}]
    opening = {"time": "2026-11-02T10:00:00+00:00", "run": "earlier", "kind": "prediction", "scores": {"auc": 0.777}}
    content["ledger"]["openings"] = [opening, *content["ledger"]["openings"]]
    edit_json(run.evaluation, **{**content, "images": 60})
    days = {f"2026-11-0{day}T10:00:00+00:00": {"settings": {"budget": day}} for day in (1, 3)}
    plans = [{"time": time, "sha256": "ab" * 32, "holds": holds} for time, holds in days.items()]
    edit_json(run.run, plans=plans)
    text = words(run)
    assert "What was to be done, hashed before the search" in text and "budget: 1 → 3" in text
    assert "prediction earlier" in text and "0.777" in text
    grave = text.partition("What to beware of")[2].partition(" Test ")[0]
    for said in (
        "have been opened 3 times, by 2 runs.",
        "Validation runs ahead of test by 0.020.",
        "The trial of VGG16 was luck.",
        "Not computed: intervals by patients, because the test split holds 7 patients.",
        "The test split is tiny: 60 images.",
    ):
        assert said in grave and said not in calm, said
    assert "Test split opened3 times" in text, "a tile: its label, its value"
    assert "more than seeds explain" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_told_and_the_rest_is_there(run: RunDir, name: str) -> None:
    (run.path / name).unlink()
    text = words(run)
    why = "no baseline has been trained" if name == "baselines.csv" else "the evaluation did not write it"
    assert f"{name} is missing: {why}" in text
    assert "could not be written" not in text
    assert len(re.findall(r"\S+ is missing: ", text)) == 1


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".csv")])
def test_a_table_cut_short_is_told_and_keeps_its_whole_lines(run: RunDir, name: str) -> None:
    path = run.path / name
    path.write_bytes(path.read_bytes()[:-3])
    text = words(run)
    assert f"{name} was cut short: its last line is not whole and is left out." in text
    assert "could not be" not in text.replace("could not be used", "")


def test_what_the_evaluation_refused_is_the_reason_for_its_file(run: RunDir) -> None:
    for name in ("robustness.csv", "saliency.json", "saliency.npz"):
        (run.path / name).unlink()
    refused = [{"what": "robustness under altered images", "reason": "MemoryError: too little."}]
    edit_json(run.evaluation, refusals=[*refused, {"what": "saliency maps", "reason": "no last stage"}])
    problems = read(run).problems
    assert problems["robustness.csv"] == "robustness.csv is missing: MemoryError: too little."
    assert problems["saliency.npz"] == "saliency.npz is missing: no last stage."


@pytest.mark.usefixtures("undrawn")
@pytest.mark.whole_page
def test_an_evaluation_that_left_no_files_is_shown_all_the_same(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16, evaluated=False)
    text = words(run)
    assert text.count("the evaluation did not write it, or it was moved") == 12
    assert "This run opened it 1 time. Openings by other runs are not known" in text
    assert "could not be" not in text.replace("could not be used", "")
    for said in ("Confusion matrix", "ROC curve", "Classification report", "temperature of 1.31"):
        assert said in text, said


OF_TEST = ("On test:", "sensitivity 0.", "Compared in pairs", "Confusion matrix")
"""Words that stand on a page only with results on test."""


@pytest.mark.usefixtures("undrawn")
@pytest.mark.whole_page
def test_a_sealed_test_split_leaves_the_controls_on_validation(run: RunDir) -> None:
    """Whatever tables of test still lie there: without evaluation.json nobody vouches for them."""
    text = words(run)
    assert all(said in text for said in OF_TEST)
    (run.path / "evaluation.json").unlink()
    text = words(run)
    assert not any(said in text for said in OF_TEST)
    assert "Small CNN from scratch" in text and "Was tuning worth it?" in text
    assert "The test split is still sealed: no number on this page comes from it." in text
    assert "Where it fails evaluation.json is missing: the test split is still sealed" in text
    assert "is missing: it is written when" not in text, "said once, by evaluation.json"


@pytest.mark.usefixtures("undrawn")
def test_a_test_split_opened_in_vain_is_not_called_sealed(run: RunDir) -> None:
    (run.path / "evaluation.json").unlink()
    edit_json(run.run, test={"opened": ["2026-11-23"], "openings": [{"time": "2026-11-23", "run": "xray"}]})
    text = words(run)
    assert "sealed" not in text
    assert "The test split has been opened once, but there is no evaluation of the present models" in text
    assert "Test splitopened no result on test yet" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.whole_page
def test_an_evaluation_of_earlier_finalists_is_left_out(run: RunDir) -> None:
    """As an extension leaves it that was killed before the test split was opened again."""
    table = pd.read_csv(run.finalists)
    table["sha256"] = [f"{number:a>64x}" for number in range(len(table))]
    table.to_csv(run.finalists, index=False)
    hashes = {f"{row['backbone']}-{row['repeat']}": row["sha256"] for row in table.to_dict("records")}
    won = table.loc[table["winner"], "sha256"].item()
    edit_json(run.evaluation, files=hashes)
    write_json(run.best_model_card, {"sha256": won})
    text = words(run)
    assert all(said in text for said in OF_TEST)
    assert Facts(Page(run, read(run), {})).card == ModelCard(sha256=won)
    name = next(name for name, value in hashes.items() if value == won)
    edit_json(run.evaluation, files=hashes | {name: "f" * 64})
    write_json(run.best_model_card, {"sha256": "f" * 64})
    text = words(run)
    assert not any(said in text for said in (*OF_TEST, "sealed"))
    assert Facts(Page(run, read(run), {})).card is None, "it tells of an earlier model"
    assert "The test split was evaluated before the finalists were trained anew" in text
    assert "--resume" in text


@pytest.mark.usefixtures("undrawn")
def test_a_run_whose_stages_have_not_all_ended_says_so(run: RunDir) -> None:
    for stage in ("data", "search", "finalists", "evaluation"):
        run.finish(stage)
    assert "The run is unfinished" not in words(run)
    run.unfinish("finalists")
    assert "The run is unfinished: what follows may change when it goes on." in words(run)


@pytest.mark.usefixtures("unsaved")
@pytest.mark.parametrize("classes", [TWO, (*THREE, "$x$ <b>")])
def test_every_figure_is_drawn(tmp_path: Path, classes: tuple[str, ...]) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16, classes=classes)
    seen = outline(run)
    assert "could not be drawn" not in seen.text
    told = " ".join(str(image["alt"]) for image in seen.named("img"))
    for said in ("Differences in test ROC AUC", "PPV and NPV by", "Decision curve", "Reliability", "Each subgroup"):
        assert said in told, said
    for said in ("most confident errors", "by the level of each alteration", "Images with their class activation maps"):
        assert said in told, said
    assert not re.search(r"\bnan\b", told)


@pytest.mark.usefixtures("unsaved")
def test_values_that_are_not_there_are_dashes_with_their_reason(run: RunDir) -> None:
    nothing: dict[str, Any] = {"value": None, "low": None, "high": None, "wilson_low": None, "wilson_high": None}
    change(run, "operating_points.csv", **nothing, reason="the test split holds no image of NORMAL")
    change(run, "comparisons.csv", difference=None, low=None, high=None, p=None, p_holm=None, verdict="not computed")
    change(run, "subgroups.csv", auc=None, auc_low=None, auc_high=None, reason="one class alone")
    change(run, "robustness.csv", **{f"auc{end}": None for end in ("", "_low", "_high", "_change", "_change_low")})
    change(run, "prevalences.csv", ppv=None, npv=None, ppv_low=None, npv_low=None)
    change(run, "decision_curve.csv", low=None, high=None)
    text = words(run)
    assert "Accuracy at 0.5" in text and ": the test split holds no image of NORMAL." in text
    assert "one class alone" in text
    assert "not computed" in text
    assert "could not be drawn" not in text and "could not be written" not in text
    assert not re.search(r"\bnan\b|<NA>", text)


@pytest.mark.usefixtures("unsaved")
def test_an_empty_test_split_is_told_without_numbers(run: RunDir) -> None:
    evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
    for model in evaluation["models"].values():
        empty = {"value": None, "low": None, "high": None, "reason": "the test split holds no image"}
        model |= {"metrics": dict.fromkeys(METRICS, empty), "confusion": [[0, 0], [0, 0]], "per_class": {}}
        model |= {"averages": {}, "repeats": {"n": 3, "mean": {}, "sd": {}}}
    edit_json(run.evaluation, **(evaluation | {"images": 0, "patients": 0, "sentences": []}))
    for name in (name for name in FILES if name.endswith(".csv") and name != "baselines.csv"):
        pd.read_csv(run.path / name).head(0).to_csv(run.path / name, index=False)
    text = words(run)
    for said in (
        "(0 images) neither ROC AUC nor accuracy could be computed.",
        "The test split holds no image: nothing on this page says how the winner does",
        "and Brier score of every model were not computed: the test split holds no image.",
        "operating_points.csv holds no operating point.",
        "net benefit needs images of a class and images of others.",
        "so there is no error to show.",
    ):
        assert said in text, said
    assert "could not be drawn" not in text and "could not be written" not in text
    assert not re.search(r"\bnan\b|\bNone\b(?! of)", text)


@pytest.mark.usefixtures("undrawn")
def test_the_page_says_by_which_rule_subgroups_were_counted(tmp_path: Path, whole: dict[int, Path]) -> None:
    three = words(copy(whole[3], tmp_path / "three"))
    assert "Counted by the most probable class, as for all test images: accuracy and balanced accuracy." in three
    run = copy(whole[2], tmp_path)
    text = words(run)
    counted = "accuracy, balanced accuracy, sensitivity and specificity"
    assert f"by patients. Counted at the frozen threshold (0.430): {counted}. The accuracy" in text
    assert "accuracy of all test images count the most probable class instead, so do not compare them" in text
    edit_json(run.evaluation, threshold=None)
    assert f"Counted by the most probable class, as for all test images: {counted}." in words(run)


def test_in_the_figure_groups_and_all_images_are_counted_alike(run: RunDir) -> None:
    points = pd.read_csv(run.path / "operating_points.csv")
    frozen = points[points["point"] == "frozen"].set_index("measure")["value"]
    page = Page(run, read(run), {})
    assert section_failures._overall(page, "accuracy") == pytest.approx(frozen["accuracy"])
    assert section_failures._overall(page, "sensitivity") == pytest.approx(frozen["sensitivity"])
    model = json.loads(run.evaluation.read_text(encoding="utf-8"))["models"]
    auc = model[page.files.tested.winner]["metrics"]["auc"]["value"]
    assert section_failures._overall(page, "auc") == pytest.approx(auc)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("listed", "where", "table"),
    [
        (35, "them all", "all."),
        (20, "the 20 most confident", "the first 20, and predictions_test.csv has every image."),
    ],
)
def test_errors_that_are_not_listed_are_counted(
    tmp_path: Path, whole: dict[int, Path], monkeypatch: pytest.MonkeyPatch, listed: int, where: str, table: str
) -> None:
    monkeypatch.setattr(section_failures, "MOST_ROWS", 10)
    run = copy(whole[3], tmp_path)
    errors = pd.read_csv(run.path / "failures.csv")
    errors.head(listed).to_csv(run.path / "failures.csv", index=False)
    kinds, total = errors.groupby(["label", "predicted"]).size(), len(errors)
    (label, predicted), most = kinds.idxmax(), kinds.max()
    text = words(run)
    assert f"The winner made {total} errors on the test images, {most} of {label} taken for {predicted}," in text
    assert f"; failures.csv lists {where}." in text
    assert f"These are the first 10 of {total}; failures.csv lists {table}" in text


@pytest.mark.usefixtures("undrawn")
def test_identical_images_are_shown_once_with_their_number(run: RunDir) -> None:
    told = "Identical images are shown once, with the number of errors on them (×)."
    assert told not in words(run), "files of earlier runs do not know"
    change(run, "failures.csv", copies=1)
    assert told not in words(run)
    change(run, "failures.csv", copies=3)
    content = json.loads((run.path / "saliency.json").read_text(encoding="utf-8"))
    content["items"][0]["copies"] = 4
    edit_json(run.path / "saliency.json", items=content["items"])
    text = words(run)
    assert told in text
    assert "Identical images are shown once, with their number (×)." in text


def test_a_picture_of_an_error_carries_its_number() -> None:
    row = {"rank": 1, "label": "A", "predicted": "B", "confidence": 0.9}
    rows = pd.DataFrame([row | {"copies": 3}, row | {"copies": 1}])
    figure = figures_failures.errors(np.zeros((2, 4, 4, 1), np.uint8), rows)
    titles = [ax.get_title(loc="left").splitlines()[0] for ax in figure.axes]
    assert titles == ["1. A ×3", "1. A"]
    maps = Images(np.zeros((2, 4, 4, 1), np.uint8), maps=np.zeros((2, 4, 4)), randomised=np.zeros((2, 4, 4)))
    items = [SaliencyCase(label="A", predicted="B", probability=0.9, correct=False, copies=n) for n in (4, 1)]
    titles = [ax.get_title(loc="left").splitlines()[0] for ax in figures_failures.saliency(maps, items).axes[::3]]
    assert titles == ["A ×4", "A"]


@pytest.mark.usefixtures("undrawn")
def test_without_a_confusion_matrix_the_listed_errors_are_counted(run: RunDir) -> None:
    content = json.loads(run.evaluation.read_text(encoding="utf-8"))
    content["models"][content["winner"]]["confusion"] = [[1]]
    edit_json(run.evaluation, **content)
    listed = len(pd.read_csv(run.path / "failures.csv"))
    assert f"The winner made {listed} errors on the test images" in words(run)


@pytest.mark.usefixtures("undrawn")
def test_bands_are_called_what_they_are(run: RunDir) -> None:
    text = words(run)
    assert "Shaded: the 95 % interval at each place of the horizontal axis" in text
    assert "of the bootstrap draws" not in text


@pytest.mark.usefixtures("unsaved")
def test_the_figure_of_differences_says_what_is_corrected(run: RunDir) -> None:
    caption = words(run).partition("Differences in test ROC AUC with their")[2][:600]
    assert figures_comparison.HOW_TO_READ in caption and "The intervals are not adjusted" in caption


def drawn_pairs(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """Names of the pairs that the figure draws, and its caption."""
    found: list[str] = []

    def differences(pairs: pd.DataFrame, metric: Metric) -> Figure:
        found.extend(pairs["pair"])
        return Figure()

    def picture(folder: Path, name: str, draw: Any, alt: str, caption: str) -> Paragraph:
        if name == "comparisons":
            draw()
        return Paragraph(caption)

    monkeypatch.setattr(figures_comparison, "differences", differences)
    monkeypatch.setattr(pictures, "picture", picture)
    return found, words(run).partition("Differences in test ROC AUC with their")[2].partition("The primary contrast")[0]


@pytest.mark.usefixtures("undrawn")
def test_a_run_from_before_seeds_were_compared_reads_as_it_did(run: RunDir) -> None:
    table = pd.read_csv(run.comparisons)
    old = ["family", "a", "b", "score_a", "score_b", "difference", "low", "high", "p", "p_holm", "only_a_right"]
    old += ["only_b_right", "mcnemar_p", "mcnemar_p_holm", "verdict", "reason", "sentence"]
    family = table["family"].where(table["family"] == "finalists", "controls")
    verdicts = table["verdict"].replace("undecided", "cannot be told apart")
    table.assign(family=family, verdict=verdicts)[old].to_csv(run.comparisons, index=False)
    content = json.loads(run.evaluation.read_text(encoding="utf-8"))
    for model in content["models"].values():
        model["repeats"] = {key: model["repeats"][key] for key in ("n", "mean", "sd")}
    run.evaluation.write_text(json.dumps(content))
    text = words(run)
    assert "p of McNemar (ignores that images share patients), Holm-corrected" in text
    assert "with a paired bootstrap over patients; the exact McNemar test compares" in text
    assert "the seed with the best validation score" in text
    for new in ("The primary contrast", "Every seed on", "against its default recipe:", "small circles"):
        assert new not in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("verdict", ["a better", "b better", "equivalent", "undecided", "not computed"])
@pytest.mark.whole_page
def test_the_primary_contrast_is_told_alike_in_every_place(run: RunDir, verdict: str) -> None:
    table = pd.read_csv(run.comparisons)
    primary = table["family"] == "primary"
    sign = -1 if verdict == "b better" else 1
    table.loc[primary, ["difference", "low", "high", "verdict"]] = [
        sign * 0.02,
        *sorted((sign * 0.01, sign * 0.03)),
        verdict,
    ]
    table.loc[primary, "sentence"] = "What tuning was worth."
    table.to_csv(run.comparisons, index=False)
    found = read(run)
    told = {"a better": "better", "b better": "worse", "not computed": ""}.get(verdict, verdict)
    assert "Primary contrast, fixed beforehand. What tuning was worth." in words(run)
    title = found.title(found.chosen)
    headline = summary.headline(found)
    assert title in headline
    assert ("not shown to be better than the default recipe" in headline) is (told in ("equivalent", "undecided"))
    assert ("the default recipe beats" in headline) is (told == "worse")
    tiles = {tile.label: (tile.value, tile.detail) for tile in first_screen.tiles(Page(run, found, {}))}
    value, detail = tiles["Strongest baseline"]
    assert value == {"better": "beaten", "": "not compared"}.get(told, "not beaten")
    assert detail == f"the default recipe is 0.020 (0.010–0.030) {'better' if sign < 0 else 'worse'} in ROC AUC"


@pytest.mark.usefixtures("undrawn")
def test_the_figure_of_pairs_draws_every_baseline_but_the_majority_class(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, caption = drawn_pairs(run, monkeypatch)
    against = [pair.partition(" − ")[2] for pair in found]
    assert {"Default recipe", "Small CNN from scratch", "Metadata only"} <= set(against)
    assert "Majority class" not in against and "Majority class is not drawn" in caption
    table = pd.read_csv(run.path / "comparisons.csv")
    table = table[table["b"] != "majority"]
    table.loc[table["b"] == "small_cnn", ["low", "high"]] = None
    table.to_csv(run.path / "comparisons.csv", index=False)
    found, caption = drawn_pairs(run, monkeypatch)
    assert "Small CNN from scratch" not in " ".join(found) and "for want of an interval: 1 pair." in caption
    assert "Majority class is not drawn" not in caption, "it was not compared"


@pytest.mark.whole_page
@pytest.mark.usefixtures("undrawn")
def test_the_page_says_which_brier_score_it_shows(run: RunDir) -> None:
    summed = "Brier score: mean (p − y)² summed over the classes; 0 best, 2 worst"
    binary = "mean (p − y)², p the probability of PNEUMONIA; 0 best, 1 worst"
    assert words(run).count(summed) == 4, "an evaluation that does not say: tested, from validation, calibration, card"
    edit_json(run.evaluation, definitions={"brier": binary})
    assert words(run).count(f"Brier score: {binary}.") == 4


@pytest.mark.usefixtures("undrawn")
def test_a_trial_beside_what_seeds_explain(run: RunDir) -> None:
    content = json.loads(run.evaluation.read_text(encoding="utf-8"))
    first, second, third = content["retrained"]
    first |= {"trial_score": 0.8, "mean": 0.82, "reach": 0.2}
    second |= {"trial_score": 0.8, "mean": 0.85, "reach": 0.04}
    third |= {"trial_score": 0.97, "mean": 0.96, "reach": 0.02}
    edit_json(run.evaluation, **content)
    text = words(run).partition("Finalists on validation")[2].partition("Their configurations")[0]
    assert text.count("too few seeds to tell") == text.count("more than seeds explain") == 1
    assert text.count("within the spread of the seeds") == 2, "once in the caption"


@pytest.mark.usefixtures("undrawn")
def test_reasons_are_told_once_for_all_that_they_concern(run: RunDir) -> None:
    points = pd.read_csv(run.path / "operating_points.csv").astype({"reason": object})
    points.loc[points["measure"].isin(["ppv", "npv"]), "reason"] = "no interval by patients: fewer than 10 patients"
    points.loc[0, "reason"] = "the split holds no image of PNEUMONIA"
    points.to_csv(run.path / "operating_points.csv", index=False)
    text = words(run)
    assert "PPV and NPV at 0.5 and frozen, 0.430: no interval by patients: fewer than 10 patients." in text
    assert "Sensitivity at 0.5: the split holds no image of PNEUMONIA." in text
    assert text.count("fewer than 10 patients") == 1


@pytest.mark.usefixtures("undrawn")
def test_a_sample_of_altered_images_is_called_one(run: RunDir) -> None:
    assert "The test images were altered" in words(run)
    assert "were computed in" not in words(run), "an earlier version's table does not say"
    change(run, "robustness.csv", images=200, precision="bfloat16", reason="no intervals: 7 patients, fewer than 10")
    text = words(run)
    told = "200 of the 624 test images, whole patients drawn with the classes in their proportions, were altered"
    assert told in text
    assert "All of these scores, those of the unaltered images too, were computed in bfloat16." in text
    assert text.count("No intervals: 7 patients, fewer than 10.") == 1


@pytest.mark.usefixtures("undrawn")
def test_a_run_without_errors_says_so(run: RunDir) -> None:
    pd.read_csv(run.path / "failures.csv").head(0).to_csv(run.path / "failures.csv", index=False)
    assert "The winner made no error on the test images." in words(run)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "content"),
    [("calibration.json", {"splits": [], "temperature": "hot"}), ("saliency.json", {"items": [1, None], "method": 3})],
)
def test_files_that_hold_something_else_cost_their_part_alone(run: RunDir, name: str, content: Any) -> None:
    (run.path / name).write_text(json.dumps(content), encoding="utf-8")
    text = words(run)
    assert "This section could not be written" not in text
    assert "calibration.json holds no" in text or "do not fit their images" in text


def test_images_that_do_not_fit_are_left_out(run: RunDir) -> None:
    np.savez(run.path / "failures.npz", images=np.zeros((2, 4, 4, 1), np.uint8), ranks=np.arange(3))
    np.savez(run.path / "saliency.npz", images=np.zeros((2, 4, 4)), maps=np.zeros(2), randomised=np.zeros(2))
    problems = read(run).problems
    assert "as many ranks as images (2), but holds 3" in problems["failures.npz"]
    assert "but got float64 of shape (2, 4, 4)" in problems["saliency.npz"]


PICTURES = np.zeros((3, 8, 8, 1), np.uint8)
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "no list": ("failures.npz", {"ranks": np.array(3)}),
    "texts for numbers": ("failures.npz", {"ranks": np.array(["a", "b", "c"])}),
    "no numbers": ("failures.npz", {"ranks": np.full(3, np.nan)}),
    "lists for numbers": ("failures.npz", {"ranks": np.zeros((3, 2), int)}),
    "texts for pixels": ("failures.npz", {"images": np.full((3, 8, 8, 1), "x"), "ranks": np.arange(3)}),
    "parts for pixels": ("failures.npz", {"images": np.zeros((3, 8, 8, 1), "u1,f4"), "ranks": np.arange(3)}),
    "lists for names": ("thumbnails.npz", {"splits": np.full(3, "val"), "names": np.full((3, 2), "a")}),
    "maps of another size": ("saliency.npz", {"maps": np.zeros((3, 2)), "randomised": np.zeros((3, 8, 8))}),
    "no list of policies": ("augmentation.npz", {"images": np.zeros((3, 2, 8, 8, 1), "u1"), "policies": np.array("a")}),
    "texts for views": ("augmentation.npz", {"images": np.full((1, 2, 8, 8, 1), "x"), "policies": np.array(["a"])}),
}


@pytest.mark.parametrize("what", WRONG)
def test_arrays_that_are_no_images_are_a_sentence(tmp_path: Path, what: str) -> None:
    name, given = WRONG[what]
    np.savez(tmp_path / name, **({"images": PICTURES} | given))
    problems: dict[str, str] = {}
    if name == "augmentation.npz":
        assert _gallery(RunDir(tmp_path), problems) is None
    else:
        more = [key for key in given if key != "images"]
        assert _images(RunDir(tmp_path), name, more, problems, "") is None
    assert problems[name].startswith(f"{name} could not be read and is left out: ")


@pytest.mark.parametrize("shape", [(10**7, 1000, 1000, 1), (10**30, 8, 8, 1), (-1, 8, 8, 1)])
def test_no_memory_is_taken_for_what_a_header_claims(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    np.savez(tmp_path / "failures.npz", ranks=np.arange(3))
    with zipfile.ZipFile(tmp_path / "failures.npz", "a") as archive:
        archive.writestr("images.npy", header.getvalue())
    problems: dict[str, str] = {}
    assert _images(RunDir(tmp_path), "failures.npz", ["ranks"], problems, "") is None
    assert "images.npy claims the shape (" in problems["failures.npz"]


def test_names_of_classes_stay_text(tmp_path: Path) -> None:
    schema = Schema("points.csv", (*keys("class"), *numbers("value"), *flags("small", "shown")))
    (tmp_path / "points.csv").write_text("class,value,small\n0,1.5,True\nNA,inf,\n1,x,fal", encoding="utf-8")
    problems: dict[str, str] = {}
    table = reading.table(schema, tmp_path, problems, "")
    assert table is not None and list(table["class"]) == ["0", "NA"], "the last line is not whole"
    assert list(table["small"]) == [True, False] and not table["shown"].any()
    assert table["value"].iloc[0] == 1.5 and pd.isna(table["value"].iloc[1])
    assert "cut short" in problems["points.csv"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("temperature", "said"),
    [(1.31, "was overconfident"), (0.8, "was underconfident"), (1.02, "hardly changes the probabilities")],
)
def test_a_run_of_an_earlier_version_has_a_temperature_alone(run: RunDir, temperature: float, said: str) -> None:
    edit_json(run.path / "calibration.json", temperature=temperature, calibration=None, candidates=[], sentence="")
    text = words(run).partition("The calibration map divides the logits")[2].partition("Failures")[0]
    assert said in text.partition("ECE")[0]
    assert "It changes no image’s most probable class." in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.whole_page
def test_probabilities_that_the_map_made_worse_are_nowhere_called_calibrated(run: RunDir) -> None:
    edit_json(run.path / "calibration.json", verdict="worse", sentence="The map made the log loss worse.")
    text = words(run)
    assert "The map made the log loss worse." in text
    assert not re.search(r"\bcalibrated\b", text, re.IGNORECASE)
    assert "calibrated" not in (run.path / "model_card.md").read_text(encoding="utf-8").lower()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.whole_page
def test_the_frozen_threshold_has_its_interval_its_scale_and_what_validation_lets_expect(run: RunDir) -> None:
    text = words(run)
    assert "On the scale of the calibration map 0.430 is 0.456, which selects the same images." in text
    assert "(95 % of bootstrap draws): 0.312 to 0.589 for PNEUMONIA." in text
    assert "Sensitivity and specificity on the internal test agree with what validation leads one to expect." in text
    assert "may not carry over" not in text
    card = (run.path / "model_card.md").read_text(encoding="utf-8")
    assert "other patients: 0.312 to 0.589; after the calibration map: 0.456" in card


@pytest.mark.usefixtures("undrawn")
@pytest.mark.whole_page
def test_what_leaves_the_interval_of_validation_is_flagged_in_section_summary_card_and_console(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    points = pd.read_csv(run.path / "operating_points.csv")
    flagged = (points["point"] == "frozen") & (points["measure"] == "specificity")
    points.loc[flagged, ["value", "expected_low", "expected_high", "flagged"]] = [0.712, 0.801, 0.902, True]
    points.to_csv(run.path / "operating_points.csv", index=False)
    told = "Specificity for PNEUMONIA on the internal test is 0.712, outside 0.801–0.902, the range expected from"
    text = words(run)
    assert text.count(told) == 2, "summary and the card's caveats"
    assert "Specificity for PNEUMONIA on the internal test is outside the range expected from validation" in text
    headline(Screen(), run)
    said = capsys.readouterr().out
    assert told in " ".join(said.split())
    assert "Threshold for PNEUMONIA: 0.430 (Youden index on validation, other patients: 0.312 to 0.589)." in said


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_an_earlier_version_expects_nothing_of_its_threshold(run: RunDir) -> None:
    points = pd.read_csv(run.path / "operating_points.csv")
    new = ["validation", "expected_low", "expected_high", "flagged"]
    points.drop(columns=new).to_csv(run.path / "operating_points.csv", index=False)
    edit_json(run.evaluation, threshold={"class": "PNEUMONIA", "value": 0.43, "rule": "Youden index on validation"})
    text = words(run)
    assert "expected from validation" not in text and "would have given another" not in text
    assert "0.430 for PNEUMONIA (Youden index on validation)" in text


@pytest.mark.usefixtures("undrawn")
def test_whether_tuning_was_worth_it_is_left_to_the_internal_test(run: RunDir) -> None:
    told = words(run).partition("Was tuning worth it? Trained in the same way,")[2]
    told = told.partition("On the internal test The internal test")[0]
    assert "only the internal test can decide. On the internal test. " in told
    assert "gained" not in told and "lost" not in told


def test_bins_without_images_are_no_points() -> None:
    one = {"from": 0, "to": 0.1, "images": 4, "predicted": 0.05, "observed": 0.25, "low": 0.0, "high": 0.6}
    empty = {"from": 0.1, "to": 0.2, "images": 0, "predicted": None, "observed": None, "low": None, "high": None}
    content = {"splits": {"test": {"after": {"reliability": {"B": [one, empty]}}}}}
    bins = reliability(CalibrationRecord.model_validate(content))
    assert list(bins["step"]) == ["after"] and bins["observed"].iloc[0] == 0.25


def test_baselines_stand_below_the_finalists_in_their_order() -> None:
    kinds = {"metadata": "baseline", "recipe": "baseline", "vgg16": "finalist", "resnet50": "finalist"}
    evaluation = EvaluationRecord(models={name: ModelScores(kind=kind) for name, kind in kinds.items()})
    table = tables_models.on_test(evaluation, ["resnet50", "vgg16"])
    assert list(table["backbone"]) == ["resnet50", "vgg16", "recipe", "metadata"]
    table = tables_models.on_test(evaluation, ["resnet50"])
    assert list(table["backbone"])[1] == "vgg16", "a finalist that finalists.csv lost is no baseline"


@pytest.mark.usefixtures("undrawn")
def test_a_winner_that_is_the_default_recipe_was_not_worth_tuning(run: RunDir) -> None:
    controls = pd.read_csv(run.path / "baselines.csv")
    skipped = controls["baseline"] == "recipe"
    controls.loc[skipped, [name for name in controls if name.startswith("metric_")]] = None
    controls["state"] = controls["state"].mask(skipped, "skipped")
    controls.to_csv(run.path / "baselines.csv", index=False)
    pairs = pd.read_csv(run.path / "comparisons.csv")
    pairs[pairs["b"] != "recipe"].to_csv(run.path / "comparisons.csv", index=False)
    assert "The search found none better." in words(run)


@pytest.mark.usefixtures("undrawn")
def test_a_control_that_does_as_well_as_the_winner_is_a_caution(run: RunDir) -> None:
    said = "A baseline that should lose did not"
    assert said not in words(run)
    content = json.loads(run.evaluation.read_text(encoding="utf-8"))
    won = content["models"][content["winner"]]["metrics"]["auc"]["value"]
    content["models"][content["winner"]]["repeats"]["mean"]["auc"] = won
    content["models"]["small_cnn"]["repeats"]["mean"]["auc"] = won
    edit_json(run.evaluation, **content)
    text = words(run)
    assert said in text.partition("What to beware of")[2].partition(" Test ")[0]
    assert f"Small CNN from scratch ({won:.3f}) did at least as well" in text


@pytest.mark.usefixtures("undrawn")
def test_where_nobody_is_known_patients_are_not_counted(run: RunDir) -> None:
    edit_json(run.evaluation, several_images_a_patient=False)
    text = words(run)
    assert "On the internal test (624 images of " in text
    assert "No patient has two images, so both intervals apply." in text
    edit_json(run.audit, patients={"assumed": True, "rule": "each image is its own", "wide": 9, "narrow": 9})
    text = words(run)
    assert "On the internal test (624 images) the winner" in text
    assert "No patient has two images" not in text
    assert "Whether patients have several images is not known; if none has, both intervals apply." in text


@pytest.mark.usefixtures("undrawn")
def test_values_without_draws_are_not_said_to_have_intervals(run: RunDir) -> None:
    edit_json(run.evaluation, bootstrap={"draws": 0, "level": 0.95, "unit": "patient"}, patients=8)
    text = words(run)
    assert "The internal test: values without intervals, for which there are too few patients. Each model is" in text
    assert "0 draws" not in text
