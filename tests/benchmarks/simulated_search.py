"""Searches simulated over the recorded trainings of a run: what another first rung, or another fidelity, is worth.

The run is one whose space lists its configurations as points and whose scheduler is ``none``, so that every one was
trained to its end: epochs.csv holds its score after each epoch. As in tabular benchmarks (HPO-B, arXiv:2106.06257) a
proposal becomes the nearest configuration that is still free. Two workers; an epoch takes the median of its backbone,
depth and phase; loading, tracing and filling of the cache take no time. Each seed searches four fifths of the table,
others every time, so that no single configuration decides.

    python tests/benchmarks/simulated_search.py reports/TABLE --space demo --budget 50 --seeds 40
"""

import argparse
import heapq
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

from bench.models.backbones import get_backbone
from bench.run.courses import Curve
from bench.run.folder import RunDir
from bench.run.results import TrialLog, TrialRecord
from bench.search.parameters import REDUCTION_FACTOR, TrialConfig
from bench.search.plan import make_plan
from bench.search.settled import Rule, retrospect
from bench.search.space import Space, load_space
from bench.stats.metrics import get_metric

WORKERS = 2
NEAR = 0.002
"""Of the best known score: what counts as having found it."""
SHARE = 0.8
STATES = {"completed": optuna.trial.TrialState.COMPLETE, "pruned": optuna.trial.TrialState.PRUNED}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "first rung after 2 epochs": {},
    "first rung after 1 epoch": {"grace": 1},
    "depth as fidelity": {"by_depth": True},
    "both": {"grace": 1, "by_depth": True},
    "no early stopping": {"grace": math.inf},
}


@dataclass(frozen=True)
class Row:
    """A recorded training: running best after each epoch that decides, seconds of the warm-up and of such an epoch."""

    record: TrialRecord
    curve: tuple[float, ...]
    warm_up: float
    epoch: float

    @property
    def config(self) -> TrialConfig:
        return self.record.config


def read_table(run: RunDir) -> list[Row]:
    """The completed trials of a run."""
    log, metric = TrialLog.load(run), run.read().settings.metric
    curves, seconds = {}, defaultdict(list)
    for record in log.records:
        if record.state != "completed":
            continue
        epochs = log.epochs.curves[Curve("trial", str(record.trial))]
        curves[record.trial] = [one for one in epochs if one.phase == epochs[-1].phase], len(epochs)
        for one in epochs:
            seconds[record.config.backbone, record.config.unfreeze_depth, one.phase].append(one.seconds)
    rows = []
    for record in log.records:
        if record.trial in curves:
            (deciding, count), place = curves[record.trial], (record.config.backbone, record.config.unfreeze_depth)
            best = np.maximum.accumulate([one.metrics[metric] for one in deciding])
            warm_up = (count - len(deciding)) * float(np.median(seconds.get((*place, "head"), [0.0])))
            epoch = float(np.median(seconds[*place, deciding[0].phase]))
            rows.append(Row(record, tuple(best.tolist()), warm_up, epoch))
    return rows


def distance(values: Mapping[str, Any], config: TrialConfig) -> float:
    """How far a proposal is from a recorded configuration: backbone and depth weigh most."""
    other, apart = asdict(config), 0.0
    for name, weight in (("backbone", 3.0), ("unfreeze_depth", 2.0), ("augmentation", 0.5)):
        apart += weight * (values[name] != other[name])
    for name, weight in (("learning_rate", 0.4), ("finetune_factor", 0.2)):
        if values.get(name) and other[name]:
            apart += weight * abs(math.log(values[name] / other[name]))
    return apart + sum(abs(values[name] - other[name]) for name in ("dropout", "label_smoothing"))


