"""Whether the search's scores rank configurations as fresh augmentation does: the cost of pre-drawn views.

Configurations are drawn from the space by seed. Each is trained as a trial is, on cached features of pre-drawn views,
and as a finalist is, through the full model with fresh augmentation in every epoch, from the same seed.

    python -m bench.peers.fidelity FOLDER --data chest_xray --max-images 1200
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import platformdirs

from bench import RULES
from bench.device import best_precision
from bench.errors import ConfigError, TrialFailed
from bench.metrics import METRICS, get_metric
from bench.peers.agreement import agreement
from bench.peers.both_ways import study
from bench.peers.scene import Scene, set_scene
from bench.request import Request, check_writable, prepare
from bench.rundir import write_json
from bench.screen import Screen
from bench.search.space import Space
from bench.seeds import stable_hash
from bench.settings import make_settings
from bench.task import Task
from bench.trial import TrialConfig

CONFIGURATIONS = 20
TRIES = 50
"""Samples a configuration that may be drawn before the space counts as too small."""


def draw(space: Space, count: int, seed: int) -> list[TrialConfig]:
    """``count`` different configurations of ``space``, the same for the same seed.

    Raises:
        ConfigError: if the space has not so many.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found: dict[str, TrialConfig] = {}
    for _ in range(TRIES * count):
        config = TrialConfig.from_mapping(space.suggest(study.ask()))
        found.setdefault(config.key, config)
        if len(found) == count:
            return list(found.values())
    raise ConfigError(
        f"{count} different configurations must be drawn, but space {space.name!r} gave {len(found)}; ask for fewer."
    )


def make_task(scene: Scene, precision: str) -> Task:
    """What all trainings share, as a run with the scene's settings would have it."""
    request, settings = scene.request, scene.request.settings
    return Task(
        images=scene.images,
        rows=scene.rows,
        labels=scene.labels,
        n_classes=len(request.source.classes),
        backbones={backbone.name: backbone for backbone in request.backbones},
        weights=scene.weights,
        policies=request.space.policies,
        metric=settings.metric,
        epochs=request.epochs,
        patience=settings.patience,
        views=settings.views,
        seed=settings.seed,
        cache=settings.cache.absolute(),
        cache_bytes=settings.cache_size,
        depths=request.space.depths,
        precision=precision,
    )


def run_fidelity(
    request: Request,
    folder: Path,
    configurations: int = CONFIGURATIONS,
    tell: Callable[[str], None] = print,
    screen: Screen | None = None,
) -> dict[str, Any]:
    """Draw configurations, score each both ways, and write fidelity.csv and fidelity.json into ``folder``.

    Interrupted and begun again with the same settings, it goes on where it stopped.

    Args:
        request: data, space and settings, as for a run; ``settings.jobs`` processes at a time, 0 for one a core.
        folder: for the two files.
        configurations: how many are drawn.
        tell: told of each configuration.
        screen: where decoding is shown.

    Returns:
        the content of fidelity.json: `agreement` of the scores that decide, with what was compared.

    Raises:
        ConfigError: if the request cannot be carried out, or ``folder`` belongs to another study.
        TrialFailed: if a process ended without a result.
    """
    settings = request.settings
    configs = draw(request.space, configurations, settings.seed)
    scene = set_scene(request, (), screen or Screen())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        precision = pool.submit(best_precision).result() if settings.precision == "auto" else settings.precision
    task = make_task(scene, precision)
    about = {
        "data": settings.data,
        "fingerprint": scene.fingerprint,
        "images": {split: len(rows) for split, rows in scene.rows.items()},
        "sizes": dict(request.sizes),
        "space": request.space.name,
        "weights": scene.weights.kind,
        "seed": settings.seed,
        "metric": settings.metric,
        "epochs": task.epochs,
        "patience": task.patience,
        "views": task.views,
        "precision": task.precision,
        "rules": RULES,
    }
    rows = {split: [int(row) for row in chosen] for split, chosen in scene.rows.items()}
    name = stable_hash(about, request.space.text, scene.weights.sha256, rows)
    jobs = settings.jobs or min(len(os.sched_getaffinity(0)), configurations)
    table = study(task, configs, folder, name, jobs, tell)
    whole, metric = table[table["state"] == "completed"].reset_index(drop=True), get_metric(settings.metric)
    if whole.empty:
        raise TrialFailed(f"every configuration failed; the last: {table['reason'].iloc[-1]}")
    compared = {
        one.name: agreement(whole[f"cached_{one.name}"], whole[f"fresh_{one.name}"], one.higher_is_better)
        for one in dict.fromkeys((metric, METRICS["auc"]))
    }
    found = {**about, "drawn": len(table), "failed": len(table) - len(whole), **compared[metric.name], "by": compared}
    write_json(folder / "fidelity.json", found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The study from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers.fidelity", description=str(__doc__).partition("\n")[0], allow_abbrev=False
    )
    add, missing = parser.add_argument, argparse.SUPPRESS
    add("folder", type=Path, metavar="FOLDER", help="for fidelity.csv and fidelity.json; taken up where it stopped")
    add("--configurations", type=int, default=CONFIGURATIONS, metavar="N", help="how many are drawn (default: 20)")
    add("--cache", type=Path, default=Path(platformdirs.user_cache_dir("medical-transfer-bench")), metavar="FOLDER")
    for flag in ("--data", "--space", "--weights", "--metric", "--precision", "--patient-pattern"):
        add(flag, default=missing, help="as for a run")
    for flag in ("--max-images", "--image-size", "--epochs", "--patience", "--views", "--seed", "--jobs"):
        add(flag, type=int, default=missing, metavar="N", help="as for a run")
    values = vars(parser.parse_args(arguments))
    folder, configurations = values.pop("folder"), values.pop("configurations")
    try:
        if configurations < 3:
            raise ConfigError(f"--configurations must be at least 3, but got {configurations}.")
        check_writable(folder, "FOLDER")
        request = prepare(make_settings(name="fidelity", **values), tell=print)
        found = run_fidelity(request, folder, configurations)
    except (ConfigError, TrialFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    print(describe(found))
    return 0


def describe(found: Mapping[str, Any]) -> str:
    """The result of `run_fidelity` in a sentence."""
    if found["spearman"] is None:
        return "All scores are equal, so there is no ranking to compare."
    low, high = found["bootstrap"]
    return (
        f"Spearman's rho {found['spearman']:.3f} (95 % interval {low:.3f} to {high:.3f}) over "
        f"{found['configurations']} configurations; the winner by cached scores is {found['winner_difference']:+.4f} "
        f"{found['metric']} from the best by fresh ones."
    )


if __name__ == "__main__":
    sys.exit(main())
