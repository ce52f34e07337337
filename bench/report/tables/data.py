"""audit.json and splits.csv -> DataFrames of the data: splits, images that take no part, duplicates, classes."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.numbers import DASH, number, text
from bench.report.names import joined
from bench.run.documents import ClassDistribution, DuplicateSet, Excluded
from bench.run.record import SplitRecord

Frame = pd.DataFrame

FIVE = ("min", "q1", "median", "q3", "max")
MEASURES = ("width", "height", "aspect", "bytes", "bytes_per_pixel")
NEARLY = "nearly the same"
"""What audit.json says of an image that no alteration parts from the first of its set."""
MOST_FILES = 6
"""Files of one group of duplicates that the page names."""

NO_REASON = "no reason is given"


def splits(parts: Mapping[str, SplitRecord]) -> Frame:
    """One row per split: ``split``, ``images``, ``patients``, ``class NAME`` and ``share NAME`` (of its images).

    ``imbalance`` is the largest class over the smallest, None where one has no image.
    """
    classes = list(dict.fromkeys(name for part in parts.values() for name in part.classes))
    rows = []
    for split, part in parts.items():
        counts = {name: number(part.classes.get(name)) for name in classes}
        known = [count or 0 for count in counts.values()]
        total = sum(known)
        rows.append(
            {"split": split, "images": number(part.images), "patients": number(part.patients)}
            | {f"class {name}": count for name, count in counts.items()}
            | {f"share {name}": (count or 0) / total if total else None for name, count in counts.items()}
            | {"imbalance": max(known) / min(known) if known and min(known) > 0 else None}
        )
    return Frame(rows)


def class_names(table: Frame) -> list[str]:
    """The classes of a table that ``splits`` or ``no_part`` made."""
    return [str(name).removeprefix("class ") for name in table.columns if str(name).startswith("class ")]


def by_class(summaries: Mapping[str, ClassDistribution]) -> Frame:
    """One row per class: ``class``, ``images``, each of ``MEASURES`` with each of ``FIVE``, ``modes`` and ``formats``.

    The columns are called ``width_median`` and so on; a summary that is not whole is NaN.
    """
    rows = []
    for name, about in summaries.items():
        row: dict[str, object] = {"class": name, "images": about.images}
        for measure in MEASURES:
            values = getattr(about, measure)
            whole = len(values) == len(FIVE) and None not in values
            row |= {f"{measure}_{key}": values[place] if whole else None for place, key in enumerate(FIVE)}
        rows.append(row | {"modes": about.modes, "formats": about.formats})
    quartiles = [f"{measure}_{key}" for measure in MEASURES for key in FIVE]
    table = Frame(rows, columns=["class", "images", *quartiles, "modes", "formats"])
    return table.astype(dict.fromkeys(quartiles, "float64"))


def varying(table: Frame, measures: Sequence[str]) -> list[str]:
    """Those of ``measures`` of which not every image has the same value."""
    ranges = {name: (table[f"{name}_min"].min(), table[f"{name}_max"].max()) for name in measures}
    return [name for name, (low, high) in ranges.items() if low < high]


def one_size(table: Frame) -> tuple[float, float] | None:
    """Width and height in pixels where all images have the same, else None."""
    if varying(table, ["width", "height"]) or table[["width_min", "height_min"]].isna().to_numpy().any():
        return None
    return (float(table["width_min"].iloc[0]), float(table["height_min"].iloc[0])) if len(table) else None


def no_part(table: Frame) -> Frame:
    """One row per reason for which images of splits.csv are in no split: ``reason``, ``images`` and ``class NAME``.

    What stands behind a colon tells of one image, and is ignored. Empty where every image takes part.
    """
    out = table[table["split"].isna()]
    if not len(out):
        return Frame(columns=["reason", "images"])
    reason = out["reason"].fillna(NO_REASON).astype("str").str.split(": ").str[0]
    counts = pd.crosstab(reason, out["label"].astype("str"))
    counts = counts.reindex(reason.value_counts(sort=True).index)
    shown = counts.rename(columns={name: f"class {name}" for name in counts.columns})
    shown.insert(0, "images", counts.sum(axis=1))
    return shown.rename_axis(index="reason", columns=None).reset_index()


def left_out(entries: Sequence[Excluded]) -> Frame:
    """The same of what the audit could not decode, by kind of problem."""
    rows = [{"split": None, "label": one.label or DASH, "reason": one.kind or None} for one in entries]
    return no_part(Frame(rows, columns=["split", "label", "reason"]))


def duplicates(groups: Sequence[DuplicateSet]) -> Frame:
    """One row per group of duplicates, the most severe first.

    Returns:
        ``kind``, ``conflict`` and ``crossing`` (bool), ``images`` (count), ``files`` (one per line, up to MOST_FILES),
        each altered one with what it is of the first), ``labels``, ``splits``.
    """
    rows = []
    for group in groups:
        labels = dict.fromkeys(text(image.label) for image in group.images)
        places = dict.fromkeys(text(image.split) for image in group.images)
        conflict, crossing = group.labels_conflict, group.across_splits
        files = [f"{text(image.file)}{f' ({image.change})' * bool(image.change)}" for image in group.images]
        more = [f"and {len(files) - MOST_FILES} more"] if len(files) > MOST_FILES else []
        apart = f", {group.distance} bits apart" if group.distance else ""
        rows.append(
            {
                "kind": f"{text(group.kind)}{apart}",
                "conflict": conflict,
                "crossing": crossing,
                "images": len(files),
                "files": "\n".join([*files[:MOST_FILES], *more]),
                "labels": f"{'Conflict: ' if conflict else ''}{joined(labels)}",
                "splits": f"{'Crosses: ' if crossing else ''}{joined(places)}",
            }
        )
    table = Frame(rows, columns=["kind", "conflict", "crossing", "images", "files", "labels", "splits"])
    return table.sort_values(["conflict", "crossing"], ascending=False, kind="stable").reset_index(drop=True)


def change(group: DuplicateSet) -> str:
    """What the first altered image of a set of copies is of the first image, or that it nearly is the same."""
    changes = [one.change for one in group.images if one.change]
    return next((one for one in changes if one != NEARLY), NEARLY)


def without_patient(splits: pd.DataFrame | None) -> int:
    """Of how many images of the splits nobody knows the patient."""
    return 0 if splits is None else int((splits["split"].notna() & splits["patient"].isna()).sum())


def shared_patients(splits: Frame | None, patient: str = "patient") -> int:
    """How many patients have images in more than one split; 0 is how it should be.

    Images without a split take no part. ``patient`` is the column that names the patients.
    """
    if splits is None:
        return 0
    known = splits.dropna(subset=[patient, "split"])
    return int((known.groupby(patient)["split"].nunique() > 1).sum())
