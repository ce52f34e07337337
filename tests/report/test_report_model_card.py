"""The model card: one content for the page and for model_card.md, harmless whatever names say."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_run import CLASSES, edit_json, write_run
from report_tested import SHA256, write_tested

from bench.report import model_card, summary
from bench.report.answers import Answers
from bench.report.blocks import Cell, Code, Column, Heading, Missing, Paragraph, Points, Table
from bench.report.cautions import cautions
from bench.report.model_card import escape, markdown
from bench.report.page import Page
from bench.report.palette import looks
from bench.report.read.files import read
from bench.run.folder import RunDir

RENDERED = ("model-card",)

HOSTILE = ("<script>alert(1)</script>", 'a"b&c', "x | `y` | *z* [l](http://e.org) $1$ ~s~ _u_")
PARTS = [
    "Model details",
    "Intended use",
    "Out-of-scope use",
    "Training and evaluation data",
    "Metrics",
    "Ethical considerations",
    "Caveats",
]


def page_of(run: RunDir) -> Page:
    files = read(run)
    return Page(run, files, looks(files.backbones, files.titles))


def card_text(run: RunDir) -> str:
    """model_card.md as the section of the page writes it, with plain spaces."""
    model_card.model_card(page_of(run))
    return (run.path / "model_card.md").read_text(encoding="utf-8").replace("\u00a0", " ")


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = write_run(tmp_path_factory.mktemp("card") / "xray", image_side=16)
    write_tested(run, CLASSES)
    return run


@pytest.fixture
def spare(tested: RunDir, tmp_path: Path) -> RunDir:
    """A copy that a test may damage."""
    return RunDir(Path(shutil.copytree(tested.path, tmp_path / "xray")))


@pytest.mark.parametrize(
    ("several", "low", "kind"),
    [(True, "low", "intervals by patients, Wilson’s where there is none"), (False, "wilson_low", "Wilson’s intervals")],
)
def test_card_and_guidelines_show_the_interval_that_leads(spare: RunDir, several: bool, low: str, kind: str) -> None:
    edit_json(spare.evaluation, several_images_a_patient=several)
    points = pd.read_csv(spare.operating_points)
    points.loc[points["measure"] == "sensitivity", ["low", "high", "wilson_low", "wilson_high"]] = [
        0.81,
        0.91,
        0.82,
        0.92,
    ]
    points.to_csv(spare.operating_points, index=False)
    lower = points.loc[points["measure"] == "sensitivity", low].iloc[0]
    bounds = f"({lower:.3f}–{lower + 0.1:.3f})"
    assert kind in card_text(spare) and bounds in card_text(spare)
    told = Answers(page_of(spare))("diagnostic")
    assert kind in told and bounds in told


def test_the_card_has_its_parts_in_order(tested: RunDir) -> None:
    blocks = model_card.card(page_of(tested))
    assert [block.text for block in blocks if isinstance(block, Heading)] == PARTS
    assert not [block for block in blocks if isinstance(block, Missing)], "nothing is missing"


def test_page_and_file_tell_the_same(tested: RunDir) -> None:
    section = model_card.model_card(page_of(tested))
    written = (tested.path / "model_card.md").read_text(encoding="utf-8")
    assert section.anchor == "model-card"
    assert written == markdown("Model card: ResNet50 of xray", section.blocks[1:])
    for block in section.blocks[1:]:
        texts = block.items if isinstance(block, Points) else [getattr(block, "text", getattr(block, "caption", ""))]
        assert all(escape(text) in written for text in texts)
        for row in getattr(block, "rows", []):
            assert all(escape(cell.text) in written for cell in row)


def test_details_come_from_the_files(tested: RunDir) -> None:
    text = card_text(tested)
    for words in (
        f"| SHA-256 of the file | {SHA256} |",
        "| Backbone | ResNet50 |",
        "Input 80 × 80 × 1.",
        "| Starting weights | ImageNet weights (Keras applications); new layers are drawn from seed 0. |",
        f"| SHA-256 of the starting weights | {'ab' * 32} |",
        "PNEUMONIA 0.431 (Youden index on validation)",
        "run xray, suite 0.1.0, rules 1",
        "23 November 2026, 06:00 UTC",
        "folder “chest_xray”; fingerprint 9f86d081884c7d65",
        "| train | 3,900 | 1,950 | 1,357 | 2,543 |",
        "of 2,608, no patient is in more than one split",
    ):
        assert words in text, words
    assert not re.search(r"\bnan\b|\bNone\b", text)
    assert "../" not in text, "where the images lay on somebody's disk does not travel with the model"


def test_metrics_have_intervals_and_say_what_they_count(tested: RunDir) -> None:
    text = card_text(tested)
    score = read(tested).tested.models["resnet50"].metrics["auc"]
    assert f"| ROC AUC | {score.value:.3f} ({score.low:.3f}–{score.high:.3f}) |" in text
    assert "| PNEUMONIA | 0.431 | sensitivity | 401 of 441 | 0.909 (0.860–0.960) |" in text, "intervals by patients"
    assert "| PNEUMONIA | 0.431 | specificity | 150 of 183 | 0.820 (0.870–0.950) |" in text, "else Wilson's"
    assert "| PNEUMONIA | 0.431 | PPV | 0 of 0 | – |" in text
    assert "0.907" not in text, "only the frozen threshold is in the card"
    assert "| sex: male (below 30 images) | 20 | – (0.950–0.990) | 0.900 |" in text


def test_the_card_says_of_subgroups_what_can_be_said(spare: RunDir) -> None:
    counted = "Subgroups of the internal test. Counted at the frozen threshold (0.430): balanced accuracy"
    assert f"{counted}. The accuracy and" in card_text(spare)
    groups = pd.read_csv(spare.path / "subgroups.csv").assign(
        balanced_accuracy=[0.9, None], sensitivity=[0.8, 0.7], specificity=None, reason=[None, "it holds no NORMAL"]
    )
    groups.to_csv(spare.path / "subgroups.csv", index=False)
    text = card_text(spare)
    assert f"{counted} and sensitivity. The accuracy and" in text
    assert "| sex: male (below 30 images) | 20 | – (0.950–0.990) | – | 0.700 | it holds no NORMAL |" in text
    edit_json(spare.evaluation, threshold=None)
    assert "Counted by the most probable class, as for all test images: balanced accuracy" in card_text(spare)


def test_validation_stands_beside_test_where_it_is_known(spare: RunDir) -> None:
    edit_json(spare.evaluation, validation=None)
    assert "| Metric | Internal test |\n" in card_text(spare)
    edit_json(spare.evaluation, validation={"metrics": {"auc": {"value": 0.981, "low": 0.97, "high": 0.99}}})
    text = card_text(spare)
    assert "| Metric | Internal test | Validation |\n" in text and "| 0.981 (0.970–0.990) |" in text


def test_caveats_are_those_of_the_summary(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=12, image_side=16, synthetic=True, weights="random")
    ledger = {"this_split": 2, "sentence": "These 40 test images have been opened 2 times, by this run alone."}
    edit_json(run.evaluation, ledger=ledger, images=40)
    text, files = card_text(run), read(run)
    caveats = text.split("## Caveats")[1].replace("\u00a0", " ")
    said = [*(banner.text for banner in summary.banners(files)), *cautions(files)]
    assert len(said) >= 6
    assert all(escape(sentence).replace("\u00a0", " ") in caveats for sentence in said)
    for words in ("random weights", "drawn by a program", "predicted without looking at the picture", "opened 2 times"):
        assert words in caveats, words
    out = text.split("## Out-of-scope use")[1].split("##")[0]
    assert "random weights" in out and "drawn by a program" in out


def test_without_a_winner_the_card_says_so(spare: RunDir) -> None:
    for path in (spare.finalists, spare.evaluation):
        path.unlink()
    edit_json(spare.run, winner=None)
    text = card_text(spare)
    assert text == (
        "# Model card: – of xray\n\n*There is no model to describe yet: the finalists have not been retrained.*\n"
    )


def test_with_a_sealed_test_split_the_card_has_no_test_scores(spare: RunDir) -> None:
    for name in ("evaluation.json", "operating_points.csv", "subgroups.csv", "predictions_test.csv"):
        (spare.path / name).unlink()
    text = card_text(spare)
    assert "The test split is still sealed" in text.split("## Caveats")[1]
    assert "still sealed" in text.split("## Metrics")[1].split("##")[0]
    assert "0.909" not in text and "Internal test |" not in text
    assert "No subgroup was looked at" in text


@pytest.mark.parametrize("file", ["run.json", "best_model.json", "audit.json", "splits.csv", "trials.csv"])
def test_a_missing_file_costs_only_what_it_says(spare: RunDir, file: str) -> None:
    (spare.path / file).unlink()
    text = card_text(spare)
    assert [f"## {part}" in text for part in PARTS] == [True] * len(PARTS)
    assert "could not be written" not in text
    assert not re.search(r"\bnan\b|\bNone\b", text)
    if file == "best_model.json":
        assert "not given: best\\_model.json" not in text and "not given: best_model.json is missing" in text


def test_a_truncated_file_is_survived(spare: RunDir) -> None:
    for path in (spare.best_model_card, spare.path / "subgroups.csv"):
        path.write_bytes(path.read_bytes()[:40])
    assert "## Caveats" in card_text(spare)


def test_many_classes_make_no_wide_tables(tmp_path: Path) -> None:
    classes = tuple(f"class-{number}" for number in range(15))
    run = write_run(tmp_path / "xray", trials=12, classes=classes, image_side=16)
    text = card_text(run)
    assert "| Split | Images | Patients |\n" in text and "15 classes in all" in text
    assert "class-11 and 3 more" in text


def test_names_are_never_markup(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=12, classes=HOSTILE, image_side=16)
    write_tested(run, HOSTILE)
    text = card_text(run)
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert 'a"b&amp;c' in text
    assert r"x \| \`y\` \| \*z\* \[l\](http://e.org) \$1\$ \~s\~ \_u\_" in text
    tables = [line for line in text.splitlines() if line.startswith("| ") and "train" in line]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 7 for line in tables if line.startswith("| train")), tables


@pytest.mark.parametrize(
    ("given_text", "written"),
    [
        ("best_model.h5", "best_model.h5"),
        ("# no heading", r"\# no heading"),
        ("- no list", r"\- no list"),
        ("1. no list", r"1\. no list"),
        ("---", r"--\-"),
        ("two\nlines", "two lines"),
        ("a\\|b", r"a\\\|b"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("", ""),
    ],
)
def test_escaping(given_text: str, written: str) -> None:
    assert escape(given_text) == written


@given(st.text())
def test_escaped_text_has_no_bare_markup(text: str) -> None:
    bare = re.sub(r"\\.", "", escape(text))
    assert not re.search(r"[<>`|*\[\]\n]", bare)
    assert not re.search(r"&(?!amp;|lt;|gt;)", bare)


def test_markdown_of_each_block() -> None:
    table = Table("T", [Column("a", "A", numeric=False), Column("b", "B")], [[Cell("x|y"), Cell("1", below="few")]])
    blocks = [Heading("H"), Paragraph("P"), Missing("M"), Points(["one", "two"]), table]
    assert markdown("C", blocks) == (
        "# C\n\n## H\n\nP\n\n*M*\n\n- one\n- two\n\nT\n\n| A | B |\n| --- | ---: |\n| x\\|y | 1 (few) |\n"
    )
    with pytest.raises(TypeError, match="got Code"):
        markdown("C", [Code("label", "text")])
