"""The model card, in the report and as model_card.md from the same blocks.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019, arXiv 1810.03993. What the files of the run say
is filled in; what only its author can know is named as such.
"""

from collections.abc import Sequence

from bench import numbers
from bench.report import cautions, summary
from bench.report.blocks import Block, Missing, Paragraph, Points, Section, pairs
from bench.report.markdown import markdown
from bench.report.names import backbone, joined
from bench.report.page import Page
from bench.report.read.chosen import winner_name
from bench.report.sections import answers_data, answers_model, answers_tested
from bench.report.tables import model_card as model_card_tables
from bench.report.verdict import headline, verdict
from bench.run.folder import write_text

TITLE = "Model card"

FILE = "model_card.md"

OPEN = "Author to complete"
"""Stands before what no run can know."""


def model_card(page: Page) -> Section:
    """The card as a section; model_card.md is written beside the report, with the same content."""
    blocks = card(page)
    title = f"{TITLE}: {backbone(winner_name(page.files))} of {page.run.name}"
    write_text(page.run.path / FILE, markdown(title, blocks))
    lead = Paragraph(f"The same card lies beside this page as {FILE}, to go with the model wherever it goes.")
    return Section("model-card", TITLE, [lead, *blocks])


def card(page: Page) -> list[Block]:
    """The content of the card: headings, paragraphs, lists and tables."""
    if not winner_name(page.files):
        return [Missing("There is no model to describe yet: the finalists have not been retrained.")]
    parts = (
        ("Model details", _details),
        ("Intended use", _intended),
        ("Out-of-scope use", _out_of_scope),
        ("Training and evaluation data", _data),
        ("Metrics", model_card_tables.metrics),
        ("Ethical considerations", _ethics),
        ("Caveats", _caveats),
    )
    return [block for title, build in parts for block in page.part(title, build)]


def _details(page: Page) -> Sequence[Block]:
    about, record = answers_model.card(page), page.files.record
    told = {
        "Verdict of the run": headline(verdict(page.files)),
        "File": (about.file if about else "") or page.run.best_model.name,
        "SHA-256 of the file": answers_model.model_hash(page)
        or "not given: best_model.json is missing or does not say",
        "Backbone": backbone(winner_name(page.files)),
        "Architecture": answers_model.architecture(page),
        "Starting weights": answers_model.weights(page),
        "SHA-256 of the starting weights": _weights_hash(page),
        "Input": answers_model.preprocessing(page),
        "Output": answers_tested.output(page),
        "Calibration": _temperature(page),
        "Chosen by": answers_model.selection(page),
        "Version": f"run {page.run.name}, suite {numbers.text(record.suite_version)}, rules "
        f"{numbers.text(record.rules)}",
        "Date": numbers.moment(record.created),
        "Software": answers_model.software(page),
        "Authors, contact, licence, citation": OPEN.lower(),
    }
    known = {name: value for name, value in told.items() if value}
    return [pairs(known, "The model and where it comes from.", "Property", "Value")]


def _weights_hash(page: Page) -> str:
    return page.files.record.weights.sha256.get(winner_name(page.files), "")


def _temperature(page: Page) -> str:
    about = answers_model.card(page)
    known = about.temperature if about and about.temperature is not None else page.files.tested.temperature
    if known is None:
        return ""
    return (
        f"Logits divided by {numbers.short(known)} (temperature scaling, fitted on validation); the file itself gives "
        "probabilities before calibration."
    )


def _intended(page: Page) -> Sequence[Block]:
    classes = answers_data.class_names(page) or "the classes"
    return [
        Points(
            [
                f"Research: to see how well a fine-tuned network tells apart {classes} in images like those of this "
                "run, and as a baseline or a starting point for further work.",
                "Users: people who train and assess image classifiers, and who read the caveats below.",
                f"{OPEN}: clinical purpose, patients, place in the care pathway, and who acts on the output.",
            ]
        )
    ]


def _out_of_scope(page: Page) -> Sequence[Block]:
    classes = answers_data.class_names(page) or "the classes"
    points = [
        "Diagnosis, triage or any decision about a patient: the model is no medical device and was never assessed as "
        "one.",
        "Images from another hospital, device or group of people, until it has been tested on them.",
        f"Images that show none of {classes}: the model always answers with one of them.",
    ]
    grave = ("Synthetic images", "This is not transfer learning")
    points += [banner.text for banner in summary.banners(page.files) if banner.title in grave]
    return [Points(points)]


def _data(page: Page) -> Sequence[Block]:
    said = (
        answers_data.source,
        answers_data.flow,
        answers_data.excluded,
        answers_data.assignment,
        answers_data.disjoint,
        answers_data.shares,
    )
    points = [sentence for tell in said if (sentence := tell(page))]
    points.append(
        f"{OPEN}: where, when and from whom the images come, how the reference standard was obtained, licence."
    )
    return [*model_card_tables.splits(page), Points(points)]


def _ethics(page: Page) -> Sequence[Block]:
    groups = page.files.evaluated.subgroups
    looked = joined(dict.fromkeys(groups["group"])) if groups is not None and len(groups) else ""
    points = [
        f"Subgroups that were looked at: {looked}. Others may fare worse unseen."
        if looked
        else "No subgroup was looked at: that the model serves all groups alike is not shown.",
        "report.html, splits.csv and the tables of predictions show images of the data, or name them and their "
        "patients as the source does: look through them before you pass the folder on. best_model.h5 holds weights "
        "alone.",
        f"{OPEN}: ethical approval, consent, de-identification, and who might be harmed by a wrong answer.",
    ]
    return [Points(points)]


def _caveats(page: Page) -> Sequence[Block]:
    """What the summary warns of, word for word."""
    files = page.files
    told = [f"{banner.title}. {banner.text}" for banner in summary.banners(files)]
    told += cautions.cautions(files)
    told += [] if files.evaluation else [summary.untested(files, "nothing here says how the model does on it")]
    return [Points(list(dict.fromkeys(told)))]
