"""What backbones compute in: the rule by times that are given, what the cache keeps, and one real measurement."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import overwrite, toy_backbone

from bench import checksums, device
from bench.run.record import PrecisionRecord
from bench.train import precision
from bench.train.networks import Networks
from bench.train.task import Precision

TIMES = {"prefix": {"float32": 2.1, "bfloat16": 2.0}, "suffix": {"float32": 2.09, "bfloat16": 2.0}}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backbones that were timed, in their order; each takes `TIMES`."""
    found: list[str] = []

    def times(backbone: Any, size: int, channels: int, n_classes: int, depth: int) -> Any:
        found.append(f"{backbone.name} at depth {depth}")
        return TIMES if depth else {"prefix": TIMES["prefix"]}

    monkeypatch.setattr(precision, "time_parts", times)
    return found


@pytest.mark.parametrize(
    ("single", "half", "expected"),
    [(1.05, 1.0, "bfloat16"), (1.04, 1.0, "float32"), (1.0, 2.0, "float32"), (2.0, None, "float32")],
)
def test_bfloat16_has_to_gain_five_per_cent(single: float, half: float | None, expected: str) -> None:
    times = {"float32": single} | ({} if half is None else {"bfloat16": half})
    assert precision.faster(times) == expected


@pytest.mark.parametrize(
    ("depths", "expected"), [((0, 1, 2), 2), ((0,), 0), ((), 0), ((0, 5), 5), (tuple(range(6)), 4)]
)
def test_the_deepest_suffix_behind_a_frozen_prefix_is_timed(depths: tuple[int, ...], expected: int) -> None:
    assert precision.suffix_depth(depths) == expected


def test_each_part_of_each_backbone_is_decided_and_remembered(make_task: Callable[..., Any], timed: list[str]) -> None:
    task = make_task()
    found = precision.measure(task)
    assert found == dict.fromkeys(("toy", "toy2"), PrecisionRecord(prefix="bfloat16", suffix="float32", measured=TIMES))
    assert precision.by_backbone(found) == dict.fromkeys(("toy", "toy2"), Precision("bfloat16", "float32"))
    assert timed == ["toy at depth 2", "toy2 at depth 2"]
    assert precision.measure(task) == found and len(timed) == 2, "what is in the cache is not timed again"
    head = precision.measure(replace(task, depths=(0,)))
    assert timed[2:] == ["toy at depth 0", "toy2 at depth 0"]
    assert precision.by_backbone(head)["toy"] == Precision("bfloat16", "float32")


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def zeros(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def another_digit(file: Path) -> None:
    overwrite(file, file.read_bytes().replace(b"2.1", b"3.1"))


def no_text(file: Path) -> None:
    overwrite(file, file.read_bytes().replace(b"2.1", b"\xb2.1"))


def of_another_version(file: Path) -> None:
    content = json.loads(file.read_text())
    content["about"]["machine"]["keras"] = "3.0.0"
    file.write_text(json.dumps(content))
    checksums.keep(file)


def without_a_part(file: Path) -> None:
    content = json.loads(file.read_text())
    del content["measured"]["suffix"]
    file.write_text(json.dumps(content))
    checksums.keep(file)


@pytest.mark.parametrize("change", [damage, zeros, another_digit, no_text, of_another_version, without_a_part])
def test_a_file_that_is_damaged_or_about_something_else_is_measured_again(
    make_task: Callable[..., Any], timed: list[str], change: Callable[[Path], None]
) -> None:
    task = make_task(backbones={"toy": toy_backbone()})
    found = precision.measure(task)
    (file,) = (task.cache / "precision").glob("*.json")
    whole = file.read_bytes()
    change(file)
    assert precision.measure(task) == found
    assert len(timed) == 2 and file.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [("identity", {"processor": "other"}), ("bfloat16_units", ("amx_bf16",)), ("listed_gpus", ("GPU 0: NVIDIA H200",))],
)
def test_another_machine_is_measured_anew(
    make_task: Callable[..., Any], timed: list[str], monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    task = make_task(backbones={"toy": toy_backbone()})
    precision.measure(task)
    monkeypatch.setattr(precision, name, lambda: value)
    precision.measure(task)
    assert len(timed) == 2 and len(list((task.cache / "precision").glob("*.json"))) == 2


def test_both_are_timed_in_turn_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, called = iter(np.cumsum([0, 4, 0, 2, 0, 40, 0, 20, 0, 4.4, 0, 2.2])), []
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(ticks))
    times = precision._alternately(lambda name: lambda: called.append(name), n_images=1)
    assert times == {"float32": 4400.0, "bfloat16": 2200.0}
    assert called == ["float32", "bfloat16"] * 4  # the first call of each traces


def test_a_device_without_bfloat16_takes_float32() -> None:
    def build(name: str) -> Callable[[], Any]:
        if name == "bfloat16":
            raise RuntimeError("no kernel")
        return lambda: None

    assert precision.faster(precision._alternately(build, 4)) == "float32"
    with pytest.raises(RuntimeError):
        precision._alternately(lambda name: build("bfloat16"), 4)


@pytest.mark.parametrize("depth", [0, 2, 5])
def test_a_real_measurement(depth: int) -> None:
    device.set_up(None)
    measured = precision.time_parts(toy_backbone(), 32, 1, 3, depth)
    assert set(measured) == ({"prefix", "suffix"} if depth else {"prefix"})
    for times in measured.values():
        assert set(times) == {"float32", "bfloat16"} and min(times.values()) > 0


def test_a_timed_step_leaves_the_weights_alone() -> None:
    import keras

    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="classes")(inputs))
    before = model.get_weights()
    device.graph_step(model, np.ones((4, 3), np.float32), np.eye(2, dtype=np.float32)[[0, 1, 0, 1]])()
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_prefix_and_suffix_compute_each_in_its_own(make_task: Callable[..., Any]) -> None:
    networks = Networks(make_task(precision={"toy": Precision("bfloat16", "float32")}))
    prefix, suffix = networks.prefix("toy", (1,)), networks.suffix("toy", 1)
    layers = {layer.name: layer.compute_dtype for model in (prefix, suffix) for layer in model._flatten_layers()}
    assert layers["conv1"] == "bfloat16" and layers["conv5"] == "float32"
    assert networks.task.precision_of("toy2") == Precision("float32", "float32")
