"""The section on the data: what the audit found, the splits as used and as given, and older or damaged audits."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_outline import Outline, outline
from report_run import CLASSES, edit_json, write_run

from bench.report import html
from bench.report.cautions import cautions
from bench.report.figures import data as figures_data
from bench.report.read.files import read
from bench.report.sections import provenance
from bench.report.sections.data import modes
from bench.report.tables import data as tables_data
from bench.run import tables
from bench.run.documents import ClassDistribution, DuplicateSet
from bench.run.folder import RunDir
from bench.run.record import SplitRecord

RENDERED = ("data",)

HOSTILE = ("<script>alert(1)</script>", 'a"b&c')
OTHERS = ("text", 7, [3], ["<i>"], {"a": 1}, {"narrow": [], "used": 3, "NORMAL": [1]})
"""Values of the wrong type for parts of audit.json."""
FIT: dict[str, tuple[object, ...]] = {name: (["<i>"],) for name in ("classes", "notes")}
FIT |= dict.fromkeys(("patients", "shared_patients", "splits"), ({"a": 1},)) | {"shortcut": OTHERS[4:]}
FIT |= dict.fromkeys(("findings", "left_out", "duplicates", "moved", "by_class"), ())
"""Those that do no harm to a part all the same."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has no other section: that takes half of the time."""
    monkeypatch.setattr(html, "_SECTIONS", [section for section in html._SECTIONS if section[0] == "data"])
    monkeypatch.setattr(html, "_MADE", [])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return write_run(tmp_path_factory.mktemp("whole") / "xray", trials=12, seeds=1, image_side=16)


@pytest.fixture
def run(whole: RunDir, tmp_path: Path) -> RunDir:
    """A run whose files a test may change."""
    return RunDir(Path(shutil.copytree(whole.path, tmp_path / "xray")))


def data_section(run: RunDir) -> str:
    """The HTML of the section on the data."""
    found = re.search(r'<section id="data">.*?</section>', html.render(run).read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[0]


def words(run: RunDir) -> str:
    """The words of the section on the data, with plain spaces between."""
    return " ".join(Outline(data_section(run)).text.replace("\u00a0", " ").split())


def audit_of(run: RunDir) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run.audit.read_text(encoding="utf-8"))
    return content


@pytest.mark.usefixtures("undrawn")
def test_every_part_of_the_audit_is_shown(run: RunDir) -> None:
    text = words(run)
    for expected in (
        "Source: folder (../chest_xray). Classes: NORMAL and PNEUMONIA.",
        "The splits as used",
        "The splits as they were given",
        "it was merged with train and drawn anew",
        "3 images left train: their patients are also in test train/NORMAL/out-2.jpeg",
        "5,226 images examined; 2 could not be used.",
        "Warning Truncated files (2) 2 files end before the image does. 2 files train/NORMAL/out-0.jpeg",
        "Note Near duplicates (60)",
        "Good Constant images No image is of one value only.",
        "truncated 2 1 1",
        "2 images that could not be used train/NORMAL/out-0.jpeg: 12 bytes are missing",
        "1 group of exact duplicates, 1 group of near ones and 1 group of altered ones. Of these, 1 group has "
        "conflicting labels, and 2 lie across splits.",
        "altered NORMAL Crosses: train and val 2 train/NORMAL/left.jpeg val/NORMAL/right.jpeg (mirrored)",
        "near, 3 bits apart Conflict: NORMAL and PNEUMONIA Crosses: train and test 2 train/NORMAL/copy.jpeg",
        "By patient ID, that makes 2,790 patients; by split group, 2,700. There are two readings because",
        "train and test 0 192",
        "ROC AUC 0.712 (95 % interval 0.690–0.731), on 4,592 images of 2,296 patients outside test",
        "It does not prove that a network does so",
        "bytes per pixel 0.700",
        "NORMAL 1,341 1,640 [1,466, 1,858]",
        "grey (L) 1,300 colour (RGB) 41 JPEG 1,341",
    ):
        assert expected in text, expected
    assert 'class="missing"' not in data_section(run)


