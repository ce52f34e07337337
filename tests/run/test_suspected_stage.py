"""Suspected wrong labels in a run: they are listed, and what goes wrong with them ends nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.run.folder import RunDir
from bench.run.stages import _suspect_labels
from bench.train.suspected_labels import Suspected


class Images:
    def open(self) -> Any:
        return np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4, 1)


def stage(folder: Path, call: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(6)], "label": list("ABABAB")})
    table = table.assign(patient_id="p", split="train", group=range(6))
    source = SimpleNamespace(classes=["A", "B"])
    found = SimpleNamespace(
        examined=SimpleNamespace(table=table),
        request=SimpleNamespace(source=source),
        run=RunDir(folder),
        screen=SimpleNamespace(line=said.append),
        call=call,
    )
    return found, said


TASK = SimpleNamespace(pool=np.array([1, 3, 5]), images={"vgg16": Images()})


def test_they_are_listed_with_what_they_seem_to_be(tmp_path: Path) -> None:
    suspected = Suspected(np.array([2, 0]), np.array([0, 0]), np.array([0.9, 0.8]))
    made, said = stage(tmp_path, lambda *given: suspected)
    _suspect_labels(made, TASK, "vgg16")  # type: ignore[arg-type]
    table = pd.read_csv(made.run.suspected_labels)
    assert table[["image", "label", "suggested", "margin"]].to_numpy().tolist() == [
        ["5.png", "B", "A", 0.9],
        ["1.png", "B", "A", 0.8],
    ]
    with np.load(made.run.suspected_images) as shown:
        np.testing.assert_array_equal(shown["images"], Images().open()[[5, 1]])
    assert said == ["Suspected wrong labels: 2 images of 3 in train and validation, to be looked at."]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no such layer")])
def test_what_goes_wrong_with_them_ends_nothing(tmp_path: Path, error: Exception) -> None:
    def call(*given: Any) -> Any:
        raise error

    made, said = stage(tmp_path, call)
    _suspect_labels(made, TASK, "vgg16")  # type: ignore[arg-type]
    assert not made.run.suspected_labels.exists()
    assert len(said) == 1 and said[0].startswith("  note: not computed: suspected wrong labels: ")
