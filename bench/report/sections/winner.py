"""The section on the chosen model on test: confusion, curves, operating points, decision curve, calibration."""

from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from bench import numbers
from bench.invocation import typed
from bench.report.blocks import Section, Table, table
from bench.report.figures import winner as figures_winner
from bench.report.names import MEASURES, joined, present
from bench.report.page import Page
from bench.report.sections import beside, panel
from bench.report.tables import winner as tables_winner
from bench.report.templating import Values, sentence
from bench.run.documents import Bin, CalibrationRecord, CalibrationScores, ModelScores

TITLE = "Test"

SPLITS = {"val": "validation", "test": "internal test"}
STEPS = {"before": "the model’s own", "weights": "without the weights of the loss", "after": "after the map"}
PANELS = ("before", "after")
HARDLY = 0.05
"""A temperature this near to 1 says nothing of how sure the model is."""

BIN = tuple(Bin.model_fields)
EQUAL = 1e-9
"""Net benefits closer than this are equal."""


def winner(page: Page) -> Section:
    """What the winner did with the test images."""
    model = page.files.chosen_model
    values: Values = {
        "model": model,
        "winner": page.files.chosen,
        "predict": typed("predict"),
        "external": beside.external,
    }
    if model is not None:
        values |= _confusion(page, model) | {"report": _report(page, model), "curves": _curves}
        values |= {"points": points, "prevalences": prevalences}
        values |= {"panel": panel.panel, "by_patient": beside.by_patient, "secondary": beside.secondary}
        values |= {"decision": decision, "calibration": _calibration, "prediction_sets": _prediction_sets}
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
    return table("classes", tables_winner.classification_report(model, page.files.classes))


def _curves(page: Page) -> Values:
    """ROC curve, and precision by recall, or how the predictions do not fit the classes; empty without predictions."""
    files, model = page.files, page.files.chosen_model
    if files.predictions is None or model is None:
        return {}
    try:
        roc, by_recall = tables_winner.curves(files.predictions, files.classes)
    except ValueError as error:
        return {"misfit": error}
    of_all = _of_finalists(page)
    if of_all and len(files.classes) == 2:
        return {"of_all": of_all, "roc": None, "misfit": ""}
    point = tables_winner.operating_point(model, files.classes)
    points, bands = [("as in the confusion matrix", *point)] if point else [], _bands(page)
    drawing = page.drawing("roc", figures_winner.curves, roc, by_recall, bands, points)
    found = {"misfit": "", "roc": roc, "by_recall": by_recall, "bands": bands, "drawing": drawing}
    return found | {"of_all": of_all}


def _of_finalists(page: Page) -> Values:
    """The curves of all finalists; empty where the run does not keep their predictions."""
    files, rows = page.files, page.files.finalists
    if files.predictions_models is None or rows is None:
        return {}
    rows = rows[rows["representative"] & (rows["state"] == "completed")]
    rows = rows.sort_values("winner", ascending=False, kind="stable")
    try:
        roc, by_recall, bins = tables_winner.of_finalists(files.predictions_models, rows, files.classes)
    except (KeyError, ValueError):
        return {}
    bands, points = _bands(page), _marked(files.evaluated.points)
    if len(files.classes) == 2:
        shown = points.get(files.classes[1], [])
        drawing = page.drawing("roc", figures_winner.finalists, roc, by_recall, bins, bands, shown, page.looks)
    else:
        drawing = page.drawing("roc-finalists", figures_winner.finalists_by_class, roc, bins, bands, points, page.looks)
    keys = ["backbone", "label"]
    areas = roc.drop_duplicates(keys).merge(by_recall.drop_duplicates(keys)[[*keys, "area"]])
    left_out = figures_winner.subset(roc.rename(columns={"label": "class"}), "curves.csv")
    found = {"finalists": areas, "bands": bands, "drawing": drawing}
    return found | {"points": bool(points), "left_out": left_out}


