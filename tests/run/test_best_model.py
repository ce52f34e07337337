"""best_model.h5 and its card: what a removed, damaged or half-written one leads to, and which of them is evaluated."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from bench.evaluation.decide import write_card
from bench.models.metadata import read_card
from bench.run.documents import ModelCard
from bench.run.folder import RunDir, file_sha256, write_json
from bench.run.stages import Models, _restore, evaluated


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run whose winner is trained, and exported as a link."""
    run = RunDir(tmp_path / "xray")
    run.models.mkdir(parents=True)
    with h5py.File(run.models / "toy-1.h5", "w") as file:
        file["weights"] = np.arange(1000.0)
    write_json(run.run, {"name": "xray", "settings": {"name": "xray"}})
    run.export(run.models / "toy-1.h5")
    return run


def models_of(run: RunDir) -> Models:
    row = {"backbone": "toy", "repeat": 1, "state": "completed", "winner": True, "model": "models/toy-1.h5"}
    finalists = pd.DataFrame([row | {"sha256": file_sha256(run.models / "toy-1.h5")}])
    return Models(finalists, pd.DataFrame(columns=["baseline", "repeat", "state", "model", "sha256"]))


def decide(run: RunDir) -> None:
    trained = file_sha256(run.models / "toy-1.h5")
    write_card(ModelCard(classes=("A", "B"), trained=trained), ModelCard(run="xray"), "models/toy-1.h5", run)


def test_the_card_lies_in_a_copy_of_the_winners_file_and_is_put_back(run: RunDir) -> None:
    models, winner = models_of(run), run.models / "toy-1.h5"
    before = winner.read_bytes()
    decide(run)
    run.finish("evaluation")
    held = read_card(run.best_model)
    assert held is not None and held.classes == ("A", "B") and held.run == "xray" and not held.sha256
    assert winner.read_bytes() == before and evaluated(run, models, sealed=True)
    whole = run.best_model.read_bytes()
    for damage in (lambda: run.best_model.unlink(), lambda: run.best_model.write_bytes(b"half")):
        damage()
        assert not evaluated(run, models, sealed=True)
        _restore(run, winner, models)
        assert run.best_model.read_bytes() == whole and evaluated(run, models, sealed=True)


def test_what_ends_between_the_file_and_its_card_is_evaluated_anew(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, winner = models_of(run), run.models / "toy-1.h5"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bench.evaluation.decide.write_json", killed)
        decide(run)
    assert read_card(run.best_model) is not None and not run.best_model_card.exists()
    assert not evaluated(run, models, sealed=True)
    _restore(run, winner, models)
    assert run.best_model.samefile(winner)
    decide(run)
    run.finish("evaluation")
    assert evaluated(run, models, sealed=True)


def test_another_winner_or_a_card_of_an_earlier_version_is_told_apart(run: RunDir) -> None:
    models, winner = models_of(run), run.models / "toy-1.h5"
    decide(run)
    run.finish("evaluation")
    with h5py.File(winner, "r+") as file:
        file["weights"][0] = 7.0
    again = models_of(run)
    assert not evaluated(run, again, sealed=True)
    _restore(run, winner, again)
    assert run.best_model.samefile(winner)
    write_json(run.best_model_card, ModelCard(sha256=file_sha256(winner)))
    run.finish("evaluation")
    assert evaluated(run, again, sealed=True), "as earlier versions wrote it"
    assert models.files != again.files
