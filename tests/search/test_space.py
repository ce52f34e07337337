"""Search spaces: the shipped ones keep their promises, conditions hold, and whatever is wrong in a file is named."""

import dataclasses
from itertools import pairwise

import numpy as np
import optuna
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import ConfigError
from bench.models.augmentation import Policy
from bench.models.backbones import BACKBONES, DEFAULT, get_backbone
from bench.search.parameters import PARAMETERS
from bench.search.plan import make_plan
from bench.search.shipped import SHIPPED
from bench.search.space import load_space, parse_space
from bench.trial import TrialConfig

OF_THEIR_OWN = ("compare24", "medmnist_plus", "radimagenet")
"""A list, see tests/compare; spaces of their own backbones, see below and test_initialisation.py."""
NAMES = sorted(path.stem for path in SHIPPED.glob("*.yaml") if path.stem not in OF_THEIR_OWN)

SMALL = """
parameters:
  backbone: {choices: [vgg16, resnet50]}
  augmentation: {choices: [none, light]}
  unfreeze_depth: {low: 0, high: 2}
  learning_rate: {low: 1e-4, high: 1e-2, log: true}
  finetune_factor: {low: 0.01, high: 0.2, when: {unfreeze_depth: [1, 2]}}
augmentations: {none: {}, light: {rotation: 7}, unused: {zoom: 0.1}}
"""


def parameters(**entries):
    """A space text with these entries under ``parameters:``."""
    return yaml.safe_dump({"parameters": entries})


