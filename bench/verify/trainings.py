"""What is said of splits, trials, finalists and folds, computed again from their tables; one function a table."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bench.verify.reading import SMALLER_IS_BETTER, Folder, Json, Tally
from bench.verify.scores import score, scores_told

LATER = {"config_initialisation", "config_schedule", "config_ema_momentum"}
"""Parameters that tables of earlier versions lack."""


def splits(run: Folder, tally: Tally) -> None:
    """No patient and no pixel in two splits, counts as run.json has them, predictions of these images and patients."""
    table = run.table("splits.csv")
    used = {split: table[table["split"] == split] for split in ("train", "val", "test")}
    for one, other in combinations(used, 2):
        for column in ("patient", "pixels"):
            if column in table:
                shared = set(used[one][column].dropna()) & set(used[other][column].dropna())
                some = ", ".join(sorted(map(str, shared))[:3])
                tally.check(not shared, f"{len(shared)} {column} in {one} and in {other}, such as {some}")
    for split in ("val", "test"):
        name = f"predictions_{split}.csv"
        for _, predicted in run.tables_of(name):
            pairs = [dict(zip(part["image"], part["label"], strict=True)) for part in (used[split], predicted)]
            tally.check(pairs[0] == pairs[1], f"{name}: other images or labels than splits.csv has in {split}")
    _patients(run, table, tally)
    if run.has("run.json"):
        _counts(run, used, tally)


def _patients(run: Folder, table: pd.DataFrame, tally: Tally) -> None:
    """Each image that is predicted is of its patient, or of one whom the very same image makes the same."""
    known = table[table["patient"].notna()]
    person = _persons(known)
    own = dict(zip(known["image"], known["patient"].map(person), strict=True))
    for name, predicted in run.tables_of(*(f"predictions_{of}.csv" for of in ("test", "val", "models"))):
        rows = predicted[predicted["image"].isin(own)]
        other = rows["image"][rows["image"].map(own) != rows["patient"].map(person)].unique()
        some = ", ".join(map(str, other[:3]))
        tally.check(not len(other), f"{name}: of other patients than in splits.csv: {len(other)}, such as {some}")


def _persons(known: pd.DataFrame) -> dict[str, int]:
    """Patient -> a number, the same for patients of whom the very same image is there."""
    patients, names = pd.factorize(known["patient"])
    pixels = known["pixels"] if "pixels" in known else pd.Series(index=known.index, dtype=object)
    shared = pd.Series(patients)[pixels.notna().to_numpy()]
    first = shared.groupby(pixels.dropna().to_numpy()).transform("first")
    joined = coo_array(([True] * len(shared), (first.to_numpy(int), shared.to_numpy(int))), shape=(len(names),) * 2)
    return dict(zip(names, connected_components(joined, directed=False)[1].tolist(), strict=True))


def _counts(run: Folder, used: dict[str, pd.DataFrame], tally: Tally) -> None:
    for split, told in (run.run.get("data") or {}).get("splits", {}).items():
        part = used[split]
        tally.same(f"images of {split}", told["images"], len(part))
        tally.same(f"patients of {split}", told["patients"], int(part["patient"].nunique()))
        classes = {str(label): int(count) for label, count in part["label"].value_counts().items()}
        tally.same(f"classes of {split}", dict(sorted(told["classes"].items())), dict(sorted(classes.items())))


def trials(run: Folder, tally: Tally) -> None:
    """Counts of trials by state, and each trial's score as the best of its last phase in epochs.csv."""
    table = run.table("trials.csv")
    retried = {int(number) for number, later in zip(table["trial"], table["retried_as"], strict=True) if later == later}
    current = table[~table["trial"].isin(retried)]
    if run.has("run.json"):
        for state, count in (run.run.get("search") or {}).get("counts", {}).items():
            tally.same(f"trials that {state}", count, int((current["state"] == state).sum()))
    for _, epochs in run.tables_of("epochs.csv"):
        metric = f"metric_{run.metric}"
        of_trials = epochs[epochs["kind"] == "trial"]
        for name, part in of_trials.groupby("name"):
            row = current[(current["trial"].map("{:.0f}".format) == name) & current[metric].notna()]
            if len(row):
                last = part[part["phase"] == part["phase"].iloc[-1]][metric].dropna()
                best = last.min() if run.metric in SMALLER_IS_BETTER else last.max()
                tally.close(f"trial {name}: {metric}", row[metric].iloc[0], best)


