"""Baselines: models that should lose to the winner, trained and recorded as finalists are, in baselines.csv.

``recipe`` is the winning backbone's default recipe (was tuning worth it?), ``initialisation`` the winner's
configuration from other weights, where the space offers some (were these worth it?), ``small_cnn`` a small network from
scratch (was pretraining?), ``majority`` the shares of the classes, and ``metadata`` boosted trees that never see a
picture.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from bench.data.audit import shortcut
from bench.failures import told
from bench.finalists.seeds import Repeats, Told, Train, Training, Trainings, has_model, repeat_seed
from bench.models.small_cnn import count_parameters
from bench.run.folder import RunDir
from bench.run.tables import BASELINES, Row, score_columns
from bench.stats.metrics import evaluate
from bench.train.job import TrainingJob, small_cnn_job
from bench.trial import TrialConfig

TITLES = {
    "recipe": "Default recipe",
    "initialisation": "Other initialisation",
    "small_cnn": "Small CNN from scratch",
    "majority": "Majority class",
    "metadata": "Metadata only",
}
"""The baselines in their order, as a reader is told of them."""
TRAINED = ("recipe", "initialisation", "small_cnn")
"""Those that are networks, and are trained with several seeds."""
OF_WINNER = ("recipe", "initialisation")
"""Those that are the winner's backbone."""
SAME_AS_WINNER = "the winner's configuration is the default recipe"
NO_METADATA = "size, aspect ratio, colour mode and bytes are the same in all training images"

Predict = Callable[[pd.DataFrame], npt.NDArray[np.float32]]
"""Facts of images, columns as in `bench.data.images.decode.Facts` -> class probabilities (n_images, n_classes)."""


class NothingVaries(Exception):
    """Metadata are the same in all training images, so that nothing can be told by them."""


@dataclass(frozen=True)
class Material:
    """What baselines are made of; nothing of the test split is in it.

    Attributes:
        labels: ``train`` and ``val`` -> class indices.
        facts: ``train`` and ``val`` -> one row per image in the same order, as in `bench.data.images.decode.Facts`.
        n_classes: number of classes.
        channels: of the images.
        ordinal: whether the classes have an order, which is that of their indices.
    """

    labels: Mapping[str, npt.NDArray[np.int64]]
    facts: Mapping[str, pd.DataFrame]
    n_classes: int
    channels: int
    ordinal: bool = False


@dataclass(frozen=True)
class Rivals:
    """What decides the baselines: the winner's configuration, and the default recipe of its backbone in the space.

    The small CNN takes the winner's images and its augmentation. ``other`` is the initialisation that the winner's
    configuration is trained from once more; None where the space offers no other.
    """

    winner: TrialConfig
    recipe: TrialConfig
    other: str | None = None

    @property
    def configurations(self) -> dict[str, TrialConfig]:
        """What is trained of each baseline that has a backbone."""
        found = {"recipe": self.recipe}
        return found | ({"initialisation": replace(self.winner, initialisation=self.other)} if self.other else {})

    @property
    def names(self) -> list[str]:
        """The baselines that there are, in their order."""
        return [name for name in TITLES if name != "initialisation" or self.other]

    @property
    def recipe_won(self) -> bool:
        """Whether the default recipe is the winner's configuration, and so is no baseline."""
        return self.winner == self.recipe

    def seed(self, baseline: str, repeat: int, seed: int) -> int | None:
        """The seed of a training; it tells rows of another winner apart. None where nothing is drawn."""
        if baseline in self.configurations:
            return repeat_seed(baseline, repeat, seed, self.configurations[baseline].key)
        if baseline == "small_cnn":
            return repeat_seed("small_cnn", repeat, seed, self.winner.backbone, self.winner.augmentation)
        return None


def train_baselines(
    rivals: Rivals, how: Repeats, material: Material, train: Train, told: Told | None = None
) -> pd.DataFrame:
    """Train every baseline; baselines.csv is whole after each training, and what is in it is not repeated.

    A baseline that fails is recorded with its reason. The default recipe is skipped where it has won, and metadata
    where none of them varies.

    Returns:
        baselines.csv with representatives marked.
    """
    order = rivals.names
    trainings = Trainings("baseline", order, BASELINES, how, told or Told(), lambda row: _still_valid(row, rivals, how))
    trained = [name for name in order if name in TRAINED and not (name == "recipe" and rivals.recipe_won)]
    for name in order:
        anew = not trainings.of(name)
        if name in trained:
            continue
        if anew and name in TRAINED:
            seed = rivals.seed(name, 1, how.seed)
            trainings.add(_row(name, "skipped", seed=seed, reason=SAME_AS_WINNER, note=SAME_AS_WINNER))
        elif anew:
            trainings.add(_untrained(name, material))
        trainings.close(name, anew)
    for one, outcome in train(trainings.begin(_training(name, rivals, how, material) for name in trained)):
        trainings.take(one.curve, outcome)
    trainings.remove_strays()
    return trainings.write()


