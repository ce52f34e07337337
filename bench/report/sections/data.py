"""The section on the data: where they come from, the splits, the audit and what augmentation makes of the images."""

from typing import Any

import pandas as pd

from bench.report import names, wording
from bench.report.blocks import Block, Column, Heading, Missing, Paragraph, Points, Section, Table, listing, table
from bench.report.figures import data as figures_data
from bench.report.figures import results as figures_results
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.read import results
from bench.report.read.files import listed, mapping
from bench.report.sections import audit as section_audit
from bench.report.tables import data as tables_data
from bench.report.wording import counted
from bench.run.documents import AuditRecord

TITLE = "The data"


def data(page: Page) -> Section:
    """The images: source, splits, the audit and what augmentation makes of them."""
    audit = mapping(page.files.audit)
    blocks: list[Block] = [*page.problems("run.json")]
    blocks += _with_audit(page, audit) if audit else _without_audit(page, said=bool(blocks))
    blocks += [Heading("What augmentation does"), *_gallery(page)]
    return Section("data", TITLE, blocks)


def _with_audit(page: Page, audit: dict[str, Any]) -> list[Block]:
    """All that comes before augmentation, where audit.json tells of the splits too."""
    source = page.files.data or {key: audit.get(key) for key in ("source", "path")}
    classes = page.files.classes or [str(name) for name in listed(audit.get("classes"))]
    told = [str(note) for note in (*listed(page.files.data.get("notes")), *listed(audit.get("notes")))]
    notes = list(dict.fromkeys(told))
    return [
        _source(source, classes),
        *page.problems("audit.json"),
        *_splits(page, audit, notes),
        *section_audit.findings(audit, notes),
        *section_audit.no_part(page, audit),
        *section_audit.duplicates(page.files.audit or AuditRecord()),
        *section_audit.patients(audit),
        *_crossing(page),
        *section_audit.shortcut(audit),
        *section_audit.classes(page, audit),
    ]


def _without_audit(page: Page, said: bool) -> list[Block]:
    """The same where the audit is missing; ``said``: why run.json is missing is said already."""
    about = page.files.data
    blocks: list[Block] = []
    if about:
        splits = tables_data.splits(page.files.about_data.splits)
        caption = "Images and patients by split, and images by class."
        empty = Missing("run.json holds no numbers of images by split.")
        blocks += [_source(about, page.files.classes), _split_table(splits, caption) if len(splits) else empty]
        notes = [str(note) for note in listed(about.get("notes"))]
        blocks += [Points(notes)] if notes else []
    elif not said:
        blocks.append(Missing("run.json does not describe the data yet: the data stage has not finished."))
    blocks += [Heading("Audit"), *_crossing(page), *page.problems("audit.json")]
    return blocks


def _source(about: dict[str, Any], classes: list[str]) -> Paragraph:
    where = f" ({about['path']})" if present(about.get("path")) else ""
    kind = {"1": " Images are greyscale.", "3": " Images are in colour."}.get(str(about.get("channels")), "")
    fingerprint = f" Fingerprint: {wording.text(about['fingerprint'])}." if "fingerprint" in about else ""
    told = f"Source: {wording.text(about.get('source'))}{where}. Classes: {joined(classes) or names.DASH}."
    return Paragraph(f"{told}{kind}{fingerprint}")


def _splits(page: Page, audit: dict[str, Any], notes: list[str]) -> list[Block]:
    """The splits as used and, where they differ, as given, with what was decided."""
    parts = (page.files.audit or AuditRecord()).splits
    given, used = parts.given, parts.used or page.files.about_data.splits
    blocks: list[Block] = []
    if used:
        caption = "The splits as used, images by class with their share. Imbalance: the largest class to the smallest."
        shown = tables_data.splits(used)
        blocks += [_split_table(shown, caption, shares=True), *_class_shares(page, shown)]
    else:
        blocks.append(Missing("Neither audit.json nor run.json holds numbers of images by split."))
    if not given:
        blocks.append(Paragraph("The source gives no splits: all were drawn."))
    elif given == used:
        blocks.append(Paragraph("These are the splits as they were given."))
    else:
        caption = "The splits as they were given, before what follows was decided."
        blocks.append(_split_table(tables_data.splits(given), caption, shares=True))
    blocks += [Points(notes)] if notes else []
    for entry in listed(audit.get("moved")):
        source, reason = wording.text(entry.get("from")), wording.text(entry.get("reason"))
        told = f"left {source}: {reason}"
        files = listing(listed(entry.get("files")), f"image {told}", f"images {told}")
        blocks += files or [Paragraph(f"{counted(entry.get('images'), 'image')} {told}.")]
    return blocks


def _split_table(splits: pd.DataFrame, caption: str, shares: bool = False) -> Table:
    """A row a split; with ``shares``, each class's share of it and the imbalance too."""
    classes = tables_data.class_names(splits)
    told = {f"told {name}": splits[f"share {name}"].map(wording.percent) for name in classes}
    columns = [
        Column("split", "Split", numeric=False),
        Column("images", "Images", wording.count),
        Column("patients", "Patients", wording.count),
        *(Column(f"class {name}", name, wording.count, below=f"told {name}" if shares else "") for name in classes),
    ]
    columns += [Column("imbalance", "Imbalance", wording.ratio)] if shares else []
    return table(splits.assign(**told), caption, columns)


def _class_shares(page: Page, splits: pd.DataFrame) -> list[Block]:
    classes = tables_data.class_names(splits)
    if not classes:
        return []
    told = "; ".join(
        f"{row['split']}: " + joined(f"{name} {wording.percent(row[f'share {name}'])}" for name in classes[:6])
        for _, row in splits.iterrows()
    )
    return [
        page.picture(
            "class_shares",
            lambda: figures_data.class_shares(splits),
            f"Bars of each class’s share of the images, a panel a split. {told}.",
            "Classes by split, with their numbers of images. Where the shares differ between splits, accuracy and "
            f"precision do so for that reason alone.{figures_data.too_many(len(classes))}",
        )
    ]


def _crossing(page: Page) -> list[Block]:
    """Whether a patient has images in two splits, counted in splits.csv itself."""
    splits = page.files.splits
    if splits is None:
        return [*page.problems("splits.csv")]
    if "patient" not in splits or splits["patient"].isna().all():
        return [Missing("splits.csv names no patients, so it cannot be checked that none is in two splits.")]
    shared = results.shared_patients(splits)
    if results.patients_assumed(page.files.audit) and not shared:
        told = "Whether a patient has images in more than one split cannot be judged: nothing names the patients."
        return [Paragraph(told)]
    who = counted(shared, "patient has", "patients have") if shared else "No patient has"
    told = f"{who} images in more than one split, as counted in splits.csv."
    wide = results.shared_patients(splits, "patient_wide") if "patient_wide" in splits else shared
    more = f" Read widely, {counted(wide, 'patient would', 'patients would')}." if wide > shared else ""
    return [Paragraph(told + more)]


def _gallery(page: Page) -> list[Block]:
    images = page.files.gallery
    if images is None:
        return [*page.problems("augmentation.npz")]
    return [
        page.picture(
            "augmentation",
            lambda: figures_results.gallery(images),
            f"Rows of the same image under the augmentation policies {joined(images.policies)}; the first column is "
            "the original.",
            "Augmentation policies. Look for anatomy that no patient has: such a policy teaches the wrong thing.",
        )
    ]
