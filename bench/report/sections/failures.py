"""The section on where the winner fails: the gap to validation, the surest errors, and parts of other modules."""

from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Missing, Paragraph, Section, Table, table
from bench.report.figures import failures as figures_failures
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.read import results
from bench.report.read.chosen import winner_model, winner_scores
from bench.report.read.files import mapping
from bench.report.sections import robustness as section_robustness
from bench.report.sections import saliency as section_saliency
from bench.report.sections import subgroups as section_subgroups
from bench.stats.metrics import METRICS

TITLE = "Where it fails"

MOST_PICTURES = 24
MOST_ROWS = 50
MOST_KINDS = 6


def fails(page: Page) -> Section:
    """Where the winner fails, as far as the test split shows it."""
    if page.files.evaluation is None:
        return Section("failures", TITLE, page.problems("evaluation.json"))
    blocks = page.part("From validation to test", gap)
    blocks += page.part("The most confident errors", errors)
    blocks += page.part("Subgroups", section_subgroups.subgroups)
    blocks += page.part("Altered images", section_robustness.robustness)
    blocks += page.part("Where the model looks", section_saliency.saliency)
    return Section("failures", TITLE, blocks)


def gap(page: Page) -> list[Block]:
    """What validation promised and what the test split kept, in a sentence and by metric."""
    evaluation = mapping(page.files.evaluation)
    about, validation = mapping(evaluation.get("gap")), mapping(mapping(evaluation.get("validation")).get("metrics"))
    if not about and not validation:
        return [Missing("The gap between validation and test is not known: evaluation.json does not say it.")]
    blocks: list[Block] = []
    if present(about.get("sentence")):
        blocks.append(Paragraph(str(about["sentence"])))
    elif wording.number(about.get("difference")) is not None:
        bounds = wording.signed_interval(about.get("low"), about.get("high"))
        told = f"Validation minus test: {wording.signed(about['difference'])}{f' ({bounds})' if bounds else ''}."
        blocks.append(Paragraph(told))
    return [*blocks, *_side_by_side(page, validation)]


def _side_by_side(page: Page, validation: dict[str, Any]) -> list[Table]:
    test, rows = winner_scores(page.files), []
    for name, metric in METRICS.items():
        one = mapping(validation.get(name))
        value, low, high = test.get(name, (None, None, None))
        row = {"metric": metric.title, "val": one.get("value"), "val_low": one.get("low"), "val_high": one.get("high")}
        row |= {"test": value, "test_low": low, "test_high": high}
        known = wording.number(row["val"]), wording.number(value)
        rows.append({**row, "gap": None if None in known else known[0] - known[1]})  # type: ignore[operator]
    if all(row["val"] is None for row in rows):
        return []
    columns = [
        Column("metric", "Metric", numeric=False),
        Column("val", "Validation", wording.score, low="val_low", high="val_high"),
        Column("test", "Internal test", wording.score, low="test_low", high="test_high"),
        Column("gap", "Validation − test", wording.signed),
    ]
    caption = (
        "The winner on both splits, with intervals. Validation chose the configuration, the epoch and the winner, and "
        "so flatters; the test split chose nothing. For log loss and Brier score, lower is better. "
        f"Brier score: {page.files.brier}."
    )
    return [table(pd.DataFrame(rows, dtype="object"), caption, columns)]


def errors(page: Page) -> list[Block]:
    """The images of which the winner was surest and wrong: pictures, then a table."""
    blocks: list[Block] = [*page.problems("failures.csv")]
    rows = page.files.evaluated.failures
    if rows is None:
        return blocks
    if not len(rows):
        if not wording.number(mapping(page.files.evaluation).get("images")):
            return [*blocks, Missing("The test split holds no image, so there is no error to show.")]
        return [*blocks, Paragraph("The winner made no error on the test images.")]
    rows = rows.sort_values("rank", kind="stable").reset_index(drop=True)
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, "patient", "probability_of_label"])))
    kinds = _kinds(page, rows)
    total = int(kinds["number"].sum())
    blocks += [Paragraph(_lead(kinds, total, len(rows))), *_gallery(page, rows)]
    columns = [
        Column("rank", "Rank", wording.count),
        Column("image", "Image", numeric=False),
        Column("patient", "Patient", numeric=False),
        Column("label", "Reference standard", numeric=False),
        Column("predicted", "Predicted", numeric=False),
        Column("confidence", "Probability of that", wording.score),
        Column("probability_of_label", "Of the reference", wording.score),
    ]
    caption = f"Errors on the internal test, the most confident first.{_left_out(total, len(rows))}"
    return [*blocks, table(rows.head(MOST_ROWS), caption, columns, sortable=True, folded=len(rows) > 12)]