def finalists(run: Folder, tally: Tally) -> None:
    """Means and standard deviations over seeds, the winner, its trial's score, and representatives on validation."""
    table, metric = run.table("finalists.csv"), run.metric
    done = table[(table["state"] == "completed") & table[f"metric_{metric}"].notna()]
    values = {str(name): part[f"metric_{metric}"] for name, part in done.groupby("backbone")}
    (winner,) = set(table.loc[table["winner"].astype(str) == "True", "backbone"])
    if run.has("evaluation.json"):
        tally.same("winner", run.winner, winner)
        for told in run.evaluation.get("retrained", []):
            _over_seeds(told["backbone"], told, values[told["backbone"]], tally, ("mean", "sd"))
        for name in values:
            _on_validation(run, name, done, tally)
    if run.has("run.json") and (told := run.run.get("winner")):
        tally.same("winner of run.json", told["backbone"], winner)
        _over_seeds(winner, told, values[winner], tally, ("score", "sd"))
    for _, searched in run.tables_of("trials.csv"):
        for _, row in done.iterrows():
            _trial(row, searched[searched["trial"] == row["trial"]], metric, tally)
    if run.has("best_model.json"):
        _exported(run.json("best_model.json"), table[table["backbone"] == winner].iloc[0], tally)


def _trial(row: pd.Series, found: pd.DataFrame, metric: str, tally: Tally) -> None:
    """A finalist has the configuration of its trial, and names the score of that."""
    where = f"{row['backbone']}, seed {row['repeat']:.0f}"
    tally.check(len(found) == 1, f"{where}: trials.csv holds {len(found)} trials {row['trial']:.0f}")
    for _, trial in found.iterrows():
        tally.close(f"{where}: score of its trial", row["trial_score"], trial[f"metric_{metric}"])
        for name, (own, its) in _configurations(row, trial):
            tally.same(f"{where}: {name} and that of its trial", own, its)


def _exported(card: Json, row: pd.Series, tally: Tally) -> None:
    """best_model.json names the winner's configuration."""
    told = pd.Series(card.get("config", {}), dtype=object).add_prefix("config_")
    for name, (own, its) in _configurations(told, row):
        tally.same(f"best_model.json: {name} and that of the winner", own, its)


def _configurations(own: pd.Series, other: pd.Series) -> Iterator[tuple[str, list[Any]]]:
    """Each parameter that both have, with its two values; one that came later has none in earlier tables."""
    for name in (str(name) for name in own.index if str(name).startswith("config_") and name in other):
        both = [None if pd.isna(one[name]) else one[name] for one in (own, other)]
        if name not in LATER or None not in both:
            yield name.removeprefix("config_"), both


def _over_seeds(name: str, told: dict[str, Any], values: pd.Series, tally: Tally, keys: tuple[str, str]) -> None:
    tally.same(f"{name}: seeds", told.get("repeats"), len(values))
    tally.close(f"{name}: mean over seeds", told.get(keys[0]), values.mean())
    tally.close(f"{name}: SD over seeds", told.get(keys[1]), values.std(ddof=1) if len(values) > 1 else None)


def _on_validation(run: Folder, name: str, done: pd.DataFrame, tally: Tally) -> None:
    """The scores of finalists.csv are those of the predictions; exported files are computed in float32."""
    repeat, repeats = run.representative(name), run.repeats(name, "val")
    row = done[(done["backbone"] == name) & (done["repeat"] == repeat)]
    if repeat in repeats and len(row):
        for metric in scores_told(row.iloc[0]):
            found = score(metric, repeats[repeat])
            tally.close(f"{name}: {metric} on validation", row[f"metric_{metric}"].iloc[0], found, 0.02)


def folds(run: Folder, tally: Tally) -> None:
    """Means and standard deviations over folds, and that folds part train and validation."""
    table, metric = run.table("folds.csv"), f"metric_{run.metric}"
    done = table[table["state"] == "completed"]
    chosen = run.table("finalists.csv").drop_duplicates("backbone").set_index("backbone")
    for key, part in done.groupby("backbone"):
        told = chosen.loc[str(key)]
        tally.close(f"{key}: mean over folds", told["fold_mean"], part[metric].mean())
        tally.close(f"{key}: SD over folds", told["fold_sd"], part[metric].std(ddof=1))
        for _, split in run.tables_of("splits.csv"):
            used = int(split["split"].isin(["train", "val"]).sum())
            if len(part) == table["fold"].nunique():
                tally.same(f"{key}: images validated on over all folds", int(part["images_val"].sum()), used)
