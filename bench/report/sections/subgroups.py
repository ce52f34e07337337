"""The winner by groups of images, and on images that were recompressed, made noisy, brighter or darker, or turned."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from bench import numbers
from bench.report.blocks import Column, table
from bench.report.figures import failures as figures_failures
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.templating import sentence

FEW = 30
"""Images below which a group is too small to be judged by."""

TITLES = {"auc": "ROC AUC", "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}
TITLES |= {"sensitivity": "Sensitivity", "specificity": "Specificity"}

ALTERATIONS = {
    "none": "Clean images",
    "recompression": "Recompression",
    "noise": "Noise",
    "brightness": "Brightness",
    "rotation": "Rotation",
}


def subgroups(page: Page) -> dict[str, Any]:
    """A figure of the intervals, and a table of all groups."""
    rows = page.files.evaluated.subgroups
    if rows is None or not len(rows):
        return {"rows": rows}
    rows = rows.assign(warning=[f"fewer than {FEW} images" if small else "" for small in rows["small"]])
    shown = [name for name in TITLES if rows[name].notna().any()]
    columns = [
        Column("group", "Group", numeric=False),
        Column("value", "Value", numeric=False, below="warning"),
        Column("images", "Images", numbers.count),
        Column("patients", "Patients", numbers.count),
        *(Column(name, TITLES[name], numbers.score, low=f"{name}_low", high=f"{name}_high") for name in shown),
        *([Column("reason", "Note", numeric=False)] if rows["reason"].notna().any() else []),
    ]
    found = {"rows": rows, "table": table(rows, "", columns), "few": FEW, "counting": counting(page, shown)}
    return found | _forest(page, rows, shown)


ENDS = ("", "_low", "_high")


def _forest(page: Page, rows: pd.DataFrame, shown: list[str]) -> dict[str, Any]:
    """The figure, and the group of the lowest score."""
    two = rows["sensitivity"].notna().any()
    wanted = ("auc", "sensitivity", "specificity") if two else ("auc", "balanced_accuracy", "accuracy")
    drawn = [name for name in wanted if name in shown]
    if not drawn:
        return {"drawn": None}
    first = drawn[0]
    lowest = rows.dropna(subset=[first]).sort_values(first).head(1)
    titles, overall = {name: TITLES[name] for name in drawn}, {name: _overall(page, name) for name in drawn}
    return {
        "drawn": page.drawing("subgroups", figures_failures.forest, rows, titles, overall),
        "lowest": lowest.assign(score=[numbers.with_interval(*lowest[[f"{first}{end}" for end in ENDS]].iloc[0])]),
        "titles": list(titles.values()),
        "counting_drawn": counting(page, drawn),
    }


def counting(page: Page, measures: Iterable[str]) -> str:
    """By which rule images were called for ``measures`` of subgroups, and where all test images go by another."""
    words = joined(TITLES[name].lower() for name in measures if name != "auc")
    threshold = page.threshold if len(page.files.classes) == 2 else None
    said = sentence("counting.txt.j2", measures=words, threshold=threshold)
    return f" {said}" if said else ""


def _overall(page: Page, name: str) -> float | None:
    """The winner's value on all test images, of two classes that at the frozen threshold, where it depends on one."""
    points = page.files.evaluated.points
    if points is not None and len(page.files.classes) == 2:
        frozen = points[(points["point"] == "frozen") & (points["measure"] == name)]
        if len(frozen):
            return numbers.number(frozen["value"].iloc[0])
    return numbers.number(page.files.chosen_scores.get(name, (None,))[0])


def robustness(page: Page) -> dict[str, Any]:
    """What each alteration costs: curves, a table, and the costliest."""
    rows = page.files.evaluated.robustness
    if rows is None:
        return {"rows": rows}
    altered = rows[rows["corruption"] != "none"].reset_index(drop=True)
    clean = rows[rows["corruption"] == "none"]
    values = {name: clean[name].iloc[0] if len(clean) else None for name in ("auc", "accuracy")}
    rows = rows.assign(
        title=[ALTERATIONS.get(str(name), str(name)) for name in rows["corruption"]],
        below=rows["unit"].fillna(""),
        change=[
            numbers.signed_interval(*pair) for pair in zip(rows["auc_change_low"], rows["auc_change_high"], strict=True)
        ],
    )
    columns = [
        Column("title", "Alteration", numeric=False),
        Column("level", "Level", numbers.short, below="below"),
        Column("images", "Images", numbers.count),
        Column("auc", "ROC AUC", numbers.score, low="auc_low", high="auc_high"),
        Column("accuracy", "Accuracy", numbers.score, low="accuracy_low", high="accuracy_high"),
        Column("auc_change", "Change in ROC AUC", numbers.signed, below="change"),
    ]
    changed = rows[(rows["corruption"] != "none") & rows["auc_change"].notna()].sort_values("auc_change")
    beyond = rows[(rows["corruption"] != "none") & rows["auc_change"].notna() & (rows["auc_change_high"] < 0)]
    return {
        "rows": altered,
        "most": rows["images"].max(),
        "reasons": dict.fromkeys(str(one).rstrip(".") for one in rows["reason"] if present(one)),
        "costliest": next(iter(changed.to_dict("records")), None),
        "lowers": len(changed) and round(float(changed["auc_change"].iloc[0]), 3) < 0,
        "beyond": [str(name).lower() for name in beyond["title"].drop_duplicates()],
        "drawing": page.drawing("robustness", figures_failures.robustness, altered, ALTERATIONS, values),
        "table": table(rows, "", columns),
    }