def _kinds(page: Page, rows: pd.DataFrame) -> pd.DataFrame:
    """All errors by kind, the commonest first, by the confusion matrix: failures.csv does not list every one.

    Where the matrix does not fit the classes, or holds fewer errors than failures.csv, those listed are counted.

    Returns:
        ``label``, ``predicted`` and ``number`` (of errors).
    """
    kinds = rows.groupby(["label", "predicted"]).size().rename("number").reset_index()
    try:
        counts = results.confusion(winner_model(page.files), page.files.classes)[0]
    except ValueError:
        counts = pd.DataFrame()
    found = [
        (label, predicted, number)
        for label, row in counts.iterrows()
        for predicted, number in row.items()
        if number and label != predicted
    ]
    counted = pd.DataFrame(found, columns=["label", "predicted", "number"])
    if counted["number"].sum() >= len(rows):
        kinds = counted
    return kinds.sort_values("number", ascending=False, kind="stable").reset_index(drop=True)


def _lead(kinds: pd.DataFrame, total: int, listed: int) -> str:
    """How many errors there are, of which kinds, and how many of them failures.csv lists."""
    told = joined(
        f"{wording.count(row['number'])} of {row['label']} taken for {row['predicted']}"
        for _, row in kinds.head(MOST_KINDS).iterrows()
    )
    among = "the commonest of them " if len(kinds) > MOST_KINDS else ""
    where = "them all" if listed >= total else f"the {wording.count(listed)} most confident"
    return (
        f"The winner made {wording.counted(total, 'error')} on the test images, {among}{told}; failures.csv lists "
        f"{where}. An error made with confidence is worth a look: it may be a hard case, a wrong label or a feature of "
        "the image that has nothing to do with the disease."
    )


def _left_out(total: int, listed: int) -> str:
    """How many errors the table shows and where the others are; empty where it shows all."""
    shown = min(listed, MOST_ROWS)
    if shown >= total:
        return ""
    told = f" These are the first {shown} of {wording.count(total)}; failures.csv lists"
    if listed >= total:
        return f"{told} all."
    return f"{told} the first {wording.count(listed)}, and predictions_test.csv has every image."


def _on_copies(shown: pd.DataFrame) -> str:
    """What a number behind a class means, where there is one."""
    if "copies" not in shown or not (shown["copies"] > 1).any():
        return ""
    return " Identical images are shown once, with the number of errors on them (×)."


def _gallery(page: Page, rows: pd.DataFrame) -> list[Block]:
    images = page.files.evaluated.failure_images
    if images is None:
        return [*page.problems("failures.npz")]
    by_rank = rows[rows["rank"].notna()].set_index("rank")
    places = [place for place, rank in enumerate(images.ranks) if rank in by_rank.index][:MOST_PICTURES]
    if not places:
        return [Missing("failures.npz holds no image of an error in failures.csv.")]
    shown = by_rank.loc[[images.ranks[place] for place in places]].reset_index()
    told = "; ".join(
        f"{row['image']}: {row['label']} taken for {row['predicted']} with {wording.score(row['confidence'])}"
        for _, row in shown.head(6).iterrows()
    )
    return [
        page.picture(
            "failures",
            lambda: figures_failures.errors(images.images[places], shown),
            f"The {len(places)} most confident errors as images. The first: {told}.",
            "The most confident errors, as the model saw them. Above each: its rank and the reference standard, then "
            f"the predicted class with its probability.{_on_copies(shown)}",
        )
    ]
