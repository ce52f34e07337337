"""Every CSV file of a run folder as one schema: its columns, their types, and which cells may be empty.

Writer, reader and report use the same schema. A table is read strictly by the pipeline, which goes on from it, and
leniently by the report, which shows what can be shown. A column that an older file lacks is added, empty.
"""

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.clock import ACTIVITIES, column
from bench.run.folder import append_rows, extend_table, from_cells, write_table
from bench.search.parameters import PARAMETERS
from bench.stats.metrics import METRICS

Row = dict[str, Any]
"""A row of a table, by column; what is missing is None."""
BEYOND_INTEGERS = 2.0**63


class Type(StrEnum):
    """What a column holds."""

    TEXT = "text"
    NUMBER = "number"
    INTEGER = "integer"
    FLAG = "flag"


@dataclass(frozen=True)
class Column:
    """A column of a CSV file.

    Attributes:
        name: in the file.
        type: of its cells.
        needed: a row without it means nothing; other cells may be empty.
    """

    name: str
    type: Type = Type.NUMBER
    needed: bool = False


def text(*names: str) -> tuple[Column, ...]:
    """Columns of text that may be empty."""
    return tuple(Column(name, Type.TEXT) for name in names)


def keys(*names: str) -> tuple[Column, ...]:
    """Columns of text, without which a row means nothing."""
    return tuple(Column(name, Type.TEXT, needed=True) for name in names)


def numbers(*names: str) -> tuple[Column, ...]:
    """Columns of numbers that may be empty."""
    return tuple(Column(name) for name in names)


def integers(*names: str) -> tuple[Column, ...]:
    """Columns of whole numbers that may be empty."""
    return tuple(Column(name, Type.INTEGER) for name in names)


def flags(*names: str) -> tuple[Column, ...]:
    """Columns of True and False; what is neither is False."""
    return tuple(Column(name, Type.FLAG) for name in names)


def estimates(*names: str) -> tuple[Column, ...]:
    """For each name the value and the bounds of its interval."""
    return numbers(*(f"{name}{end}" for name in names for end in ("", "_low", "_high")))


