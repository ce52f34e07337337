"""The top of the page: what the run set out to find, what came out, its numbers, and what nobody should overlook.

The words are in templates of the same names. The console prints `headline`, `banners` and `unfairness` too.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from bench import numbers
from bench.failures import KINDS, End, kind_in, unfair
from bench.report import names, verdict
from bench.report.guard import guarded
from bench.report.read.files import RunFiles, opened_in_vain
from bench.report.tables import data as tables_data
from bench.report.tables import search as tables_search
from bench.report.tables import winner as tables_winner
from bench.report.templating import paragraphs
from bench.search.parameters import GIVEN, N_STAGES, PARAMETERS
from bench.stats.metrics import METRICS, Metric


@dataclass(frozen=True)
class Banner:
    """A warning that nobody should overlook; a ``grave`` one, in red, says that the result itself does not hold."""

    title: str
    text: str
    grave: bool = False


@dataclass(frozen=True)
class Scored:
    """A metric's value with its interval in words."""

    metric: Metric
    value: float
    interval: str


@dataclass(frozen=True)
class Tile:
    """A number of the headline with what it is and what stands beside it."""

    label: str
    value: str
    detail: str = ""


def summarised(build: Callable[[RunFiles], Any], files: RunFiles, instead: Any, level: int = logging.WARNING) -> Any:
    """What ``build`` makes of the files, or ``instead`` where a damaged file defeats it, which is logged."""
    return guarded(partial(build, files), lambda _: instead, "A part of the page could not be written.", level)


def headline(files: RunFiles) -> str:
    """The title of the page: the verdict, or how far the run has come."""
    if said := verdict.headline(verdict.verdict(files)):
        return said
    if files.trials is not None and len(files.trials):
        return "No winner yet: the run is unfinished"
    return "No trial has finished yet"


DEPTHS = {0: "every backbone stage frozen", 1: "the last stage unfrozen", N_STAGES: "all five stages unfrozen"}
"""Unfreeze depths in words; the others are numbers."""


def configuration(row: "pd.Series[Any]") -> str:
    """A configuration in words, but its backbone, from the ``config_*`` columns of ``row``."""
    told = []
    for one in PARAMETERS.values():
        value: Any = row.get(one.column)
        if one.name == "backbone" or not numbers.present(value) or (one.quiet and value == one.default):
            continue
        if one.name == "unfreeze_depth":
            depth = round(float(value))
            told.append(DEPTHS.get(depth, f"the last {depth} stages unfrozen"))
        else:
            told.append(one.phrase.format(getattr(numbers, one.written)(value)))
    return ", ".join(told)


def winner_configuration(files: RunFiles) -> str:
    """The winner's configuration in words; empty where the files do not say."""
    if files.finalists is None:
        return ""
    rows = files.finalists[files.finalists["backbone"] == files.chosen].sort_values("winner", ascending=False)
    return configuration(rows.iloc[0]) if len(rows) else ""


def banners(files: RunFiles) -> list[Banner]:
    """Warnings that turn the meaning of every number on the page."""
    said = paragraphs(
        "banners.txt.j2",
        changed=files.changed,
        titles=files.titles,
        lost=unfairness(files),
        found=verdict.verdict(files),
        random=began_at_random(files),
        doubted={name: one for name, one in (files.record.weights.checked or {}).items() if one.doubtful},
        synthetic=is_synthetic(files),
        shared=tables_data.shared_patients(files.splits),
    )
    found = []
    for one in said:
        title, _, text = one.removeprefix("! ").partition(". ")
        found.append(Banner(title, text, grave=one.startswith("! ")))
    return found


def is_synthetic(files: RunFiles) -> bool:
    """Whether a program drew the images."""
    return bool(files.about_data.synthetic) or files.about_data.source == "demo"


