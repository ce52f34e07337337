"""Runs on the same test images are compared in pairs, by content; others are not, and the reason is told."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_outline import Outline
from report_run import CLASSES, edit_json, write_run

from bench.report.read.files import read
from bench.report.side_by_side import sides
from bench.report.side_by_side.page import render_side_by_side
from bench.report.side_by_side.tested import Pair, _clusters, content, in_pairs
from bench.run.folder import RunDir
from bench.stats.bootstrap import Bootstrap, paired_difference
from bench.stats.metrics import auc
from bench.stats.predictions import Predictions
from bench.stats.proportions import holm


def write_predictions(run: RunDir, apart: float, seed: int, patients: int = 200) -> None:
    """Replace the predictions of ``run``, of which patients have one to three images, each with a digest of its own."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), np.arange(patients) % 3 + 1)
    truth = owner % 2
    positive = 1 / (1 + np.exp(-(apart * (2 * truth - 1) + rng.normal(0, 1, len(owner)))))
    table = pd.DataFrame(
        {
            "image": [f"test/{number}.png" for number in range(len(owner))],
            "label": [CLASSES[one] for one in truth],
            "pixels": [f"{number:04d}e{number % 10}" for number in range(len(owner))],
            "patient": [f"p{one}" for one in owner],
            f"prob_{CLASSES[0]}": 1 - positive,
            f"prob_{CLASSES[1]}": positive,
        }
    )
    table.to_csv(run.predictions_test, index=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    for name, apart, seed in (("good", 1.0, 1), ("alike", 1.0, 4), ("poor", 0.4, 2)):
        run = write_run(folder / name, trials=6, image_side=16)
        write_predictions(run, apart, seed)
    return folder


@pytest.fixture
def runs(written: Path, tmp_path: Path) -> dict[str, RunDir]:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return {name: RunDir(tmp_path / name) for name in ("good", "alike", "poor")}


def pairs(*given: RunDir) -> list[Pair]:
    return in_pairs([(run.name, read(run)) for run in given])


def change(run: RunDir, **columns: object) -> None:
    pd.read_csv(run.predictions_test, dtype={"pixels": str}).assign(**columns).to_csv(run.predictions_test, index=False)


def test_a_pair_is_the_paired_bootstrap_over_patients(runs: dict[str, RunDir]) -> None:
    (pair,) = pairs(runs["good"], runs["poor"])
    tables = [pd.read_csv(runs[name].predictions_test) for name in ("good", "poor")]
    labels = (tables[0]["label"] == CLASSES[1]).to_numpy(np.int64)
    scores = [table[[f"prob_{name}" for name in CLASSES]].to_numpy() for table in tables]
    patients = pd.factorize(tables[0]["patient"])[0]
    expected = paired_difference(Predictions(labels, scores[0], patients), scores[1], Bootstrap(2000, 0.95, 0))
    assert pair.difference is not None and pair.difference.value == pytest.approx(
        auc(labels, scores[0]) - auc(labels, scores[1])
    )
    assert (pair.difference.low, pair.difference.high) == pytest.approx((expected.low, expected.high), abs=0.005)
    assert pair.images == len(labels) and pair.better == "good" and pair.p_holm is not None and pair.p_holm < 0.001
    assert pair.sentence == (
        f"good is better than poor on the same {len(labels)} test images, by {pair.difference.value:.3f} "
        f"({pair.difference.low:.3f}–{pair.difference.high:.3f}) ROC AUC (Holm-corrected p <\u00a00.001)."
    )
    (turned,) = pairs(runs["poor"], runs["good"])
    assert turned.better == "good" and turned.sentence.startswith("good is better than poor on the same")


def test_runs_that_cannot_be_told_apart_are_not_ranked(runs: dict[str, RunDir]) -> None:
    (pair,) = pairs(runs["alike"], runs["good"])
    assert pair.better == "" and pair.difference is not None and pair.difference.p is not None
    assert pair.sentence.startswith(
        "alike and good cannot be told apart on the same 399 test images: ROC AUC differs by 0.0"
    )
    (itself,) = pairs(runs["good"], RunDir(shutil.copytree(runs["good"].path, runs["good"].path.parent / "again")))
    assert itself.p_holm == 1.0 and "differs by 0.000 (Holm" in itself.sentence


def test_images_are_matched_by_content_whatever_their_names_and_order(runs: dict[str, RunDir]) -> None:
    (before,) = pairs(runs["good"], runs["poor"])
    table = pd.read_csv(runs["poor"].predictions_test, dtype={"pixels": str})
    table["image"] = [f"moved/{number}.jpeg" for number in range(len(table))]
    table.sample(frac=1, random_state=3).to_csv(runs["poor"].predictions_test, index=False)
    edit_json(runs["poor"].run, data={**runs["poor"].read_run()["data"], "fingerprint": "another"})
    (after,) = pairs(runs["good"], runs["poor"])
    assert before.difference is not None and after.difference is not None
    assert after.difference.value == pytest.approx(before.difference.value)
    assert content(read(runs["good"])) == content(read(runs["poor"])) != ""


def test_other_names_for_the_same_patients_change_nothing(runs: dict[str, RunDir]) -> None:
    (before,) = pairs(runs["good"], runs["poor"])
    change(runs["poor"], patient="q" + pd.read_csv(runs["poor"].predictions_test)["patient"])
    (after,) = pairs(runs["good"], runs["poor"])
    assert after.difference == before.difference


def test_what_shares_a_patient_in_either_run_or_its_content_is_drawn_together() -> None:
    rows = pd.DataFrame(
        {
            "patient_a": ["1", "1", "2", "3", "4", None],
            "patient_b": ["x", "y", "y", "z", "w", None],
            "pixels": ["a", "b", "c", "d", "d", "e"],
        }
    )
    found = list(_clusters(rows))
    assert found[0] == found[1] == found[2] and found[3] == found[4], "by patients, and by content"
    assert len(set(found)) == 3, "nothing else is"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("fewer", "their test images are not the same (2 images in good alone)"),
        ("others", "their test images are not the same (1 image in good alone and 1 image in poor alone)"),
        ("relabelled", "2 test images have another label in the other run"),
        ("sealed", "poor has no results on it"),
        ("rules", "they were not made under the same version of the rules"),
        ("classes", "their classes differ"),
        ("unknown", "whether their test images are the same is not known"),
        ("probability", "predictions_test.csv of one lacks the column 'prob_NORMAL'"),
    ],
)
def test_what_cannot_be_compared_says_why(runs: dict[str, RunDir], spoil: str, why: str) -> None:
    run = runs["poor"]
    table = pd.read_csv(run.predictions_test, dtype={"pixels": str})
    if spoil == "fewer":
        table = table.iloc[2:]
    elif spoil == "others":
        table.loc[5, "pixels"] = "ffff"
    elif spoil == "relabelled":
        table.loc[:1, "label"] = [CLASSES[1 - CLASSES.index(label)] for label in table.loc[:1, "label"]]
    elif spoil == "unknown":
        table = table.drop(columns="pixels")
        edit_json(run.run, data={**run.read_run()["data"], "fingerprint": "another"})
    elif spoil == "probability":
        table = table.drop(columns="prob_NORMAL")
    table.to_csv(run.predictions_test, index=False)
    if spoil == "sealed":
        run.evaluation.unlink()
    elif spoil == "rules":
        edit_json(run.run, rules=99)
    elif spoil == "classes":
        edit_json(run.evaluation, classes=["normal", "PNEUMONIA"])
    (pair,) = pairs(runs["good"], run)
    assert pair.difference is None and why in pair.why
    assert pair.sentence.startswith("good and poor cannot be compared on the internal test: ")


