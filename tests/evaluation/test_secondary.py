"""What is set beside the winner: members by validation alone, nothing else changes, costs and verdicts in words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from test_final import Study
from toys import SIZE, build_toy, toy_backbone

from bench.data.images.store import StoredImages
from bench.evaluation import ensembles, test_time
from bench.evaluation.ensemble_file import Written, write_ensemble
from bench.evaluation.ensembles import Known, choose_ensemble
from bench.evaluation.inputs import Decisions, EvaluationInputs
from bench.evaluation.predictions import predictions_table
from bench.evaluation.secondary import choose_secondary, sentence
from bench.models.assemble import full_model
from bench.models.augmentation import Policy
from bench.models.export import load_model, predict_images
from bench.models.metadata import read_card
from bench.run.courses import Curve, append_course
from bench.run.documents import Cost, Estimate, ModelCard, SecondaryModel
from bench.run.folder import file_sha256, write_json
from bench.run.tables import FINALISTS, PREDICTIONS_VAL
from bench.settings import make_settings
from bench.stats.calibration import CalibrationMap
from bench.trial import Scored
from bench.verify.command import checks
from bench.verify.reading import Folder, Tally

VIEWS = 4


class Ready(Exception):
    """The study is as it stands before it is opened."""


def finalists_of(study: Study, inputs: EvaluationInputs) -> EvaluationInputs:
    """``inputs`` with what the finalists' trainings leave: files, and what they said of validation."""
    finalists = inputs.finalists.assign(config_augmentation="light")
    for row in finalists.to_dict("records"):
        scores = study.predict(inputs.rows("val"), sum(Path(row["model"]).name.encode()))
        append_course(study.run, Curve("finalist", row["backbone"], row["repeat"]), Scored((1,), scores[None]))
        (study.run.path / row["model"]).parent.mkdir(exist_ok=True)
        (study.run.path / row["model"]).write_bytes(b"a model")
    FINALISTS.write(study.run.path, finalists)
    settings = make_settings(name="made-up", cache=study.folder, bootstrap=100, tta=VIEWS)
    return replace(inputs, finalists=finalists, settings=settings, policies={"light": Policy("light", rotation=5)})


def beside(study: Study, inputs: EvaluationInputs, decisions: Decisions) -> tuple[EvaluationInputs, Decisions]:
    """What `decide` adds, the file and the views being made up."""
    call_all, inputs = study.call_all, finalists_of(study, inputs)

    def call_more(calls: Any) -> list[Any]:
        if calls[0].func is test_time.views_mean:
            return [study.predict(calls[0].args[2], 99)]
        if calls[0].func is write_ensemble:
            with h5py.File(study.run.best_ensemble, "w"):
                pass
            return [Written(1e-7, 32, (3.0, 2.0, *(2.0 for _ in calls[0].args[1])))]
        return call_all(calls)

    study.call_all = call_more  # type: ignore[method-assign]
    secondary = choose_secondary(inputs, decisions, study.run, call_more, ModelCard(run="made-up"))
    card: dict[str, Any] = {"sha256": file_sha256(study.run.best_model)}
    known = {"ensemble": secondary.ensemble, "averaged_views": secondary.views}
    write_json(study.run.best_model_card, card | {name: one.content() for name, one in known.items() if one})
    names, own = study.table["image"].iloc[inputs.rows("val")], decisions.validation["vgg16"]
    PREDICTIONS_VAL.write(study.run.path, predictions_table(names, own, decisions.calibration.map))
    return inputs, replace(decisions, secondary=secondary)


def tally(study: Study) -> list[str]:
    found = Tally()
    checks()["ensemble and views"](Folder(study.run.path), found)
    assert found.compared > 60
    return found.wrong


def test_an_ensemble_and_views_are_set_beside_the_winner(tmp_path: Path) -> None:
    study = Study(("A", "B"), [0, 1] * 40, folder=tmp_path, noise=1.5, more=beside)
    content = study.open()
    assert set(content["models"]) == {"vgg16", "resnet50", "majority", "metadata"}
    ensemble, views = content["secondary"]
    card = json.loads(study.run.best_ensemble_card.read_text())
    assert len(card["members"]) > 1 and card["validation"] >= card["winner_validation"]
    held = read_card(study.run.best_ensemble)
    assert held is not None and (held.run, held.classes) == ("made-up", ("A", "B"))
    assert held.frozen[0].value == card["threshold"]["value"] and held.map is not None and not held.map.slopes
    table = pd.read_csv(study.run.predictions_secondary)
    own = table[(table["model"] == "ensemble") & (table["split"] == "val")]
    owner = own["image"].map(study.table.set_index("image")["patient_id"])
    worst = (1 - own["prob_A"].where(own["label"] == "A", own["prob_B"])).groupby(owner).max()
    assert held.conformal is not None and held.conformal.patients == len(worst)
    np.testing.assert_allclose(held.conformal.scores, np.sort(worst), atol=2e-6)
    assert held.training is not None and held.training.images == (study.table["split"] == "train").sum()
    assert held.training.features is None and "no pooled features of its own" in held.training.reason
    assert ensemble["cost"]["time"] == 1.5 and ensemble["difference"]["low"] < ensemble["difference"]["high"]
    assert "an image takes 1.5\u00a0× as long" in ensemble["sentence"]
    assert views["cost"]["time"] == VIEWS + 1 and "4 augmented copies" in views["title"]
    assert tally(study) == []
    ensemble["difference"]["value"] += 0.01
    views["scores"]["metrics"]["auc"]["value"] += 0.01
    study.run.evaluation.write_text(json.dumps(content))
    card["members"][0]["count"] += 1
    study.run.best_ensemble_card.write_text(json.dumps(card))
    table = pd.read_csv(study.run.predictions_secondary)
    table.loc[table["model"] == "ensemble", ["prob_A", "prob_B"]] = 0.5
    table.to_csv(study.run.predictions_secondary, index=False)
    wrong = tally(study)
    for said in ("ensemble: difference", "tta: auc", "members of the ensemble", "distance from the mean"):
        assert any(said in one for one in wrong), said