@pytest.mark.usefixtures("undrawn")
def test_long_lists_are_cut_and_point_to_the_file(run: RunDir) -> None:
    text = words(run)
    assert "These are the first 50 of 60; audit.json lists all." in text
    assert "out-49.jpeg" in text and "out-50.jpeg" not in text
    group = {"kind": "exact", "images": [{"file": f"{n}.png", "label": "a", "split": ""} for n in range(9)]}
    edit_json(run.audit, duplicates=[group] * 51)
    text = words(run)
    assert "The first 50 of 51; audit.json lists all." in text
    assert "5.png and 3 more" in text
    assert "6.png" not in text


@pytest.mark.usefixtures("undrawn")
def test_findings_come_in_the_order_of_the_file_and_say_how_grave_they_are(run: RunDir) -> None:
    found = [
        {"severity": level, "heading": f"Heading {place}", "text": f"Text {place}."}
        for place, level in enumerate(("stop", "warning", "note", "good", "odd<b>"))
    ]
    edit_json(run.audit, findings=found)
    page = data_section(run)
    shown = re.findall(r'class="severity (\w+)">([^<]+)</span> (Heading \d)', page)
    assert [level for level, _, _ in shown] == ["stop", "warning", "note", "good", "note"]
    assert [word for _, word, _ in shown] == ["Serious", "Warning", "Note", "Good", "odd&lt;b&gt;"]
    assert [heading for _, _, heading in shown] == [f"Heading {place}" for place in range(5)]


@pytest.mark.usefixtures("undrawn")
def test_a_note_that_was_said_above_is_not_repeated(run: RunDir) -> None:
    note = audit_of(run)["notes"][0]
    assert words(run).count(note) == 1, "the finding “The source” says it too"
    found = [{"severity": "warning", "heading": "Validation", "text": note}]
    edit_json(run.audit, findings=found)
    assert words(run).count(note) == 2, "a warning is shown as such"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("given", "sentence"),
    [("as used", "These are the splits as they were given."), ("none", "The source gives no splits: all were drawn.")],
)
def test_the_given_splits_are_shown_only_where_they_differ(run: RunDir, given: str, sentence: str) -> None:
    used = audit_of(run)["splits"]["used"]
    edit_json(run.audit, splits={"used": used, "given": used if given == "as used" else {}})
    text = words(run)
    assert sentence in text
    assert "before what follows was decided" not in text


def test_splits_have_shares_and_imbalance() -> None:
    table = tables_data.splits(
        {
            "train": SplitRecord(images=40, patients=9, classes={"a": 10, "b": 30}),
            "val": SplitRecord(images=5, classes={"a": 0, "b": 5}),
        }
    ).set_index("split")
    assert table.loc["train", "imbalance"] == 3
    assert table.loc["train", "share b"] == 0.75
    assert pd.isna(table.loc["val", "imbalance"]), "a class without images has no ratio"
    assert tables_data.class_names(table) == ["a", "b"]


@pytest.mark.usefixtures("undrawn")
def test_images_without_a_split_leak_nothing_and_are_counted(run: RunDir) -> None:
    text = words(run)
    assert "No patient has images in more than one split" in text, "those of test-0 in train take no part"
    assert re.search(r"not drawn by --max-images 5216 5 2 3 its patient is also in test 3 2 1 truncated 2 1 1", text)
    splits = pd.read_csv(run.splits)
    splits.loc[splits["reason"] == "its patient is also in test", "split"] = "train"
    splits.to_csv(run.splits, index=False)
    assert "1 patient has images in more than one split" in words(run)


@pytest.mark.usefixtures("undrawn")
def test_the_wide_reading_of_splits_is_told_where_it_finds_more(run: RunDir) -> None:
    splits = pd.read_csv(run.splits)
    splits.loc[splits.index[[0, 4000]], "patient_wide"] = "IM-1"
    splits.to_csv(run.splits, index=False)
    assert (
        "No patient has images in more than one split, as counted in splits.csv. By split group, 1 patient would."
        in words(run)
    )


def test_shared_patients_by_either_reading() -> None:
    splits = pd.DataFrame(
        {
            "patient": ["1", "2", "3", "3"],
            "patient_wide": ["1", "1", "3", "3"],
            "split": ["train", "test", "val", None],
        }
    )
    assert tables_data.shared_patients(splits) == 0
    assert tables_data.shared_patients(splits, "patient_wide") == 1