def _marked(rows: pd.DataFrame | None) -> dict[str, list[tuple[str, float, float]]]:
    """Class -> false and true positive rate at the frozen threshold and at 0.5, where operating_points.csv has both."""
    found: dict[str, list[tuple[str, float, float]]] = {}
    if rows is None:
        return found
    for (label, point), part in rows.groupby(["class", "point"], sort=False):
        values = part.set_index("measure")["value"]
        rates = [numbers.number(values.get(name)) for name in ("specificity", "sensitivity")]
        if rates[0] is not None and rates[1] is not None:
            words = f"{'frozen' if point == 'frozen' else 'threshold'} {numbers.score(part['threshold'].iloc[0])}"
            found.setdefault(str(label), []).append((words, 1 - rates[0], rates[1]))
    return {label: sorted(each) for label, each in found.items()}


def _bands(page: Page) -> pd.DataFrame:
    """The bands of the winner's curves; no row where there are none."""
    found = page.files.evaluated.curves
    columns = ["class", "curve", "x", "low", "high"]
    if found is None:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(("x", "low", "high"), "float64"))
    return found[found["model"] == page.files.chosen][columns].dropna(subset=["x", "low", "high"])


def _calibration(page: Page) -> Values:
    """The calibration map, and how well probabilities agree with what was observed before and after it."""
    content = page.files.evaluated.calibration
    if content is None:
        return {"content": None}
    scored = [
        (split, step, content.splits.get(split, {}).get(step, CalibrationScores()))
        for split in SPLITS
        for step in STEPS
        if step in PANELS or step in content.splits.get(split, {})
    ]
    rows = [
        {"split": SPLITS[split], "step": STEPS[step], "expected": _expected(one), **one.model_dump()}
        for split, step, one in scored
    ]
    bins_of_ece = f" ({content.bins} bins)" if content.bins else ""
    bins = reliability(content)
    after, agreed = bins[bins["step"] == "after"], _agreement(content)
    return {
        "content": content,
        "map": content.map,
        "splits": SPLITS,
        "hardly": HARDLY,
        "table": table("calibration", pd.DataFrame(rows), bins=bins_of_ece),
        "simulated": any(row["expected"] for row in rows),
        "agreement": table("agreement", agreed) if len(agreed) else None,
        "several": agreed["class"].nunique() > 1 if len(agreed) else False,
        "widened": 2 * agreed["class"].nunique()
        if any("widened" in cell for cell in agreed.get("slope bounds", ()))
        else 0,
        "bins": bins,
        "farthest": after.loc[(after["observed"] - after["predicted"]).abs().nlargest(1).index],
        "drawing": page.drawing("reliability", figures_winner.reliability, bins),
    }


SHARES = {
    "patients_covered": "Patients of whom every image’s set holds its class",
    "covered": "Images whose set holds their class",
    "single": "Images whose set is one class",
    "right": "Of these, images of that class",
}
"""Fields of `ConformalRecord` in words; `bench.verify.shown_winner` knows the rows by them."""


def _prediction_sets(page: Page) -> Values:
    """How often the prediction sets held the class, and were one class; nothing in earlier versions."""
    found = page.files.evaluation.conformal if page.files.evaluation else None
    if found is None:
        return {"found": None}
    rows = []
    for name, what in SHARES.items():
        share = getattr(found, name)
        counted = f"{numbers.count(share.hits)} of {numbers.count(share.of)}"
        bounds = f"{numbers.percent(share.low)} to {numbers.percent(share.high)}" if share.of else ""
        rows.append({"what": what, "counted": counted, "value": share.value, "bounds": bounds})
    return {"found": found, "table": table("prediction_sets", pd.DataFrame(rows))}


def _expected(scores: CalibrationScores) -> str:
    """ECE of true probabilities at this size, in words; empty where it was not simulated."""
    found = scores.ece_if_perfect
    if found is None or found.mean is None or found.high is None:
        return ""
    return f"if perfect {numbers.score(found.mean)}, up to {numbers.score(found.high)}"


def _agreement(content: CalibrationRecord) -> pd.DataFrame:
    """One row per class and step on test: predicted, observed, intercept and slope; none in earlier versions."""
    rows: list[dict[str, Any]] = []
    for step, title in STEPS.items():
        scores = content.splits.get("test", {}).get(step, CalibrationScores())
        for label, one in scores.agreement.items():
            rows.append({"class": label, "step": title, **tables_winner.agreement_cells(one)})
    return pd.DataFrame(rows).sort_values("class", kind="stable") if rows else pd.DataFrame()


