"""Several runs -> tables that set their results side by side, one row per run or part of a run; reads no files."""

from collections.abc import Sequence
from typing import Any

from bench import numbers
from bench.numbers import DASH
from bench.report import names, summary
from bench.report.names import backbone
from bench.report.side_by_side.sides import Frame, Side
from bench.report.tables import search as tables_search
from bench.report.tables.models import bounded
from bench.report.verdict import headline, verdict
from bench.run.documents import Estimate, ModelScores, SeedSpread
from bench.stats.metrics import Metric

TESTED = ("auc", "accuracy")
"""Metrics of the internal test that are shown."""

_STAGES = {"start": "starting workers", "data": "", "search": "", "finalists": "", "evaluation": "", "report": "report"}
"""The stages in their order; the names of those without one here are in ``names.STAGES``."""


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
            "winner": backbone(files.chosen),
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
                rows.append({"backbone": name, "label": side.label, **row})
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
