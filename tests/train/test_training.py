"""Trials and finalists: what is trained, what is reported, and what is left behind."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import TrialFailed
from bench.failures import MEMORY, kind_of
from bench.models.export import load_model, predict_images
from bench.stats.metrics import evaluate
from bench.train.features import StoredFeatures
from bench.train.job import TrainingJob, small_cnn_job
from bench.train.loop import Batches, Fitting, predict
from bench.train.task import Precision
from bench.train.trainer import Trainer, _save, out_of_memory_fails
from bench.trial import TrialConfig

pytestmark = pytest.mark.slow
HEAD = TrialConfig("toy", learning_rate=1e-2, batch_size=8, dropout=0.3)
DEEP = TrialConfig("toy", "light", 2, 1e-2, 0.1, dropout=0.3, batch_size=8)


@pytest.fixture(scope="module")
def trainers() -> dict[str, Trainer]:
    """What `four` keeps from test to test."""
    return {}


@pytest.fixture
def four(trainers: dict[str, Trainer], make_task: Callable[..., Any]) -> Trainer:
    """One trainer of four epochs per phase, for tests of what is trained; those of the cache need one of their own."""
    if "four" not in trainers:
        trainers["four"] = Trainer(make_task(epochs=4, patience=4))
    return trainers["four"]


def scores(result: Any) -> list[float]:
    return [record.metrics["log_loss"] for record in result.epochs]


def test_batches_show_every_image_once_an_epoch_and_turn_the_views() -> None:
    views = [StoredFeatures(np.full((10, 1), 100.0 * view) + np.arange(10)[:, None]) for view in range(3)]
    own = np.linspace(1, 2, 10, dtype=np.float32)
    batches = Batches(views, np.eye(10, dtype=np.float32), own, batch_size=4, seed=0)
    orders = []
    for epoch in range(4):
        (block,) = batches.epoch(epoch)
        assert block[0].shape == (3, 4, 1)  # one shape, so that nothing is traced anew
        parts = list(zip(*block, strict=True))
        shown = [(value[0], weight) for part in parts for value, weight in zip(part[0], part[2], strict=True) if weight]
        assert sorted(value % 100 for value, _ in shown) == list(range(10))  # the last batch is not dropped
        assert {value // 100 for value, _ in shown} == {epoch % 3}
        for images, targets, _ in parts:
            np.testing.assert_array_equal(targets.argmax(axis=1), images[:, 0] % 100)
        orders.append([value % 100 for value, _ in shown])
        # two images alone in a batch of four: their mean loss is that of a batch of two
        last = parts[-1]
        rows = (last[0][:2, 0] % 100).astype(int)
        np.testing.assert_allclose(last[2], [*(own[rows] * 2), 0, 0], rtol=1e-6)
    assert orders[0] != orders[1]
    again = [part[0] for part in Batches(views, np.eye(10, dtype=np.float32), own, 4, seed=0).epoch(2)]
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate([p[0] for p in batches.epoch(2)]))


def test_a_short_batch_is_filled_up_with_other_images() -> None:
    """Batch normalisation in training mode sees them, so one image must not stand there many times."""
    batches = Batches(
        [StoredFeatures(np.arange(9.0)[:, None])], np.eye(9, dtype=np.float32), np.ones(9, np.float32), 8, 0
    )
    ((features, _, weights),) = batches.epoch(0)
    assert (weights[1] > 0).sum() == 1
    assert len(set(features[1].ravel())) == 8


def test_fewer_images_than_a_batch() -> None:
    batches = Batches([StoredFeatures(np.zeros((3, 2)))], np.eye(3, dtype=np.float32), np.ones(3, np.float32), 32, 0)
    assert [part[0].shape for part in batches.epoch(0)] == [(1, 3, 2)]


def test_blocks_have_one_shape_and_a_short_last_one_says_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.train import loop

    monkeypatch.setattr(loop, "MOST_STEPS", 2)
    view = StoredFeatures(np.arange(10, dtype=np.float32)[:, None])
    blocks = list(Batches([view], np.eye(10, dtype=np.float32), np.ones(10, np.float32), 4, 0).epoch(0))
    assert [block[0].shape for block in blocks] == [(2, 4, 1), (2, 4, 1)]
    assert [int(block[2].any(axis=1).sum()) for block in blocks] == [2, 1]
    shown = [value for block in blocks for value in block[0][block[2] > 0].ravel()]
    assert sorted(shown) == list(range(10))


def test_many_steps_in_one_call_are_the_steps_one_by_one() -> None:
    """The loop in the traced function, padding included, against Keras's own train_on_batch and Adam."""
    import keras

    from bench.train.steps import FusedAdam, SteppedModel, train_steps

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(4, 8, 5)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (4, 8))]
    weights = rng.uniform(0.5, 2, (4, 8)).astype(np.float32)
    weights[2, 5:] = 0
    rates = np.array([0.05, 0.01, 0.002, 0.1], np.float32)
    losses, values = [], []
    for model_class, optimizer in ((SteppedModel, FusedAdam), (keras.Model, keras.optimizers.Adam)):
        keras.utils.set_random_seed(1)
        features = keras.Input((5,))
        model = model_class(features, keras.layers.Dense(3, activation="softmax")(features))
        model.compile(optimizer(), "categorical_crossentropy", jit_compile=False)
        losses.append([train_steps(model, inputs, targets, weights, rates, count) for count in (3, 4)])
        values.append(model.get_weights())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    for fused, plain in zip(*values, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)


