"""The section that sets the finalists side by side: on validation, on test, and while they were trained."""

from typing import Any

import pandas as pd

from bench.metrics import METRICS, Metric
from bench.report import figures_results, figures_training, tables, wording
from bench.report.blocks import Block, Column, Heading, Missing, Paragraph, Section, Table, parameter_columns, table
from bench.report.files import mapping
from bench.report.names import backbone, joined, metric_words, state
from bench.report.page import Page
from bench.report.summary import winner_name
from bench.report.wording import counted

TITLE = "Backbones compared"


def comparison(page: Page) -> Section:
    """The finalists side by side."""
    files = page.files
    blocks: list[Block] = [*page.problems("finalists.csv")]
    if files.finalists is None or not len(files.finalists):
        return Section("comparison", TITLE, blocks or [Missing("finalists.csv holds no finalist.")])
    rows = tables.finalists(files.finalists, files.evaluation, page.metric)
    blocks += [_lead(page, rows), _on_validation(rows, page.metric), *_failed(rows), *_folds(page, rows)]
    blocks.append(_configurations(rows))
    blocks.append(Heading("On the internal test"))
    blocks += page.problems("evaluation.json") if files.evaluation is None else _on_test(page, list(rows["backbone"]))
    blocks += [Heading("Training of the finalists"), *_curves(page)]
    return Section("comparison", TITLE, blocks)


def _lead(page: Page, rows: pd.DataFrame) -> Paragraph:
    words = metric_words(page.metric)
    chosen = (
        f"The winner was chosen by the mean validation {words} over {counted(rows['folds'].max(), 'fold')}"
        if rows["fold_mean"].notna().any()
        else f"The finalist with the best validation {words} wins"
    )
    return Paragraph(
        "The best configuration of each backbone was trained again from the start, with fresh augmentation in every "
        f"epoch. {chosen}; the test split has no say in that."
    )


def _marked(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[int]]:
    """``rows`` with the column ``model``, which names the winner as such, and the positions of the winner."""
    models = [
        f"{backbone(name)}, winner" if won else backbone(name)
        for name, won in zip(rows["backbone"], rows["winner"], strict=True)
    ]
    return rows.assign(model=models), [position for position, won in enumerate(rows["winner"]) if won]


def _on_validation(rows: pd.DataFrame, metric: Metric) -> Table:
    shown, marked = _marked(rows)
    folds = rows["fold_mean"].notna().any()
    shown["over_folds"] = [
        wording.with_spread(mean, sd) for mean, sd in zip(rows["fold_mean"], rows["fold_sd"], strict=True)
    ]
    columns = [
        Column("model", "Finalist", numeric=False),
        Column("trial_score", f"{metric.title} in the search", wording.score),
        Column("score", f"{metric.title} retrained", wording.score, low="lowest", high="highest"),
        *([Column("over_folds", f"{metric.title} over the folds, mean ± SD")] if folds else []),
        *([Column("folds", "Folds", wording.count)] if folds else []),
        Column("change", "Change", wording.signed),
        Column("seeds", "Seeds", wording.count),
        Column("trial", "From trial", wording.count),
        Column("seconds", "Time", wording.seconds),
    ]
    caption = (
        f"Finalists on validation{'' if metric.higher_is_better else ' (lower is better)'}. Retrained: the mean over "
        "the seeds, with the lowest and the highest below. A score that gets worse when retrained was partly "
        "luck."
    )
    if folds:
        caption += (
            " Over the folds: mean ± standard deviation of the validation scores. The folds share training images, so "
            "the deviation is a spread, and no confidence interval."
        )
    return table(shown, caption, columns, marked=marked)


def _configurations(rows: pd.DataFrame) -> Table:
    shown, marked = _marked(rows)
    columns = [Column("model", "Finalist", numeric=False), *parameter_columns()]
    return table(shown, "Their configurations.", columns, marked=marked)


def _failed(rows: pd.DataFrame) -> list[Missing]:
    return [
        Missing(
            f"{counted(row['failed'], 'training')} of {backbone(row['backbone'])} failed: "
            f"{row['reason'] or 'no reason was recorded'}."
        )
        for _, row in rows[rows["failed"] > 0].iterrows()
    ]


