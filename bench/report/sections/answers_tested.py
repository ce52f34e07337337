"""What a run says of the test split, in one sentence each; empty where the files that would say it are not there."""

from typing import Any

import pandas as pd

from bench import numbers
from bench.invocation import typed
from bench.numbers import counted
from bench.report import cautions, summary
from bench.report.names import backbone, joined, metric_words
from bench.report.page import Page
from bench.report.read import results
from bench.report.read.chosen import winner_model, winner_name, winner_scores
from bench.report.sections import answers_data, answers_model
from bench.run.documents import CalibrationScores
from bench.run.record import SplitRecord
from bench.stats.metrics import METRICS

MEASURES = {"ppv": "PPV", "npv": "NPV"}
"""Measures of an operating point that are not called as they are written."""

MOST_CLASSES = 4
"""Classes whose sensitivity and specificity a sentence gives."""

POINTS = {"frozen": "frozen on validation", "0.5": "0.5"}
"""Operating points in words."""


def size(page: Page) -> str:
    """How many images and patients the test split holds."""
    about = answers_data.used(page).get("test", SplitRecord())
    images = page.files.tested.images or about.images
    if not images and not about.model_fields_set:
        return ""
    patients = page.files.tested.patients or about.patients
    known = patients and not results.patients_assumed(page.files.audit)
    who = f" of {counted(patients, 'patient')}" if known else ""
    return f"The test split holds {counted(images, 'image')}{who}."


def interval_kind(page: Page) -> str:
    """How intervals and comparisons were made."""
    about = page.files.tested.bootstrap
    if not about.draws:
        return ""
    told = f"{numbers.level(about.level)} intervals by bootstrap, {numbers.count(about.draws)} draws of {about.unit}s"
    pairs = page.files.evaluated.comparisons
    if pairs is None or not len(pairs):
        return f"{told}."
    return f"{told}; {counted(len(pairs), 'paired comparison')} with p-values after Holm."


def measures(page: Page) -> str:
    """What was measured on test."""
    scores, found = winner_scores(page.files), page.files.evaluated
    if not scores:
        return ""
    told = [metric_words(METRICS[name]) for name in scores if name in METRICS]
    told += ["operating points"] if found.points is not None else []
    told += ["expected calibration error"] if found.calibration is not None else []
    told += ["net benefit"] if found.decision is not None else []
    return f"Ranked by validation {metric_words(page.metric)}; on test: {joined(told)}."


def performance(page: Page) -> str:
    """The winner's scores on test with their intervals."""
    told = [
        f"{metric_words(METRICS[name])} {numbers.with_interval(*values)}"
        for name, values in winner_scores(page.files).items()
        if name in METRICS and numbers.number(values[0]) is not None
    ]
    if not told:
        return ""
    images = page.files.tested.images
    where = "" if images is None else f" on {counted(images, 'image')}"
    return f"Internal test{where}, {backbone(winner_name(page.files))}: {joined(told)}."


def with_subgroups(page: Page) -> str:
    """The same, and how many subgroups were looked at."""
    told, groups = performance(page), page.files.evaluated.subgroups
    if not told or groups is None or not len(groups):
        return told
    return f"{told} By subgroup: {joined(dict.fromkeys(groups['group']))}."


def internal(page: Page) -> str:
    """That there was an internal test, and how often the split was opened."""
    if not winner_scores(page.files):
        return ""
    opened, ledger = len(page.files.tested.opened), page.files.tested.ledger
    times = "once" if opened == 1 else f"{opened} times"
    told = (ledger.sentence if ledger else "") or (f"This run opened it {times}." if opened else "")
    return f"{size(page)} {told}".strip()


def measure(name: Any) -> str:
    """A measure of an operating point in words."""
    return MEASURES.get(str(name), str(name))


def bounds(page: Page, row: "pd.Series[Any]") -> tuple[Any, Any]:
    """The interval of a row of operating_points.csv that leads, as in its own section; else the other.

    That by patients leads where a patient has several images, Wilson's where images are independent.
    """
    pairs = [(row.get("low"), row.get("high")), (row.get("wilson_low"), row.get("wilson_high"))]
    leading = pairs if several_images(page) else pairs[::-1]
    known = [pair for pair in leading if all(numbers.number(bound) is not None for bound in pair)]
    return known[0] if known else (None, None)


def kind_of_bounds(page: Page) -> str:
    """Which intervals `bounds` gives, in words."""
    by_patients = "intervals by patients, Wilson’s where there is none"
    return by_patients if several_images(page) else "Wilson’s intervals"


def several_images(page: Page) -> bool:
    """Whether some patient has more than one test image, so that images are not independent."""
    return page.files.tested.several_images_a_patient is True


def frozen_points(page: Page) -> pd.DataFrame:
    """The rows of operating_points.csv at the threshold that was fixed beforehand; else those at 0.5."""
    points = page.files.evaluated.points
    if points is None:
        return pd.DataFrame()
    frozen = points[points["point"] == "frozen"]
    return frozen if len(frozen) else points[points["point"] == "0.5"]


