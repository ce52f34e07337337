"""One configuration trained by plain Keras, as its guide "Transfer learning & fine-tuning" goes: what the peers run.

The network is the one that this suite trains, but its head begins otherwise: at random, where this suite's starts from
a linear probe, and with features standardised over the clean images, where this suite takes the augmented ones too.
Nothing is cached but the decoded images: every epoch augments them anew and takes them through the whole network.
Images are shuffled, batched, augmented in parallel and prefetched by tf.data, as its guide "Better performance with the
tf.data API" advises.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from bench.models import assemble
from bench.models.augmentation import Policy, make_layers
from bench.models.standardisation import Standard
from bench.models.standardisation import standardisation as standardise
from bench.models.weights import load_backbone
from bench.seeds import stable_seed
from bench.stats.metrics import evaluate
from bench.train.features import StoredFeatures
from bench.train.task import Task
from bench.trial import TrialConfig

PREDICT_BATCH = 128


@dataclass(frozen=True)
class Data:
    """The images of one backbone as tf.data wants them.

    Attributes:
        task: whose images they are.
        train: (image, target, weight), one by one, kept in memory.
        val: validation images, in batches.
    """

    task: Task
    train: Any
    val: Any

    def batches(self, policy: Policy, batch_size: int, seed: int) -> Any:
        """Shuffled, augmented, prefetched batches of one epoch after another."""
        batches = self.train.shuffle(len(self.task.labels["train"]), seed=seed).batch(batch_size)
        layers = make_layers(policy, seed)

        def augment(images: Any, targets: Any, weights: Any) -> Any:
            values = tf.cast(images, tf.float32)
            for layer in layers:
                values = layer(values, training=True)
            return values, targets, weights

        return batches.map(augment, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def pixels(task: Task, backbone: str, split: str) -> npt.NDArray[np.uint8]:
    """The images of ``split``, uint8 array of shape (n_images, size, size, channels)."""
    return np.asarray(task.images[backbone].open()[task.rows[split]])


def load_data(task: Task, backbone: str) -> Data:
    """The images of ``backbone``; each weighs in the loss as its class is rare."""
    labels = task.labels["train"]
    counts = np.bincount(labels, minlength=task.n_classes)
    weights = (counts.sum() / (task.n_classes * np.maximum(counts, 1))).astype(np.float32)
    targets = np.eye(task.n_classes, dtype=np.float32)[labels]
    slices = (pixels(task, backbone, "train"), targets, weights[labels])
    train = tf.data.Dataset.from_tensor_slices(slices).cache()
    val = tf.data.Dataset.from_tensor_slices(pixels(task, backbone, "val")).batch(PREDICT_BATCH)
    return Data(task, train, val.cache().prefetch(tf.data.AUTOTUNE))


def standardisation(task: Task, backbone: str) -> Standard:
    """Mean and variance of each pooled feature over the clean training images: a Normalization layer, adapted once."""
    row, stored = task.backbones[backbone], task.images[backbone]
    network = load_backbone(row, stored.size, task.weights.files[backbone])
    pooled = assemble.prefix_model(row, network, stored.size, stored.channels, [0])
    values = pooled.predict(pixels(task, backbone, "train"), batch_size=PREDICT_BATCH, verbose=0)
    return standardise([StoredFeatures(values[0] if isinstance(values, list | tuple) else values)])


def build(task: Task, config: TrialConfig, standard: Standard) -> Any:
    """The compiled model of ``config`` with its backbone frozen, ready to train its head."""
    row, stored = task.backbones[config.network], task.images[config.backbone]
    seed = stable_seed("trial", task.seed, config.key)
    keras.utils.set_random_seed(seed)
    network = load_backbone(row, stored.size, task.weights.files[config.network])
    model = assemble.full_model(
        row, network, stored.size, stored.channels, task.n_classes, standard, config.dropout, seed
    )
    assemble.freeze_prefix(row, model, 0)
    compile_model(model, config, config.learning_rate)
    return model


def compile_model(model: Any, config: TrialConfig, learning_rate: float) -> None:
    """Adam and cross-entropy. Without XLA on CPUs, where Keras would choose it: there it trains more slowly."""
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing)
    xla = "auto" if tf.config.list_physical_devices("GPU") else False
    model.compile(keras.optimizers.Adam(learning_rate), loss, jit_compile=xla)


def unfreeze(task: Task, config: TrialConfig, model: Any) -> None:
    """Make the last stages trainable, batch normalisation apart, and compile for the smaller rate."""
    assemble.freeze_prefix(task.backbones[config.network], model, config.unfreeze_depth)
    compile_model(model, config, config.learning_rate * float(config.finetune_factor or 1.0))


class ValidationAuc(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch the exact ROC AUC of the validation images, as ``val_auc`` in the logs.

    Keras's own AUC metric is an approximation by 200 thresholds. This takes one pass over the images, as
    ``validation_data`` would.
    """

    def __init__(self, data: Data) -> None:
        super().__init__()
        self._data = data
        self.scores: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Score the epoch.

        Raises:
            FloatingPointError: at the first loss or probability that is not finite.
        """
        probabilities = self.model.predict(self._data.val, verbose=0)
        if not (math.isfinite(logs["loss"]) and np.isfinite(probabilities).all()):
            raise FloatingPointError(f"loss or probabilities are not finite after epoch {epoch + 1}")
        logs["val_auc"] = evaluate(self._data.task.labels["val"], probabilities)["auc"]
        self.scores.append(logs["val_auc"])


def fit(
    config: TrialConfig, model: Any, data: Data, epochs: int, callbacks: Sequence[Any] = (), first: int = 0
) -> list[float]:
    """Train until ``epochs``, or until validation stops to improve; returns the AUC of each epoch.

    With nothing in ``callbacks`` it is the warm-up of a head: the best weights are restored at the end.
    """
    task, validation = data.task, ValidationAuc(data)
    stopping = keras.callbacks.EarlyStopping(
        "val_auc", mode="max", patience=task.patience, restore_best_weights=not callbacks
    )
    policy = task.policies[config.augmentation]
    batches = data.batches(policy, config.batch_size, stable_seed("order", task.seed, config.key))
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=first,
        shuffle=False,
        verbose=0,
        callbacks=[validation, stopping, *callbacks],
    )
    return validation.scores


@dataclass(frozen=True)
class Progress:
    """How far the phase that counts has come.

    Attributes:
        val_auc: the best so far.
        epoch: the phase's last.
        epochs: of all phases together.
        last: whether none follows.
    """

    val_auc: float
    epoch: int
    epochs: int
    last: bool


def train(task: Task, config: TrialConfig, standard: Standard, tell: Callable[[Progress], None]) -> list[float]:
    """The head first, with the backbone frozen; then, with stages to unfreeze, these at the smaller rate.

    Args:
        task: what all trainings share.
        config: what to train.
        standard: of the backbone.
        tell: called after each epoch of the phase that counts.

    Returns:
        the validation AUC of each epoch of the phase that counts.
    """
    data = load_data(task, config.backbone)
    model = build(task, config, standard)
    best, warm_up = 0.0, 0
    if config.unfreeze_depth > 0:
        warm_up = len(fit(config, model, data, task.epochs))
        unfreeze(task, config, model)

    def report(epoch: int, logs: Mapping[str, float]) -> None:
        nonlocal best
        best = max(best, logs["val_auc"])
        last = bool(model.stop_training) or epoch + 1 >= task.epochs
        tell(Progress(best, epoch + 1, warm_up + epoch + 1, last))

    return fit(config, model, data, task.epochs, [keras.callbacks.LambdaCallback(on_epoch_end=report)])
