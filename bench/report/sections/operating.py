"""The winner at its operating points: what they give here, at other prevalences, and whether they are worth using."""

from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Missing, Paragraph, Table, table
from bench.report.figures import operating as figures_operating
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.read.files import mapping
from bench.report.read.results import patients_assumed

MEASURES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}
MEASURES |= {"accuracy": "Accuracy"}


def point_words(point: Any, threshold: Any) -> str:
    """An operating point in words: ``0.5``, ``frozen, 0.430``."""
    return f"frozen, {wording.score(threshold)}" if str(point) == "frozen" else wording.text(point)


def _level(page: Page) -> str:
    return wording.level(mapping(mapping(page.files.evaluation).get("bootstrap")).get("level"))


def points(page: Page) -> list[Block]:
    """Sensitivity, specificity, PPV, NPV and accuracy at 0.5 and at the frozen threshold."""
    blocks: list[Block] = [*page.problems("operating_points.csv")]
    rows = page.files.evaluated.points
    if rows is None or not len(rows):
        return blocks or [Missing("operating_points.csv holds no operating point.")]
    rows = _told(rows)
    blocks.append(_rules(rows))
    lead, other = ("clustered", "wilson") if page.files.tested.several_images_a_patient else ("wilson", "clustered")
    if len(rows["class"].unique()) > 1:
        blocks += [_pivot(rows, lead, _level(page)), _all(page, rows, lead, other, folded=True)]
    else:
        blocks.append(_all(page, rows, lead, other))
    return [*blocks, *_reasons(rows)]


