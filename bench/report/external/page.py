"""The folder of an external test -> report.html, one self-contained page in the look of a run's report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench import __version__, numbers
from bench.report.blocks import MOST_LISTED, Html, Section, Table, pairs, section, table
from bench.report.figures import external as figures_external
from bench.report.figures import failures as figures_failures
from bench.report.figures import winner as figures_winner
from bench.report.finish import finished
from bench.report.guard import guarded
from bench.report.names import MEASURES, joined
from bench.report.page import Drawing
from bench.report.read.reading import Problems, document
from bench.report.summary import Banner, Tile, as_tiles
from bench.report.tables.models import bounded
from bench.report.tables.winner import agreement_cells
from bench.report.templating import Sentences, Values, filled, macro
from bench.run import tables
from bench.run.documents import (
    AuditRecord,
    CalibrationRecord,
    ConformalRecord,
    Estimate,
    ExternalRecord,
    SampleDifference,
    SampleScores,
)
from bench.run.folder import RunDir, write_page
from bench.run.record import read_strictly
from bench.stats.metrics import METRICS

SIDES = {"external": "External", "internal": "Internal test"}
STEPS = {"before": "the model’s own", "after": "after the frozen map"}
SUBGROUP_MEASURES = {"auc": "ROC AUC", "sensitivity": "Sensitivity", "specificity": "Specificity"}
SUBGROUP_MEASURES |= {"balanced_accuracy": "Balanced accuracy", "accuracy": "Accuracy"}
MOST_RATES = 8
"""Sensitivities and specificities that the forest plot shows."""
SEVERITIES = {"stop": "Stop", "warning": "Warning", "note": "Note", "good": "Good"}
SHARES = {
    "patients_covered": "Patients of whom every image’s prediction set holds its class",
    "covered": "Images whose prediction set holds their class",
    "single": "Images with a single answer",
    "right": "Of these, images of that class",
}
"""Fields of `ConformalRecord` in words."""


@dataclass(frozen=True)
class ExternalPage:
    """What the page is made from.

    Attributes:
        folder: of the test.
        record: external.json.
        problems: what could not be read of the files beside it.
    """

    folder: Path
    record: ExternalRecord
    problems: Problems

    @property
    def classes(self) -> list[str]:
        """Of the model."""
        return list(self.record.model.classes)

    @property
    def level(self) -> str:
        """Of the intervals, in words."""
        return numbers.level(self.record.bootstrap.level)

    @cached_property
    def main(self) -> SampleDifference:
        """The measure of the first sentence: ROC AUC, or accuracy where a class is missing."""
        found = {one.measure: one for one in self.record.differences}
        auc = found.get("auc", SampleDifference())
        return auc if auc.external.value is not None else found.get("accuracy", auc)

    @cached_property
    def audit(self) -> AuditRecord | None:
        """What was found in the data."""
        return document(AuditRecord, RunDir(self.folder).audit, self.problems)

    @cached_property
    def calibration(self) -> CalibrationRecord | None:
        """Agreement of probabilities with what was observed, of both sides."""
        return document(CalibrationRecord, RunDir(self.folder).calibration, self.problems)

    @property
    def rates(self) -> list[SampleDifference]:
        """Sensitivity and specificity at the frozen thresholds."""
        return [one for one in self.record.differences if one.label]

    @property
    def told_rates(self) -> list[SampleDifference]:
        """The same for sentences and tiles; of several classes there are too many, and the table has them."""
        return self.rates if len({one.label for one in self.rates}) == 1 else []

    def rows(self, schema: tables.Schema) -> pd.DataFrame:
        """A table of the folder; no row where it is missing."""
        try:
            return schema.read_leniently(self.folder)[0]
        except OSError:
            return schema.frame([])

    def title(self, one: SampleDifference) -> str:
        """A measure in words."""
        name = METRICS[one.measure].title if one.measure in METRICS else MEASURES.get(one.measure, one.measure)
        return f"{name} for {one.label}, frozen threshold" if one.label else name

    def drawing(self, name: str, draw: Callable[..., Figure], *data: Any) -> Drawing:
        """The figure that ``draw`` makes of ``data``, for a template."""
        return Drawing(self.folder / "figures", name, partial(draw, *data))


def render_external(folder: Path) -> Path:
    """Write report.html, and its figures to figures/, from the files of an external test; return the page's path.

    Raises:
        ConfigError: if the folder holds no external.json that can be read.
        OSError: likewise.
    """
    page = ExternalPage(folder, read_strictly(ExternalRecord, folder / "external.json"), {})
    say = Sentences("external.txt.j2", page=page, record=page.record)
    sections: dict[str, tuple[str, Callable[[ExternalPage], Values]]] = {
        "compared": ("External and internal test", _compared),
        "curves": ("ROC curves", _curves),
        "confusion": ("Confusion matrix and operating points", _confusion),
        "calibration": ("Calibration", _calibration),
        "sets": ("Prediction sets, and images unlike the training images", _sets),
        "subgroups": ("Subgroups", _subgroups),
        "data": ("The external data", _data),
        "excluded": ("What was excluded", _excluded),
        "made": ("How it was made", _made),
    }
    headline = say("headline")
    html = filled(
        "external.html.j2",
        name=page.record.name,
        record=page.record,
        headline=headline,
        banners=[Banner("Of the model", text) for text in page.record.model.notes[1:]],
        tiles=guarded(lambda: _tiles(page, say), lambda _: [], "The tiles could not be written."),
        forest=guarded(lambda: _forest(page, say), lambda _: None, "The forest plot could not be drawn."),
        story=guarded(lambda: say.each("story"), lambda why: [why], "The summary could not be written."),
        cautions=guarded(lambda: say.each("cautions"), lambda why: [why], "The cautions could not be written."),
        sections=[_section(page, anchor, *about) for anchor, about in sections.items()],
        suite=page.record.suite_version or __version__,
    )
    path = RunDir(folder).report
    write_page(path, finished(html, [*page.classes, *page.record.data.classes]))
    return path


def _section(page: ExternalPage, anchor: str, title: str, build: Callable[[ExternalPage], Values]) -> Section:
    """The section that the macro ``anchor`` makes of what ``build`` returns."""

    def built() -> Section:
        return Section(anchor, title, [Html(macro("external", anchor, build(page), page))])

    return section(anchor, title, built)


def _tiles(page: ExternalPage, say: Sentences) -> list[Tile]:
    return as_tiles(say.each("tiles", page.main, page.told_rates, _slope(page)))


def _slope(page: ExternalPage) -> tuple[str, Estimate, Estimate] | None:
    """Class, intercept and slope of the external calibrated probabilities, of the class that misses most."""
    content = page.calibration
    found = content.splits.get("external", {}).get("after") if content else None
    if found is None:
        return None
    known = [(name, one.intercept, one.slope) for name, one in found.agreement.items() if one.slope.value is not None]
    return max(known, key=lambda one: abs((one[2].value or 1.0) - 1), default=None)


def _forest(page: ExternalPage, say: Sentences) -> Any:
    wanted = ("auc",) if page.rates else ("auc", "balanced_accuracy", "accuracy")
    chosen = [one for one in page.record.differences if one.measure in wanted] + page.rates[:MOST_RATES]
    rows = []
    for one in chosen:
        name = page.title(one) if not one.label else MEASURES[one.measure]
        of = f" for {one.label}" if len({rate.label for rate in page.rates}) > 1 and one.label else ""
        for side in ("external", "internal"):
            estimate = getattr(one, side)
            if estimate.value is not None:
                title = f"{name}{of}, {side}"
                rows.append({"title": title, "side": side, **bounded("value", estimate)})
    if not rows:
        return None
    frame = pd.DataFrame(rows).astype(dict.fromkeys(("value", "value_low", "value_high"), "float64"))
    alt, caption = say("forest_alt", rows), say("forest_caption")
    return page.drawing("forest", figures_external.forest, frame).picture(alt, caption)


def _compared(page: ExternalPage) -> Values:
    """Every measure on both sides, and the differences."""
    rows = []
    for one in page.record.differences:
        row: dict[str, Any] = {"title": page.title(one), **bounded("external", one.external)}
        row |= bounded("internal", one.internal) | {"difference": one.difference.value, "p": one.p}
        row["bounds"] = numbers.signed_interval(one.difference.low, one.difference.high)
        rows.append(row | {"note": one.reason or one.external.reason or None})
    frame = pd.DataFrame(rows)
    marked = [
        bool(text) and not _crosses(one) for text, one in zip(frame["bounds"], page.record.differences, strict=True)
    ]
    return {"table": table("external_differences", frame, marked=marked)}


def _crosses(one: SampleDifference) -> bool:
    low, high = one.difference.low, one.difference.high
    return low is None or high is None or low <= 0 <= high


def _curves(page: ExternalPage) -> Values:
    rows = page.rows(tables.CURVES)
    rows = rows[rows["curve"] == "roc"]
    banded = rows["class"].nunique() == 1 and bool(rows.loc[rows["model"] == "external", "low"].notna().any())
    drawing = page.drawing("roc", figures_external.roc, rows)
    return {"rows": rows, "drawing": drawing, "sides": _auc_of_sides(page), "band": banded}


def _auc_of_sides(page: ExternalPage) -> list[tuple[str, Estimate]]:
    found = next((one for one in page.record.differences if one.measure == "auc"), SampleDifference())
    return [(side, one) for side in SIDES if (one := getattr(found, side)).value is not None]


def _confusion(page: ExternalPage) -> Values:
    """The external confusion matrix at the frozen threshold, and the table of operating points."""
    counts = pd.DataFrame(
        np.asarray(page.record.external.called, dtype="float64"), index=page.classes, columns=page.classes
    )
    totals = counts.sum(axis=1)
    rates = counts.div(totals.where(totals > 0), axis=0)
    points = page.rows(tables.OPERATING_POINTS)
    return {
        "counts": counts,
        "rates": rates,
        "frozen": _frozen(page),
        "drawing": page.drawing("confusion", figures_winner.confusion, counts, rates),
        "table": _points(page, points) if len(points) else None,
        "reasons": _reasons(points),
    }


def _points(page: ExternalPage, points: pd.DataFrame) -> Table:
    rows = points.assign(
        operating=[
            f"frozen, {numbers.score(at)}" if point == "frozen" else str(point)
            for point, at in zip(points["point"], points["threshold"], strict=True)
        ],
        title=[MEASURES.get(str(name), str(name)) for name in points["measure"]],
        counted=[
            f"{numbers.count(hits)} / {numbers.count(of)}"
            for hits, of in zip(points["hits"], points["of"], strict=True)
        ],
        wilson=[numbers.interval(*ends) for ends in zip(points["wilson_low"], points["wilson_high"], strict=True)],
        patients=[numbers.interval(*ends) for ends in zip(points["low"], points["high"], strict=True)],
    )
    frozen = rows["point"] == "frozen"
    rows = pd.concat([rows[frozen], rows[~frozen]])
    shown = rows if rows["class"].nunique() > 1 else rows.drop(columns="class")
    return table("external_points", shown, marked=rows["point"] == "frozen", level=page.level)


def _reasons(points: pd.DataFrame) -> list[tuple[str, str]]:
    """Which measures have no value or no interval, in words, and why."""
    found = []
    for (label, point, reason), part in points.dropna(subset=["reason"]).groupby(
        ["class", "point", "reason"], sort=False
    ):
        if reason:
            names = joined(MEASURES.get(str(name), str(name)) for name in part["measure"])
            at = "at the frozen threshold" if point == "frozen" else f"at {point}"
            found.append((f"{names} for {label} {at}", str(reason)))
    return found


def _calibration(page: ExternalPage) -> Values:
    """Intercept and slope of both sides, and the reliability of calibrated probabilities."""
    content = page.calibration or CalibrationRecord()
    agreed: list[dict[str, Any]] = []
    bins: list[dict[str, Any]] = []
    for side, title in SIDES.items():
        for step, words in STEPS.items():
            scores = content.splits.get(side, {}).get(step)
            if scores is None or (step == "before" and content.map is None):
                continue
            for label, one in scores.agreement.items():
                step_title = f"{title}, {words if content.map else STEPS['before']}"
                agreed.append({"class": label, "step": step_title, **agreement_cells(one)})
            if step == "after":
                for label, held in scores.reliability.items():
                    bins += [{"step": side, "class": label, **one.model_dump()} for one in held if one.images]
    frame = pd.DataFrame(bins)
    sides = {side: title for side, title in SIDES.items() if side in content.splits}
    drawing = None
    if len(frame):
        figure = partial(figures_winner.reliability, titles=sides)
        drawing = page.drawing(
            "reliability", figure, frame.astype({"predicted": "float64", "low": "float64", "high": "float64"})
        )
    return {
        "table": table("agreement", pd.DataFrame(agreed)) if agreed else None,
        "widened": any("widened" in row["slope bounds"] for row in agreed),
        "map": content.map,
        "judged": "the calibrated probabilities" if content.map else "the model’s own probabilities",
        "drawing": drawing,
        "scores": {side: content.splits[side]["after"] for side in sides if "after" in content.splits[side]},
    }


def _sets(page: ExternalPage) -> Values:
    """Coverage and single answers of prediction sets, and the share of images unlike the training images."""
    external, internal = page.record.external, page.record.internal or SampleScores()
    rows = []
    for name, what in SHARES.items():
        if external.conformal is not None:
            row: dict[str, Any] = {"what": what}
            for side, sample in (("external", external), ("internal", internal)):
                row |= _share(side, getattr(sample.conformal or ConformalRecord(), name))
            rows.append(row)
    if external.unlike is not None:
        rows.append(
            {"what": "Images unlike the training images", **_share("external", external.unlike), "internal_below": ""}
        )
    return {
        "found": external.conformal,
        "unlike": external.unlike,
        "table": table("external_sets", pd.DataFrame(rows)) if rows else None,
    }


def _share(side: str, share: Any) -> dict[str, Any]:
    bounds = f"{numbers.percent(share.low)} to {numbers.percent(share.high)}" if share.of else ""
    below = f"{numbers.count(share.hits)} of {numbers.count(share.of)}; {bounds}" if share.of else ""
    return {side: share.value, f"{side}_below": below}


def _subgroups(page: ExternalPage) -> Values:
    rows = page.rows(tables.SUBGROUPS)
    if not len(rows):
        return {"rows": rows}
    rows = rows.assign(warning=["few images" if small else "" for small in rows["small"]])
    shown = {name: title for name, title in SUBGROUP_MEASURES.items() if rows[name].notna().any()}
    drawn = dict(list(shown.items())[:3])
    overall = {name: _overall(page, name) for name in drawn}
    return {
        "rows": rows,
        "names": joined(rows["group"].drop_duplicates()),
        "table": table("subgroups", rows, measures=shown),
        "drawing": page.drawing("subgroups", figures_failures.forest, rows, drawn, overall) if drawn else None,
        "titles": list(drawn.values()),
        "overall": all(value is not None for value in overall.values()),
        "frozen": _frozen(page),
    }


def _overall(page: ExternalPage, name: str) -> float | None:
    """The value on all external images."""
    found = [one for one in page.record.differences if one.measure == name]
    positive = page.classes[-1:] if len(page.classes) == 2 else []
    rated = [one for one in found if not one.label or one.label in positive]
    return rated[0].external.value if rated else None


def _frozen(page: ExternalPage) -> bool:
    """Whether images are called by a frozen threshold, not by the most probable class."""
    return bool(page.record.model.thresholds) and len(page.classes) == 2


def _data(page: ExternalPage) -> Values:
    """Where the images come from, what their classes are, and what the audit found."""
    data, audit = page.record.data, page.audit or AuditRecord()
    rows = [
        {"theirs": theirs, "ours": ours or "left out", "images": data.found.get(theirs, 0)}
        for theirs, ours in data.classes.items()
    ]
    return {
        "data": data,
        "classes": table("external_classes", pd.DataFrame(rows)),
        "renamed": any(theirs != ours for theirs, ours in data.classes.items()),
        "findings": [one for one in audit.findings if one.text],
        "layout": audit.layout.text if audit.layout else "",
        "severities": SEVERITIES,
        "most": MOST_LISTED,
    }


def _excluded(page: ExternalPage) -> Values:
    rows = [
        {"reason": one.reason, "images": one.images, "files": _first(one.files, one.images)}
        for one in page.record.excluded
    ]
    return {"table": table("external_excluded", pd.DataFrame(rows)) if rows else None}


def _first(files: Sequence[str], total: int) -> str:
    more = [f"… and {total - len(files):,} more"] if total > len(files) else []
    return "\n".join([*files, *more])


def _made(page: ExternalPage) -> Values:
    """What is frozen, and where it comes from."""
    record, model = page.record, page.record.model
    thresholds = {f"Threshold for {one.label}": f"{numbers.score(one.value)} ({one.rule})" for one in model.thresholds}
    facts = {
        "Model": model.path,
        "SHA-256 of the model": model.sha256,
        "Run": model.run,
        "Backbone": model.backbone,
        "Suite that made the model": model.suite_version,
        **thresholds,
        "Data": record.data.path,
        "Fingerprint of the data": record.data.fingerprint,
        "Patients": record.data.patient_rule,
        "Bootstrap": f"{numbers.count(record.bootstrap.draws)} draws of patients on each side",
        "Tested": numbers.moment(record.created),
        "Suite": record.suite_version,
    }
    known = {name: value for name, value in facts.items() if value}
    return {"facts": pairs(known, "", "What", "Value"), "map": model.calibration, "command": record.command}
