"""The nested loop's tables: whole after each fold, never repeated, and what they say of the procedure."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.metrics import log_loss, roc_auc_score

from bench.data.splits import OuterFold, outer_folds, outer_seed
from bench.evaluation.outer import OuterLoop, Pool
from bench.finalists.outer import Winner
from bench.run.folder import RunDir
from bench.run.tables import OUTER, OUTER_PREDICTIONS
from bench.settings import make_settings
from bench.stats.calibration import choose_map
from bench.stats.metrics import METRICS
from bench.trial import EpochRecord, Scored, TrialConfig, TrialResult
from bench.verify.nested import outer
from bench.verify.reading import Folder, Tally

RNG = np.random.default_rng(0)


def pool(classes: int = 2, patients: int = 60) -> Pool:
    """Two images a patient; a few of the test split, whose labels nobody knows."""
    labels = np.repeat(np.arange(patients) % classes, 2)
    table = pd.DataFrame({"label": [f"C{one}" for one in labels], "patient_id": np.repeat(np.arange(patients), 2)})
    table = table.assign(group=table["patient_id"], split_group=table["patient_id"].astype(str))
    table["split"] = np.where(table["patient_id"] % 7 < 2, "val", "train")
    table.loc[table["patient_id"] >= patients - 6, "split"] = "test"
    table["image"] = [f"{number}.png" for number in range(len(table))]
    known = np.flatnonzero(table["split"] != "test")

    def labels_of(rows: Any) -> Any:
        assert set(rows) <= set(known), "no label of a test image is asked for"
        return labels[rows]

    task = SimpleNamespace(labels_of=labels_of, pool=known, class_weights=True, ordinal=False)
    return Pool(table, task, [f"C{one}" for one in range(classes)])  # type: ignore[arg-type]


def settings(**more: Any) -> Any:
    return make_settings(name="x", outer="3x2", bootstrap=100, **more)


def winner(pool: Pool, fold: OuterFold, backbone: str = "vgg16", skill: float = 1.0) -> Winner:
    """A model that knows something: two epochs, of which the first is the best."""

    def said(rows: Any) -> Any:
        logits = RNG.normal(size=(len(rows), len(pool.classes)))
        logits[np.arange(len(rows)), pool.task.labels_of(rows)] += skill
        return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)

    metrics = dict.fromkeys(METRICS, 0.9)
    epochs = tuple(EpochRecord("head", number, 0.5, metrics, 1.0) for number in (1, 2))
    scored = Scored((1, 2), np.stack([said(fold.rows["val"]), np.full_like(said(fold.rows["val"]), np.nan)]))
    result = TrialResult(1, metrics, epochs, 2.0, scored=scored, held_out=said(fold.held_out))
    return Winner(TrialConfig(backbone, learning_rate=0.01), 0.95, 7, result)


def loop(folder: Path, about: Pool, how: Any = None) -> OuterLoop:
    how = how or settings()
    return OuterLoop(RunDir(folder), list(outer_folds(about.table, *how.outer_shape, 0)), about, how, 8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pool, OuterLoop, Path]:
    folder, about = tmp_path_factory.mktemp("outer"), pool()
    made = loop(folder, about)
    made.begin()
    for number, fold in enumerate(made.left):
        made.add(fold, winner(about, fold, "vgg16" if number % 3 else "resnet50", 1 + number / 4), 8, 14, 10.0)
    return about, made, folder


def test_every_number_can_be_computed_again_from_the_tables(finished: tuple[Pool, OuterLoop, Path]) -> None:
    about, made, folder = finished
    rows, images = pd.read_csv(folder / "outer.csv"), pd.read_csv(folder / "outer_predictions.csv")
    assert images.groupby("repeat")["image"].nunique().tolist() == [108, 108] and len(images) == 216
    assert not set(images["image"]) & set(about.table["image"][about.table["split"] == "test"])
    scores = []
    for row in rows.itertuples():
        own = images[(images["repeat"] == row.repeat) & (images["fold"] == row.fold)]
        true = own["label"] == "C1"
        scores.append(roc_auc_score(true, own["prob_C1"]))
        assert row.metric_auc == pytest.approx(scores[-1])
        assert row.calibrated_log_loss == pytest.approx(log_loss(true, own["calibrated_C1"]))
        assert row.sensitivity == pytest.approx((own["prob_C1"][true] >= row.threshold).mean())
        assert row.specificity == pytest.approx((own["prob_C1"][~true] < row.threshold).mean())
        assert row.patients == own["patient"].nunique() and row.images == len(own)
    found = made.record()
    assert (found.done, found.failed, found.trainings, found.budget, found.seconds) == (6, 0, 84, 8, 60.0)
    assert found.seed == outer_seed(0)
    assert found.score == pytest.approx(np.mean(scores))
    reach = t.ppf(0.975, 5) * np.sqrt((1 / 6 + 1 / 2) * np.var(scores, ddof=1))
    assert found.low == pytest.approx(np.mean(scores) - reach)
    assert found.high == pytest.approx(min(1.0, np.mean(scores) + reach))
    pooled = [roc_auc_score(own["label"] == "C1", own["calibrated_C1"]) for _, own in images.groupby("repeat")]
    assert found.pooled == pytest.approx(np.mean(pooled))
    assert found.chosen == {"vgg16": 4, "resnet50": 2} and found.validation == pytest.approx(0.95)


class Copy:
    """The files of a finished loop in a folder of their own, to be changed and verified."""

    def __init__(self, finished: tuple[Pool, OuterLoop, Path], folder: Path) -> None:
        self.about, made, self.folder = finished[0], finished[1], folder
        for file in ("outer.csv", "outer_predictions.csv"):
            (folder / file).write_bytes((finished[2] / file).read_bytes())
        self.about.table[["image", "label", "split"]].to_csv(folder / "splits.csv", index=False)
        self.told: dict[str, Any] = made.record().model_dump(mode="json")

    def wrong(self) -> list[str]:
        data = {"classes": list(self.about.classes)}
        (self.folder / "run.json").write_text(json.dumps({"outer": self.told, "data": data}))
        tally = Tally()
        outer(Folder(self.folder), tally)
        assert tally.compared > 60
        return tally.wrong


def test_other_code_computes_the_same_and_finds_what_was_changed(
    finished: tuple[Pool, OuterLoop, Path], tmp_path: Path
) -> None:
    copy = Copy(finished, tmp_path)
    assert copy.wrong() == []
    copy.told["high"] += 0.001
    (said,) = copy.wrong()
    assert said.startswith("its upper end:")
    copy.told["high"] -= 0.001
    rows = pd.read_csv(tmp_path / "outer_predictions.csv")
    rows.loc[0, "image"] = copy.about.table["image"][copy.about.table["split"] == "test"].iloc[0]
    rows.loc[1, ["prob_C0", "prob_C1"]] = rows.loc[1, ["prob_C1", "prob_C0"]].to_numpy()
    rows.to_csv(tmp_path / "outer_predictions.csv", index=False)
    said = " ".join(copy.wrong())
    assert "1 images are not of train and validation" in said and "outer fold 1-1: log_loss" in said
    assert "1 images of train and validation are never held out" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"low": None, "high": None, "error": None, "df": None, "reason": "so few"}, "has an interval: False is told"),
        ({"low": None}, "has an interval"),
        ({"high": None}, "its upper end"),
        ({"error": 0.5}, "its standard error"),
        ({"df": 4}, "its degrees of freedom"),
        ({"log_loss": 0.01}, "mean log_loss of the folds"),
        ({"calibrated": 0.01}, "mean calibrated of the folds"),
        ({"failed": 1}, "outer folds that failed: 1 is told"),
    ],
)
def test_other_code_finds_a_summary_that_the_folds_do_not_have(
    finished: tuple[Pool, OuterLoop, Path], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    copy = Copy(finished, tmp_path)
    copy.told |= changes
    assert said in " ".join(copy.wrong())


def test_other_code_finds_images_that_a_fold_lacks(finished: tuple[Pool, OuterLoop, Path], tmp_path: Path) -> None:
    copy = Copy(finished, tmp_path)
    rows = pd.read_csv(tmp_path / "outer_predictions.csv")
    rows[rows["patient"] != rows["patient"].iloc[0]].to_csv(tmp_path / "outer_predictions.csv", index=False)
    said = " ".join(copy.wrong())
    assert "outer fold 1-1: images" in said and "outer fold 1-1: patients" in said
    assert "2 images of train and validation are never held out" in said


def test_calibration_and_threshold_come_from_the_folds_own_validation(tmp_path: Path) -> None:
    about = pool()
    made = loop(tmp_path, about)
    made.begin()
    fold = made.left[0]
    won = winner(about, fold)
    row = made.add(fold, won, 8, 14, 1.0)
    assert won.result.scored is not None and won.result.held_out is not None
    validation = about.predictions(fold.rows["val"], won.result.scored.scores[0])
    mapped = choose_map(validation, about.class_weights(fold.rows["train"]), 0).map(won.result.held_out)
    kept = OUTER_PREDICTIONS.read(tmp_path)
    np.testing.assert_allclose(kept["calibrated_C1"], mapped[:, 1], atol=1e-6)
    upside_down = Winner(won.config, 0.95, 7, _held_out(won.result, 1 - won.result.held_out))
    other = loop(tmp_path / "other", about)
    other.begin()
    again = other.add(fold, upside_down, 8, 14, 1.0)
    assert again["threshold"] == row["threshold"], "what is held out moves no threshold"
    assert again["metric_auc"] == pytest.approx(1 - row["metric_auc"])


def _held_out(result: TrialResult, scores: Any) -> TrialResult:
    return TrialResult(result.best_epoch, result.metrics, result.epochs, 2.0, scored=result.scored, held_out=scores)


def test_a_finished_fold_is_not_repeated_and_one_that_failed_is(tmp_path: Path) -> None:
    about = pool()
    made = loop(tmp_path, about)
    made.begin()
    first, second, third, *_ = made.left
    made.add(first, winner(about, first), 8, 14, 1.0)
    made.fail(second, "SearchFailed: all 8 trials failed", 2.0)
    found = made.record("time limit")
    assert (found.done, found.failed, found.stopped_by) == (1, 1, "time limit")
    assert found.low is None and found.reason == "fewer than three folds have ended" and found.pooled is None
    assert OUTER.read(tmp_path)["state"].tolist() == ["completed", "failed"]
    OUTER_PREDICTIONS.append(tmp_path, [{"repeat": 1, "fold": 3, "image": "0.png", "label": "C0", "prob_C0": 0.5}])

    again = loop(tmp_path, about)
    assert [one.name for one in again.left] == ["1-2", "1-3", "2-1", "2-2", "2-3"]
    again.begin()
    kept = OUTER_PREDICTIONS.read(tmp_path)
    assert set(kept["fold"]) == {1} and len(kept) == len(first.held_out), (
        "a crash between the two tables leaves nothing"
    )
    again.add(third, winner(about, third), 8, 14, 1.0)
    assert OUTER.read(tmp_path)["fold"].tolist() == [1, 3]


def _damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    elif how == "damaged":
        file.write_bytes(content[:900] + b"\xff\xfe\x00" + content[903:])
    else:
        file.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1])


@pytest.mark.parametrize(
    ("how", "lost", "aside"), [("gone", 2, False), ("damaged", 2, True), ("a row is lost", 1, False)]
)
def test_a_finished_fold_without_its_images_is_carried_out_again(
    tmp_path: Path, how: str, lost: int, aside: bool
) -> None:
    about = pool()
    made = loop(tmp_path, about)
    assert made.begin() == ""
    for fold in made.left[:2]:
        made.add(fold, winner(about, fold), 8, 14, 1.0)
    assert loop(tmp_path, about).begin() == ""
    _damage(tmp_path / "outer_predictions.csv", how)

    again = loop(tmp_path, about)
    assert len(again.left) == 4 + lost and again.record().done == 2 - lost
    said = again.begin()
    names = "1-1 and 1-2" if lost == 2 else "1-2"
    assert f"lacks images of finished outer folds, which are carried out again: {names}" in said
    assert ("outer_predictions.damaged.csv" in said) == aside == (tmp_path / "outer_predictions.damaged.csv").exists()
    kept = OUTER_PREDICTIONS.read(tmp_path)
    assert set(zip(kept["repeat"], kept["fold"], strict=True)) == {(1, 1)} - ({(1, 1)} if lost == 2 else set())
    for fold in again.left:
        again.add(fold, winner(about, fold), 8, 14, 1.0)
    assert again.record().done == 6 and len(OUTER_PREDICTIONS.read(tmp_path)) == 216


def test_few_patients_have_a_score_and_no_interval(tmp_path: Path) -> None:
    about = pool(patients=22)  # 8 of each class beside those of test
    made = loop(tmp_path, about)
    made.begin()
    for fold in made.left[:4]:
        made.add(fold, winner(about, fold), 8, 14, 1.0)
    found = made.record()
    assert found.score is not None and found.low is None and "8 patients of C0" in found.reason
    assert found.pooled is not None, "of the first repeat, which is whole"
    assert Copy((about, made, tmp_path), tmp_path).wrong() == []


def test_several_classes_have_no_threshold(tmp_path: Path) -> None:
    about = pool(classes=3, patients=90)
    made = loop(tmp_path, about, settings(metric="log_loss"))
    made.begin()
    for fold in made.left:
        row = made.add(fold, winner(about, fold, skill=0.5 + fold.fold), 8, 14, 1.0)
        assert row["sensitivity"] is None if "sensitivity" in row else True
    found = made.record()
    assert found.metric == "log_loss" and found.sensitivity is None
    assert found.low is not None and found.high is not None and 0 <= found.low < found.score < found.high  # type: ignore[operator]
    assert np.isnan(OUTER.read(tmp_path)["threshold"]).all()