def test_a_cosine_schedule_rises_over_a_tenth_and_falls_to_nothing() -> None:
    config = TrialConfig("toy", "none", 1, 1e-2, 0.1, schedule="cosine")
    fitting = Fitting(config, "finetune", seed=0, epochs=4, patience=3)
    rates = fitting.rates(0, 40, 40)
    np.testing.assert_allclose(rates[:4], [0.25e-3, 0.5e-3, 0.75e-3, 1e-3], rtol=1e-6)
    assert rates.argmax() in (3, 4)
    assert (np.diff(rates[4:]) < 0).all()
    assert rates[22] == pytest.approx(0.5e-3)  # half of the fall
    assert 0 < rates[-1] < 1e-5
    parts = [fitting.rates(first, 7, 40)[: 40 - first] for first in range(0, 40, 7)]  # as blocks of an epoch ask
    np.testing.assert_array_equal(np.concatenate(parts), rates)
    assert np.isfinite(fitting.rates(0, 3, 1)).all()
    for other in (replace(fitting, phase="head"), replace(fitting, config=replace(config, schedule="constant"))):
        np.testing.assert_allclose(other.rates(5, 3, 40), [other.learning_rate] * 3, rtol=1e-6)


def test_a_schedule_changes_fine_tuning_alone(four: Trainer) -> None:
    constant = replace(DEEP, augmentation="none")
    cosine = replace(constant, schedule="cosine")
    first = scores(four.train(TrainingJob(constant, 0, 2)))
    other = scores(four.train(TrainingJob(cosine, 0, 2)))
    again = scores(four.train(TrainingJob(constant, 0, 2)))
    assert other[:4] == pytest.approx(first[:4], abs=1e-6)
    assert other[4:] != pytest.approx(first[4:], abs=1e-3)
    assert again == pytest.approx(first, abs=1e-6)


def test_the_moving_average_of_weights_is_what_is_scored_and_kept(four: Trainer) -> None:
    """By numpy, over the weights after each step; and a training without it is what it was before."""
    import keras

    from bench.train.steps import FusedAdam, Moments, SteppedModel, restart, train_steps

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(6, 8, 5)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (6, 8))]
    weights, rates = np.ones((6, 8), np.float32), np.full(6, 0.05, np.float32)
    features = keras.Input((5,))
    model = SteppedModel(features, keras.layers.Dense(3, activation="softmax", kernel_initializer="ones")(features))
    model.compile(FusedAdam(moments=Moments()), "categorical_crossentropy", jit_compile=False)
    started = model.get_weights()
    for momentum in (0.0, 0.6, 0.0, 0.6):
        model.set_weights(started)
        restart(model, ema_momentum=momentum)
        after = []
        for step in range(6):
            part = (one[step : step + 1] for one in (inputs, targets, weights, rates))
            train_steps(model, *part, 1)
            after.append(model.get_weights()[0])
        if momentum:
            expected = after[0]
            for kernel in after[1:]:
                expected = momentum * expected + (1 - momentum) * kernel
            swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
            swap.set_model(model)
            swap.set_params({"epochs": 9})
            swap.on_epoch_end(0)
            np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-5)
            assert np.abs(expected - after[-1]).max() > 1e-2
        else:
            plain = after[-1]
    np.testing.assert_allclose(after[-1], plain, rtol=1e-5)  # averaging changes no step

    own = replace(DEEP, augmentation="none")
    averaged = replace(own, ema_momentum=0.9)
    first, other, again = (four.train(TrainingJob(one, 0, 2)) for one in (own, averaged, own))
    assert scores(other)[:4] == pytest.approx(scores(first)[:4], abs=1e-6), "the head is not averaged"
    assert scores(other)[4:] != pytest.approx(scores(first)[4:], abs=1e-3)
    assert scores(again) == pytest.approx(scores(first), abs=1e-6)


