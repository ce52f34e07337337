"""What several tables of report.html share: what a row of one should show, titles of metrics and names of models."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from bench.verify.printed import Shown, Texts, text
from bench.verify.reading import Folder

METRICS = {
    "ROC AUC": "auc",
    "PR AUC": "pr_auc",
    "Specificity at 95 % sensitivity": "specificity_at_95_sensitivity",
    "Quadratic weighted kappa": "quadratic_kappa",
    "Accuracy": "accuracy",
    "Balanced accuracy": "balanced_accuracy",
    "F1 (macro)": "f1",
    "Log loss": "log_loss",
    "Brier score": "brier",
}
TITLES = {name: title for title, name in METRICS.items()}
BASELINES = {
    "recipe": "Default recipe",
    "initialisation": "Other initialisation",
    "small_cnn": "Small CNN from scratch",
    "majority": "Majority class",
    "metadata": "Metadata only",
}
STATES = {"completed": "completed", "pruned": "stopped early", "failed": "failed"}


class Line(NamedTuple):
    """A row that a table shows.

    Attributes:
        keys: title of a column -> the text by which the row is known, or any of several.
        told: title -> what the cell shows.
        needed: whether it may not be left out, as a table does that is cut to its first rows.
    """

    keys: Mapping[str, Texts]
    told: Mapping[str, Shown]
    needed: bool = True


Lines = Iterator[Line]


@dataclass(frozen=True, eq=False)
class Kind:
    """A table of the page.

    Attributes:
        name: what it is called in sentences.
        has: titles of columns by which it is known.
        lacks: titles that it does not have.
        lines: the rows that a run folder has for it.
        spread: whether several tables show these rows together.
    """

    name: str
    has: set[str]
    lacks: set[str]
    lines: Callable[[Folder], Iterable[Line]]
    spread: bool = False

    def fits(self, titles: Iterable[str]) -> bool:
        """Whether a table with these titles is of this kind."""
        return self.has <= set(titles) and not self.lacks & set(titles)


def ends(one: dict[str, Any], name: str = "") -> list[Any]:
    """A value with its interval."""
    low, high = (f"{name}_low", f"{name}_high") if name else ("low", "high")
    return [one.get(name or "value"), one.get(low), one.get(high)]


def by_metric(metrics: dict[str, Any]) -> dict[str, Shown]:
    """Every metric with its interval."""
    return {title: ends(metrics.get(name, {})) for title, name in METRICS.items()}


def records(run: Folder, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a CSV file, if it is there; None for what is missing."""
    for _, table in run.tables_of(name):
        yield from rows_of(table)


def rows_of(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a table; None for what is missing."""
    for row in table.to_dict("records"):
        yield {str(key): None if isinstance(value, float) and value != value else value for key, value in row.items()}


def level(run: Folder) -> str:
    """Of the intervals, in words: ``95 %``."""
    return f"{100 * run.level:.3g} %"


def several_images(run: Folder) -> bool:
    """Whether a test patient has several images."""
    return run.evaluation.get("several_images_a_patient") is True


def called(run: Folder, name: str) -> tuple[str, ...]:
    """What a backbone or a baseline may be called on the page, by evaluation.json or by run.json."""
    network, _, start = name.partition("+")
    titles = (run.run.get("titles") or {}) if run.has("run.json") else {}
    title = BASELINES.get(network) or titles.get(network) or network
    own = run.evaluation["models"].get(name, {}).get("title")
    return tuple(dict.fromkeys(one for one in (own, f"{title} from {start}" if start else title) if one))


def in_sentence(title: str) -> str:
    """The title of a metric inside a sentence: log loss, but ROC AUC."""
    return title if title[:2].isupper() or not title[:2].isalpha() or title.startswith("Brier") else title.lower()


PARAMETERS = {
    "Unfreeze depth": "unfreeze_depth",
    "Learning rate": "learning_rate",
    "Fine-tuning factor": "finetune_factor",
    "Dropout": "dropout",
    "Label smoothing": "label_smoothing",
    "Batch size": "batch_size",
    "EMA momentum": "ema_momentum",
}
CHOICES = {"Augmentation": "augmentation", "Initialisation": "initialisation", "Schedule": "schedule"}


def configuration(row: dict[str, Any]) -> dict[str, Shown]:
    """The parameters of a trial."""
    told: dict[str, Shown] = {title: [row.get(f"config_{name}")] for title, name in PARAMETERS.items()}
    return told | {title: word(row.get(f"config_{name}")) for title, name in CHOICES.items()}


def word(value: Any) -> str:
    """A choice; names that are all numbers were read as such."""
    return f"{value:g}" if isinstance(value, float) else text(value)