def diagnostic(page: Page) -> str:
    """Sensitivity and specificity at the frozen threshold."""
    points = frozen_points(page)
    if not len(points):
        return ""
    told, by_class = [], list(points.groupby("class", sort=False))
    for label, part in by_class[:MOST_CLASSES]:
        values = [
            f"{measure(row['measure'])} {numbers.with_interval(row['value'], *bounds(page, row))}"
            for _, row in part[part["measure"].isin(["sensitivity", "specificity"])].iterrows()
            if numbers.number(row["value"]) is not None
        ]
        if values:
            told.append(f"{label} at {numbers.score(part['threshold'].iloc[0])}: {joined(values)}")
    left_out = len(by_class) - MOST_CLASSES
    more = f"; {counted(left_out, 'more class', 'more classes')} in operating_points.csv" if left_out > 0 else ""
    return f"{'; '.join(told)} ({kind_of_bounds(page)}){more}." if told else ""


def output(page: Page) -> str:
    """What the model puts out, and how its threshold was found."""
    sources = [one for one in (page.files.evaluation, answers_model.card(page)) if one is not None]
    if not page.files.classes or not sources:
        return ""
    several = next((one.thresholds for one in sources if one.thresholds), ())
    known = [one for one in several or [one.threshold for one in sources] if one and one.value is not None]
    told = [
        f"{one.label} {numbers.score(one.value)}{f' ({one.rule})' if one.rule else ''}"
        for one in known[: 4 if several else 1]
    ]
    chosen = f"; threshold of {joined(told)}" if told else ""
    return f"Probabilities of {answers_data.class_names(page)}, and the most probable class{chosen}."


def calibration(page: Page) -> str:
    """What temperature scaling changed on test."""
    content = page.files.evaluated.calibration
    if content is None or content.temperature is None:
        return ""
    steps = content.splits.get("test", {})
    before, after = (steps.get(step, CalibrationScores()).ece for step in ("before", "after"))
    if before is None or after is None:
        return ""
    width = f" ({counted(content.bins, 'bin')})" if content.bins else ""
    return (
        f"Temperature {numbers.short(content.temperature)}, fitted on validation; expected calibration error on test "
        f"{numbers.score(before)} before, {numbers.score(after)} after{width}."
    )


def updating(page: Page) -> str:
    """That nothing was changed after the test."""
    if page.files.evaluation is None or not answers_model.card(page):
        return ""
    return "No updating after the test: temperature and threshold were fitted on validation and frozen before it."


def computing(page: Page) -> str:
    """How predictions were computed."""
    if page.files.predictions is None:
        return ""
    rows = counted(len(page.files.predictions), "row")
    return f"By the exported file, read back: predictions_test.csv ({rows}); “{typed('predict')}” does the same."


def robustness(page: Page) -> str:
    """How far altered images changed the winner's score."""
    table = page.files.evaluated.robustness
    if table is None:
        return ""
    altered = table[(table["corruption"] != "none") & table["auc_change"].notna()]
    if not len(altered):
        return ""
    worst = altered.sort_values("auc_change", kind="stable").iloc[0]
    unit = f" ({numbers.short(worst['level'])} {numbers.text(worst['unit'])})"
    kinds = counted(altered["corruption"].nunique(), "kind")
    return (
        f"{kinds} of altered images, {counted(len(altered), 'level')} in all; the worst change of ROC AUC is "
        f"{numbers.signed(worst['auc_change'])}, for {worst['corruption']}{unit}."
    )


def explaining(page: Page) -> str:
    """Which maps were made, and whether they passed the check."""
    about = page.files.evaluated.saliency
    if about is None or not about.method:
        return ""
    check = about.randomisation.sentence if about.randomisation else ""
    return f"{numbers.capital(about.method)} of {counted(len(about.items), 'image')}. {check}".rstrip()


def errors(page: Page) -> str:
    """How many test images the winner got wrong."""
    failures = page.files.evaluated.failures
    try:
        matrix = results.confusion(winner_model(page.files), page.files.classes)[0].to_numpy()
        wrong, total = int(matrix.sum() - matrix.trace()), int(matrix.sum())
    except ValueError:
        return ""
    if failures is None:
        return ""
    if not len(failures):
        return f"None of {counted(total, 'test image')} was classified wrongly."
    first = failures.sort_values("rank").iloc[0]
    label, predicted = numbers.text(first["label"]), numbers.text(first["predicted"])
    most = f"{label} taken for {predicted} at {numbers.percent(first['confidence'])}"
    return f"{numbers.count(wrong)} of {counted(total, 'test image')} wrong; first in failures.csv: {most}."


def limits(page: Page) -> str:
    """How many limits the report names itself."""
    files = page.files
    found = [banner.title.lower() for banner in summary.banners(files)]
    more = len(cautions.cautions(files))
    if files.trials is None or (not found and not more):
        return ""
    named = f", first of all: {joined(found)}" if found else ""
    return f"The summary names {counted(len(found) + more, 'thing')} to beware of{named}."
