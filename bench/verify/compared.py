"""Models in pairs, compared once more from the predictions of every repeat."""

import numpy as np
import pandas as pd
from scipy.stats import nct, t
from statsmodels.stats.multitest import multipletests

from bench.verify.bands import too_few
from bench.verify.reading import TOLERANCE, Folder, Predicted, Tally
from bench.verify.resampled import NOTHING, Redrawn, check_within, redrawn
from bench.verify.scores import fewest, score
from bench.verify.weighted import Floats, metrics, together

POWER = 0.8
LOOSE = 5e-4
"""Of what follows from an interval's ends or other numbers of the row; of degrees of freedom, relative."""
HAVE_NO_SEED = {"majority", "metadata"}
"""Models that another seed does not change."""


def comparisons(run: Folder, tally: Tally) -> None:
    """Scores and their difference, t intervals and p, who alone is right, and Holm's correction by family."""
    table = run.table("comparisons.csv")
    drawn = _drawn(run, table)
    for _, row in table.iterrows():
        where = f"{row['a']} and {row['b']}"
        for end in ("a", "b"):
            tally.close(f"{where}: score of {row[end]}", row[f"score_{end}"], _score(run, row, end))
        tally.close(f"{where}: difference", row["difference"], row["score_a"] - row["score_b"])
        if "df" in row:  # which tables of earlier versions lack
            found, told = drawn.get(str(row["metric"])), not pd.isna(row["df"])
            possible = found is not None and _enough(run, row)
            tally.same(f"{where}: whether there are degrees of freedom", told, possible)
            if told and possible and found:
                _interval(where, row, run.level, tally)
                _sources(run, row, found, where, tally)
        _calls(run, where, row, tally)
    for family, part in table.groupby("family"):
        for name in ("p", "mcnemar_p"):
            known = part[part[name].notna()]
            corrected = multipletests(known[name], method="holm")[1] if len(known) else []
            for told, found in zip(known[f"{name}_holm"], corrected, strict=True):
                tally.close(f"family {family}: {name} by Holm", told, found)


def _score(run: Folder, row: pd.Series, end: str) -> float | None:
    """The mean over the repeats; of earlier versions, which name no metric, the ROC AUC of the representative."""
    repeats = run.repeats(str(row[end]))
    if "metric" not in row:
        return score("auc", repeats[run.representative(str(row[end]))])
    values = [score(str(row["metric"]), one) for one in repeats.values()]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _interval(where: str, row: pd.Series, level: float, tally: Tally) -> None:
    """What follows from the difference, its standard error and the degrees of freedom, all as the row tells them."""
    error, df, difference = float(row["standard_error"]), float(row["df"]), float(row["difference"])
    if error < NOTHING:  # all draws and seeds agree
        return
    reach = t.ppf((1 + level) / 2, df) * error
    tally.close(f"{where}: lower end", row["low"], difference - reach)
    tally.close(f"{where}: upper end", row["high"], difference + reach)
    if _single(row):
        told = [name for name in ("p", "seed_share", "detectable", "p_equivalent") if not pd.isna(row[name])]
        tally.same(f"{where}: what one seed cannot tell", told, [])
        return
    tally.check(not pd.isna(row["seed_share"]), f"{where}: no share of the seeds is told")
    tally.close(f"{where}: p", row["p"], 2 * t.sf(abs(difference) / error, df))
    power = nct.sf(t.ppf((1 + level) / 2, df), df, row["detectable"] / error)
    tally.close(f"{where}: power at the difference that could be detected", POWER, power, LOOSE)
    primary = row["family"] == "primary"
    tally.same(f"{where}: whether there is a margin", not pd.isna(row["margin"]), primary)
    beyond = t.sf((row["margin"] - abs(difference)) / error, df) if primary else None
    tally.close(f"{where}: p of equivalence", row["p_equivalent"], beyond)


def _single(row: pd.Series) -> bool:
    """Whether a model of a pair was trained once, and another seed might give another."""
    return any(row[f"seeds_{end}"] == 1 and row[end] not in HAVE_NO_SEED for end in ("a", "b"))


Trainings = dict[str, list[int]]


def _drawn(run: Folder, table: pd.DataFrame) -> dict[str, tuple[Redrawn, Trainings]]:
    """Of each metric, every training's score in the same draws of patients, and which of them are a model's."""
    found = {}
    for metric in set(table["metric"].dropna()) if "metric" in table and run.draws else ():
        models = {str(name): list(run.repeats(str(name)).values()) for name in {*table["a"], *table["b"]}}
        every, places, count = [one for some in models.values() for one in some], {}, 0
        for name, some in models.items():
            places[name], count = list(range(count, count + len(some))), count + len(some)
        parts = [metrics(one, [str(metric)]) for one in every]
        found[str(metric)] = redrawn(every[0].patients, together(parts), jackknife=False), places
    return found


