"""The model card, in the report and as model_card.md from the same blocks.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019, arXiv 1810.03993. What the files of the run say
is filled in; what only its author can know is named as such.
"""

import re
from collections.abc import Callable, Sequence

from bench import numbers
from bench.report import cautions, summary
from bench.report.answers import MOST_CLASSES, OPEN, Answers, measure
from bench.report.blocks import Block, Cell, Column, Heading, Missing, Paragraph, Points, Section, Table, pairs, table
from bench.report.names import joined, metric_words
from bench.report.page import Page
from bench.report.sections import failures as section_failures
from bench.report.tables import data as tables_data
from bench.report.templating import environment
from bench.report.verdict import headline, verdict
from bench.run.folder import write_page
from bench.search.parameters import network_name
from bench.stats.metrics import METRICS

TITLE = "Model card"

FILE = "model_card.md"

MOST_GROUPS = 30
"""Subgroups, or rows of operating points, that the card lists; the section of the report has them all."""

GROUP_MEASURES = ("auc", "balanced_accuracy", "sensitivity", "specificity")
"""Scores of subgroups in the card. Where a class is missing, one of the last two is all that can be said."""

POINTS = {"frozen": "frozen on validation"}
"""Operating points in words."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKUP = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_OPENING = re.compile(r"(#+|[-+=]+|\d+[.)])(?=\s|$)")


def model_card(page: Page) -> Section:
    """The card as a section; model_card.md is written beside the report, with the same content."""
    blocks = card(page)
    title = f"{TITLE}: {page.files.title(page.files.chosen)} of {page.run.name}"
    write_page(page.run.path / FILE, markdown(title, blocks))
    lead = Paragraph(f"The same card lies beside this page as {FILE}, to go with the model wherever it goes.")
    return Section("model-card", TITLE, [lead, *blocks])


def card(page: Page) -> list[Block]:
    """The content of the card: headings, paragraphs, lists and tables."""
    if not page.files.chosen:
        return [Missing("There is no model to describe yet: the finalists have not been retrained.")]
    answers = Answers(page)
    parts: dict[str, Callable[[Page], Sequence[Block]]] = {
        "Model details": lambda page: [_details(page, answers)],
        "Intended use": lambda page: [Points(answers.each("intended"))],
        "Out-of-scope use": lambda page: [Points([*answers.each("out_of_scope"), *_grave(page)])],
        "Training and evaluation data": lambda page: [*_splits(answers), Points(answers.each("data"))],
        "Metrics": lambda page: _metrics(page, answers),
        "Ethical considerations": lambda page: [Points(answers.each("ethics"))],
        "Caveats": _caveats,
    }
    return [block for title, build in parts.items() for block in page.part(title, build)]


def _details(page: Page, answers: Answers) -> Table:
    about, record, winner = answers.facts.card, page.files.record, page.files.chosen
    told = {
        "Verdict of the run": headline(verdict(page.files)),
        "Primary contrast": answers.facts.contrast.removeprefix("Primary contrast, fixed beforehand. "),
        "File": (about.file if about else "") or page.run.best_model.name,
        "SHA-256 of the file": answers.facts.model_hash or "not given: best_model.json is missing or does not say",
        "Backbone": page.files.title(winner),
        "Architecture": answers("architecture"),
        "Starting weights": answers("weights"),
        "SHA-256 of the starting weights": record.weights.sha256.get(network_name(winner, page.files.begun_with), ""),
        "Input": answers("preprocessing"),
        "Output": answers("output"),
        "Calibration": answers("calibration_map"),
        "Chosen by": answers("selection"),
        "Version": f"run {page.run.name}, suite {numbers.text(record.suite_version)}, rules "
        f"{numbers.text(record.rules)}",
        "Date": numbers.moment(record.created),
        "Software": answers("software"),
        "Authors, contact, licence, citation": OPEN.lower(),
    }
    known = {name: value for name, value in told.items() if value}
    return pairs(known, "The model and where it comes from.", "Property", "Value")


def _grave(page: Page) -> list[str]:
    """What the top of the page says of a run that is no transfer learning, or not of real images."""
    grave = ("Synthetic images", "This is not transfer learning")
    return [banner.text for banner in summary.banners(page.files) if banner.title in grave]


def _caveats(page: Page) -> Sequence[Block]:
    """What the summary warns of, word for word."""
    files = page.files
    told = [f"{banner.title}. {banner.text}" for banner in summary.banners(files)]
    told += cautions.cautions(files)
    told += [] if files.evaluation else [summary.untested(files, "nothing here says how the model does on it")]
    return [Points(list(dict.fromkeys(told)))]


def _splits(answers: Answers) -> list[Table]:
    """One row per split; nothing where the files hold no numbers."""
    rows = tables_data.splits(answers.facts.used)
    if not len(rows):
        return []
    classes = tables_data.class_names(rows)
    rows = rows.drop(columns="imbalance")
    if len(classes) > MOST_CLASSES:
        return [table("splits", rows, f"Images and patients by split, {len(classes)} classes in all.", classes={})]
    caption = "Images and patients by split, and images by class."
    return [table("splits", rows, caption, classes={f"class {name}": name for name in classes})]


def _metrics(page: Page, answers: Answers) -> Sequence[Block]:
    """The winner's scores on test and validation, its operating points and its subgroups."""
    chosen = f"The search ranked by validation {metric_words(page.metric)}."
    if not page.files.chosen_scores:
        why = page.problems("evaluation.json") or [Missing("evaluation.json holds no results of the winner.")]
        return [Paragraph(chosen), *why]
    lead = Paragraph(f"{chosen} {answers('uncertainty')}".rstrip())
    return [lead, _scores(page), *_points(answers), *_groups(page)]


