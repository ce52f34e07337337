"""The part of the comparison that the test split answers: metrics, seeds, classes, pairs, and whether tuning paid."""

from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Missing, Paragraph, Points, Table, table
from bench.report.figures import comparison as figures_comparison
from bench.report.names import backbone, joined, metric_words, present
from bench.report.page import Page
from bench.report.read.chosen import winner_name
from bench.report.read.files import RunFiles, listed, mapping
from bench.report.tables import models as tables_models
from bench.report.verdict import verdict
from bench.report.wording import counted
from bench.stats.metrics import METRICS


def mark(files: RunFiles) -> str:
    """What stands behind the name of the model that validation chose, where models stand one below the other."""
    return "winner" if verdict(files).won else "chosen"


def tuning(page: Page, rows: pd.DataFrame) -> list[Block]:
    """The winner beside its default recipe; nothing where that was not trained.

    Args:
        page: the page.
        rows: as ``tables_models.on_validation`` returns it.
    """
    by_name = rows.set_index("backbone")
    winner = winner_name(page.files)
    if "recipe" not in by_name.index or winner not in by_name.index:
        return []
    won, recipe = by_name.loc[winner], by_name.loc["recipe"]
    tuned, default = wording.number(won["score"]), wording.number(recipe["score"])
    told = []
    if tuned is not None and default is not None:
        told.append(
            f"Trained in the same way, {backbone(winner)} with its default recipe reaches a validation "
            f"{metric_words(page.metric)} of {wording.with_spread(default, recipe['sd'])}, and tuned "
            f"{wording.with_spread(tuned, won['sd'])}. Validation chose the tuned one, so the internal test decides."
        )
    comparisons = page.files.evaluated.comparisons
    if comparisons is not None:
        pair = comparisons[(comparisons["a"] == winner) & (comparisons["b"] == "recipe")]
        told += [f"On test: {sentence}" for sentence in pair["sentence"].dropna()]
    if told:
        return [Paragraph(" ".join(told))]
    controls = page.files.baselines
    if controls is not None and (controls["state"][controls["baseline"] == "recipe"] == "skipped").any():
        name = backbone(winner)
        return [Paragraph(f"No: what was chosen is {name}'s default recipe. The search found none better.")]
    return [Missing("The default recipe has no score to compare with.")]


def tested(page: Page, finalists: list[str]) -> list[Block]:
    """Every metric on test, controls below the finalists, what was not computed, and a figure of the main two."""
    if page.files.evaluation is None:
        return [*page.problems("evaluation.json")]
    evaluation = mapping(page.files.evaluation)
    scores = tables_models.on_test(page.files.evaluation, finalists)
    if not len(scores):
        return [Missing("evaluation.json holds no results of any model.")]
    order = [str(name) for name in scores["backbone"]]
    marks = {winner_name(page.files): mark(page.files)}
    scores = scores.assign(model=[_title(evaluation, name, marks.get(name, "")) for name in order])
    level = wording.level(mapping(evaluation.get("bootstrap")).get("level"))
    return [
        _test_table(page, scores, evaluation, level),
        *_not_computed(evaluation),
        *_intervals(page, scores, level),
        *_spread(page, evaluation, order),
        *_by_class(page, evaluation, order, level),
    ]


def _title(evaluation: dict[str, Any], name: str, mark: str = "") -> str:
    """What a model is called: by its own title, where the report knows no name for it."""
    title = backbone(name)
    if title == name:
        title = str(mapping(mapping(evaluation.get("models")).get(name)).get("title") or name)
    return f"{title}, {mark}" if mark else title


