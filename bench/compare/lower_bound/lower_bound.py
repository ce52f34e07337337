"""The lower bound: the least time in which bare Keras could do the trials of a run, or a comparison's fixed list.

What has to be done is read from the files that were left; how fast it can be done is measured by
`bench.compare.lower_bound.calibrate`, never through this suite's own functions.

    python -m bench compare --limit NAME
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bench.compare import statistics
from bench.compare.comparison import SPACE_FILE
from bench.compare.inputs import complete_points
from bench.compare.lower_bound.calibrate import Rate, calibrate, machine
from bench.compare.lower_bound.work import Data, Part, Trained, needed
from bench.compare.page import LOWER_BOUND_FILE, read_facts, read_lower_bound, read_trials, render
from bench.errors import ConfigError
from bench.models.backbones import get_backbone
from bench.run.folder import RunDir, write_json
from bench.run.results import Curve, TrialLog
from bench.search.space import parse_space
from bench.trial import TrialConfig


def least_time(work: Mapping[Part, int], rates: Mapping[Part, Rate]) -> dict[str, Any]:
    """The seconds that ``work`` takes at ``rates``, and its parts, as limit.json has them."""
    parts = []
    for part, images in work.items():
        rate = asdict(rates[part])
        del rate["measured"], rate["load"]
        parts.append(
            {"what": part.title, "images": images, "seconds": round(images / rates[part].images_per_second, 3), **rate}
        )
    seconds = sum(images / rates[part].images_per_second for part, images in work.items())
    measured = {
        "date": min((rate.measured for rate in rates.values()), default=""),
        "load": max((rate.load for rate in rates.values()), default=0.0),
    }
    return {"seconds": round(seconds, 3), "parts": parts, "calibrated": {**machine(), **measured}}


def trained_in_run(run: RunDir) -> list[Trained]:
    """The trials of a run with the epochs that they had.

    Raises:
        ConfigError: if there are none, or their tables cannot be read.
    """
    log = TrialLog.load(run)
    if not log.records:
        raise ConfigError(f"Run {run.name!r} has no finished trial yet, so it has no limit; finish it first.")
    trained = []
    for record in log.records:
        phases = Counter(epoch.phase for epoch in log.epochs.curves.get(Curve("trial", str(record.trial)), []))
        trained.append(Trained(record.config, phases["head"], phases["finetune"]))
    return trained


def lower_bound_of_run(run: RunDir, tell: Callable[[str], None] = print, cache: Path | None = None) -> dict[str, Any]:
    """Compute the least time for a run's search, write limit.json into its folder and return what it holds.

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
        data = Data(int(splits["train"]), int(splits["val"]), int(settings["views"]), space.policies)
        cache = cache or Path(settings["cache"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"The limit of run {run.name!r} needs run.json, space.yaml and splits.csv: {reason}."
        ) from None
    work = needed(trained_in_run(run), data)
    if not work:
        raise ConfigError(f"No trial of run {run.name!r} ended an epoch, so it has no limit.")
    wanted = settings.get("image_size") or space.image_size
    sizes = {part.backbone: int(wanted or get_backbone(part.backbone).native_size) for part in work}
    found = least_time(work, calibrate(work, sizes, n_classes, cache, tell))
    measured = content.get("seconds", {}).get("search")
    found |= {"measured": measured, "ratio": round(measured / found["seconds"], 4) if measured else None, "notes": []}
    cpus, cores = content.get("hardware", {}).get("cpus"), machine()["cores"]
    if cpus not in (None, cores):
        found["notes"].append(f"The run had {cpus} CPU cores, the machine of the calibration has {cores}.")
        tell(found["notes"][0])
    write_json(run.path / LOWER_BOUND_FILE, found)
    return found


def lower_bound_of_list(folder: Path, cache: Path, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """Compute the least time for the list of the comparison in ``folder``, cold and warm, and write limit.json.

    Args:
        folder: of a comparison with ``--list``.
        cache: where calibrations are kept.
        tell: told what is measured.

    Raises:
        ConfigError: if the comparison trained no fixed list, or does not hold it.
        CalibrationFailed: if bare Keras cannot do a part of the work.
    """
    facts = read_facts(folder)
    settings = facts.get("settings", {})
    if not settings.get("list"):
        raise ConfigError(
            f"{folder} holds no comparison of a fixed list (--list), so its work is not known beforehand."
        )
    try:
        text = (folder / SPACE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{folder / SPACE_FILE}, the list that was trained, is missing; give the comparison's command again, which "
            "writes it."
        ) from None
    space, epochs = parse_space(settings["space"], text), settings["epochs"]
    configs = [TrialConfig.from_mapping(point) for point in complete_points(space)]
    trained = [Trained(config, epochs, epochs if config.unfreeze_depth else 0) for config in configs]
    data = Data(facts["data"]["train"], facts["data"]["val"], settings["views"], space.policies)
    cold, warm = needed(trained, data), needed(trained, data, warm=True)
    rates = calibrate(cold, settings["image_size"], len(facts["data"]["classes"]), cache, tell)
    found = {"cold": least_time(cold, rates), "warm": least_time(warm, rates)}
    write_json(folder / LOWER_BOUND_FILE, found)
    render(folder)
    return found


def describe_run(found: Mapping[str, Any]) -> str:
    """The result of `lower_bound_of_run` in a sentence."""
    ratio = f"; the search took {found['measured']:.0f} s, {found['ratio']:.2f} times as long" if found["ratio"] else ""
    return f"Least time: {found['seconds']:.0f} s{ratio}."


def describe_list(folder: Path) -> str:
    """The result of `lower_bound_of_list` in a few lines."""
    found = read_lower_bound(folder)
    assert found is not None
    lines = [f"Least time: {found['cold']['seconds']:.0f} s, with a filled cache {found['warm']['seconds']:.0f} s."]
    for _, row in statistics.over_lower_bound(read_trials(folder), read_facts(folder), found).iterrows():
        told = row["incomplete"] or f"{row['ratio']:.2f} times the limit"
        lines.append(f"  {row['method']}, seed {row['seed']}: {row['wall']:.0f} s, {told}")
    return "\n".join(lines)