def test_averages_begin_anew_whatever_another_training_left() -> None:
    import keras

    from bench.train.steps import FusedAdam, Moments, SteppedModel, restart, train_steps

    head, moments = keras.layers.Dense(3, activation="softmax"), Moments()
    shallow, deep = keras.Input((4,)), keras.Input((5,))
    models = [
        SteppedModel(shallow, head(shallow)),
        SteppedModel(deep, head(keras.layers.Dense(4)(deep))),
    ]
    for model in models:
        model.compile(FusedAdam(moments=moments), "categorical_crossentropy", jit_compile=False)
    targets, weights = np.eye(3, dtype=np.float32)[np.zeros((1, 8), int)], np.ones((1, 8), np.float32)
    started = head.get_weights()
    for model, size, value in ((models[0], 4, np.nan), (models[1], 5, 1.0)):
        head.set_weights(started)
        restart(model, ema_momentum=0.9)
        train_steps(model, np.full((1, 8, size), value, np.float32), targets, weights, np.full(1, 1e-2, np.float32), 1)
        averages = [one.numpy() for one in model.optimizer._model_variables_moving_average]
        assert all(np.isfinite(one).all() for one in averages) == np.isfinite(value)


def test_an_exported_model_has_the_averages(four: Trainer, tmp_path: Path) -> None:
    config = replace(DEEP, augmentation="none", ema_momentum=0.9)
    result = four.train(TrainingJob(config, 0, 2, model_file=tmp_path / "model.h5"))
    plain = four.train(TrainingJob(replace(config, ema_momentum=0.0), 0, 2, model_file=tmp_path / "plain.h5"))
    assert result.metrics["log_loss"] != pytest.approx(plain.metrics["log_loss"], abs=2e-3)
    best = next(one for one in result.epochs if one.epoch == result.best_epoch)
    assert result.metrics["log_loss"] == pytest.approx(best.metrics["log_loss"], abs=1e-3)


def test_optimizers_of_the_same_weights_share_their_moments() -> None:
    import keras

    from bench.train.steps import FusedAdam, Moments

    shallow, deep = keras.Variable(np.ones(3)), keras.Variable(np.ones((2, 4)))
    moments = Moments()
    first, second, alone = FusedAdam(moments=moments), FusedAdam(moments=moments), FusedAdam()
    first.build([shallow])
    second.build([deep, shallow])
    alone.build([shallow])
    shared = {id(variable) for variable in first.variables} & {id(variable) for variable in second.variables}
    assert len(shared) == 2  # momentum and velocity; iterations and learning rate stay each optimizer's own
    assert len(second.variables) == len(first.variables) + 2
    assert not shared & {id(variable) for variable in alone.variables}
    first.apply([np.full(3, 2.0, np.float32)])
    assert second.variables[-1].numpy() == pytest.approx((1 - 0.999) * 4.0, rel=1e-4)
    assert alone.variables[-1].numpy() == pytest.approx(0.0)


@pytest.mark.parametrize("changes", [{"cache_dtype": "float32"}, {}], ids=["float32", "float16"])
@pytest.mark.parametrize("config", [HEAD, DEEP], ids=["head", "deep"])
def test_a_trial_gives_the_same_curve_without_the_cache(
    make_task: Callable[..., Any], tmp_path: Path, changes: dict[str, str], config: TrialConfig
) -> None:
    cached = Trainer(make_task(**changes)).run(config)
    computed = Trainer(make_task(cache_bytes=0, cache=tmp_path / "none", **changes)).run(config)
    assert not (tmp_path / "none").exists()
    for name in ("auc", "log_loss"):
        ours, theirs = ([r.metrics[name] for r in result.epochs] for result in (cached, computed))
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_where_a_trials_time_went(make_task: Callable[..., Any]) -> None:
    trainer = Trainer(make_task())
    first, again = trainer.run(DEEP), trainer.run(DEEP)
    for result in (first, again):
        assert set(result.spent) >= {"filling", "tracing", "head training", "suffix training", "validation"}
        assert sum(result.spent.values()) <= result.seconds + 0.05
        assert min(result.spent.values()) >= 0
    assert first.spent["tracing"] > 0
    assert again.spent["tracing"] == 0  # the structure is known
    assert again.spent["filling"] < first.spent["filling"]


