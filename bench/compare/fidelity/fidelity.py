"""Whether the search's scores rank configurations as fresh augmentation does: the cost of pre-drawn views.

Configurations are drawn from the space by seed. Each is trained as a trial is, on cached features of pre-drawn views,
and as a finalist is, through the full model with fresh augmentation in every epoch, from the same seed.

    python -m bench compare --fidelity 20 --data chest_xray --max-images 1200
"""

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import RULES
from bench.cluster import share_out
from bench.compare.fidelity.agreement import agreement
from bench.compare.fidelity.both_ways import study
from bench.compare.methods.machine import gpus
from bench.compare.methods.methods import METHODS
from bench.compare.methods.suite import make_task
from bench.compare.scene import set_scene
from bench.device import best_precision, cpu_cores, memory_bytes
from bench.errors import ConfigError, TrialFailed
from bench.run.console import Screen
from bench.run.folder import write_json
from bench.run.request import Request
from bench.search.space import Space
from bench.seeds import stable_hash
from bench.stats.metrics import METRICS, get_metric
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
        request: data, space and settings, as for a run; ``settings.jobs`` processes at a time, 0 for as many
            as a run would take.
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
    cores, memory = cpu_cores(), memory_bytes()
    jobs = share_out(cores, 1 if gpus() else 0, memory, settings.jobs).jobs
    configs = draw(request.space, configurations, settings.seed)
    scene = set_scene(request, (), screen or Screen())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        precision = pool.submit(best_precision).result() if settings.precision == "auto" else settings.precision
    spec = scene.spec(METHODS["suite"], settings.seed, folder, settings.cache)
    task = replace(make_task(spec, precision), metric=settings.metric)
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
    table = study(task, configs, folder, name, min(jobs, configurations), tell)
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
