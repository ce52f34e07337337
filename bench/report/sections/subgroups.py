"""The winner by groups of images: sizes, subtypes and columns of the manifest, each with its interval."""

from collections.abc import Iterable

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Finding, Findings, Missing, Paragraph, table
from bench.report.figures import subgroups as figures_subgroups
from bench.report.names import joined
from bench.report.page import Page
from bench.report.read.chosen import winner_scores
from bench.report.read.files import mapping

FEW = 30
"""Images below which a group is too small to be judged by."""

TITLES = {"auc": "ROC AUC", "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}
TITLES |= {"sensitivity": "Sensitivity", "specificity": "Specificity"}


def subgroups(page: Page) -> list[Block]:
    """What is too small to judge, a figure of the intervals, and a table of all groups."""
    blocks: list[Block] = [*page.problems("subgroups.csv")]
    rows = page.files.evaluated.subgroups
    if rows is None:
        return blocks
    if not len(rows):
        return [*blocks, Missing("subgroups.csv holds no group: neither the images nor the manifest gave one.")]
    more = ["patients", "reason", *(f"{name}{end}" for name in TITLES for end in ("", "_low", "_high"))]
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *more])))
    rows = rows.assign(warning=["fewer than 30 images" if small else "" for small in rows["small"]])
    shown = [name for name in TITLES if rows[name].notna().any()]
    blocks += [Paragraph(_lead(rows)), *_small(rows), *_figure(page, rows, shown)]
    columns = [
        Column("group", "Group", numeric=False),
        Column("value", "Value", numeric=False, below="warning"),
        Column("images", "Images", wording.count),
        Column("patients", "Patients", wording.count),
        *(Column(name, TITLES[name], wording.score, low=f"{name}_low", high=f"{name}_high") for name in shown),
        *([Column("reason", "Note", numeric=False)] if rows["reason"].notna().any() else []),
    ]
    level = wording.level(mapping(mapping(page.files.evaluation).get("bootstrap")).get("level"))
    caption = f"The winner by subgroup on the internal test, with {level} intervals by patients."
    return [*blocks, table(rows, f"{caption}{counting(page, shown)}", columns)]


def counting(page: Page, measures: Iterable[str]) -> str:
    """By which rule images were called for ``measures`` of subgroups, and where all test images go by another."""
    words = joined(TITLES[name].lower() for name in measures if name != "auc")
    threshold = wording.number(mapping(mapping(page.files.evaluation).get("threshold")).get("value"))
    if not words:
        return ""
    if len(page.files.classes) != 2 or threshold is None:
        return f" Counted by the most probable class, as for all test images: {words}."
    at = f" Counted at the frozen threshold ({wording.score(threshold)}): {words}."
    if "accuracy" not in words:
        return at
    return (
        f"{at} The accuracy and balanced accuracy of all test images count the most probable class instead, so do not "
        "compare them with these."
    )


def _lead(rows: pd.DataFrame) -> str:
    groups = joined(str(name) for name in rows["group"].drop_duplicates() if name != "all")
    if not groups:
        return "The images form no groups: all have one size and shape, and nothing else is known of them."
    return (
        f"Groups by {groups}. No group was chosen by its result, and none was tested against another: with so many "
        "looks, some group will look worse by luck alone. What a group suggests needs data of its own."
    )


def _small(rows: pd.DataFrame) -> list[Block]:
    few = rows[rows["small"]]
    if not len(few):
        return []
    told = joined(f"{row['group']} {row['value']} ({wording.count(row['images'])})" for _, row in few.iterrows())
    text = f"Fewer than {FEW} images, too few to judge by: {told}."
    return [Findings([Finding("Warning", "warning", "Small groups", text)])]


def _figure(page: Page, rows: pd.DataFrame, shown: list[str]) -> list[Block]:
    two = rows["sensitivity"].notna().any()
    wanted = ("auc", "sensitivity", "specificity") if two else ("auc", "balanced_accuracy", "accuracy")
    drawn = [name for name in wanted if name in shown]
    if not drawn:
        return []
    known = rows.dropna(subset=[drawn[0]])
    told = ""
    if len(known):
        worst = known.sort_values(drawn[0]).iloc[0]
        value = wording.with_interval(*(worst[f"{drawn[0]}{end}"] for end in ("", "_low", "_high")))
        told = f" Lowest {TITLES[drawn[0]]}: {worst['group']} {worst['value']}, {value}."
    overall = {name: _overall(page, name) for name in drawn}
    return [
        page.picture(
            "subgroups",
            lambda: figures_subgroups.forest(rows, {name: TITLES[name] for name in drawn}, overall),
            f"Each subgroup's {joined(TITLES[name] for name in drawn)} with its interval.{told}",
            f"Subgroups. Hollow: fewer than {FEW} images. The dashed line is the value on all test images."
            f"{counting(page, drawn)}",
        )
    ]


def _overall(page: Page, name: str) -> float | None:
    """The winner's value on all test images, of two classes that at the frozen threshold, where it depends on one."""
    points = page.files.evaluated.points
    if points is not None and len(page.files.classes) == 2:
        frozen = points[(points["point"] == "frozen") & (points["measure"] == name)]
        if len(frozen):
            return wording.number(frozen["value"].iloc[0])
    return wording.number(winner_scores(page.files).get(name, (None,))[0])