Chosen = tuple[Study, EvaluationInputs, Known]


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    """A study that is not opened, and what its ensemble is chosen by."""
    kept: list[Any] = []

    def keep(study: Study, inputs: EvaluationInputs, decisions: Decisions) -> tuple[EvaluationInputs, Decisions]:
        known = Known("vgg16", decisions.calibration.map, decisions.validation)
        kept.extend([finalists_of(study, inputs), known])
        raise Ready

    folder = tmp_path_factory.mktemp("chosen")
    study = Study(("A", "B"), [0, 1] * 20, folder=folder, noise=1.5, more=keep)
    with pytest.raises(Ready):
        study.open()
    return study, *kept


def test_backbones_of_another_size_are_no_candidates(chosen: Chosen) -> None:
    study, inputs, known = chosen
    larger = StoredImages(study.folder / "images.npy", 16, 1, "data")
    choice, _ = choose_ensemble(replace(inputs, images={**inputs.images, "resnet50": larger}), study.run, known)
    assert choice.left_out == "ResNet50 takes images of another size than the winner’s 8 × 8"
    assert choice.candidates == 2 and {one.model for one in choice.members} <= {"vgg16"}


def test_a_file_that_cannot_be_written_costs_nothing_else(chosen: Chosen) -> None:
    study, inputs, known = chosen

    def full(calls: Any) -> list[Any]:
        raise OSError("no space left")

    choice, scores = choose_ensemble(inputs, study.run, known)
    assert choice.members
    after = ensembles.export_ensemble(choice, scores, inputs, study.run, known, full)
    assert not after.members and "could not be written as one file" in after.reason
    assert not study.run.best_ensemble_card.exists()


def test_one_training_alone_is_no_ensemble(chosen: Chosen) -> None:
    study, inputs, known = chosen
    study.run.predictions_epochs.unlink()
    labels, val = inputs.labels(inputs.rows("val")), known.validation
    right = np.where(np.eye(2)[labels] > 0, 0.999, 0.001)
    for row in inputs.finalists.to_dict("records"):
        curve = Curve("finalist", row["backbone"], row["repeat"])
        append_course(study.run, curve, Scored((1,), val["resnet50"].scores[None]))
    better = {"vgg16": val["vgg16"].with_scores(right), "resnet50": val["resnet50"]}
    choice, scores = choose_ensemble(inputs, study.run, replace(known, validation=better))
    assert not choice.members and scores is None and choice.candidates == 4
    assert choice.reason == "on validation no average is better than one training, VGG16, seed 1, alone"
    study.run.best_ensemble.write_bytes(b"an earlier one")
    ensembles.export_ensemble(choice, scores, inputs, study.run, known, lambda calls: pytest.fail("nothing is written"))
    assert not study.run.best_ensemble.exists(), "what an earlier choice left is gone"


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (
            Estimate(value=0.02, low=0.01, high=0.03),
            "better than the winner: its ROC AUC is 0.020 (0.010–0.030) above the winner’s",
        ),
        (Estimate(value=-0.02, low=-0.03, high=-0.01), "The ensemble is worse than the winner"),
        (Estimate(value=0.02, low=-0.01, high=0.05), "The ensemble is not shown to be worth its cost"),
        (
            Estimate(value=0.02, reason="too few"),
            "said: its ROC AUC is 0.020 above the winner’s, without an interval (too few)",
        ),
    ],
)
def test_whether_it_is_worth_it_is_one_sentence(difference: Estimate, said: str) -> None:
    one = SecondaryModel(kind="ensemble", metric="auc", difference=difference, cost=Cost(time=2.0, size=3.0))
    assert said in sentence(one) and "2.0\u00a0× as long, the file is 3.0\u00a0× as large" in sentence(one)
    loss = one.model_copy(update={"metric": "log_loss"})
    assert ("worse" in sentence(loss)) == ("better" in sentence(one)), "of a loss less is better"


def test_views_are_the_mean_over_the_image_and_its_copies(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 255, (24, SIZE, SIZE, 1)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    stored = StoredImages(tmp_path / "images.npy", SIZE, 1, "data")
    standard = np.zeros(16, np.float32), np.ones(16, np.float32)
    model = full_model(toy_backbone(), build_toy(), SIZE, 1, 2, standard, dropout=0.0)
    model.save(file := tmp_path / "toy.h5")
    mirror, rows = test_time.Views(Policy("mirror", horizontal_flip=True), 8, 7), np.arange(24)
    how = CalibrationMap("temperature", (), (2.0,))
    found = test_time.views_mean(file, stored, rows, mirror, how)
    network = load_model(file)
    both = [how(predict_images(network, one)) for one in (images[:24], np.ascontiguousarray(images[:24, :, ::-1]))]
    apart = (both[1] - both[0])[:, 1]
    share = (found - both[0])[:, 1][abs(apart) > 1e-3] / apart[abs(apart) > 1e-3]
    counts = share * 9
    np.testing.assert_allclose(counts, np.round(counts), atol=0.05)
    assert len(counts) > 10 and 2 < counts.mean() < 6, (
        "about half of the copies are mirrored, and the image itself is not"
    )
    again = test_time.views_mean(file, stored, rows[::-1], mirror, how)
    np.testing.assert_allclose(again[::-1], found, atol=1e-6, err_msg="each view depends on its image alone")
