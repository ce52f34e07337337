"""Rows of compare.csv -> the numbers of the page; reads no files, draws nothing."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from bench.compare.methods.table import METHODS, WHOLE_SUITE
from bench.compare.record import ComparisonRecord, Ended, ListBound
from bench.run.tables import CONFIG

REFERENCE = "suite"
MARGIN = 0.005
"""A lever is not inferior if it costs less validation AUC than this."""
FEWEST_FOR_T = 3
"""With so many seeds or more an interval is Student's at 95 %; with fewer it is the range."""
Ends = Sequence[Ended]
"""How runs ended, from compare.json; those that are not in there ended by themselves."""


def of_whole_runs(trials: pd.DataFrame, ends: Ends) -> pd.DataFrame:
    """``trials`` without those of runs that failed: how far such a run came says nothing about its method."""
    failed = {(end.method, end.seed) for end in ends if end.state == "failed"}
    kept = [pair not in failed for pair in zip(trials["method"], trials["seed"], strict=True)]
    return trials[np.array(kept, dtype=bool)]


def runs(trials: pd.DataFrame, target: float, ends: Ends = ()) -> pd.DataFrame:
    """One row per method and seed, in the order of the table of methods; runs that failed are left out.

    Columns: method, seed, trials, failed, wall (seconds until the last trial, or by the time limit the search, ended),
    cores (core-seconds until the last trial ended), best (AUC), to_target and cores_to_target (seconds until the first
    trial with an AUC of ``target``; NaN if none had it), trials_per_hour (without those that failed), epochs_per_trial.
    """
    table = of_whole_runs(trials, ends)
    reached = table["auc"] >= target
    table = table.assign(
        failed=table["state"] == "failed",
        to_target=table["ended"].where(reached),
        cores_to_target=table["core_seconds"].where(reached),
    )
    found = table.groupby(["method", "seed"], as_index=False).agg(
        trials=("trial", "size"),
        failed=("failed", "sum"),
        wall=("ended", "max"),
        cores=("core_seconds", "max"),
        best=("auc", "max"),
        to_target=("to_target", "min"),
        cores_to_target=("cores_to_target", "min"),
        epochs_per_trial=("epochs", "mean"),
    )
    ends = [end for end in ends if end.state == "time limit" and end.search is None]  # not after its search
    stopped = {(end.method, end.seed): end.seconds for end in ends}
    pairs = zip(found["method"], found["seed"], found["wall"], strict=True)
    found["wall"] = [stopped.get((method, seed), wall) for method, seed, wall in pairs]
    found["trials_per_hour"] = 3600 * (found["trials"] - found["failed"]) / found["wall"]
    order = {name: position for position, name in enumerate(METHODS)}
    return found.sort_values(["method", "seed"], key=lambda part: part.map(order).fillna(part), ignore_index=True)


def interval(values: npt.ArrayLike) -> tuple[float, float]:
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
    """`runs` -> one row per method.

    Columns: method, seeds, trials (of all seeds), failed; wall, cores, best, trials_per_hour and epochs_per_trial as
    means over seeds; best_low and best_high; reached (seeds that reached the target), to_target and cores_to_target
    (medians over those); ratio, ratio_low, ratio_high and pairs: how many times as long as this suite it took.
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
                **{
                    name: part[name].mean() for name in ("wall", "cores", "best", "trials_per_hour", "epochs_per_trial")
                },
                **{f"{name}_low": part[name].min() for name in ("wall", "cores")},
                **{f"{name}_high": part[name].max() for name in ("wall", "cores")},
                "best_low": low,
                "best_high": high,
                "reached": int(part["to_target"].notna().sum()),
                "to_target": part["to_target"].median(),
                "cores_to_target": part["cores_to_target"].median(),
                **_wall_ratio(_equal_work(_beside_suite(found, str(method)))),
            }
        )
    return pd.DataFrame(rows)


def levers(found: pd.DataFrame) -> pd.DataFrame:
    """One row per lever that was switched off.

    Columns: method, off (the lever), pairs (seeds under which as many trials of both did not fail), ratio, ratio_low,
    ratio_high (wall-clock without it over with it); difference, difference_low, difference_high (best AUC with it minus
    without it, mean over pairs with its interval); verdict (``not inferior``, ``inferior`` or ``open``) against
    `MARGIN`. Where there is no pair, all numbers but ``pairs`` are NaN.
    """
    rows = []
    for method in (one for one in METHODS.values() if one.off):
        both = _beside_suite(found, method.name)
        if not len(both):
            continue
        pairs = _equal_work(both)
        gain = _difference(pairs["best_suite"] - pairs["best"])
        verdict = _verdict(len(pairs), gain["difference_low"], gain["difference_high"])
        rows.append({"method": method.name, "off": method.off, **_wall_ratio(pairs), **gain, "verdict": verdict})
    return pd.DataFrame(rows)


def _verdict(pairs: int, low: float, high: float) -> str:
    if pairs < FEWEST_FOR_T:
        return "open"
    return "not inferior" if low > -MARGIN else "inferior" if high < -MARGIN else "open"


def same_configurations(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per method that trained exactly this suite's configurations under the same seed, as with a fixed list.

    Columns: method, pairs (of trials), difference (mean of its AUC minus this suite's), difference_low,
    difference_high (interval over the pairs), largest (largest absolute difference).
    """
    scored = trials[trials["auc"].notna()]
    suite = scored[scored["method"] == REFERENCE]
    rows = []
    for method in (name for name in METHODS if name != REFERENCE):
        own = scored[(scored["method"] == method) & scored["seed"].isin(suite["seed"])]
        theirs = suite[suite["seed"].isin(own["seed"])]
        both = own.merge(theirs, on=["seed", *(column.name for column in CONFIG)], suffixes=("", "_suite"))
        if len(both) and len(both) == len(theirs):
            differences = both["auc"] - both["auc_suite"]
            largest = float(differences.abs().max())
            rows.append({"method": method, "pairs": len(both), **_difference(differences), "largest": largest})
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