def _test_table(page: Page, scores: pd.DataFrame, evaluation: dict[str, Any], level: str) -> Table:
    columns = [Column("model", "Model", numeric=False)] + [
        Column(f"test_{name}", metric.title, wording.score, low=f"test_{name}_low", high=f"test_{name}_high")
        for name, metric in METRICS.items()
    ]
    bootstrap = mapping(evaluation.get("bootstrap"))
    draws, unit = wording.count(bootstrap.get("draws")), wording.text(bootstrap.get("unit"))
    how = f" ({draws} draws of {unit}s)" if wording.number(bootstrap.get("draws")) else ""
    caption = (
        f"The internal test: each value with its {level} bootstrap interval{how}. Of each model, the seed with the "
        "best validation score. For log loss and Brier score, lower is better. "
        f"Brier score: {page.files.brier}. With fewer than about a hundred patients, and near an AUC of 1, such "
        "intervals are a little too narrow."
    )
    if len(page.files.classes) > 2:
        caption += " AUCs are the mean of each class against the rest (macro)."
    marked = [place for place, name in enumerate(scores["backbone"]) if name == winner_name(page.files)]
    return table(scores, caption, columns, marked=marked)


def _not_computed(evaluation: dict[str, Any]) -> list[Missing]:
    """A sentence for each reason why metrics of the test have no value, with the metrics and the models."""
    found: dict[str, dict[str, list[str]]] = {}
    models = mapping(evaluation.get("models"))
    for model, content in models.items():
        for name, value in mapping(mapping(content).get("metrics")).items():
            if reason := mapping(value).get("reason"):
                title = METRICS[name].title if name in METRICS else name
                found.setdefault(str(reason).rstrip("."), {}).setdefault(title, []).append(_title(evaluation, model))
    said = []
    for reason, by_title in found.items():
        together: dict[tuple[str, ...], list[str]] = {}
        for title, named in by_title.items():
            together.setdefault(tuple(named), []).append(title)
        for named_models, titles in together.items():
            whose = "every model" if 1 < len(named_models) == len(models) else joined(named_models)
            were = "was" if len(titles) == 1 else "were"
            said.append(Missing(f"{joined(titles)} of {whose} {were} not computed: {reason}."))
    return said


def refusals(evaluation: dict[str, Any]) -> list[Missing]:
    """A sentence for each thing that the evaluation refused to compute."""
    told = [mapping(entry) for entry in listed(evaluation.get("refusals"))]
    return [
        Missing(f"Not computed: {one['what']}, because {str(one.get('reason') or 'no reason was given').rstrip('.')}.")
        for one in told
        if present(one.get("what"))
    ]


def _intervals(page: Page, scores: pd.DataFrame, level: str) -> list[Block]:
    drawn = [name for name in dict.fromkeys([page.metric.name, "auc", "accuracy"]) if f"test_{name}_low" in scores][:2]
    if not drawn:
        return []
    name = f"test_{drawn[0]}"
    told = joined(
        f"{row['model']} {wording.with_interval(row[name], row[f'{name}_low'], row[f'{name}_high'])}"
        for _, row in scores.iterrows()
    )
    return [
        page.picture(
            "finalists_test",
            lambda: figures_comparison.intervals(scores, drawn, page.looks),
            f"Test {metric_words(METRICS[drawn[0]])} with its interval: {told}.",
            f"The models on the internal test, controls in grey. Bars are {level} intervals. Two bars that overlap may "
            "still differ, for all models saw the same images: the comparison in pairs decides.",
        )
    ]


def _spread(page: Page, evaluation: dict[str, Any], order: list[str]) -> list[Block]:
    rows = tables_models.seed_spread(page.files.tested, order)
    if not len(rows):
        return []
    rows = rows.assign(model=[_title(evaluation, str(name)) for name in rows["backbone"]])
    columns = [Column("model", "Model", numeric=False), Column("seeds", "Seeds", wording.count)]
    columns += [Column(name, metric.title, wording.score, below=f"{name} sd") for name, metric in METRICS.items()]
    caption = (
        "The luck of the seed on the internal test: the mean, and below it ± the standard deviation, over trainings "
        "that differ by their seed alone. It says nothing of other patients, which the intervals above do."
    )
    return [table(rows, caption, columns)]


