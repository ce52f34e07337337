"""The section that sets finalists and controls side by side: on validation, on test, and while they were trained."""

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Missing, Paragraph, Points, Section, Table, parameter_columns, table
from bench.report.figures import training as figures_training
from bench.report.names import backbone, joined, metric_words, present, state
from bench.report.page import Page
from bench.report.read.files import listed, mapping
from bench.report.sections import tested as section_tested
from bench.report.tables import base as tables
from bench.report.tables import models as tables_models
from bench.report.wording import counted
from bench.stats.metrics import METRICS

TITLE = "Backbones compared"


def comparison(page: Page) -> Section:
    """The finalists side by side, with the controls in the same tables."""
    files = page.files
    blocks: list[Block] = [*page.problems("finalists.csv")]
    if files.finalists is None or not len(files.finalists):
        return Section("comparison", TITLE, blocks or [Missing("finalists.csv holds no finalist.")])
    finalists = tables.finalists(files.finalists, files.evaluation, page.metric)
    rows = tables_models.on_validation(finalists, files.baselines, files.evaluation, page.metric)
    blocks += [_lead(page, finalists), *page.problems("baselines.csv"), _on_validation(rows, page)]
    blocks += [*_failed(rows), *_folds(page, finalists), _configurations(page, rows)]
    blocks += page.part("How faithful the search was", _faithful)
    blocks += page.part("Was tuning worth it?", lambda page: section_tested.tuning(page, rows))
    order = [str(name) for name in finalists["backbone"]]
    blocks += page.part("On the internal test", lambda page: section_tested.tested(page, order))
    blocks += page.part("Compared in pairs", section_tested.pairs)
    blocks += page.part("Training of the finalists", _curves)
    return Section("comparison", TITLE, blocks)


def _lead(page: Page, rows: pd.DataFrame) -> Paragraph:
    words = metric_words(page.metric)
    if rows["fold_mean"].notna().any():
        folds = counted(rows["folds"].max(), "fold")
        chosen = f"The finalist with the best mean validation {words} over {folds} was chosen"
    elif rows["seeds"].max() > 1:
        chosen = (
            f"{counted(rows['seeds'].max(), 'seed')} were tried, and the finalist with the best mean validation "
            f"{words} was chosen"
        )
    else:
        chosen = f"The finalist with the best validation {words} was chosen"
    return Paragraph(
        "The best configuration of each backbone was trained again from the start, with fresh augmentation in every "
        f"epoch. {chosen}; the test split has no say in that."
    )


def _marked(page: Page, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[int]]:
    """``rows`` with the column ``model``, which marks what validation chose, and the positions of that."""
    mark = section_tested.mark(page.files)
    models = [
        f"{backbone(name)}, {mark}" if won else backbone(name)
        for name, won in zip(rows["backbone"], rows["winner"], strict=True)
    ]
    return rows.assign(model=models), [position for position, won in enumerate(rows["winner"]) if won]


def _on_validation(rows: pd.DataFrame, page: Page) -> Table:
    shown, marked = _marked(page, rows)
    metric, title = page.metric, page.metric.title
    folds, judged = rows["fold_mean"].notna().any(), (rows["verdict"].fillna("") != "").any()
    for name, mean, deviation in (("over_seeds", "score", "sd"), ("over_folds", "fold_mean", "fold_sd")):
        shown[name] = [wording.with_spread(*pair) for pair in zip(rows[mean], rows[deviation], strict=True)]
    shown["bounds"] = [wording.interval(low, high) for low, high in zip(rows["low"], rows["high"], strict=True)]
    shown["more"] = rows["verdict"].fillna("") if judged else ""
    columns = [
        Column("model", "Model", numeric=False, below="note"),
        Column("trial_score", f"{title} in the search", wording.score),
        Column("over_seeds", f"{title} retrained, mean ± SD over the seeds"),
        *([Column("bounds", "Its interval, by patients")] if judged else []),
        *([Column("over_folds", f"{title} over the folds, mean ± SD")] if folds else []),
        *([Column("folds", "Folds", wording.count)] if folds else []),
        Column("change", "Change", wording.signed, below="more"),
        Column("seeds", "Seeds", wording.count),
        Column("trial", "From trial", wording.count),
        Column("seconds", "Time", wording.seconds),
    ]
    caption = (
        f"Finalists on validation{'' if metric.higher_is_better else ' (lower is better)'}, and the controls, which "
        "should lose. Retrained: the mean over the seeds ± its standard deviation, which is the luck of the seed; a "
        "single seed has none. A score that gets worse when retrained may have been partly luck."
    )
    if judged:
        level = wording.level(mapping(mapping(page.files.evaluation).get("bootstrap")).get("level"))
        caption += (
            f" The interval is another thing: how far the retrained score might move ({level}) with other patients. A "
            "trial's score beyond it says that the search flattered."
        )
    if folds:
        caption += (
            " Over the folds: mean ± standard deviation of the validation scores. The folds share training images, so "
            "the deviation is a spread, and no confidence interval."
        )
    return table(shown, caption, columns, marked=marked)


def _faithful(page: Page) -> list[Block]:
    """How faithful the search's scores were, a sentence a finalist."""
    entries = listed(mapping(page.files.evaluation).get("retrained"))
    said = [str(mapping(entry)["sentence"]) for entry in entries if present(mapping(entry).get("sentence"))]
    return [Points(said)] if said else []


def _configurations(page: Page, rows: pd.DataFrame) -> Table:
    """Of the finalists, and of the control that has one: the default recipe."""
    known = rows[rows["config_learning_rate"].notna() | rows["trial"].notna()].reset_index(drop=True)
    shown, marked = _marked(page, known)
    columns = [Column("model", "Model", numeric=False), *parameter_columns()]
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


def _curves(page: Page) -> list[Block]:
    if page.files.epochs is None:
        return [*page.problems("epochs.csv")]
    epochs = page.files.epochs[page.files.epochs["kind"] == "finalist"]
    if not len(epochs):
        return [Missing("epochs.csv holds no epoch of a finalist, so there are no curves to show.")]
    return [
        page.picture(
            "finalist_curves",
            lambda: figures_training.finalist_curves(epochs, page.metric, page.looks),
            f"Two panels by epoch: training loss, and validation {metric_words(page.metric)}; a line a seed, coloured "
            f"by backbone: {joined(map(backbone, dict.fromkeys(epochs['name'])))}.",
            "Learning curves of the finalists. A loss that falls while validation gets worse is overfitting. Epochs "
            "before the dot train the head alone.",
        )
    ]
