"""The sections of the page that sets runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench import numbers
from bench.numbers import counted
from bench.report import pictures
from bench.report.blocks import Block, Column, Heading, Missing, Paragraph, Points, table
from bench.report.figures import side_by_side as figures_side_by_side
from bench.report.names import backbone, joined, metric_words
from bench.report.side_by_side import sides
from bench.report.side_by_side.sides import Fact, Side
from bench.report.side_by_side.tested import Pair
from bench.report.tables import side_by_side as sides_tables
from bench.stats.metrics import METRICS, Metric


@dataclass(frozen=True)
class Compared:
    """What the page is made from.

    Attributes:
        sides: the runs, in the order in which they were named.
        figures: folder of the page's figures.
        metric: by which validation scores are shown.
        ranked: a sentence where the searches did not all rank by it.
        facts: what the runs must share for their scores to compare.
        pairs: the chosen models in pairs on the internal test.
    """

    sides: Sequence[Side]
    figures: Path
    metric: Metric
    ranked: str
    facts: Sequence[Fact]
    pairs: Sequence[Pair]

    @property
    def labels(self) -> list[str]:
        """What the runs are called."""
        return [side.label for side in self.sides]

    @property
    def words(self) -> str:
        """The validation score inside a sentence."""
        return f"validation {metric_words(self.metric)}"

    def runs(self, numeric: bool = False) -> list[Column]:
        """A column a run."""
        return [Column(f"run{position}", label, numeric=numeric) for position, label in enumerate(self.labels)]


def verdicts(page: Compared) -> list[str]:
    """Why scores of these runs do not compare, or may not; empty where they do."""
    found = [
        sides.verdict(page.facts, "validation", "Validation scores"),
        sides.verdict(page.facts, "test", "Test scores"),
    ]
    return [sentence for sentence in found if sentence]


def comparable(page: Compared) -> list[Block]:
    """What the runs must share, and whether they do."""
    said = verdicts(page) or ["These runs share their data, splits and rules: their scores compare."]
    answer = {True: "yes", False: "no", None: sides.UNKNOWN}
    rows = [
        {"fact": fact.title, "same": answer[fact.same]}
        | {f"run{position}": value or sides.UNKNOWN for position, value in enumerate(fact.values)}
        for fact in page.facts
    ]
    caption = (
        "Validation scores compare only on the same data, split the same way; test scores on the same test images; all "
        "of them under the same version of the rules. Images are followed by a digest of which ones they are, and of "
        "their reference standard."
    )
    columns = [Column("fact", "What must be the same", numeric=False), Column("same", "Is it?", numeric=False)]
    marked = [position for position, fact in enumerate(page.facts) if not fact.same]
    return [
        *map(Paragraph, said),
        table(pd.DataFrame(rows, dtype="object"), caption, [*columns, *page.runs()], marked=marked),
    ]


def winners(page: Compared) -> list[Block]:
    """What each run chose, on validation and on the internal test, and in pairs on the same images."""
    rows = sides_tables.winners(page.sides, page.metric)
    rows["over_seeds"] = [numbers.with_spread(*pair) for pair in zip(rows["mean"], rows["sd"], strict=True)]
    rows["of_seeds"] = [counted(seeds, "seed") if seeds else "" for seeds in rows["seeds"]]
    rows["of_patients"] = [counted(patients, "patient") if patients > 0 else "" for patients in rows["patients"]]
    blocks: list[Block] = [Paragraph(page.ranked)] if page.ranked else []
    columns = [
        Column("label", "Run", numeric=False, below="state"),
        Column("winner", "Chosen", numeric=False, below="verdict"),
        Column("over_seeds", numbers.capital(f"{page.words}, mean ± SD over the seeds"), below="of_seeds"),
        Column(
            "validation",
            f"Validation {metric_words(page.metric)} of the exported seed",
            numbers.score,
            low="validation_low",
            high="validation_high",
        ),
        *(
            Column(
                f"test_{name}",
                f"Test {metric_words(METRICS[name])}",
                numbers.score,
                low=f"test_{name}_low",
                high=f"test_{name}_high",
            )
            for name in sides_tables.TESTED
        ),
        Column("test_seeds", "Test ROC AUC, mean ± SD over the seeds"),
        Column("images", "Test images", numbers.count, below="of_patients"),
        Column("opened", "Test split opened", numbers.count),
    ]
    caption = (
        "What validation chose in each run, and what the run can say of it. Below a score, its interval over the "
        "patients, as in the run's own report; SD is of the seeds. Opened: how often, by all runs on record."
    )
    blocks.append(table(rows, caption, columns))
    tested = rows[rows["test_auc"].notna()]
    if not len(tested):
        return [*blocks, Missing("No run has scores on the internal test, so there is nothing to draw.")]
    told = joined(
        f"{row['label']} {numbers.with_interval(row['test_auc'], row['test_auc_low'], row['test_auc_high'])}"
        for _, row in tested.iterrows()
    )
    caveat = sides.verdict(page.facts, "test", "Test scores")
    caption = "The chosen models on the internal test, with their intervals. "
    caption += caveat or (
        "Two bars that overlap may still differ, for all models saw the same images: the comparison in pairs decides."
    )
    blocks.append(
        pictures.picture(
            page.figures,
            "winners",
            lambda: figures_side_by_side.winners(tested, [METRICS[name] for name in sides_tables.TESTED]),
            f"Test ROC AUC and accuracy of the model that each run chose, with intervals. ROC AUC: {told}.",
            caption,
        )
    )
    return [*blocks, *_pairs(page)]


def _pairs(page: Compared) -> list[Block]:
    """The models in pairs on the images that they share."""
    rows = pd.DataFrame(
        {
            "pair": f"{one.a} − {one.b}",
            "images": one.images,
            "difference": one.difference.value,
            "bounds": numbers.signed_interval(one.difference.low, one.difference.high),
            "p_holm": one.p_holm,
            "verdict": f"{one.better} is better" if one.better else one.why or "cannot be told apart",
        }
        for one in page.pairs
        if one.difference is not None
    )
    said: list[Block] = [Heading("Compared in pairs"), Points([one.sentence for one in page.pairs])]
    if not len(rows):
        return said
    columns = [
        Column("pair", "Pair", numeric=False),
        Column("images", "Test images", numbers.count),
        Column("difference", "Difference in ROC AUC, 95 % interval", numbers.signed, below="bounds"),
        Column("p_holm", "p, Holm-corrected", numbers.probability),
        Column("verdict", "Verdict", numeric=False),
    ]
    caption = (
        "The chosen models on the same test images, matched by content. The difference is the first minus the second, "
        "with a paired bootstrap over patients; Holm’s correction is made within this table. A run that is better need "
        "not owe it to its backbone: all that differs between the runs may be the reason."
    )
    return [*said, table(rows, caption, columns)]


def backbones(page: Compared) -> list[Block]:
    """The best trial and the finalist of each backbone in each run."""
    rows = sides_tables.backbones(page.sides, page.metric)
    if not len(rows):
        return [Missing("No run has a trial yet.")]
    shown = rows.assign(
        run=[f"{row['label']}, chosen" if row.get("won") is True else row["label"] for _, row in rows.iterrows()],
        model=rows["backbone"].map(backbone),
    )
    words = page.metric.title
    columns = [
        Column("model", "Backbone", numeric=False),
        Column("run", "Run", numeric=False),
        Column("trials", "Trials", numbers.count),
        Column("best", f"{words} of the best trial", numbers.score),
        Column("trial", "Which", numbers.count),
        Column("finalist", f"{words} retrained, mean ± SD"),
        Column("seeds", "Seeds", numbers.count),
        Column("test_auc", "Test ROC AUC", numbers.score, low="test_auc_low", high="test_auc_high"),
    ]
    direction = "" if page.metric.higher_is_better else " (lower is better)"
    caption = (
        f"By backbone and run, validation{direction}: the best trial of the search, then the finalist trained from it, "
        "over its seeds, and its representative on the internal test."
    )
    marked = [place for place, name in enumerate(shown["run"]) if name.endswith(", chosen")]
    return [table(shown, caption, columns, marked=marked, sortable=True)]


def searches(page: Compared) -> list[Block]:
    """How fast each search got how far."""
    rows = sides_tables.searches(page.sides, page.metric)
    columns = [
        Column("label", "Run", numeric=False),
        Column("planned", "Budget", numbers.count),
        Column("completed", "Completed", numbers.count),
        Column("pruned", "Stopped early", numbers.count),
        Column("failed", "Failed", numbers.count),
        Column("best", f"Best {page.words}", numbers.score),
        Column("after", "Found by trial", numbers.count),
        Column("reached", "After", numbers.seconds),
        Column("ended", "Ended by", numeric=False),
    ]
    caption = "The searches. Found by trial: how many trials, in order, the best one took."
    blocks: list[Block] = [_history(page, by_time=False), _history(page, by_time=True)]
    return [*blocks, table(rows, caption, columns)]


def _history(page: Compared, by_time: bool) -> Block:
    found = {side.label: sides_tables.best_so_far(side, page.metric, by_time) for side in page.sides}
    best = {label: rows for label, rows in found.items() if len(rows)}
    what = "time" if by_time else "trials"
    if not best:
        return Missing(f"No run says how its best score went by {what}.")
    left_out = [label for label in page.labels if label not in best]
    told = joined(f"{label} {numbers.score(rows['best'].iloc[-1])}" for label, rows in best.items())
    without = f" Not drawn, for want of scores or of times: {joined(left_out)}." if left_out else ""
    caveat = sides.verdict(page.facts, "validation", "Validation scores")
    return pictures.picture(
        page.figures,
        "history_by_time" if by_time else "history",
        lambda: figures_side_by_side.history(best, page.labels, page.metric, by_time),
        f"Best {page.words} so far by {what}, a line a run. At the end: {told}.",
        " ".join(
            f"Best score so far by {what}. The marker is where a search stands at its end. {caveat}{without}".split()
        ),
    )