def _scores(page: Page) -> Table:
    rows = section_failures.scores(page)
    known = rows[rows["name"].isin(page.files.chosen_scores)]
    lower = joined(metric_words(METRICS[name]) for name in METRICS if not METRICS[name].higher_is_better)
    caption = f"The winner’s scores with {page.level} intervals. Of {lower}, lower is better."
    return table("card_scores", known, f"{caption} Brier score: {page.files.brier}.")


def _points(answers: Answers) -> list[Table]:
    points = answers.facts.frozen_points
    if not len(points):
        return []
    bounds = [answers.facts.bounds(row) for _, row in points.iterrows()]
    counts = zip(points["hits"], points["of"], strict=True)
    data = points.assign(
        measure=points["measure"].map(measure),
        counts=[f"{numbers.count(hits)} of {numbers.count(of)}" for hits, of in counts],
        value_low=[low for low, _ in bounds],
        value_high=[high for _, high in bounds],
    )
    point = str(points["point"].iloc[0])
    caption = f"Operating points on the internal test; threshold {POINTS.get(point, point)}"
    caption = f"{caption}; {answers.facts.kind_of_bounds}.{_first(len(data))}"
    return [table("card_points", data.head(MOST_GROUPS), caption)]


def _groups(page: Page) -> list[Table]:
    groups = page.files.evaluated.subgroups
    if groups is None or not len(groups):
        return []
    data = groups.assign(
        which=groups["group"] + ": " + groups["value"],
        few=["below 30 images" if small else "" for small in groups["small"]],
    )
    shown = [name for name in GROUP_MEASURES if data[name].notna().any()]
    caption = f"Subgroups of the internal test.{section_failures.counting(page, shown)}{_first(len(data))}"
    measures = {name: section_failures.TITLES[name] for name in shown}
    return [table("card_subgroups", data.head(MOST_GROUPS), caption, measures=measures)]


def _first(rows: int) -> str:
    return f" The first {MOST_GROUPS} of {rows} rows; the report has all." if rows > MOST_GROUPS else ""


def escape(text: str) -> str:
    """``text`` in one line that Markdown shows as it stands, in a paragraph as in a table.

    HTML becomes entities; what would be emphasis, code, a link, mathematics or a new cell gets a backslash, and so does
    what would open a heading or a list.
    """
    line = " ".join(text.replace("\0", " ").split())
    if opening := _OPENING.match(line):
        line = f"{line[: opening.end() - 1]}\0{line[opening.end() - 1 :]}"
    line = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], line)
    return _MARKUP.sub(r"\\\1", line).replace("\0", "\\")


def markdown(title: str, blocks: Sequence[Block]) -> str:
    """A document with ``title`` above ``blocks``.

    Raises:
        TypeError: for a block other than a heading, a paragraph, a list or a table.
    """
    for block in blocks:
        if not isinstance(block, Heading | Paragraph | Missing | Points | Table):
            raise TypeError(f"headings, paragraphs, lists and tables can be written, but got {type(block).__name__}")
    found = environment("model_card.md.j2")
    found.filters |= {"md": _written, "rule": _rule}
    return found.get_template("model_card.md.j2").render(title=title, blocks=blocks)


def _written(value: str | Cell) -> str:
    if isinstance(value, Cell):
        value = f"{value.text} ({value.below})" if value.below else value.text
    return escape(value)


def _rule(column: Column) -> str:
    return "---:" if column.numeric else "---"
