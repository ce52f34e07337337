"""The threshold panel: what the chosen model's threshold decides on validation and test, as data for panel.js.

The page holds the scores themselves. Each is written as ten-thousandths, rounded down, plus a quarter for every named
threshold (frozen, 0.5, 95 % sensitivity) within the same ten-thousandth that it reaches, and thresholds likewise. So
small numbers put each image on the same side of each named threshold as its full score does.
"""

import io
import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.stats import norm

from bench import numbers
from bench.report.blocks import Table, table
from bench.report.names import MEASURES
from bench.report.page import Page
from bench.report.templating import Values
from bench.stats.metrics import Mask, one_vs_rest
from bench.stats.proportions import wilson
from bench.texts import visible

Codes = npt.NDArray[np.float64]

UNITS = 10_000
"""To which probabilities are rounded down."""
SENSITIVITY = 0.95
MOST_SCORES = 120_000
"""Scores that the page holds: of so many classes as fit."""
MOST_LETTERS = 400_000
"""Of a split's file names and patients; where there are more, the row of the table stands in for them."""
LONGEST_START = 35
TITLES = {"val": "Validation", "test": "Internal test"}


@dataclass(frozen=True)
class Side:
    """One class against the rest.

    Attributes:
        name: of the class.
        rest: name of the other class, empty where there are several.
        thresholds: name -> code and value: ``frozen``, ``0.5``, ``sensitive``.
    """

    name: str
    rest: str
    thresholds: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Split:
    """The images of one split, in the order of their table.

    Attributes:
        file: the table.
        several: whether a patient has several of the images.
        labels: the side that each image belongs to; -1 where its class has none.
        scores: of each side, the code of each image's score.
        names, patients: shortened; see `shortened`. Empty where they would take too much of the page.
        pictures: number of an image -> its thumbnail as JPEG, base64.
        bounds: of each side, named threshold -> intervals by patients in the order of `MEASURES`.
    """

    file: str
    several: bool
    labels: Sequence[int]
    scores: Sequence[Sequence[float]]
    names: Sequence[str]
    patients: Sequence[str]
    pictures: Mapping[int, str]
    bounds: Sequence[Mapping[str, Sequence[tuple[float, float] | None]]]


