"""The last sections of the page that sets runs side by side: time, settings, and what to beware of in each."""

from bench.report import cautions
from bench.report.blocks import Block, Code, Column, Heading, Missing, Paragraph, Points, table
from bench.report.names import joined
from bench.report.side_by_side import sides
from bench.report.side_by_side.sections import Compared
from bench.report.tables import side_by_side as sides_tables

MATTER = ("run.json", "trials.csv", "finalists.csv", "splits.csv", "evaluation.json")
"""Files whose absence is said among a run's caveats."""


def time(page: Compared) -> list[Block]:
    """Where the time of each went."""
    columns = [Column("what", "Stage", numeric=False), *page.runs(numeric=True)]
    caption = (
        "Wall-clock time by stage. Times compare only on the same machine, equally idle; a run that finds features of "
        "an earlier one in the cache is faster."
    )
    blocks: list[Block] = [table(sides_tables.time(page.sides), caption, columns)]
    machine = sides.settings_table(page.sides, differing=True)
    machine = machine[machine["setting"].str.startswith("machine: ")]
    if len(machine):
        names = joined(str(name).removeprefix("machine: ") for name in machine["setting"])
        blocks.insert(
            0,
            Missing(
                f"The runs were not made on the same machine, or not with the same part of it: they differ in {names}."
            ),
        )
    return blocks


def settings(page: Compared) -> list[Block]:
    """The settings that differ, those that do not, and the commands."""
    columns = [Column("setting", "Setting", numeric=False), *page.runs()]
    differing = sides.settings_table(page.sides, differing=True)
    same = sides.settings_table(page.sides, differing=False)
    blocks: list[Block] = []
    if len(differing):
        blocks.append(table(differing, "Settings, versions and hardware that differ.", columns))
    else:
        blocks.append(Paragraph("The runs have the same settings, versions and hardware."))
    if len(same):
        blocks.append(table(same, "Settings, versions and hardware that are the same.", columns, folded=True))
    blocks += [
        Code(f"The command that made {side.label}", side.files.record.command)
        for side in page.sides
        if side.files.record.command
    ]
    return blocks


def caveats(page: Compared) -> list[Block]:
    """What each run's own report warns of."""
    blocks: list[Block] = []
    for side in page.sides:
        blocks.append(Heading(side.label))
        blocks += [Missing(side.files.problems[name]) for name in MATTER if name in side.files.problems]
        try:
            found = cautions.cautions(side.files)
        except Exception as error:  # a damaged run must not cost the reader those of the others
            blocks.append(Missing(f"Its caveats could not be written: {type(error).__name__}: {error}"))
            continue
        blocks.append(Points(found) if found else Paragraph("Nothing more than what the data and the design entail."))
    return blocks
