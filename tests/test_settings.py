"""Settings are checked when they are built, and the message names the flag, what arrived and what is accepted."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.errors import ConfigError
from bench.settings import RunSettings, make_settings, parse_bytes, parse_duration
from bench.stats.metrics import METRICS


def settings(**changes):
    return make_settings(**({"name": "xray", "cache": Path("cache")} | changes))


# Durations and sizes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("90", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h30m5s", 5405),
        ("1.5h", 5400),
        ("0.5", 0.5),
        (" 2H ", 7200),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


def test_a_time_limit_can_be_none():
    for text in ("none", " None "):
        assert settings(time_limit=text).time_limit is None
    assert settings(time_limit="2h").time_limit == 7200
    with pytest.raises(ConfigError, match=r"or none for no limit, but got 'never'"):
        settings(time_limit="never")


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-5", "-1h", "two hours", "1d", "5m2h", "1e3", "nan", "inf", "h", "1,5h"]
)
def test_what_is_no_duration(text):
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    message = str(caught.value)
    assert "--time-limit" in message
    assert repr(text) in message
    assert "1h30m" in message, "the message shows what is accepted"


@given(st.integers(0, 99), st.integers(0, 300), st.integers(1, 300))
def test_durations_add_up(hours, minutes, seconds):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1", 1),
        ("500M", 500 * 10**6),
        ("20G", 20 * 10**9),
        ("20gb", 20 * 10**9),
        ("1T", 10**12),
        ("1.5k", 1500),
        ("2 G", 2 * 10**9),
        ("20GiB", 20 * 2**30),
    ],
)
def test_sizes(text, count):
    found = parse_bytes(text)
    assert found == count
    assert type(found) is int


@pytest.mark.parametrize("text", ["", "-1G", "much", "G", "1e9", "nan", "20,5G", "1.5.2", "2G 1"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError) as caught:
        parse_bytes(text)
    message = str(caught.value)
    assert "--cache-size" in message
    assert repr(text) in message
    assert "20G" in message


@pytest.mark.parametrize("parse", [parse_duration, parse_bytes])
def test_numbers_beyond_all_measure_are_refused(parse):
    with pytest.raises(ConfigError):
        parse("9" * 400)


@pytest.mark.parametrize(("text", "count"), [("500M", 5 * 10**8), ("1.5k", 1500), ("2G", 2 * 10**9), ("999", 999)])
def test_numbers_of_pixels(text, count):
    assert settings(max_pixels=text).max_pixels == count
    assert settings(max_pixels=count).max_pixels == count


@pytest.mark.parametrize("text", ["", "many", "0", "-5", "1e9", "10GiB", "99999999999", "99G"])
def test_what_is_no_number_of_pixels(text):
    with pytest.raises(ConfigError, match="--max-pixels"):
        settings(max_pixels=text)


# Run settings


def test_defaults_are_those_of_the_help():
    made = settings()
    assert (made.data, made.budget, made.epochs, made.seed, made.metric) == ("demo", 50, None, 0, "auc")
    assert (made.scheduler, made.patience, made.views, made.jobs) == ("asha", None, 4, 0)
    assert (made.no_test, made.output, made.cache_size) == (False, Path("reports"), 20 * 10**9)
    assert (made.repeats, made.bootstrap, made.target_sensitivity) == (5, 2000, None)
    assert (made.class_weights, made.group_by) == (True, None)
    assert made.is_demo
    assert made.space_name == "demo"


def test_the_space_follows_the_data_unless_it_is_named():
    assert settings(data="chest_xray").space_name == "default"
    assert settings(data="chest_xray", space="wide").space_name == "wide"
    assert settings(space="wide").space_name == "wide"


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("budget", 0, "--budget"),
        ("budget", "many", "--budget"),
        ("epochs", 0, "--epochs"),
        ("seed", -1, "--seed"),
        ("seed", 2**31, "--seed"),
        ("metric", "roc", "--metric"),
        ("scheduler", "hyperband", "--scheduler"),
        ("image_size", 0, "--image-size"),
        ("max_images", -5, "--max-images"),
        ("time_limit", 0, "--time-limit"),
        ("time_limit", float("nan"), "--time-limit"),
        ("jobs", -1, "--jobs"),
        ("patience", 0, "--patience"),
        ("views", 0, "--views"),
        ("cache_size", -1, "--cache-size"),
        ("precision", "half", "--precision"),
        ("repeats", 0, "--repeats"),
        ("repeats", 101, "--repeats"),
        ("bootstrap", 99, "--bootstrap"),
        ("bootstrap", 100_001, "--bootstrap"),
        ("target_sensitivity", 0.5, "--target-sensitivity"),
        ("target_sensitivity", 1.0, "--target-sensitivity"),
        ("target_sensitivity", float("nan"), "--target-sensitivity"),
        ("group_by", (), "--group-by"),
        ("group_by", ("sex", "Sex "), "--group-by"),
        ("name", "../up", "--name"),
        ("name", "", "--name"),
        ("name", "a b", "--name"),
        ("name", ".hidden", "--name"),
        ("unknown_setting", 1, "--unknown-setting"),
    ],
)
def test_an_impossible_value_is_one_sentence_with_flag_and_value(field, value, flag):
    with pytest.raises(ConfigError) as caught:
        settings(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"{flag} {value!r} ")
    assert message.endswith(".")
    assert "\n" not in message
    assert "Value error" not in message, "pydantic's own words stay out"


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("metric", "roc", list(METRICS)),
        ("scheduler", "hyperband", ["asha", "none"]),
        ("name", "a/b", ["letters", "digits", "'.'", "'_'", "'-'"]),
        ("budget", 0, ["greater than or equal to 1"]),
    ],
)
def test_the_message_says_what_is_accepted(field, value, accepted):
    with pytest.raises(ConfigError) as caught:
        settings(**{field: value})
    for word in accepted:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["data", "image_root", "splits", "space", "weights", "cache", "output"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_place_is_not_the_working_folder(name, value):
    with pytest.raises(ConfigError, match=rf"^--{name.replace('_', '-')} is empty; give a value such as --.* \S+, or"):
        settings(**{name: value})


@pytest.mark.parametrize("name", ["xray", "XRay-2.1_b", "0"])
def test_names_that_are_accepted(name):
    assert settings(name=name).name == name


def test_settings_are_frozen():
    made = settings()
    with pytest.raises(ValidationError):
        made.budget = 3
    assert made.budget == 50


def test_settings_survive_run_json():
    made = settings(backbones=("vgg16", "resnet50"), time_limit=90.5, image_size=96, data="/data/chest_xray")
    made = made.model_copy(update={"group_by": ("sex", "scanner"), "target_sensitivity": 0.95, "class_weights": False})
    assert RunSettings(**json.loads(json.dumps(made.model_dump(mode="json")))) == made


def test_the_budget_of_a_nested_loop_is_the_runs_unless_it_has_its_own() -> None:
    for values, expected in (({}, None), ({"outer": "5X2"}, 30), ({"outer": "5x2", "outer_budget": 8}, 8)):
        made = make_settings(name="x", budget=30, **values)
        assert made.trials_of_outer == expected
        assert made.outer_shape == ((5, 2) if values else (0, 0))
