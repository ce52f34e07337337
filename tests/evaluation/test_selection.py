"""What choosing on validation has cost: the correction on studies whose truth is known, and how often each wins."""

import numpy as np
import pytest

from bench.evaluation import selection as module
from bench.evaluation.selection import selection
from bench.run.courses import Course, Curve
from bench.stats.bootstrap import Bootstrap
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions

AUC, LOSS = METRICS["auc"], METRICS["log_loss"]
CLASSES = ("a", "b")


def images(n: int, seed: int = 0, per_patient: int = 1) -> Predictions:
    labels = np.random.default_rng(seed).permutation(np.arange(n) % 2)
    labels = labels[np.arange(n) // per_patient]
    return Predictions(labels, np.zeros((n, 2)), np.arange(n) // per_patient, CLASSES)


def model(labels: np.ndarray, worth: float, random: np.random.Generator) -> np.ndarray:
    """Probabilities whose classes lie ``worth`` standard deviations apart."""
    second = 1 / (1 + np.exp(-(worth * (labels - 0.5) + random.normal(size=len(labels)))))
    return np.column_stack([1 - second, second]).astype(np.float32)


def trials(labels: np.ndarray, worths: list[float], seed: int, epochs: int = 1) -> list[Course]:
    random = np.random.default_rng(seed)
    return [
        Course(
            Curve("trial", str(number)),
            tuple(range(1, epochs + 1)),
            np.stack([model(labels, worth, random) for _ in range(epochs)]),
        )
        for number, worth in enumerate(worths)
    ]


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 60)


@pytest.mark.usefixtures("few_draws")
def test_the_luck_of_the_best_of_many_is_taken_back() -> None:
    """30 configurations that know nothing: the best seems to, the selection as a whole is worth 0.5."""
    apparent, corrected = [], []
    for study in range(40):
        shown = images(60, study)
        found = selection(trials(shown.labels, [0.0] * 30, study), shown, AUC, Bootstrap(60, seed=study))
        apparent.append(found.apparent)
        corrected.append(found.corrected)
    error = np.std(corrected, ddof=1) / np.sqrt(len(corrected))
    assert np.mean(apparent) > 0.62
    assert abs(np.mean(corrected) - 0.5) < 3 * error + 0.005
    assert error < 0.02, "else nothing is checked"


@pytest.mark.usefixtures("few_draws")
def test_epochs_are_chosen_among_too() -> None:
    shown = images(60)
    found = selection(trials(shown.labels, [0.0], 1, epochs=30), shown, AUC, Bootstrap(60))
    assert (found.configurations, found.epochs) == (1, 30)
    assert found.apparent - found.corrected > 0.05


@pytest.mark.usefixtures("few_draws")
def test_one_configuration_pays_nothing_for_being_chosen() -> None:
    shown = images(200)
    found = selection(trials(shown.labels, [1.5], 0), shown, AUC, Bootstrap(60))
    assert found.corrected == pytest.approx(found.apparent, abs=0.02)
    assert found.low < found.corrected < found.high


@pytest.mark.usefixtures("few_draws")
def test_the_worst_candidates_need_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = images(100)
    courses = trials(shown.labels, [0.0] * 60 + [1.0] * 20, 3)
    whole = selection(courses, shown, AUC, Bootstrap(60))
    monkeypatch.setattr(module, "MOST_SCORED", 100)
    assert len(module._candidates(courses, module.Choosing(shown, AUC, Bootstrap(60)))) == module.FEWEST_CANDIDATES
    assert selection(courses, shown, AUC, Bootstrap(60)).corrected == pytest.approx(whole.corrected, abs=0.005)


@pytest.mark.usefixtures("few_draws")
def test_a_loss_is_corrected_upwards() -> None:
    shown = images(60)
    found = selection(trials(shown.labels, [0.5] * 30, 2), shown, LOSS, Bootstrap(60))
    assert found.corrected > found.apparent
    assert found.low < found.corrected < found.high


def finalists(labels: np.ndarray, **worths: list[float]) -> list[Course]:
    random = np.random.default_rng(5)
    return [
        Course(Curve("finalist", name, repeat), (3,), model(labels, worth, random)[None])
        for name, own in worths.items()
        for repeat, worth in enumerate(own, start=1)
    ]


@pytest.mark.usefixtures("few_draws")
def test_backbones_win_as_often_as_patients_and_seeds_let_them() -> None:
    shown = images(100)
    clear = trials(shown.labels, [1.0], 0) + finalists(shown.labels, vgg16=[3.0] * 3, resnet50=[1.0] * 3)
    assert selection(clear, shown, AUC, Bootstrap(60)).chosen == {"vgg16": 1.0, "resnet50": 0.0}
    even = trials(shown.labels, [1.0], 0) + finalists(shown.labels, vgg16=[1.0] * 3, resnet50=[1.0] * 3)
    chosen = selection(even, shown, AUC, Bootstrap(60)).chosen
    assert sum(chosen.values()) == pytest.approx(1)
    assert all(0 < share < 1 for share in chosen.values())
    perfect = selection(trials(shown.labels, [60.0], 0), shown, AUC, Bootstrap(60))
    assert (perfect.corrected, perfect.low, perfect.high) == (1.0, None, None), "draws that agree know no interval"
    level = trials(shown.labels, [1.0], 0) + finalists(shown.labels, vgg16=[60.0] * 2, resnet50=[60.0] * 2)
    assert selection(level, shown, AUC, Bootstrap(60)).chosen == {"vgg16": 0.5, "resnet50": 0.5}, "both are perfect"
    lucky = finalists(shown.labels, vgg16=[2.2, 2.2, 2.2], resnet50=[3.5, 2.0, 0.5])
    spread = selection(trials(shown.labels, [1.0], 0) + lucky, shown, AUC, Bootstrap(60)).chosen
    assert 0.02 < spread["resnet50"] < 0.5, "its seeds differ: in some draws the lucky one is drawn twice"


def test_what_cannot_be_computed_says_why() -> None:
    shown = images(100)
    courses = trials(shown.labels, [1.0], 0)
    assert "no predictions were kept" in selection([], shown, AUC, Bootstrap(60)).reason
    assert "no bootstrap draws" in selection(courses, shown, AUC, Bootstrap(0)).reason
    few = images(30, per_patient=3)
    found = selection(trials(few.labels, [1.0], 0), few, AUC, Bootstrap(60))
    assert found.corrected is None and "patients" in found.reason
    assert found.configurations == 1
