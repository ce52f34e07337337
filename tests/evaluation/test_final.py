"""The opening as a whole, on made-up predictions: every file is there, no NaN, and what cannot be computed is said."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.checksums import checksum
from bench.cluster import Ended, Job
from bench.data.images.store import StoredImages
from bench.data.sealing import Sealed
from bench.evaluation import in_worker
from bench.evaluation.final import open_test, renew_selection
from bench.evaluation.inputs import Decisions, EvaluationInputs
from bench.evaluation.ledger import Ledgers
from bench.evaluation.saliency import Cases
from bench.evaluation.test_access import SealedTest, TestSealed
from bench.run.courses import Curve, append_course
from bench.run.documents import ModelCard, Threshold
from bench.run.folder import RunDir, file_sha256, write_json
from bench.run.stages import Stage
from bench.run.tables import TRIALS
from bench.settings import make_settings
from bench.stats.calibration import CalibrationMap, Choice
from bench.stats.metrics import METRICS, evaluate
from bench.trial import Scored
from bench.verify.command import checks
from bench.verify.reading import Folder, NotThere, Tally

TABLES = ("comparisons", "operating_points", "prevalences", "decision_curve", "curves", "failures", "subgroups")
FILES = (*(f"{name}.csv" for name in TABLES), "calibration.json", "failures.npz", "predictions_models.csv")
FILES += ("thumbnails.npz",)


@dataclass
class Study:
    """A made-up run that is ready to be opened, and what its workers say."""

    classes: tuple[str, ...]
    test_labels: list[int]
    images_a_patient: int = 2
    joined: int = 0
    noise: float = 0.3
    folder: Path = Path()
    called: list[Any] = field(default_factory=list)
    fault: Exception | None = None
    more: Callable[..., tuple[EvaluationInputs, Decisions]] = lambda study, inputs, decisions: (inputs, decisions)

    def __post_init__(self) -> None:
        k = len(self.classes)
        labels = [number % k for number in range(20 * k)] * 2 + self.test_labels
        n_test = len(self.test_labels)
        splits = ["train"] * (20 * k) + ["val"] * (20 * k) + ["test"] * n_test
        n = len(labels)
        rng = np.random.default_rng(5)
        self.table = pd.DataFrame(
            {
                "image": [f"{number}.png" for number in range(n)],
                "label": [self.classes[label] for label in labels],
                "patient_id": [f"p{number // self.images_a_patient}" for number in range(n)],
                "split": splits,
                "group:sex": ["f" if number % 3 else "" for number in range(n)],
            }
        )
        first = splits.index("test")
        shared = self.table["patient_id"].iloc[first]
        joined = pd.RangeIndex(first, first + self.joined)
        self.table["unit"] = self.table["patient_id"].where(~self.table.index.isin(joined), shared)
        self.facts = pd.DataFrame(
            {
                "pixels": [f"{number:032x}" for number in range(n)],
                "width": rng.integers(80, 120, n),
                "height": 100,
                "bytes": rng.integers(1000, 2000, n),
                "mode": "L",
                "constant": False,
                "perceptual_hash": [f"{number:064x}" for number in range(n)],
            }
        )
        np.save(self.folder / "images.npy", rng.integers(0, 255, (n, 8, 8, 1), dtype=np.uint8))
        self.images = {name: StoredImages(self.folder / "images.npy", 8, 1, "data") for name in ("vgg16", "resnet50")}
        self.run = RunDir(self.folder / "reports" / "made-up")
        self.run.path.mkdir(parents=True)
        write_json(self.run.run, {"name": "made-up"})
        self.run.best_model.write_bytes(b"a model")
        TRIALS.write(self.run.path, [])
        for stage in ("data", "search", "finalists"):
            self.run.finish(stage)
        self.sealed = SealedTest(self.table, self.facts, self.images, self.run, Ledgers((self.folder / "cache",)))
        self.inputs = EvaluationInputs(
            settings=make_settings(name="made-up", cache=self.folder, bootstrap=100),
            table=self.sealed.sealed_table(),
            facts=self.facts,
            classes=self.classes,
            images=self.sealed.sealed_images(),
            finalists=pd.DataFrame(),
            baselines=pd.DataFrame(
                {
                    "baseline": ["recipe", "majority", "metadata"],
                    "repeat": 1,
                    "state": ["skipped", "completed", "completed"],
                    "representative": True,
                    "model": "",
                }
            ),
        )
        self.logits = rng.normal(size=(n, k)) + 2 * np.eye(k)[labels]

    def predict(self, rows: Any, noise: int) -> Any:
        logits = self.logits[rows] + self.noise * np.random.default_rng(noise).normal(
            size=(len(rows), len(self.classes))
        )
        return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)

    def call_all(self, calls: Sequence[Any]) -> list[Any]:
        return [self.call(one.func, *one.args) for one in calls]

    def call(self, function: Any, *arguments: Any) -> Any:
        self.called.append(function)
        if function is in_worker.attempt:

            def fail(model: Path, stored: StoredImages, some: Any, *rest: Any) -> None:
                self.read(stored, some.rows if isinstance(some, Cases) else some)
                raise self.fault or MemoryError("no room for\npictures")

            return in_worker.attempt(arguments[0], fail, *arguments[2:])
        given, stored, rows = arguments
        self.read(stored, rows)
        if function is in_worker.predict:
            return self.predict(rows, sum(given.name.encode()))
        assert function is in_worker.score
        return {one.path: self.predict(rows, sum(one.path.name.encode())) for one in given}

    @staticmethod
    def read(stored: StoredImages, rows: Any) -> None:
        assert stored.open()[rows].shape == (len(rows), 8, 8, 1), "what is opened can be read"

    def open(self) -> dict[str, Any]:
        val = self.inputs.rows("val")
        validation = {
            name: self.inputs.on_validation(self.predict(val, sum(f"{name}.h5".encode()))) for name in self.images
        }
        thresholds = tuple(
            Threshold(label=name, value=0.4, rule="made up")
            for name in (self.classes[1:] if len(self.classes) == 2 else self.classes)
        )
        rows, labels = [], self.inputs.labels(val)
        for name in self.images:
            for repeat in (1, 2):
                file = f"models/{name}{'' if repeat == 1 else '-2'}.h5"
                scores = evaluate(labels, self.predict(val, sum(Path(file).name.encode())))
                rows.append(
                    {
                        "backbone": name,
                        "repeat": repeat,
                        "state": "completed",
                        "representative": repeat == 1,
                        "winner": name == "vgg16" and repeat == 1,
                        "trial_score": 0.9,
                        "config_unfreeze_depth": 1,
                        "model": file,
                        "sha256": f"{name}{repeat}",
                        **{f"metric_{metric}": value for metric, value in scores.items()},
                    }
                )
        decisions = Decisions("vgg16", Choice(CalibrationMap.of_temperature(1.3)), thresholds, validation)
        card = ModelCard(sha256=file_sha256(self.run.best_model), conformal=decisions.conformal)
        write_json(self.run.best_model_card, card)
        inputs = replace(self.inputs, finalists=pd.DataFrame(rows))
        inputs, decisions = self.more(self, inputs, decisions)
        found: dict[str, Any] = open_test(inputs, decisions, self.sealed, self.run, self.call_all).content()
        return found


def assert_whole(study: Study, content: dict[str, Any]) -> None:
    """Every file is there, readable, and free of NaN; evaluation.json is what was returned."""
    assert json.loads(study.run.evaluation.read_text(), parse_constant=lambda text: pytest.fail(text)) == content
    for name in FILES:
        path = study.run.path / name
        assert path.exists(), name
        if path.suffix == ".csv":
            assert "nan" not in path.read_text().lower(), name
    for model in content["models"].values():
        for name, score in model["metrics"].items():
            assert score["value"] is not None or score["reason"], name
    text = json.dumps(content)
    for what in ("robustness under altered images", "saliency maps"):
        assert f'"{what}", "reason": "MemoryError: no room for pictures"' in text
    run, compared = Folder(study.run.path), 0
    for name in set(checks()) - {"intervals by patients", "file hashes", "seal and plan", "ledgers"}:
        tally = Tally()
        with suppress(NotThere):
            checks()[name](run, tally)
        assert tally.wrong == [], f"computed a second time, {name} is another"
        compared += tally.compared
    assert compared > 250


@pytest.mark.parametrize("classes", [("A", "B"), ("A", 'b"&<i>', "C")])
def test_all_is_computed_and_written(classes: tuple[str, ...], tmp_path: Path) -> None:
    study = Study(classes, [number % len(classes) for number in range(60)], folder=tmp_path)
    content = study.open()
    table = pd.read_csv(study.run.predictions_test)
    assert len(table) == 60
    assert list(table.columns[:4]) == ["image", "label", "patient", "pixels"]
    assert table["pixels"].astype(str).tolist() == study.facts["pixels"].iloc[study.inputs.rows("test")].tolist()
    text = study.run.subgroups.read_text()
    assert "sex" in text and "image size" in text
    assert set(content["models"]) == {"vgg16", "resnet50", "majority", "metadata"}
    winner = content["models"]["vgg16"]
    assert winner["metrics"]["auc"]["low"] < winner["metrics"]["auc"]["value"] < winner["metrics"]["auc"]["high"]
    assert winner["repeats"]["n"] == 2 and winner["repeats"]["sd"]["auc"] > 0
    assert winner["metrics"] != content["models"]["resnet50"]["metrics"]
    assert content["models"]["majority"]["metrics"]["auc"]["value"] == 0.5
    expected = study.predict(study.inputs.rows("test"), sum(b"vgg16.h5"))
    found = table[[f"prob_{name}" for name in classes]].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert content["several_images_a_patient"] is True
    distances = (expected - np.eye(len(classes))[[classes.index(label) for label in table["label"]]]) ** 2
    by_image = distances[:, 1] if len(classes) == 2 else distances.sum(axis=1)
    assert winner["metrics"]["brier"]["value"] == pytest.approx(by_image.mean())
    told = "p the probability of B; 0 best, 1 worst" if len(classes) == 2 else "summed over the classes"
    assert told in content["definitions"]["brier"]
    assert content["files"] == {f"{name}-{repeat}": f"{name}{repeat}" for name in study.images for repeat in (1, 2)}
    assert len(content["refusals"]) == 2
    assert_whole(study, content)


def test_a_full_disk_ends_the_evaluation(tmp_path: Path) -> None:
    """What is set beside the scores costs nothing else when it fails, but for that."""
    study = Study(("A", "B"), [0, 1] * 30, folder=tmp_path)
    study.fault = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space left on device"):
        study.open()


def test_of_several_errors_in_workers_that_of_a_full_disk_is_raised() -> None:
    def carry_out(jobs: dict[Job, float]) -> Iterator[Ended]:
        for job, error in zip(jobs, (MemoryError("too little"), OSError(28, "No space left on device")), strict=True):
            yield Ended(job, None, error, 0, 0.0, 0.0)

    stage: Any = SimpleNamespace(carry_out=carry_out)
    with pytest.raises(OSError, match="No space left on device"):
        Stage.call_all(stage, [partial(print), partial(print)])


def test_one_class_alone_is_told_and_the_rest_computed(tmp_path: Path) -> None:
    study = Study(("A", "B"), [1] * 40, folder=tmp_path)
    content = study.open()
    assert_whole(study, content)
    metrics = content["models"]["vgg16"]["metrics"]
    assert metrics["auc"]["value"] is None and "no image of A" in metrics["auc"]["reason"]
    assert metrics["accuracy"]["low"] <= metrics["accuracy"]["value"] <= metrics["accuracy"]["high"]
    assert any("no image of A" in refusal["reason"] for refusal in content["refusals"])
    points = pd.read_csv(study.run.operating_points)
    assert points.query("measure == 'sensitivity'")["value"].notna().all()
    assert points.query("measure == 'specificity'")["value"].isna().all()
    assert set(pd.read_csv(study.run.comparisons)["verdict"]) == {"not computed"}


def test_few_patients_have_values_without_intervals(tmp_path: Path) -> None:
    study = Study(("A", "B"), [0, 1] * 12, images_a_patient=4, folder=tmp_path)
    content = study.open()
    assert_whole(study, content)
    assert content["patients"] == 6 and content["bootstrap"]["draws"] == 0
    for score in content["models"]["vgg16"]["metrics"].values():
        assert score["value"] is not None and score["low"] is None
    assert any("6 patients" in refusal["reason"] for refusal in content["refusals"])
    assert content["validation"]["metrics"]["log_loss"]["low"] is not None, "validation has enough"


def test_few_patients_of_a_class_are_named_and_no_number_pretends(tmp_path: Path) -> None:
    study = Study(("A", "B"), [0] * 60 + [1] * 6, folder=tmp_path)
    content = study.open()
    assert_whole(study, content)
    metrics = content["models"]["vgg16"]["metrics"]
    assert metrics["accuracy"]["low"] is not None
    assert metrics["auc"]["value"] is not None and metrics["auc"]["low"] is None
    why = "there are 3 patients of B, fewer than 10"
    assert any(refusal["reason"] == why and "ROC AUC" in refusal["what"] for refusal in content["refusals"])
    pairs = pd.read_csv(study.run.comparisons)
    assert pairs[["low", "high", "p"]].isna().all(axis=None)
    assert (pairs["reason"] == f"no interval: {why}").all()
    for table in (study.run.curves, study.run.decision_curve):
        assert pd.read_csv(table)[["low", "high"]].isna().all(axis=None)


def test_few_patients_of_validation_have_no_intervals_either(tmp_path: Path) -> None:
    study = Study(("A", "B"), [0, 1] * 60, images_a_patient=5, folder=tmp_path)
    content = study.open()
    assert content["validation"]["patients"] == 8 and content["patients"] == 24
    assert all(score["low"] is score["high"] is None for score in content["validation"]["metrics"].values())
    assert content["models"]["vgg16"]["metrics"]["auc"]["low"] is not None
    assert content["gap"]["low"] is None and not content["gap"]["flagged"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of 40 patients that was opened."""
    study = Study(("A", "B"), [0, 1] * 40, folder=tmp_path_factory.mktemp("opened"))
    study.open()
    return study


