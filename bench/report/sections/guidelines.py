"""The section that fills in what a run can of CLAIM 2024 and TRIPOD+AI, and leaves the rest to the author."""

from dataclasses import dataclass
from functools import partial

import yaml

from bench import numbers
from bench.report.answers import Answers
from bench.report.blocks import Block, Cell, Column, Paragraph, Section, Table
from bench.report.guard import guarded
from bench.report.page import Page
from bench.report.sections import comparison, data, failures, provenance, search, winner
from bench.report.templating import TEMPLATES

TITLE = "Reporting guidelines"

OPEN = "author to complete"
"""What stands, less boldly than an answer, where the run has none."""

SECTIONS = {
    "summary": "Summary",
    "comparison": comparison.TITLE,
    "search": search.TITLE,
    "winner": winner.TITLE,
    "failures": failures.TITLE,
    "data": data.TITLE,
    "provenance": provenance.TITLE,
}
"""Anchors of the sections that the items lead to, and what a link to them says."""

COLUMNS = (
    Column("item", "Item", numeric=False),
    Column("topic", "Topic", numeric=False),
    Column("answer", "What this run says", numeric=False),
    Column("section", "More in", numeric=False),
)


@dataclass(frozen=True)
class Item:
    """One item of a guideline; its fields are explained in ``templates/guidelines.yaml``."""

    number: str
    topic: str
    answer: str = ""
    section: str = ""
    left: str = ""


@dataclass(frozen=True)
class Guideline:
    """A guideline with its source and its items in order."""

    name: str
    source: str
    items: tuple[Item, ...]


CLAIM, TRIPOD = (
    Guideline(one["name"], one["source"], tuple(Item(**item) for item in one["items"]))
    for one in yaml.safe_load((TEMPLATES / "guidelines.yaml").read_text(encoding="utf-8"))
)


def guidelines(page: Page) -> Section:
    """Both guidelines, one item per row."""
    blocks: list[Block] = [
        Paragraph(
            "What the files of this run answer is filled in, with its numbers; what no run can know is left to the "
            "author. Topics are in the words of this report: read the guidelines themselves before you submit."
        )
    ]
    for guideline in (CLAIM, TRIPOD):
        blocks += page.part(guideline.name, partial(_filled, guideline))
    return Section("guidelines", TITLE, blocks)


def _filled(guideline: Guideline, page: Page) -> list[Block]:
    answers = Answers(page)
    told = [answered(answers, item) for item in guideline.items]
    count, total = sum(map(bool, told)), len(told)
    lead = (
        f"The run answers {count} of {total} items, some of them in part; {total - count} are left to the author. "
        f"Source: {guideline.source}."
    )
    rows = [_row(item, answer) for item, answer in zip(guideline.items, told, strict=True)]
    caption = f"{guideline.name}, item by item."
    return [Paragraph(lead), Table(caption, COLUMNS, rows, folded=True)]


def answered(answers: Answers, item: Item) -> str:
    """What the run says to ``item``; empty where it says nothing, or where a damaged file defeats it."""
    if not item.answer:
        return ""
    return guarded(lambda: answers(item.answer), lambda _: "", f"Item {item.number} could not be answered.")


def _row(item: Item, answer: str) -> list[Cell]:
    if not answer:
        return [Cell(item.number), Cell(item.topic), Cell("", below=OPEN), Cell("")]
    left = numbers.capital(f"{OPEN}: {item.left}") if item.left else ""
    link = Cell(SECTIONS[item.section], href=f"#{item.section}")
    return [Cell(item.number), Cell(item.topic), Cell(answer, below=left), link]