def panel(page: Page) -> Values:
    """What the panel shows: its data, its state at the frozen threshold as a table, and what it lacks.

    Raises:
        ValueError: if the predictions do not fit the classes.
    """
    given = {"val": page.files.evaluated.validation, "test": page.files.predictions}
    rows = {split: known for split, one in given.items() if one is not None and len(known := _known(page, split, one))}
    frozen = _frozen(page)
    every = [page.files.classes[index] for index in one_vs_rest(len(page.files.classes))]
    fit = max(1, MOST_SCORES // max(1, sum(map(len, rows.values()))))
    if not rows or not every:
        return {"data": None}
    scores = {split: {name: _scores(one, name) for name in every[:fit]} for split, one in rows.items()}
    sides = [_side(page, name, frozen, rows, scores) for name in every[:fit]]
    splits = {split: _split(page, split, one, sides, scores[split]) for split, one in rows.items()}
    level = page.files.tested.bootstrap.level or 0.95
    data = {"level": numbers.level(level), "z": float(norm.ppf((1 + level) / 2)), "units": UNITS}
    data |= {"sides": [asdict(side) for side in sides], "splits": {name: asdict(one) for name, one in splits.items()}}
    return {
        "data": written(data),
        "sides": sides,
        "left_out": every[fit:],
        "frozen": {side.name: side.thresholds["frozen"][1] for side in sides if "frozen" in side.thresholds},
        "measures": MEASURES,
        "titles": {split: TITLES[split] for split in rows},
        "pictures": page.files.evaluated.thumbnails is not None,
        "several": any(one.several for one in splits.values()),
        "table": _table(page, sides, splits, level),
    }


def written(data: Any) -> str:
    """``data`` as JSON that can stand in a script element: no text of it ends the element or begins another."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _known(page: Page, split: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a known class and probabilities."""
    classes = page.files.classes
    if missing := [name for name in classes if f"prob_{name}" not in rows]:
        raise ValueError(f"{_file(split)} lacks the column 'prob_{missing[0]}'")
    known = rows["label"].isin(classes) & rows[[f"prob_{name}" for name in classes]].notna().all(axis=1)
    return rows[known].reset_index(drop=True)


def _file(split: str) -> str:
    return f"predictions_{split}.csv"


def _scores(rows: pd.DataFrame, name: str) -> npt.NDArray[np.float32]:
    """As the model gives them, and as they were compared with thresholds."""
    return rows[f"prob_{name}"].to_numpy(np.float32)


def _frozen(page: Page) -> dict[str, float]:
    """Class -> frozen threshold, as the table of operating points has it."""
    found = {one.label: one.value for one in page.files.tested.frozen}
    points = page.files.evaluated.points
    if points is not None:
        rows = points[(points["point"] == "frozen") & points["threshold"].notna()].drop_duplicates("class")
        found |= dict(zip(rows["class"], rows["threshold"], strict=True))
    return found


def _side(
    page: Page,
    name: str,
    frozen: Mapping[str, float],
    rows: Mapping[str, pd.DataFrame],
    scores: Mapping[str, Mapping[str, npt.NDArray[np.float32]]],
) -> Side:
    others = [one for one in page.files.classes if one != name]
    values = {"frozen": frozen[name]} if name in frozen else {}
    values["0.5"] = 0.5
    if "val" in rows and (of_class := rows["val"]["label"] == name).any():
        values["sensitive"] = reaching(scores["val"][name][of_class.to_numpy()], SENSITIVITY)
    codes = coded_thresholds(list(values.values()))
    thresholds = {key: (code, value) for (key, value), code in zip(values.items(), codes.tolist(), strict=True)}
    return Side(visible(name), visible(others[0]) if len(others) == 1 else "", thresholds)


def reaching(positive: npt.NDArray[np.float32], sensitivity: float) -> float:
    """The largest threshold at and above which so large a share of the scores ``positive`` lies."""
    needed = math.ceil(sensitivity * len(positive) - 1e-9)
    return float(np.sort(positive)[::-1][needed - 1])


def coded(scores: npt.NDArray[np.float32], thresholds: Sequence[float]) -> Codes:
    """Ten-thousandths, rounded down, and a quarter for each threshold within the same one that a score reaches.

    Args:
        scores: shape (n_images,).
        thresholds: fewer than four different ones.
    """
    units = _units(scores)
    reached = np.zeros(len(scores))
    for threshold in np.unique(np.asarray(thresholds, np.float32)):
        reached += (units == _units(threshold)) & (scores >= threshold)
    return units + reached / 4


def coded_thresholds(thresholds: Sequence[float]) -> Codes:
    """The thresholds on the scale of `coded`: a score reaches one if, and only if, its code reaches the other's."""
    return coded(np.asarray(thresholds, np.float32), thresholds)


def _units(values: Any) -> Codes:
    return np.floor(np.asarray(values, np.float64) * UNITS)  # exact: 24 bits of a score times 14 of the units


def _split(
    page: Page, split: str, rows: pd.DataFrame, sides: Sequence[Side], scores: Mapping[str, npt.NDArray[np.float32]]
) -> Split:
    places = {name: place for place, name in enumerate(scores)}
    names, patients = _named(rows)
    return Split(
        file=_file(split),
        several=bool(rows["patient"].dropna().duplicated().any()),
        labels=[places.get(label, -1) for label in rows["label"]],
        scores=[
            [int(code) if code.is_integer() else code for code in coded(one, _values(side)).tolist()]
            for side, one in zip(sides, scores.values(), strict=True)
        ],
        names=names,
        patients=patients,
        pictures=_pictures(page, split, rows),
        bounds=[_bounds(page, name) if split == "test" else {} for name in scores],
    )


def _values(side: Side) -> list[float]:
    return [value for _, value in side.thresholds.values()]


def _named(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Names and patients, as far as there is room for them."""
    told = rows[["image", "patient"]].astype("object")
    told = told.where(told.notna(), "")  # not a dash, which would be a patient of that name
    names, patients = (shortened([visible(str(one)) for one in told[name]]) for name in told)
    letters = [sum(map(len, one)) + 3 * len(one) for one in (names, patients)]
    if sum(letters) <= MOST_LETTERS:
        return names, patients
    return (names if letters[0] <= MOST_LETTERS else []), []


def shortened(texts: Sequence[str]) -> list[str]:
    """Each text without what it has in common with the start of the one before: a digit of base 36, and the rest."""
    found, before = [], ""
    for text in texts:
        same = 0
        for one, other in zip(text[:LONGEST_START], before, strict=False):
            if one != other or ord(one) > 0xFFFF:  # of which JavaScript makes two characters
                break
            same += 1
        found.append(f"{np.base_repr(same, 36).lower()}{text[same:]}")
        before = text
    return found


def _pictures(page: Page, split: str, rows: pd.DataFrame) -> dict[int, str]:
    images = page.files.evaluated.thumbnails
    if images is None:
        return {}
    places = {name: place for place, (of, name) in enumerate(images.names) if of == split}
    return {row: _jpeg(images.images[places[name]]) for row, name in enumerate(rows["image"]) if name in places}


def _jpeg(pixels: npt.NDArray[np.uint8]) -> str:
    buffer, grey = io.BytesIO(), pixels.shape[-1] == 1
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, format="JPEG", quality=72, optimize=True)
    return b64encode(buffer.getvalue()).decode("ascii")


def _bounds(page: Page, name: str) -> dict[str, list[tuple[float, float] | None]]:
    """The intervals by patients of operating_points.csv, where these lead."""
    points = page.files.evaluated.points
    if points is None or not page.several_images:
        return {}
    found = {}
    for point, rows in points[points["class"] == name].groupby("point"):
        known = {row["measure"]: _pair(row) for row in rows.to_dict("records")}
        found[str(point)] = [known.get(measure) for measure in MEASURES]
    return found


def _pair(row: Mapping[Any, Any]) -> tuple[float, float] | None:
    low, high = numbers.number(row["low"]), numbers.number(row["high"])
    return None if low is None or high is None else (low, high)


def counted(split: Split, side: int, code: float) -> dict[str, tuple[int, int]]:
    """Measure -> hits and of how many, where images from ``code`` on are called."""
    called = np.asarray(split.scores[side]) >= code
    positive: Mask = np.asarray(split.labels) == side
    cells = {"tp": positive & called, "fn": positive & ~called, "fp": ~positive & called, "tn": ~positive & ~called}
    tp, fn, fp, tn = (int(cell.sum()) for cell in cells.values())
    return {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "accuracy": (tp + tn, len(called)),
    }


def _table(page: Page, sides: Sequence[Side], splits: Mapping[str, Split], level: float) -> Table:
    """The panel at the frozen threshold, or at 0.5: for paper, and where there are no scripts."""
    found = []
    for place, side in enumerate(sides):
        point = "frozen" if "frozen" in side.thresholds else "0.5"
        code, value = side.thresholds[point]
        counts = {split: counted(one, place, code) for split, one in splits.items()}
        for position, (measure, title) in enumerate(MEASURES.items()):
            row = {"measure": title, "below": f"{side.name}, from {numbers.score(value)}" if len(sides) > 1 else ""}
            for split, one in splits.items():
                hits, of = counts[split][measure]
                ends = one.bounds[place][point][position] if point in one.bounds[place] else wilson(hits, of, level)
                row[split] = f"{numbers.score(hits / of)} ({hits:,} / {of:,})" if of else numbers.DASH
                row[f"{split}_bounds"] = numbers.interval(*(ends or (None, None)))
            found.append(row)
    return table("panel", pd.DataFrame(found))
