"""Runs on images whose labels mean nothing: how often the suite finds something all the same."""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import toys
from faults.campaign import SPACE, Place

SIDES = {"train": 30, "val": 30, "test": 40}
"""Patients of each class, one image each."""


KINDS = ("test AUC", "selection", "primary", "finalists", "controls", "chance")
"""What can be found: an interval of the winner's AUC on test, or of the selection on validation, that leaves out 0.5;
and a model that is better than another, by the family of the comparison. Each by itself may err in 5 % of the runs."""


def write_images(folder: Path, seed: int) -> None:
    """Noise in two classes: who is in which, was drawn."""
    random = np.random.default_rng(seed)
    for split, patients in SIDES.items():
        for name in ("NORMAL", "PNEUMONIA"):
            (folder / split / name).mkdir(parents=True)
            for number in range(patients):
                toys.draw_image(random, positive=False).save(
                    folder / split / name / f"{split}{name[0]}{number:03d}.png"
                )


def run(place: Place, seed: int) -> list[str]:
    """What a whole run of three trials on toys, in ``place``, claims to have found.

    Raises:
        RuntimeError: if it does not come to its end.
    """
    write_images(place.folder / "data", seed)
    (place.folder / "toys.yaml").write_text(SPACE)
    ended = place.command(
        [
            *("run", "--data", "data", "--space", "toys.yaml", "--weights", "random", "--budget", "3"),
            *(
                "--seed",
                str(seed),
                "--epochs",
                "2",
                "--jobs",
                "1",
                "--precision",
                "float32",
                "--bootstrap",
                "300",
                "--cache",
                "cache",
            ),
            *("--image-size", "32", "--name", "run", "--no-learning-curve"),
        ]
    )
    if ended.status:
        raise RuntimeError(f"the run ended with status {ended.status}: {ended.said[-2000:]}")
    return errors(place.run)


def errors(folder: Path) -> list[str]:
    """What a run folder claims to have found, of `KINDS`."""
    told = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    intervals = {"test AUC": told["models"][told["winner"]]["metrics"]["auc"], "selection": told["selection"]}
    known = {name: one for name, one in intervals.items() if one["low"] is not None}
    found = [name for name, one in known.items() if not one["low"] <= 0.5 <= one["high"]]
    pairs = pd.read_csv(folder / "comparisons.csv")
    better = pairs[pairs["verdict"].isin(["a better", "b better"])]
    return [*found, *better["family"].unique()]


def studies(number: int, first_seed: int = 0) -> Iterator[list[str]]:
    """What ``number`` runs find, each on images and with a seed of its own."""
    with tempfile.TemporaryDirectory(prefix="null-") as folder:
        for seed in range(first_seed, first_seed + number):
            place = Place(Path(folder) / str(seed))
            place.folder.mkdir()
            yield run(place, seed)
            shutil.rmtree(place.folder)


def main(number: int, first_seed: int) -> int:
    """Carry the studies out and tell of them; returns in how many runs the most frequent kind was found."""
    wrong: Counter[str] = Counter()
    for count, found in enumerate(studies(number, first_seed), start=1):
        wrong.update(found)
        print(f"{count} of {number}: {', '.join(found) or 'nothing'}", flush=True)
    for name in KINDS:
        print(f"{name}: {wrong[name]} of {number} runs")
    return max(wrong.values(), default=0)
