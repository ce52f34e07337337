"""Whether a run has a winner: one value, from which headline, banners, model card and console make their words.

It rests on comparisons.csv: pairs of models on the same test images, by a paired bootstrap over patients. Which
finalist won is said where the Holm-corrected verdicts say it; that a baseline is better, by its interval alone; that
one keeps up, where either leaves it open, so that no headline is surer than the sentences below it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.names import BASELINES, backbone, joined, metric_words
from bench.report.read.chosen import over_seeds, winner_name, winner_scores
from bench.report.read.files import RunFiles, mapping
from bench.stats.metrics import METRICS, Metric

VERDICTS = {"a better": 1, "b better": -1, "cannot be told apart": 0}
"""Verdict of comparisons.csv -> which way the pair goes; others mean that it was not compared."""

UNTRAINED = ("metadata", "majority")
"""Baselines that look at no image: not even a tie with one of them is a result."""

PHRASES = {
    "recipe": "the default recipe",
    "small_cnn": "a small CNN from scratch",
    "metadata": "metadata alone",
    "majority": "answering the majority class",
}
"""The baselines inside a sentence."""


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
        difference: test ROC AUC of the chosen one minus that of this one; None where it is not known.
        low, high: its interval; None where there is none.
    """

    name: str
    way: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def beats(self) -> bool:
        """Whether it is better than the chosen one beyond its interval."""
        return self.high < 0 if self.high is not None else self.way == -1

    @property
    def ties(self) -> bool:
        """Whether the two cannot be told apart: by the corrected verdict, or because the interval includes 0."""
        within = self.low is not None and self.high is not None and self.low <= 0 <= self.high
        return within or (self.way == 0 and not self.beats)

    @property
    def why_tied(self) -> str:
        """What of the difference leaves it open: ``an interval (−0.040 to +0.020) that includes 0``."""
        if self.low is None or self.high is None:
            return "the same in every bootstrap draw"
        bounds = wording.signed_interval(self.low, self.high)
        if self.low <= 0 <= self.high:
            return f"an interval ({bounds}) that includes 0"
        return f"an interval ({bounds}) that chance may explain among so many comparisons (Holm-corrected)"

    @property
    def gain(self) -> str:
        """By how much it is better than the chosen one, with its interval: ``0.078 (0.021 to 0.134)``."""
        if self.difference is None:
            return ""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        bounds = "" if low is None or high is None else f" ({wording.score(low)} to {wording.score(high)})"
        return f"{wording.score(-self.difference)}{bounds}"


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
        apart: pairs of other finalists that can be told apart, the better one first.
        why: why there is no internal test; empty where there is one.
    """

    standing: Standing
    chosen: str = ""
    metric: Metric = METRICS["auc"]
    score: tuple[float | None, float | None, float | None] = (None, None, None)
    rivals: tuple[Rival, ...] = ()
    baselines: tuple[Rival, ...] = ()
    apart: frozenset[tuple[str, str]] = frozenset()
    why: str = ""

    @property
    def won(self) -> bool:
        """Whether the chosen one is better than every other finalist, and no baseline keeps up with it."""
        return self.standing is Standing.WON and not self.beaten_by and not self.tied_with

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


def verdict(files: RunFiles) -> Verdict:
    """The verdict on a run."""
    chosen = winner_name(files)
    if not chosen:
        return Verdict(Standing.NOBODY)
    others = _others(files, chosen)
    if files.evaluation is None:
        rivals = tuple(Rival(name) for name in others)
        validation = (_on_validation(files), None, None)
        return Verdict(Standing.VALIDATION, chosen, files.metric, validation, rivals, why=_untested(files))
    table = files.evaluated.comparisons
    pairs: list[dict[str, Any]] = [] if table is None else [_named(row) for row in table.to_dict("records")]
    found = {one.name: one for row in pairs if row["family"] == "finalists" and (one := _rival(row, chosen))}
    rivals = tuple(found.get(name, Rival(name)) for name in dict.fromkeys([*found, *others]))
    controls = [one for row in pairs if row["family"] == "controls" and (one := _rival(row, chosen))]
    order = {name: place for place, name in enumerate(BASELINES)}
    metric, score = _on_test(files)
    return Verdict(
        _standing(rivals),
        chosen,
        metric,
        score,
        rivals,
        tuple(sorted(controls, key=lambda one: order.get(one.name, len(order)))),
        frozenset(_apart(pairs)),
    )


def _named(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()}


def _others(files: RunFiles, chosen: str) -> list[str]:
    """The finalists that were trained to their end, but the chosen one, by their own order."""
    rows = files.finalists
    named = [] if rows is None else rows.loc[rows["state"] == "completed", "backbone"].tolist()
    models = mapping(mapping(files.evaluation).get("models"))
    named += [name for name, model in models.items() if mapping(model).get("kind", "finalist") == "finalist"]
    return [str(name) for name in dict.fromkeys(named) if name != chosen]


def _rival(row: Mapping[str, Any], chosen: str) -> Rival | None:
    """The other model of a row of comparisons.csv that ``chosen`` is in."""
    if chosen not in (row["a"], row["b"]):
        return None
    sign, name = (1, row["b"]) if row["a"] == chosen else (-1, row["a"])
    way = VERDICTS.get(str(row.get("verdict")))
    value, low, high = (wording.number(row.get(end)) for end in ("difference", "low", "high"))
    if sign < 0:
        value, low, high = (None if end is None else -end for end in (value, high, low))
    return Rival(str(name), None if way is None else sign * way, value, low, high)


def _apart(pairs: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    for row in pairs:
        if row["family"] == "finalists" and (way := VERDICTS.get(str(row.get("verdict")))):
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
    rows = files.finalists[files.finalists["winner"]] if files.finalists is not None else pd.DataFrame()
    over_folds = wording.number(rows["fold_mean"].iloc[0]) if len(rows) else None
    if over_folds is not None:
        return over_folds
    mean = wording.number(over_seeds(files)["mean"])
    return mean if mean is not None else wording.number(mapping(files.run.get("winner")).get("score"))


def _on_test(files: RunFiles) -> tuple[Metric, tuple[float | None, float | None, float | None]]:
    """The run's metric on the internal test; where it has no value there, ROC AUC or accuracy."""
    scores = winner_scores(files)
    for name in dict.fromkeys([files.metric.name, "auc", "accuracy"]):
        value, low, high = map(wording.number, scores.get(name, (None, None, None)))
        if value is not None:
            return METRICS[name], (value, low, high)
    return files.metric, (None, None, None)