def test_runs_of_an_earlier_version_are_matched_by_names_within_the_same_data(runs: dict[str, RunDir]) -> None:
    (by_content,) = pairs(runs["good"], runs["poor"])
    for name in ("good", "poor"):
        table = pd.read_csv(runs[name].predictions_test).drop(columns="pixels")
        table.to_csv(runs[name].predictions_test, index=False)
    (by_name,) = pairs(runs["good"], runs["poor"])
    assert by_name.difference is not None and by_content.difference is not None
    ends = [(one.value, one.low, one.high) for one in (by_name.difference, by_content.difference)]
    assert ends[0] == pytest.approx(ends[1], abs=0.005), "other draws of the same patients"
    for name in ("good", "poor"):  # other data, but the seal was broken on the same pixels
        edit_json(
            runs[name].run,
            data={**runs[name].read_run()["data"], "fingerprint": name},
            test={"openings": [{"split": "ab"}]},
        )
    (by_opening,) = pairs(runs["good"], runs["poor"])
    assert by_opening.difference == by_name.difference


def test_too_few_patients_have_no_interval(runs: dict[str, RunDir]) -> None:
    for name in ("good", "poor"):
        write_predictions(runs[name], 1.0, 5, patients=18)
    (pair,) = pairs(runs["good"], runs["poor"])
    assert pair.difference is not None and pair.difference.low is None and not pair.better
    assert pair.sentence.endswith("cannot be told: a class has 9 patients, fewer than 10.")


def test_holms_correction_is_over_all_pairs(runs: dict[str, RunDir]) -> None:
    found = pairs(*runs.values())
    raw = [one.difference.p for one in found if one.difference is not None]
    assert len(raw) == 3 and [one.p_holm for one in found] == pytest.approx(holm(raw))


@pytest.mark.usefixtures("undrawn")
def test_the_page_compares_tests_whatever_the_models_were_trained_on(runs: dict[str, RunDir]) -> None:
    splits = pd.read_csv(runs["poor"].splits)
    splits.drop(index=splits.index[splits["split"] == "train"][:30]).to_csv(runs["poor"].splits, index=False)
    edit_json(runs["poor"].run, data={**runs["poor"].read_run()["data"], "fingerprint": "another"})
    given = [runs["good"], runs["poor"]]
    found = {
        fact.title: (fact.needed_by, fact.same)
        for fact in sides.facts([sides.Side(run.name, run, read(run)) for run in given])
    }
    assert found["Test images"] == ("test", True)
    assert found["Fingerprint of the data"] == found["Training images"] == ("validation", False)
    page = Outline(render_side_by_side(given, runs["good"].path.parent).read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    assert "Not all compares. Validation scores do not compare: the runs differ in fingerprint of the data" in text
    assert "Test scores do not compare" not in text
    assert text.count("good is better than poor on the same 399 test images, by") == 2, "summary and section"
    assert "good is better" in text.partition("Difference in ROC AUC, 95 % interval")[2].replace("\u00a0", " ")
