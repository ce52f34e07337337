"""Several runs -> what they share, what sets them apart, and tables of their results side by side; reads no files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import numbers
from bench.numbers import DASH, present
from bench.report import names, summary
from bench.report.read.files import RunFiles
from bench.report.side_by_side import tested as sides_tested
from bench.report.tables import search as tables_search
from bench.report.tables.models import bounded
from bench.report.verdict import headline, verdict
from bench.run.documents import Estimate, ModelScores, SeedSpread
from bench.run.folder import RunDir
from bench.run.record import RunRecord
from bench.stats.metrics import METRICS, Metric

Frame = pd.DataFrame

UNKNOWN = "not known"
_NOT_SETTINGS = {"name", "output", "cache"}
"""Settings that differ between any two runs, or say only where files lie."""

TESTED = ("auc", "accuracy")
"""Metrics of the internal test that are shown."""

_STAGES = {"start": "starting workers", "data": "", "search": "", "finalists": "", "outer": "", "evaluation": ""}
_STAGES |= {"report": "report"}
"""The stages in their order; the names of those without one here are in ``names.STAGES``."""


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
    return sides_tested.digest(splits.loc[splits["split"] == split, ["image", "label"]].astype("str"))


def comparability(found: Sequence[Fact], split: str) -> str:
    """Why ``validation`` or ``test`` scores do not compare, or may not, as a sentence; empty where they do."""
    apart = [fact for fact in found if fact.needed_by in ("all", split) and not fact.same]
    differing, unknown = ([fact.title for fact in apart if fact.same is same] for same in (False, None))
    return sides_tested.SAY("comparability", split, differing, unknown)


def shared_metric(sides: Sequence[Side]) -> tuple[Metric, str]:
    """The metric by which the searches are shown, and a sentence on it where they did not rank by the same."""
    named = {side.files.metric.name for side in sides}
    return (METRICS[named.pop()], "") if len(named) == 1 else (METRICS["auc"], sides_tested.SAY("ranked", sides))


def settings(side: Side) -> dict[str, str]:
    """Everything that decided a run and may differ between two, by its title, in words."""
    record = side.files.record
    values, space = (
        part.model_dump(mode="json", exclude_unset=True, exclude=_NOT_SETTINGS if part is record.settings else None)
        for part in (record.settings, record.space)
    )
    about = {
        **names.settings(values),
        "search space": names.setting(space.get("name")),
        **names.settings(space.get("parameters", {}), "space: "),
        "augmentation policies": names.setting(space.get("augmentations")),
        "weights used": names.setting(record.weights.kind),
        "precision used": _precision(record),
        "suite version": names.setting(record.suite_version),
        **{f"package {key}": names.setting(value) for key, value in record.packages.items()},
        **names.hardware(record, "machine: "),
    }
    return {key: value for key, value in about.items() if value != DASH}


def _precision(record: RunRecord) -> str:
    """What the backbones compute in; milliseconds differ between any two measurements, and are left out."""
    found = record.precision
    return names.setting(
        found
        if found is None or isinstance(found, str)
        else {
            record.titles.get(name, name): one.model_copy(update={"measured": {}}).describe()
            for name, one in found.items()
        }
    )


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


def state(side: Side) -> str:
    """How far a run has come, in words."""
    files = side.files
    if files.evaluation is not None:
        return "evaluated"
    if files.outdated:
        return "trained anew since it was evaluated"
    if files.opened:
        return "evaluated, but evaluation.json cannot be read"
    if files.chosen:
        return "finished; no evaluation" if files.openings else "finished; test split sealed"
    if files.trials is None or not len(files.trials):
        return "unfinished: no trial has ended"
    return "unfinished: no winner yet"


def winners(sides: Sequence[Side], metric: Metric) -> Frame:
    """One row per run: who won, and how well.

    Returns:
        ``label``, ``position`` (of the run), ``state``, ``verdict`` (in words; empty without a winner), ``winner``,
        ``validation`` with its bounds (of the exported seed, by patients), ``seeds``, ``mean`` and ``sd`` (of the
        validation score over the seeds), ``test_NAME`` with its bounds for each of `TESTED`, ``test_seeds`` (mean and
        standard deviation of the test AUC over the seeds, in words), ``images``, ``patients`` and ``opened`` (times, by
        all runs).
    """
    rows = []
    for position, side in enumerate(sides):
        files = side.files
        told, model = files.tested, files.chosen_model or ModelScores()
        seeds, repeats = files.over_seeds(metric), model.repeats or SeedSpread()
        score = told.validation.metrics.get(metric.name, Estimate())
        if score.value is None and files.metric.name == metric.name and files.record.winner:
            score = score.model_copy(update={"value": files.record.winner.score})
        row: dict[str, Any] = {
            "label": side.label,
            "position": position,
            "state": state(side),
            "verdict": headline(verdict(files)),
            "winner": files.title(files.chosen),
            **bounded("validation", score),
            **{"seeds": seeds.n, "mean": seeds.mean, "sd": seeds.sd},
            "test_seeds": numbers.with_spread(repeats.mean.get("auc"), repeats.sd.get("auc")),
            "images": told.images,
            "patients": told.patients,
            "opened": told.ledger.this_split if told.ledger else None,
        }
        for name in TESTED:
            row |= bounded(f"test_{name}", model.metrics.get(name, Estimate()))
        rows.append(row)
    return Frame(rows)


def backbones(sides: Sequence[Side], metric: Metric) -> Frame:
    """One row per backbone and run, backbones in the order in which the runs name them.

    Returns:
        ``backbone``, ``label``, ``trials``, ``best`` (of its trials), ``trial`` (which), ``seeds``, ``finalist`` (mean
        and standard deviation over the seeds, in words), ``score`` (that mean), ``won`` (bool), and ``test_auc`` with
        its bounds; a backbone that a run did not try has no row of it.
    """
    rows = []
    order = list(dict.fromkeys(name for side in sides for name in side.files.backbones))
    for name in order:
        for side in sides:
            row = _backbone(side, name, metric)
            if row:
                rows.append({"backbone": name, "model": side.files.title(name), "label": side.label, **row})
    return Frame(rows)


def _backbone(side: Side, name: str, metric: Metric) -> dict[str, Any]:
    files, row = side.files, dict[str, Any]()
    if files.trials is not None:
        tried = files.trials[files.trials["config_backbone"] == name]
        best = tables_search.best_trials(tried, metric)
        row["trials"] = len(tried)
        row["best"] = best["score"].iloc[0] if len(best) else None
        row["trial"] = best["trial"].iloc[0] if len(best) else None
    if files.finalists is not None and len(part := files.finalists[files.finalists["backbone"] == name]):
        scores = part.loc[part["state"] == "completed", tables_search.column(metric)].dropna()
        row |= {"seeds": len(scores), "score": scores.mean(), "won": files.chosen == name}
        row["finalist"] = numbers.with_spread(scores.mean(), scores.std())
    score = files.tested.models.get(name, ModelScores()).metrics.get("auc")
    row |= bounded("test_auc", score) if score else {}
    return row if row.get("trials") or len(row) > 3 else {}


def best_so_far(side: Side, metric: Metric, by_time: bool) -> Frame:
    """Columns ``x`` and ``best``: the best score of a run by the number of its trials, or by seconds of search.

    No rows where the run has no score, or does not say when its trials ended.
    """
    trials = side.files.trials
    if trials is None or not len(trials):
        return Frame({"x": [], "best": []})
    if by_time:
        return tables_search.over_time(trials, metric)[["ended", "best"]].rename(columns={"ended": "x"})
    ordered = trials.sort_values("trial").assign(x=range(1, len(trials) + 1))
    best = tables_search.running_best(trials, metric).merge(ordered[["trial", "x"]], on="trial")
    return best[["x", "best"]]


def searches(sides: Sequence[Side], metric: Metric) -> Frame:
    """One row per run: ``label``, ``planned``, the counts by state, ``best``, ``after`` (trials that had ended in order
    up to it), ``reached`` (seconds of search until it had ended) and ``ended`` (why the search did).
    """
    rows = []
    for side in sides:
        files, row = side.files, {"label": side.label, **summary.counts(side.files)}
        about, settings = files.record.search, files.record.settings
        budget = settings.budget if "budget" in settings.model_fields_set else None
        row["planned"] = about.planned if about and about.planned else budget
        row["ended"] = about.stopped_by if about else ""
        for by_time, column in ((False, "after"), (True, "reached")):
            best = best_so_far(side, metric, by_time)
            if len(best):
                row.setdefault("best", best["best"].iloc[-1])
                reached = best.loc[best["best"] == row["best"], "x"]
                row[column] = reached.iloc[0] if len(reached) else None
        rows.append(row)
    return Frame(rows)


def time(sides: Sequence[Side]) -> Frame:
    """One row per stage, then their sum, then trials per hour: ``what``, and ``run0``, ``run1`` … in words."""
    spent = [side.files.record.seconds for side in sides]
    rows = []
    for stage in dict.fromkeys([*_STAGES, *(stage for one in spent for stage in one)]):
        if any(stage in one for one in spent):
            rows.append([names.STAGES.get(stage, _STAGES.get(stage, stage)), *(one.get(stage) for one in spent)])
    rows.append(["together", *(sum(one.values()) or None for one in spent)])
    table = Frame(rows, columns=["what", *(f"run{position}" for position in range(len(sides)))], dtype="object")
    table = table.map(lambda value: value if isinstance(value, str) else numbers.seconds(value))
    pace = ["trials per hour of search"]
    for side, one in zip(sides, spent, strict=True):
        seconds, ended = one.get("search"), sum(summary.counts(side.files).values())
        pace.append(numbers.short(3600 * ended / seconds) if seconds else DASH)
    table.loc[len(table)] = pace
    return table
