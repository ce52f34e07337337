"""The part of the comparison that tells of the nested loop, or recommends one."""

from bench.invocation import resume
from bench.report.blocks import table
from bench.report.names import state
from bench.report.page import Page
from bench.report.tables import outer as tables_outer
from bench.report.tables.search import column
from bench.report.templating import Values


def nested(page: Page) -> Values:
    """What ``sections/outer.html.j2`` shows: ``found`` and its tables, or what a loop would ``cost``."""
    files, found = page.files, page.files.record.outer
    again = resume(page.run.name, page.run.path.parent)
    values: Values = {"found": found, "cost": tables_outer.cost(files), "again": again, "folds": None}
    if found is None or found.score is None:
        return values
    rows = files.outer
    if rows is not None:
        shown = rows.assign(model=rows["backbone"].map(files.title), ended=rows["state"].map(state))
        shown["score"] = rows[column(page.metric)]
        folds = table("outer_folds", shown, "The outer folds.", folded=True, metric=page.metric.title)
        values |= {"folds": folds}
    return values | {"beside": table("outer_beside", tables_outer.beside(files, found), metric=page.metric.title)}
