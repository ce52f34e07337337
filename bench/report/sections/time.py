"""The section on time: where the run's went, and how near its search came to what the machine could do at best."""

from typing import Any

from bench.invocation import typed
from bench.report import wording
from bench.report.blocks import Block, Code, Column, Heading, Missing, Paragraph, Section, Table, table
from bench.report.figures import time as figures_time
from bench.report.names import joined
from bench.report.page import Page
from bench.report.read.files import listed, mapping
from bench.report.tables import time as tables_time
from bench.run.documents import LowerBoundRecord

TITLE = "Where the time went"


def time(page: Page) -> Section:
    """Seconds by activity, and the limit with its parts, or the command that computes it."""
    return Section("time", TITLE, [*_activities(page), Heading("The limit"), *_limit(page)])


def _activities(page: Page) -> list[Block]:
    run = page.files.run
    if "run.json" in page.files.problems:
        return [*page.problems("run.json")]
    if "activities" not in run:
        return [
            Missing(
                "run.json does not say where the time went: the run has not finished, or was made before activities "
                "were timed."
            )
        ]
    spent = tables_time.spent(page.files.record.activities, page.files.record.seconds)
    if not spent["seconds"].sum() > 0:
        return [Missing("The activities in run.json hold no time.")]
    longest = spent.nlargest(3, "seconds")
    told = joined(f"{row['activity']} {wording.percent(row['share'])}" for _, row in longest.iterrows())
    columns = [
        Column("activity", "Activity", numeric=False),
        Column("seconds", "Time", wording.seconds),
        Column("share", "Share", wording.percent),
    ]
    total = wording.seconds(spent["seconds"].sum())
    return [
        Paragraph(
            f"Together {total} of wall-clock time. Where several workers were busy at once, the time of each counts "
            "by its share of the workers."
        ),
        page.picture(
            "time",
            lambda: figures_time.activities(spent),
            f"Bars of wall-clock time by activity. The longest: {told}.",
            "Where the time went. Each bar is an activity of the run, in the order in which they come.",
        ),
        table(spent, "Wall-clock time by activity.", columns),
    ]


def _limit(page: Page) -> list[Block]:
    limit, command = (
        None if page.files.limit is None else mapping(page.files.limit),
        typed("compare", "--limit", page.run.name),
    )
    again = Code("To measure, on the idle machine, how fast the same work could be done at best", command)
    if limit is None:
        return [*page.problems("limit.json"), again]
    least = wording.number(limit.get("seconds"))
    if least is None or least <= 0:
        return [Missing("limit.json holds no least time, so there is nothing to compare with."), again]
    blocks: list[Block] = [
        Paragraph(
            f"{_ratio(limit)} The limit is the least time in which bare Keras, at its best batch size, precision and "
            "number of processes, could do the same trials and epochs: each image once through each frozen network "
            "and view that was used, then the trainable part alone."
        )
    ]
    if (wording.number(limit.get("ratio")) or 1) < 1:
        blocks.append(
            Paragraph("A search that finds features of an earlier run in the cache can fall below its limit.")
        )
    blocks += [Paragraph(str(note)) for note in listed(limit.get("notes"))]
    blocks += _parts(page.files.limit or LowerBoundRecord(), limit)
    if _outdated(page, limit):
        blocks += [Paragraph("The search has gone on since the limit was computed."), again]
    return blocks


def _outdated(page: Page, limit: dict[str, Any]) -> bool:
    """Whether the search has taken more time than limit.json knows of."""
    now = wording.number(mapping(page.files.run.get("seconds")).get("search"))
    return now is not None and now > (wording.number(limit.get("measured")) or now)


def _ratio(limit: dict[str, Any]) -> str:
    least, ratio = wording.seconds(limit["seconds"]), wording.number(limit.get("ratio"))
    if ratio is None:
        return f"The limit of the search is {least}."
    return (
        f"The search took {wording.seconds(limit.get('measured'))} and its limit is {least}: "
        f"measured / limit is {ratio:.2f}."
    )


def _parts(record: LowerBoundRecord, limit: dict[str, Any]) -> list[Table]:
    parts = tables_time.limit_parts(record)
    if not len(parts):
        return []
    about = mapping(limit.get("calibrated"))
    where = ", ".join(
        [wording.text(about.get("processor")), wording.counted(about.get("cores"), "core")]
        + ([wording.counted(about["gpus"], "GPU")] if wording.number(about.get("gpus")) else [])
    )
    caption = f"Parts of the limit. Measured on {where}, {wording.moment(about.get('date'))}."
    columns = [
        Column("what", "Part", numeric=False),
        Column("images", "Images", wording.count),
        Column("images_per_second", "Images/s", wording.plain),
        Column("seconds", "Time", wording.seconds),
        Column("share", "Share", wording.percent),
        Column("precision", "Precision", numeric=False),
        Column("batch", "Batch", wording.count),
        Column("processes", "Processes", wording.count),
        Column("threads", "Threads each", wording.count),
    ]
    return [table(parts, caption, columns, sortable=True, folded=True)]
