"""The winner on test images that were recompressed, made noisy, brighter or darker, or turned a little."""

from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Missing, Paragraph, table
from bench.report.figures import subgroups as figures_subgroups
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.read.files import mapping

TITLES = {
    "none": "Clean images",
    "recompression": "Recompression",
    "noise": "Noise",
    "brightness": "Brightness",
    "rotation": "Rotation",
}
_SCORES = ("auc", "accuracy", "auc_change")


def robustness(page: Page) -> list[Block]:
    """What each alteration costs: a sentence, curves and a table."""
    blocks: list[Block] = [*page.problems("robustness.csv")]
    rows = page.files.evaluated.robustness
    if rows is None:
        return blocks
    more = ["unit", "images", "reason", *(f"{name}{end}" for name in _SCORES for end in ("", "_low", "_high"))]
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *more]))).dropna(subset=["corruption"])
    altered = rows[rows["corruption"] != "none"].reset_index(drop=True)
    if not len(altered):
        return [*blocks, Missing("robustness.csv holds no altered images.")]
    rows = rows.assign(
        title=[TITLES.get(str(name), str(name)) for name in rows["corruption"]],
        how=[_level(*pair) for pair in zip(rows["level"], rows["unit"], strict=True)],
        below=rows["unit"].fillna(""),
        change=[
            wording.signed_interval(*pair) for pair in zip(rows["auc_change_low"], rows["auc_change_high"], strict=True)
        ],
    )
    clean = rows[rows["corruption"] == "none"]
    told = _worst(rows[rows["corruption"] != "none"])
    level = wording.level(mapping(mapping(page.files.evaluation).get("bootstrap")).get("level"))
    columns = [
        Column("title", "Alteration", numeric=False),
        Column("level", "Level", wording.short, below="below"),
        Column("images", "Images", wording.count),
        Column("auc", "ROC AUC", wording.score, low="auc_low", high="auc_high"),
        Column("accuracy", "Accuracy", wording.score, low="accuracy_low", high="accuracy_high"),
        Column("auc_change", "Change in ROC AUC", wording.signed, below="change"),
    ]
    values = {name: clean[name].iloc[0] if len(clean) else None for name in ("auc", "accuracy")}
    return [
        *blocks,
        Paragraph(f"{_which(page, rows)} altered in ways that should change no diagnosis, and scored again. {told}"),
        *_reasons(rows),
        page.picture(
            "robustness",
            lambda: figures_subgroups.robustness(altered, TITLES, values),
            f"ROC AUC and accuracy by the level of each alteration. {told}",
            f"Robustness: scores on altered test images with their {level} bands. A model that a little noise or "
            "another compression upsets has learned something of the file, not of the patient.",
        ),
        table(rows, f"Scores on altered test images with {level} intervals; changes are paired.", columns),
    ]


def _which(page: Page, rows: pd.DataFrame) -> str:
    """How many of the test images were altered."""
    altered, images = rows["images"].max(), wording.number(mapping(page.files.evaluation).get("images"))
    if images is None or not altered < images:
        return "The test images were"
    return f"{wording.count(altered)} of the {wording.count(images)} test images, with whole patients, were"


def _reasons(rows: pd.DataFrame) -> list[Missing]:
    """Why scores or intervals are not there, once each."""
    told = dict.fromkeys(str(reason).rstrip(".") for reason in rows["reason"] if present(reason))
    return [Missing(f"{reason[:1].upper()}{reason[1:]}.") for reason in told]


def _level(level: Any, unit: Any) -> str:
    amount = wording.number(level)
    if amount is None:
        return ""
    return f"{wording.short(amount)} ({unit})" if present(unit) else wording.short(amount)


def _worst(rows: pd.DataFrame) -> str:
    """The largest loss, and whether any loss is beyond chance."""
    known = rows.dropna(subset=["auc_change"])
    if not len(known):
        return ""
    worst = known.sort_values("auc_change").iloc[0]
    if round(float(worst["auc_change"]), 3) >= 0:
        return "No alteration lowers ROC AUC."
    bounds = f" ({worst['change']})" if worst["change"] else ""
    said = (
        f"The costliest is {str(worst['title']).lower()} at {worst['how']}: ROC AUC changes by "
        f"{wording.signed(worst['auc_change'])}{bounds}."
    )
    beyond = known[known["auc_change_high"] < 0]
    kinds = joined(str(name).lower() for name in beyond["title"].drop_duplicates())
    return (
        f"{said} Its loss lies beyond its interval for {kinds}."
        if kinds
        else f"{said} No loss lies beyond its interval."
    )