def over_lower_bound(trials: pd.DataFrame, facts: ComparisonRecord, bound: ListBound) -> pd.DataFrame:
    """One row per method and seed of a fixed list.

    Columns: those of `runs`; bound (seconds: with a filled cache, or without); ratio (wall-clock over it, NaN unless
    the whole list was trained); incomplete (how many of the list's trials were, where not all).
    """
    walls, length = runs(trials, math.inf, facts.runs), facts.settings.budget
    done = walls["trials"] - walls["failed"]
    warm = [name in METHODS and bool(METHODS[name].goes_on_from) for name in walls["method"]]
    walls["bound"] = [(bound.warm if filled else bound.cold).seconds for filled in warm]
    walls["ratio"] = (walls["wall"] / walls["bound"]).where(done == length)
    walls["incomplete"] = ["" if count == length else f"{count} of {length} trials" for count in done]
    return walls


def whole_way(ends: Ends) -> pd.DataFrame:
    """One row per finished run of a method that goes the whole way to evaluated models.

    Columns: method, seed, search (seconds until its last trial ended), after (seconds from then on), seconds (to the
    end), ratio (how many times as long as this suite under the same seed; NaN without that run).
    """
    done = [end for end in ends if end.state == "finished" and end.method in METHODS and METHODS[end.method].whole]
    suite = {end.seed: end.seconds for end in done if end.method == WHOLE_SUITE}
    rows = [
        {
            "method": end.method,
            "seed": end.seed,
            "search": math.nan if end.search is None else end.search,
            "after": math.nan if end.search is None else end.seconds - end.search,
            "seconds": end.seconds,
            "ratio": end.seconds / suite.get(end.seed, math.nan),
        }
        for end in done
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "search", "after", "seconds", "ratio"])


def whole_way_sentences(ends: Ends) -> list[str]:
    """How long the others took to the end, against this suite."""
    table = whole_way(ends)
    others = table[(table["method"] != WHOLE_SUITE) & table["ratio"].notna()]
    return [
        f"{METHODS[str(row['method'])].title}, seed {row['seed']}: {row['seconds']:.0f} s to the end, "
        f"{row['ratio']:.2f} times as long as this suite."
        for _, row in others.iterrows()
    ]


def _beside_suite(found: pd.DataFrame, method: str) -> pd.DataFrame:
    """The runs of ``method`` beside this suite's of the same seed, whose columns end in ``_suite``."""
    own, suite = (found[found["method"] == name] for name in (method, REFERENCE))
    return own.merge(suite, on="seed", suffixes=("", "_suite"))


def _equal_work(both: pd.DataFrame) -> pd.DataFrame:
    """Those rows where both did the same amount of work, as many trials that did not fail, and have a score."""
    scored = both["best"].notna() & both["best_suite"].notna()
    done, done_suite = (both[f"trials{whose}"] - both[f"failed{whose}"] for whose in ("", "_suite"))
    return both[scored & (done == done_suite)]


def _wall_ratio(pairs: pd.DataFrame) -> dict[str, float]:
    """How many times as long as this suite it took: median and range over ``pairs``, and their number."""
    ratios = pairs["wall"] / pairs["wall_suite"]
    return {"ratio": ratios.median(), "ratio_low": ratios.min(), "ratio_high": ratios.max(), "pairs": len(ratios)}


def _difference(differences: "pd.Series[float]") -> dict[str, float]:
    """Mean of the differences of AUC, with its interval."""
    low, high = interval(differences.to_numpy())
    return {"difference": float(differences.mean()), "difference_low": low, "difference_high": high}
