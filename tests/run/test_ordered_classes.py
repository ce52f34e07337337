"""A run that chooses by a metric of ordered classes, and one of the same classes without an order, by another."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toys
from PIL import Image
from sklearn.metrics import cohen_kappa_score, roc_curve

from bench import cluster
from bench.cli import main
from bench.report import pictures
from bench.search import tune

pytestmark = pytest.mark.end_to_end

ORDER = ("mild", "late", "fatal")
"""Not as their names are sorted."""
FLAGS = "--weights random --jobs 1 --precision float32 --scheduler none --cache cache --image-size 32 --budget 2"
FLAGS += " --epochs 1 --repeats 1 --bootstrap 100 --no-learning-curve"


def write_grades(root: Path, per_class: int) -> Path:
    """Three classes whose checkerboard is the stronger, the further on they are; each image its own patient."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for grade, name in enumerate(ORDER):
            (root / split / name).mkdir(parents=True)
            for number in range(per_class):
                pixels = rng.normal(120, 20, (32, 32)) + 25 * grade * (np.indices((32, 32)).sum(axis=0) // 4 % 2 - 0.5)
                image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
                image.save(root / split / name / f"{split}-{name}-{number}.png")
    return root


WANTED = {"quadratic_kappa": ["--ordinal", ",".join(ORDER)], "specificity_at_95_sensitivity": []}
"""The runs, by what they choose by."""


@pytest.fixture(scope="module", params=WANTED)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the two runs."""
    folder, metric = tmp_path_factory.mktemp("grades"), request.param
    (folder / "toys.yaml").write_text(toys.SPACE)
    data = write_grades(folder / "data", 14)
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
        typed = [*FLAGS.split(), "--space", "toys.yaml", "--backbones", "toy", "--metric", metric, "--name", metric]
        assert main(["run", "--data", str(data), *typed, *WANTED[metric]]) == 0
        cloudpickle.unregister_pickle_by_value(toys)
        cluster._trainer = None
    return folder / "reports" / metric


def of_test(run: Path, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Class indices and probabilities of the test images."""
    table = pd.read_csv(run / "predictions_test.csv")
    return table["label"].map(classes.index).to_numpy(), table[[f"prob_{name}" for name in classes]].to_numpy()


@pytest.mark.parametrize("run", ["quadratic_kappa"], indirect=True)
def test_the_order_decides_the_class_indices_and_the_kappa(run: Path) -> None:
    evaluation, card = (json.loads((run / name).read_text()) for name in ("evaluation.json", "best_model.json"))
    assert tuple(evaluation["classes"]) == tuple(card["classes"]) == ORDER
    assert card["ordinal"] is True
    labels, scores = of_test(run, ORDER)
    found = evaluation["models"][evaluation["winner"]]["metrics"]["quadratic_kappa"]
    expected = cohen_kappa_score(labels, scores.argmax(axis=1), labels=range(3), weights="quadratic")
    assert found["value"] == pytest.approx(expected)
    assert found["low"] <= found["value"] <= found["high"]
    assert pd.read_csv(run / "trials.csv")["metric_quadratic_kappa"].notna().all()


@pytest.mark.parametrize("run", ["specificity_at_95_sensitivity"], indirect=True)
def test_without_an_order_nothing_is_said_of_it(run: Path) -> None:
    evaluation, classes = json.loads((run / "evaluation.json").read_text()), tuple(sorted(ORDER))
    assert tuple(evaluation["classes"]) == classes
    metrics = evaluation["models"][evaluation["winner"]]["metrics"]
    assert "quadratic_kappa" not in metrics
    assert pd.read_csv(run / "trials.csv")["metric_quadratic_kappa"].isna().all()
    assert "weighted kappa" not in (run / "report.html").read_text(encoding="utf-8").lower()
    labels, scores = of_test(run, classes)
    each = []
    for index in range(3):
        false, true, _ = roc_curve(labels == index, scores[:, index], drop_intermediate=False)
        each.append(1 - false[true >= 0.95].min())
    assert metrics["specificity_at_95_sensitivity"]["value"] == pytest.approx(np.mean(each))


def test_every_number_is_computed_again_and_the_metric_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run)]) == 0, capsys.readouterr().out
    words = {"quadratic_kappa": "quadratic weighted kappa"}.get(run.name, "specificity at 95 % sensitivity")
    assert words in (run / "methods.md").read_text(encoding="utf-8").replace("\n", " ")
    record = json.loads((run / "run.json").read_text())
    assert record["winner"]["metric"] == run.name
