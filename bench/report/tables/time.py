"""Seconds by activity, and limit.json -> tables of where the time went; reads no files."""

from collections.abc import Mapping

import pandas as pd

from bench.run.documents import LowerBoundPart, LowerBoundRecord

ACTIVITIES = {
    "start-up": "starting Ray and the workers",
    "decoding": "decoding and auditing the images",
    "filling": "passing images through frozen networks",
    "tracing": "building models and tracing their steps",
    "head training": "training heads",
    "suffix training": "training unfrozen stages",
    "validation": "scoring the validation images",
    "other": "within trials, between these",
    "checkpoints": "writing checkpoints",
    "waiting": "workers waiting for a trial or for each other",
    "finalists": "retraining the finalists",
    "evaluation": "evaluation",
    "report": "writing the report",
}
"""The activities of a run in their order, in words."""

REST = "outside of these"
SMALLEST_REST = 0.01
"""What no activity accounts for is shown if it is at least this share of the run."""


def spent(activities: Mapping[str, float], stages: Mapping[str, float]) -> pd.DataFrame:
    """Where the time went: ``activity`` in words, ``seconds``, and its ``share`` of all, in the order of a run.

    Args:
        activities: activity -> wall-clock seconds, from run.json.
        stages: stage -> wall-clock seconds, from run.json; what they took beyond the activities becomes a row. The
            report's own are in there alone, for they are known only when it is written.
    """
    known, took = ({name: one for name, one in part.items() if one >= 0} for part in (activities, stages))
    if sum(known.values()) > 0 and "report" in took:
        known["report"] = took["report"]
    order = [*(name for name in ACTIVITIES if name in known), *(name for name in known if name not in ACTIVITIES)]
    seconds = {ACTIVITIES.get(name, name): known[name] for name in order}
    rest = sum(took.values()) - sum(seconds.values())
    if sum(seconds.values()) > 0 and rest >= SMALLEST_REST * sum(took.values()) > 0:
        seconds[REST] = rest
    table = pd.DataFrame({"activity": list(seconds), "seconds": list(seconds.values())})
    total = table["seconds"].sum()
    return table.assign(share=table["seconds"] / total if total > 0 else float("nan"))


def limit_parts(limit: LowerBoundRecord) -> pd.DataFrame:
    """The parts of limit.json, one per row, with their ``share`` of the least time; the longest come first."""
    rows = [
        {**part.model_dump(), "precision": part.precision.removeprefix("mixed_")}
        for part in limit.parts
        if part.seconds
    ]
    table = pd.DataFrame(rows, columns=list(LowerBoundPart.model_fields))
    table = table.sort_values("seconds", ascending=False, ignore_index=True)
    return table.assign(share=table["seconds"] / table["seconds"].sum())
