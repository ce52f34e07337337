"""Whether a run has a winner: one value, from which headline, banners, model card and console make their words.

It rests on comparisons.csv: pairs of models on the same test images, over seeds and patients. Which finalist won is
said where the Holm-corrected verdicts say it; that a baseline is better, by its interval alone; that one keeps up,
where either leaves it open, so that no headline is surer than the sentences below it. Whether tuning was worth it is
the verdict of the one contrast that was fixed beforehand.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pandas as pd

from bench.numbers import number, text
from bench.report.names import BASELINES, OTHER_START
from bench.report.read.files import RunFiles
from bench.report.templating import sentence
from bench.stats.metrics import METRICS, Metric

TIES = ("cannot be told apart", "equivalent", "undecided")
VERDICTS = {"a better": 1, "b better": -1, **dict.fromkeys(TIES, 0)}
"""Verdict of comparisons.csv -> which way the pair goes; others mean that it was not compared."""

UNTRAINED = ("metadata", "majority")
"""Baselines that look at no image: not even a tie with one of them is a result."""


class Standing(StrEnum):
    """What can be said of the finalist that validation chose, beside the others."""

    NOBODY = "no finalist has been chosen"
    VALIDATION = "known on validation alone"
    SINGLE = "the only backbone"
    WON = "better than every other"
    TIED = "cannot be told apart from another"
    LOST = "worse than another"
    UNCOMPARED = "not compared with the others"


@dataclass(frozen=True)
class Rival:
    """A model beside the chosen one.

    Attributes:
        name: of the backbone or baseline.
        way: 1 where the chosen one is better, -1 where this one is, 0 where they cannot be told apart, None where they
            were not compared.
        difference: by how much the chosen one is better on test, below 0 where this one is; None where not known.
        low, high: its interval; None where there is none.
        equivalent: whether the two differ by less than would matter.
        sentence: what comparisons.csv says of the two.
    """

    name: str
    way: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    equivalent: bool = False
    sentence: str = ""

    @property
    def beats(self) -> bool:
        """Whether it is better than the chosen one beyond its interval, and by more than would not matter."""
        return not self.equivalent and (self.high < 0 if self.high is not None else self.way == -1)

    @property
    def words(self) -> str:
        """The chosen one against this one, in a word; empty where they were not compared."""
        if self.way is None:
            return ""
        return "equivalent" if self.equivalent else {1: "better", -1: "worse", 0: "undecided"}[self.way]

    @property
    def within(self) -> bool:
        """Whether the interval includes 0."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    @property
    def ties(self) -> bool:
        """Whether the two cannot be told apart: by the corrected verdict, or because the interval includes 0."""
        return self.within or (self.way == 0 and not self.beats)


@dataclass(frozen=True)
class Verdict:
    """What the internal test says of the finalist that validation chose.

    Attributes:
        standing: beside the other finalists.
        chosen: name of the backbone; empty while there is none.
        metric: by which ``score`` is given.
        score: value, low and high on the internal test, where there is one, else on validation; None where not known.
        rivals: the other finalists.
        baselines: those that it was compared with.
        missing: what was not trained to its end, so that nothing says how it compares: backbones of the run, then
            baselines.
        primary: its default recipe, the contrast that was fixed beforehand; None where there was none.
        compared_by: the metric of all pairs.
        folds: of whose scores on validation ``score`` is the mean; 0 where it is not.
        apart: pairs of other finalists that can be told apart, the better one first.
        why: why there is no internal test; empty where there is one.
        titles: of backbones, by name.
    """

    standing: Standing
    chosen: str = ""
    metric: Metric = METRICS["auc"]
    score: tuple[float | None, float | None, float | None] = (None, None, None)
    rivals: tuple[Rival, ...] = ()
    baselines: tuple[Rival, ...] = ()
    missing: tuple[str, ...] = ()
    primary: Rival | None = None
    compared_by: Metric = METRICS["auc"]
    apart: frozenset[tuple[str, str]] = frozenset()
    why: str = ""
    folds: int = 0
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def won(self) -> bool:
        """Whether the chosen one is better than every other finalist, and no baseline keeps up with it.

        Nothing is known of those that are ``missing``.
        """
        return self.standing is Standing.WON and not self.beaten_by and not self.kept_up_by

    @property
    def kept_up_by(self) -> list[Rival]:
        """Baselines that the chosen model is not shown to be better than, and that are not shown to be better."""
        return [one for one in self.baselines if one.ties and not one.beats]

    @property
    def without_result(self) -> list[str]:
        """Names of the baselines that are missing."""
        return [name for name in self.missing if name in BASELINES]

    @property
    def all_compared(self) -> bool:
        """Whether there are baselines, and each that was trained was compared."""
        return bool(self.baselines) and all(one.way is not None for one in self.baselines)

    @property
    def beaten_by(self) -> list[Rival]:
        """Baselines that are better than the chosen one beyond their interval."""
        return [one for one in self.baselines if one.beats]

    @property
    def tied_with(self) -> list[Rival]:
        """Baselines that look at no image, and from which the chosen one cannot be told apart all the same."""
        return [one for one in self.baselines if one.name in UNTRAINED and one.ties]

    def going(self, way: int | None) -> list[str]:
        """Names of the rivals that go this ``way``."""
        return [one.name for one in self.rivals if one.way == way]

    @property
    def tied_apart(self) -> bool:
        """Whether some of those that tie with the chosen one can be told apart from each other."""
        tied = self.going(0)
        return any((a, b) in self.apart for a in tied for b in tied)

    @property
    def worse_than_all(self) -> bool:
        """Whether those that are worse than the chosen one are worse than all that tie with it, too."""
        return all((a, b) in self.apart for a in self.going(0) for b in self.going(1))


