"""Whether the search's scores rank configurations as fresh augmentation does: the cost of pre-drawn views.

Configurations are drawn from the space by seed. Each is trained as a trial is, on cached features of pre-drawn views,
and through the whole network with fresh augmentation in every epoch, from the same seed; fidelity.csv has both scores.

    python -m bench compare --fidelity 20 --data chest_xray --max-images 1200
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench import RULES
from bench.cluster import share_out
from bench.compare.family import end_with_parent
from bench.compare.fidelity.agreement import Agreement, agreement
from bench.compare.inputs import fingerprint, prepare_task
from bench.device import cpu_cores, gpus, memory_bytes, set_up
from bench.errors import ConfigError, TrialFailed
from bench.failures import reason_of
from bench.run.console import Screen
from bench.run.folder import from_cells, held, write_json, write_table
from bench.run.record import Part
from bench.run.request import Request
from bench.run.tables import Row, records
from bench.search.space import Space
from bench.seeds import stable_hash, stable_seed
from bench.stats.metrics import METRICS, get_metric
from bench.train.precision import by_backbone, fixed, measure
from bench.train.task import Precision, Task
from bench.trial import TrialConfig

TRIES = 50
"""Samples drawn per wanted configuration before the space counts as too small."""

_trainer: Any = None


class Studied(Part):
    """What fidelity.json says of what was compared: ``drawn`` configurations, of which some ``failed``."""

    data: str
    fingerprint: str
    images: dict[str, int]
    sizes: dict[str, int]
    space: str
    weights: str
    seed: int
    metric: str
    epochs: int
    patience: int
    views: int
    precision: dict[str, dict[str, str]] | str
    rules: int
    drawn: int = 0
    failed: int = 0


class FidelityRecord(Agreement, Studied):
    """fidelity.json: the agreement of the scores that decide, and that of each metric."""

    by: dict[str, Agreement]


def run_fidelity(
    request: Request, folder: Path, configurations: int, tell: Callable[[str], None] = print
) -> FidelityRecord:
    """Draw configurations, score each cached and fresh, and write fidelity.csv and fidelity.json into ``folder``.

    Interrupted and begun again with the same settings, it goes on where it stopped.

    Args:
        request: data, space and settings, as for a run; ``settings.jobs`` processes at a time, 0 for as many
            as a run would take.
        folder: for the two files.
        configurations: how many are drawn.
        tell: told of each configuration.

    Returns:
        the content of fidelity.json.

    Raises:
        ConfigError: if the request cannot be carried out, or ``folder`` belongs to another study or process.
        TrialFailed: if a process ended without a result.
    """
    settings = request.settings
    jobs = share_out(cpu_cores(), 1 if gpus() else 0, memory_bytes(), settings.jobs).jobs
    configs = draw(request.space, configurations, settings.seed)
    with held(folder, f"Study {folder.name!r}"):
        return _carry_out(request, folder, configs, min(jobs, configurations), tell)


def _carry_out(
    request: Request, folder: Path, configs: Sequence[TrialConfig], jobs: int, tell: Callable[[str], None]
) -> FidelityRecord:
    """`run_fidelity` in a folder that is held."""
    settings, task = request.settings, prepare_task(request, Screen())
    task = replace(task, precision=_precision(settings.precision, task))
    about = _about(request, task)
    rows = {split: [int(row) for row in chosen] for split, chosen in task.rows.items()}
    name = stable_hash(about.content(), request.space.text, task.weights.sha256, rows)
    table = study(task, configs, folder, name, jobs, tell)
    scored, metric = table[table["state"] == "completed"].reset_index(drop=True), get_metric(settings.metric)
    if scored.empty:
        raise TrialFailed(f"every configuration failed; the last: {table['reason'].iloc[-1]}")
    compared = {
        one.name: agreement(scored[f"cached_{one.name}"], scored[f"fresh_{one.name}"], one.higher_is_better)
        for one in dict.fromkeys((metric, METRICS["auc"]))
    }
    counts = {"drawn": len(table), "failed": len(table) - len(scored)}
    found = FidelityRecord(**{**dict(about), **counts, **dict(compared[metric.name]), "by": compared})
    write_json(folder / "fidelity.json", found)
    return found


def _precision(chosen: str, task: Task) -> dict[str, Precision]:
    """What is computed in, as in a run; measured in a process of its own, for this one loads no TensorFlow."""
    if chosen != "auto":
        return by_backbone(fixed(task.architectures, chosen))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin_measuring) as pool:
        return by_backbone(pool.submit(measure, task).result())


def _about(request: Request, task: Task) -> Studied:
    return Studied(
        data=request.settings.data,
        fingerprint=fingerprint(task),
        images={split: len(rows) for split, rows in task.rows.items()},
        sizes=dict(request.sizes),
        space=request.space.name,
        weights=task.weights.kind,
        **{name: getattr(task, name) for name in ("seed", "metric", "epochs", "patience", "views")},
        precision={name: one._asdict() for name, one in task.precision.items()},
        rules=RULES,
    )


def describe(found: FidelityRecord) -> str:
    """The result of `run_fidelity` in a sentence."""
    if found.spearman is None or found.bootstrap is None:
        return "All scores are equal, so there is no ranking to compare."
    low, high = found.bootstrap
    return (
        f"Spearman's rho {found.spearman:.3f} (95 % interval {low:.3f} to {high:.3f}) over "
        f"{found.configurations} configurations; the winner by cached scores is {found.winner_difference:+.4f} "
        f"{found.metric} from the best by fresh ones."
    )


def draw(space: Space, count: int, seed: int) -> list[TrialConfig]:
    """``count`` different configurations of ``space``, the same for the same seed.

    Raises:
        ConfigError: if the space has not so many.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found: dict[str, TrialConfig] = {}
    for _ in range(TRIES * count):
        config = TrialConfig.from_mapping(space.suggest(sampled.ask()))
        found.setdefault(config.key, config)
        if len(found) == count:
            return list(found.values())
    raise ConfigError(
        f"{count} different configurations must be drawn, but space {space.name!r} gave {len(found)}; ask for fewer."
    )


