"""The section on where the winner fails: the gap to validation, the surest errors, subgroups, altered images, maps."""

from typing import Any

import pandas as pd

from bench import numbers
from bench.report.blocks import Column, Section, table
from bench.report.figures import failures as figures_failures
from bench.report.page import Page
from bench.report.sections import subgroups as section_subgroups
from bench.report.tables import winner as tables_winner
from bench.stats.metrics import METRICS

TITLE = "Where it fails"

MOST_PICTURES = 24
MOST_ROWS = 50
MOST_KINDS = 6
MOST_MAPS = 12


def failures(page: Page) -> Section:
    """Where the winner fails, as far as the test split shows it."""
    return page.section(
        "failures",
        TITLE,
        evaluation=page.files.evaluation,
        gap=_gap,
        errors=_errors,
        subgroups=section_subgroups.subgroups,
        robustness=section_subgroups.robustness,
        saliency=_saliency,
    )


def _gap(page: Page) -> dict[str, Any]:
    """What validation promised and what the test split kept: by metric, where validation's scores are known."""
    assert page.files.evaluation is not None
    validation, test = page.files.evaluation.validation.metrics, page.files.chosen_scores
    rows = []
    for name, metric in METRICS.items():
        one, (value, low, high) = validation.get(name), test.get(name, (None, None, None))
        row = {"metric": metric.title, "test": value, "test_low": low, "test_high": high}
        if one is not None:
            row |= {"val": one.value, "val_low": one.low, "val_high": one.high}
            row["gap"] = None if one.value is None or value is None else one.value - value
        rows.append(row)
    columns = [
        Column("metric", "Metric", numeric=False),
        Column("val", "Validation", numbers.score, low="val_low", high="val_high"),
        Column("test", "Internal test", numbers.score, low="test_low", high="test_high"),
        Column("gap", "Validation − test", numbers.signed),
    ]
    known = any(row.get("val") is not None for row in rows)
    return {"validation": validation, "table": table(pd.DataFrame(rows), "", columns) if known else None}


def _errors(page: Page) -> dict[str, Any]:
    """The images of which the winner was surest and wrong: pictures, then a table."""
    rows = page.files.evaluated.failures
    if rows is None or not len(rows):
        return {"rows": rows}
    rows = rows.sort_values("rank", kind="stable").reset_index(drop=True)
    kinds = _kinds(page, rows)
    columns = [
        Column("rank", "Rank", numbers.count),
        Column("image", "Image", numeric=False),
        Column("patient", "Patient", numeric=False),
        Column("label", "Reference standard", numeric=False),
        Column("predicted", "Predicted", numeric=False),
        Column("confidence", "Probability of that", numbers.score),
        Column("probability_of_label", "Of the reference", numbers.score),
    ]
    return {
        "rows": rows,
        "kinds": kinds.head(MOST_KINDS),
        "more_kinds": len(kinds) > MOST_KINDS,
        "total": int(kinds["number"].sum()),
        "most": MOST_ROWS,
        "table": table(rows.head(MOST_ROWS), "", columns, sortable=True, folded=len(rows) > 12),
        **_gallery(page, rows),
    }


def _kinds(page: Page, rows: pd.DataFrame) -> pd.DataFrame:
    """All errors by kind, the commonest first, by the confusion matrix: failures.csv does not list every one.

    Where the matrix does not fit the classes, or holds fewer errors than failures.csv, those listed are counted.

    Returns:
        ``label``, ``predicted`` and ``number`` (of errors).
    """
    kinds = rows.groupby(["label", "predicted"]).size().rename("number").reset_index()
    try:
        counts = tables_winner.confusion(page.files.chosen_model, page.files.classes)[0]
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


def _gallery(page: Page, rows: pd.DataFrame) -> dict[str, Any]:
    """``shown``: the errors of which there is a picture; None where failures.npz is missing."""
    images = page.files.evaluated.failure_images
    if images is None:
        return {"shown": None}
    by_rank = rows[rows["rank"].notna()].set_index("rank")
    places = [place for place, rank in enumerate(images.ranks) if rank in by_rank.index][:MOST_PICTURES]
    shown = by_rank.loc[[images.ranks[place] for place in places]].reset_index()
    drawing = page.drawing("failures", figures_failures.errors, images.images[places], shown)
    return {"shown": shown, "copies": (shown["copies"] > 1).any(), "pictures": drawing}


def _saliency(page: Page) -> dict[str, Any]:
    """Saliency maps of right and wrong cases, with those by randomised weights beside them."""
    content, images = page.files.evaluated.saliency, page.files.evaluated.saliency_images
    if content is None:
        return {"content": None}
    whole = images is not None and images.maps is not None and images.randomised is not None
    shown = content.items[:MOST_MAPS]
    return {
        "content": content,
        "images": images if whole else None,
        "shown": shown,
        "copies": any((item.copies or 1) > 1 for item in shown),
        "drawing": page.drawing("saliency", figures_failures.saliency, images, [one.model_dump() for one in shown]),
    }
