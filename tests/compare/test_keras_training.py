"""The peers train the model that this suite trains."""

import keras
import numpy as np
import pytest

from bench.compare.fidelity.fresh import train_fresh
from bench.compare.methods import keras_training
from bench.models.augmentation import Policy
from bench.seeds import stable_seed
from bench.train.job import TrainingJob
from bench.train.trainer import Trainer
from bench.trial import TrialConfig

N_TRAIN = 48


@pytest.mark.parametrize("depth", [0, 2])
def test_the_same_learning_curve_as_this_suites_full_model(make_task, depth, monkeypatch):
    # with a batch of all images their order does not matter, so the curves must agree to rounding
    config = TrialConfig("toy", "none", depth, 0.005, 0.5 if depth else None, 0.0, 0.1, N_TRAIN)
    seed = stable_seed("trial", 0, config.key)
    kernel = np.asarray(keras.initializers.GlorotUniform(seed=seed)((16, 2)))
    start = [
        kernel,
        np.zeros(2, np.float32),
    ]  # of both; the probe that this suite starts from would leave a flat curve
    monkeypatch.setattr("bench.models.linear_probe.linear_probe", lambda *_: start)
    trainer = Trainer(make_task(epochs=4, patience=4))
    expected = [record.metrics["auc"] for record in train_fresh(trainer, config, seed).epochs]

    task = make_task(epochs=4, patience=4)
    data = keras_training.load_data(task, "toy")
    built = keras_training.build(task, config, keras_training.standardisation(task, "toy"))
    built.get_layer("probabilities").set_weights(start)
    found = keras_training.fit(config, built, data, 4)
    if depth:
        keras_training.unfreeze(task, config, built)
        found += keras_training.fit(config, built, data, 4, [keras.callbacks.Callback()])
    assert found == pytest.approx(expected, abs=0.01)
    assert len(set(np.round(found, 3))) > 2, "a flat curve would show nothing"


def test_the_standardisation_is_this_suites(make_task):
    trainer, config = Trainer(make_task()), TrialConfig("toy")
    for own, suites in zip(
        keras_training.standardisation(make_task(), "toy"),
        trainer.start(config, trainer.images(TrainingJob(config, 0, 1), "train")).standard,
        strict=True,
    ):
        assert own == pytest.approx(suites, rel=2e-3)


def test_augmentation_is_drawn_anew_in_every_epoch_and_nothing_is_lost(make_task):
    data = keras_training.load_data(make_task(), "toy")
    plain = data.batches(Policy("none"), 8, seed=1)
    changed = data.batches(Policy("light", brightness=0.3), 8, seed=1)

    def means(batches):
        return np.sort(np.concatenate([np.asarray(images).mean(axis=(1, 2, 3)) for images, _, _ in batches]))

    assert len(means(plain)) == N_TRAIN
    assert np.array_equal(means(plain), means(plain))
    assert not np.allclose(means(changed), means(changed))
    weights = np.concatenate([np.asarray(weights) for _, _, weights in plain])
    assert weights == pytest.approx(np.ones(N_TRAIN)), "both classes are as frequent"


def test_training_tells_its_running_best(make_task):
    told = []
    task = make_task()
    config = TrialConfig("toy", "light", 1, 0.02, 0.1, 0.0, 0.0, 8)
    scores = keras_training.train(task, config, keras_training.standardisation(task, "toy"), told.append)
    assert [one.epoch for one in told] == [1, 2, 3]
    assert [one.epochs for one in told] == [4, 5, 6], "the head's warm-up counts"
    assert [one.last for one in told] == [False, False, True]
    assert [one.val_auc for one in told] == list(np.maximum.accumulate(scores))