@pytest.mark.parametrize("parts", [("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float32", "bfloat16")])
@pytest.mark.parametrize("config", [HEAD, DEEP], ids=["head", "deep"])
def test_bfloat16_trains_and_leaves_a_float32_file(
    make_task: Callable[..., Any], tmp_path: Path, config: TrialConfig, parts: tuple[str, str]
) -> None:
    import keras

    task = make_task(precision={"toy": Precision(*parts)}, epochs=4, patience=4)
    trainer = Trainer(task)
    full = Trainer(make_task(epochs=4, patience=4, cache=tmp_path / "other")).run(config)
    assert trainer.run(config).metrics["auc"] == pytest.approx(full.metrics["auc"], abs=0.05)
    result = trainer.train(TrainingJob(config, 3, 4, model_file=tmp_path / "toy.h5"))
    model = keras.models.load_model(tmp_path / "toy.h5")
    policies = {layer.dtype_policy.name for layer in model._flatten_layers() if layer.weights}
    assert policies == {"float32"}
    images = task.images["toy"].open()[task.rows["val"]].astype("float32")
    found = evaluate(task.labels["val"], predict(model, StoredFeatures(images)))
    assert found == pytest.approx(result.metrics, abs=1e-5)


def test_a_trial_can_be_repeated_exactly_whatever_ran_before(make_task: Callable[..., Any], tmp_path: Path) -> None:
    """Also where a trial has trained the network through which the next one's views pass."""
    fresh = Trainer(make_task()).run(DEEP)
    worn = Trainer(make_task(cache=tmp_path / "own"))
    worn.run(TrialConfig("toy", "none", 2, 5e-2, 1.0, dropout=0.0, batch_size=4))
    worn.run(HEAD)
    assert scores(worn.run(DEEP)) == pytest.approx(scores(fresh), abs=1e-6)


def test_learning_rate_dropout_and_smoothing_matter(four: Trainer) -> None:
    import dataclasses

    base = scores(four.run(DEEP))
    for change in ({"learning_rate": 2e-3}, {"dropout": 0.0}, {"label_smoothing": 0.2}, {"finetune_factor": 0.01}):
        assert scores(four.run(dataclasses.replace(DEEP, **change))) != base


def test_the_loss_of_an_epoch_is_the_mean_over_its_images(make_task: Callable[..., Any]) -> None:
    task = make_task(epochs=1, labels={"train": np.tile([0, 1], 24), "val": make_task().labels["val"]})
    still = TrialConfig("toy", learning_rate=1e-12, dropout=0.0, batch_size=7)  # 48 images: a last batch of 6
    trainer = Trainer(task)
    (record,) = trainer.run(still).epochs
    features = trainer.features.clean("toy", 0, task.rows["train"])
    scores = predict(trainer.networks.head("toy"), features)
    assert record.loss == pytest.approx(evaluate(task.labels["train"], scores)["log_loss"], rel=1e-3)


def test_few_images_have_blocks_of_the_shape_that_many_have() -> None:
    """For one traced step to train both; and each of them is still shown once an epoch, weighing as it should."""
    view, own = StoredFeatures(np.arange(5, dtype=np.float32)[:, None]), np.ones(5, np.float32)
    few = Batches([view], np.eye(5, dtype=np.float32), own, 8, 0, like=30)
    (block,) = few.epoch(0)
    (many,) = Batches([StoredFeatures(np.zeros((30, 1)))], np.eye(30)[:, :5], np.ones(30), 8, 0).epoch(0)
    assert [part.shape for part in block] == [part.shape for part in many]
    features, _, weights = block
    assert sorted(features[weights > 0].ravel().tolist()) == [0, 1, 2, 3, 4]
    assert weights[0].sum() == 8 and not weights[1:].any(), "one step, as of a whole batch"


def test_training_learns_the_toy_classes(make_task: Callable[..., Any]) -> None:
    result = Trainer(make_task(epochs=12, patience=12)).run(HEAD)
    assert result.metrics["auc"] > 0.9


