"""Kinds of failure, and how many of them make a comparison unfair."""

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.errors import TrialFailed
from bench.failures import ERROR, MACHINE, MEMORY, NOT_FINITE, End, kind_of, reason_of, unfair
from bench.trial import TrialConfig


class ResourceExhaustedError(Exception):
    """As TensorFlow's is called."""


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ValueError("one\ntwo"), ERROR, "ValueError: one"),
        (KeyError("activation"), ERROR, "KeyError: 'activation'"),
        (FileNotFoundError(errno.ENOENT, "no such file"), ERROR, "FileNotFoundError: [Errno 2] no such file"),
        (TrialFailed("no epoch was finished"), ERROR, "no epoch was finished"),
        (TrialFailed("the loss became nan in head epoch 1"), NOT_FINITE, "the loss became nan in head epoch 1"),
        (TrialFailed("the loss became -inf in head epoch 1"), NOT_FINITE, "the loss became -inf in head epoch 1"),
        (MemoryError(), MEMORY, "MemoryError: "),
        (np._core._exceptions._ArrayMemoryError((9,), np.dtype("f4")), MEMORY, None),
        (
            caused(TrialFailed("memory ran out; smaller"), ResourceExhaustedError("OOM")),
            MEMORY,
            "memory ran out; smaller",
        ),
        (TrialFailed("memory ran out", MEMORY), MEMORY, "memory ran out"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY, None),
        (OSError(errno.ENOSPC, "No space left on device"), MACHINE, "OSError: [Errno 28] No space left on device"),
        (caused(ValueError("no cache"), OSError(errno.EIO, "Input/output error")), MACHINE, None),
        (
            caused(TrialFailed("memory ran out; smaller"), ResourceExhaustedError("/c/x; No space left on device")),
            MACHINE,
            "ResourceExhaustedError: /c/x; No space left on device",
        ),
    ],
)
def test_the_kind_of_an_exception_and_its_reason(error: BaseException, kind: str, reason: str | None) -> None:
    assert kind_of(error) == kind
    assert reason is None or reason_of(error) == reason


def test_a_training_whose_loss_leaves_the_finite_numbers_is_of_that_kind(make_task: Callable[..., Any]) -> None:
    """What the trainer really raises."""
    from bench.train.trainer import Trainer

    with pytest.raises(TrialFailed) as caught:
        Trainer(make_task()).run(
            TrialConfig("toy", learning_rate=1e30, batch_size=8, unfreeze_depth=1, finetune_factor=1)
        )
    assert kind_of(caught.value) == NOT_FINITE, caught.value


def ends(**failed: tuple[int, int, str]) -> list[End]:
    """``name=(trials, failed, kind)``."""
    return [
        End(name, kind if number < lost else "", f"{kind} it was" if number < lost else "")
        for name, (trials, lost, kind) in failed.items()
        for number in range(trials)
    ]


@pytest.mark.parametrize(
    ("told", "sentences"),
    [
        ({}, []),
        ({"vgg16": (50, 0, ERROR)}, []),
        ({"vgg16": (40, 2, ERROR)}, []),  # 5 % exactly
        ({"vgg16": (39, 2, ERROR)}, ["2 of 39 trials (5%) failed for other reasons"]),
        ({"vgg16": (20, 2, MACHINE)}, ["2 of 20 trials (10%) failed for other reasons"]),
        ({"vgg16": (20, 6, MEMORY), "resnet50": (20, 6, NOT_FINITE)}, []),
        ({"vgg16": (9, 3, MEMORY), "resnet50": (40, 0, ERROR)}, ["VGG16 lost 3 of 9 trials (33%)"]),
        ({"vgg16": (1, 1, NOT_FINITE), "resnet50": (40, 0, ERROR)}, ["VGG16 lost 1 of 1 trial (100%)"]),
        (
            {"vgg16": (3, 0, ERROR), "resnet50": (3, 2, ERROR)},
            ["2 of 6 trials (33%) failed for other reasons", "RESNET50 lost 2 of 3 trials (67%)"],
        ),
    ],
)
def test_how_many_failures_make_a_comparison_unfair(told: dict[str, Any], sentences: list[str]) -> None:
    found = unfair(ends(**told), str.upper)
    assert len(found) == len(sentences)
    for sentence, start in zip(found, sentences, strict=True):
        assert sentence.startswith(start) and " it was." in sentence
