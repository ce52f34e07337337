"""Rows of compare.csv -> the numbers of the page; reads no files, draws nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from bench.compare.methods.methods import METHODS
from bench.trial import TrialConfig

REFERENCE = "suite"
MARGIN = 0.005
"""A lever is not inferior if it costs less validation AUC than this."""
FEWEST_FOR_T = 3
"""With so many seeds or more an interval is Student's at 95 %; with fewer it is the range."""
CONFIG = [f"config_{entry.name}" for entry in fields(TrialConfig)]


def of_whole_runs(trials: pd.DataFrame, ends: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """``trials`` without those of runs that failed: how far such a run came says nothing about its method.

    Args:
        trials: rows of compare.csv.
        ends: how runs ended, from compare.json.
    """
    failed = {(end["method"], end["seed"]) for end in ends if end["state"] == "failed"}
    kept = [pair not in failed for pair in zip(trials["method"], trials["seed"], strict=True)]
    return trials[np.array(kept, dtype=bool)]


def runs(trials: pd.DataFrame, target: float, ends: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """A row a method and seed, in the order of the table of methods; runs that failed are left out.

    Columns: method, seed, trials, failed, wall (seconds until the last trial ended, or the time limit), cores
    (core-seconds until the last trial ended), best (AUC), to_target and cores_to_target (seconds until the first trial
    with an AUC of ``target``; NaN if none had it), trials_an_hour (without those that failed), epochs_a_trial.

    Args:
        trials: rows of compare.csv.
        target: an AUC.
        ends: how runs ended, from compare.json; those that are not in there ended by themselves.
    """
    stopped = {(end["method"], end["seed"]): float(end["seconds"]) for end in ends if end["state"] == "time limit"}
    rows = []
    for (method, seed), part in of_whole_runs(trials, ends).groupby(["method", "seed"], sort=True):
        reached = part[part["auc"] >= target]
        wall = stopped.get((method, seed), float(part["ended"].max()))
        failed = int((part["state"] == "failed").sum())
        rows.append(
            {
                "method": method,
                "seed": seed,
                "trials": len(part),
                "failed": failed,
                "wall": wall,
                "cores": float(part["core_seconds"].max()),
                "best": float(part["auc"].max()),
                "to_target": float(reached["ended"].min()) if len(reached) else math.nan,
                "cores_to_target": float(reached["core_seconds"].min()) if len(reached) else math.nan,
                "trials_an_hour": 3600 * (len(part) - failed) / wall,
                "epochs_a_trial": float(part["epochs"].mean()),
            }
        )
    table = pd.DataFrame(rows, columns=[*_RUN_COLUMNS])
    order = {name: position for position, name in enumerate(METHODS)}
    return table.sort_values(["method", "seed"], key=lambda part: part.map(order).fillna(part), ignore_index=True)


_RUN_COLUMNS = (
    *("method", "seed", "trials", "failed", "wall", "cores", "best", "to_target", "cores_to_target"),
    *("trials_an_hour", "epochs_a_trial"),
)


def interval(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    """Student's 95 % interval of the mean; of fewer than `FEWEST_FOR_T` values the range, of one (NaN, NaN)."""
    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return math.nan, math.nan
    if len(found) < FEWEST_FOR_T:
        return float(found.min()), float(found.max())
    half = float(stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found)))
    return float(found.mean()) - half, float(found.mean()) + half


def by_method(found: pd.DataFrame) -> pd.DataFrame:
    """`runs` -> a row a method.

    Columns: method, seeds, trials (of all seeds), failed; wall, cores, best, trials_an_hour and epochs_a_trial as
    means over seeds; best_low and best_high; reached (seeds that reached the target), to_target and cores_to_target
    (medians over those); ratio, ratio_low, ratio_high and pairs as `ratios` gives them.
    """
    rows = []
    for method, part in found.groupby("method", sort=False):
        low, high = interval(part["best"].to_numpy())
        rows.append(
            {
                "method": method,
                "seeds": len(part),
                "trials": int(part["trials"].sum()),
                "failed": int(part["failed"].sum()),
                **{name: part[name].mean() for name in ("wall", "cores", "best", "trials_an_hour", "epochs_a_trial")},
                **{f"{name}_low": part[name].min() for name in ("wall", "cores")},
                **{f"{name}_high": part[name].max() for name in ("wall", "cores")},
                "best_low": low,
                "best_high": high,
                "reached": int(part["to_target"].notna().sum()),
                "to_target": part["to_target"].median(),
                "cores_to_target": part["cores_to_target"].median(),
                **_spread(ratios(found, str(method)), "ratio"),
            }
        )
    return pd.DataFrame(rows)


def ratios(found: pd.DataFrame, method: str, name: str = "wall") -> npt.NDArray[np.float64]:
    """How many times as long as this suite ``method`` took, a number a seed that `_pairs` has."""
    both = _pairs(found, method)
    return np.asarray(both[name] / both[f"{name}_suite"], dtype=np.float64)


def levers(found: pd.DataFrame) -> pd.DataFrame:
    """A row a lever that was switched off.

    Columns: method, off (the lever), pairs (seeds that both ran with as many trials), ratio, ratio_low, ratio_high
    (wall-clock without it over with it); difference, difference_low, difference_high (best AUC with it minus without
    it, mean over pairs with its interval); verdict (``not inferior``, ``inferior`` or ``open``) against `MARGIN`.
    Where there is no pair, all numbers but ``pairs`` are NaN.
    """
    rows = []
    for method in (one for one in METHODS.values() if one.off):
        if not len(_beside(found, method.name)):
            continue
        both = _pairs(found, method.name)
        gains = np.asarray(both["best_suite"] - both["best"], dtype=np.float64)
        low, high = interval(gains)
        rows.append(
            {
                "method": method.name,
                "off": method.off,
                **_spread(ratios(found, method.name), "ratio"),
                "difference": float(gains.mean()) if len(gains) else math.nan,
                "difference_low": low,
                "difference_high": high,
                "verdict": _verdict(len(gains), low, high),
            }
        )
    return pd.DataFrame(rows)


def _verdict(pairs: int, low: float, high: float) -> str:
    if pairs < FEWEST_FOR_T:
        return "open"
    return "not inferior" if low > -MARGIN else "inferior" if high < -MARGIN else "open"


def same_configurations(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a method that trained exactly this suite's configurations under the same seed, as with a fixed list.

    Columns: method, pairs (of trials), difference (mean of its AUC minus this suite's), difference_low,
    difference_high (interval over the pairs), largest (largest absolute difference).
    """
    scored = trials[trials["auc"].notna()]
    reference = scored[scored["method"] == REFERENCE]
    rows = []
    for method in (name for name in METHODS if name != REFERENCE):
        own = scored[scored["method"] == method]
        own = own[own["seed"].isin(reference["seed"])]
        theirs = reference[reference["seed"].isin(own["seed"])]
        both = own.merge(theirs, on=["seed", *CONFIG], suffixes=("", "_suite"))
        if not len(both) or len(both) != len(theirs):
            continue
        differences = np.asarray(both["auc"] - both["auc_suite"], dtype=np.float64)
        low, high = interval(differences)
        rows.append(
            {
                "method": method,
                "pairs": len(both),
                "difference": float(differences.mean()),
                "difference_low": low,
                "difference_high": high,
                "largest": float(np.abs(differences).max()),
            }
        )
    return pd.DataFrame(rows)


def best_so_far(trials: pd.DataFrame, method: str, x: str) -> pd.DataFrame:
    """Best AUC so far of ``method`` against ``x`` (``ended`` or ``core_seconds``) over its seeds.

    Columns: x, best (median over seeds), low, high (their range); it begins where every seed has a trial.
    """
    own = trials[(trials["method"] == method) & trials["auc"].notna()].sort_values(x)
    columns = {seed: part.groupby(x)["auc"].max().cummax() for seed, part in own.groupby("seed")}
    table = pd.DataFrame(columns).sort_index().ffill().dropna()
    return pd.DataFrame(
        {"x": table.index, "best": table.median(axis=1), "low": table.min(axis=1), "high": table.max(axis=1)}
    ).reset_index(drop=True)


def _beside(found: pd.DataFrame, method: str) -> pd.DataFrame:
    """The runs of ``method`` beside this suite's of the same seed, whose columns end in ``_suite``."""
    own, suite = (found[found["method"] == name] for name in (method, REFERENCE))
    return own.merge(suite, on="seed", suffixes=("", "_suite"))


def _pairs(found: pd.DataFrame, method: str) -> pd.DataFrame:
    """Those rows of `_beside` where both did the same amount of work, as many trials, and have a score."""
    both = _beside(found, method)
    scored = both["best"].notna() & both["best_suite"].notna()
    return both[scored & (both["trials"] == both["trials_suite"])]


def _spread(values: npt.NDArray[np.float64], name: str) -> dict[str, float]:
    """Median and range of ``values``, and their number."""
    if not len(values):
        return {name: math.nan, f"{name}_low": math.nan, f"{name}_high": math.nan, "pairs": 0}
    middle, low, high = float(np.median(values)), float(values.min()), float(values.max())
    return {name: middle, f"{name}_low": low, f"{name}_high": high, "pairs": len(values)}
