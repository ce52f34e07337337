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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pandas as pd
import toys
from faults.campaign import SPACE, Place
from scipy.stats import binom

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
ERROR = 0.05
"""How often each may be found by chance."""


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


def most_by_chance(number: int) -> int:
    """In how many of ``number`` runs a kind may be found: each of `KINDS` at 5 %, all together (Bonferroni)."""
    return int(binom.ppf(1 - ERROR / len(KINDS), number, ERROR))


def highest_rate(rates: Sequence[float]) -> float:
    """Which mean of the runs' rates, labels drawn again, is still by chance: 5 % and three standard errors.

    Args:
        rates: of each run; its draws share models and images, so that runs are what is independent.

    Returns:
        1 where a single run tells no standard error, so that nothing is judged by it.
    """
    return min(1.0, ERROR + 3 * stdev(rates) / len(rates) ** 0.5) if len(rates) > 1 else 1.0


def judged(wrong: Counter[str], number: int, rates: Mapping[str, Sequence[float]]) -> tuple[bool, list[str]]:
    """Whether all of `KINDS` were found as rarely as chance has it, and a line on each, with its limit."""
    fine, lines = True, []
    for name in KINDS:
        fine &= wrong[name] <= most_by_chance(number)
        line = f"{name}: {wrong[name]} of {number} runs (by chance at most {most_by_chance(number)})"
        if each := rates.get(name):
            fine &= fmean(each) <= highest_rate(each)
            line += f"; labels drawn again: {fmean(each):.2%} (at most {highest_rate(each):.2%})"
        lines.append(line)
    return fine, lines


def main(number: int, first_seed: int, times: int = 0) -> bool:
    """Carry the studies out and tell of them; returns whether nothing was found more often than by chance.

    Args:
        number: of runs.
        first_seed: of the first.
        times: how often the test labels of each are drawn again.
    """
    wrong, rates, any_found = Counter[str](), dict[str, list[float]](), 0
    for count, (found, folder) in enumerate(studies(number, first_seed), start=1):
        wrong.update(found)
        any_found += bool(found)
        print(f"{count} of {number}: {', '.join(found) or 'nothing'}", flush=True)
        again = relabelled(folder, times, first_seed + count) if times else Counter[str]()
        for name in FAMILIES if times else ():
            rates.setdefault(name, []).append(again[name] / times)
    fine, lines = judged(wrong, number, rates)
    print(*lines, f"anything at all: {any_found} of {number} runs", sep="\n")
    return fine
