"""The section on the winner's results on test: confusion, ROC and classification report."""

from typing import Any

from bench.report import figures_results, results, wording
from bench.report.blocks import Block, Column, Missing, Paragraph, Section, table
from bench.report.files import mapping
from bench.report.names import backbone, joined
from bench.report.page import Page
from bench.report.summary import winner_model, winner_name
from bench.report.wording import counted

TITLE = "The winner on the internal test"


def winner(page: Page) -> Section:
    """What the winner did with the test images."""
    files, model = page.files, winner_model(page.files)
    if not model:
        why = page.problems("evaluation.json") or [Missing("evaluation.json holds no results of the winner.")]
        return Section("winner", TITLE, why)
    blocks: list[Block] = [*_recalls(page, model), *_threshold(mapping(files.evaluation))]
    blocks += [_confusion(page, model), *_roc(page, model)]
    report = results.classification_report(model, files.classes)
    columns = [
        Column("label", "Class", numeric=False),
        Column("precision", "Precision", wording.score),
        Column("recall", "Recall", wording.score),
        Column("f1", "F1", wording.score),
        Column("auc", "ROC AUC (one-vs-rest)", wording.score),
        Column("support", "Images", wording.count),
    ]
    caption = "Classification report. Precision depends on how common a class is: where it is rarer, precision falls."
    return Section("winner", TITLE, [*blocks, table(report, caption, columns)])


def _recalls(page: Page, model: dict[str, Any]) -> list[Block]:
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


def _threshold(evaluation: dict[str, Any]) -> list[Block]:
    threshold, temperature = mapping(evaluation.get("threshold")), wording.number(evaluation.get("temperature"))
    told = []
    if wording.number(threshold.get("value")) is not None:
        rule = f" ({threshold['rule']})" if threshold.get("rule") else ""
        value = wording.score(threshold["value"])
        told.append(
            f"The confusion matrix counts each image under its most probable class. A threshold of {value} for "
            f"{wording.text(threshold.get('class'))}{rule} is kept with the model for other uses."
        )
    if temperature is not None:
        told.append(f"Calibration divides the logits by a temperature of {wording.short(temperature)}.")
    return [Paragraph(" ".join(told))] if told else []


def _confusion(page: Page, model: dict[str, Any]) -> Block:
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


def _roc(page: Page, model: dict[str, Any]) -> list[Block]:
    files = page.files
    if files.predictions is None:
        return [*page.problems("predictions_test.csv")]
    try:
        curves = results.roc(files.predictions, files.classes)
    except ValueError as error:
        return [Missing(f"The ROC curve is left out: {error}.")]
    areas = curves.drop_duplicates("label")
    told = joined(f"{row['label']} {wording.score(row['auc'])}" for _, row in areas.iterrows())
    point = results.operating_point(model, files.classes)
    several = " Each curve is one class against all others." if len(files.classes) > 2 else ""
    return [
        page.picture(
            "roc",
            lambda: figures_results.roc(curves, point),
            f"ROC curve of the winner on the internal test; area under the curve: {told}.",
            f"ROC curve on the internal test.{several}",
        )
    ]
