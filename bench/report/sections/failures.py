"""The section on where the winner fails: the gap to validation, the surest errors, subgroups, altered images, maps."""

from collections.abc import Iterable

import pandas as pd

from bench import numbers
from bench.report.blocks import Section, table
from bench.report.figures import failures as figures_failures
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.tables import winner as tables_winner
from bench.report.tables.models import bounded
from bench.report.templating import Values, sentence
from bench.run.documents import Estimate
from bench.stats.metrics import METRICS

TITLE = "Where it fails"

MOST_PICTURES = 24
MOST_ROWS = 50
MOST_KINDS = 6
MOST_MAPS = 12
FEW = 30
"""Images below which a group is too small to be judged by."""

TITLES = {"auc": "ROC AUC", "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}
TITLES |= {"sensitivity": "Sensitivity", "specificity": "Specificity"}
ALTERATIONS = {
    "none": "Clean images",
    "recompression": "Recompression",
    "noise": "Noise",
    "brightness": "Brightness",
    "rotation": "Rotation",
}
ENDS = ("", "_low", "_high")


def failures(page: Page) -> Section:
    """Where the winner fails, as far as the test split shows it."""
    return page.section(
        "failures",
        TITLE,
        evaluation=page.files.evaluation,
        gap=_gap,
        errors=_errors,
        subgroups=subgroups,
        robustness=robustness,
        saliency=_saliency,
    )


def _gap(page: Page) -> Values:
    """What validation promised and what the test split kept, where validation's scores are known."""
    rows = scores(page)
    shown = table("scores", rows) if rows["val"].notna().any() else None
    return {"validation": page.files.tested.validation.metrics, "table": shown}


def scores(page: Page) -> pd.DataFrame:
    """The winner's scores, one row per metric: ``name``, ``metric``, ``gap``, and ``val`` and ``test`` with bounds."""
    validation, rows = page.files.tested.validation.metrics, []
    for name, metric in METRICS.items():
        if name not in validation and name not in page.files.chosen_scores:
            continue
        one, (value, low, high) = validation.get(name, Estimate()), page.files.chosen_scores.get(name, (None,) * 3)
        row = {"name": name, "metric": metric.title, "test": value, "test_low": low, "test_high": high}
        gap = None if one.value is None or value is None else one.value - value
        rows.append({**row, **bounded("val", one), "gap": gap})
    return pd.DataFrame(rows)


def _errors(page: Page) -> Values:
    """The images of which the winner was surest and wrong: pictures, then a table."""
    rows = page.files.evaluated.failures
    if rows is None or not len(rows):
        return {"rows": rows}
    rows = rows.sort_values("rank", kind="stable").reset_index(drop=True)
    kinds = _kinds(page, rows)
    return {
        "rows": rows,
        "kinds": kinds.head(MOST_KINDS),
        "more_kinds": len(kinds) > MOST_KINDS,
        "total": int(kinds["number"].sum()),
        "most": MOST_ROWS,
        "table": table("errors", rows.head(MOST_ROWS), folded=len(rows) > 12),
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


def _gallery(page: Page, rows: pd.DataFrame) -> Values:
    """``shown``: the errors of which there is a picture; None where failures.npz is missing."""
    images = page.files.evaluated.failure_images
    if images is None:
        return {"shown": None}
    by_rank = rows[rows["rank"].notna()].set_index("rank")
    places = [place for place, rank in enumerate(images.ranks) if rank in by_rank.index][:MOST_PICTURES]
    shown = by_rank.loc[[images.ranks[place] for place in places]].reset_index()
    drawing = page.drawing("failures", figures_failures.errors, images.images[places], shown)
    return {"shown": shown, "copies": (shown["copies"] > 1).any(), "pictures": drawing}


def _saliency(page: Page) -> Values:
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
        "drawing": page.drawing("saliency", figures_failures.saliency, images, shown),
    }


def subgroups(page: Page) -> Values:
    """A figure of the intervals, and a table of all groups."""
    rows = page.files.evaluated.subgroups
    if rows is None or not len(rows):
        return {"rows": rows}
    rows = rows.assign(warning=[f"fewer than {FEW} images" if small else "" for small in rows["small"]])
    shown = [name for name in TITLES if rows[name].notna().any()]
    listed = table("subgroups", rows, measures={name: TITLES[name] for name in shown})
    found = {"rows": rows, "table": listed, "few": FEW, "counting": counting(page, shown)}
    return found | _forest(page, rows, shown)


def _forest(page: Page, rows: pd.DataFrame, shown: list[str]) -> Values:
    """The figure, and the group of the lowest score."""
    two = rows["sensitivity"].notna().any()
    wanted = ("auc", "sensitivity", "specificity") if two else ("auc", "balanced_accuracy", "accuracy")
    drawn = [name for name in wanted if name in shown]
    if not drawn:
        return {"drawn": None}
    first = drawn[0]
    lowest = rows.dropna(subset=[first]).sort_values(first).head(1)
    titles, overall = {name: TITLES[name] for name in drawn}, {name: _overall(page, name) for name in drawn}
    return {
        "drawn": page.drawing("subgroups", figures_failures.forest, rows, titles, overall),
        "lowest": lowest.assign(score=[numbers.with_interval(*lowest[[f"{first}{end}" for end in ENDS]].iloc[0])]),
        "titles": list(titles.values()),
        "counting_drawn": counting(page, drawn),
    }


def counting(page: Page, measures: Iterable[str]) -> str:
    """By which rule images were called for ``measures`` of subgroups, and where all test images go by another."""
    words = joined(TITLES[name].lower() for name in measures if name != "auc")
    threshold = page.threshold if len(page.files.classes) == 2 else None
    said = sentence("counting.txt.j2", measures=words, threshold=threshold)
    return f" {said}" if said else ""


def _overall(page: Page, name: str) -> float | None:
    """The winner's value on all test images, of two classes that at the frozen threshold, where it depends on one."""
    points = page.files.evaluated.points
    if points is not None and len(page.files.classes) == 2:
        frozen = points[(points["point"] == "frozen") & (points["measure"] == name)]
        if len(frozen):
            return numbers.number(frozen["value"].iloc[0])
    return numbers.number(page.files.chosen_scores.get(name, (None,))[0])


def robustness(page: Page) -> Values:
    """What each alteration costs: curves, a table, and the costliest."""
    rows = page.files.evaluated.robustness
    if rows is None:
        return {"rows": rows}
    altered = rows[rows["corruption"] != "none"].reset_index(drop=True)
    clean = rows[rows["corruption"] == "none"]
    values = {name: clean[name].iloc[0] if len(clean) else None for name in ("auc", "accuracy")}
    rows = rows.assign(
        title=[ALTERATIONS.get(str(name), str(name)) for name in rows["corruption"]],
        below=rows["unit"].fillna(""),
        change=[
            numbers.signed_interval(*pair) for pair in zip(rows["auc_change_low"], rows["auc_change_high"], strict=True)
        ],
    )
    changed = rows[(rows["corruption"] != "none") & rows["auc_change"].notna()]
    beyond, changed = changed[changed["auc_change_high"] < 0], changed.sort_values("auc_change")
    return {
        "rows": altered,
        "most": rows["images"].max(),
        "precision": next((str(one) for one in rows["precision"] if present(one)), "") if "precision" in rows else "",
        "reasons": dict.fromkeys(str(one).rstrip(".") for one in rows["reason"] if present(one)),
        "costliest": next(iter(changed.to_dict("records")), None),
        "lowers": len(changed) and round(float(changed["auc_change"].iloc[0]), 3) < 0,
        "beyond": [str(name).lower() for name in beyond["title"].drop_duplicates()],
        "drawing": page.drawing("robustness", figures_failures.robustness, altered, ALTERATIONS, values),
        "table": table("robustness", rows),
    }