def test_the_score_is_that_of_the_best_epoch_of_the_last_phase(four: Trainer) -> None:
    result = four.run(DEEP)
    assert [record.phase for record in result.epochs] == ["head"] * 4 + ["finetune"] * 4
    assert [record.epoch for record in result.epochs] == list(range(1, 9))
    finetuning = [record for record in result.epochs if record.phase == "finetune"]
    assert result.metrics["auc"] == max(record.metrics["auc"] for record in finetuning)
    assert result.best_epoch in [record.epoch for record in finetuning]
    assert result.scored is not None and result.scored.epochs == (5, 6, 7, 8), "the epochs that it was chosen among"
    for record, said in zip(finetuning, result.scored.scores, strict=True):
        assert evaluate(four.task.labels["val"], said) == pytest.approx(record.metrics)


def test_reports_are_running_bests_of_the_phase_that_counts(four: Trainer) -> None:
    reported: list[tuple[str, float]] = []
    for progress in four.epochs(four.trial(DEEP)):
        reported.append((progress.epochs[-1].phase, progress.best.metrics["auc"]))
    assert [phase for phase, _ in reported] == ["finetune"] * 4
    values = [value for _, value in reported]
    assert values == sorted(values)


def test_a_phase_ends_when_patience_does(make_task: Callable[..., Any]) -> None:
    frozen_rate = TrialConfig("toy", learning_rate=1e-7, batch_size=8)
    result = Trainer(make_task(epochs=30, patience=2)).run(frozen_rate)
    assert len(result.epochs) < 30
    assert len(result.epochs) - result.best_epoch == 2


def test_a_loss_that_is_not_finite_fails_with_its_reason_and_the_next_trial_is_well(four: Trainer) -> None:
    reference = scores(four.run(DEEP))
    with pytest.raises(TrialFailed, match=r"(loss became|not finite).*(epoch)"):
        four.run(TrialConfig("toy", "none", 2, 1e38, 1.0, batch_size=8))
    assert scores(four.run(DEEP)) == pytest.approx(reference, abs=1e-6)


class ResourceExhaustedError(Exception):
    """As TensorFlow's is called."""


def test_running_out_of_memory_fails_one_trial() -> None:
    with pytest.raises(TrialFailed, match="memory ran out") as caught, out_of_memory_fails():
        raise MemoryError
    assert kind_of(pickle.loads(pickle.dumps(caught.value))) == MEMORY, "in the driver, too, which never sees the cause"
    with pytest.raises(ResourceExhaustedError, match="No space left"), out_of_memory_fails():
        raise ResourceExhaustedError("/cache/x; No space left on device")  # as TensorFlow says of a full disk
    with pytest.raises(ValueError, match="other"), out_of_memory_fails():
        raise ValueError("other")


def test_frozen_stages_and_batch_statistics_stay_as_they_were(four: Trainer, tmp_path: Path) -> None:
    import keras

    task = four.task
    four.train(TrainingJob(DEEP, 1, 4, model_file=tmp_path / "toy.h5"))
    trained = keras.models.load_model(tmp_path / "toy.h5")
    original = task.backbones["toy"].build(weights=str(task.weights.files["toy"]))
    for number in range(1, 6):
        moved = not np.array_equal(
            trained.get_layer(f"conv{number}").get_weights()[0], original.get_layer(f"conv{number}").get_weights()[0]
        )
        assert moved == (number > 3)  # depth 2: stages 4 and 5
        for statistic in (2, 3):
            np.testing.assert_array_equal(
                trained.get_layer(f"bn{number}").get_weights()[statistic],
                original.get_layer(f"bn{number}").get_weights()[statistic],
            )


@pytest.mark.parametrize("config", [HEAD, DEEP], ids=["head", "deep"])
def test_a_finalist_is_saved_at_its_best_epoch(four: Trainer, tmp_path: Path, config: TrialConfig) -> None:
    import keras

    task = four.task
    result = four.train(TrainingJob(config, 3, 4, model_file=tmp_path / "models" / "toy.h5"))
    model = keras.models.load_model(tmp_path / "models" / "toy.h5")
    images = task.images["toy"].open()[task.rows["val"]].astype("float32")
    found = evaluate(task.labels["val"], predict(model, StoredFeatures(images)))
    assert found == pytest.approx(result.metrics, abs=1e-5)
    assert result.scored is not None and result.scored.epochs == (result.best_epoch,)
    np.testing.assert_allclose(result.scored.scores[0], predict(model, StoredFeatures(images)), atol=1e-5)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["toy.h5"]
    standard = {
        "InputLayer",
        "Conv2D",
        "BatchNormalization",
        "ReLU",
        "GlobalAveragePooling2D",
        "Normalization",
        "Dropout",
        "Dense",
    }
    assert {type(layer).__name__ for layer in model.layers} <= standard