def missing(value: Any) -> bool:
    """Whether a cell is empty."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def records(table: pd.DataFrame) -> list[Row]:
    """The rows of ``table``."""
    return [
        {str(key): None if missing(value) else value for key, value in row.items()} for row in table.to_dict("records")
    ]


def _typed(column: "pd.Series[Any]", kind: Type) -> "pd.Series[Any]":
    """``column`` with all of its cells of one type.

    Raises:
        ValueError: if a number is none, or not whole where it must be.
    """
    if kind is Type.TEXT:
        return column.astype("str").fillna("")
    if kind is Type.FLAG:
        return column.fillna(value=False).astype(bool)
    numbers = _numbers(column)
    if kind is Type.NUMBER:
        return numbers.astype("float64")
    whole = numbers.dropna()
    if ((whole != whole.round()) | (whole.abs() >= BEYOND_INTEGERS)).any():
        raise ValueError(f"{column.name} must hold whole numbers")
    return numbers.astype("Float64").astype("Int64")


def _numbers(column: "pd.Series[Any]", errors: Literal["raise", "coerce"] = "raise") -> "pd.Series[Any]":
    """The cells of a column that was parsed, as numbers; a whole number beyond all floats is infinite."""
    return pd.to_numeric(column.astype("str") if column.dtype == object else column, errors=errors)


@dataclass(frozen=True)
class Cut:
    """What a lenient reading had to leave out: whether the last line was cut short, and how many rows mean nothing."""

    last_line: bool = False
    rows: int = 0


@dataclass(frozen=True)
class Schema:
    """A CSV file of a run folder.

    Attributes:
        file: its name.
        columns: in their order; those that a file lacks are read as empty.
        classes: prefixes of columns of numbers, one per class, such as ``prob_``, at the end of the table.
        more: whether further columns of text may follow, which a data set's manifest named.
        vouched: whether a run that is taken up goes on from its rows though their stage is unfinished, and so is to
            know whether they are its own; see `bench.run.folder.vouch`.
    """

    file: str
    columns: tuple[Column, ...]
    classes: tuple[str, ...] = ()
    more: bool = False
    vouched: bool = False

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) != len(names):
            raise ValueError(f"{self.file}: a column is named twice")

    @property
    def names(self) -> list[str]:
        """The names of its columns."""
        return [one.name for one in self.columns]

    def of_type(self, *types: Type) -> list[str]:
        """The names of its columns of ``types``."""
        return [one.name for one in self.columns if one.type in types]

    def frame(self, rows: Iterable[Row] | pd.DataFrame) -> pd.DataFrame:
        """``rows`` as a table with the columns of this schema, each of its type.

        Raises:
            ValueError: if a row has a column that the schema does not know.
        """
        table = rows.copy() if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
        unknown = [str(name) for name in table if not self._known(str(name))]
        if unknown:
            raise ValueError(f"{self.file} has no column {unknown[0]!r}")
        table = table.reindex(columns=self._order(table))
        for one in self.columns:
            table[one.name] = _typed(table[one.name], one.type)
        return table

    def write(self, folder: Path, rows: Iterable[Row] | pd.DataFrame) -> pd.DataFrame:
        """Write ``rows`` into ``folder`` in one step; returns the table that was written."""
        table = self.frame(rows)
        write_table(folder / self.file, table, self.vouched)
        return table

    def append(self, folder: Path, rows: Iterable[Row]) -> None:
        """Append ``rows`` to the file in ``folder``, which `write` has written with these columns."""
        (extend_table if self.vouched else append_rows)(folder / self.file, self.frame(rows))

    def read(self, folder: Path, grown: bool = False) -> pd.DataFrame:
        """The whole table: text that is missing is "", a number that is missing NaN (an integer's NA).

        Args:
            folder: where the file lies.
            grown: whether it grew by `append`: what an interruption has left of a last row is left out.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if a needed column or cell is missing, a cell is not of its column's type, or the last line is
                cut short: the suite ends every line.
        """
        content = (folder / self.file).read_bytes()
        if grown and b"\n" in content:  # a cell holds no line breaks; zeros are what a power cut makes of a new end
            content = content.rstrip(b"\0")
            content = content[: content.rfind(b"\n") + 1]
        if content and not content.endswith(b"\n"):
            raise ValueError("its last line is cut short")
        table = self._parsed(content)
        for one in self.columns:
            if one.needed and table[one.name].isna().any():
                raise ValueError(f"{self.file}: a row has no {one.name}")
            table[one.name] = _typed(table[one.name], one.type)
        return table

    def records(self, folder: Path, grown: bool = False) -> list[Row]:
        """The rows of the whole table, as `read` reads it; a number that is missing is None."""
        return records(self.read(folder, grown))

    def read_leniently(self, folder: Path) -> tuple[pd.DataFrame, Cut]:
        """What can be shown of the table: cells that are not of their column's type are NaN, numbers are floats.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it lacks a needed column.
        """
        content = (folder / self.file).read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # the suite ends every line, the last one too
        table = self._parsed(whole)
        texts = {*self.of_type(Type.TEXT, Type.FLAG), *self._rest(table)}
        for name in table.columns:
            if name not in texts:
                values = _numbers(table[name], "coerce").astype("float64")
                table[name] = values.where(np.isfinite(values))
        complete = table[[one.name for one in self.columns if one.needed]].notna().all(axis=1)
        cut = Cut(len(whole) < len(content), int((~complete).sum()))
        return table[complete].reset_index(drop=True), cut

    def _parsed(self, content: bytes) -> pd.DataFrame:
        # text stays text: a class called 0 or nan is a name
        as_text = dict.fromkeys(self.of_type(Type.TEXT, Type.FLAG), "str")
        try:
            header = pd.read_csv(io.BytesIO(content), nrows=0)
        except UnicodeDecodeError as error:
            raise ValueError("it is not UTF-8 text") from error
        as_text |= dict.fromkeys(self._rest(header), "str")
        table = from_cells(pd.read_csv(io.BytesIO(content), dtype=as_text, keep_default_na=False, na_values=[""]))
        absent = [one.name for one in self.columns if one.needed and one.name not in table]
        if absent:
            raise ValueError(f"it lacks the column {absent[0]!r}")
        table = table.reindex(columns=self._order(table))
        for name in self.of_type(Type.FLAG):
            table[name] = table[name].astype("str").str.lower().isin(["true", "1", "1.0"])
        for name in self.of_type(Type.TEXT):
            table[name] = table[name].astype("str")
        return table

    def _known(self, name: str) -> bool:
        return self.more or name in self.names or name.startswith(self.classes)

    def _rest(self, table: pd.DataFrame) -> list[str]:
        """The columns of ``table`` that no schema can name beforehand and that hold text."""
        return [str(name) for name in table if name not in self.names and not str(name).startswith(self.classes)]

    def _order(self, table: pd.DataFrame) -> list[str]:
        more = [str(name) for name in table if str(name) not in self.names]
        classes = [name for name in more if self.classes and name.startswith(self.classes)]
        return [*self.names, *(name for name in more if name not in classes), *classes]


_KINDS: Mapping[type, Type] = {str: Type.TEXT, int: Type.INTEGER}
CONFIG = tuple(Column(row.column, _KINDS.get(row.kind, Type.NUMBER)) for row in PARAMETERS.values())
"""The columns of a configuration."""

SCORES = numbers(*(f"metric_{name}" for name in METRICS))
"""The columns of validation metrics."""


def score_columns(metrics: Mapping[str, float] | None) -> Row:
    """Validation metrics as cells of a row; empty where there are none."""
    return {f"metric_{name}": (metrics or {}).get(name) for name in METRICS}


def scores_in(row: Row) -> dict[str, float]:
    """The validation metrics of a row that has a score, by name; without those that it need not have."""
    known = (name for name, metric in METRICS.items() if metric.needed or not missing(row.get(f"metric_{name}")))
    return {name: float(row[f"metric_{name}"]) for name in known}


HOW_IT_ENDED = (*integers("best_epoch", "epochs"), *numbers("seconds"))

TRIALS = Schema(
    "trials.csv",
    (
        Column("trial", Type.INTEGER, needed=True),
        *keys("state"),
        *text("reason", "failure"),
        *integers("retried_as"),
        *text("origin"),
        *CONFIG,
        *SCORES,
        *integers("best_epoch", "epochs"),
        *numbers(*(column(name) for name in ACTIVITIES)),
        *numbers("seconds", "elapsed"),
    ),
)
EPOCHS = Schema(
    "epochs.csv",
    (
        *keys("kind", "name"),
        *integers("repeat", "fold"),
        *text("phase"),
        Column("epoch", Type.INTEGER, needed=True),
        *numbers("loss"),
        *SCORES,
        *numbers("seconds"),
    ),
)
FINALISTS = Schema(
    "finalists.csv",
    (
        *keys("backbone"),
        *integers("repeat", "seed", "trial"),
        *keys("state"),
        *text("reason"),
        *flags("winner", "representative"),
        *CONFIG,
        *numbers("trial_score"),
        *SCORES,
        *HOW_IT_ENDED,
        *text("model", "sha256"),
        *integers("folds"),
        *numbers("fold_mean", "fold_sd"),
    ),
    vouched=True,
)
BASELINES = Schema(
    "baselines.csv",
    (
        *keys("baseline"),
        *integers("repeat", "seed"),
        *keys("state"),
        *text("reason", "note"),
        *flags("representative"),
        *CONFIG,
        *SCORES,
        *integers("parameters"),
        *HOW_IT_ENDED,
        *text("model", "sha256"),
    ),
    vouched=True,
)
FOLDS = Schema(
    "folds.csv",
    (
        *keys("backbone"),
        *integers("trial"),
        Column("fold", Type.INTEGER, needed=True),
        *keys("state"),
        *text("reason"),
        *integers("seed", "images_train", "images_val", "patients_val"),
        *SCORES,
        *HOW_IT_ENDED,
        *text("curve"),
        *CONFIG,
    ),
    vouched=True,
)
LEARNING_CURVE = Schema(
    "learning_curve.csv",
    (
        Column("share", needed=True),
        *integers("draw", "images", "images_val", "patients"),
        *keys("state"),
        *text("reason"),
        *integers("seed"),
        *SCORES,
        *HOW_IT_ENDED,
        *CONFIG,
    ),
    vouched=True,
)
OUTER = Schema(
    "outer.csv",
    (
        Column("repeat", Type.INTEGER, needed=True),
        Column("fold", Type.INTEGER, needed=True),
        *keys("state"),
        *text("reason", "backbone"),
        *integers("budget", "trials", "trainings"),
        *integers("images_train", "images_val", "images", "patients"),
        *numbers("validation"),
        *SCORES,
        *numbers("calibrated_log_loss", "threshold", "sensitivity", "specificity"),
        *integers("seed", "best_epoch"),
        *numbers("seconds"),
        *CONFIG,
    ),
    vouched=True,
)
OUTER_PREDICTIONS = Schema(
    "outer_predictions.csv",
    (
        Column("repeat", Type.INTEGER, needed=True),
        Column("fold", Type.INTEGER, needed=True),
        *keys("image", "label"),
        *text("patient"),
    ),
    ("prob_", "calibrated_"),
    vouched=True,
)
SPLITS = Schema(
    "splits.csv",
    (*keys("image", "label"), *text("patient", "patient_wide", "split", "reason", "pixels", "looks")),
    more=True,
)
NOT_DRAWN = "not drawn by --max-images"
"""How the reason in splits.csv begins where an image is outside the subset that was drawn."""
SUSPECTED_LABELS = Schema(
    "suspected_labels.csv", (*keys("image", "label"), *text("patient", "split", "suggested"), *numbers("margin"))
)
PREDICTIONS_VAL = Schema("predictions_val.csv", (*keys("image", "label"), *text("patient")), ("prob_", "calibrated_"))
PREDICTIONS_TEST = Schema(
    "predictions_test.csv", (*keys("image", "label"), *text("patient", "pixels")), ("prob_", "calibrated_"), more=True
)
PREDICTIONS_MODELS = Schema(
    "predictions_models.csv",
    (*keys("model"), *integers("repeat"), *text("split"), *keys("image", "label"), *text("patient")),
    ("prob_", "calibrated_"),
)
PREDICTIONS_PATIENTS = Schema(
    "predictions_patients.csv",
    (*keys("split", "patient", "label"), *integers("images")),
    ("prob_", "calibrated_"),
)
PREDICTIONS_SECONDARY = Schema(
    "predictions_secondary.csv",
    (*keys("model", "split", "image", "label"), *text("patient")),
    ("prob_",),
)
COMPARISONS = Schema(
    "comparisons.csv",
    (
        *keys("family", "a", "b"),
        *text("metric", "scores_a", "scores_b"),
        *integers("seeds_a", "seeds_b"),
        *numbers("score_a", "score_b", "difference", "low", "high", "p", "p_holm"),
        *numbers("standard_error", "df", "seed_share", "detectable", "margin", "p_equivalent"),
        *integers("repeat_a", "repeat_b", "only_a_right", "only_b_right"),
        *numbers("mcnemar_p", "mcnemar_p_holm"),
        *text("verdict", "reason", "sentence"),
    ),
)
OPERATING_POINTS = Schema(
    "operating_points.csv",
    (
        *keys("class", "point"),
        *text("rule"),
        *numbers("threshold"),
        *keys("measure"),
        *integers("hits", "of"),
        *numbers("value", "wilson_low", "wilson_high", "low", "high"),
        *text("reason"),
        *numbers("validation", "expected_low", "expected_high"),
        *flags("flagged"),
    ),
)
PREVALENCES = Schema(
    "prevalences.csv",
    (
        *keys("class", "point"),
        *numbers("threshold", "prevalence"),
        *estimates("ppv"),
        *text("ppv_by"),
        *estimates("npv"),
        *text("npv_by"),
        *flags("observed"),
    ),
)
DECISION_CURVE = Schema(
    "decision_curve.csv",
    (
        *keys("class"),
        *numbers("threshold", "model", "treat_all", "treat_none", "low", "high"),
        *estimates("gain"),
    ),
)
CURVES = Schema("curves.csv", (*keys("model", "class", "curve"), *numbers("x", "y", "low", "high")))
SUBGROUPS = Schema(
    "subgroups.csv",
    (
        *keys("group", "value"),
        *integers("images", "patients"),
        *flags("small"),
        *estimates("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity"),
        *text("reason"),
    ),
)
FAILURES = Schema(
    "failures.csv",
    (
        Column("rank", Type.INTEGER, needed=True),
        *keys("image", "label"),
        *text("patient"),
        *keys("predicted"),
        *numbers("confidence", "probability_of_label"),
        *integers("copies"),
        *flags("shown"),
    ),
)
ROBUSTNESS = Schema(
    "robustness.csv",
    (
        *keys("corruption"),
        *numbers("level"),
        *text("unit"),
        *integers("images"),
        *estimates("auc", "accuracy", "auc_change"),
        *text("precision", "reason"),
    ),
)
PREDICTIONS_ALTERED = Schema(
    "predictions_altered.csv",
    (*keys("corruption"), *numbers("level"), *keys("image", "label"), *text("patient")),
    ("prob_",),
)
PREDICTIONS_EXTERNAL = Schema(
    "predictions_external.csv",
    (*keys("image", "label"), *text("given", "patient", "pixels", "called", "prediction_set", "unlike")),
    ("prob_", "calibrated_"),
    more=True,
)
EXTERNAL_EXCLUDED = Schema("external_excluded.csv", (*keys("image"), *text("given", "reason", "detail")))

SCHEMAS: dict[str, Schema] = {
    schema.file: schema
    for schema in (
        TRIALS,
        EPOCHS,
        FINALISTS,
        BASELINES,
        FOLDS,
        LEARNING_CURVE,
        OUTER,
        OUTER_PREDICTIONS,
        SPLITS,
        SUSPECTED_LABELS,
        PREDICTIONS_VAL,
        PREDICTIONS_TEST,
        PREDICTIONS_MODELS,
        PREDICTIONS_PATIENTS,
        PREDICTIONS_SECONDARY,
        COMPARISONS,
        OPERATING_POINTS,
        PREVALENCES,
        DECISION_CURVE,
        CURVES,
        SUBGROUPS,
        FAILURES,
        ROBUSTNESS,
        PREDICTIONS_ALTERED,
    )
}
"""Every schema of a run folder by its file; those of an external test lie in a folder of its own."""