def reliability(content: CalibrationRecord, split: str = "test") -> pd.DataFrame:
    """One row per bin: ``step`` (before, after), ``class`` and each of ``BIN``; bins without an image are left out."""
    rows = [
        {"step": step, "class": label, **one.model_dump()}
        for step in PANELS
        for label, bins in content.splits.get(split, {}).get(step, CalibrationScores()).reliability.items()
        for one in bins
        if one.images and one.predicted is not None and one.observed is not None
    ]
    return pd.DataFrame(rows, columns=["step", "class", *BIN]).astype(dict.fromkeys(BIN, "float64"))


def _with_points(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` with the column ``operating``, an operating point in words: ``0.5``, ``frozen, 0.430``."""
    named = [
        f"frozen, {numbers.score(threshold)}" if point == "frozen" else numbers.text(point)
        for point, threshold in zip(rows["point"], rows["threshold"], strict=True)
    ]
    return rows.assign(operating=named)


def _of_class(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` without their class where there is but one."""
    return rows if rows["class"].nunique() > 1 else rows.drop(columns="class")


def points(page: Page) -> Values:
    """Sensitivity, specificity, PPV, NPV and accuracy at 0.5 and at the frozen threshold."""
    rows = page.files.evaluated.points
    if rows is None or not len(rows):
        return {"rows": rows}
    rows = _with_points(rows).assign(
        title=[MEASURES.get(str(name), numbers.text(name)) for name in rows["measure"]],
        counted=[
            "" if numbers.number(of) is None else f"{numbers.count(hits)} / {numbers.count(of)}"
            for hits, of in zip(rows["hits"], rows["of"], strict=True)
        ],
        clustered=[numbers.interval(*pair) for pair in zip(rows["low"], rows["high"], strict=True)],
        wilson=[numbers.interval(*pair) for pair in zip(rows["wilson_low"], rows["wilson_high"], strict=True)],
    )
    lead = "clustered" if page.several_images else "wilson"
    several = rows["class"].nunique() > 1
    frozen = rows[rows["point"] == "frozen"].drop_duplicates("class")
    return {
        "rows": rows,
        "several": several,
        "frozen": frozen,
        "rules": list(frozen["rule"].dropna().drop_duplicates()),
        "uncertain": [one for one in page.files.tested.frozen if one.low is not None and one.high is not None],
        "calibrated": [one for one in page.files.tested.frozen if one.calibrated is not None],
        "expected": _expected_points(rows),
        "by_class": _by_class(rows, lead) if several else None,
        "lead": lead,
        "all": _every_measure(page, rows, lead, folded=several),
        "assumed": page.files.patients_assumed,
        "reasons": _reasons(rows),
    }


def _expected_points(rows: pd.DataFrame) -> Values:
    """Sensitivity and specificity beside what validation lets expect; empty where that is not known."""
    found = tables_winner.expected(rows)
    if not len(found):
        return {}
    bounds = [numbers.interval(*pair) for pair in zip(found["expected_low"], found["expected_high"], strict=True)]
    judged = ["outside" if flagged else "within" for flagged in found["flagged"]]
    outside = (found["title"] + " for " + found["class"])[found["flagged"]].tolist()
    shown = _of_class(found.assign(bounds=bounds, judged=judged))
    return {"table": table("points_expected", shown, marked=found["flagged"]), "outside": outside}


def _every_measure(page: Page, rows: pd.DataFrame, lead: str, folded: bool) -> Table:
    """Every measure with both intervals, the one to be believed first."""
    other = "wilson" if lead == "clustered" else "clustered"
    ignoring = " (ignores that images share patients)" if page.several_images else ""
    titles = {
        "clustered": f"{page.level} interval by patients",
        "wilson": f"{page.level} Wilson interval{ignoring}",
    }
    shown = _of_class(rows).assign(leading=rows[lead], other=rows[other])
    frozen = rows["point"] == "frozen"
    return table("points", shown, marked=frozen, folded=folded, lead=titles[lead], other=titles[other])


def _by_class(rows: pd.DataFrame, lead: str) -> Table:
    """One row per class and point, one column per measure, with the interval that leads."""
    kept = []
    for (label, operating), part in rows.groupby(["class", "operating"], sort=False):
        row: dict[str, Any] = {"class": label, "operating": operating}
        for one in part.to_dict("records"):
            row |= {str(one["measure"]): one["value"], f"{one['measure']} bounds": one[lead]}
        kept.append(row)
    return table("points_by_class", pd.DataFrame(kept), measures=MEASURES)


def _reasons(rows: pd.DataFrame) -> list[tuple[str, list[str], str]]:
    """Why values or intervals are not there: what is missing, for which classes where there are several, and why."""
    said = []
    for reason, part in rows[rows["reason"].map(present)].groupby("reason", sort=False):
        measures, operating, labels = (part[name].drop_duplicates() for name in ("title", "operating", "class"))
        if len(part) == len(measures) * len(operating) * len(labels):
            what = f"{joined(measures)} at {joined(operating)}"
        else:
            what = joined(dict.fromkeys(part["title"] + " at " + part["operating"]))
        said.append((what, list(labels) if rows["class"].nunique() > 1 else [], str(reason).rstrip(".")))
    return said


def prevalences(page: Page) -> Values:
    """PPV and NPV where the class is rarer or commoner than here."""
    rows = page.files.evaluated.prevalences
    if rows is None or not len(rows):
        return {"rows": rows}
    rows = _with_points(rows)
    frozen = rows[rows["point"] == "frozen"] if (rows["point"] == "frozen").any() else rows
    first = frozen[frozen["class"] == frozen["class"].iloc[0]]
    return {
        "rows": rows,
        "here": rows[rows["observed"]].drop_duplicates("class"),
        "known": rows[["ppv", "npv"]].notna().to_numpy().any(),
        "ends": first.iloc[[0, -1]],
        "drawing": page.drawing("prevalences", figures_winner.prevalences, rows),
        "table": table("prevalences", _of_class(rows), marked=rows["observed"], folded=len(rows) > 12),
    }


def decision(page: Page) -> Values:
    """Net benefit by the threshold at which one would act."""
    rows = page.files.evaluated.decision
    if rows is None or not len(rows):
        return {"rows": rows}
    rows = rows.dropna(subset=["threshold", "model"])
    drawing = page.drawing("decision_curve", figures_winner.decision, rows)
    return {"rows": rows, "useful": useful(rows), "drawing": drawing}


class Ranges(NamedTuple):
    """Ranges of the threshold, in words: where the model, or which simple rule, is worth most; empty where nowhere.

    The model is better beyond its interval where it says ``sure``; ``known`` says whether there is an interval.
    """

    model: str
    sure: str
    everyone: str
    nobody: str
    equal: str
    known: bool


def useful(rows: pd.DataFrame) -> str:
    """In which ranges of the threshold the model or a simple rule is worth most, one sentence for classes alike.

    Args:
        rows: as in decision_curve.csv.
    """
    found: dict[Ranges, list[str]] = {}
    for label, part in rows.groupby("class", sort=False):
        found.setdefault(_ranges(part.sort_values("threshold")), []).append(str(label))
    return sentence("decision.txt.j2", found=found)


def _ranges(part: pd.DataFrame) -> Ranges:
    everyone = part["treat_all"].fillna(0.0)
    gain = part["model"] - everyone.clip(lower=0)
    worse = gain < -EQUAL

    def told(inside: "pd.Series[bool]") -> str:
        return spans(part["threshold"].tolist(), inside.tolist())

    return Ranges(
        model=told(gain > EQUAL),
        sure=told(part["gain_low"] > 0),
        everyone=told(worse & (everyone > 0)),
        nobody=told(worse & (everyone <= 0)),
        equal=told(gain.abs() <= EQUAL),
        known=bool(part["gain_low"].notna().any()),
    )


def spans(thresholds: list[float], inside: list[bool]) -> str:
    """The ranges of the thresholds that are ``inside``: ``from 0.29``, ``up to 0.09 and at 0.12 to 0.28``.

    Args:
        thresholds: in ascending order.
        inside: whether each is meant.
    """
    told, last = [], len(thresholds) - 1
    for meant, group in groupby(range(len(inside)), key=inside.__getitem__):
        if not meant:
            continue
        places = list(group)
        start, end = places[0], places[-1]
        low, high = numbers.short(thresholds[start]), numbers.short(thresholds[end])
        if (start, end) == (0, last):
            told.append("at every threshold")
        elif start == end:
            told.append(f"at {low}")
        elif end == last:
            told.append(f"from {low}")
        else:
            told.append(f"up to {high}" if not start else f"at {low} to {high}")
    return joined(told)
