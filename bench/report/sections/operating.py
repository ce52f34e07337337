"""The winner at its operating points: what they give here, at other prevalences, and whether they are worth using."""

from typing import Any, NamedTuple

import pandas as pd

from bench import numbers
from bench.report.blocks import Column, Table, table
from bench.report.figures import winner as figures_winner
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.templating import Values, sentence

MEASURES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}
MEASURES |= {"accuracy": "Accuracy"}


def _with_points(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` with the column ``operating``, an operating point in words: ``0.5``, ``frozen, 0.430``."""
    named = [
        f"frozen, {numbers.score(threshold)}" if point == "frozen" else numbers.text(point)
        for point, threshold in zip(rows["point"], rows["threshold"], strict=True)
    ]
    return rows.assign(operating=named)


def _class_column(rows: pd.DataFrame) -> list[Column]:
    """The column that names the class, where there are several."""
    return [Column("class", "Class", numeric=False)] if rows["class"].nunique() > 1 else []


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
        "by_class": _by_class(rows, lead) if several else None,
        "lead": lead,
        "all": _every_measure(page, rows, lead, folded=several),
        "assumed": page.files.patients_assumed,
        "reasons": _reasons(rows),
    }


def _every_measure(page: Page, rows: pd.DataFrame, lead: str, folded: bool) -> Table:
    """Every measure with both intervals, the one to be believed first."""
    other = "wilson" if lead == "clustered" else "clustered"
    ignoring = " (ignores that images share patients)" if page.several_images else ""
    titles = {
        "clustered": f"{page.level} interval by patients",
        "wilson": f"{page.level} Wilson interval{ignoring}",
    }
    columns = [
        *_class_column(rows),
        Column("operating", "Operating point", numeric=False),
        Column("title", "Measure", numeric=False),
        Column("counted", "Images"),
        Column("value", f"Value, {titles[lead]}", numbers.score, below=lead),
        Column(other, titles[other]),
    ]
    marked = [place for place, point in enumerate(rows["point"]) if point == "frozen"]
    return table(rows, "", columns, marked=marked, folded=folded)


def _by_class(rows: pd.DataFrame, lead: str) -> Table:
    """One row per class and point, one column per measure, with the interval that leads."""
    kept = []
    for (label, operating), part in rows.groupby(["class", "operating"], sort=False):
        row: dict[str, Any] = {"class": label, "operating": operating}
        for one in part.to_dict("records"):
            row |= {str(one["measure"]): one["value"], f"{one['measure']} bounds": one[lead]}
        kept.append(row)
    columns = [Column("class", "Class", numeric=False), Column("operating", "Operating point", numeric=False)]
    columns += [Column(name, title, numbers.score, below=f"{name} bounds") for name, title in MEASURES.items()]
    return table(pd.DataFrame(kept), "", columns)


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
    columns = [
        *_class_column(rows),
        Column("operating", "Operating point", numeric=False),
        Column("prevalence", "Prevalence", numbers.percent),
        Column("ppv", "PPV", numbers.score, low="ppv_low", high="ppv_high"),
        Column("npv", "NPV", numbers.score, low="npv_low", high="npv_high"),
    ]
    marked = [place for place, observed in enumerate(rows["observed"]) if observed]
    return {
        "rows": rows,
        "here": rows[rows["observed"]].drop_duplicates("class"),
        "known": rows[["ppv", "npv"]].notna().to_numpy().any(),
        "ends": first.iloc[[0, -1]],
        "drawing": page.drawing("prevalences", figures_winner.prevalences, rows),
        "table": table(rows, "", columns, marked=marked, folded=len(rows) > 12),
    }


def decision(page: Page) -> Values:
    """Net benefit by the threshold at which one would act."""
    rows = page.files.evaluated.decision
    if rows is None or not len(rows):
        return {"rows": rows}
    rows = rows.dropna(subset=["threshold", "model"])
    drawing = page.drawing("decision_curve", figures_winner.decision, rows)
    return {"rows": rows, "useful": useful(rows), "drawing": drawing}


EQUAL = 1e-9
"""Net benefits closer than this are equal."""


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
    found: list[tuple[int, int]] = []
    for place, meant in enumerate(inside):
        if meant and place and inside[place - 1]:
            found[-1] = (found[-1][0], place)
        elif meant:
            found.append((place, place))
    last = len(thresholds) - 1
    told = []
    for start, end in found:
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
