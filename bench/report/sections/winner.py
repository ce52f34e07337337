"""The section on the chosen model on test: confusion, curves, classification report, then parts of other modules."""

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Missing, Paragraph, Section, Table, table
from bench.report.figures import results as figures_results
from bench.report.names import backbone, joined
from bench.report.page import Page
from bench.report.read import results
from bench.report.read.chosen import winner_model, winner_name
from bench.report.read.files import mapping
from bench.report.sections import calibration as section_calibration
from bench.report.sections import operating as section_operating
from bench.report.sections.tested import refusals
from bench.report.wording import counted
from bench.run.documents import ModelScores

TITLE = "The chosen model on the internal test"


def winner(page: Page) -> Section:
    """What the winner did with the test images."""
    files, model = page.files, winner_model(page.files)
    if not model:
        why = page.problems("evaluation.json") or [Missing("evaluation.json holds no results of the winner.")]
        return Section("winner", TITLE, why)
    blocks: list[Block] = [*refusals(mapping(files.evaluation)), *_recalls(page, model)]
    blocks += [*_threshold(page), _confusion(page, model), *_curves(page, model)]
    blocks.append(_report(page, model))
    blocks += page.part("Operating points", section_operating.points)
    blocks += page.part("At other prevalences", section_operating.prevalences)
    blocks += page.part("Decision curve", section_operating.decision)
    blocks += page.part("Calibration", section_calibration.calibration)
    return Section("winner", TITLE, blocks)


def _report(page: Page, model: ModelScores) -> Table:
    report = results.classification_report(model, page.files.classes)
    columns = [
        Column("label", "Class", numeric=False),
        Column("precision", "Precision", wording.score),
        Column("recall", "Recall", wording.score),
        Column("f1", "F1", wording.score),
        Column("auc", "ROC AUC (one-vs-rest)", wording.score, low="auc_low", high="auc_high"),
        Column("support", "Images", wording.count),
    ]
    caption = (
        "Classification report, counted under the most probable class. Precision depends on how common a class is: "
        "where it is rarer, precision falls."
    )
    return table(report, caption, columns)


def _recalls(page: Page, model: ModelScores) -> list[Block]:
    classes = page.files.classes
    try:
        counts, rates = results.confusion(model, classes)
    except ValueError:
        return []
    told = joined(
        f"{wording.count(counts.loc[label, label])} of {counted(counts.loc[label].sum(), 'image')} of {label} "
        f"({wording.percent(rates.loc[label, label])})"
        for label in classes
    )
    return [Paragraph(f"By the reference standard, {backbone(winner_name(page.files))} recognised {told}.")]


def _threshold(page: Page) -> list[Block]:
    """How images were counted, what is kept with the model, and the temperature where no other part tells it."""
    evaluation = mapping(page.files.evaluation)
    threshold, temperature = mapping(evaluation.get("threshold")), wording.number(evaluation.get("temperature"))
    told = []
    if wording.number(threshold.get("value")) is not None:
        rule = f" ({threshold['rule']})" if threshold.get("rule") else ""
        value = wording.score(threshold["value"])
        told.append(
            f"The confusion matrix counts each image under its most probable class. A threshold of {value} for "
            f"{wording.text(threshold.get('class'))}{rule} is kept with the model for other uses."
        )
    if temperature is not None and page.files.evaluated.calibration is None:
        told.append(f"Calibration divides the logits by a temperature of {wording.short(temperature)}.")
    return [Paragraph(" ".join(told))] if told else []


def _confusion(page: Page, model: ModelScores) -> Block:
    try:
        counts, rates = results.confusion(model, page.files.classes)
    except ValueError as error:
        return Missing(f"The confusion matrix is left out: {error}.")
    wrong = [
        f"{wording.count(counts.loc[row, column])} of {row} taken for {column}"
        for row in counts.index
        for column in counts.columns
        if row != column and counts.loc[row, column]
    ]
    return page.picture(
        "confusion",
        lambda: figures_results.confusion(counts, rates),
        f"Confusion matrix. Errors: {joined(wrong[:12])}." if wrong else "Confusion matrix without a single error.",
        "Confusion matrix. Rows are the reference standard, columns the predicted class; the darker, the larger the "
        "share of the row.",
    )


def _curves(page: Page, model: ModelScores) -> list[Block]:
    files = page.files
    if files.predictions is None:
        return [*page.problems("predictions_test.csv")]
    try:
        roc = results.roc(files.predictions, files.classes)
        by_recall = results.precision_recall(files.predictions, files.classes)
    except ValueError as error:
        return [Missing(f"The ROC curve is left out: {error}.")]
    areas = roc.drop_duplicates("label")
    told = joined(f"{row['label']} {wording.score(row['auc'])}" for _, row in areas.iterrows())
    precise = by_recall.drop_duplicates("label")
    told_too = joined(f"{row['label']} {wording.score(row['area'])}" for _, row in precise.iterrows())
    point = results.operating_point(model, files.classes)
    points = [("as in the confusion matrix", *point)] if point else []
    bands = _bands(page)
    several = " Each curve is one class against all others." if len(files.classes) > 2 else ""
    level = wording.level(mapping(mapping(files.evaluation).get("bootstrap")).get("level"))
    shaded = (
        f" Shaded: the {level} interval at each place of the horizontal axis, by bootstrap draws of patients."
        if len(bands)
        else ""
    )
    figure = page.picture(
        "roc",
        lambda: figures_results.curves(roc, by_recall, bands, points),
        f"Left, ROC curve of the winner on the internal test; area under the curve: {told}. Right, precision by "
        f"recall; area: {told_too}.",
        f"ROC curve, and precision by recall, on the internal test.{several}{shaded}",
    )
    return [figure, *page.problems("curves.csv")]


def _bands(page: Page) -> pd.DataFrame:
    """The bands of the winner's curves; no row where there are none."""
    found = page.files.evaluated.curves
    columns = ["class", "curve", "x", "low", "high"]
    if found is None:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(("x", "low", "high"), "float64"))
    found = found[found["model"] == winner_name(page.files)].reindex(columns=columns)
    return found.dropna(subset=["x", "low", "high"])