def _told(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` with columns of words: ``title``, ``operating``, ``counted``, ``clustered`` and ``wilson``."""
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *_COLUMNS])))
    return rows.assign(
        title=[MEASURES.get(str(name), wording.text(name)) for name in rows["measure"]],
        operating=[point_words(*pair) for pair in zip(rows["point"], rows["threshold"], strict=True)],
        counted=[_share(*pair) for pair in zip(rows["hits"], rows["of"], strict=True)],
        clustered=[wording.interval(*pair) for pair in zip(rows["low"], rows["high"], strict=True)],
        wilson=[wording.interval(*pair) for pair in zip(rows["wilson_low"], rows["wilson_high"], strict=True)],
    )


_COLUMNS = ("class", "threshold", "rule", "hits", "of", "low", "high", "wilson_low", "wilson_high", "reason")


def _share(hits: Any, of: Any) -> str:
    return "" if wording.number(of) is None else f"{wording.count(hits)} / {wording.count(of)}"


def _rules(rows: pd.DataFrame) -> Paragraph:
    frozen = rows[rows["point"] == "frozen"].drop_duplicates("class")
    several = len(rows["class"].unique()) > 1
    rules = list(frozen["rule"].dropna().drop_duplicates())
    each_rule = len(rules) > 1
    told = joined(
        f"{wording.score(row['threshold'])} for {row['class']}"
        + (f" ({row['rule']})" if each_rule and present(row["rule"]) else "")
        for _, row in frozen.iterrows()
    )
    told += f" ({rules[0]})" if len(rules) == 1 else ""
    chosen = f" The other was frozen on validation, before the test split was opened: {told}." if told else ""
    each = "Each class is set against all others. " if several else ""
    return Paragraph(
        f"{each}An image counts as positive from a probability on; 0.5 is the usual one.{chosen} Of sensitivity and "
        "specificity, either can be bought with the other; PPV and NPV hold at the prevalence of these images alone."
    )


def _all(page: Page, rows: pd.DataFrame, lead: str, other: str, folded: bool = False) -> Table:
    """Every measure with both intervals, the one to be believed first."""
    level, several = _level(page), page.files.tested.several_images_a_patient is True
    titles = {
        "clustered": f"{level} interval by patients",
        "wilson": f"{level} Wilson interval{' (ignores that images share patients)' if several else ''}",
    }
    columns = [
        *([Column("class", "Class", numeric=False)] if len(rows["class"].unique()) > 1 else []),
        Column("operating", "Operating point", numeric=False),
        Column("title", "Measure", numeric=False),
        Column("counted", "Images"),
        Column("value", f"Value, {titles[lead]}", wording.score, below=lead),
        Column(other, titles[other]),
    ]
    which = f" of {rows['class'].iloc[0]}" if len(rows["class"].unique()) == 1 else " by class"
    because = (
        "Some patients have several images: the interval that draws whole patients leads."
        if several
        else "Whether patients have several images is not known; if none has, both intervals apply."
        if patients_assumed(page.files.audit)
        else "No patient has two images, so both intervals apply."
    )
    marked = [place for place, point in enumerate(rows["point"]) if point == "frozen"]
    return table(rows, f"Operating points{which}. {because}", columns, marked=marked, folded=folded)


def _pivot(rows: pd.DataFrame, lead: str, level: str) -> Table:
    """A row a class and point, a column a measure, with the interval that leads."""
    kept = []
    for (label, operating), part in rows.groupby(["class", "operating"], sort=False):
        row: dict[str, Any] = {"class": label, "operating": operating}
        for _, one in part.iterrows():
            row |= {str(one["measure"]): one["value"], f"{one['measure']} bounds": one[lead]}
        kept.append(row)
    columns = [Column("class", "Class", numeric=False), Column("operating", "Operating point", numeric=False)]
    columns += [Column(name, title, wording.score, below=f"{name} bounds") for name, title in MEASURES.items()]
    how = "by patients" if lead == "clustered" else "Wilson’s"
    return table(pd.DataFrame(kept), f"Operating points by class, with {level} intervals ({how}).", columns)


def _reasons(rows: pd.DataFrame) -> list[Missing]:
    """Why values or intervals are not there, those of a reason together."""
    told = rows[rows["reason"].map(present)]
    said = []
    for reason, part in told.groupby("reason", sort=False):
        measures, operating = part["title"].drop_duplicates(), part["operating"].drop_duplicates()
        labels = part["class"].drop_duplicates()
        if len(part) == len(measures) * len(operating) * len(labels):
            what = f"{joined(measures)} at {joined(operating)}"
        else:
            what = joined(dict.fromkeys(part["title"] + " at " + part["operating"]))
        whose = f" for {joined(labels)}" if rows["class"].nunique() > 1 else ""
        said.append(Missing(f"{what}{whose}: {str(reason).rstrip('.')}."))
    return said


def prevalences(page: Page) -> list[Block]:
    """PPV and NPV where the class is rarer or commoner than here."""
    blocks: list[Block] = [*page.problems("prevalences.csv")]
    rows = page.files.evaluated.prevalences
    if rows is None or not len(rows):
        return blocks or [Missing("prevalences.csv holds no prevalence.")]
    bounds = ("threshold", "ppv_low", "ppv_high", "npv_low", "npv_high")
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *bounds])))
    rows = rows.assign(operating=[point_words(*pair) for pair in zip(rows["point"], rows["threshold"], strict=True)])
    several, here = len(rows["class"].unique()) > 1, rows[rows["observed"]].drop_duplicates("class")
    told = joined(f"{row['class']} {wording.percent(row['prevalence'])}" for _, row in here.iterrows())
    blocks.append(
        Paragraph(
            (f"Of the test images, these shares are of the class: {told}. " if told else "")
            + "That is rarely so in practice. With the same sensitivity and specificity, predictive values follow from "
            "the prevalence by Bayes’ rule."
        )
    )
    frozen = rows[rows["point"] == "frozen"] if (rows["point"] == "frozen").any() else rows
    ends = [row for _, row in frozen[frozen["class"] == frozen["class"].iloc[0]].iterrows()]
    said = "; ".join(
        f"at {wording.percent(row['prevalence'])}, PPV {wording.score(row['ppv'])} and NPV {wording.score(row['npv'])}"
        for row in (ends[0], ends[-1])
    )
    if not rows[["ppv", "npv"]].notna().to_numpy().any():
        return [*blocks, Missing("Neither PPV nor NPV is known at any prevalence: one of the classes has no image.")]
    blocks.append(
        page.picture(
            "prevalences",
            lambda: figures_operating.prevalences(rows),
            f"PPV and NPV by prevalence at the operating points; for {ends[0]['class']} at the last: {said}.",
            f"Predictive values by prevalence, at the operating points, with {_level(page)} bands. The dotted line is "
            "the prevalence among these test images.",
        )
    )
    columns = [
        *([Column("class", "Class", numeric=False)] if several else []),
        Column("operating", "Operating point", numeric=False),
        Column("prevalence", "Prevalence", wording.percent),
        Column("ppv", "PPV", wording.score, low="ppv_low", high="ppv_high"),
        Column("npv", "NPV", wording.score, low="npv_low", high="npv_high"),
    ]
    marked = [place for place, observed in enumerate(rows["observed"]) if observed]
    caption = (
        "Predictive values by prevalence; the prevalence of the test images is set off. Intervals are by patients; "
        "where these know none of sensitivity or specificity, they follow from Wilson’s intervals of the two."
    )
    return [*blocks, table(rows, caption, columns, marked=marked, folded=len(rows) > 12)]


def decision(page: Page) -> list[Block]:
    """Net benefit by the threshold at which one would act."""
    blocks: list[Block] = [*page.problems("decision_curve.csv")]
    rows = page.files.evaluated.decision
    if rows is None or not len(rows):
        return blocks or [
            Missing("decision_curve.csv holds no threshold: net benefit needs images of a class and images of others.")
        ]
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, "treat_none", "low", "high", "gain_low"])))
    rows = rows.dropna(subset=["threshold", "model"])
    told = _useful(rows)
    return [
        *blocks,
        Paragraph(
            "Whoever acts from a probability of 0.2 on holds a missed case to be four times as bad as a false alarm. "
            "Net benefit weighs the two by that threshold, in true positives an image; the probabilities are the "
            f"calibrated ones. {told}"
        ),
        page.picture(
            "decision_curve",
            lambda: figures_operating.decision(rows),
            f"Decision curve: net benefit of the model, of acting on everyone and of acting on nobody. {told}",
            f"Decision curve with its {_level(page)} band, at the prevalence of these test images. A model is of use "
            "where its curve lies above both others.",
        ),
    ]


EQUAL = 1e-9
"""Net benefits closer than this are equal."""


def _useful(rows: pd.DataFrame) -> str:
    """In which ranges of the threshold the model or a simple rule is worth most, a sentence a class or several."""
    found: dict[str, list[str]] = {}
    for label, part in rows.groupby("class", sort=False):
        found.setdefault(_ranges(part.sort_values("threshold")), []).append(str(label))
    return " ".join(f"For {joined(labels)} {where}." for where, labels in found.items())


def _ranges(part: pd.DataFrame) -> str:
    everyone = part["treat_all"].fillna(0.0)
    gain = part["model"] - everyone.clip(lower=0)
    thresholds, worse = part["threshold"].tolist(), gain < -EQUAL
    told = []
    if (gain > EQUAL).any():
        sure = spans(thresholds, (part["gain_low"] > 0).tolist())
        beyond = f" (beyond its interval {sure})" if sure else " (nowhere beyond its interval)"
        known = part["gain_low"].notna().any()
        ranges = spans(thresholds, (gain > EQUAL).tolist())
        told.append(f"the model is better than acting on everyone and than acting on nobody {ranges}")
        told[0] += beyond if known else ""
    else:
        told.append("the model is at no threshold better than acting on everyone and than acting on nobody")
    for which, words in (
        (worse & (everyone > 0), "acting on everyone is better"),
        (worse & (everyone <= 0), "acting on nobody is better"),
        (gain.abs() <= EQUAL, "the model is worth just as much as the better of the two"),
    ):
        if which.any():
            told.append(f"{spans(thresholds, which.tolist())} {words}")
    return "; ".join(told)


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
        low, high = wording.short(thresholds[start]), wording.short(thresholds[end])
        if (start, end) == (0, last):
            told.append("at every threshold")
        elif start == end:
            told.append(f"at {low}")
        elif end == last:
            told.append(f"from {low}")
        else:
            told.append(f"up to {high}" if not start else f"at {low} to {high}")
    return joined(told)
