"""A configuration that cannot be trained cannot be built; equal configurations have equal keys."""

import dataclasses
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigError
from bench.trial import N_STAGES, TrialConfig, TrialResult

DEEP = TrialConfig("vgg16", "light", 2, 1e-3, 0.05, 0.5, 0.1, 16)


# Rules


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"unfreeze_depth": -1}, "0 <= unfreeze_depth <= 5"),
        ({"unfreeze_depth": N_STAGES + 1}, "0 <= unfreeze_depth <= 5"),
        ({"learning_rate": 0.0}, "0 < learning_rate"),
        ({"learning_rate": -1e-3}, "0 < learning_rate"),
        ({"learning_rate": math.inf}, "0 < learning_rate"),
        ({"learning_rate": math.nan}, "0 < learning_rate"),
        ({"finetune_factor": 0.0}, "0 < finetune_factor"),
        ({"finetune_factor": math.nan}, "0 < finetune_factor"),
        ({"dropout": 1.0}, "0 <= dropout < 1"),
        ({"dropout": -0.1}, "0 <= dropout < 1"),
        ({"dropout": math.nan}, "0 <= dropout < 1"),
        ({"label_smoothing": 1.0}, "0 <= label_smoothing < 1"),
        ({"label_smoothing": -0.1}, "0 <= label_smoothing < 1"),
        ({"batch_size": 0}, "1 <= batch_size"),
        ({"finetune_factor": None}, "finetune_factor only when unfreeze_depth > 0"),
        ({"unfreeze_depth": 0}, "finetune_factor only when unfreeze_depth > 0"),
    ],
)
def test_an_impossible_configuration_is_refused_with_its_rule(changes, rule):
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(DEEP, **changes)
    assert str(caught.value).startswith(f"{rule} must hold, but got ")
    name, value = next(iter(changes.items()))
    assert f"{name!r}: {value!r}" in str(caught.value), "the message shows what arrived"


@pytest.mark.parametrize(
    "changes",
    [
        {"unfreeze_depth": N_STAGES},
        {"unfreeze_depth": 0, "finetune_factor": None},
        {"dropout": 0.0},
        {"label_smoothing": 0.0},
        {"batch_size": 1},
    ],
)
def test_the_ends_of_the_ranges_are_possible(changes):
    made = dataclasses.replace(DEEP, **changes)
    assert {name: getattr(made, name) for name in changes} == changes


def test_a_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEEP.dropout = 0.0


# From a mapping


def test_what_a_mapping_leaves_out_takes_its_default():
    assert TrialConfig.from_mapping({"backbone": "vgg16"}) == TrialConfig(
        backbone="vgg16",
        augmentation="none",
        unfreeze_depth=0,
        learning_rate=1e-3,
        finetune_factor=None,
        dropout=0.2,
        label_smoothing=0.0,
        batch_size=32,
    )


def test_the_finetune_factor_exists_only_above_depth_0():
    assert TrialConfig.from_mapping({"backbone": "vgg16", "unfreeze_depth": 1}).finetune_factor == 0.1
    given = {"backbone": "vgg16", "finetune_factor": 0.03}
    assert TrialConfig.from_mapping(given | {"unfreeze_depth": 1}).finetune_factor == 0.03
    assert TrialConfig.from_mapping(given | {"unfreeze_depth": 0}).finetune_factor is None
    assert TrialConfig.from_mapping(given).finetune_factor is None
    assert given == {"backbone": "vgg16", "finetune_factor": 0.03}, "the mapping is left as it was"


def test_an_unknown_parameter_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_mapping({"backbone": "vgg16", "lr": 1e-3})
    message = str(caught.value)
    assert "'lr'" in message
    for field in dataclasses.fields(TrialConfig):
        assert field.name in message


def test_a_mapping_is_held_to_the_rules():
    with pytest.raises(ConfigError, match="0 <= dropout < 1"):
        TrialConfig.from_mapping({"backbone": "vgg16", "dropout": 2.0})


def test_a_mapping_gives_back_what_it_came_from():
    assert TrialConfig.from_mapping(dataclasses.asdict(DEEP)) == DEEP


# Identity


def test_equal_configurations_have_equal_keys():
    assert dataclasses.replace(DEEP).key == DEEP.key
    assert TrialConfig.from_mapping(dict(reversed(dataclasses.asdict(DEEP).items()))).key == DEEP.key


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "resnet50"},
        {"augmentation": "none"},
        {"unfreeze_depth": 1},
        {"learning_rate": 1.0000001e-3},
        {"finetune_factor": 0.06},
        {"dropout": 0.2},
        {"label_smoothing": 0.0},
        {"batch_size": 32},
    ],
)
def test_every_parameter_counts_for_the_key(changes):
    assert dataclasses.replace(DEEP, **changes).key != DEEP.key


@given(st.floats(1e-8, 1.0), st.floats(1e-8, 1.0))
def test_keys_differ_exactly_as_the_rates_do(a, b):
    first, second = (TrialConfig("vgg16", learning_rate=rate) for rate in (a, b))
    assert (first.key == second.key) == (first == second)


def test_a_whole_number_and_its_float_are_one_configuration():
    """A space file says ``choices: [0, 0.2]``; trials.csv gives 0.0 back."""
    first, second = TrialConfig("vgg16", dropout=0), TrialConfig("vgg16", dropout=0.0)
    assert first == second
    assert first.key == second.key


def test_a_key_that_is_kept_is_no_part_of_the_configuration():
    fresh, read = dataclasses.replace(DEEP), dataclasses.replace(DEEP)
    assert read.key is read.key, "computed once"
    assert read == fresh
    assert hash(read) == hash(fresh)
    assert repr(read) == repr(fresh)
    assert dataclasses.asdict(read) == dataclasses.asdict(fresh)
    assert read.columns() == fresh.columns()
    again = pickle.loads(pickle.dumps(read))
    assert again == fresh
    assert again.key == fresh.key
    changed = dataclasses.replace(read, dropout=0.3)
    assert changed.key == TrialConfig.from_mapping(dataclasses.asdict(changed)).key != read.key


# Results


def test_a_result_has_finite_metrics():
    with pytest.raises(ValueError, match="finite"):
        TrialResult(best_epoch=1, metrics={"auc": math.nan}, epochs=(), seconds=1.0)
    assert TrialResult(best_epoch=1, metrics={"auc": 0.5}, epochs=(), seconds=1.0).metrics["auc"] == 0.5