def _training(name: str, rivals: Rivals, how: Repeats, material: Material) -> Training:
    """The default recipe, the winner's configuration from other weights, or the small CNN."""
    config = rivals.configurations.get(name)

    def seed_of(repeat: int) -> int:
        seed = rivals.seed(name, repeat, how.seed)
        assert seed is not None
        return seed

    def of_backbone(seed: int, repeat: int, model: Path) -> TrainingJob:
        assert config is not None
        return TrainingJob(config, seed, how.views, repeat - 1, model_file=model)

    def small_cnn(seed: int, repeat: int, model: Path) -> TrainingJob:
        winner = rivals.winner
        return small_cnn_job(winner.backbone, winner.augmentation, seed, how.views, repeat - 1, model)

    if config is not None:
        note = "the winning backbone as the suite starts with it (docs/recipes.md)"
        if name == "initialisation":
            note = f"the winner's configuration initialised from {config.initialisation}"
        return Training(name, seed_of, of_backbone, config, {"note": note})
    parameters = count_parameters(material.channels, material.n_classes)
    note = f"{parameters:,} parameters, augmentation {rivals.winner.augmentation}"
    return Training(name, seed_of, small_cnn, about={"parameters": parameters, "note": note})


def _untrained(name: str, material: Material) -> Row:
    """Fit a baseline that is no network; whatever ends it becomes a reason."""
    started = time.perf_counter()
    labels = material.labels
    try:
        scores = fit_untrained(name, material.facts["train"], labels["train"], material.n_classes)(
            material.facts["val"]
        )
        metrics = score_columns(evaluate(labels["val"], scores, material.ordinal))
    except NothingVaries as error:
        return _row(name, "skipped", reason=str(error))
    except Exception as error:
        return _row(name, "failed", reason=told(error))
    note = {
        "majority": "the classes' shares of the training images, for every image",
        "metadata": "width, height, aspect ratio, colour mode and bytes per pixel",
    }
    return _row(name, "completed", note=note[name], **metrics, seconds=round(time.perf_counter() - started, 3))


def _row(name: str, state: str, **more: Any) -> Row:
    nothing = {"reason": "", "note": "", "seed": None, "epochs": 0, "seconds": 0.0, "model": "", "sha256": ""}
    return {"baseline": name, "repeat": 1, "state": state, "representative": False, **nothing, **more}


def fit_untrained(name: str, facts: pd.DataFrame, labels: npt.NDArray[np.int64], n_classes: int) -> Predict:
    """``majority`` or ``metadata``, fitted to training images.

    Args:
        name: of the baseline.
        facts: one row per image, columns as in `bench.data.images.decode.Facts`.
        labels: class index of each.
        n_classes: number of classes; one that no image is of gets probability 0.

    Returns:
        what predicts; the same for the same image every time, whatever stands beside it.

    Raises:
        NothingVaries: if all images have the same metadata.
    """
    labels = np.asarray(labels)
    if name == "majority":
        model: Any = DummyClassifier(strategy="prior").fit(_features(facts), labels)
    else:
        if not any(_features(facts)[feature].nunique() > 1 for feature in _features(facts)):
            raise NothingVaries(NO_METADATA)
        model = _metadata_model(len(labels))
        with threadpool_limits(1):  # a fit so small gains nothing from threads
            model.fit(_features(facts), labels)

    def predict(others: pd.DataFrame) -> npt.NDArray[np.float32]:
        scores = np.zeros((len(others), n_classes), np.float32)
        with threadpool_limits(1):
            scores[:, model.classes_] = model.predict_proba(_features(others))
        return scores

    return predict


def _features(facts: pd.DataFrame) -> pd.DataFrame:
    """What is known of images without looking at them; their colour mode by its name."""
    return shortcut.metadata(facts).assign(**{"colour mode": facts["mode"].astype(object)})


def _metadata_model(n_images: int) -> Any:
    """The model of `bench.data.audit.shortcut`; a colour mode that training did not know stands apart."""
    modes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    features = make_column_transformer(  # in this order, which decides between splits that are equally good
        ("passthrough", ["width", "height", "aspect"]),
        (modes, ["colour mode"]),
        ("passthrough", ["bytes per pixel"]),
    )
    leaf = max(2, min(20, n_images // 20))
    trees = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, min_samples_leaf=leaf, random_state=0)
    return make_pipeline(features, trees)


def read_baselines(run: RunDir) -> pd.DataFrame:
    """baselines.csv; empty where there is none.

    Raises:
        ValueError: if there is a table that is none of baselines.
    """
    return BASELINES.read(run.path) if run.baselines.exists() else BASELINES.frame([])


def _still_valid(row: Row, rivals: Rivals, how: Repeats) -> bool:
    """Whether a row of baselines.csv is what would come out now, its model still there."""
    name, state = row["baseline"], row["state"]
    if state == "failed" or row["seed"] != rivals.seed(name, row["repeat"], how.seed):
        return False
    if name == "recipe" and (state == "skipped") != rivals.recipe_won:
        return False
    if state == "skipped" or name not in TRAINED:
        return name in TITLES
    if name in rivals.configurations and TrialConfig.from_row(row) != rivals.configurations[name]:
        return False
    return has_model(name, row, how.run)