def test_reasons_are_counted_without_what_tells_of_one_image() -> None:
    splits = pd.DataFrame(
        {
            "label": ["a", "a", "b", "b"],
            "split": [None, None, None, "train"],
            "reason": ["truncated: 1 byte", "truncated: 2 bytes", None, ""],
        }
    )
    table = tables_data.no_part(splits).set_index("reason")
    assert dict(table.loc["truncated"]) == {"images": 2, "class a": 2, "class b": 0}
    assert table.loc[tables_data.NO_REASON, "images"] == 1
    assert not len(tables_data.no_part(splits[splits["split"].notna()])), "every image takes part"


@pytest.mark.usefixtures("undrawn")
def test_assumed_patients_and_a_control_that_was_not_computed(run: RunDir) -> None:
    edit_json(
        run.audit,
        patients={"rule": "each image is its own", "assumed": True, "wide": 9, "narrow": 9},
        shortcut={"auc": None, "reason": "each class needs two patients"},
        duplicates=[],
    )
    text = words(run)
    assert "each image is its own. That makes 9 patients. If patients have several images" in text
    assert "There are two readings" not in text
    assert "Whether a patient has images in more than one split cannot be judged" in text
    assert "No patient has images" not in text
    assert "The shortcut check was not computed: each class needs two patients." in text
    assert "Duplicates" not in text, "there are none, which a finding would say"


@pytest.mark.usefixtures("undrawn")
def test_two_readings_that_agree_are_shown_as_one(run: RunDir) -> None:
    pairs = {"train-val": 4, "val-test": 0}
    edit_json(
        run.audit,
        patients={"rule": "a column", "wide": 9, "narrow": 9},
        shared_patients=dict.fromkeys(("narrow", "wide"), pairs),
    )
    text = words(run)
    assert "That makes 9 patients." in text
    assert "Splits Patients train and val 4 val and test 0" in text
    assert "By split group" not in text


@pytest.mark.usefixtures("undrawn")
def test_a_control_below_its_limit_is_no_reason_to_worry(run: RunDir) -> None:
    edit_json(run.audit, shortcut={"auc": 0.55, "low": None, "high": None, "limit": 0.6, "warns": False})
    text = words(run)
    assert "ROC AUC 0.550 outside test. Chance is 0.5. Up to 0.6 the files give little away." in text
    assert "A network may learn that" not in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("low", "why"), [(0.52, "reaches down to 0.520"), (None, "is not known")])
def test_a_control_above_its_limit_by_chance_is_told_as_such(run: RunDir, low: float | None, why: str) -> None:
    edit_json(run.audit, shortcut={"auc": 0.65, "low": low, "high": low and 0.8, "limit": 0.6, "warns": False})
    text = words(run)
    assert f"The score lies above 0.6, but its interval {why}: too few patients to tell" in text
    assert "give little away" not in text


def five(low: float, high: float) -> list[float]:
    return [low, low, (low + high) / 2, high, high]


@pytest.mark.usefixtures("unsaved")
def test_images_of_one_size_are_a_sentence_and_no_figure(run: RunDir) -> None:
    same = {"images": 3, "width": five(28, 28), "height": five(32, 32), "aspect": five(0.875, 0.875)}
    same |= {"bytes": five(896, 896), "bytes_per_pixel": five(1, 1), "modes": {"L": 3}, "formats": {"array": 3}}
    edit_json(run.audit, by_class=dict.fromkeys(CLASSES, same))
    seen = outline(run)
    assert "All images are 28 × 32 pixels (width × height)." in seen.text
    assert not any("bytes per pixel" in (image["alt"] or "").lower() for image in seen.named("img"))
    edit_json(run.audit, by_class=dict.fromkeys(CLASSES, same | {"bytes_per_pixel": five(0.1, 0.4)}))
    alts = [image["alt"] or "" for image in outline(run).named("img")]
    assert sum("median bytes per pixel" in alt for alt in alts) == 1
    assert not any("median width" in alt for alt in alts), "what does not vary is not drawn"


def distribution(**measures: list[float]) -> ClassDistribution:
    return ClassDistribution.model_validate(measures)


def split(**classes: int) -> SplitRecord:
    return SplitRecord(classes=classes)


