"""The limit: the least time in which bare Keras could do a run's trials and epochs on this machine.

Each image passes once through each frozen network and view that was used, and then only the trainable part is
trained. What has to be done is read from the run's files; how fast it can be done is measured by
`bench.compare.lower_bound.calibrate`, never through this suite's own functions.

    python -m bench compare --limit NAME
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.compare.lower_bound.calibrate import Rate, What, calibrate
from bench.compare.methods.machine import machine
from bench.errors import ConfigError
from bench.models.augmentation import Policy
from bench.models.backbones import get_backbone
from bench.run.folder import RunDir, write_json
from bench.run.results import Curve, TrialLog
from bench.search.space import parse_space
from bench.trial import TrialConfig

FILE = "limit.json"


@dataclass(frozen=True)
class Trained:
    """A configuration, and how many epochs its head and then its unfrozen stages were trained."""

    config: TrialConfig
    head: int
    finetune: int = 0


Work = dict[What, int]
"""A part of the work -> how many images pass."""


def needed(
    trained: Iterable[Trained], n_train: int, n_val: int, views: int, policies: Mapping[str, Policy] | None = None
) -> Work:
    """What has to be done to train ``trained``, each image once through each frozen network and view.

    Args:
        trained: trials, those that were stopped or failed with the epochs that they had.
        n_train: training images.
        n_val: validation images.
        views: pre-drawn augmentations of the training images; epoch e of a phase uses view e mod ``views``.
        policies: augmentation policies by name; those of equal amounts share their views. None: ``none`` changes
            nothing, and every other name is a policy of its own.
    """
    work: Work = defaultdict(int)
    used: dict[str, dict[Any, int]] = defaultdict(dict)
    for one in trained:
        config, longest = one.config, max(one.head, one.finetune)
        if longest == 0:
            continue
        seen = used[config.backbone]
        amounts = _amounts(config.augmentation, policies)
        seen[amounts] = max(seen.get(amounts, 0), min(views, longest))
        for depth, epochs in ((0, one.head), (config.unfreeze_depth, one.finetune)):
            work[What(config.backbone, "training", depth, min(config.batch_size, n_train))] += n_train * epochs
            work[What(config.backbone, "validation", depth)] += n_val * epochs
    for backbone, seen in used.items():
        drawn = sum(count for amounts, count in seen.items() if amounts)
        # the clean training images are always needed: the features are standardised by them
        work[What(backbone, "forward")] = n_train * (drawn + 1) + n_val
    order = {"forward": 0, "training": 1, "validation": 2}
    done = [what for what in work if work[what]]
    return {what: work[what] for what in sorted(done, key=lambda w: (w.backbone, w.depth, order[w.kind], w.batch))}


def _amounts(name: str, policies: Mapping[str, Policy] | None) -> tuple[Any, ...]:
    """What tells a policy from others; empty if it changes nothing."""
    policy = (policies or {}).get(name)
    if policy is None:
        return () if name == "none" else (name,)
    return tuple(sorted(policy.amounts().items()))


def work_of_list(
    configs: Sequence[TrialConfig],
    epochs: int,
    n_train: int,
    n_val: int,
    views: int,
    policies: Mapping[str, Policy] | None = None,
    warm: bool = False,
) -> Work:
    """What has to be done to train a fixed list, ``epochs`` epochs a phase.

    Args:
        configs: the list.
        epochs: of each phase.
        n_train: training images.
        n_val: validation images.
        views: pre-drawn augmentations of the training images.
        policies: as in `needed`.
        warm: whether what the frozen networks make of the images is there already.
    """
    trained = [Trained(config, epochs, epochs if config.unfreeze_depth else 0) for config in configs]
    work = needed(trained, n_train, n_val, views, policies)
    return {what: images for what, images in work.items() if not (warm and what.kind == "forward")}


def least_seconds(work: Mapping[What, int], rates: Mapping[What, float]) -> float:
    """Seconds that ``work`` takes at ``rates``, images a second of the whole machine."""
    return sum(images / rates[what] for what, images in work.items())


def summary(work: Mapping[What, int], rates: Mapping[What, Rate]) -> dict[str, Any]:
    """The limit of ``work`` and its parts, as limit.json has them."""
    parts = [
        {
            "what": what.title,
            "images": images,
            "images_per_second": rates[what].images_per_second,
            "seconds": round(images / rates[what].images_per_second, 3),
            "precision": rates[what].precision,
            "xla": rates[what].xla,
            "batch": rates[what].batch,
            "processes": rates[what].processes,
            "threads": rates[what].threads,
        }
        for what, images in work.items()
    ]
    speeds = {what: rate.images_per_second for what, rate in rates.items()}
    about = {**machine(), "date": min((rate.measured for rate in rates.values()), default="")}
    about["load"] = max((rate.load for rate in rates.values()), default=0.0)
    return {"seconds": round(least_seconds(work, speeds), 3), "parts": parts, "calibrated": about}


def trained_of_run(run: RunDir) -> list[Trained]:
    """The trials of a run with the epochs that they had.

    Raises:
        ConfigError: if there are none, or their tables cannot be read.
    """
    log = TrialLog.load(run)
    if not log.records:
        raise ConfigError(f"Run {run.name!r} has no finished trial yet, so it has no limit; finish it first.")
    phases = {
        record.trial: Counter(epoch.phase for epoch in log.epochs.curves.get(Curve("trial", str(record.trial)), []))
        for record in log.records
    }
    return [
        Trained(record.config, phases[record.trial]["head"], phases[record.trial]["finetune"]) for record in log.records
    ]


def run_limit(run: RunDir, tell: Callable[[str], None] = print, cache: Path | None = None) -> dict[str, Any]:
    """Compute the limit of a run's search, write limit.json into its folder and return what it holds.

    Args:
        run: the run.
        tell: told what is measured.
        cache: where calibrations are kept; None takes the run's own cache.

    Raises:
        ConfigError: if the run's files do not say what was done.
        CalibrationFailed: if bare Keras cannot do a part of the work.
    """
    content = run.read_run()
    try:
        settings, n_classes = content["settings"], len(content["data"]["classes"])
        space = parse_space(content["space"]["name"], run.space.read_text(encoding="utf-8"))
        splits = pd.read_csv(run.splits, usecols=["split"])["split"].value_counts()
        n_train, n_val = int(splits["train"]), int(splits["val"])
        views, cache = int(settings["views"]), cache or Path(settings["cache"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"The limit of run {run.name!r} needs run.json, space.yaml and splits.csv: {reason}."
        ) from None
    work = needed(trained_of_run(run), n_train, n_val, views, space.policies)
    if not work:
        raise ConfigError(f"No trial of run {run.name!r} ended an epoch, so it has no limit.")
    wanted = settings.get("image_size") or space.image_size
    names = {what.backbone for what in work}
    sizes = {name: int(wanted or get_backbone(name).native_size) for name in names}
    rates = calibrate(work, sizes, n_classes, cache, tell)
    found = summary(work, rates)
    measured = content.get("seconds", {}).get("search")
    found |= {"measured": measured, "ratio": round(measured / found["seconds"], 4) if measured else None, "notes": []}
    cpus = content.get("hardware", {}).get("cpus")
    if cpus not in (None, machine()["cores"]):
        note = f"The run had {cpus} CPU cores, the machine of the calibration has {machine()['cores']}."
        found["notes"].append(note)
        tell(note)
    write_json(run.path / FILE, found)
    return found


def describe(found: Mapping[str, Any]) -> str:
    """The result of `run_limit` in a sentence."""
    ratio = f"; the search took {found['measured']:.0f} s, {found['ratio']:.2f} times as long" if found["ratio"] else ""
    return f"Least time: {found['seconds']:.0f} s{ratio}."