def _untested(files: RunFiles) -> str:
    if files.outdated:
        return "the internal test is of earlier models"
    if files.opened:
        return "evaluation.json cannot be read"
    return "the internal test was not finished" if files.openings else "the test split is sealed"


def headline(found: Verdict) -> str:
    """The verdict in a line, without a full stop; empty while no finalist has been chosen."""
    chosen = backbone(found.chosen)
    if found.standing is Standing.NOBODY:
        return ""
    if found.standing is Standing.VALIDATION:
        value = "" if found.score[0] is None else f" {metric_words(found.metric)} {wording.score(found.score[0])}"
        led = f"scored best on validation,{value}" if found.rivals else f"reached{value} on validation"
        return f"{chosen} {led if value else 'was chosen by validation'}; {found.why}"
    if found.won:
        return f"{chosen} won"
    said = {
        Standing.SINGLE: _single,
        Standing.WON: lambda found: f"{backbone(found.chosen)} is the best of the backbones",
        Standing.TIED: _tied,
        Standing.LOST: _lost,
        Standing.UNCOMPARED: _uncompared,
    }[found.standing](found)
    keeping = [(one, "beats") for one in found.beaten_by] or [(one, "keeps up with") for one in found.tied_with]
    if not keeping:
        return said
    first = found.standing in (Standing.WON, Standing.SINGLE)
    told = joined(
        f"{PHRASES.get(one.name, backbone(one.name))} {verb} {'it' if first else chosen}" for one, verb in keeping
    )
    return f"{said}, {'but' if first else 'and'} {told}"


def _are(names: list[str]) -> str:
    return f"{joined(names)} {'is' if len(names) == 1 else 'are'}"


def _were(names: list[str]) -> str:
    return "was" if len(names) == 1 else "were"


def _titles(names: Iterable[str]) -> list[str]:
    return [backbone(name) for name in names]


def _single(found: Verdict) -> str:
    chosen = backbone(found.chosen)
    if found.score[0] is None:
        return f"{chosen} was tested, but no score could be computed"
    return f"{chosen} reached {metric_words(found.metric)} {wording.with_interval(*found.score)} on the internal test"


def _tied(found: Verdict) -> str:
    chosen, tied, worse, unknown = backbone(found.chosen), found.going(0), found.going(1), found.going(None)
    if any((a, b) in found.apart for a in tied for b in tied):
        parts = [f"{joined(_titles(tied))} cannot be told apart from {chosen}"]
    else:
        parts = [f"{joined([chosen, *_titles(tied)])} cannot be told apart"]
    if worse:
        than = "" if all((a, b) in found.apart for a in tied for b in worse) else f" than {chosen}"
        parts.append(f"{_are(_titles(worse))} worse{than}")
    if unknown:
        parts.append(f"{joined(_titles(unknown))} {_were(unknown)} not compared")
    return f"No clear winner: {'; '.join(parts)}"


def _lost(found: Verdict) -> str:
    return (
        f"{backbone(found.chosen)} led on validation, but {_are(_titles(found.going(-1)))} better on the internal test"
    )


def _uncompared(found: Verdict) -> str:
    worse = found.going(1)
    names = joined(_titles([found.chosen, *found.going(None)]))
    more = f"; {_are(_titles(worse))} worse than {backbone(found.chosen)}" if worse else ""
    return f"No clear winner: {names} were not compared on the internal test{more}"
