"""Heads on pooled features of another domain: silent channels, heavy tails, and what logistic regression reaches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.errors import TrialFailed
from bench.failures import NOT_FINITE, kind_of
from bench.models.linear_probe import MOST_ROWS, linear_probe
from bench.models.standardisation import FURTHEST, Features, standardisation
from bench.train.features import StoredFeatures
from bench.train.trainer import Trainer
from bench.trial import TrialConfig

N_TRAIN, N_FEATURES = 48, 16
"""Of the toy folder's train split, and of the toy backbone."""


@dataclass(frozen=True)
class Study:
    """Training views, clean first, and validation features, with labels of both."""

    views: list[StoredFeatures]
    labels: npt.NDArray[np.int64]
    val: StoredFeatures
    val_labels: npt.NDArray[np.int64]


def silent_study(n_train: int, n_val: int, n_features: int, seed: int = 0) -> Study:
    """Rectified features as a pretrained network gives them on foreign images: nine in ten channels are silent on clean
    images, half of those speak on augmented ones, and one living channel speaks on a single image only."""
    rng = np.random.default_rng(seed)
    living = max(2, n_features // 10)
    labels, val_labels = (np.arange(n) % 2 for n in (n_train, n_val))

    def clean(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        values = np.zeros((len(classes), n_features))
        values[:, :living] = rng.gamma(2.0, 0.05, (len(classes), living))
        values[:, 0] += 0.05 * classes
        return values.astype(np.float32)

    train = clean(labels)
    train[0, 1] = 5.0
    augmented = [train + 0, train + 0]
    for view in augmented:
        view[:, living : n_features // 2] = rng.exponential(0.5, view[:, living : n_features // 2].shape)
    return Study(
        [StoredFeatures(v) for v in (train, *augmented)], labels, StoredFeatures(clean(val_labels)), val_labels
    )


def standardised(view: Features, standard: Any) -> npt.NDArray[np.float64]:
    mean, variance = standard
    return np.asarray((view.take(np.arange(view.shape[0])) - mean) / np.sqrt(variance))


def test_plain_features_are_standardised_as_scikit_learn_does() -> None:
    values = np.random.default_rng(0).normal(5.0, [1.0, 2.0, 3.0], (200, 3)).astype(np.float32)
    expected = StandardScaler().fit_transform(values)
    np.testing.assert_allclose(
        standardised(StoredFeatures(values), standardisation([StoredFeatures(values)])), expected, atol=1e-4
    )


def test_no_training_image_lies_far_and_silent_channels_have_no_weight() -> None:
    study = silent_study(400, 100, 100)
    standard = standardisation(study.views)
    for view in study.views:
        assert np.abs(standardised(view, standard)).max() <= FURTHEST * 1.001
    silent = slice(50, 100)
    spoke = study.views[0].values.copy()
    spoke[:, silent] = 100.0  # what a channel says that no training image made speak
    assert np.abs(standardised(StoredFeatures(spoke), standard)[:, silent]).max() < 1e-6


def test_a_channel_that_varies_by_rounding_only_is_silent_and_the_floor_rests_on_those_that_live() -> None:
    rng = np.random.default_rng(0)
    values = np.zeros((300, 10), np.float32)
    values[:, 0] = rng.normal(size=300)
    values[:, 1] = 7.0 + rng.normal(0, 1e-6, 300)
    values[:, 2] = rng.normal(0, 1e-9, 300)  # it varies, but next to nothing beside the first
    mean, variance = standardisation([StoredFeatures(values)])
    assert variance[1] > 1e20
    assert variance[3] > 1e20
    assert np.sqrt(variance[2]) == pytest.approx(0.01 * np.median([values[:, 0].std(), values[:, 2].std()]), rel=0.01)
    assert mean[1] == pytest.approx(7.0, rel=1e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_probe_scores_as_logistic_regression(n_classes: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(600) % n_classes
    values = (rng.normal(size=(600, 20)) + 0.8 * np.eye(20)[labels]).astype(np.float32)
    train, val = slice(0, 300), slice(300, 600)
    views = [StoredFeatures(values[train])]
    standard = standardisation(views)
    kernel, bias = linear_probe(views, labels[train], np.ones(n_classes, np.float32), standard)
    assert kernel.shape == (20, n_classes)
    logits = standardised(StoredFeatures(values[val]), standard) @ kernel + bias
    found = (logits.argmax(axis=1) == labels[val]).mean()
    peer = make_pipeline(StandardScaler(), LogisticRegression()).fit(values[train], labels[train])
    assert found >= peer.score(values[val], labels[val]) - 0.02


def test_the_probe_leaves_a_class_without_images_alone_and_takes_a_share_of_many() -> None:
    rng = np.random.default_rng(2)
    labels = np.tile([0, 2], MOST_ROWS)
    view = StoredFeatures(rng.normal(labels[:, None], 1.0, (len(labels), 2)).astype(np.float32))
    standard = standardisation([view])
    kernel, bias = linear_probe([view], labels, np.ones(3, np.float32), standard)
    assert kernel[:, 1].tolist() == [0, 0]
    assert bias[1] == 0
    assert kernel[0, 2] > kernel[0, 0]
    one_class = linear_probe([view], np.zeros_like(labels), np.ones(3, np.float32), standard)
    assert not any(part.any() for part in one_class)


@pytest.mark.parametrize("augmentation", ["none", "light"])
def test_a_head_reaches_what_logistic_regression_does_where_nine_in_ten_channels_are_silent(
    augmentation: str, make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(epochs=2)
    study = silent_study(N_TRAIN, len(task.labels["val"]), N_FEATURES, seed=3)
    trainer = Trainer(make_task(epochs=2, labels={"train": study.labels, "val": study.val_labels}))
    monkeypatch.setattr(
        trainer.features,
        "training_views",
        lambda backbone, policy, depth, order, rows: study.views[:1] if policy.identity else study.views[1:],
    )
    clean = {len(study.labels): study.views[0], len(study.val_labels): study.val}
    monkeypatch.setattr(trainer.features, "clean", lambda backbone, depth, rows: clean[len(rows)])
    result = trainer.run(TrialConfig("toy", augmentation, 0, 1e-3, batch_size=8))
    train = study.views[0].values
    peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, study.labels)
    expected = roc_auc_score(study.val_labels, peer.decision_function(study.val.values))
    assert result.metrics["auc"] >= expected - 0.02
    assert all(record.loss < 1.0 for record in result.epochs)
    assert not trainer.notes


def test_a_loss_far_beyond_a_constant_guesss_is_told(make_task: Callable[..., Any]) -> None:
    trainer = Trainer(make_task(epochs=1))
    trainer.run(TrialConfig("toy", learning_rate=1e-3, batch_size=8))
    assert not trainer.notes
    trainer.run(TrialConfig("toy", "light", learning_rate=1e3, batch_size=8))
    (note,) = trainer.notes.values()
    assert "times that of a constant guess" in note
    assert "learning rate 1e+03, augmentation light" in note


def test_features_that_are_not_finite_end_the_trial_by_that_reason(
    make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_task(epochs=1))
    values = np.zeros((N_TRAIN, N_FEATURES), np.float32)
    values[3, 2] = np.inf
    for name in ("training_views", "clean"):
        monkeypatch.setattr(
            trainer.features,
            name,
            lambda *_, name=name: StoredFeatures(values) if name == "clean" else [StoredFeatures(values)],
        )
    with pytest.raises(TrialFailed, match=r"features of the training images under .* are not finite") as caught:
        trainer.run(TrialConfig("toy", batch_size=8))
    assert kind_of(caught.value) == NOT_FINITE


def test_features_too_small_for_float32_are_constant() -> None:
    values = (1e-25 * np.random.default_rng(0).normal(size=(20, 4))).astype(np.float32)
    mean, variance = standardisation([StoredFeatures(values)])
    assert np.isfinite((values - mean) / np.sqrt(variance)).all()