def test_it_is_opened_once_and_not_by_the_side_door(opened: Study) -> None:
    with pytest.raises(Sealed):
        opened.inputs.images["vgg16"].open()[opened.inputs.rows("test")]
    assert set(opened.inputs.table.loc[opened.inputs.rows("test"), "label"]) == {""}
    assert opened.called[0] is in_worker.predict, "the exported file, by itself"
    assert opened.called.count(in_worker.predict) == 1 and opened.called.count(in_worker.score) == 2
    assert opened.run.read().test.evaluated == opened.run.read().test.opened, "so that it is not used again"
    with pytest.raises(TestSealed, match="open already"):
        opened.open()
    assert set(METRICS) == set(json.loads(opened.run.evaluation.read_text())["models"]["vgg16"]["metrics"])


@pytest.mark.parametrize(
    ("name", "column"),
    [("failures.csv", "confidence"), ("failures.csv", "image"), ("subgroups.csv", "images"), ("subgroups.csv", "auc")],
)
def test_another_number_in_a_table_of_errors_or_subgroups_is_found(
    opened: Study, tmp_path: Path, name: str, column: str
) -> None:
    copy = Path(shutil.copytree(opened.run.path, tmp_path / "copy"))
    table = pd.read_csv(copy / name, keep_default_na=False)
    table[column] = table[column].iloc[::-1].to_numpy()
    table.to_csv(copy / name, index=False)
    for folder in (opened.run.path, copy):
        tally = Tally()
        checks()[name](Folder(folder), tally)
        assert bool(tally.wrong) == (folder == copy)


