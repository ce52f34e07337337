"""audit.json and splits.csv -> DataFrames of the data: splits, images that take no part, duplicates, classes."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.report.names import DASH, joined
from bench.report.read.files import listed, mapping
from bench.report.wording import number, text

Frame = pd.DataFrame

FIVE = ("min", "q1", "median", "q3", "max")
MEASURES = ("width", "height", "aspect", "bytes", "bytes_per_pixel")
MOST_FILES = 6
"""Files of one group of duplicates that the page names."""
NO_REASON = "no reason is given"


def splits(parts: dict[str, Any]) -> Frame:
    """A row a split: ``split``, ``images``, ``patients``, ``class NAME`` and ``share NAME`` (of the split's images).

    ``imbalance`` is the largest class over the smallest, None where one has no image.
    """
    contents = {split: mapping(part) for split, part in parts.items()}
    classes = list(dict.fromkeys(name for part in contents.values() for name in mapping(part.get("classes"))))
    rows = []
    for split, part in contents.items():
        counts = {name: number(mapping(part.get("classes")).get(name)) for name in classes}
        known = [count or 0.0 for count in counts.values()]
        total = sum(known)
        rows.append(
            {"split": split, "images": number(part.get("images")), "patients": number(part.get("patients"))}
            | {f"class {name}": count for name, count in counts.items()}
            | {f"share {name}": (count or 0) / total if total else None for name, count in counts.items()}
            | {"imbalance": max(known) / min(known) if known and min(known) > 0 else None}
        )
    return Frame(rows)


def class_names(table: Frame) -> list[str]:
    """The classes of a table that ``splits`` or ``no_part`` made."""
    return [str(name).removeprefix("class ") for name in table.columns if str(name).startswith("class ")]


def by_class(summaries: dict[str, Any]) -> Frame:
    """A row a class: ``class``, ``images``, each of ``MEASURES`` with each of ``FIVE``, ``modes`` and ``formats``.

    The columns are called ``width_median`` and so on; a summary that is not whole is NaN.
    """
    rows = []
    for name, content in summaries.items():
        about = mapping(content)
        row: dict[str, Any] = {"class": name, "images": number(about.get("images"))}
        for measure in MEASURES:
            values = [number(value) for value in listed(about.get(measure))]
            whole = len(values) == len(FIVE) and None not in values
            row |= {f"{measure}_{key}": values[place] if whole else None for place, key in enumerate(FIVE)}
        rows.append(row | {"modes": mapping(about.get("modes")), "formats": mapping(about.get("formats"))})
    numbers = [f"{measure}_{key}" for measure in MEASURES for key in FIVE]
    table = Frame(rows, columns=["class", "images", *numbers, "modes", "formats"])
    return table.astype(dict.fromkeys(numbers, "float64"))


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
    """A row a reason for which images of splits.csv are in no split: ``reason``, ``images`` and ``class NAME``.

    What stands behind a colon tells of one image, and is not looked at. Empty where every image takes part.
    """
    out = table[table["split"].isna()]
    if not len(out) or "reason" not in out:
        return Frame(columns=["reason", "images"])
    reason = out["reason"].fillna(NO_REASON).astype("str").str.split(": ").str[0]
    counts = pd.crosstab(reason, out["label"].astype("str"))
    counts = counts.reindex(reason.value_counts(sort=True).index)
    shown = counts.rename(columns={name: f"class {name}" for name in counts.columns})
    shown.insert(0, "images", counts.sum(axis=1))
    return shown.rename_axis(index="reason", columns=None).reset_index()


def left_out(entries: Sequence[dict[str, Any]]) -> Frame:
    """The same of what the audit could not decode, by kind of problem."""
    table = Frame({"split": None, "label": entry.get("label"), "reason": entry.get("kind")} for entry in entries)
    return no_part(table.fillna({"label": DASH})) if len(table) else Frame(columns=["reason", "images"])


def duplicates(groups: Sequence[dict[str, Any]]) -> Frame:
    """A row a group of duplicates, the gravest first.

    Returns:
        ``kind``, ``conflict`` and ``crossing`` (bool), ``images`` (count), ``files`` (a line each, up to MOST_FILES),
        ``labels``, ``splits``.
    """
    rows = []
    for group in groups:
        images = [mapping(image) for image in listed(group.get("images"))]
        labels = dict.fromkeys(text(image.get("label")) for image in images)
        places = dict.fromkeys(text(image.get("split")) for image in images)
        conflict, crossing = group.get("labels_conflict") is True, group.get("across_splits") is True
        files = [text(image.get("file")) for image in images]
        more = [f"and {len(files) - MOST_FILES} more"] if len(files) > MOST_FILES else []
        distance = number(group.get("distance"))
        apart = f", {distance:.0f} bits apart" if distance else ""
        rows.append(
            {
                "kind": f"{text(group.get('kind'))}{apart}",
                "conflict": conflict,
                "crossing": crossing,
                "images": len(images),
                "files": "\n".join([*files[:MOST_FILES], *more]),
                "labels": f"{'Conflict: ' if conflict else ''}{joined(labels)}",
                "splits": f"{'Crosses: ' if crossing else ''}{joined(places)}",
            }
        )
    table = Frame(rows, columns=["kind", "conflict", "crossing", "images", "files", "labels", "splits"])
    return table.sort_values(["conflict", "crossing"], ascending=False, kind="stable").reset_index(drop=True)