@pytest.mark.parametrize("config", [HEAD, DEEP], ids=["head", "deep"])
def test_the_file_of_a_network_of_tiny_features_predicts_what_was_trained(
    make_task: Callable[..., Any], tmp_path: Path, config: TrialConfig
) -> None:
    """Keras's normalisation divides by 1e-7 at least; before, such a file gave all images one probability."""
    import toys

    task = make_task()
    network = toys.build_toy(task.weights.files["toy"])
    last = network.get_layer("bn5")
    gamma, beta, *moments = last.get_weights()
    last.set_weights([gamma * 1e-10, beta * 1e-10, *moments])
    network.save_weights(file := tmp_path / "tiny.weights.h5")
    weights = replace(task.weights, files={"toy": file}, sha256={"toy": "tiny"})
    trainer = Trainer(replace(task, weights=weights))
    result = trainer.train(TrainingJob(config, 3, 2, model_file=tmp_path / "toy.h5"))
    images = task.images["toy"].open()[task.rows["val"]]
    found = predict_images(load_model(tmp_path / "toy.h5"), images)
    assert result.scored is not None
    np.testing.assert_allclose(found, result.scored.scores[0], atol=1e-5)
    assert np.ptp(found[:, 0]) > 0.01


def test_a_finalist_starts_from_the_pretrained_weights_not_from_a_trials(
    make_task: Callable[..., Any], tmp_path: Path
) -> None:
    job = TrainingJob(DEEP, 5, 2, model_file=tmp_path / "a.h5")
    fresh = Trainer(make_task()).train(job)
    worn = Trainer(make_task())
    worn.run(DEEP)
    assert scores(worn.train(job)) == pytest.approx(scores(fresh), abs=1e-6)


def test_a_finalists_score_is_near_its_trials(make_task: Callable[..., Any], tmp_path: Path) -> None:
    trainer = Trainer(make_task(epochs=8, patience=8))
    config = TrialConfig("toy", "none", 1, 1e-2, 0.1, dropout=0.0, batch_size=8)
    trial = trainer.run(config)
    finalist = trainer.train(TrainingJob(config, 0, 8, model_file=tmp_path / "b.h5"))
    assert finalist.metrics["auc"] == pytest.approx(trial.metrics["auc"], abs=0.1)


def test_rare_classes_weigh_more(make_task: Callable[..., Any]) -> None:
    task = make_task()
    keep = np.concatenate([np.flatnonzero(task.labels["train"] == 0)[:4], np.flatnonzero(task.labels["train"] == 1)])
    rows = {**task.rows, "train": task.rows["train"][keep]}
    labels = {**task.labels, "train": task.labels["train"][keep]}
    trainer = Trainer(make_task(rows=rows, labels=labels))
    train = trainer.images(TrainingJob(HEAD, 0, 1), "train")
    rare, common = train.weights
    assert rare / common == pytest.approx(24 / 4)
    np.testing.assert_array_equal(train.labels, labels["train"])
    assert float(train.weights[train.labels].mean()) == pytest.approx(1.0)


def test_class_weights_can_be_switched_off(make_task: Callable[..., Any]) -> None:
    """In trials and finalists alike; a worker keeps no trainer of the other kind."""
    task = make_task()
    keep = np.concatenate([np.flatnonzero(task.labels["train"] == 0)[:4], np.flatnonzero(task.labels["train"] == 1)])
    few = {name: {**getattr(task, name), "train": getattr(task, name)["train"][keep]} for name in ("rows", "labels")}
    with_weights, without = make_task(**few), make_task(**few, class_weights=False)
    assert with_weights != without
    assert without == make_task(**few, class_weights=False)
    trainer = Trainer(without)
    np.testing.assert_array_equal(trainer.images(TrainingJob(HEAD, 0, 1), "train").weights, [1, 1])
    weighted = Trainer(with_weights)
    jobs = (TrainingJob(HEAD, 3, 2), TrainingJob(DEEP, 3, 2))
    for train in (lambda one: one.run(HEAD), *(lambda one, job=job: one.train(job) for job in jobs)):
        assert scores(train(trainer)) != pytest.approx(scores(train(weighted)), abs=1e-4)