@dataclass
class Search:
    """One simulated search: the suite's plan, TPE and ASHA."""

    rows: Sequence[Row]
    space: Space
    budget: int
    seed: int
    grace: float = 2
    by_depth: bool = False
    ended: list[TrialRecord] = field(default_factory=list)
    scores: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=self.seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        order = np.random.default_rng(self.seed).permutation(len(self.rows))
        self._free = set(order[: round(SHARE * len(order))].tolist())
        self.best = max(self.rows[index].curve[-1] for index in self._free)
        backbones = [get_backbone(name) for name in self.space.backbones]
        self._planned = list(make_plan(self.space, backbones, self.budget).items)
        self._rungs: dict[float, list[float]] = {self.grace * REDUCTION_FACTOR**power: [] for power in range(3)}
        self._shallow: dict[int, float] = {}
        self._promoted: set[int] = set()

    def run(self) -> "Search":
        """Until the budget is used; ``scores`` then holds (seconds, running best) of every epoch."""
        running: list[tuple[float, int, int, int, float, str]] = []
        begun, now = 0, 0.0
        while True:
            while len(running) < WORKERS and begun < self.budget and self._free:
                index, origin = self._propose()
                self._free.discard(index)
                row = self.rows[index]
                heapq.heappush(running, (now + row.warm_up + row.epoch, begun, index, 1, now, origin))
                begun += 1
            if not running:
                return self
            now, number, index, epoch, began, origin = heapq.heappop(running)
            row, value = self.rows[index], self.rows[index].curve[epoch - 1]
            self.scores.append((now, value))
            last, stopped = epoch == len(row.curve), self._stops(epoch, value)
            if last or stopped:
                self._end(index, "completed" if last else "pruned", value, epoch, (number, origin, began, now))
            else:
                heapq.heappush(running, (now + row.epoch, number, index, epoch + 1, began, origin))

    def _stops(self, epoch: int, value: float) -> bool:
        """ASHA, as Ray has it: a trial goes on if it is among the best third of those that were here before."""
        if epoch not in self._rungs:
            return False
        seen = self._rungs[epoch]
        cutoff = np.percentile(seen, 100 * (1 - 1 / REDUCTION_FACTOR)) if seen else -math.inf
        seen.append(value)
        return bool(value < cutoff)

    def _propose(self) -> tuple[int, str]:
        depths = {0, 1} if self.by_depth else {0, 1, 2}
        if self.by_depth:  # the best third of what was trained at depth 1 goes on to depth 2
            for index in sorted(self._shallow, key=self._shallow.__getitem__)[::-1][: len(self._shallow) // 3]:
                values = asdict(self.rows[index].config) | {"unfreeze_depth": 2}
                if index not in self._promoted and (found := self._nearest(values, {2})) is not None:
                    self._promoted.add(index)
                    return found, "sampled"
        item = self._planned.pop(0) if self._planned else None
        if item:
            self._study.enqueue_trial(dict(item.values))
        trial = self._study.ask()
        values = dict(self.space.suggest(trial))
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)  # what is near it is told in its place
        if values["unfreeze_depth"] not in depths:
            values["unfreeze_depth"] = 1
        found = self._nearest(values, depths)
        return next(iter(self._free)) if found is None else found, item.origin if item else "sampled"

    def _nearest(self, values: Mapping[str, Any], depths: set[int]) -> int | None:
        left = [index for index in self._free if self.rows[index].config.unfreeze_depth in depths]
        return min(left, key=lambda index: distance(values, self.rows[index].config), default=None)

    def _end(self, index: int, state: str, value: float, epoch: int, when: tuple[int, str, float, float]) -> None:
        row, (number, origin, began, now) = self.rows[index], when
        if row.config.unfreeze_depth == 1:
            self._shallow[index] = value
        fixed = optuna.trial.FixedTrial(asdict(row.config))
        self.space.suggest(fixed)
        told = optuna.trial.create_trial(
            state=STATES[state],
            value=value if state == "completed" else None,
            params=fixed.params,
            distributions=fixed.distributions,
            intermediate_values={epoch: value},
        )
        self._study.add_trial(told)
        metrics = dict.fromkeys(row.record.metrics or {}, value)
        reason = "" if state == "completed" else "stopped by ASHA"
        about = {"trial": number, "origin": origin, "seconds": now - began, "elapsed": now, "metrics": metrics}
        self.ended.append(replace(row.record, state=state, reason=reason, **about))


def outcome(search: Search) -> dict[str, float]:
    """Seconds of the search and until it was `NEAR` the best known (all, where it never was), and what it lost."""
    total, reached = search.scores[-1][0], max(score for _, score in search.scores)
    near = [now for now, score in search.scores if score >= search.best - NEAR]
    return {"total": total, "found": near[0] if near else total, "missed": not near, "lost": search.best - reached}


def compare_methods(rows: Sequence[Row], space: Space, budget: int, seeds: int) -> pd.DataFrame:
    """One row per method: means over the seeds, and the ratio of its times to today's with an interval (bootstrap)."""
    found = {
        name: pd.DataFrame([outcome(Search(rows, space, budget, seed, **how).run()) for seed in range(seeds)])
        for name, how in METHODS.items()
    }
    today, table = next(iter(found.values())), {}
    draws = np.random.default_rng(0).integers(0, seeds, (2000, seeds))
    for name, one in found.items():
        ratios = one["found"].to_numpy()[draws].mean(axis=1) / today["found"].to_numpy()[draws].mean(axis=1)
        low, high = np.percentile(ratios, [2.5, 97.5])
        of_today = {"ratio": one["found"].mean() / today["found"].mean(), "low": low, "high": high}
        of_today["ratio of totals"] = one["total"].mean() / today["total"].mean()
        table[name] = {**one.mean().to_dict(), "missed": int(one["missed"].sum()), **of_today}
    return pd.DataFrame(table).T


def compare_settled(rows: Sequence[Row], space: Space, budget: int, seeds: int) -> pd.DataFrame:
    """One row per number of validation patients: what ``--until-settled`` saves of today's search and what it loses."""
    searches, table = [Search(rows, space, budget, seed).run() for seed in range(seeds)], {}
    for patients in (50, 200, 800, 3200):
        rule = Rule(get_metric("auc"), (patients / 3, 2 * patients / 3), budget, tuple(space.backbones), 0)
        found = [(retrospect(rule, one.ended), one.scores[-1][0]) for one in searches]
        table[patients] = {
            "trials": np.mean([one.trials or budget for one, _ in found]),
            "saved": np.mean([one.saved_seconds / total for one, total in found]),
            "lost": np.mean([one.lost for one, _ in found]),
            "most lost": max(one.lost for one, _ in found),
            "more than its error": np.mean([one.lost > (one.standard_error or math.inf) for one, _ in found]),
        }
    return pd.DataFrame(table).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--space", default="default")
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=40)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    rows = read_table(RunDir(options.run))
    space = load_space(options.space, sorted({row.config.backbone for row in rows}))
    best = max(row.curve[-1] for row in rows)
    near = sum(row.curve[-1] >= best - NEAR for row in rows)
    print(f"{len(rows)} trainings, the best {best:.4f}, within {NEAR} of it {near}")
    for compare in (compare_methods, compare_settled):
        print(compare(rows, space, options.budget, options.seeds).round(4).to_string())


if __name__ == "__main__":
    main()