def _by_class(page: Page, evaluation: dict[str, Any], order: list[str], level: str) -> list[Block]:
    classes = page.files.classes
    if len(classes) < 3:
        return []
    rows = tables_models.by_class(page.files.tested, order, classes)
    rows = rows.assign(model=[_title(evaluation, name) for name in order])
    columns = [Column("model", "Model", numeric=False)] + [
        Column(f"auc {place}", label, wording.score, low=f"auc {place} low", high=f"auc {place} high")
        for place, label in enumerate(classes)
    ]
    return [table(rows, f"ROC AUC of each class against the rest, with its {level} interval.", columns)]


FAMILIES = {
    "finalists": "Finalists in pairs",
    "controls": "The winner and the controls",
}

UNDRAWN = "majority"
"""The baseline that the figure of the pairs leaves out: it gives every image the same, so its AUC is 0.5 anyway."""


def pairs(page: Page) -> list[Block]:
    """What can be told apart: sentences, a figure of the differences and a table of both tests."""
    files = page.files
    if files.evaluation is None:
        return []
    blocks: list[Block] = [*page.problems("comparisons.csv")]
    if files.evaluated.comparisons is None:
        return blocks
    sentences = [str(one) for one in files.evaluation.sentences if present(one)]
    blocks += [Points(sentences)] if sentences else []
    found = {family: tables_models.pairs(files.evaluated.comparisons, family) for family in FAMILIES}
    every = pd.concat(found.values(), ignore_index=True)
    meant = every[every["b"] != UNDRAWN]
    drawn = meant.dropna(subset=["difference", "low", "high"]).reset_index(drop=True)
    level = wording.level(files.evaluation.bootstrap.level)
    if len(drawn):
        told = "; ".join(
            f"{row['pair']} {wording.signed(row['difference'])} ({row['bounds']})" for _, row in drawn.iterrows()
        )
        caption = (
            f"Differences in test ROC AUC with their {level} intervals. An interval that holds 0 decides nothing. "
            f"{figures_comparison.HOW_TO_READ}"
        )
        if len(meant) < len(every):
            caption += f" {backbone(UNDRAWN)} is not drawn: it answers alike whatever the image, so its ROC AUC is 0.5."
        if unknown := len(meant) - len(drawn):
            caption += f" Not drawn, for want of an interval: {counted(unknown, 'pair')}."
        if len(drawn) > figures_comparison.MOST_PAIRS:
            caption += f" The first {figures_comparison.MOST_PAIRS} of {len(drawn)} pairs; the tables have all."
        draw = figures_comparison.differences
        blocks.append(
            page.picture("comparisons", lambda: draw(drawn), f"Differences in test ROC AUC: {told}.", caption)
        )
    several = files.evaluation.several_images_a_patient is True
    blocks += [_pair_table(rows, FAMILIES[family], several, level) for family, rows in found.items() if len(rows)]
    return blocks if len(blocks) else [Missing("comparisons.csv holds no comparison: there was nothing to compare.")]


def _pair_table(rows: pd.DataFrame, title: str, several: bool, level: str) -> Table:
    ignoring = " (ignores that images share patients)" if several else ""
    columns = [
        Column("pair", "Pair", numeric=False),
        Column("difference", f"Difference in ROC AUC, {level} interval", wording.signed, below="bounds"),
        Column("p_holm", "p, Holm-corrected", wording.probability),
        Column("discordant", "Images that only one gets right"),
        Column("mcnemar_p_holm", f"p of McNemar, Holm-corrected{ignoring}", wording.probability),
        Column("verdict", "Verdict", numeric=False),
    ]
    caption = (
        f"{title}. The difference is the first minus the second, with a paired bootstrap over patients; the exact "
        "McNemar test compares right and wrong answers. Holm’s correction is made within this table, for each test by "
        "itself."
    )
    if several:
        caption += (
            " Some patients have several images, which McNemar’s test takes for independent: the bootstrap leads."
        )
    return table(rows, caption, columns)
