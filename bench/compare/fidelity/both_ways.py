"""Configurations trained both ways, on cached features and with fresh augmentation, some at a time; fidelity.csv."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bench.device import cpu_cores, set_up
from bench.errors import ConfigError, TrialFailed
from bench.run.folder import write_table
from bench.seeds import stable_seed
from bench.train.task import Task
from bench.trial import TrialConfig

Row = dict[str, Any]

_trainer: Any = None


def _begin(task: Task, threads: int) -> None:
    """What each process does first: its words go nowhere, its trainer stays, and it ends when the study does."""
    global _trainer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    set_up(threads)
    from bench.train.trainer import Trainer

    _trainer = Trainer(task)


def _end_with_parent() -> None:
    """Wait for the study's own process to end, however it ends, and end this one, training or not."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _both(config: TrialConfig) -> Row:
    """In a process: the configuration trained both ways."""
    return score(_trainer, config)


def score(trainer: Any, config: TrialConfig) -> Row:
    """A row of fidelity.csv: ``config`` trained as a trial is and as a finalist is, from the same seed."""
    row: Row = {"state": "completed", "reason": "", **{f"config_{key}": value for key, value in asdict(config).items()}}
    seed = stable_seed("trial", trainer.task.seed, config.key)
    try:
        results = {"cached": trainer.run(config), "fresh": trainer.retrain(config, seed)}
    except TrialFailed as error:
        return {**row, "state": "failed", "reason": str(error)}
    except Exception as error:  # as in a search, one configuration must not end the others
        first = (str(error).strip().splitlines() or [""])[0]
        return {**row, "state": "failed", "reason": f"{type(error).__name__}: {first}"}
    for name, result in results.items():
        row |= {f"{name}_{metric}": value for metric, value in result.metrics.items()}
        row |= {f"{name}_epochs": len(result.epochs), f"{name}_seconds": round(result.seconds, 3)}
    return row


def study(
    task: Task, configs: Sequence[TrialConfig], folder: Path, name: str, jobs: int, tell: Callable[[str], None]
) -> pd.DataFrame:
    """Score ``configs`` both ways, ``jobs`` at a time; fidelity.csv in ``folder`` has each as soon as it is scored.

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
    wanted = {config.key: number for number, config in enumerate(configs)}
    if left:
        threads = max(1, cpu_cores() // jobs)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, context, _begin, (task, threads)) as pool:
            waiting = {pool.submit(_both, config): config for config in left}
            try:
                for done in as_completed(waiting):
                    config = waiting[done]
                    rows.append({"key": config.key, "study": name, **done.result()})
                    write_table(file, pd.DataFrame(rows))
                    tell(_sentence(rows[-1], task.metric, len(rows), len(configs)))
            except BrokenProcessPool as error:
                reason = "a process was killed or crashed without a result; run it again to go on"
                raise TrialFailed(reason) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    table = pd.DataFrame(rows)
    return table[table["key"].isin(wanted)].sort_values("key", key=lambda keys: keys.map(wanted)).reset_index(drop=True)


def _read(file: Path) -> list[Row]:
    if not file.exists():
        return []
    table = pd.read_csv(file, dtype={"key": str, "study": str, "reason": str}, keep_default_na=False, na_values=[""])
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _sentence(row: Mapping[str, Any], metric: str, number: int, total: int) -> str:
    chosen = f"{row['config_backbone']}, {row['config_augmentation']}, depth {row['config_unfreeze_depth']}"
    about = f"{number} of {total}: {chosen}"
    if row["state"] == "failed":
        return f"{about}: failed, {row['reason']}"
    return f"{about}: {row[f'cached_{metric}']:.4f} cached, {row[f'fresh_{metric}']:.4f} fresh"
