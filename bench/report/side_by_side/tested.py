"""Runs on the same test images: their chosen models in pairs, by the draws of patients that finalists are compared by.

Images are matched by their content, so that a moved or renamed folder stays the same; where a run kept no fingerprints
of them, by their names within the same data. What is not the same is not compared, and the reason is told.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bench.numbers import counted, present
from bench.report.names import joined
from bench.report.read.files import RunFiles
from bench.report.templating import Sentences
from bench.stats.bootstrap import Bootstrap, Difference, paired_difference
from bench.stats.enough import FEWEST_PATIENTS
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions
from bench.stats.proportions import holm

Frame = pd.DataFrame
LEVEL = 0.95
SAY = Sentences("side_by_side.txt.j2")


@dataclass(frozen=True)
class Pair:
    """Two runs on the internal test.

    Attributes:
        a, b: what they are called.
        images: how many test images they share; 0 where they are not compared.
        difference: test ROC AUC of the first less that of the second; None where they are not compared.
        p_holm: of no difference, Holm-corrected over all pairs; None where there is none.
        why: why they are not compared, or have no interval; empty where nothing is amiss.
    """

    a: str
    b: str
    images: int = 0
    difference: Difference | None = None
    p_holm: float | None = None
    why: str = ""

    @property
    def better(self) -> str:
        """The run that is better; empty where the two cannot be told apart, or were not compared."""
        if self.difference is None or self.p_holm is None or self.p_holm >= 1 - LEVEL:
            return ""
        return self.a if self.difference.value > 0 else self.b

    @property
    def sentence(self) -> str:
        """What can be said of the two."""
        return SAY("pair", self)


def content(files: RunFiles) -> str:
    """How many test images there are, and a digest of their content and labels; empty where that was not kept."""
    rows = _by_content(files)
    if rows is None:
        return ""
    return digest(rows[["pixels", "label"]])


def digest(rows: Frame) -> str:
    """How many images there are, one per row, and a digest of what the rows hold, whatever their order."""
    told = "\n".join(sorted("\t".join(row) for row in rows.itertuples(index=False)))
    return f"{counted(len(rows), 'image')}, {hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _by_content(files: RunFiles) -> Frame | None:
    rows = files.predictions
    return rows if rows is not None and rows["pixels"].notna().all() else None


def in_pairs(named: Sequence[tuple[str, RunFiles]]) -> list[Pair]:
    """Every pair of runs, p Holm-corrected over those that could be compared.

    Args:
        named: what each run is called, and its files.
    """
    found = [_pair(*one, *other) for one, other in combinations(named, 2)]
    p_values = [None if pair.difference is None else pair.difference.p for pair in found]
    return [replace(pair, p_holm=p) for pair, p in zip(found, holm(p_values), strict=True)]


def _pair(a: str, first: RunFiles, b: str, second: RunFiles) -> Pair:
    try:
        rows = _matched(a, first, b, second)
        return _compared(Pair(a, b, len(rows)), rows, first, second)
    except ValueError as error:
        return Pair(a, b, why=str(error))


def _matched(a: str, first: RunFiles, b: str, second: RunFiles) -> Frame:
    """One row per test image, with ``label``, and the columns of either run ending in ``_a`` and ``_b``.

    Raises:
        ValueError: if the two do not have the same test images under the same labels; the message is a part of a
            sentence.
    """
    for label, files in ((a, first), (b, second)):
        if files.predictions is None or files.evaluation is None:
            raise ValueError(f"{label} has no results on it")
    rules = [files.record.rules for files in (first, second)]
    if not all(map(present, rules)):
        raise ValueError("not both say under which version of the rules they were made")
    if rules[0] != rules[1]:
        raise ValueError("they were not made under the same version of the rules")
    if set(first.classes) != set(second.classes):
        raise ValueError("their classes differ")
    by = _identity(first, second)
    sides = [_numbered(files.predictions, [by]) for files in (first, second)]
    both = sides[0].merge(sides[1], on=[by, "copy"], how="outer", suffixes=("_a", "_b"), indicator="found_in")
    alone = [int((both["found_in"] == side).sum()) for side in ("left_only", "right_only")]
    if any(alone):
        told = joined(f"{counted(n, 'image')} in {label} alone" for n, label in zip(alone, (a, b), strict=True) if n)
        raise ValueError(f"their test images are not the same ({told})")
    if relabelled := int((both["label_a"] != both["label_b"]).sum()):
        raise ValueError(f"{counted(relabelled, 'test image has', 'test images have')} another label in the other run")
    return both.assign(label=both["label_a"])


def _identity(first: RunFiles, second: RunFiles) -> str:
    """The column by which images are the same in both runs.

    Raises:
        ValueError: if there is none.
    """
    if _by_content(first) is not None and _by_content(second) is not None:
        return "pixels"
    for known in (lambda files: files.about_data.fingerprint, _opened):
        values = [known(files) for files in (first, second)]
        if all(map(present, values)) and values[0] == values[1]:
            return "image"
    raise ValueError(
        "whether their test images are the same is not known, for one of them kept no fingerprints of them"
    )


def _opened(files: RunFiles) -> str:
    """Fingerprint of the test images by their pixels, as the last opening noted it."""
    openings = files.record.test.openings
    return openings[-1].split if openings else ""


def _numbered(rows: Frame | None, by: list[str]) -> Frame:
    """``rows`` with ``copy``, which numbers images of the same content in an order that both runs have."""
    assert rows is not None
    ordered = rows.sort_values([*by, "label"], kind="stable").reset_index(drop=True)
    return ordered.assign(copy=ordered.groupby(by).cumcount())


def _compared(pair: Pair, rows: Frame, first: RunFiles, second: RunFiles) -> Pair:
    classes = first.classes
    columns = [f"prob_{name}" for name in classes]
    for files in (first, second):
        if absent := [name for name in columns if files.predictions is None or name not in files.predictions]:
            raise ValueError(f"predictions_test.csv of one lacks the column {absent[0]!r}")
    scores = []
    for end in ("a", "b"):
        found = rows[[f"{name}_{end}" for name in columns]].to_numpy(np.float64)
        if not np.isfinite(found).all():
            raise ValueError("predictions_test.csv of one lacks a probability")
        scores.append(found)
    if not rows["label"].isin(classes).all():
        raise ValueError("predictions_test.csv holds a label that is none of the classes")
    labels = rows["label"].map({name: place for place, name in enumerate(classes)}).to_numpy(np.int64)
    if missing := [name for place, name in enumerate(classes) if not (labels == place).any()]:
        raise ValueError(f"ROC AUC needs images of every class, and there is none of {missing[0]}")
    predictions = Predictions(labels, scores[0], _clusters(rows))
    fewest = predictions.fewest_for(METRICS["auc"])
    draws = min(files.tested.bootstrap.draws or 0 for files in (first, second)) if fewest >= FEWEST_PATIENTS else 0
    difference = paired_difference(predictions, scores[1], Bootstrap(draws, LEVEL, first.record.settings.seed))
    why = ""
    if difference.p is None:
        few = f"a class has {counted(fewest, 'patient')}, fewer than {FEWEST_PATIENTS}"
        why = few if fewest < FEWEST_PATIENTS else "there are no bootstrap draws in which it can be computed"
    return replace(pair, difference=difference, why=why)


def _clusters(rows: Frame) -> npt.NDArray[np.int64]:
    """Which images are drawn together, shape (n_images,): those that share a patient in either run, or content."""
    shared = [name for name in ("patient_a", "patient_b", "patient", "pixels") if name in rows]
    images, groups, start = [], [], len(rows)
    for name in shared:
        codes, _ = pd.factorize(rows[name])
        known = codes >= 0
        images.append(np.flatnonzero(known))
        groups.append(codes[known] + start)
        start += int(codes.max(initial=-1)) + 1
    links = (np.concatenate([*images, []]).astype(int), np.concatenate([*groups, []]).astype(int))
    graph = coo_array((np.ones(len(links[0])), links), shape=(start, start))
    return np.asarray(connected_components(graph, directed=False)[1][: len(rows)], np.int64)