def test_patients_who_share_an_identical_image_are_drawn_as_one(opened: Study, tmp_path: Path) -> None:
    """Twelve images of six patients are joined by copies: evaluation, and the files that others draw from, say so."""
    joined = Study(("A", "B"), [0, 1] * 40, folder=tmp_path, joined=12)
    assert json.loads(opened.run.evaluation.read_text())["patients"] == 40
    assert joined.open()["patients"] == 35
    written = pd.read_csv(joined.run.predictions_test)
    assert written["patient"].nunique() == 35
    assert set(written["patient"].head(12)) == {joined.table["unit"].iloc[80]}


def test_of_identical_images_the_pictures_show_one(tmp_path: Path) -> None:
    study = Study(("A", "B"), [0, 1] * 40, folder=tmp_path)
    study.facts["pixels"] = "the same"
    study.open()
    errors = pd.read_csv(study.run.failures)
    assert errors["shown"].sum() == 1
    assert set(errors["copies"]) == {len(errors)}
    with np.load(study.run.failures_images) as held:
        assert held["ranks"].tolist() == [1]


def test_thumbnails_are_of_the_most_wrong_and_of_those_nearest_to_the_threshold(opened: Study) -> None:
    val = opened.inputs.rows("val")
    by_split = {"test": pd.read_csv(opened.run.predictions_test)}
    by_split["val"] = opened.table.iloc[val].assign(prob_B=opened.predict(val, sum(b"vgg16.h5"))[:, 1])
    with np.load(opened.run.thumbnails) as held:
        kept = list(zip(held["splits"].tolist(), held["names"].tolist(), held["images"], strict=True))
    assert len({(split, name) for split, name, _ in kept}) == len(kept)
    pixels, rows = np.load(opened.folder / "images.npy"), {name: row for row, name in enumerate(opened.table["image"])}
    for split, table in by_split.items():
        table = table.sort_values("prob_B")
        sick, well = table[table["label"] == "B"], table[table["label"] == "A"].iloc[::-1]
        expected = [sick.head(12), sick[sick["prob_B"] >= 0.4].head(12)]
        expected += [well.head(12), well[well["prob_B"] < 0.4].head(12)]
        assert {name for of, name, _ in kept if of == split} == set(pd.concat(expected)["image"])
    for _, name, image in kept:
        np.testing.assert_array_equal(image, pixels[rows[name]])  # of 8 pixels each, which is not enlarged


