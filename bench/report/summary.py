"""The top of the page: what was asked, what came out, and what to beware of, in plain sentences."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.failures import End, unfair
from bench.report import names, verdict, wording
from bench.report.names import backbone, joined, metric_words, present
from bench.report.read import results
from bench.report.read.chosen import over_seeds, winner_model, winner_name, winner_scores
from bench.report.read.files import RunFiles, listed, mapping, opened_in_vain
from bench.report.tables import base as tables
from bench.report.verdict import Verdict
from bench.report.wording import counted
from bench.run.documents import ModelScores
from bench.stats.metrics import METRICS

FEW_TRIALS = 8
FEW_IMAGES = 50
"""Below these numbers of trials a backbone, and of test images a class, the report warns."""

AS_MADE = (
    "Size, colour mode and bytes tell these classes: a network may learn how the images were made, not what they show"
)
"""What it means that metadata alone keep up."""


@dataclass(frozen=True)
class Banner:
    """A warning that nobody should overlook; a ``grave`` one, in red, says that the result itself does not hold."""

    title: str
    text: str
    grave: bool = False


def configuration(row: "pd.Series[Any]") -> str:
    """A configuration in words, from the ``config_*`` columns of ``row``."""
    parts = [
        f"augmentation “{row['config_augmentation']}”" if present(row.get("config_augmentation")) else "",
        _depth(wording.number(row.get("config_unfreeze_depth"))),
        _part("learning rate", row.get("config_learning_rate"), wording.rate),
        _part("fine-tuning at", row.get("config_finetune_factor"), wording.short, " times that rate"),
        _part("dropout", row.get("config_dropout"), wording.short),
        _part("label smoothing", row.get("config_label_smoothing"), wording.short),
        _part("batches of", row.get("config_batch_size"), wording.count, " images"),
    ]
    return ", ".join(part for part in parts if part)


def _depth(stages: float | None) -> str:
    if stages is None:
        return ""
    named = {0: "every backbone stage frozen", 1: "the last stage unfrozen", 5: "all five stages unfrozen"}
    return named.get(round(stages), f"the last {stages:.0f} stages unfrozen")


def _part(before: str, value: Any, show: Any, after: str = "") -> str:
    return f"{before} {show(value)}{after}" if wording.number(value) is not None else ""


def winner_configuration(files: RunFiles) -> str:
    """The winner's configuration in words; empty where the files do not say."""
    if files.finalists is None:
        return ""
    rows = files.finalists[files.finalists["backbone"] == winner_name(files)].sort_values("winner", ascending=False)
    return configuration(rows.iloc[0]) if len(rows) else ""


def headline(files: RunFiles) -> str:
    """The title of the page: the verdict, or how far the run has come."""
    if said := verdict.headline(verdict.verdict(files)):
        return said
    if files.trials is not None and len(files.trials):
        return "No winner yet: the run is unfinished"
    return "No trial has finished yet"


def banners(files: RunFiles) -> list[Banner]:
    """Warnings that turn the meaning of every number on the page."""
    found = []
    lost = unfairness(files)
    if lost:
        text = f"{' '.join(lost)} What failed had no part in the comparison, which may be unfair for it."
        found.append(Banner("Too many trials failed", text, grave=True))
    found += baseline_banners(verdict.verdict(files))
    if mapping(files.run.get("weights")).get("kind") == "random" or files.settings.get("weights") == "random":
        text = (
            "The backbones started from random weights, not from pretrained ones. "
            "No score here says what a pretrained network would reach."
        )
        found.append(Banner("This is not transfer learning", text))
    if files.data.get("synthetic") is True or files.data.get("source") == "demo":
        text = "The images were drawn by a program to try out the suite. The page says nothing about medicine."
        found.append(Banner("Synthetic images", text))
    shared = results.shared_patients(files.splits) if files.splits is not None and "patient" in files.splits else 0
    if shared:
        text = (
            f"{counted(shared, 'patient has', 'patients have')} images in more than one split: the scores are too good."
        )
        found.append(Banner("Patients cross the splits", text))
    return found


