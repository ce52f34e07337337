"""CLAIM 2024 and TRIPOD+AI: what the files answer is filled in with their numbers, the rest is left to the author."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from report_run import BACKBONES, CLASSES, edit_json, write_run
from report_tested import SHA256, write_tested

from bench.report import html
from bench.report.answers import Answers, Facts
from bench.report.blocks import Cell, Table
from bench.report.page import Page
from bench.report.palette import looks
from bench.report.read.files import read
from bench.report.sections import guidelines as section_guidelines
from bench.report.sections.guidelines import CLAIM, OPEN, SECTIONS, TRIPOD, Guideline, guidelines
from bench.run.folder import RunDir, write_json

RENDERED = ("guidelines",)

HOSTILE = ("<script>alert(1)</script>", 'a"b&c')


def page_of(run: RunDir) -> Page:
    files = read(run)
    return Page(run, files, looks(files.backbones, files.titles))


def rows_of(run: RunDir, guideline: Guideline) -> dict[str, list[Cell]]:
    tables = [block for block in guidelines(page_of(run)).blocks if isinstance(block, Table)]
    table = next(table for table in tables if table.caption.startswith(guideline.name))
    return {row[0].text: list(row) for row in table.rows}


def answers(run: RunDir, guideline: Guideline) -> dict[str, str]:
    found = {number: row[2].text for number, row in rows_of(run, guideline).items()}
    return {number: text.replace("\u00a0", " ") for number, text in found.items() if text}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = write_run(tmp_path_factory.mktemp("guidelines") / "xray", image_side=16)
    write_tested(run, CLASSES)
    return run


def copy_of(run: RunDir, folder: Path) -> RunDir:
    """A copy that a test may damage."""
    return RunDir(Path(shutil.copytree(run.path, folder / run.name)))


def test_the_items_are_those_of_the_guidelines_in_order() -> None:
    assert [item.number for item in CLAIM.items] == [str(number) for number in range(1, 45)]
    numbers = [item.number for item in TRIPOD.items]
    assert len(numbers) == len(set(numbers)) == 52
    assert numbers == sorted(numbers, key=lambda text: (int(re.sub(r"\D", "", text)), text)), "1 to 27, a before b"
    assert {int(re.sub(r"\D", "", text)) for text in numbers} == set(range(1, 28))


def test_what_no_run_can_know_has_no_answer() -> None:
    unknown = {item.number for item in TRIPOD.items if not item.answer}
    assert {"3a", "3b", "3c", "14", "17", "18a", "18b", "18c", "18d", "19"} <= unknown
    assert {"5", "11", "14", "18", "33", "34", "44"} <= {item.number for item in CLAIM.items if not item.answer}


@pytest.mark.whole_page
def test_every_answer_leads_to_a_section_that_there_is() -> None:
    anchors = {"summary", *(anchor for anchor, *_ in (*html._SECTIONS, *html._MADE))}
    for guideline in (CLAIM, TRIPOD):
        for item in guideline.items:
            assert bool(item.section) == bool(item.answer), item.number
            assert not item.section or (item.section in anchors and item.section in SECTIONS), item.number


@pytest.mark.parametrize("guideline", [CLAIM, TRIPOD], ids=lambda guideline: guideline.name)
def test_a_run_with_every_file_answers_all_that_a_run_can(tested: RunDir, guideline: Guideline) -> None:
    possible = {item.number for item in guideline.items if item.answer}
    assert set(answers(tested, guideline)) == possible


def test_answers_are_numbers_of_the_files(tested: RunDir) -> None:
    claim, tripod = answers(tested, CLAIM), answers(tested, TRIPOD)
    for told, words in (
        (claim["9"], "padded to 80 × 80 pixels"),
        (claim["19"], "train 3,900 images (74.8 %), val 692 images (13.3 %) and test 624 images (12.0 %)"),
        (claim["20"], "of 2,608, no patient is in more than one split"),
        (claim["21"], "624 images of 312 patients"),
        (claim["25"], "50 trials (13 stopped early, 3 failed)"),
        (claim["29"], "95 % intervals by bootstrap, 2,000 draws of patients; 1 paired comparison"),
        (claim["30"], "−0.070, for rotation (10 degrees)"),
        (claim["31"], "Class activation map of 8 images. With random weights the maps look otherwise"),
        (claim["35"], "5,226 images examined, 2 unreadable; 5,216 images of 2,608 patients take part"),
        (claim["38"], "PNEUMONIA at 0.431: sensitivity 0.909 (0.860–0.960) and specificity 0.820 (0.870–0.950)"),
        (claim["39"], "NORMAL taken for PNEUMONIA at 97.0 %"),
        (claim["43"], SHA256),
        (tripod["13"], "1.9 : 1; the loss weighs classes"),
        (tripod["15"], "PNEUMONIA 0.431 (Youden index on validation)"),
        (tripod["23a"], "By subgroup: sex."),
        (tripod["24"], "0.061 before, 0.034 after (15 bins)"),
    ):
        assert words in told, told
    assert not any(re.search(r"\bnan\b|\bNone\b", text) for text in (*claim.values(), *tripod.values()))


def test_an_answer_in_part_says_what_is_left(tested: RunDir) -> None:
    rows = rows_of(tested, TRIPOD)
    assert rows["8a"][2].below == "Author to complete: how and when it was determined, and why this outcome"
    assert rows["8a"][3] == Cell("Data", href="#data")
    assert rows["3a"][2:] == [Cell("", below=OPEN), Cell("")], "no link where there is no answer"


def test_the_lead_counts_what_the_table_shows(tested: RunDir) -> None:
    text = " ".join(getattr(block, "text", "") for block in guidelines(page_of(tested)).blocks)
    for guideline in (CLAIM, TRIPOD):
        count, total = len(answers(tested, guideline)), len(guideline.items)
        assert f"The run answers {count} of {total} items, some of them in part; {total - count} are left" in text


@pytest.mark.parametrize(
    ("file", "claim", "tripod"),
    [
        ("evaluation.json", {"28", "29", "30", "31", "32", "37", "38", "39"}, {"12e", "12f", "12g", "23a", "24"}),
        ("operating_points.csv", {"38"}, set()),
        ("robustness.csv", {"30"}, set()),
        ("saliency.json", {"31"}, set()),
        ("failures.csv", {"39"}, set()),
        ("calibration.json", set(), {"24"}),
        ("predictions_test.csv", set(), {"12g"}),
        ("best_model.json", {"43"}, {"12f", "22"}),
        ("finalists.csv", {"22", "26"}, set()),
        ("trials.csv", {"4", "6", "25", "40"}, {"4", "26"}),
        ("audit.json", {"8", "12", "35"}, {"6b", "11", "20a"}),
        ("splits.csv", {"8", "20"}, {"6b"}),
        ("run.json", {"7", "10", "23", "24", "42"}, {"5a", "18f"}),
    ],
)
def test_an_item_counts_only_where_its_file_is_there(
    tested: RunDir, tmp_path: Path, file: str, claim: set[str], tripod: set[str]
) -> None:
    run = copy_of(tested, tmp_path)
    (run.path / file).unlink()
    told = Answers(page_of(run))
    for guideline, gone in ((CLAIM, claim), (TRIPOD, tripod)):
        possible = [item for item in guideline.items if item.answer]
        assert {item.number for item in possible if not section_guidelines.answered(told, item)} == gone


def test_an_empty_folder_answers_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = RunDir(tmp_path / "empty")
    assert answers(run, CLAIM) == {} == answers(run, TRIPOD)


def test_wrong_types_cost_their_items_alone(tested: RunDir, tmp_path: Path) -> None:
    run = copy_of(tested, tmp_path)
    whole = set(answers(run, CLAIM))
    write_json(run.best_model_card, {"input": [1, 2], "thresholds": 3, "temperature": "warm", "sha256": None})
    edit_json(run.run, packages="many", weights=[1])
    edit_json(run.evaluation, bootstrap=7, ledger="x", opened={"a": 1})
    left = answers(run, CLAIM)
    assert whole - set(left) == {"23", "24", "29", "43"}


def test_several_classes_are_told_one_by_one(tmp_path: Path) -> None:
    classes = ("BACTERIAL", "NORMAL", "VIRAL")
    run = write_run(tmp_path / "xray", trials=12, classes=classes, image_side=16)
    write_tested(run, classes)
    tripod = answers(run, TRIPOD)
    assert tripod["8a"] == "The label of an image, one of BACTERIAL, NORMAL and VIRAL, as the source gives it."
    assert "NORMAL 0.431 (Youden index on validation) and VIRAL 0.431" in tripod["15"]
    assert all(f"{name} train" in tripod["16"] for name in classes)


def test_classes_that_are_not_told_are_counted(tested: RunDir, tmp_path: Path) -> None:
    run = copy_of(tested, tmp_path)
    points = pd.read_csv(run.path / "operating_points.csv")
    for number, said in ((4, "c3 at 0.431"), (5, "; 1 more class in oper"), (15, "; 11 more classes in oper")):
        many = pd.concat([points.assign(**{"class": f"c{place}"}) for place in range(number)])
        many.to_csv(run.path / "operating_points.csv", index=False)
        told = answers(run, CLAIM)["38"]
        assert said in told and "c4 at" not in told
        assert ("more class" in told) == (number > 4)


def test_old_settings_without_class_weights_are_read_as_weighed(tested: RunDir, tmp_path: Path) -> None:
    run = copy_of(tested, tmp_path)
    assert "the loss weighs classes" in answers(run, TRIPOD)["13"]
    edit_json(run.run, settings={"class_weights": False})
    assert "the loss does not weigh classes" in answers(run, TRIPOD)["13"]


def test_in_the_page_names_are_escaped_and_links_are_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "xray", trials=12, classes=HOSTILE, image_side=16)
    write_tested(run, HOSTILE)
    monkeypatch.setattr(html, "_SECTIONS", ())
    monkeypatch.setattr(html, "_MADE", (("guidelines", section_guidelines.TITLE, guidelines),))
    page = html.render(run).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    section = page.split('<section id="guidelines">')[1]
    assert "one of &lt;script&gt;alert(1)&lt;/script&gt; and a&#34;b&amp;c" in section
    for link in ('<a href="#summary">Data</a>', '<a href="#summary">Test</a>'):
        assert f"<td>{link}</td>" in section, "a section that is not on this page has the summary in its place"
    assert section.count("<td><a href") == sum(len(answers(run, guideline)) for guideline in (CLAIM, TRIPOD))


def test_a_damaged_file_is_logged_and_left_to_the_author(
    tested: RunDir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(facts: Facts) -> str:
        raise KeyError("no such column")

    monkeypatch.setattr(Facts, "class_names", property(broken))
    item = section_guidelines.Item("8a", "Outcome", "outcome", "data")
    assert section_guidelines.answered(Answers(page_of(tested)), item) == ""
    assert "Item 8a could not be answered." in caplog.text


def test_the_backbones_are_those_of_the_run(tested: RunDir) -> None:
    assert f"{len(BACKBONES)} backbones" in answers(tested, CLAIM)["6"]


def test_patients_in_two_splits_are_not_hidden(tested: RunDir, tmp_path: Path) -> None:
    run = copy_of(tested, tmp_path)
    text = run.splits.read_text(encoding="utf-8")
    run.splits.write_text(text.replace(",val-0,", ",train-0,"), encoding="utf-8")
    assert "of 2,607, 1 patient is in more than one split" in answers(run, CLAIM)["20"]
    edit_json(run.audit, patients={"assumed": True, "rule": "each image"})
    run.splits.write_text(text, encoding="utf-8")
    assert answers(run, CLAIM)["20"].startswith("It cannot be judged: nothing names the patients")
    assert "no patient" not in answers(run, CLAIM)["20"]