def study(
    task: Task, configs: Sequence[TrialConfig], folder: Path, name: str, jobs: int, tell: Callable[[str], None]
) -> pd.DataFrame:
    """Score ``configs``, ``jobs`` at a time; fidelity.csv in ``folder`` has each as soon as it is scored.

    Args:
        task: what every training shares.
        configs: what is trained; those that fidelity.csv has as completed are not trained again.
        folder: where fidelity.csv lies.
        name: of what decides the scores; a fidelity.csv of another name is refused.
        jobs: processes at a time.
        tell: told of each row.

    Raises:
        ConfigError: if fidelity.csv belongs to another study.
        TrialFailed: if a process ended without a result; what was scored is kept.
    """
    file = folder / "fidelity.csv"
    rows = _read(file)
    if any(row["study"] != name for row in rows):
        raise ConfigError(f"{file} was begun with other data, settings or rules; choose another folder.")
    rows = [row for row in rows if row["state"] == "completed"]
    known = {row["key"] for row in rows}
    left = [config for config in configs if config.key not in known]
    if known:
        tell(f"{len(known)} configurations are scored already; {len(left)} are left.")
    if left:
        threads, context = max(1, cpu_cores() // jobs), multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, _begin, (task, threads)) as pool:
            waiting = {pool.submit(_score, config): config for config in left}
            try:
                for done in as_completed(waiting):
                    rows.append({"key": waiting[done].key, "study": name, **done.result()})
                    write_table(file, pd.DataFrame(rows))
                    tell(_sentence(rows[-1], task.metric, len(rows), len(configs)))
            except BrokenProcessPool as error:
                reason = "a process was killed or crashed without a result; run it again to go on"
                raise TrialFailed(reason) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():  # a training may take minutes
                    process.kill()
                raise
    position = {config.key: number for number, config in enumerate(configs)}
    table = pd.DataFrame(rows)
    table = table[table["key"].isin(position)]
    return table.sort_values("key", key=lambda keys: keys.map(position), ignore_index=True)


def _read(file: Path) -> list[Row]:
    if not file.exists():
        return []
    table = pd.read_csv(file, dtype={"key": str, "study": str, "reason": str}, keep_default_na=False, na_values=[""])
    return records(from_cells(table))


def _sentence(row: Row, metric: str, number: int, total: int) -> str:
    chosen = f"{row['config_backbone']}, {row['config_augmentation']}, depth {row['config_unfreeze_depth']}"
    about = f"{number} of {total}: {chosen}"
    if row["state"] == "failed":
        return f"{about}: failed, {row['reason']}"
    return f"{about}: {row[f'cached_{metric}']:.4f} cached, {row[f'fresh_{metric}']:.4f} fresh"


def _begin(task: Task, threads: int) -> None:
    """What each process does first: its output goes nowhere, its trainer stays, and it ends when the study does."""
    global _trainer
    end_with_parent()
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    set_up(threads)
    from bench.train.trainer import Trainer

    _trainer = Trainer(task)


def _begin_measuring() -> None:
    """What the process does first that measures the precision: it ends when the study does, and takes all cores."""
    end_with_parent()
    set_up(cpu_cores())


def _score(config: TrialConfig) -> Row:
    return score(_trainer, config)


def score(trainer: Any, config: TrialConfig) -> Row:
    """A row of fidelity.csv: ``config`` trained on cached features and with fresh augmentation, from the same seed."""
    from bench.compare.fidelity.fresh import train_fresh

    row: Row = {"state": "completed", "reason": "", **config.columns()}
    seed = stable_seed("trial", trainer.task.seed, config.key)
    try:
        results = {"cached": trainer.run(config), "fresh": train_fresh(trainer, config, seed)}
    except Exception as error:  # as in a search, one configuration must not end the others
        return {**row, "state": "failed", "reason": reason_of(error)}
    for name, result in results.items():
        row |= {f"{name}_{metric}": value for metric, value in result.metrics.items()}
        row |= {f"{name}_epochs": len(result.epochs), f"{name}_seconds": round(result.seconds, 3)}
    return row
