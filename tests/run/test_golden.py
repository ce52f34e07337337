"""A run of today gives the scores, predictions and intervals of the run that is kept in golden/.

The kept run was made by the first version of rules 7. Whatever changes a score on purpose
raises `bench.RULES`, and the run is made again: ``BENCH_GOLDEN=write pytest tests/run/test_golden.py``. On the machine
that made it, every number is the same to the last digit; other processors round differently, hence the tolerances.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toys

from bench import cluster
from bench.cli import main
from bench.report import pictures
from bench.report.html import render
from bench.run.folder import RunDir
from bench.run.ledgers import LEDGER
from bench.search import tune
from bench.verify.command import checks
from bench.verify.reading import Folder, Tally

pytestmark = pytest.mark.end_to_end

KEPT = Path(__file__).parent / "golden"
TABLES = {
    "splits.csv": (),
    "trials.csv": ("seconds", "elapsed"),
    "finalists.csv": ("seconds", "model", "sha256"),
    "folds.csv": ("seconds",),
    "learning_curve.csv": ("seconds",),
    "predictions_val.csv": (),
    "predictions_test.csv": (),
    "predictions_models.csv": (),
    "comparisons.csv": ("sentence",),
    "operating_points.csv": (),
    "prevalences.csv": (),
    "decision_curve.csv": (),
    "curves.csv": (),
    "subgroups.csv": (),
    "robustness.csv": (),
}
"""The tables that are compared, and beginnings of the columns that a second run cannot repeat."""

EXACT = os.environ.get("BENCH_GOLDEN") == "exact"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as the kept one was made."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "toys.yaml").write_text(toys.SPACE)
    data = toys.write_folder(folder / "data", {"train": 24, "val": 24, "test": 60}, seed=4, per_patient=1)
    rng = np.random.default_rng(5)
    for path in sorted(data.glob("*/PNEUMONIA/*.png"))[::3]:  # a third look healthy, so that no model is perfect
        toys.draw_image(rng, False).save(path)
    with pytest.MonkeyPatch.context() as patch:
        from ray import cloudpickle

        from bench.models.backbones import BACKBONES

        cloudpickle.register_pickle_by_value(toys)
        patch.setitem(BACKBONES, "toy", toys.toy_backbone())
        patch.setitem(BACKBONES, "toy2", toys.toy_backbone("toy2"))
        toys.alone_here(patch)
        patch.setattr(tune, "_one_round", toys.trials_here)
        patch.setattr(pictures, "picture", toys.blank(pictures.picture))
        patch.chdir(folder)
        flags = "--weights random --jobs 1 --precision float32 --seed 3 --scheduler none --name golden --cache cache"
        flags += " --budget 5 --epochs 2 --repeats 2 --folds 2 --bootstrap 200"
        assert main(["run", "--data", str(data), "--space", "toys.yaml", *flags.split()]) == 0
        cloudpickle.unregister_pickle_by_value(toys)
        cluster._trainer = None
    made = folder / "reports" / "golden"
    if os.environ.get("BENCH_GOLDEN") == "write":
        KEPT.mkdir(exist_ok=True)
        for name in (*TABLES, "evaluation.json"):
            shutil.copy(made / name, KEPT / name)
    return made


def same(found: Any, kept: Any, what: str) -> None:
    """Numbers agree, to the last digit if that is asked for; everything else is equal."""
    if isinstance(kept, dict):
        assert set(kept) <= set(found), what
        for name, value in kept.items():
            same(found[name], value, f"{what}.{name}")
    elif isinstance(kept, list):
        assert len(found) == len(kept), what
        for number, value in enumerate(kept):
            same(found[number], value, f"{what}[{number}]")
    elif isinstance(kept, float) and not EXACT:
        assert found == pytest.approx(kept, abs=5e-3, rel=5e-3), what
    else:
        assert found == kept, what


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_the_kept_one(run: Path, name: str) -> None:
    read = {"keep_default_na": False, "na_values": [""]}
    found, kept = pd.read_csv(run / name, **read), pd.read_csv(KEPT / name, **read)
    assert len(found) == len(kept)
    compared = [column for column in kept if not column.startswith(TABLES[name] or ("\n",))]
    assert set(compared) <= set(found)
    for column in compared:
        ours, theirs = found[column], kept[column]
        if pd.api.types.is_float_dtype(theirs):
            tolerance = 0.0 if EXACT else 5e-3
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=f"{name}: {column}")
        else:
            assert ours.fillna("").tolist() == theirs.fillna("").tolist(), f"{name}: {column}"


def test_scores_and_intervals_are_the_kept_ones(run: Path) -> None:
    found = json.loads((run / "evaluation.json").read_text())
    kept = json.loads((KEPT / "evaluation.json").read_text())
    assert len(kept["models"]) >= 5
    for name, model in kept["models"].items():
        for part in ("metrics", "confusion", "per_class", "averages", "repeats"):
            same(found["models"][name][part], model[part], f"{name}.{part}")
    for part in ("images", "patients", "classes", "winner", "calibration", "thresholds", "validation", "gap"):
        same(
            {key: value for key, value in found[part].items() if key != "sentence"} if part == "gap" else found[part],
            {key: value for key, value in kept[part].items() if key != "sentence"} if part == "gap" else kept[part],
            part,
        )
    assert any(model["metrics"]["auc"]["low"] is not None for model in kept["models"].values()), "intervals are kept"


def test_the_folds_hold_train_and_validation_and_nothing_of_test(run: Path) -> None:
    folds, finalists = pd.read_csv(run / "folds.csv"), pd.read_csv(run / "finalists.csv")
    used = pd.read_csv(run / "splits.csv", keep_default_na=False)["split"].isin(["train", "val"]).sum()
    for backbone, own in folds.groupby("backbone"):
        assert own[["fold", "state"]].to_numpy().tolist() == [[1, "completed"], [2, "completed"]]
        assert (own["images_train"] + own["images_val"] == used).all()
        assert own["images_val"].sum() == used
        mean, deviation = own["metric_auc"].mean(), own["metric_auc"].std()
        rows = finalists[finalists["backbone"] == backbone]
        for found, of_folds in (("fold_mean", mean), ("fold_sd", deviation)):
            assert rows[found].tolist() == pytest.approx([of_folds] * len(rows))


@pytest.mark.thorough
def test_every_figure_of_a_real_run_is_drawn(run: Path, tmp_path: Path) -> None:
    again = RunDir(Path(shutil.copytree(run, tmp_path / "golden", ignore=shutil.ignore_patterns("figures"))))
    assert "could not be drawn" not in render(again).read_text(encoding="utf-8")
    files = sorted(again.figures.iterdir())
    assert len(files) >= 40 and all(path.stat().st_size > 2000 for path in files)


def test_every_number_is_computed_again_by_other_code(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run)]) == 0, capsys.readouterr().out
    found = {line.split("  ")[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert found["ledgers"] == found["subgroups.csv"] == found["trials.csv"] == "0", "checked, and not left out"


def other_choices(folder: Path) -> None:
    card = json.loads((folder / "best_model.json").read_text())
    (folder / "best_model.json").write_text(json.dumps({**card, "temperature": 1.5}))


def other_plan(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["plans"][0]["holds"]["settings"]["budget"] = 1
    (folder / "run.json").write_text(json.dumps(record))


def other_test_images(folder: Path) -> None:
    table = pd.read_csv(folder / "predictions_test.csv", keep_default_na=False).iloc[1:]
    table.to_csv(folder / "predictions_test.csv", index=False)


def other_ledger(folder: Path) -> None:
    """A line of the ledger is changed, and its checksum made anew."""
    record = json.loads((folder / "run.json").read_text())
    opening = record["test"]["openings"][0]
    place = folder / "ledger"
    place.mkdir()
    lines = [json.loads(line) for line in (Path(opening["ledgers"][0]) / LEDGER).read_text().splitlines()]
    lines[0]["run"] = "another"
    del lines[0]["checksum"]
    (place / LEDGER).write_text("".join(json.dumps(line) + "\n" for line in lines))
    opening["ledgers"] = [str(place)]
    (folder / "run.json").write_text(json.dumps(record))


def no_ledger(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["test"]["openings"][0]["ledgers"] = [str(folder / "nowhere")]
    (folder / "run.json").write_text(json.dumps(record))


def other_model(folder: Path) -> None:
    (folder / "models" / "toy-1.h5").write_bytes(b"another")


@pytest.mark.parametrize(
    ("plant", "name", "said"),
    [
        (other_choices, "seal and plan", "SHA-256 of best_model.json when the split was opened"),
        (other_plan, "seal and plan", "SHA-256 of the plan"),
        (other_test_images, "seal and plan", "fingerprint of the test images"),
        (other_test_images, "file hashes", "predictions_test.csv is not as the run wrote it"),
        (other_model, "file hashes", "models/toy-1.h5 is not as the run wrote it"),
        (other_ledger, "ledgers", "the chain is broken before line 2"),
        (no_ledger, "ledgers", "no ledger that this run wrote into"),
    ],
)
def test_what_was_changed_is_named(run: Path, tmp_path: Path, plant: Any, name: str, said: str) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("figures", "study.db")))
    for planted in (False, True):
        if planted:
            plant(copy)
        tally = Tally()
        checks()[name](Folder(copy), tally)
        assert any(said in sentence for sentence in tally.wrong) == planted, tally.wrong