def headline(found: Verdict) -> str:
    """The verdict in a line, without a full stop; empty while no finalist has been chosen."""
    return sentence("headline.txt.j2", found=found, titles=found.titles)


def verdict(files: RunFiles) -> Verdict:
    """The verdict on a run."""
    chosen = files.chosen
    if not chosen:
        return Verdict(Standing.NOBODY)
    others = _others(files, chosen)
    missing = tuple(_missing(files, {chosen, *others}))
    if files.evaluation is None:
        rivals = tuple(Rival(name) for name in others)
        validation = (_on_validation(files), None, None)
        return Verdict(
            Standing.VALIDATION,
            chosen,
            files.metric,
            validation,
            rivals,
            missing=missing,
            why=_untested(files),
            folds=files.over_folds().n,
            titles=files.titles,
        )
    table = files.evaluated.comparisons
    pairs = [] if table is None else table.to_dict("records")
    within = [row for row in pairs if row["family"] == "finalists"]
    found = {one.name: one for row in within if (one := _rival(row, chosen))}
    rivals = tuple(found.get(name, Rival(name)) for name in dict.fromkeys([*found, *others]))
    controls = [one for row in pairs if row["family"] != "finalists" and (one := _rival(row, chosen))]
    baselines = [one for one in controls if one.name != OTHER_START]
    order = {name: place for place, name in enumerate(BASELINES)}
    metric, score = _on_test(files)
    return Verdict(
        _standing(rivals),
        chosen,
        metric,
        score,
        rivals,
        tuple(sorted(baselines, key=lambda one: order.get(one.name, len(order)))),
        missing,
        next((one for row in pairs if row["family"] == "primary" and (one := _rival(row, chosen))), None),
        compared_by(table),
        frozenset(_apart(within)),
        titles=files.titles,
    )


def compared_by(table: pd.DataFrame | None) -> Metric:
    """The metric by which comparisons.csv compares; a table from before it followed ``--metric`` has ROC AUC."""
    named = [] if table is None else [name for name in table["metric"] if name in METRICS]
    return METRICS[named[0] if named else "auc"]


def _others(files: RunFiles, chosen: str) -> list[str]:
    """The finalists that were trained to their end, but the chosen one, by their own order."""
    rows = files.finalists
    named = [] if rows is None else rows.loc[rows["state"] == "completed", "backbone"].tolist()
    named += [name for name, model in files.tested.models.items() if model.kind in ("", "finalist")]
    return [str(name) for name in dict.fromkeys(named) if name != chosen]


def _missing(files: RunFiles, trained: set[str]) -> list[str]:
    """Backbones of the run that are not ``trained`` to their end, and baselines of which every seed failed."""
    known = files.finalists is not None or files.evaluation is not None
    found = [name for name in files.backbones if known and name not in trained]
    if files.baselines is not None:
        states = files.baselines.groupby("baseline", sort=False)["state"].agg(set)
        found += [str(name) for name, ends in states.items() if ends == {"failed"}]
    return found


def _rival(row: Mapping[Any, Any], chosen: str) -> Rival | None:
    """The other model of a row of comparisons.csv that ``chosen`` is in."""
    if chosen not in (row["a"], row["b"]):
        return None
    sign, name = (1, row["b"]) if row["a"] == chosen else (-1, row["a"])
    way = VERDICTS.get(str(row["verdict"]))
    value, low, high = (number(row[end]) for end in ("difference", "low", "high"))
    if (sign < 0) is METRICS.get(row["metric"], METRICS["auc"]).higher_is_better:
        value, low, high = (None if end is None else -end for end in (value, high, low))
    told = {"equivalent": row["verdict"] == "equivalent", "sentence": text(row["sentence"])}
    return Rival(str(name), None if way is None else sign * way, value, low, high, **told)


def _apart(pairs: Iterable[Mapping[Any, Any]]) -> Iterable[tuple[str, str]]:
    for row in pairs:
        if way := VERDICTS.get(str(row["verdict"])):
            yield (row["a"], row["b"]) if way > 0 else (row["b"], row["a"])


def _standing(rivals: tuple[Rival, ...]) -> Standing:
    ways = [one.way for one in rivals]
    if not ways:
        return Standing.SINGLE
    if -1 in ways:
        return Standing.LOST
    if 0 in ways:
        return Standing.TIED
    return Standing.UNCOMPARED if None in ways else Standing.WON


def _on_validation(files: RunFiles) -> float | None:
    """The score that chose: the mean over the folds, else that over the seeds."""
    winner = files.record.winner
    means = (files.over_folds().mean, files.over_seeds().mean, winner.score if winner else None)
    known = [number(value) for value in means]
    return next((value for value in known if value is not None), None)


def _on_test(files: RunFiles) -> tuple[Metric, tuple[float | None, float | None, float | None]]:
    """The run's metric on the internal test; where it has no value there, ROC AUC or accuracy."""
    scores = files.chosen_scores
    for name in dict.fromkeys([files.metric.name, "auc", "accuracy"]):
        if scores.get(name, (None,))[0] is not None:
            return METRICS[name], scores[name]
    return files.metric, (None, None, None)


def _untested(files: RunFiles) -> str:
    if files.outdated:
        return "the internal test is of earlier models"
    if files.opened:
        return "evaluation.json cannot be read"
    return "the internal test was not finished" if files.openings else "the test split is sealed"
