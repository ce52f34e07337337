"""Whether the winner's probabilities mean what they say, before and after temperature scaling."""

from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Missing, Paragraph, Table, table
from bench.report.figures import calibration as figures_calibration
from bench.report.names import joined
from bench.report.page import Page
from bench.report.read.files import listed, mapping

SPLITS = {"val": "validation", "test": "internal test"}
STEPS = {"before": "before", "after": "after"}
HARDLY = 0.05
"""A temperature this near to 1 says nothing of how sure the model is."""
BIN = ("from", "to", "images", "predicted", "observed", "low", "high")


def reliability(content: dict[str, Any], split: str = "test") -> pd.DataFrame:
    """A row a bin: ``step`` (before, after), ``class`` and each of ``BIN``; bins without an image are left out."""
    rows = []
    for step in STEPS:
        part = mapping(mapping(mapping(content.get("splits")).get(split)).get(step))
        for label, bins in mapping(part.get("reliability")).items():
            for one in map(mapping, listed(bins)):
                values = {name: wording.number(one.get(name)) for name in BIN}
                if values["images"] and values["predicted"] is not None and values["observed"] is not None:
                    rows.append({"step": step, "class": label, **values})
    return pd.DataFrame(rows, columns=["step", "class", *BIN]).astype(dict.fromkeys(BIN, "float64"))


def calibration(page: Page) -> list[Block]:
    """The temperature, ECE, Brier score and log loss before and after, and the reliability diagram on test."""
    known = page.files.evaluated.calibration
    content = None if known is None else mapping(known)
    blocks: list[Block] = [*page.problems("calibration.json")]
    if content is None:
        return blocks
    bins = reliability(content)
    return [*blocks, Paragraph(_temperature(content)), _scores(page, content), _diagram(page, content, bins)]


def _temperature(content: dict[str, Any]) -> str:
    temperature, fitted = wording.number(content.get("temperature")), mapping(content.get("fitted_on"))
    if temperature is None:
        return "calibration.json holds no temperature."
    if abs(temperature - 1) <= HARDLY:
        meaning = "the probabilities hardly change"
    elif temperature > 1:
        meaning = "the model was too sure of itself, and its probabilities are drawn towards each other"
    else:
        meaning = "the model was too timid, and its probabilities are driven apart"
    images = wording.number(fitted.get("images"))
    many = f" ({wording.counted(images, 'image')})" if images else ""
    where = SPLITS.get(str(fitted.get("split")), "validation")
    return (
        f"Calibration divides the logits by a temperature of {wording.short(temperature)}, fitted on "
        f"{where}{many}: {meaning}. It changes no image's most probable class. best_model.json holds it."
    )


def _scores(page: Page, content: dict[str, Any]) -> Table:
    rows = []
    for split, title in SPLITS.items():
        for step in STEPS:
            part = mapping(mapping(mapping(content.get("splits")).get(split)).get(step))
            rows.append(
                {"split": title, "step": step} | {name: part.get(name) for name in ("ece", "brier", "log_loss")}
            )
    bins = wording.number(content.get("bins"))
    columns = [
        Column("split", "Split", numeric=False),
        Column("step", "Temperature scaling", numeric=False),
        Column("ece", f"ECE{f' ({bins:.0f} bins)' if bins else ''}", wording.score),
        Column("brier", "Brier score", wording.score),
        Column("log_loss", "Log loss", wording.score),
    ]
    caption = (
        "Calibration before and after temperature scaling; of all three, lower is better. The expected calibration "
        "error (ECE) stands without an interval, because resampling biases it. The temperature was fitted on "
        f"validation, so the test rows alone judge it. Brier score: {page.files.brier}."
    )
    return table(pd.DataFrame(rows), caption, columns)


def _diagram(page: Page, content: dict[str, Any], bins: pd.DataFrame) -> Block:
    if not len(bins):
        return Missing("calibration.json holds no bins of the test split, so there is no reliability diagram.")
    after = bins[bins["step"] == "after"]
    worst = after.assign(off=(after["observed"] - after["predicted"]).abs()).nlargest(1, "off")
    told = joined(
        f"{row['class']}: of {wording.counted(row['images'], 'image')} predicted {wording.score(row['predicted'])} on "
        f"average, {wording.score(row['observed'])} are of the class"
        for _, row in worst.iterrows()
    )
    return page.picture(
        "reliability",
        lambda: figures_calibration.reliability(bins),
        "Reliability diagram of the test split before and after temperature scaling."
        + (f" Farthest from the diagonal afterwards: {told}." if told else ""),
        "Reliability diagram on the internal test: the share of images of the class by the probability predicted. On "
        "the diagonal, probabilities mean what they say; the larger a dot, the more images. Bars are intervals of the "
        "share.",
    )
