"""The model that validation chose, the winner: which it is, and what evaluation.json and finalists.csv say of it."""

from typing import Any

from bench.report.read.files import RunFiles, mapping
from bench.report.tables import base as tables


def winner_name(files: RunFiles) -> str:
    """The winning backbone's name; empty while there is no winner."""
    named = (files.evaluation or {}).get("winner") or mapping(files.run.get("winner")).get("backbone")
    if not named and files.finalists is not None:
        won = files.finalists.loc[files.finalists["winner"], "backbone"]
        named = won.iloc[0] if len(won) else ""
    return str(named or "")


def winner_model(files: RunFiles) -> dict[str, Any]:
    """The winner's part of evaluation.json; empty where there is none."""
    return mapping(mapping((files.evaluation or {}).get("models")).get(winner_name(files)))


def winner_scores(files: RunFiles) -> dict[str, tuple[Any, Any, Any]]:
    """Value, low and high of each metric of the winner on test."""
    values = {name: mapping(value) for name, value in mapping(winner_model(files).get("metrics")).items()}
    return {name: (value.get("value"), value.get("low"), value.get("high")) for name, value in values.items()}


def over_seeds(files: RunFiles) -> dict[str, Any]:
    """The winner's validation score over its seeds: ``n``, ``mean`` and ``sd`` (NaN for a single one)."""
    rows = files.finalists
    if rows is None:
        return {"n": 0, "mean": None, "sd": None}
    won = rows[(rows["backbone"] == winner_name(files)) & (rows["state"] == "completed")]
    scores = won[tables.column(files.metric)].dropna()
    return {"n": len(scores), "mean": scores.mean(), "sd": scores.std()}
