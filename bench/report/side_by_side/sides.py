"""Several runs -> what they share, what sets them apart, and whether their scores compare; reads no files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import numbers
from bench.numbers import DASH, present
from bench.report.names import joined
from bench.report.read.files import RunFiles
from bench.report.side_by_side import tested as sides_tested
from bench.run.folder import RunDir
from bench.stats.metrics import METRICS, Metric

Frame = pd.DataFrame

UNKNOWN = "not known"


@dataclass(frozen=True)
class Side:
    """One of the runs that are set side by side; ``label`` tells it from the others."""

    label: str
    run: RunDir
    files: RunFiles


@dataclass(frozen=True)
class Fact:
    """Something that runs must share for their scores to compare.

    Attributes:
        title: what it is.
        needed_by: the scores that compare only where it is the same: ``all``, ``validation`` or ``test``.
        values: its value in each run, in words; empty where a run does not say.
    """

    title: str
    needed_by: str
    values: tuple[str, ...]

    @property
    def same(self) -> bool | None:
        """Whether all runs have the same; None where one of them does not say."""
        known = {value for value in self.values if value}
        return False if len(known) > 1 else None if "" in self.values else True


def facts(sides: Sequence[Side]) -> list[Fact]:
    """What decides whether the scores of ``sides`` compare: data, splits and rules version.

    Test scores need the same test images alone, whatever they were trained on; where a run does not say what is in
    these, names tell them apart, and then the data must be the same too.
    """

    def fact(title: str, needed_by: str, values: list[Any]) -> Fact:
        return Fact(title, needed_by, tuple(str(value) if present(value) else "" for value in values))

    files = [side.files for side in sides]
    tested = [sides_tested.content(one) for one in files]
    known = all(tested)
    data_for = "validation" if known else "all"
    images = tested if known else [_images(one.splits, "test") for one in files]
    return [
        fact("Rules version", "all", [one.record.rules for one in files]),
        fact("Fingerprint of the data", data_for, [one.about_data.fingerprint for one in files]),
        fact("Classes", "all", [", ".join(one.classes) for one in files]),
        fact("Training images", "validation", [_images(one.splits, "train") for one in files]),
        fact("Validation images", "validation", [_images(one.splits, "val") for one in files]),
        fact("Test images", "test", images),
    ]


def _images(splits: Frame | None, split: str) -> str:
    """How many images are in ``split``, and a digest of which; empty where it is not known."""
    if splits is None:
        return ""
    rows = splits.loc[splits["split"] == split, ["image", "label"]].astype("str")
    names = "\n".join(sorted("\t".join(row) for row in rows.itertuples(index=False)))
    return f"{numbers.counted(len(rows), 'image')}, {hashlib.sha256(names.encode()).hexdigest()[:8]}"


def apart(found: Sequence[Fact], needed_by: str) -> list[Fact]:
    """Those that differ, or may differ, and without which the scores ``needed_by`` do not compare."""
    return [fact for fact in found if fact.needed_by in ("all", needed_by) and not fact.same]


def verdict(found: Sequence[Fact], needed_by: str, scores: str) -> str:
    """Whether ``scores`` compare, as a sentence; empty where they do."""
    differing = [fact for fact in found if fact in apart(found, needed_by) and fact.same is False]
    unknown = [fact for fact in apart(found, needed_by) if fact.same is None]
    if differing:
        return f"{scores} do not compare: the runs differ in {joined(_lower(fact.title) for fact in differing)}."
    if unknown:
        untold = joined(_lower(fact.title) for fact in unknown)
        return f"Whether {_lower(scores)} compare is not known: not every run says its {untold}."
    return ""


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def shared_metric(sides: Sequence[Side]) -> tuple[Metric, str]:
    """The metric by which the searches are shown, and a sentence on it where they did not rank by the same."""
    named = list(dict.fromkeys(side.files.metric.name for side in sides))
    if len(named) == 1:
        return METRICS[named[0]], ""
    told = joined(f"{side.label} by {side.files.metric.title}" for side in sides)
    return METRICS["auc"], f"The searches did not rank by the same metric: {told}. They are shown by ROC AUC here."


_NOT_SETTINGS = {"name", "output", "cache"}
"""Settings that differ between any two runs, or say only where files lie."""


def settings(side: Side) -> dict[str, str]:
    """Everything that decided a run and may differ between two, by its title, in words."""
    record = side.files.record
    values, space, hardware = (
        part.model_dump(mode="json", exclude_unset=True, exclude=_NOT_SETTINGS if part is record.settings else None)
        for part in (record.settings, record.space, record.hardware)
    )
    about = {
        **{key.replace("_", " "): shown(value) for key, value in values.items()},
        "search space": shown(space.get("name")),
        **{f"space: {key}".replace("_", " "): shown(value) for key, value in space.get("parameters", {}).items()},
        "augmentation policies": shown(space.get("augmentations")),
        "weights used": shown(record.weights.kind),
        "precision used": shown(record.precision),
        "suite version": shown(record.suite_version),
        **{f"package {key}": shown(value) for key, value in record.packages.items()},
        **{f"machine: {key}".replace("_", " "): shown(value) for key, value in hardware.items()},
    }
    return {key: value for key, value in about.items() if value != DASH}


def shown(value: Any) -> str:
    """A setting in words: lists in one line, nothing as a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(part)}" for key, part in value.items()) or "none"
    return numbers.text(value)


def settings_table(sides: Sequence[Side], differing: bool) -> Frame:
    """One row per setting that differs between the runs, or that does not: ``setting``, and ``run0``, ``run1`` …

    Runs without a readable run.json have a dash, and do not count as different.
    """
    told = [settings(side) for side in sides]
    known = [one for one in told if one]
    rows = []
    for key in dict.fromkeys(key for one in told for key in one):
        values = [one.get(key, DASH) for one in told]
        if (len({one.get(key, DASH) for one in known}) > 1) == differing:
            rows.append({"setting": key} | {f"run{position}": value for position, value in enumerate(values)})
    return Frame(rows, columns=["setting", *(f"run{position}" for position in range(len(sides)))])
