"""The whole way without this suite, as a careful user goes it: Ray Tune, Keras, scikit-learn and matplotlib.

After the search the best configuration of each backbone is trained anew with several seeds, every epoch on freshly
augmented images through the whole network, with early stopping; every model is saved and predicts the validation and
test images; scores with intervals, curves and the confusion matrix are left as .csv and .png in ``by_hand/``.

    models/NAME-SEED.h5  scores.csv  predictions.csv  roc.csv  roc.png  calibration.csv  calibration.png  confusion.png
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.compare.methods import ray_tune
from bench.compare.methods.experiment import OUTCOMES, Experiment, Outcomes, WholeWay, read_rows
from bench.device import plain_keras
from bench.models.standardisation import Standard
from bench.run.tables import records
from bench.train.task import Task
from bench.trial import TrialConfig

FOLDER = "by_hand"
DRAWS = 1000
"""Of the bootstrap of each model's ROC AUC."""
BINS = 10
"""Of the calibration curve."""
Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """A trained model: its probabilities of the validation and test images, shape (n_images, n_classes)."""

    backbone: str
    seed: int
    val: Scores
    test: Scores


def run(experiment: Experiment, outcomes: Outcomes) -> None:
    """Search, retrain the best of each backbone, predict, score and draw."""
    assert experiment.whole is not None
    standards = ray_tune.search(experiment, outcomes)
    outcomes.searched()
    plain_keras()  # TensorFlow takes no memory beside the search
    folder = outcomes.folder / FOLDER
    (folder / "models").mkdir(parents=True)
    best = best_of_each_backbone(read_rows(OUTCOMES, outcomes.folder))
    task, whole = experiment.task, experiment.whole
    models = [model for config in best for model in retrain(task, config, standards[config.network], whole, folder)]
    evaluate(models, task.labels["val"], whole, folder)


def best_of_each_backbone(rows: pd.DataFrame) -> list[TrialConfig]:
    """The configuration with the best validation AUC of each backbone that has one."""
    scored = rows[rows["auc"].notna()].sort_values("auc", ascending=False, kind="stable")
    return [TrialConfig.from_row(row) for row in records(scored.drop_duplicates("config_backbone"))]


def retrain(task: Task, config: TrialConfig, standard: Standard, whole: WholeWay, folder: Path) -> Iterator[Model]:
    """Train ``config`` with each seed, save the model and predict with it."""
    import keras

    from bench.compare.methods import keras_training

    images = keras_training.load_data(task, config.backbone)
    test = np.asarray(whole.images[config.backbone].open()[whole.rows])
    val = keras_training.pixels(task, config.backbone, "val")
    for number in range(1, whole.repeats + 1):
        keras.backend.clear_session()
        seeded = replace(task, seed=1000 * (task.seed + 1) + number)
        data = replace(images, task=seeded)
        model = keras_training.build(seeded, config, standard)
        keras_training.fit(config, model, data, task.epochs)
        if config.unfreeze_depth:
            keras_training.unfreeze(seeded, config, model)
            keras_training.fit(config, model, data, task.epochs)
        model.save(folder / "models" / f"{config.backbone}-{number}.h5")
        predict = {"batch_size": keras_training.PREDICT_BATCH, "verbose": 0}
        yield Model(config.backbone, number, model.predict(val, **predict), model.predict(test, **predict))


def evaluate(models: list[Model], val_labels: Labels, whole: WholeWay, folder: Path) -> None:
    """Scores of all models with intervals, and curves and confusion matrix of the one that validation prefers."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "backbone": model.backbone,
            "seed": model.seed,
            "val_auc": auc(val_labels, model.val),
            "test_auc": auc(whole.labels, model.test),
            **interval(whole.labels, model.test, rng),
        }
        for model in models
    ]
    scores = pd.DataFrame(rows)
    scores.to_csv(folder / "scores.csv", index=False)
    predictions(models, val_labels, whole).to_csv(folder / "predictions.csv", index=False)
    draw(models[int(scores["val_auc"].argmax())], whole, folder)


def auc(labels: Labels, scores: Scores) -> float:
    """ROC AUC, of several classes macro one-vs-rest."""
    from sklearn.metrics import roc_auc_score

    if scores.shape[1] == 2:
        return float(roc_auc_score(labels, scores[:, 1]))
    return float(roc_auc_score(labels, scores.astype(np.float64), multi_class="ovr", labels=range(scores.shape[1])))


def interval(labels: Labels, scores: Scores, rng: np.random.Generator) -> Mapping[str, float]:
    """The 95 % percentile interval of the ROC AUC over draws of images that hold every class."""
    draws = (rng.integers(0, len(labels), len(labels)) for _ in range(DRAWS))
    n_classes = scores.shape[1]
    found = [auc(labels[rows], scores[rows]) for rows in draws if len(np.unique(labels[rows])) == n_classes]
    low, high = np.percentile(found, [2.5, 97.5]) if found else (np.nan, np.nan)
    return {"test_auc_low": float(low), "test_auc_high": float(high)}


def predictions(models: list[Model], val_labels: Labels, whole: WholeWay) -> pd.DataFrame:
    """One row per model and image of validation and test, with a probability per class."""
    tables = []
    for model in models:
        for split, labels, scores in (("val", val_labels, model.val), ("test", whole.labels, model.test)):
            table = pd.DataFrame(scores, columns=[f"prob_{name}" for name in whole.classes])
            table.insert(0, "label", [whole.classes[label] for label in labels])
            table.insert(0, "split", split)
            table.insert(0, "model", f"{model.backbone}-{model.seed}")
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def draw(model: Model, whole: WholeWay, folder: Path) -> None:
    """ROC and calibration curves and the confusion matrix on the test images."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import ConfusionMatrixDisplay, roc_curve

    classes = range(len(whole.classes))
    shown = list(classes)[1:] if len(whole.classes) == 2 else list(classes)
    roc, calibration = [], []
    for index in shown:
        positive, scores = whole.labels == index, model.test[:, index].clip(0, 1)
        false, true, thresholds = roc_curve(positive, scores)
        about = {"class": whole.classes[index]}
        roc.append(pd.DataFrame({**about, "false_positive": false, "true_positive": true, "threshold": thresholds}))
        observed, predicted = calibration_curve(positive, scores, n_bins=BINS)
        calibration.append(pd.DataFrame({**about, "predicted": predicted, "observed": observed}))
    for name, curves, (x, y) in (
        ("roc", roc, ("false_positive", "true_positive")),
        ("calibration", calibration, ("predicted", "observed")),
    ):
        table = pd.concat(curves, ignore_index=True)
        table.to_csv(folder / f"{name}.csv", index=False)
        figure, ax = plt.subplots()
        for label, curve in table.groupby("class"):
            ax.plot(curve[x], curve[y], marker="." if name == "calibration" else "", label=label)
        ax.plot([0, 1], [0, 1], "k:")
        ax.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "), title=model.backbone)
        ax.legend()
        _save(figure, folder / f"{name}.png")
    matrix = ConfusionMatrixDisplay.from_predictions(
        whole.labels, model.test.argmax(axis=1), labels=list(classes), display_labels=list(whole.classes)
    )
    _save(matrix.figure_, folder / "confusion.png")


def _save(figure: Any, file: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(file, dpi=150)
    plt.close(figure)
