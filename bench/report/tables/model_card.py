"""The tables of the model card: splits, scores with intervals, operating points and subgroups."""

from collections.abc import Sequence

import pandas as pd

from bench import numbers
from bench.report.blocks import Block, Column, Missing, Paragraph, Table, table
from bench.report.names import joined, metric_words
from bench.report.page import Page
from bench.report.read.chosen import winner_scores
from bench.report.sections import answers_data, answers_tested
from bench.report.sections import subgroups as section_subgroups
from bench.report.tables import data as tables_data
from bench.run.documents import Estimate
from bench.stats.metrics import METRICS

MOST_GROUPS = 30
"""Subgroups, or rows of operating points, that the card lists; the section of the report has them all."""

GROUP_MEASURES = ("auc", "balanced_accuracy", "sensitivity", "specificity")
"""Scores of subgroups in the card. Where a class is missing, one of the last two is all that can be said."""


def splits(page: Page) -> list[Table]:
    """A row a split; nothing where the files hold no numbers."""
    rows = tables_data.splits(answers_data.used(page))
    if not len(rows):
        return []
    columns = [
        Column("split", "Split", numeric=False),
        Column("images", "Images", numbers.count),
        Column("patients", "Patients", numbers.count),
    ]
    classes = tables_data.class_names(rows)
    if len(classes) > answers_data.MOST_CLASSES:
        return [table(rows, f"Images and patients by split, {len(classes)} classes in all.", columns)]
    columns += [Column(f"class {name}", name, numbers.count) for name in classes]
    return [table(rows, "Images and patients by split, and images by class.", columns)]


def metrics(page: Page) -> Sequence[Block]:
    """The winner's scores on test and validation, its operating points and its subgroups."""
    chosen = f"The search ranked by validation {metric_words(page.metric)}."
    if not winner_scores(page.files):
        why = page.problems("evaluation.json") or [Missing("evaluation.json holds no results of the winner.")]
        return [Paragraph(chosen), *why]
    how = answers_tested.interval_kind(page)
    blocks: list[Block] = [Paragraph(f"{chosen} {how}".rstrip()), _scores(page)]
    return [*blocks, *_points(page), *_groups(page)]


def _scores(page: Page) -> Table:
    validation = page.files.tested.validation.metrics
    rows = []
    for name, (value, low, high) in winner_scores(page.files).items():
        if name in METRICS:
            other = validation.get(name, Estimate())
            row = {"metric": METRICS[name].title, "test": value, "test_low": low, "test_high": high}
            rows.append(row | {"val": other.value, "val_low": other.low, "val_high": other.high})
    data = pd.DataFrame(rows, columns=["metric", "test", "test_low", "test_high", "val", "val_low", "val_high"])
    columns = [
        Column("metric", "Metric", numeric=False),
        Column("test", "Internal test", numbers.score, low="test_low", high="test_high"),
    ]
    if data["val"].notna().any():
        columns.append(Column("val", "Validation", numbers.score, low="val_low", high="val_high"))
    lower = joined(metric_words(METRICS[name]) for name in METRICS if not METRICS[name].higher_is_better)
    level = numbers.level(page.files.tested.bootstrap.level)
    caption = f"The winner’s scores with {level} intervals. Of {lower}, lower is better."
    return table(data, f"{caption} Brier score: {page.files.brier}.", columns)


def _points(page: Page) -> list[Table]:
    points = answers_tested.frozen_points(page)
    if not len(points):
        return []
    bounds = [answers_tested.bounds(page, row) for _, row in points.iterrows()]
    data = points.assign(
        measure=[answers_tested.measure(name) for name in points["measure"]],
        counts=[
            f"{numbers.count(hits)} of {numbers.count(of)}"
            for hits, of in zip(points["hits"], points["of"], strict=True)
        ],
        below=[low for low, _ in bounds],
        above=[high for _, high in bounds],
    )
    columns = [
        Column("class", "Class", numeric=False),
        Column("threshold", "Threshold", numbers.score),
        Column("measure", "Measure", numeric=False),
        Column("counts", "Images", numeric=False),
        Column("value", "Value", numbers.score, low="below", high="above"),
    ]
    point = answers_tested.POINTS.get(str(points["point"].iloc[0]), str(points["point"].iloc[0]))
    kind = answers_tested.kind_of_bounds(page)
    caption = f"Operating points on the internal test; threshold {point}; {kind}.{_first(len(data))}"
    return [table(data.head(MOST_GROUPS), caption, columns)]


def _groups(page: Page) -> list[Table]:
    groups = page.files.evaluated.subgroups
    if groups is None or not len(groups):
        return []
    data = groups.assign(
        which=groups["group"] + ": " + groups["value"],
        few=["below 30 images" if small else "" for small in groups["small"]],
    )
    shown = [name for name in GROUP_MEASURES if data[name].notna().any()]
    columns = [
        Column("which", "Subgroup", numeric=False, below="few"),
        Column("images", "Images", numbers.count),
        *(
            Column(name, section_subgroups.TITLES[name], numbers.score, low=f"{name}_low", high=f"{name}_high")
            for name in shown
        ),
        *([Column("reason", "Note", numeric=False)] if data["reason"].notna().any() else []),
    ]
    caption = f"Subgroups of the internal test.{section_subgroups.counting(page, shown)}{_first(len(data))}"
    return [table(data.head(MOST_GROUPS), caption, columns)]


def _first(rows: int) -> str:
    return f" The first {MOST_GROUPS} of {rows} rows; the report has all." if rows > MOST_GROUPS else ""
