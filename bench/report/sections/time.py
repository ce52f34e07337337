"""The section on time: where the run's went, and how near it came to what the machine could do at best."""

from collections.abc import Mapping
from textwrap import fill

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench import numbers
from bench.invocation import in_output, typed
from bench.report.blocks import Section, Table, table
from bench.report.figures.timeline import busy, gantt, timeline
from bench.report.page import Page
from bench.report.palette import ACCENT, INK, WIDTH, clipped, new_figure, styled
from bench.report.templating import Values
from bench.run.documents import LeastTime, LowerBoundPart, LowerBoundRecord
from bench.run.folder import STAGES

TITLE = "Where the time went"

LONGEST_LABEL = 48

ACTIVITIES = {
    "start-up": "starting Ray and the workers",
    "decoding": "decoding and auditing the images",
    "filling": "passing images through frozen networks",
    "tracing": "building models and tracing their steps",
    "head training": "training heads",
    "suffix training": "training unfrozen stages",
    "validation": "scoring the validation images",
    "other": "other work within trials",
    "waiting": "workers waiting for a trial or for each other",
    "finalists": "retraining the finalists",
    "outer": "outer folds, from search to score",
    "evaluation": "evaluation",
    "report": "writing the report",
}
"""The activities of a run in their order, in words."""

AFTER = STAGES[STAGES.index("search") + 1 :]
"""The stages that follow the search."""
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


def least_times(limit: LowerBoundRecord) -> pd.DataFrame:
    """Measured and least seconds of the search, of what follows it and of the whole run, and their ratio."""
    found = {"the search": limit, "what follows it": limit.after, "the whole run": limit.whole}
    rows = [
        {"stretch": name, "measured": least.measured, "seconds": least.seconds, "ratio": least.ratio}
        for name, least in found.items()
        if least is not None and least.seconds is not None
    ]
    return pd.DataFrame(rows, columns=["stretch", "measured", "seconds", "ratio"])


def limit_parts(limit: LeastTime) -> pd.DataFrame:
    """The parts of limit.json, one per row, with their ``share`` of the least time; the longest come first."""
    rows = [
        {**part.model_dump(), "precision": part.precision.removeprefix("mixed_")}
        for part in limit.parts
        if part.seconds
    ]
    table = pd.DataFrame(rows, columns=list(LowerBoundPart.model_fields))
    table = table.sort_values("seconds", ascending=False, ignore_index=True)
    return table.assign(share=table["seconds"] / table["seconds"].sum())


@styled
def activities(spent: pd.DataFrame) -> Figure:
    """Bars of seconds by activity, in the order of a run, each with its share of all.

    Args:
        spent: as `spent` returns it.
    """
    figure, (ax,) = new_figure(WIDTH, 0.9 + 0.42 * len(spent))
    scale, unit = (60, "min") if spent["seconds"].max() >= 600 else (1, "s")
    lengths = (spent["seconds"] / scale).to_numpy()
    labels = [fill(clipped(name, LONGEST_LABEL), 26) for name in spent["activity"]]
    sns.barplot(x=lengths, y=labels, color=ACCENT, saturation=1, width=0.62, ax=ax)
    for position, (length, share) in enumerate(zip(lengths, spent["share"], strict=True)):
        ax.annotate(
            numbers.percent(share), (length, position), (4, 0), textcoords="offset points", va="center", color=INK
        )
    ax.set(xlabel=f"Wall-clock time ({unit})", ylabel="", xlim=(0, 1.12 * max(lengths.max(), 1e-9)))
    ax.grid(False, axis="y")
    return figure


def time(page: Page) -> Section:
    """Seconds by activity, and the limit with its parts, or the command that computes it."""
    record, limit = page.files.record, page.files.limit
    values: Values = {"timed": "activities" in record.model_fields_set, "limit": limit}
    values |= {"command": typed("compare", "--limit", page.run.name, *in_output(page.run.path.parent))}
    if values["timed"]:
        rows = spent(record.activities, record.seconds)
        values |= {"total": rows["seconds"].sum(), "longest": rows.nlargest(3, "seconds")}
        values |= {"activities": table("activities", rows, "Wall-clock time by activity.")}
        values |= {"drawing": page.drawing("time", activities, rows)}
    jobs = timeline(record.timeline, record.jobs_at)
    values |= {"jobs": len(jobs)}
    if len(jobs):
        shares = busy(jobs)
        values |= {"shares": shares, "workers": table("workers", shares)}
        values |= {"gantt": page.drawing("timeline", gantt, jobs)}
    if limit is not None and (limit.seconds or 0) > 0:
        values |= {"known": True, "outdated": _outdated(limit, page), "about": limit.calibrated}
        followed = page.files.finalists is not None and not page.files.unfinished
        values |= {"search_alone": limit.after is None and followed}
        values |= {"stretches": table("least_times", least_times(limit)), "parts": _parts(limit)}
    else:
        values |= {"known": False, "search_alone": False}
    return page.section("time", TITLE, **values)


def _outdated(limit: LowerBoundRecord, page: Page) -> bool:
    """Whether the run has gone on since ``limit`` was computed."""
    seconds = page.files.record.seconds
    searched, followed = seconds.get("search", 0.0), sum(seconds.get(stage, 0.0) for stage in AFTER)
    measured = limit.after.measured if limit.after else None
    return searched > (limit.measured or searched) or followed > (measured or followed)


def _parts(limit: LowerBoundRecord) -> Table | None:
    parts = limit_parts(limit.whole or limit)
    return table("lower_bound", parts, folded=True) if len(parts) else None
