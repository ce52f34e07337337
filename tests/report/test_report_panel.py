"""The threshold panel: its numbers are those of the tables, its names are harmless, its pictures can be left out."""

import json
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rendered import HOSTILE, Reports
from report_outline import Outline
from report_run import edit_json, write_run

from bench.cli import main
from bench.report.html import render
from bench.report.page import Page
from bench.report.read.files import read
from bench.report.sections.panel import (
    MEASURES,
    MOST_LETTERS,
    Split,
    _named,
    coded,
    coded_thresholds,
    counted,
    panel,
    reaching,
    shortened,
    written,
)
from bench.run import tables
from bench.run.folder import RunDir

PICTURE = "data:image/jpeg;base64,"


def page_of(run: RunDir) -> Page:
    return Page(run, read(run), {})


def data_of(run: RunDir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(panel(page_of(run))["data"])
    return found


def lengthened(texts: list[str]) -> list[str]:
    """As panel.js does it."""
    found, before = [], ""
    for text in texts:
        before = before[: int(text[0], 36)] + text[1:]
        found.append(before)
    return found


@pytest.fixture(scope="module")
def finished(reports: Reports) -> RunDir:
    return RunDir(reports["whole"].parent)


def test_each_score_stays_on_its_side_of_every_threshold() -> None:
    random = np.random.default_rng(1)
    for trial in range(20):
        kinds = random.random(300), random.random(300) * 2e-4, np.round(random.random(300), 4)
        scores = random.choice(kinds[trial % 3], 900).astype(np.float32)
        named = [float(random.choice(scores)), 0.5, float(random.choice(scores)) + 3e-6]
        codes = coded(scores, named)
        for threshold, code in zip(named, coded_thresholds(named), strict=True):
            assert ((codes >= code) == (scores >= np.float32(threshold))).all()
        for step in (0, 1, 4999, 5000, 9999, 10_000):
            assert ((codes >= step) == (scores.astype(np.float64) >= step / 10_000)).all()


@pytest.mark.parametrize("positives", [1, 7, 19, 20, 21, 100])
def test_the_threshold_for_a_sensitivity_is_the_largest_that_reaches_it(positives: int) -> None:
    scores = np.random.default_rng(positives).random(positives).astype(np.float32)
    found = reaching(scores, 0.95)
    assert (scores >= found).mean() >= 0.95
    assert (scores > found).mean() < 0.95


def test_names_are_shortened_without_loss() -> None:
    names = ["test/a/IM-1.png", "test/a/IM-2.png", "", "test", "😀1", "😀2", "x" * 80 + "1", "x" * 80 + "2", "x"]
    found = shortened(names)
    assert lengthened(found) == names
    assert found[1] == "a2.png" and found[5][0] == "0", "no pair of surrogates is cut"


def test_an_image_of_no_known_patient_has_none() -> None:
    names, patients = _named(
        pd.DataFrame({"image": ["a.png", "b.png", "c.png"], "patient": ["P1", None, float("nan")]})
    )
    assert lengthened(names) == ["a.png", "b.png", "c.png"] and lengthened(patients) == ["P1", "", ""]


@pytest.mark.parametrize("name", ["whole", "several classes"])
def test_counts_at_the_named_thresholds_are_those_of_the_table(name: str, reports: Reports) -> None:
    run = RunDir(reports[name].parent)
    data, points = data_of(run), tables.OPERATING_POINTS.read(run.path)
    assert [side["name"] for side in data["sides"]] == list(points["class"].drop_duplicates())
    test, seen = Split(**data["splits"]["test"]), 0
    for place, side in enumerate(data["sides"]):
        for point in ("frozen", "0.5"):
            found = counted(test, place, side["thresholds"][point][0])
            rows = points[(points["class"] == side["name"]) & (points["point"] == point)]
            for row in rows.to_dict("records"):
                assert found[row["measure"]] == (row["hits"], row["of"])
                low, high = test.bounds[place][point][list(MEASURES).index(row["measure"])]
                assert (low, high) == (row["low"], row["high"]), "some patients have several images"
                seen += 1
    assert seen == 10 * len(data["sides"])


def test_the_table_that_stands_in_says_what_the_panel_would(finished: RunDir) -> None:
    page, found = page_of(finished), panel(page_of(finished))
    points = tables.OPERATING_POINTS.read(finished.path)
    frozen = points[points["point"] == "frozen"].set_index("measure")
    cells = {row[0].text: [(cell.text, cell.below) for cell in row[1:]] for row in found["table"].rows}
    assert list(cells) == list(MEASURES.values())
    for measure, title in MEASURES.items():
        row = frozen.loc[measure]
        assert cells[title][1][0] == f"{row['value']:.3f} ({row['hits']:.0f} / {row['of']:.0f})"
        assert cells[title][1][1] == f"{row['low']:.3f}–{row['high']:.3f}"
    assert found["frozen"] == {page.files.classes[1]: 0.43}
    assert found["titles"] == {"val": "Validation", "test": "Internal test"}


def test_names_patients_and_pictures_are_those_of_the_tables(finished: RunDir) -> None:
    data = data_of(finished)
    with np.load(finished.thumbnails) as held:
        pictured = set(zip(held["splits"].tolist(), held["names"].tolist(), strict=True))
    for split in ("val", "test"):
        rows, one = pd.read_csv(finished.path / f"predictions_{split}.csv"), data["splits"][split]
        assert lengthened(one["names"]) == rows["image"].tolist()
        assert lengthened(one["patients"]) == rows["patient"].tolist()
        assert one["labels"] == [0 if label == data["sides"][0]["name"] else -1 for label in rows["label"]]
        assert {rows["image"][int(place)] for place in one["pictures"]} == {
            name for of, name in pictured if of == split
        }
    jpeg = b64decode(next(iter(data["splits"]["test"]["pictures"].values())))
    assert jpeg.startswith(b"\xff\xd8")


def test_twenty_thousand_images_take_less_than_a_megabyte(tmp_path: Path) -> None:
    run = write_run(tmp_path / "large", trials=6, image_side=16)
    random, names = np.random.default_rng(2), [f"images/{number:08d}_{number % 7:03d}.png" for number in range(20_000)]
    rows = pd.read_csv(run.predictions_test).sample(20_000, replace=True, random_state=1)
    scores = random.random(20_000).astype(np.float32)
    rows = rows.assign(
        image=names, patient=[name[7:15] for name in names], prob_PNEUMONIA=scores, prob_NORMAL=1 - scores
    )
    tables.PREDICTIONS_TEST.write(run.path, rows)
    page = page_of(run)
    started = time.process_time()
    data = panel(page)["data"]
    assert len(data) < 1_000_000 and len(json.loads(data)["splits"]["test"]["names"]) == 20_000
    assert time.process_time() - started < 20
    long = rows.assign(image=[f"{number}-" + "x" * (MOST_LETTERS // 20_000) for number in range(20_000)])
    tables.PREDICTIONS_TEST.write(run.path, long)
    test = data_of(run)["splits"]["test"]
    assert test["names"] == test["patients"] == [], "the panel names rows of the table instead"


def test_no_text_ends_the_element_that_holds_it(reports: Reports) -> None:
    assert "<" not in written({"</script><b>": ["<!--", "&lt;"]})
    run = RunDir(reports["hostile"].parent)
    data = data_of(run)
    assert [side["name"] for side in data["sides"]] == list(HOSTILE)
    seen = Outline(reports["hostile"].read_text(encoding="utf-8"))
    assert [script.get("type") for script in seen.named("script")] == ["application/json", None, None]


def test_what_is_missing_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "xray", trials=6, image_side=16)
    run.predictions_val.unlink()
    run.thumbnails.unlink()
    found = panel(page_of(run))
    data = json.loads(found["data"])
    assert list(data["splits"]) == ["test"] and not data["splits"]["test"]["pictures"]
    assert "sensitive" not in data["sides"][0]["thresholds"]
    rows = tables.PREDICTIONS_TEST.read(run.path).drop(columns="prob_NORMAL")
    tables.PREDICTIONS_TEST.write(run.path, rows)
    with pytest.raises(ValueError, match=r"predictions_test\.csv lacks the column 'prob_NORMAL'"):
        panel(page_of(run))
    run.predictions_test.unlink()
    assert panel(page_of(run)) == {"data": None}


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run with pictures in every place that has any, those of the audit included."""
    run = write_run(tmp_path_factory.mktemp("pictured") / "xray", trials=6, image_side=16)
    images = np.zeros((1, 16, 33, 1), np.uint8)
    np.savez(run.copies, images=images, ranks=[0])
    np.savez(run.suspected_images, images=images, ranks=[1])
    suspect = {
        "image": "a.png",
        "label": "NORMAL",
        "patient": "p",
        "split": "val",
        "suggested": "PNEUMONIA",
        "margin": 0.9,
    }
    tables.SUSPECTED_LABELS.write(run.path, [suspect])
    return run


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("way", ["flag", "setting"])
def test_pictures_of_images_are_left_out_and_that_is_said(way: str, pictured: RunDir) -> None:
    with_them = render(pictured).read_text(encoding="utf-8")
    captions = ("The most confident errors, as", "The most doubtful labels.", "Copies that the audit found,")
    captions += ("Augmentation policies. Look", "Of each case: the image, its map")
    assert [words for words in captions if words not in with_them] == []
    assert '"pictures":{"0":"' in with_them
    if way == "flag":
        assert main(["report", str(pictured.path), "--no-images"]) == 0
    else:
        settings = pictured.read_run()["settings"]
        edit_json(pictured.run, settings=settings | {"images": False})
        render(pictured)
    page = pictured.report.read_text(encoding="utf-8")
    assert [words for words in captions if words in page] == []
    assert PICTURE + "/9j" not in page and '"pictures":{"' not in page
    assert page.count("without pictures of images (--no-images).") == 6
