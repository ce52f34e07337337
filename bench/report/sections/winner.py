"""The section on the chosen model on test: confusion, curves, operating points, decision curve, calibration."""

import pandas as pd

from bench import numbers
from bench.report.blocks import Column, Section, Table, table
from bench.report.figures import winner as figures_winner
from bench.report.page import Page
from bench.report.sections import operating as section_operating
from bench.report.tables import winner as tables_winner
from bench.report.templating import Values
from bench.run.documents import Bin, CalibrationRecord, CalibrationScores, ModelScores

TITLE = "The chosen model on the internal test"

SPLITS = {"val": "validation", "test": "internal test"}
STEPS = ("before", "after")
HARDLY = 0.05
"""A temperature this near to 1 says nothing of how sure the model is."""

BIN = tuple(Bin.model_fields)


def winner(page: Page) -> Section:
    """What the winner did with the test images."""
    model = page.files.chosen_model
    values: Values = {"model": model, "winner": page.files.chosen}
    if model is not None:
        values |= _confusion(page, model) | {"report": _report(page, model), "curves": _curves}
        values |= {"points": section_operating.points, "prevalences": section_operating.prevalences}
        values |= {"decision": section_operating.decision, "calibration": _calibration}
    return page.section("winner", TITLE, **values)


def _confusion(page: Page, model: ModelScores) -> Values:
    """The confusion matrix, or how it does not fit the classes."""
    try:
        counts, rates = tables_winner.confusion(model, page.files.classes)
    except ValueError as error:
        return {"counts": None, "misfit": error}
    pairs = [(row, column) for row in counts.index for column in counts.columns]
    return {
        "counts": counts,
        "rates": rates,
        "wrong": [(row, column) for row, column in pairs if row != column and counts.loc[row, column]],
        "confusion": page.drawing("confusion", figures_winner.confusion, counts, rates),
    }


def _report(page: Page, model: ModelScores) -> Table:
    columns = [
        Column("label", "Class", numeric=False),
        Column("precision", "Precision", numbers.score),
        Column("recall", "Recall", numbers.score),
        Column("f1", "F1", numbers.score),
        Column("auc", "ROC AUC (one-vs-rest)", numbers.score, low="auc_low", high="auc_high"),
        Column("support", "Images", numbers.count),
    ]
    return table(tables_winner.classification_report(model, page.files.classes), "", columns)


def _curves(page: Page) -> Values:
    """ROC curve, and precision by recall, or how the predictions do not fit the classes; empty without predictions."""
    files, model = page.files, page.files.chosen_model
    if files.predictions is None or model is None:
        return {}
    try:
        roc, by_recall = tables_winner.curves(files.predictions, files.classes)
    except ValueError as error:
        return {"misfit": error}
    point = tables_winner.operating_point(model, files.classes)
    points, bands = [("as in the confusion matrix", *point)] if point else [], _bands(page)
    drawing = page.drawing("roc", figures_winner.curves, roc, by_recall, bands, points)
    return {"misfit": "", "roc": roc, "by_recall": by_recall, "bands": bands, "drawing": drawing}


def _bands(page: Page) -> pd.DataFrame:
    """The bands of the winner's curves; no row where there are none."""
    found = page.files.evaluated.curves
    columns = ["class", "curve", "x", "low", "high"]
    if found is None:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(("x", "low", "high"), "float64"))
    return found[found["model"] == page.files.chosen][columns].dropna(subset=["x", "low", "high"])


def _calibration(page: Page) -> Values:
    """The temperature, ECE, Brier score and log loss before and after, and the reliability diagram on test."""
    content = page.files.evaluated.calibration
    if content is None:
        return {"content": None}
    rows = [
        {"split": title, "step": step, **content.splits.get(split, {}).get(step, CalibrationScores()).model_dump()}
        for split, title in SPLITS.items()
        for step in STEPS
    ]
    columns = [
        Column("split", "Split", numeric=False),
        Column("step", "Temperature scaling", numeric=False),
        Column("ece", f"ECE ({content.bins} bins)" if content.bins else "ECE", numbers.score),
        Column("brier", "Brier score", numbers.score),
        Column("log_loss", "Log loss", numbers.score),
    ]
    bins = reliability(content)
    after = bins[bins["step"] == "after"]
    return {
        "content": content,
        "splits": SPLITS,
        "hardly": HARDLY,
        "table": table(pd.DataFrame(rows), "", columns),
        "bins": bins,
        "farthest": after.loc[(after["observed"] - after["predicted"]).abs().nlargest(1).index],
        "drawing": page.drawing("reliability", figures_winner.reliability, bins),
    }


def reliability(content: CalibrationRecord, split: str = "test") -> pd.DataFrame:
    """One row per bin: ``step`` (before, after), ``class`` and each of ``BIN``; bins without an image are left out."""
    rows = [
        {"step": step, "class": label, **one.model_dump()}
        for step in STEPS
        for label, bins in content.splits.get(split, {}).get(step, CalibrationScores()).reliability.items()
        for one in bins
        if one.images and one.predicted is not None and one.observed is not None
    ]
    return pd.DataFrame(rows, columns=["step", "class", *BIN]).astype(dict.fromkeys(BIN, "float64"))