def _folds(page: Page, finalists: pd.DataFrame) -> list[Block]:
    """Every fold of every finalist, folded away; nothing where the run asked for no folds."""
    blocks: list[Block] = [*page.problems("folds.csv")]
    if page.files.folds is None:
        return blocks
    rows = tables.fold_scores(page.files.folds, finalists)
    if not len(rows):
        return blocks
    rows = rows.assign(model=rows["backbone"].map(backbone), ended=rows["state"].map(state))
    metrics = [METRICS[name] for name in dict.fromkeys([page.metric.name, "auc", "accuracy"])]
    columns = [
        Column("model", "Finalist", numeric=False),
        Column("fold", "Fold", wording.count),
        *(Column(tables.column(metric), metric.title, wording.score) for metric in metrics),
        Column("images_train", "Training images", wording.count),
        Column("images_val", "Validation images", wording.count),
        Column("patients_val", "Validation patients", wording.count),
        Column("best_epoch", "Best epoch", wording.count),
        Column("epochs", "Epochs", wording.count),
        Column("seconds", "Time", wording.seconds),
        Column("ended", "State", numeric=False),
        Column("reason", "Reason", numeric=False),
    ]
    failed = rows[rows["state"] == "failed"]
    blocks += [
        Missing(f"{counted(number, 'fold')} of {name} failed; the folds below give the reasons.")
        for name, number in failed["model"].value_counts(sort=False).items()
    ]
    return [*blocks, table(rows, "The finalists on each fold.", columns, folded=True)]


def _on_test(page: Page, finalists: list[str]) -> list[Block]:
    """Every metric on test, controls below the finalists, what was not computed, and a figure of the main two."""
    evaluation = mapping(page.files.evaluation)
    scores = tables.scores_on_test(evaluation).rename(columns={"model": "backbone"})
    order = {name: position for position, name in enumerate(finalists)}
    scores = scores.sort_values("backbone", key=lambda names: names.map(order).fillna(len(order)), kind="stable")
    scores = scores.assign(winner=scores["backbone"] == winner_name(page.files)).reset_index(drop=True)
    if not len(scores):
        return [Missing("evaluation.json holds no results of any model.")]
    level = wording.level(mapping(evaluation.get("bootstrap")).get("level"))
    return [_test_table(scores, evaluation, level), *_not_computed(evaluation), *_intervals(page, scores, level)]


def _test_table(scores: pd.DataFrame, evaluation: dict[str, Any], level: str) -> Table:
    shown, marked = _marked(scores)
    columns = [Column("model", "Model", numeric=False)] + [
        Column(f"test_{name}", metric.title, wording.score, low=f"test_{name}_low", high=f"test_{name}_high")
        for name, metric in METRICS.items()
    ]
    bootstrap = mapping(evaluation.get("bootstrap"))
    draws, unit = wording.count(bootstrap.get("draws")), wording.text(bootstrap.get("unit"))
    how = f" ({draws} draws of {unit}s)" if bootstrap else ""
    caption = (
        f"The internal test: each value with its {level} bootstrap interval{how}. "
        "For log loss and Brier score, lower is better."
    )
    return table(shown, caption, columns, marked=marked)


def _not_computed(evaluation: dict[str, Any]) -> list[Missing]:
    """A sentence for each metric of the test that has a reason instead of a value."""
    found = []
    for model, content in mapping(evaluation.get("models")).items():
        for name, value in mapping(mapping(content).get("metrics")).items():
            if reason := mapping(value).get("reason"):
                title = METRICS[name].title if name in METRICS else name
                found.append(Missing(f"{title} of {backbone(model)} was not computed: {reason}."))
    return found


def _intervals(page: Page, scores: pd.DataFrame, level: str) -> list[Block]:
    drawn = [name for name in dict.fromkeys([page.metric.name, "auc", "accuracy"]) if f"test_{name}_low" in scores][:2]
    if not drawn:
        return []
    name = f"test_{drawn[0]}"
    told = joined(
        f"{backbone(row['backbone'])} {wording.with_interval(row[name], row[f'{name}_low'], row[f'{name}_high'])}"
        for _, row in scores.iterrows()
    )
    return [
        page.picture(
            "finalists_test",
            lambda: figures_results.intervals(scores, drawn, page.looks),
            f"Test {metric_words(METRICS[drawn[0]])} with its interval: {told}.",
            f"The finalists on the internal test. Bars are {level} intervals.",
        )
    ]


def _curves(page: Page) -> list[Block]:
    if page.files.epochs is None:
        return [*page.problems("epochs.csv")]
    epochs = figures_training.finalist_epochs(page.files.epochs)
    if not len(epochs):
        return [Missing("epochs.csv holds no epoch of a finalist, so there are no curves to show.")]
    return [
        page.picture(
            "finalist_curves",
            lambda: figures_training.finalist_curves(epochs, page.metric, page.looks),
            f"Two panels by epoch: training loss, and validation {metric_words(page.metric)}; a line a seed, coloured "
            f"by backbone: {joined(map(backbone, dict.fromkeys(epochs['finalist'])))}.",
            "Learning curves of the finalists. A loss that falls while validation gets worse is overfitting. Epochs "
            "before the dot train the head alone.",
        )
    ]