def test_the_small_cnn_needs_no_weights_of_its_backbone(
    make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backbone that is searched from named initialisations alone has none under its own name."""
    task = make_task()
    named, own = "toy+imagenet", task.weights
    weights = replace(own, files={named: own.files["toy"]}, sha256={named: own.sha256["toy"]})
    images = {**task.images, named: task.images["toy"]}
    trainer = Trainer(
        replace(task, images=images, backbones={**task.backbones, named: task.backbones["toy"]}, weights=weights)
    )
    monkeypatch.setattr("bench.models.small_cnn.EPOCHS", 2)
    job = small_cnn_job("toy", "light", 1, 2)
    assert trainer.train(job).metrics == Trainer(make_task()).train(job).metrics


def test_the_gallery_shows_the_original_and_every_policy(make_task: Callable[..., Any]) -> None:
    task = make_task()
    gallery = Trainer(task).augmentation_gallery("toy", ["none", "light"], columns=4)
    assert gallery.shape == (2, 4, 32, 32, 1)
    assert gallery.dtype == np.uint8
    assert (gallery[0] == gallery[0, 0]).all()
    assert not np.array_equal(gallery[1, 1], gallery[1, 2])


@pytest.mark.parametrize("depth", [0, 2])
def test_the_whole_network_without_augmentation_repeats_a_trial(make_task: Callable[..., Any], depth: int) -> None:
    """Cached prefix and suffix, or the full model: the same images in the same order give the same curve."""
    from bench.compare.fidelity.fresh import train_fresh
    from bench.seeds import stable_seed

    config = TrialConfig("toy", "none", depth, 1e-2, 0.1 if depth else None, dropout=0.0, batch_size=8)
    task = make_task()
    trainer = Trainer(task)
    trial = trainer.run(config)
    fresh = train_fresh(trainer, config, stable_seed("trial", task.seed, config.key))
    assert [record.phase for record in fresh.epochs] == [record.phase for record in trial.epochs]
    assert scores(fresh) == pytest.approx(scores(trial), abs=5e-3)
    assert [record.loss for record in fresh.epochs] == pytest.approx([r.loss for r in trial.epochs], abs=5e-3)


@pytest.mark.parametrize("config", [HEAD, DEEP], ids=["head", "deep"])
def test_a_finalist_is_its_trial_but_for_its_fields(
    make_task: Callable[..., Any], tmp_path: Path, config: TrialConfig
) -> None:
    """A trial, a finalist and a fold of the same seed, views and rows have one curve; the exported file its scores."""
    from bench.seeds import stable_seed

    task = make_task()
    seed = stable_seed("trial", task.seed, config.key)
    trial = Trainer(task).run(config)
    finalist = Trainer(task).train(TrainingJob(config, seed, 2, model_file=tmp_path / "d.h5"))
    fold = Trainer(task).train(TrainingJob(config, seed, 2, rows=dict(task.rows)))
    assert scores(finalist) == scores(trial) == scores(fold)
    assert (finalist.best_epoch, finalist.metrics) == (trial.best_epoch, pytest.approx(trial.metrics, abs=2e-3))
    assert [path.name for path in tmp_path.glob("*.h5")] == ["d.h5"]


def test_views_that_are_drawn_while_stages_are_trained_are_the_pretrained_networks(
    make_task: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suffix in training is part of the network through which images pass: nothing behind the cut may be kept."""
    from bench.train import trainer as module

    patience = iter([1, 6])  # the head ends after two epochs, so that fine-tuning is first to read the later views
    original = module.early_stopping
    monkeypatch.setattr(module, "early_stopping", lambda metric, _, restore: original(metric, next(patience), restore))
    task = make_task(epochs=6, patience=6, views=2, depths=(0, 1, 2, 3))
    trainer, config = Trainer(task), TrialConfig("toy", "light", 2, 1e-2, 1.0, batch_size=8)
    phases = [epoch.phase for epoch in trainer.train(TrainingJob(config, 1, 6)).epochs]
    assert phases.count("head") < 6 == phases.count("finetune")
    with pytest.raises(RuntimeError, match="behind the 2 stages in training"):
        trainer.networks.prefix("toy", (1,))
    light = task.policies["light"]
    worn, fresh = Trainer(task), Trainer(make_task(epochs=6, views=2, depths=(0, 1, 2, 3), cache=tmp_path / "other"))
    for depth in (0, 1, 2, 3):
        for view in range(6):
            ours, theirs = (
                one.features.training_views("toy", light, depth, [view])[0].take(np.arange(48)) for one in (worn, fresh)
            )
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-5)