def test_what_varies_between_classes_varies() -> None:
    table = tables_data.by_class({name: distribution(width=five(side, side)) for name, side in (("a", 10), ("b", 20))})
    assert tables_data.varying(table, ["width", "height"]) == ["width"]
    assert tables_data.one_size(table) is None


def test_figures_show_the_numbers() -> None:
    classes = tables_data.by_class({"a": distribution(width=[1, 2, 3, 5, 9]), "$b$": distribution(width=five(4, 6))})
    (ax,) = figures_data.properties(classes, ["width"]).axes
    box = ax.patches[0]
    assert (box.get_x(), box.get_x() + box.get_width()) == (2, 5)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "$b$"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first class is on top"
    splits = tables_data.splits({"train": split(a=1, b=3), "val": split(a=2, b=2)})
    panels = figures_data.class_shares(splits).axes
    assert [ax.get_title(loc="left") for ax in panels] == ["train", "val"]
    assert [bar.get_width() for bar in panels[0].patches] == [25, 75]
    assert [text.get_text() for text in panels[0].texts] == ["1", "3"]


def test_many_classes_stand_abreast_and_are_cut() -> None:
    names = [f"class {number}" for number in range(30)]
    splits = tables_data.splits({"train": split(**dict.fromkeys(names, 3))})
    assert len(figures_data.class_shares(splits).axes[0].patches) == figures_data.MOST_CLASSES
    classes = tables_data.by_class({name: distribution(width=five(1, 2), height=five(2, 3)) for name in names})
    left, right = (ax.get_position() for ax in figures_data.properties(classes, ["width", "height"]).axes)
    assert left.y0 == pytest.approx(right.y0)
    assert figures_data.too_many(30) == " The first 20 of 30 classes are drawn."
    assert figures_data.too_many(20) == ""


def test_cautions_are_the_warnings_of_the_audit_in_its_words(run: RunDir) -> None:
    edit_json(
        run.audit,
        findings=[
            {"severity": "stop", "text": "Too many are left out."},
            {"severity": "warning", "text": "Copies carry other labels."},
            {"severity": "warning", "text": None},
            {"severity": "note", "text": "A note."},
            {"severity": "good", "text": "All is well."},
        ],
    )
    said = cautions(read(run))
    assert said.index("Too many are left out.") + 1 == said.index("Copies carry other labels.")
    assert not {"A note.", "All is well.", "None"} & set(said)
    run.audit.unlink()
    assert "Too many are left out." not in cautions(read(run))


@pytest.mark.usefixtures("unsaved")
def test_copies_are_shown_beside_each_other_and_named(run: RunDir) -> None:
    assert "Pairs of copies beside each other: mirrored and nearly the same." in " ".join(
        image["alt"] or "" for image in outline(run).named("img")
    )
    np.savez_compressed(run.copies, images=np.zeros((1, 8, 20), np.uint8), ranks=[2])
    text = outline(run).text
    assert "Pairs of copies" not in text
    assert "could not be written" not in text
    run.copies.unlink()  # as a run of an earlier version
    assert "1 group of altered ones" in outline(run).text.replace("\n", " ")


@pytest.mark.usefixtures("unsaved")
def test_suspected_labels_are_listed_and_shown(run: RunDir) -> None:
    assert "Suspected wrong labels" not in outline(run).text, "a run of an earlier version"
    rows = [
        {"image": f"train/NORMAL/{n}.jpeg", "label": "NORMAL", "split": "train", "suggested": "PNEUMONIA", "margin": m}
        for n, m in enumerate((0.93, 0.71, 0.5))
    ]
    tables.SUSPECTED_LABELS.write(run.path, rows)
    text = words(run)
    assert "3 images of train and validation may carry a wrong label" in text
    assert "train/NORMAL/0.jpeg NORMAL PNEUMONIA 0.930 train" in text
    alts = [image["alt"] or "" for image in outline(run).named("img")]
    assert any("NORMAL, seems to be PNEUMONIA" in alt for alt in alts)
    tables.SUSPECTED_LABELS.write(run.path, [])
    assert "Confident learning suspects no label of train and validation" in words(run)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", FIT)