def refusal(text, backbones=None):
    with pytest.raises(ConfigError) as caught:
        parse_space("mine", text, backbones)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def sampled(space, n_trials, seed=0):
    """Configurations that a seeded TPE study chooses; the score favours small factors, so that it learns something."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    chosen = []
    for _ in range(n_trials):
        trial = study.ask()
        chosen.append(space.suggest(trial))
        study.tell(trial, -chosen[-1].get("finetune_factor", 0.1))
    return chosen


# The shipped spaces


def test_three_spaces_are_shipped():
    assert NAMES == ["default", "demo", "wide"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_space_offers_the_default_backbones_and_no_augmentation(name):
    space = load_space(name)
    assert space.name == name
    assert space.backbones == DEFAULT == ("vgg16", "resnet50", "inceptionv3")
    assert set(space["augmentation"].choices) == {"none", "light", "medium", "strong"}
    assert space.policies["none"].identity
    assert space.text == (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_no_shipped_policy_is_anatomically_implausible(name):
    policies = load_space(name).policies
    assert not any(policy.vertical_flip for policy in policies.values())
    assert not policies["light"].horizontal_flip, "the heart would change sides"
    assert policies["light"] == Policy("light", rotation=7, shift=0.05, zoom=0.05, brightness=0.1, contrast=0.1)


@pytest.mark.parametrize(("name", "deepest"), [("default", 2), ("demo", 2), ("wide", 5)])
def test_depths_of_the_shipped_spaces(name, deepest):
    assert load_space(name).depths == tuple(range(deepest + 1))


def test_a_published_recipe_is_two_configurations_of_each_backbone():
    space = load_space("medmnist_plus", ["vgg16"])
    assert (space.epochs, space.patience, space.backbones) == (100, 5, ("vgg16",))
    found = {config.key: config for config in map(TrialConfig.from_mapping, sampled(space, 12))}
    head, whole = sorted(found.values(), key=lambda one: one.unfreeze_depth)
    assert (head.unfreeze_depth, head.finetune_factor, head.schedule) == (0, None, "constant")
    assert (whole.unfreeze_depth, whole.schedule, whole.batch_size) == (5, "cosine", 64)
    assert whole.learning_rate * whole.finetune_factor == pytest.approx(1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_learning_rates_are_numbers(name):
    rate = load_space(name)["learning_rate"]
    assert type(rate.low) is type(rate.high) is float
    assert rate.log
    assert 0 < rate.low < rate.high < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_sizes_that_a_space_suggests_suit_every_backbone(name):
    space = load_space(name)
    if space.image_size is not None:
        assert space.image_size >= max(backbone.minimum_size for backbone in BACKBONES.values())
    if name == "demo":
        assert space.image_size is not None, "native sizes would take too long for a demonstration"
        assert space.epochs is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_space_says_where_it_comes_from_and_what_it_costs(name):
    head = load_space(name).text.split("parameters:")[0]
    for word in ("Sources", "Cost", "Expect"):
        assert word in head


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_default_recipe_lies_in_the_space(name, backbone):
    space = load_space(name, [backbone])
    recipe = space.recipe(get_backbone(backbone))
    assert set(recipe) == set(PARAMETERS)
    assert recipe["backbone"] == backbone
    for key, value in recipe.items():
        assert space[key].contains(value), key
    assert TrialConfig.from_mapping(recipe).unfreeze_depth == 2


# Sampling


@pytest.mark.parametrize("name", NAMES)
def test_what_a_study_chooses_lies_in_the_space(name):
    space = load_space(name)
    chosen = sampled(space, 60)
    for values in chosen:
        assert ("finetune_factor" in values) == (values["unfreeze_depth"] > 0)
        assert set(PARAMETERS) - set(values) <= {"finetune_factor"}
        for key, value in values.items():
            assert space[key].contains(value), (key, value)
        config = TrialConfig.from_mapping(values)
        assert dataclasses.asdict(config) == {"finetune_factor": None} | values, "nothing is changed on the way"
    assert {values["unfreeze_depth"] for values in chosen} == set(space.depths)
    assert {values["backbone"] for values in chosen} == set(space.backbones)


def test_the_sampler_s_seed_decides():
    space = load_space("default")
    assert sampled(space, 15, seed=1) == sampled(space, 15, seed=1)
    assert sampled(space, 15, seed=1) != sampled(space, 15, seed=2)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_space_chooses_within_itself(data):
    """Ranges and choices drawn at random; whole numbers stay whole, conditions hold."""
    depths = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True))
    low, high = sorted(data.draw(st.tuples(st.floats(1e-7, 1.0), st.floats(1e-7, 1.0))))
    text = parameters(
        unfreeze_depth={"choices": depths},
        learning_rate={"low": low, "high": high, "log": data.draw(st.booleans())},
        batch_size={"low": 8, "high": data.draw(st.integers(8, 64))},
        finetune_factor={"low": 0.01, "high": 0.5, "when": {"unfreeze_depth": depths[:1]}},
    )
    space = parse_space("drawn", text)
    for values in sampled(space, 5, seed=data.draw(st.integers(0, 99))):
        assert values["unfreeze_depth"] in depths
        assert low <= values["learning_rate"] <= high
        assert type(values["batch_size"]) is int
        assert ("finetune_factor" in values) == (values["unfreeze_depth"] == depths[0])
        TrialConfig.from_mapping(values)


# Reading


@pytest.mark.parametrize(
    ("written", "meant"),
    [("3e-4", 3e-4), ("1E-3", 1e-3), ("2.5e-4", 2.5e-4), ("1e-2", 1e-2), (".01", 0.01), ("0.01", 0.01), ("1", 1)],
)
def test_numbers_as_people_write_them(written, meant):
    space = parse_space("x", f"parameters:\n  learning_rate: {{choices: [{written}]}}\n")
    assert space["learning_rate"].choices == (meant,)


def test_whole_numbers_are_read_to_base_10():
    space = parse_space("x", "parameters:\n  batch_size: {choices: [016, 032, 0x40, +128]}\nepochs: 010\n")
    assert (space["batch_size"].choices, space.epochs) == ((16, 32, 64, 128), 10)


def test_a_merged_mapping_may_have_keys_that_are_given_beside_it():
    text = (
        "parameters:\n  dropout: &base {low: 0.1, high: 0.5}\n"
        "  label_smoothing: &other {log: true}\n  learning_rate: {<<: *base, <<: *other, low: 1e-3}\n"
    )
    with pytest.raises(ConfigError, match="label_smoothing"):  # read, and refused for what it means
        parse_space("x", text)
    space = parse_space("x", text.replace("&other {log", "&other {low: 0.1, high: 0.2, log"))
    assert (space["learning_rate"].low, space["learning_rate"].log) == (1e-3, True)


def test_what_a_space_leaves_out_has_one_value():
    space = parse_space("bare", "parameters: {}")
    assert tuple(parameter.name for parameter in space.parameters) == tuple(
        name for name in PARAMETERS if name != "finetune_factor"
    )
    assert space.backbones == DEFAULT
    assert space.depths == (0,)
    assert set(space.policies) == {"none"}
    (values,) = sampled(space, 1)
    assert TrialConfig.from_mapping(values) == TrialConfig(values["backbone"])


def test_parameters_stand_in_the_order_in_which_they_are_chosen():
    late = "finetune_factor: {choices: [0.1], when: {unfreeze_depth: 2}}"
    space = parse_space("x", f"parameters:\n  {late}\n  unfreeze_depth: {{choices: [0, 2]}}\n")
    order = [parameter.name for parameter in space.parameters]
    assert order.index("unfreeze_depth") < order.index("finetune_factor")
    assert space["finetune_factor"].when == {"unfreeze_depth": (2,)}, "a single value needs no list"


def test_only_policies_that_can_be_chosen_are_kept():
    assert set(parse_space("x", SMALL).policies) == {"none", "light"}


def test_a_space_is_narrowed_to_backbones():
    assert parse_space("x", SMALL, ["resnet50"]).backbones == ("resnet50",)
    assert parse_space("x", SMALL, ["resnet50", "vgg16"]).backbones == ("vgg16", "resnet50"), "the space's order stays"


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_space_takes_any_backbone_that_is_asked_for(name):
    assert load_space(name, ["densenet121", "vgg16"]).backbones == ("vgg16", "densenet121"), "the table's order stays"
    every = load_space(name, list(BACKBONES))
    assert every.backbones == tuple(BACKBONES)
    assert {values["backbone"] for values in sampled(every, 60)} <= set(BACKBONES)
    again = parse_space(name, every.text, ["mobilenetv3large"])
    assert again.backbones == ("mobilenetv3large",), "resumed from the text that the run keeps"
    assert again["learning_rate"] == load_space(name)["learning_rate"]


def test_a_point_brings_its_backbone_where_the_file_lists_none():
    text = "parameters: {}\npoints: [{backbone: convnexttiny}]"
    space = parse_space("x", text)
    assert space.backbones == (*DEFAULT, "convnexttiny") and space.points == ({"backbone": "convnexttiny"},)
    assert parse_space("x", text, ["vgg16"]).points == ()


def test_depths_by_choices_and_by_range():
    assert parse_space("x", parameters(unfreeze_depth={"choices": [0, 3]})).depths == (0, 3)
    assert parse_space("x", parameters(unfreeze_depth={"low": 1, "high": 3})).depths == (1, 2, 3)


def test_a_description_gives_the_space_back():
    space = parse_space("x", SMALL)
    described = {parameter.name: parameter.describe() for parameter in space.parameters}
    text = yaml.safe_dump(
        {"parameters": described, "augmentations": {key: policy.amounts() for key, policy in space.policies.items()}}
    )
    again = parse_space("x", text)
    assert again.parameters == space.parameters
    assert again.policies == space.policies


def test_a_file_anywhere_is_a_space(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL)
    space = load_space(str(path))
    assert (space.name, space.backbones) == ("mine", ("vgg16", "resnet50"))


def test_an_unknown_space_is_answered_with_those_there_are():
    with pytest.raises(ConfigError) as caught:
        load_space("defualt")
    assert "'defualt'" in str(caught.value)
    assert "default, demo, medmnist_plus, radimagenet, wide" in str(caught.value)


# Points and recipes


def test_points_are_kept_in_order():
    text = (
        SMALL + "points:\n  - {backbone: vgg16, learning_rate: 1e-3}\n  - {unfreeze_depth: 1, finetune_factor: 0.1}\n"
    )
    assert parse_space("x", text).points == (
        {"backbone": "vgg16", "learning_rate": 1e-3},
        {"unfreeze_depth": 1, "finetune_factor": 0.1},
    )


def test_points_that_are_one_configuration_are_refused():
    whole = "{backbone: vgg16, augmentation: none, unfreeze_depth: 0, learning_rate: 1e-3}"
    text = "parameters: {unfreeze_depth: {choices: [0, 1]}, learning_rate: {low: 1e-4, high: 1e-2}}\npoints: "
    rest = "backbone: vgg16, unfreeze_depth: 0, learning_rate: 0.001"
    space = parse_space("x", f"{text}[{whole}, {{backbone: vgg16}}, {{backbone: vgg16}}]")
    assert len(space.points) == 3, "what is sampled may differ"
    assert space.whole(space.points[0]) == TrialConfig("vgg16") and space.whole(space.points[1]) is None
    for same in (whole, f"{{{rest}}}", f"{{{rest}, dropout: 0.2, schedule: constant}}"):
        with pytest.raises(ConfigError, match=r"all points: must differ .* points 1 and 3 are the same configuration"):
            parse_space("x", f"{text}[{whole}, {{backbone: resnet50}}, {same}]")


CONDITIONS = """
parameters:
  backbone: {choices: [vgg16, resnet50]}
  unfreeze_depth: {low: 0, high: 2}
  learning_rate: {low: 1e-3, high: 1e-3}
  finetune_factor: {choices: [0.1, 0.2], when: {unfreeze_depth: [1, 2]}}
  dropout: {choices: [0.0, 0.5], when: {backbone: [vgg16]}}
  batch_size: {low: 8, high: 10, log: true}
  schedule: {choices: [constant, cosine]}