def killed_after(write: Callable[..., None]) -> Callable[..., None]:
    """As ``write``, ended before anything can follow."""

    def killed(*given: Any) -> None:
        write(*given)
        raise KeyboardInterrupt

    return killed


def test_trials_that_change_no_finalist_are_counted_without_another_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger budget: the evaluation stands, but the choice was one among more."""
    study = Study(("A", "B"), [number % 2 for number in range(60)], folder=tmp_path)
    before = study.open()
    assert before.pop("selection")["configurations"] == 0
    inputs = replace(study.inputs, finalists=pd.DataFrame([{"backbone": "vgg16", "repeat": 1, "state": "completed"}]))
    study.run.pin(study.run.evaluation)
    for trial in range(3):
        scores = study.predict(inputs.rows("val"), trial)[None]
        append_course(study.run, Curve("trial", str(trial)), Scored((1,), scores))
    states = ("completed", "pruned", "failed")
    TRIALS.write(study.run.path, [{"trial": trial, "state": state} for trial, state in enumerate(states)])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("bench.evaluation.final.write_json", killed_after(write_json))
        renew_selection(inputs, study.run)
    assert "evaluation.json" not in study.run.read().pinned, "else what is whole would be called damaged"
    renew_selection(inputs, study.run)
    after = json.loads(study.run.evaluation.read_text())
    found = after.pop("selection")
    assert (found["configurations"], found["epochs"]) == (2, 2) and 0.5 < found["corrected"] <= found["apparent"] <= 1
    assert after == before, "nothing else is another"
    assert study.run.read().pinned["evaluation.json"] == checksum(study.run.evaluation)
    assert len(study.run.read().test.openings) == 1
