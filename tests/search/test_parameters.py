"""The table of hyperparameters: every row is whole, and a further one is one row and the line that uses it."""

import dataclasses
from pathlib import Path

import pytest
from contributing import diff_of, run_checks, with_diff

from bench.errors import ConfigError
from bench.search.parameters import PARAMETERS, Hyperparameter, TrialConfig

DEEP = TrialConfig("vgg16", "light", 2, 1e-3, 0.05, 0.5, 0.1, 16)


@pytest.mark.parametrize("row", PARAMETERS.values(), ids=lambda row: row.name)
def test_a_row_is_whole(row: Hyperparameter) -> None:
    assert row.title and row.title[0].isupper()
    assert "{}" in row.phrase
    assert (row.kind is str) == (row.limits is None) == (row.written == "text")
    assert row.scale != "log" or row.gt == 0
    if row.limits is not None:
        assert all(row.possible(end) for end in row.limits)
        assert row.default is None or row.limits[0] <= row.default <= row.limits[1]


def test_the_table_is_the_configuration() -> None:
    assert list(PARAMETERS) == [one.name for one in dataclasses.fields(TrialConfig)]
    assert [row.kind for row in PARAMETERS.values()] == [
        str,
        str,
        int,
        float,
        float,
        float,
        float,
        int,
        str,
        str,
        float,
    ]
    assert [row.name for row in PARAMETERS.values() if row.when] == ["finetune_factor", "schedule", "ema_momentum"]


def test_keys_are_those_of_earlier_versions() -> None:
    """Seeds come from them."""
    assert DEEP.key == "48a6a4956a007401796389b6"
    assert TrialConfig("resnet50").key == "16f8ebfb55b664e644d9fc6a"


def test_a_schedule_is_of_fine_tuning_and_one_of_two() -> None:
    cosine = dataclasses.replace(DEEP, schedule="cosine")
    assert DEEP.schedule == TrialConfig("resnet50", schedule="cosine").schedule == "constant"
    assert len({DEEP.key, cosine.key, dataclasses.replace(DEEP, schedule="constant").key}) == 2
    head = TrialConfig.from_mapping({"backbone": "resnet50", "schedule": "cosine"})
    assert head == TrialConfig("resnet50")  # else one training would count as two configurations
    for depth in (0, 1):
        with pytest.raises(ConfigError, match="one of constant, cosine, but got 'linear'"):
            TrialConfig.from_mapping({"backbone": "vgg16", "unfreeze_depth": depth, "schedule": "linear"})
        with pytest.raises(ConfigError, match="0 <= ema_momentum < 1"):
            TrialConfig.from_mapping({"backbone": "vgg16", "unfreeze_depth": depth, "ema_momentum": 1.0})


@pytest.mark.parametrize(
    "config",
    [DEEP, dataclasses.replace(DEEP, schedule="cosine"), TrialConfig("resnet50")],
    ids=["deep", "cosine", "head"],
)
def test_a_configuration_comes_back_from_a_tables_row(config: TrialConfig) -> None:
    row = config.columns()
    assert list(row) == [one.column for one in PARAMETERS.values()]
    assert TrialConfig.from_row(row | {"trial": 3}) == config
    read = {name: float("nan") if value is None else value for name, value in row.items()}  # as pandas reads it
    assert TrialConfig.from_row(read) == config
    new = ("config_dropout", "config_finetune_factor", "config_schedule")
    older = {name: value for name, value in row.items() if name not in new}
    factor = 0.1 if config.unfreeze_depth else None
    assert TrialConfig.from_row(older) == dataclasses.replace(
        config, dropout=0.2, finetune_factor=factor, schedule="constant"
    )
    constant = dataclasses.replace(config, schedule="constant")
    assert TrialConfig.from_row(row | {"config_schedule": ""}) == constant  # an earlier table under today's schema
    with pytest.raises(TypeError):  # an empty cell is no missing column
        TrialConfig.from_row(row | {"config_dropout": None})
    with pytest.raises(TypeError, match="backbone"):
        TrialConfig.from_row({name: value for name, value in row.items() if name != "config_backbone"})
    with pytest.raises(TypeError, match="momentum"):
        TrialConfig.from_row(row | {"config_momentum": 0.9})
    with pytest.raises(ConfigError, match="0 <= dropout < 1"):
        TrialConfig.from_row(row | {"config_dropout": 2})


def test_a_further_hyperparameter_is_one_row_and_the_line_that_uses_it(tmp_path: Path) -> None:
    """Weight decay, by the diff that CONTRIBUTING.md shows."""
    diff = diff_of("A further hyperparameter")
    added = [line for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert len(added) == 2
    run_checks(
        with_diff("A further hyperparameter", tmp_path), Path(__file__).with_name("with_weight_decay.py"), least=6
    )