"""


def test_a_walk_meets_every_configuration_of_a_space_of_choices_once():
    space = parse_space("x", CONDITIONS)
    found = list(space.walk(np.random.default_rng(0), {}))
    assert len({TrialConfig.from_mapping(one).key for one in found}) == len(found) == (2 + 1) * (1 + 2 * 2 * 2) * 3
    for one in found:
        assert ("finetune_factor" in one) == ("schedule" in one) == (one["unfreeze_depth"] > 0)
        assert ("dropout" in one) == (one["backbone"] == "vgg16")
    some = list(space.walk(np.random.default_rng(0), {"backbone": "resnet50", "unfreeze_depth": 1, "batch_size": 9}))
    assert len(some) == 4 and {(one["backbone"], one["unfreeze_depth"], one["batch_size"]) for one in some} == {
        ("resnet50", 1, 9)
    }
    assert next(space.walk(np.random.default_rng(1), {})) != next(space.walk(np.random.default_rng(2), {}))
    assert next(space.walk(np.random.default_rng(1), {})) == next(space.walk(np.random.default_rng(1), {}))


def test_a_walk_draws_from_continuous_ranges():
    space = load_space("default")
    found = [next(space.walk(np.random.default_rng(seed), {"unfreeze_depth": 2})) for seed in range(40)]
    assert all(space[name].contains(value) for one in found for name, value in one.items())
    rates = [one["learning_rate"] for one in found]
    assert len(set(rates)) == 40
    middle = (space["learning_rate"].low * space["learning_rate"].high) ** 0.5
    assert 10 < sum(rate < middle for rate in rates) < 30, "evenly in the logarithm"


def test_points_of_backbones_that_are_left_out_go_with_them():
    text = SMALL + "points: [{backbone: vgg16}, {learning_rate: 1e-3}, {backbone: resnet50}]\n"
    space = parse_space("x", text, ["resnet50"])
    assert space.points == ({"learning_rate": 1e-3}, {"backbone": "resnet50"})
    (note,) = make_plan(space, [get_backbone("resnet50")], 50).notes
    assert note == "--backbones leaves 1 point of the space out, of other backbones than are searched."
    assert make_plan(parse_space("x", text), [get_backbone("resnet50")], 50).notes == []


def test_a_recipe_is_moved_into_a_narrow_space():
    text = parameters(
        unfreeze_depth={"choices": [2, 4]},
        learning_rate={"low": 2e-3, "high": 5e-3},
        finetune_factor={"low": 0.15, "high": 0.2},
        dropout={"choices": [0.0, 0.5]},
        batch_size={"low": 4, "high": 16},
        label_smoothing={"choices": [0.1]},
    )
    assert parse_space("x", text).recipe(get_backbone("vgg16")) == {
        "backbone": "vgg16",
        "augmentation": "none",
        "unfreeze_depth": 2,
        "learning_rate": 2e-3,
        "finetune_factor": 0.15,
        "dropout": 0.0,
        "label_smoothing": 0.1,
        "batch_size": 16,
        "initialisation": "given",
        "schedule": "constant",
        "ema_momentum": 0.0,
    }


def test_what_is_of_fine_tuning_is_not_chosen_at_depth_0():
    """Else a study would hold values that no configuration has: what is tried again could not be asked for."""
    text = parameters(
        unfreeze_depth={"choices": [0, 2]}, schedule={"choices": ["cosine"]}, ema_momentum={"low": 0.9, "high": 0.99}
    )
    space = parse_space("x", text)
    assert space["schedule"].when == space["ema_momentum"].when == {"unfreeze_depth": (2,)}
    for values in sampled(space, 12):
        config = TrialConfig.from_mapping(values)
        assert ("schedule" in values) == ("ema_momentum" in values) == (config.unfreeze_depth > 0)
        assert config.schedule == ("cosine" if config.unfreeze_depth else "constant")
        again = optuna.trial.FixedTrial({k: v for k, v in dataclasses.asdict(config).items() if v is not None})
        assert TrialConfig.from_mapping(space.suggest(again)) == config
    with pytest.raises(ConfigError, match="schedule does not exist under its condition"):
        parse_space("x", text + "\npoints: [{unfreeze_depth: 0, schedule: cosine}]")
    only = parse_space("x", parameters(unfreeze_depth={"choices": [0]}, schedule={"choices": ["constant", "cosine"]}))
    assert all("schedule" not in values for values in sampled(only, 3))


def test_a_recipe_has_no_finetune_factor_where_the_space_has_none():
    text = parameters(
        unfreeze_depth={"choices": [0]},
        finetune_factor={"low": 0.01, "high": 0.2, "when": {"unfreeze_depth": [0]}},
    )
    assert "finetune_factor" in parse_space("x", text).recipe(get_backbone("vgg16"))
    assert "finetune_factor" not in parse_space("x", "parameters: {}").recipe(get_backbone("vgg16"))


# Refusals


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("parameters: {a: [", ["not valid YAML"]),
        ("", ["parameters:", "known sections"]),
        ("- 1", ["parameters:", "known sections"]),
        ("parameters: 5", ["parameters:", "known sections"]),
        ("parameters: {}\nparameter: {}", ["unknown section 'parameter'", "augmentations", "points", "image_size"]),
        ("parameters: {}\nimage_size: 0", ["image_size", "at least 1", "0"]),
        ("parameters: {}\nimage_size: 96.5", ["image_size", "whole number", "96.5"]),
        ("parameters: {}\nepochs: true", ["epochs", "whole number", "True"]),
        ("parameters: {}\nepochs: many", ["epochs", "'many'"]),
        ("parameters: {lr: {choices: [1]}}", ["unknown parameter 'lr'", *PARAMETERS]),
        ("parameters: {dropout: 0.2}", ["dropout", "choices: [...]", "low: and high:", "0.2"]),
        ("parameters: {dropout: {choices: []}}", ["dropout", "at least one entry"]),
        ("parameters: {dropout: {choices: 0.2}}", ["dropout", "must be a list", "0.2"]),
        ("parameters: {dropout: {choices: [0.2, 0.2]}}", ["dropout", "must differ", "[0.2, 0.2]"]),
        ("parameters: {dropout: {choices: [0.2, high]}}", ["dropout", "a number from 0 to 0.95", "'high'"]),
        ("parameters: {dropout: {choices: [true]}}", ["dropout", "a number", "True"]),
        ("parameters: {dropout: {low: 0.1}}", ["dropout", "low: and high:"]),
        ("parameters: {dropout: {}}", ["dropout", "low: and high:"]),
        ("parameters: {dropout: {low: 0.5, high: 0.1}}", ["low <= high must hold", "low: 0.5, high: 0.1"]),
        ("parameters: {dropout: {low: 0, high: 0.5, log: true}}", ["log", "low above 0", "low: 0"]),
        ("parameters: {dropout: {low: 0.1, high: 0.5, log: 1}}", ["log must be true or false", "log: 1"]),
        ("parameters: {dropout: {low: 0, hihg: 0.5}}", ["unknown entry of dropout 'hihg'", "choices, low, high"]),
        ("parameters: {dropout: {low: 0, high: .nan}}", ["dropout", "nan"]),
        ("parameters: {dropout: {low: 0, high: 1.5}}", ["dropout", "0 to 0.95", "1.5"]),
        ("parameters: {learning_rate: {low: 0, high: 1}}", ["learning_rate", "1e-08 to 1", "0"]),
        ("parameters: {unfreeze_depth: {low: 0, high: 6}}", ["unfreeze_depth", "a whole number from 0 to 5", "6"]),
        ("parameters: {unfreeze_depth: {choices: [0, 1.5]}}", ["unfreeze_depth", "a whole number", "1.5"]),
        ("parameters: {batch_size: {choices: [0]}}", ["batch_size", "1 to 4096", "0"]),
        ("parameters: {backbone: {choices: [vgg19]}}", ["unknown backbone 'vgg19'", *BACKBONES]),
        ("parameters: {backbone: {choices: [16]}}", ["backbone", "names are expected", "16"]),
        ("parameters: {schedule: {choices: [cosine, linear]}}", ["schedule", "constant, cosine", "'linear'"]),
        ("parameters: {}\npatience: 0", ["patience", "at least 1", "0"]),
        ("parameters: {backbone: {low: 1, high: 2}}", ["backbone", "choices: [...]"]),
        ("parameters: {augmentation: {choices: [none, mild]}}", ["policy 'mild'", "policies it defines: none"]),
        ("parameters: {}\naugmentations: {a: {turn: 5}}", ["'a'", "'turn'", "rotation", "vertical_flip"]),
        ("parameters: {}\naugmentations: {a: {rotation: 400}}", ["'a'", "0 <= rotation <= 180", "400"]),
        ("parameters: {}\naugmentations: {a: {vertical_flip: 1}}", ["'a'", "true or false", "1"]),
        ("parameters: {}\naugmentations: {a: 5}", ["'a'", "mapping", "5"]),
        ("parameters: {dropout: {choices: [0.1], when: {backbones: vgg16}}}", ["dropout", "when:", "'backbones'"]),
        ("parameters: {dropout: {choices: [0.1], when: {batch_size: 32}}}", ["can depend on", "'batch_size'"]),
        (
            "parameters: {unfreeze_depth: {low: 0, high: 2}, dropout: {choices: [0.1], when: {unfreeze_depth: [3]}}}",
            ["dropout", "unfreeze_depth = 3", "cannot take"],
        ),
        ("parameters: {dropout: {low: 0, high: 0.2, high: 0.5}}", ["the key 'high' of line 1", "again in line 1"]),
        ("parameters:\n  dropout: {choices: [0]}\n  dropout: {choices: [0.2]}", ["'dropout' of line 2", "in line 3"]),
        ("parameters: {}\npoints: []\npoints: [{dropout: 0}]", ["the key 'points' of line 2", "again in line 3"]),
        ("parameters: {}\npoints: [{dropout: 0, dropout: 0}]", ["the key 'dropout' of line 2"]),
        ("parameters: {}\nepochs: 1:30", ["epochs", "whole number", "'1:30'"]),
        ("parameters: {dropout: {choices: [0:0.5]}}", ["dropout", "a number", "'0:0.5'"]),
        ("parameters: {batch_size: {choices: [0o20]}}", ["batch_size", "a whole number", "'0o20'"]),
        (f"{SMALL}\npoints: [{{backbone: densenet121}}]", ["'densenet121' is none of", "vgg16, resnet50; add it"]),
        ("parameters: {}\npoints: [5]", ["points:", "mapping", "5"]),
        ("parameters: {}\npoints: [{lr: 1}]", ["points:", "'lr'", *PARAMETERS]),
        ("parameters: {}\npoints: [{backbone: vgg19}]", ["unknown backbone 'vgg19'", *BACKBONES]),
        ("parameters: {}\npoints: [{dropout: 0.9}]", ["points:", "dropout = 0.9", "outside the space"]),
        ("parameters: {}\npoints: [{finetune_factor: 0.1}]", ["finetune_factor = 0.1", "outside the space"]),
        (f"{SMALL}\npoints: [{{unfreeze_depth: 0, finetune_factor: 0.1}}]", ["finetune_factor", "condition when:"]),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(text, words):
    message = refusal(text)
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("name", [name for name, row in PARAMETERS.items() if row.limits])
def test_limits_are_shown_and_themselves_accepted(name):
    low, high = PARAMETERS[name].limits
    extra = {} if name != "finetune_factor" else {"unfreeze_depth": {"choices": [1]}}
    space = parse_space("x", parameters(**{name: {"low": low, "high": high}}, **extra))
    assert (space[name].low, space[name].high) == (low, high)
    message = refusal(parameters(**{name: {"low": low, "high": 2 * high}}))
    assert f"{low:g} to {high:g}" in message


def test_narrowing_to_what_is_not_offered_is_refused():
    assert "it offers vgg16, resnet50; add it to the choices there" in refusal(SMALL, ["densenet121"])
    message = refusal(SMALL, ["vgg19"])
    assert "--backbones" in message
    assert "'vgg19'" in message


@pytest.mark.parametrize(
    "text",
    [
        "parameters: {dropout: {choices: [0.1], when: [backbone]}}",
        "parameters: {}\naugmentations: [none]",
        "parameters: {}\naugmentations: {a: {1: 2, turn: 3}}",
        "parameters: {}\npoints: 5",
        "parameters: {}\npoints: [{backbone: [vgg16]}]",
    ],
    ids=["when: a list", "augmentations: a list", "amounts: mixed keys", "points: a number", "backbone: a list"],
)
def test_a_wrong_shape_is_named_too(text):
    refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "parameters: {unfreeze_depth: {low: 0, high: 2}}\npoints: [{unfreeze_depth: 1.5}]",
        "parameters: {dropout: {low: 0, high: 0.5}}\npoints: [{dropout: false}]",
        "parameters: {dropout: {choices: [0.1], low: 0, high: 0.5}}",
    ],
    ids=["half a stage", "truth as a number", "choices and a range"],
)
def test_values_that_make_no_sense_are_refused(text):
    refusal(text)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "scan.yaml"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError):
        load_space(str(path))


def test_narrowing_to_nothing_is_refused():
    refusal(SMALL, [])


def test_a_condition_on_a_backbone_that_is_left_out_goes_with_it():
    text = (
        "parameters:\n  backbone: {choices: [vgg16, resnet50]}\n  dropout: {choices: [0.5], when: {backbone: vgg16}}\n"
    )
    (values,) = sampled(parse_space("x", text, ["resnet50"]), 1)
    assert "dropout" not in values


# Files that are made to do harm


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n" for before, after in pairwise("abcdefghi")
)
NESTED = {
    "lists": "[" * 20_000,
    "mappings": "parameters: {dropout: " + "{a: " * 3000 + "1" + "}" * 3002,
    "laughs": f"{LAUGHS}parameters: *i\n",
    "laughs below": LAUGHS.replace("a: &a", "parameters: {dropout: 1}\na: &a") + "points: *i\n",
    "itself": "parameters:\n  dropout: &x {choices: [*x]}\n",
    "digits": f"parameters: {{}}\nepochs: {'9' * 5000}\n",
    "base 60": f"parameters: {{}}\nepochs: {':'.join(['59'] * 3000)}\n",
}
ODD = ("!!timestamp x", "!!float x", "!!int x", "!!bool x", "2001-99-99", "!!python/object/apply:os.getcwd []")


@pytest.mark.parametrize("text", [*NESTED.values(), *(f"parameters: {{}}\nepochs: {one}\n" for one in ODD)])
def test_yaml_without_end_and_values_that_are_none_are_refused_in_a_line(text):
    with pytest.raises(ConfigError, match="Space 's' is not valid YAML: ") as caught:
        parse_space("s", text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", ["{a: 1}", "[1]", "2001-01-01", "null"])
@pytest.mark.parametrize("name", ["backbone", "augmentation", "unfreeze_depth"])
def test_a_condition_that_is_no_value_is_refused(name, value):
    text = f"parameters:\n  dropout: {{choices: [0.1], when: {{{name}: [{value}]}}}}\n"
    with pytest.raises(ConfigError, match=f"when: names {name} = .*, which {name} cannot take"):
        parse_space("s", text)


def test_aliases_that_stay_within_the_limit_are_read():
    text = "augmentations: {none: {}}\nparameters:\n  backbone: {choices: &two [vgg16, resnet50]}\n"
    text += "  finetune_factor: {low: 0.1, high: 1.0, when: {unfreeze_depth: [1], backbone: *two}}\n"
    text += "  unfreeze_depth: {choices: [0, 1]}\n"
    assert parse_space("s", text).backbones == ("vgg16", "resnet50")
