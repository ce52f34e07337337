"""What a run answers to reporting guidelines and in its model card: the values behind ``templates/answers.txt.j2``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from bench import numbers
from bench.invocation import typed
from bench.report import cautions, summary
from bench.report.names import joined, metric_words
from bench.report.page import Page
from bench.report.read.files import Bounded, RunFiles
from bench.report.read.reading import document
from bench.report.tables import data as tables_data
from bench.report.tables import winner as tables_winner
from bench.report.templating import Sentences
from bench.report.verdict import Verdict, verdict
from bench.run.documents import CalibrationScores, ModelCard, SecondaryModel, Threshold
from bench.run.record import SplitRecord
from bench.run.tables import NOT_DRAWN
from bench.stats.metrics import METRICS, Metric

OPEN = "Author to complete"
"""Stands before what no run can know."""

MOST_CLASSES = 12
"""Classes that a sentence names, or a table of the model card has columns for."""

MOST_OPERATED = 4
"""Classes whose thresholds, sensitivity and specificity a sentence gives."""

MEASURES = {"ppv": "PPV", "npv": "NPV"}
"""Measures of an operating point that are not called as they are written."""


def measure(name: Any) -> str:
    """A measure of an operating point in words."""
    return MEASURES.get(str(name), str(name))


class Answers(Sentences):
    """The sentences that a run has, by name of the macro; empty where its files do not say.

    Attributes:
        facts: what the sentences are made from.
    """

    def __init__(self, page: Page) -> None:
        self.facts = Facts(page)
        files = page.files
        super().__init__(
            "answers.txt.j2",
            facts=self.facts,
            files=files,
            titles=files.titles,
            record=files.record,
            settings=files.record.settings,
            tested=files.tested,
            found=files.evaluated,
            card=self.facts.card,
            winner=files.title(files.chosen) if files.chosen else "",
            metric=metric_words(files.metric),
            trials=len(page.trials),
            summary=summary,
            tables=tables_data,
            typed=typed,
            OPEN=OPEN,
            MOST_CLASSES=MOST_CLASSES,
        )


@dataclass(frozen=True)
class Facts:
    """What no file of the run says directly."""

    page: Page

    @property
    def _files(self) -> RunFiles:
        return self.page.files

    @cached_property
    def card(self) -> ModelCard | None:
        """best_model.json; None where it is missing, cannot be read or is of a model before this winner."""
        content, won = document(ModelCard, self.page.run.best_model_card, {}), self._winner_hash
        return None if content and won and content.of not in ("", won) else content

    @property
    def _winner_hash(self) -> str:
        rows = self._files.finalists
        return "" if rows is None else next(map(str, rows.loc[rows["winner"], "sha256"].dropna()), "")

    @property
    def model_hash(self) -> str:
        """SHA-256 of the exported model as the files give it; empty where none does."""
        return (self.card.sha256 if self.card else "") or self._winner_hash

    @property
    def class_names(self) -> str:
        """The classes in prose, the first of them where there are many; empty where the files name none."""
        known = self._files.classes
        more = [f"{len(known) - MOST_CLASSES} more"] if len(known) > MOST_CLASSES else []
        return joined([*known[:MOST_CLASSES], *more])

    @property
    def used(self) -> Mapping[str, SplitRecord]:
        """Images, patients and classes by split as the run used them, from audit.json or run.json."""
        audited = self._files.audit.splits.used if self._files.audit else {}
        return audited or self._files.about_data.splits

    @property
    def taken(self) -> pd.DataFrame:
        """The rows of splits.csv that are in a split."""
        splits = self._files.splits
        return pd.DataFrame({"patient": []}) if splits is None else splits.dropna(subset=["split"])

    @property
    def drawn(self) -> int | None:
        """Images of training and validation where some were left out for ``--max-images``, 0 where none was.

        None where splits.csv is not known.
        """
        splits = self._files.splits
        if splits is None:
            return None
        cut = splits["reason"].fillna("").astype("str").str.startswith(NOT_DRAWN).any()
        return int(splits["split"].isin(["train", "val"]).sum()) if cut else 0

    @property
    def named_patients(self) -> int:
        """How many patients splits.csv names."""
        return int(self.taken["patient"].nunique())

    @property
    def imbalance(self) -> float | None:
        """The largest class of the training images over the smallest."""
        rows = tables_data.splits({"train": self.used["train"]} if "train" in self.used else {})
        return numbers.number(rows["imbalance"].iloc[0]) if len(rows) else None

    @property
    def question(self) -> str:
        """The question of the run."""
        return summary.story(self._files)[0] if self._files.trials is not None else ""

    @property
    def folds(self) -> float | None:
        """Over how many folds the finalists were compared; None where they were not."""
        rows = self._files.finalists
        return rows["folds"].max() if rows is not None and rows["fold_mean"].notna().any() else None

    @property
    def seeds(self) -> int:
        """Over how many seeds."""
        rows = self._files.finalists
        return 1 if rows is None else int(rows[rows["state"] == "completed"].groupby("backbone").size().max() or 1)

    @property
    def every_seed(self) -> bool:
        """Whether the seeds are told one by one, as since the exported one is no longer the best of them."""
        model = self._files.chosen_model
        return bool(model and model.repeats and model.repeats.repeats)

    @property
    def verdict(self) -> Verdict:
        """What the internal test says of the winner."""
        return verdict(self._files)

    @property
    def contrast(self) -> str:
        """The verdict on the contrast that was fixed beforehand, in words; empty where there was none."""
        found = self.verdict.primary
        return f"Primary contrast, fixed beforehand. {found.sentence}" if found else ""

    @property
    def test(self) -> SplitRecord:
        """The test split as evaluated, else as drawn."""
        drawn, tested = self.used.get("test", SplitRecord()), self._files.tested
        return drawn.model_copy(
            update={"images": tested.images or drawn.images, "patients": tested.patients or drawn.patients}
        )

    @property
    def measured(self) -> dict[Metric, Bounded]:
        """The winner's scores on test, each with its bounds, as far as they are metrics that the suite knows."""
        return {METRICS[name]: values for name, values in self._files.chosen_scores.items() if name in METRICS}

    @property
    def groups(self) -> list[str]:
        """By what subgroups were formed."""
        groups = self._files.evaluated.subgroups
        return [] if groups is None else list(dict.fromkeys(groups["group"]))

    def bounds(self, row: "pd.Series[Any]") -> tuple[Any, Any]:
        """The interval of a row of operating_points.csv that leads, as in its own section; else the other.

        That by patients leads where a patient has several images, Wilson's where images are independent.
        """
        pairs = [(row["low"], row["high"]), (row["wilson_low"], row["wilson_high"])]
        leading = pairs if self.page.several_images else pairs[::-1]
        known = [pair for pair in leading if all(numbers.number(bound) is not None for bound in pair)]
        return known[0] if known else (None, None)

    @property
    def kind_of_bounds(self) -> str:
        """Which intervals `bounds` gives, in words."""
        by_patients = "intervals by patients, Wilson’s where there is none"
        return by_patients if self.page.several_images else "Wilson’s intervals"

    @property
    def frozen_points(self) -> pd.DataFrame:
        """The rows of operating_points.csv at the threshold that was fixed beforehand; else those at 0.5."""
        points = self._files.evaluated.points
        if points is None:
            return pd.DataFrame()
        frozen = points[points["point"] == "frozen"]
        return frozen if len(frozen) else points[points["point"] == "0.5"]

    @property
    def diagnostic(self) -> tuple[list[str], int]:
        """Sensitivity and specificity at the frozen threshold, class by class, and how many classes are not told."""
        points = self.frozen_points
        by_class = list(points.groupby("class", sort=False)) if len(points) else []
        told = []
        for label, part in by_class[:MOST_OPERATED]:
            rates = part[part["measure"].isin(["sensitivity", "specificity"]) & part["value"].notna()]
            values = [
                f"{measure(row['measure'])} {numbers.with_interval(row['value'], *self.bounds(row))}"
                for _, row in rates.iterrows()
            ]
            if values:
                told.append(f"{label} at {numbers.score(part['threshold'].iloc[0])}: {joined(values)}")
        return told, len(by_class) - MOST_OPERATED

    @property
    def thresholds(self) -> Sequence[Threshold]:
        """The frozen thresholds, from evaluation.json, else from best_model.json."""
        sources = [one for one in (self._files.evaluation, self.card) if one is not None]
        found = [one.thresholds for one in sources if one.thresholds] + [one.frozen for one in sources if one.frozen]
        return found[0][:MOST_OPERATED] if found else ()

    @property
    def ece(self) -> tuple[float, float] | None:
        """Expected calibration error on test before and after the calibration map."""
        content = self._files.evaluated.calibration
        steps = content.splits.get("test", {}) if content else {}
        before, after = (steps.get(step, CalibrationScores()).ece for step in ("before", "after"))
        return None if before is None or after is None else (before, after)

    @property
    def altered(self) -> pd.DataFrame | None:
        """The rows of robustness.csv on altered images, the worst first."""
        table = self._files.evaluated.robustness
        if table is None:
            return None
        known = table[(table["corruption"] != "none") & table["auc_change"].notna()]
        return known.sort_values("auc_change", kind="stable")

    @property
    def errors(self) -> tuple[int, int] | None:
        """How many test images the winner got wrong, and of how many; None where that is not known."""
        try:
            matrix = tables_winner.confusion(self._files.chosen_model, self._files.classes)[0].to_numpy()
        except ValueError:
            return None
        wrong, total = int(matrix.sum() - matrix.trace()), int(matrix.sum())
        return None if self._files.evaluated.failures is None else (wrong, total)

    @property
    def ensemble(self) -> SecondaryModel | None:
        """The ensemble that was exported beside the winner, as far as it was tested; None where there is none."""
        tested = [one for one in self._files.tested.secondary if one.kind == "ensemble"]
        built = [one for one in tested if not one.reason]
        if not tested and self.page.run.best_ensemble.exists():
            return SecondaryModel(kind="ensemble")
        return built[0] if built else None

    @property
    def limits(self) -> tuple[list[str], int]:
        """The titles of the banners, and how many cautions the report gives besides."""
        if self._files.trials is None:
            return [], 0
        banners = [banner.title.lower() for banner in summary.banners(self._files)]
        return banners, len(cautions.cautions(self._files))
