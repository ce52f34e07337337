"""Parts of the section on the test split: scores by patient, and what is set beside the winner."""

from collections.abc import Mapping

import pandas as pd

from bench.numbers import signed_interval
from bench.report.blocks import table
from bench.report.page import Page
from bench.report.templating import Values
from bench.run.documents import Estimate, FrozenPoint
from bench.run.tables import records
from bench.stats.metrics import METRICS

RULES = {"mean": "the mean", "maximum": "the maximum", "noisy-or": "noisy-or"}


def by_patient(page: Page) -> Values | None:
    """Scores by patient beside those by image; None where no test patient has several images."""
    found, model = page.files.tested.by_patient, page.files.chosen_model
    if found is None or found.scores is None or found.decided is None or model is None:
        return None
    level = found.decided
    shown = [METRICS[name] for name in dict.fromkeys([page.metric.name, "auc", "accuracy", "balanced_accuracy"])]
    rows = [
        {"by": "image", "number": page.images} | _flat({one.name: model.metrics.get(one.name) for one in shown}),
        {"by": "patient", "number": found.patients}
        | _flat({one.name: found.scores.metrics.get(one.name) for one in shown}),
    ]
    points = [*_of_images(page), *({"by": "patient"} | _point(one) for one in found.points)]
    return {
        "about": found,
        "level": level,
        "rule": RULES.get(level.rule, f"the mean of the {level.top} largest"),
        "rules": {one.rule: one.rule for one in level.candidates} | {"top": f"mean of the {level.top} largest"},
        "scores": table("patient_scores", pd.DataFrame(rows), metrics={one.name: one.title for one in shown}),
        "points": table("patient_points", pd.DataFrame(points)) if found.points else None,
    }


def _flat(values: Mapping[str, Estimate | None]) -> Values:
    """Columns ``NAME``, ``NAME_low`` and ``NAME_high``."""
    known = {name: one or Estimate() for name, one in values.items()}
    return {
        f"{name}{end}": value
        for name, one in known.items()
        for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
    }


def _point(one: FrozenPoint) -> Values:
    about = {"class": one.label, "threshold": one.threshold}
    return about | _flat({"sensitivity": one.sensitivity, "specificity": one.specificity})


def _of_images(page: Page) -> list[Values]:
    """The frozen points of images, from operating_points.csv."""
    points = page.files.evaluated.points
    if points is None:
        return []
    found = []
    for label, part in points[points["point"] == "frozen"].groupby("class", sort=False):
        by_measure = {row["measure"]: row for row in records(part)}
        values = {
            name: Estimate(value=row.get("value"), low=row.get("low"), high=row.get("high"))
            for name in ("sensitivity", "specificity")
            for row in [by_measure.get(name, {})]
        }
        found.append({"by": "image", "class": label, "threshold": part["threshold"].iloc[0]} | _flat(values))
    return found


def secondary(page: Page) -> Values | None:
    """The ensemble and averaged views beside the winner; None where the run has neither."""
    found = page.files.tested.secondary
    if not found:
        return None
    scored = [one for one in found if one.scores is not None]
    rows = []
    for one in scored:
        assert one.scores is not None
        name = one.metric
        cost = one.cost
        row: Values = {"what": one.title, "winner": one.winner, "difference": one.difference.value}
        row |= _flat({"score": one.scores.metrics.get(name)})
        row |= {"bounds_low": one.difference.low, "bounds_high": one.difference.high}
        row |= {"milliseconds": cost and cost.milliseconds, "time": cost and cost.time}
        row |= {"megabytes": cost and cost.megabytes, "size": cost and cost.size}
        if len(one.points) == 1:
            row |= _flat({"sensitivity": one.points[0].sensitivity, "specificity": one.points[0].specificity})
        rows.append(row)
    return {
        "sentences": [one.sentence for one in found],
        "table": table("secondary", _with_bounds(pd.DataFrame(rows)), metric=page.metric.title) if rows else None,
        "exported": any(one.kind == "ensemble" for one in scored),
    }


def external(page: Page) -> list[Values]:
    """The model on other data: one set of values for each test, the last first; empty where there was none."""
    rows, name = page.files.finalists, page.metric.name
    trained = set(rows.loc[rows["winner"], "sha256"]) if rows is not None else set()
    tests = sorted(page.files.external.items(), key=lambda one: one[1].created, reverse=True)
    found = []
    for folder, record in tests:
        known = {one.measure: one for one in record.differences}
        measure = name if name in known else "accuracy"
        values: Values = {"folder": folder, "name": record.name or folder, "sample": record.external}
        values |= {
            "measure": METRICS[measure].title,
            "scored": known.get(measure),
            "assumed": record.data.patients_assumed,
        }
        ensemble = record.model.path.endswith(page.run.best_ensemble.name)
        earlier = bool(trained) and not ensemble and record.model.trained not in trained
        found.append(values | {"ensemble": ensemble, "earlier": earlier})
    return found


def _with_bounds(rows: pd.DataFrame) -> pd.DataFrame:
    ends = zip(rows["bounds_low"], rows["bounds_high"], strict=True)
    return rows.assign(bounds=[signed_interval(low, high) for low, high in ends])