def test_what_is_exported_of_one_backbone_goes_when_another_is(make_task: Callable[..., Any], tmp_path: Path) -> None:
    import gc
    import weakref

    trainer = Trainer(make_task())
    for name in ("toy", "toy2"):
        config = TrialConfig(name, "none", 2, 1e-2, 0.1, batch_size=8)
        trainer.train(TrainingJob(config, 1, 2, model_file=tmp_path / f"{name}.h5"))
        if name == "toy":
            layer = weakref.ref(trainer.networks.exported("toy").model.get_layer("conv3"))
    gc.collect()
    assert layer() is None


def test_each_seed_begins_at_another_view(make_task: Callable[..., Any]) -> None:
    assert [TrainingJob(DEEP, 0, 4, first).order for first in (0, 1, 6)] == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1]]
    task = make_task()
    curves = [scores(Trainer(task).train(TrainingJob(DEEP, 3, 2, first))) for first in (0, 1, 2)]
    assert curves[0] == curves[2] != curves[1]


def test_a_fold_is_trained_on_rows_of_what_the_trials_have_cached(make_task: Callable[..., Any]) -> None:
    """Nothing is computed for it; its images are other rows of the same views, and it is scored on its own."""
    from bench.finalists.folds import fold_rows

    task = make_task(views=4, epochs=2, patience=2)
    trainer = Trainer(task)
    trainer.run(DEEP)
    before = {path: path.stat().st_mtime_ns for path in (task.cache / "features").glob("*/values.npy")}
    rows = fold_rows(task, np.resize([1, 1, 2, 2, 3, 3], 96), 2)
    fold = trainer.train(TrainingJob(DEEP, 4, 2, rows=rows))
    assert {path: path.stat().st_mtime_ns for path in (task.cache / "features").glob("*/values.npy")} == before
    labels = np.concatenate([task.labels["train"], task.labels["val"]])
    of_row = dict(zip(np.concatenate([task.rows["train"], task.rows["val"]]).tolist(), labels.tolist(), strict=True))
    own = make_task(
        views=4,
        epochs=2,
        patience=2,
        rows=rows,
        labels={split: np.array([of_row[row] for row in chosen.tolist()]) for split, chosen in rows.items()},
        cache=task.cache.with_name("other"),
    )
    assert scores(fold) == pytest.approx(scores(Trainer(own).train(TrainingJob(DEEP, 4, 2))), abs=1e-4)


def test_a_finalist_computes_no_more_views_than_it_has_epochs(make_task: Callable[..., Any]) -> None:
    import json

    task = make_task(views=2, epochs=5, patience=1)
    result = Trainer(task).train(TrainingJob(TrialConfig("toy", "light", learning_rate=1e-7, batch_size=8), 4, 5, 3))
    found = [json.loads(file.read_text()) for file in (task.cache / "features").glob("*/meta.json")]
    views = {entry["view"] for entry in found if entry["amounts"] and entry["depth"] == 0}
    epochs = len(result.epochs)
    assert epochs == 2, "patience ends it"
    assert views == {0, 1, 3, 4}, "two that every job's head starts from, and two epochs' from the third on"


class Saved:
    """Stands in for a Keras model; with an ``error``, the disk is full in the middle of the file."""

    def __init__(self, content: str, error: OSError | None = None) -> None:
        self.content, self.error = content, error

    def save(self, path: Path, **_: Any) -> None:
        path.write_text(self.content)
        if self.error is not None:
            raise self.error


def test_a_model_that_is_trained_again_leaves_the_exported_one_alone(tmp_path: Path) -> None:
    """best_model.h5 is a hard link to the file of its training."""
    model, best = tmp_path / "models" / "toy-1.h5", tmp_path / "best_model.h5"
    _save(Saved("first"), model)
    best.hardlink_to(model)
    _save(Saved("second"), model)
    assert (best.read_text(), model.read_text()) == ("first", "second")
    with pytest.raises(OSError, match="no space"):
        _save(Saved("half", OSError(28, "no space")), model)
    assert model.read_text() == "second"
    assert [path.name for path in model.parent.iterdir()] == ["toy-1.h5"], "and no half a file stays behind"


def test_doubtful_labels_are_sought_in_the_whole_pool(make_task: Callable[..., Any]) -> None:
    task = make_task()
    found = Trainer(task).suspected_labels("toy", np.arange(len(task.pool)))
    assert found is not None
    assert set(found.positions.tolist()) <= set(range(len(task.pool)))
    assert Trainer(task).suspected_labels("toy", np.zeros(len(task.pool), np.int64)) is None, "one patient is too few"
