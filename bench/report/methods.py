"""The methods of a run in the words of a paper, for the page and for methods.md, and what they cite as BibTeX."""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from bench.report.answers import Facts
from bench.report.blocks import Block, Copied, Missing, Paragraph, Section
from bench.report.page import Page
from bench.report.read.files import RunFiles
from bench.report.summary import began_at_random
from bench.report.tables import data as tables_data
from bench.report.templating import TEMPLATES, paragraphs
from bench.report.verdict import verdict
from bench.run.folder import write_page

TITLE = "Methods"

FILE, REFERENCES = "methods.md", "references.bib"

PACKAGES = ("python", "tensorflow", "keras", "ray", "optuna")
_MARK = re.compile("\x02([^\x03]*)\x03")
"""What a citation stands as in a text until it is written for the page or for Markdown."""


class Reference(NamedTuple):
    """An entry of references.bib.

    Attributes:
        bibtex: as it is written there.
        short: ``Akiba et al. 2019``, as it is cited on the page.
    """

    bibtex: str
    short: str


@dataclass
class Cited:
    """Keys of what a text cites, in order, once each."""

    keys: dict[str, None] = field(default_factory=dict)

    def __call__(self, *keys: str) -> str:
        """A citation of ``keys``, to be written by `on_page` or `in_markdown`.

        Raises:
            KeyError: if one has no entry.
        """
        for key in keys:
            if key not in references():
                raise KeyError(f"references.bib has no entry {key!r}")
            self.keys[key] = None
        return f"\x02{' '.join(keys)}\x03"


@cache
def references() -> dict[str, Reference]:
    """Every entry that can be cited, by its key."""
    text = (TEMPLATES / "references.bib").read_text(encoding="utf-8")
    found = {}
    for entry in text.strip().split("\n\n"):
        key = re.match(r"@\w+\{(\w+),", entry)
        authors, year = (re.search(rf"^  {name} = \{{(.*)\}},?$", entry, re.MULTILINE) for name in ("author", "year"))
        if not (key and authors and year):
            raise ValueError(f"an entry of references.bib needs a key, an author and a year, but got: {entry}")
        names = [re.sub(r"[{}\\'\"]", "", one.partition(",")[0]) for one in authors[1].split(" and ")]
        who = names[0] if len(names) == 1 else f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} et al."
        found[key[1]] = Reference(entry, f"{who.replace(' and others', ' et al.')} {year[1]}")
    return found


def on_page(text: str) -> str:
    """``text`` with its citations as a reader sees them: ``Optuna (Akiba et al. 2019)``."""
    return _MARK.sub(lambda found: f" ({'; '.join(references()[key].short for key in found[1].split())})", text)


def in_markdown(text: str) -> str:
    """``text`` with its citations as Pandoc reads them: ``Optuna [@akiba2019]``."""
    return _MARK.sub(lambda found: f" [{'; '.join(f'@{key}' for key in found[1].split())}]", text)


def told(page: Page, cited: Cited) -> list[str]:
    """The methods, a paragraph each, as far as the files of the run say; ``cited`` learns what they cite."""
    facts, files = Facts(page), page.files
    card, tested, comparisons = facts.card, files.tested, files.evaluated.comparisons
    size = card.input if card else None
    settings, found = files.record.settings, verdict(files)
    return paragraphs(
        "methods.txt.j2",
        titles=files.titles,
        cite=cited,
        record=files.record,
        settings=settings,
        metric=files.metric,
        used=facts.used,
        patients=facts.named_patients if not files.patients_assumed else 0,
        disjoint=facts.named_patients
        and not files.patients_assumed
        and not tables_data.without_patient(files.splits)
        and not tables_data.shared_patients(files.splits),
        classes=files.classes,
        class_names=facts.class_names,
        side=(size.height if size else None) or settings.image_size,
        backbones=files.backbones,
        random=began_at_random(files),
        trials=len(page.trials),
        parameters=list(files.record.space.parameters),
        chosen=files.chosen,
        retrained=bool(files.chosen) and files.finalists is not None,
        seeds=facts.seeds,
        folds=facts.folds,
        tested=files.evaluation is not None,
        rule=next((one.rule for one in facts.thresholds if one.rule), ""),
        calibrated=tested.map if tested.map and not tested.map.changes_nothing else None,
        ledger=tested.ledger,
        opened=len(tested.opened),
        planned_anew=_planned_anew(files),
        level=page.level,
        unit=tested.bootstrap.unit,
        draws=tested.bootstrap.draws,
        pairs=comparisons is not None and len(comparisons) > 0,
        found=found,
        compared_by=found.compared_by,
        decision=files.evaluated.decision is not None,
        selection=tested.selection is not None and tested.selection.corrected is not None,
        packages=[name for name in PACKAGES if name in files.record.packages],
    )


def _planned_anew(files: RunFiles) -> bool:
    """Whether the plan was changed after the test split had been opened, as when a run is extended."""
    opened, plans = files.tested.opened, files.record.plans
    return bool(opened and plans) and plans[-1].time > min(opened)


def methods(page: Page) -> Section:
    """The methods as a section; methods.md and references.bib are written beside the report."""
    cited = Cited()
    said = told(page, cited)
    blocks: list[Block] = [Missing("Nothing has been done yet that a paper could describe.")]
    if said:
        heading = f"# Methods of the run {page.run.name}"
        write_page(page.run.path / FILE, "\n\n".join([heading, *map(in_markdown, said)]) + "\n")
        write_page(page.run.path / REFERENCES, "\n\n".join(references()[key].bibtex for key in cited.keys) + "\n")
        lead = (
            f"What was done, in the words of a paper; what only its authors know is theirs to add. {FILE} has the same "
            f"text with citation keys, and {REFERENCES} the entries to them; both lie beside this page."
        )
        bibtex = "\n\n".join(references()[key].bibtex for key in cited.keys)
        blocks = [
            Paragraph(lead),
            Copied("The methods", tuple(map(on_page, said))),
            Copied(f"{len(cited.keys)} references as BibTeX", (bibtex,), folded=True),
        ]
    return Section("methods", TITLE, blocks)
