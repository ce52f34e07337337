"""Runs on images whose labels mean nothing: how often the suite finds something all the same.

Each run decides once. Its test labels can be drawn again as often as one likes without training anything: under labels
that mean nothing every assignment to the test patients is as likely as any other (Fisher's permutation argument). The
share of them in which `comparisons` finds a difference is the rate at which it errs, on probabilities as real trainings
give them.
"""

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

from bench.evaluation.comparisons import Rules, comparisons
from bench.evaluation.inputs import ScoredModel
from bench.evaluation.predictions import UNTRAINED
from bench.stats.bootstrap import Bootstrap
from bench.stats.metrics import get_metric
from bench.stats.predictions import Predictions

SIDES = {"train": 30, "val": 30, "test": 40}
"""Patients of each class, one image each."""


FAMILIES = ("primary", "finalists", "controls", "chance")
KINDS = ("test AUC", "selection", *FAMILIES)
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


def relabelled(folder: Path, times: int, seed: int) -> Counter[str]:
    """In how many of ``times`` assignments of the test labels to the patients each family of comparisons errs.

    Args:
        folder: a run folder, one image per patient in test.
        times: how often labels are drawn.
        seed: of the draws.
    """
    told = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    table = pd.read_csv(folder / "predictions_models.csv")
    table = table[table["split"] == "test"].sort_values(["model", "repeat", "image"])
    rules = Rules(told["winner"], get_metric("auc"), 0.01, Bootstrap(300, seed=seed))
    random, found = np.random.default_rng(seed), Counter[str]()
    names = told["classes"]
    each = dict(list(table.groupby(["model", "repeat"])))
    truth = next(iter(each.values()))
    if truth["patient"].duplicated().any():
        raise ValueError(f"{folder} has patients with several test images; labels are drawn by patient here.")
    labels = truth["label"].map(names.index).to_numpy()
    for _ in range(times):
        drawn = random.permutation(labels)
        models = {}
        for name, about in told["models"].items():
            repeats = {
                int(repeat): Predictions(
                    drawn, one[[f"prob_{label}" for label in names]].to_numpy(), one["patient"].to_numpy(), names
                )
                for (model, repeat), one in each.items()
                if model == name
            }
            representative = about["repeats"]["representative"]
            models[name] = ScoredModel(about["title"], about["kind"], repeats, representative, name not in UNTRAINED)
        pairs = comparisons(models, rules)
        found.update(set(pairs.loc[pairs["verdict"].isin(["a better", "b better"]), "family"]))
    return found


def studies(number: int, first_seed: int = 0) -> Iterator[tuple[list[str], Path]]:
    """What ``number`` runs find, each on images and with a seed of its own, and where it lies until the next begins."""
    with tempfile.TemporaryDirectory(prefix="null-") as folder:
        for seed in range(first_seed, first_seed + number):
            place = Place(Path(folder) / str(seed))
            place.folder.mkdir()
            yield run(place, seed), place.run
            shutil.rmtree(place.folder)


def main(number: int, first_seed: int, times: int = 0) -> int:
    """Carry the studies out and tell of them; returns in how many runs the most frequent kind was found.

    Args:
        number: of runs.
        first_seed: of the first.
        times: how often the test labels of each are drawn again.
    """
    wrong, redrawn = Counter[str](), Counter[str]()
    for count, (found, folder) in enumerate(studies(number, first_seed), start=1):
        wrong.update(found)
        print(f"{count} of {number}: {', '.join(found) or 'nothing'}", flush=True)
        redrawn.update(relabelled(folder, times, first_seed + count))
    for name in KINDS:
        again = f"; labels drawn again: {redrawn[name]} of {number * times:,}" if times and name in FAMILIES else ""
        print(f"{name}: {wrong[name]} of {number} runs{again}")
    return max(wrong.values(), default=0)
