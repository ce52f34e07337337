"""The first screen: the numbers that a reader came for, the models beside each other, and what was looked at.

The verdict above it is `bench.report.verdict`'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench import numbers
from bench.report import summary
from bench.report.answers import Facts
from bench.report.blocks import Missing, Picture
from bench.report.figures import comparison as figures_comparison
from bench.report.page import Page
from bench.report.read.files import RunFiles
from bench.report.sections.comparison import UNDRAWN, scores_on_test
from bench.report.summary import Tile, as_tiles, counts
from bench.report.tables import data as tables_data
from bench.report.templating import paragraphs, sentence
from bench.report.verdict import Rival, Verdict, verdict
from bench.run.documents import AuditRecord, CalibrationRecord
from bench.stats.metrics import METRICS

WORDS = {"good": "OK", "caution": "Caution", "problem": "Problem", "unknown": "Not checked"}
"""What the colour of a light means."""


@dataclass(frozen=True)
class Rate:
    """Sensitivity or specificity where the threshold was frozen, class by class.

    Attributes:
        name: ``sensitivity`` or ``specificity``.
        frozen: whether the threshold was frozen on validation; else it is 0.5.
        rows: of operating_points.csv, with ``bounds``.
    """

    name: str
    frozen: bool
    rows: list[dict[Any, Any]]

    @property
    def mean(self) -> float:
        """The mean over the classes."""
        return float(np.mean([row["value"] for row in self.rows]))

    @property
    def worst(self) -> dict[Any, Any]:
        """The row of the class with the lowest value."""
        return min(self.rows, key=lambda row: float(row["value"]))


@dataclass(frozen=True)
class Light:
    """One thing that can be wrong with a result, whether it is, and where the page proves it."""

    level: str
    title: str
    href: str
    text: str

    @property
    def word(self) -> str:
        """What its colour means."""
        return WORDS[self.level]


def tiles(page: Page) -> list[Tile]:
    """The numbers of the headline: those of the internal test, or how far the run has come."""
    files = page.files
    ledger, winner, found = files.tested.ledger, files.record.winner, verdict(files)
    said = paragraphs(
        "tiles.txt.j2",
        titles=files.titles,
        files=files,
        metric=files.metric,
        auc=files.chosen_scores.get("auc"),
        auc_interval=summary.interval(files, "auc") if "auc" in files.chosen_scores else "",
        rates=_rates(page),
        strongest=strongest(found),
        compared_by=found.compared_by,
        shortcut=files.audit.shortcut if files.audit else None,
        border=files.audit.border if files.audit else None,
        chosen=files.chosen,
        seeds=files.over_seeds(),
        folds=files.over_folds(),
        score=winner.score if winner else None,
        times=ledger.this_split if ledger else len(files.tested.opened) or None,
        ledger=ledger,
        counts=counts(files),
        seconds=files.record.seconds,
    )
    return as_tiles(said)


def _rates(page: Page) -> list[Rate]:
    facts = Facts(page)
    points = facts.frozen_points
    if not len(points):
        return []
    found = []
    for name in ("sensitivity", "specificity"):
        rows = points[(points["measure"] == name) & points["value"].notna()]
        told = [{**row.to_dict(), "bounds": facts.bounds(row)} for _, row in rows.iterrows()]
        found += [Rate(name, bool((rows["point"] == "frozen").all()), told)] if told else []
    return found


def strongest(found: Verdict) -> Rival | None:
    """The baseline that comes nearest to the chosen model, or leaves it farthest behind; None where none is known."""
    known = [one for one in found.baselines if one.difference is not None]
    return min(known, key=lambda one: one.difference or 0.0) if known else None


def forest(page: Page) -> Picture | Missing | None:
    """The models on the internal test, each with its interval; None where there is none."""
    files = page.files
    rows = scores_on_test(page)
    metric = METRICS.get(files.metric.name, METRICS["auc"])
    name = f"test_{metric.name}"
    if not len(rows) or name not in rows:
        return None
    drawn = rows[(rows["backbone"] != UNDRAWN) & rows[name].notna()].reset_index(drop=True)
    if not len(drawn):
        return None
    told = {"rows": drawn, "name": name, "metric": metric, "level": page.level, "titles": files.titles}
    told |= {"bounded": drawn[f"{name}_low"].notna().any()}
    told |= {"several": any(len(seeds) > 1 for seeds in drawn.get(f"seeds_{metric.name}", ()))}
    told |= {"left_out": rows[rows["backbone"] == UNDRAWN].to_dict("records")}
    alt, caption = paragraphs("forest.txt.j2", **told)
    drawing = page.drawing("forest", figures_comparison.forest, drawn, metric, page.looks, files.chosen)
    return drawing.picture(alt, caption)


def lights(files: RunFiles) -> list[Light]:
    """What can be wrong with a result, each thing as far as the run looked at it."""
    calibration = files.evaluated.calibration or CalibrationRecord()
    said = paragraphs(
        "lights.txt.j2",
        titles=files.titles,
        files=files,
        found=verdict(files),
        shared=tables_data.shared_patients(files.splits),
        named=_patients(files.splits),
        unnamed=tables_data.without_patient(files.splits),
        altered=next((one.text for one in files.audit.findings if one.kind == "altered"), "") if files.audit else "",
        copies=files.audit.duplicates if files.audit else (),
        severities=_severities(files),
        shortcuts=_shortcuts(files.audit),
        calibration=calibration,
        why_unknown=_why_unknown(calibration),
        groups=_groups(files),
    )
    return [Light(*one.split(" | ", 3)) for one in said]


def _shortcuts(audit: AuditRecord | None) -> dict[str, dict[str, float | None]]:
    """ROC AUC of the baselines without the picture, by level: ``warns``, ``open``, ``little``, ``unknown``.

    Audits of earlier versions did not look at the border.
    """
    found: dict[str, dict[str, float | None]] = {"warns": {}, "open": {}, "little": {}, "unknown": {}}
    for name in ("shortcut", "border") if audit else ():
        one = getattr(audit, name)
        if one is None:
            continue
        above = one.auc is not None and one.limit is not None and one.auc > one.limit
        level = "unknown" if one.auc is None else "warns" if one.warns else "open" if above else "little"
        found[level][name] = one.auc
    return found


def _why_unknown(calibration: CalibrationRecord) -> list[str]:
    """Why intercept and slope of some classes have no interval on test, each reason once."""
    tested = calibration.splits.get("test", {}).get("after")
    return list(dict.fromkeys(one.reason for one in tested.agreement.values() if one.reason)) if tested else []


def _patients(splits: pd.DataFrame | None) -> int:
    """How many patients of the splits have a name."""
    return 0 if splits is None else int(splits.loc[splits["split"].notna(), "patient"].nunique())


def _severities(files: RunFiles) -> dict[str, str]:
    """Kind of finding of the audit -> how severe it is."""
    return {one.kind: one.severity for one in files.audit.findings} if files.audit else {}


def _groups(files: RunFiles) -> dict[str, int]:
    """How many subgroups were looked at, and how many of them are small; empty where there are none."""
    rows = files.evaluated.subgroups
    rows = rows[rows["group"] != "all"] if rows is not None else pd.DataFrame()
    return {"all": len(rows), "small": int(rows["small"].sum())} if len(rows) else {}


def description(files: RunFiles, headline: str, shown: Iterable[Tile]) -> str:
    """The verdict and the numbers in a line, for whoever is sent a link to the page."""
    told = "; ".join(
        f"{tile.label} {tile.value} ({tile.detail})" if tile.detail else f"{tile.label} {tile.value}" for tile in shown
    )
    backbones = numbers.joined(map(files.title, files.backbones))
    return sentence(
        "description.txt.j2",
        headline=headline,
        told=told,
        backbones=backbones,
        classes=files.classes,
        random=summary.began_at_random(files),
        synthetic=summary.is_synthetic(files),
    )
