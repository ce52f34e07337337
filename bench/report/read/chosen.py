"""The model that validation chose, the winner: which it is, and what evaluation.json and finalists.csv say of it."""

from typing import Any

from bench.report.read.files import RunFiles
from bench.run.documents import ModelScores
from bench.stats.metrics import Metric


def winner_name(files: RunFiles) -> str:
    """The winning backbone's name; empty while there is no winner."""
    if files.tested.winner or files.record.winner:
        return files.tested.winner or files.record.winner.backbone  # type: ignore[union-attr]
    won = [] if files.finalists is None else files.finalists.loc[files.finalists["winner"], "backbone"].tolist()
    return str(won[0]) if won else ""


def winner_model(files: RunFiles) -> ModelScores | None:
    """The winner's part of evaluation.json; None where there is none."""
    return files.tested.models.get(winner_name(files))


Bounded = tuple[float | None, float | None, float | None]
"""A value with the bounds of its interval."""


def winner_scores(files: RunFiles) -> dict[str, Bounded]:
    """Value, low and high of each metric of the winner on test."""
    model = winner_model(files)
    return {name: (one.value, one.low, one.high) for name, one in model.metrics.items()} if model else {}


def over_seeds(files: RunFiles, metric: Metric | None = None) -> dict[str, Any]:
    """The winner's validation score by ``metric`` (that of the search) over its seeds: ``n``, ``mean`` and ``sd``.

    The standard deviation is NaN for a single seed.
    """
    rows = files.finalists
    if rows is None:
        return {"n": 0, "mean": None, "sd": None}
    won = rows[(rows["backbone"] == winner_name(files)) & (rows["state"] == "completed")]
    scores = won[f"metric_{(metric or files.metric).name}"].dropna()
    return {"n": len(scores), "mean": scores.mean(), "sd": scores.std()}