def baseline_banners(found: Verdict) -> list[Banner]:
    """What a baseline that keeps up with the chosen model means, in red."""
    chosen = backbone(found.chosen)
    shown = []
    if found.beaten_by:
        better = joined(f"{verdict.PHRASES.get(one.name, one.name)} by {one.gain}" for one in found.beaten_by)
        text = (
            f"In ROC AUC on the internal test, {chosen} is beaten beyond the interval of the difference: {better}. "
            "What the search chose is not worth its cost on these images."
        )
        if unsure := [one for one in found.beaten_by if one.way == 0]:
            named = joined(verdict.PHRASES.get(one.name, one.name) for one in unsure)
            text += f" After Holm’s correction for all baselines, chance may still explain the lead of {named}."
        text += f" {AS_MADE}." if "metadata" in [one.name for one in found.beaten_by] else ""
        shown.append(Banner("A baseline beats the chosen model", text, grave=True))
    for one in found.tied_with:
        text = f"{chosen} differs from it by {wording.signed(one.difference)} ROC AUC on the internal test, "
        text += f"{one.why_tied}. "
        if one.name == "metadata":
            title = "Metadata alone cannot be told apart from the chosen model"
            text += f"{AS_MADE}."
        else:
            title = "The chosen model cannot be told apart from guessing"
            text += "It was not shown to have learned anything."
        shown.append(Banner(title, text, grave=True))
    return shown


def unfairness(files: RunFiles) -> list[str]:
    """Sentences on failed trials that leave the comparison unfair; none if it is fair."""
    if files.trials is None:
        return []
    failed = files.trials["state"] == "failed"
    kinds = files.trials["failure"].where(failed, "")
    ends = map(End, files.trials["config_backbone"], kinds, files.trials["reason"].map(wording.text))
    return unfair(list(ends), backbone)


def story(files: RunFiles) -> list[str]:
    """What was asked and what came out, a paragraph each."""
    return [
        part
        for part in (
            _asked(files),
            _outcome(files),
            _test(files),
            _comparisons(files),
            _ends(files),
        )
        if part
    ]


def _asked(files: RunFiles) -> str:
    splits = mapping(files.data.get("splits"))
    images = sum(wording.number(mapping(part).get("images")) or 0 for part in splits.values())
    classes = joined(files.classes)
    direction = "higher" if files.metric.higher_is_better else "lower"
    return (
        f"Which of {joined(map(backbone, files.backbones), 'or') or 'the backbones'}, fine-tuned how, "
        f"best tells apart {classes or 'the classes'}{f' on these {images:,.0f} images' if images else ''}? "
        f"Configurations were compared by validation {metric_words(files.metric)} ({direction} is better)."
    )


def _outcome(files: RunFiles) -> str:
    winner, how = winner_name(files), winner_configuration(files)
    if winner:
        score = wording.number(mapping(files.run.get("winner")).get("score"))
        words = f"{metric_words(files.metric)} {wording.score(score)}"
        seeds = over_seeds(files)
        if seeds["n"] > 1 and not _over_folds(files):
            mean = wording.with_spread(seeds["mean"], seeds["sd"])
            reached = (
                f" Over {counted(seeds['n'], 'seed')} it reached a mean validation {metric_words(files.metric)} of "
                f"{mean} (standard deviation), by which it was chosen."
            )
        else:
            reached = "" if score is None else f" It reached {words} on validation."
        reached += _over_folds(files)
        found = verdict.verdict(files)
        means = "" if found.won or not found.rivals else " “The winner” below means this choice, and no more than that."
        with_what = f" with {how}" if how else ""
        return f"{verdict.headline(found)}. Validation chose {backbone(winner)}{with_what}.{reached}{means}"
    if files.trials is None:
        return ""
    best = tables.best_trials(files.trials, files.metric)
    if not len(best):
        return "No trial has a score, so there is nothing to choose from yet."
    first = best.iloc[0]
    return (
        f"The best trial so far is trial {first['trial']:.0f}: {backbone(first['config_backbone'])} with "
        f"{configuration(first)}, validation {metric_words(files.metric)} {wording.score(first['score'])}."
    )


def _comparisons(files: RunFiles) -> str:
    """Which models can be told apart on test, in the evaluation's own words."""
    sentences = listed(mapping(files.evaluation).get("sentences"))
    return " ".join(str(sentence) for sentence in sentences if present(sentence))