def began_at_random(files: RunFiles) -> bool:
    """Whether the winner began with random weights; before there is one, whether every network does."""
    record = files.record
    given = record.weights.of(GIVEN).kind == "random" or record.settings.weights == "random"
    space = record.space.parameters.get("initialisation")
    starts = [str(one) for one in (space.choices if space else None) or (GIVEN,)]
    if files.chosen:
        starts = [files.begun_with]
    return all(one == "random" or (one == GIVEN and given) for one in starts)


def unfairness(files: RunFiles) -> list[str]:
    """Sentences on failed trials that leave the comparison unfair; none if it is fair."""
    if files.trials is None:
        return []
    trials, reasons = files.trials, files.trials["reason"].map(numbers.text)
    kinds = trials["failure"].where(trials["failure"].isin(KINDS), reasons.map(kind_in))
    ends = map(End, trials["config_backbone"], kinds.where(trials["state"] == "failed", ""), reasons)
    return unfair(list(ends), files.title)


def story(files: RunFiles) -> list[str]:
    """The question of the run and what came out, a paragraph each."""
    best = pd.DataFrame() if files.trials is None else tables_search.best_trials(files.trials, files.metric)
    found, winner = verdict.verdict(files), files.record.winner
    return paragraphs(
        "story.txt.j2",
        titles=files.titles,
        files=files,
        metric=files.metric,
        images=sum(split.images for split in files.about_data.splits.values()),
        winner=files.chosen,
        how=winner_configuration(files),
        found=found,
        score=winner.score if winner else None,
        seeds=files.over_seeds(),
        folds=files.over_folds(),
        best=next(iter(best.to_dict("records")), None),
        best_configuration=configuration(best.iloc[0]) if len(best) else "",
        untested=untested(files, "no number on this page comes from it"),
        patients=None if files.patients_assumed else files.tested.patients,
        scores=_scores(files),
        tested=bool(files.chosen_scores),
        planned=files.record.search.planned if files.record.search else None,
        majority=_majority(files),
        counts=counts(files),
    )


def _scores(files: RunFiles) -> list[Scored]:
    """The winner's ROC AUC and accuracy on test, as far as they are known, each with its interval in words."""
    scores = {name: value for name, (value, _, _) in files.chosen_scores.items() if value is not None}
    return [
        Scored(METRICS[name], scores[name], interval(files, name)) for name in ("auc", "accuracy") if name in scores
    ]


def _majority(files: RunFiles) -> tuple[str, float] | None:
    """The commonest class of the test images and its share."""
    try:
        return tables_winner.majority(files.chosen_model, files.classes)
    except ValueError:
        return None


def untested(files: RunFiles, so: str) -> str:
    """Why there is no result on test, as a sentence; empty where there is one.

    Args:
        files: what the run folder holds.
        so: what follows where the split is sealed.
    """
    if files.evaluation is not None:
        return ""
    if files.opened:
        return files.problems["evaluation.json"]
    if files.openings:
        return f"{numbers.capital(opened_in_vain(files.openings))}."
    return f"The test split is still sealed: {so}."


def interval(files: RunFiles, name: str) -> str:
    """The interval of one of the winner's metrics on test: ``95 % interval 0.950–0.980``."""
    bounds = numbers.interval(*files.chosen_scores[name][1:])
    return f"{numbers.level(files.tested.bootstrap.level)} interval {bounds}" if bounds else "no interval"


def counts(files: RunFiles) -> dict[str, int]:
    """Trials by state, from trials.csv or, where it is missing, from run.json."""
    if files.trials is not None:
        found = files.trials["state"].value_counts()
    else:
        found = pd.Series(files.record.search.counts if files.record.search else {}, dtype="int64")
    return {state: int(found.get(state, 0)) for state in names.STATES}


def as_tiles(said: list[str]) -> list[Tile]:
    """Paragraphs of a template, ``label | value | detail`` each, as tiles."""
    return [Tile(*one.split(" | ", 2)) for one in said]