@pytest.mark.parametrize("value", OTHERS)
def test_a_part_of_another_type_costs_itself_alone(run: RunDir, name: str, value: object) -> None:
    edit_json(run.audit, **{name: value})
    text = outline(run).text
    assert "could not be written" not in text
    assert "What augmentation does" in text
    assert ("audit.json has parts that cannot be read and are left out" in text) == (value not in FIT[name])


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("inside", [None, "text", 7, [None], {"x": None}, 10**400])
def test_wrong_values_inside_the_parts_cost_no_section(run: RunDir, inside: object) -> None:
    content = audit_of(run)
    for name in ("findings", "left_out", "duplicates", "moved"):
        content[name] = [dict.fromkeys(content[name][0], inside)]
    for name in ("patients", "shared_patients", "splits", "by_class", "shortcut"):
        content[name] = dict.fromkeys(content[name], inside)
    content["by_class"]["part"] = {"width": [1, inside, 3, 4, 5], "modes": {"L": inside}, "images": inside}
    content["splits"] = {"used": {"train": {"classes": {"a": inside, "b": 2}, "images": inside}, "val": inside}}
    content["shortcut"] = {"auc": 0.7, "features": [{"name": inside, "auc": inside}], "low": inside, "limit": inside}
    run.audit.write_text(json.dumps(content), encoding="utf-8")
    text = outline(run).text
    assert "could not be written" not in text
    assert "What augmentation does" in text
    assert "What to beware of" in text


@pytest.mark.usefixtures("undrawn")
def test_nulls_and_missing_parts_are_no_complaint(run: RunDir) -> None:
    run.audit.write_text('{"format": 2, "findings": null, "shortcut": null}', encoding="utf-8")
    text = words(run)
    assert "cannot be read" not in text
    assert "audit.json names no findings." in text
    assert "audit.json does not say how patients were told apart." in text
    assert "Shortcut check" not in text


@pytest.mark.usefixtures("undrawn")
def test_the_audit_speaks_for_the_source_without_run_json(run: RunDir) -> None:
    run.run.unlink()
    text = words(run)
    assert "Source: folder (../chest_xray). Classes: NORMAL and PNEUMONIA." in text
    assert "Fingerprint" not in text


def test_hostile_names_in_the_audit_are_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.pictures.PAPER_DPI", 40)
    run = write_run(tmp_path / "xray", trials=12, classes=HOSTILE, seeds=1, image_side=16)
    bad = "</li></ul><script>alert(2)</script>"
    content = audit_of(run)
    content["findings"] = [dict.fromkeys(("kind", "heading", "severity", "text"), bad) | {"files": [bad], "count": 1}]
    content["left_out"] = [dict.fromkeys(("file", "label", "kind", "reason"), bad)]
    content["duplicates"][0]["images"] = [dict.fromkeys(("file", "label", "split"), bad)]
    content["moved"] = [{"from": bad, "images": 1, "reason": bad, "files": [bad]}]
    content["shortcut"]["features"] = [{"name": bad, "auc": 0.6}]
    content["by_class"][HOSTILE[0]] |= {"modes": {bad: 1}, "formats": {bad: 1}}
    content["notes"], content["patients"]["rule"] = [bad], bad
    run.audit.write_text(json.dumps(content), encoding="utf-8")
    seen = outline(run)
    assert len(seen.named("script")) == 1, "the page's own"
    assert "could not be" not in seen.text.replace("could not be used", "")
    assert seen.text.count(bad) >= 12
    for name in HOSTILE:
        assert name in seen.text


def test_the_precision_of_each_backbone_is_told(run: RunDir) -> None:
    told = "prefix bfloat16, suffix float32 (prefix 24 ms instead of 48 per image, suffix 4.0 instead of 4.1)"
    record = read(run).record
    assert record.precisions() == dict.fromkeys(record.titles.values(), told)
    assert any(told in str(table) for table in provenance._circumstances(record))


def test_modes_are_explained() -> None:
    assert modes({"L": 3, "I;16": 1}) == "grey\u00a0(L)\u00a03\nI;16\u00a01"


def test_the_gravest_duplicates_come_first() -> None:
    flags = ((False, False), (False, True), (True, False), (True, True))
    table = tables_data.duplicates([DuplicateSet(labels_conflict=a, across_splits=b) for a, b in flags])
    assert list(zip(table["conflict"], table["crossing"], strict=True)) == list(reversed(flags))