def _over_folds(files: RunFiles) -> str:
    """The mean by which the winner was chosen, where the finalists were validated over folds."""
    rows = files.finalists[files.finalists["winner"]] if files.finalists is not None else None
    if rows is None or not len(rows) or wording.number(rows["fold_mean"].iloc[0]) is None:
        return ""
    mean = wording.with_spread(rows["fold_mean"].iloc[0], rows["fold_sd"].iloc[0])
    return (
        f" It was chosen by its mean over {counted(rows['folds'].iloc[0], 'fold')}: "
        f"{metric_words(files.metric)} {mean} (standard deviation)."
    )


def untested(files: RunFiles, so: str) -> str:
    """Why there is no result on test, as a sentence.

    Args:
        files: without evaluation.json, or with one that is not of use.
        so: what follows where the split is sealed.
    """
    if files.opened:
        return files.problems["evaluation.json"]
    if files.openings:
        told = opened_in_vain(files.openings)
        return f"{wording.capital(told)}."
    return f"The test split is still sealed: {so}."


def _test(files: RunFiles) -> str:
    if files.evaluation is None:
        return untested(files, "no number on this page comes from it")
    scores, model = winner_scores(files), winner_model(files)
    if not scores:
        return "evaluation.json holds no results of the winner."
    images, patients = files.tested.images, files.tested.patients
    known = wording.number(patients) and not results.patients_assumed(files.audit)
    who = counted(images, "image") + (f" of {counted(patients, 'patient')}" if known else "")
    reached = joined(
        f"{metric_words(METRICS[name])} {wording.score(scores[name][0])} ({interval(files, name)})"
        for name in ("auc", "accuracy")
        if name in scores and wording.number(scores[name][0]) is not None
    )
    if not reached:
        return f"On the internal test ({who}) neither ROC AUC nor accuracy could be computed."
    sentence = f"On the internal test ({who}) the winner reached {reached}.{_seeds_on_test(model)}"
    try:
        label, share = results.majority(model, files.classes)
        return f"{sentence} Always answering {label} would be right for {wording.percent(share)} of these images."
    except ValueError:
        return sentence


def _seeds_on_test(model: ModelScores | None) -> str:
    """How far the seed moves the winner's test AUC, where several were trained."""
    repeats = mapping(mapping(model).get("repeats"))
    mean, deviation = (mapping(repeats.get(key)).get("auc") for key in ("mean", "sd"))
    if wording.number(mean) is None or wording.number(deviation) is None:
        return ""
    return (
        f" Over its {counted(repeats.get('n'), 'seed')} the ROC AUC there is {wording.with_spread(mean, deviation)} "
        "(standard deviation)."
    )


def interval(files: RunFiles, name: str) -> str:
    """The interval of one of the winner's metrics on test: ``95 % interval 0.950–0.980``."""
    bounds = wording.interval(*winner_scores(files)[name][1:])
    level = wording.level(mapping(mapping(files.evaluation).get("bootstrap")).get("level"))
    return f"{level} interval {bounds}" if bounds else "no interval"


def counts(files: RunFiles) -> dict[str, int]:
    """Trials by state, from trials.csv or, where it is missing, from run.json."""
    if files.trials is not None:
        found = files.trials["state"].value_counts()
        return {state: int(found.get(state, 0)) for state in names.STATES}
    told = mapping(mapping(files.run.get("search")).get("counts"))
    return {state: round(wording.number(told.get(state)) or 0) for state in names.STATES}


def _ends(files: RunFiles) -> str:
    found, planned = counts(files), wording.number(mapping(files.run.get("search")).get("planned"))
    total = sum(found.values())
    if not total:
        return ""
    known = planned is not None and planned >= total
    which = f"{total} of {planned:.0f} planned trials" if known else counted(total, "trial")
    again = (
        "" if not files.retried else f" {counted(files.retried, 'failed trial was', 'failed trials were')} tried again."
    )
    return (
        f"{which} ended: {found['completed']} completed, {found['pruned']} stopped early because they fell behind, "
        f"{found['failed']} failed.{again}"
    )