def _sources(run: Folder, row: pd.Series, drawn: tuple[Redrawn, Trainings], where: str, tally: Tally) -> None:
    """Standard error and share of the seeds, of a difference of means over seeds, patients being drawn anew.

    Without a share of the seeds, of patients alone. Source: Obuchowski and Rockette, Communications in Statistics -
    Simulation 24:285 (1995), seeds nested in models.
    """
    found, sides = drawn[0], [drawn[1][str(row[end])] for end in ("a", "b")]
    contrast = np.zeros(len(found.value))
    contrast[sides[0]], contrast[sides[1]] = 1 / len(sides[0]), -1 / len(sides[1])
    counted = fewest(str(row["metric"]), _representative(run, row, "a"))
    patients, room = found.standard_error(contrast, run.draws, counted)
    variance, seeds = patients**2, 0.0
    if not pd.isna(row["seed_share"]):
        usable = found.drawn[np.isfinite(found.drawn).all(axis=1)]
        covariance = np.atleast_2d(np.cov(usable.T)) * counted / (counted - 1)
        for side in sides:
            if len(side) > 1:
                own, count = covariance[np.ix_(side, side)], len(side)
                variance -= (np.diag(own).mean() - own[~np.eye(count, dtype=bool)].mean()) / count
                seeds += float(np.var(found.value[side], ddof=1)) / count
    # where the variance of the seeds is taken off, an error of the whole weighs the more in what is left
    total = max(variance, 0.0) + seeds
    off = max(TOLERANCE, room * max(1.0, patients / total**0.5) if total else room)
    tally.close(f"{where}: standard error", row["standard_error"], total**0.5, off)
    if total > 1e-24 and not pd.isna(row["seed_share"]):
        least, largest = (max(0.0, variance + sign * 2 * patients * room) for sign in (-1, 1))
        shares = (seeds / (seeds + largest), seeds / (seeds + least) if seeds + least else 1.0)
        check_within(tally, f"{where}: share of the seeds", row["seed_share"], shares)
    if row["standard_error"] >= NOTHING:
        trained = [] if pd.isna(row["seed_share"]) else [found.value[side] for side in sides if len(side) > 1]
        wanted = _freedom(row["standard_error"] ** 2, trained, counted)
        tally.close(f"{where}: degrees of freedom", row["df"], wanted, LOOSE * wanted)


def _freedom(variance: float, trained: list[Floats], patients: int) -> float:
    """Of the whole ``variance``, as told: what the seeds do not bring of it has one less than the patients.

    Source: Satterthwaite, Biometrics Bulletin 2:110 (1946).
    """
    parts = [(float(values.var(ddof=1)) / len(values), len(values) - 1) for values in trained]
    parts.append((max(0.0, variance - sum(part for part, _ in parts)), patients - 1))
    return variance**2 / sum(part**2 / freedom for part, freedom in parts)


def _enough(run: Folder, row: pd.Series) -> bool:
    """Whether a pair has an interval: no class that its metric needs is missing, or has too few patients."""
    images, metric = _representative(run, row, "a"), str(row["metric"])
    return score(metric, images) is not None and not too_few(images, metric)


def _calls(run: Folder, where: str, row: pd.Series, tally: Tally) -> None:
    """Images on which one of two representatives alone is right, and McNemar's exact test of them."""
    clustered = "repeat_a" in row
    one, other = (_representative(run, row, end) for end in ("a", "b"))
    right = [model.scores.argmax(axis=1) == model.labels for model in (one, other)]
    only_a, only_b = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    told = (int(row["only_a_right"]), int(row["only_b_right"]))
    tally.same(f"{where}: images that one alone is right on", told, (only_a, only_b))
    groups = one.patients if clustered else np.arange(len(one.labels))
    apart = pd.Series(right[0].astype(int) - right[1].astype(int)).groupby(groups).sum()
    tally.close(f"{where}: McNemar's p", row["mcnemar_p"], _signed(apart[apart != 0].abs().tolist(), int(apart.sum())))


def _representative(run: Folder, row: pd.Series, end: str) -> Predicted:
    name = str(row[end])
    repeat = int(row[f"repeat_{end}"]) if f"repeat_{end}" in row else run.representative(name)
    return run.repeats(name)[repeat]


def _signed(sizes: list[int], found: int) -> float:
    """Chance that sizes with random signs sum to something as far from 0 as ``found``: of sizes of 1, McNemar's p."""
    chances = {0: 1.0}
    for size in sizes:
        following: dict[int, float] = {}
        for total, chance in chances.items():
            for sign in (-size, size):
                following[total + sign] = following.get(total + sign, 0.0) + chance / 2
        chances = following
    return min(1.0, sum(chance for total, chance in chances.items() if abs(total) >= abs(found)))
