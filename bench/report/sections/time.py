"""The section on time: where the run's went, and how near its search came to what the machine could do at best."""

from typing import Any

from bench import numbers
from bench.invocation import typed
from bench.report.blocks import Column, Section, Table, table
from bench.report.figures import time as figures_time
from bench.report.page import Page
from bench.report.tables import time as tables_time
from bench.run.documents import LowerBoundRecord

TITLE = "Where the time went"


def time(page: Page) -> Section:
    """Seconds by activity, and the limit with its parts, or the command that computes it."""
    record, limit = page.files.record, page.files.limit
    values: dict[str, Any] = {"timed": "activities" in record.model_fields_set, "limit": limit}
    values |= {"command": typed("compare", "--limit", page.run.name)}
    if values["timed"]:
        spent = tables_time.spent(record.activities, record.seconds)
        columns = [
            Column("activity", "Activity", numeric=False),
            Column("seconds", "Time", numbers.seconds),
            Column("share", "Share", numbers.percent),
        ]
        values |= {"total": spent["seconds"].sum(), "longest": spent.nlargest(3, "seconds")}
        values |= {"activities": table(spent, "Wall-clock time by activity.", columns)}
        values |= {"drawing": page.drawing("time", figures_time.activities, spent)}
    if limit is not None and (limit.seconds or 0) > 0:
        now = record.seconds.get("search")
        outdated = now is not None and now > (limit.measured or now)
        values |= {"known": True, "outdated": outdated, "parts": _parts(limit), "about": limit.calibrated}
    else:
        values |= {"known": False}
    return page.section("time", TITLE, **values)


def _parts(limit: LowerBoundRecord) -> Table | None:
    parts = tables_time.limit_parts(limit)
    columns = [
        Column("what", "Part", numeric=False),
        Column("images", "Images", numbers.count),
        Column("images_per_second", "Images/s", numbers.plain),
        Column("seconds", "Time", numbers.seconds),
        Column("share", "Share", numbers.percent),
        Column("precision", "Precision", numeric=False),
        Column("batch", "Batch", numbers.count),
        Column("processes", "Processes", numbers.count),
        Column("threads", "Threads each", numbers.count),
    ]
    return table(parts, "", columns, sortable=True, folded=True) if len(parts) else None
