"""The section on the data: splits, notes, the audit and what augmentation makes of the images."""

from typing import Any

import pandas as pd

from bench.report import figures_results, names, results, wording
from bench.report.blocks import Block, Column, Heading, Missing, Paragraph, Points, Section, table
from bench.report.files import mapping
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.wording import counted

TITLE = "The data"

MOST_LEFT_OUT = 20
"""Images left out by the audit that the page lists; audit.json has them all."""


def data(page: Page) -> Section:
    """The images: splits, notes, the audit and what augmentation makes of them."""
    about = page.files.data
    blocks: list[Block] = [*page.problems("run.json")]
    if about:
        blocks += [_source(about, page.files.classes), _splits(mapping(about.get("splits")))]
        notes = [str(note) for note in about.get("notes") or []]
        blocks += [Points(notes)] if notes else []
    elif not blocks:
        blocks.append(Missing("run.json does not describe the data yet: the data stage has not finished."))
    blocks += [Heading("Audit"), *_patients(page), *_audit(page)]
    blocks += [Heading("What augmentation does"), *_gallery(page)]
    return Section("data", TITLE, blocks)


def _source(about: dict[str, Any], classes: list[str]) -> Paragraph:
    where = f" ({about['path']})" if present(about.get("path")) else ""
    kind = {1: " Images are greyscale.", 3: " Images are in colour."}.get(about.get("channels") or 0, "")
    fingerprint = wording.text(about.get("fingerprint"))
    return Paragraph(
        f"Source: {wording.text(about.get('source'))}{where}. Classes: {joined(classes) or names.DASH}.{kind} "
        f"Fingerprint: {fingerprint}."
    )


def _splits(splits: dict[str, Any]) -> Block:
    if not splits:
        return Missing("run.json holds no numbers of images by split.")
    classes = list(dict.fromkeys(name for part in splits.values() for name in mapping(mapping(part).get("classes"))))
    rows = [
        {"split": split, **{key: mapping(part).get(key) for key in ("images", "patients")}}
        | {f"class {name}": mapping(mapping(part).get("classes")).get(name) for name in classes}
        for split, part in splits.items()
    ]
    columns = [
        Column("split", "Split", numeric=False),
        Column("images", "Images", wording.count),
        Column("patients", "Patients", wording.count),
        *(Column(f"class {name}", str(name), wording.count) for name in classes),
    ]
    return table(pd.DataFrame(rows), "Images and patients by split, and images by class.", columns)


def _patients(page: Page) -> list[Block]:
    """Whether a patient has images in two splits, counted in splits.csv itself."""
    splits = page.files.splits
    if splits is None:
        return [*page.problems("splits.csv")]
    if "patient" not in splits or splits["patient"].isna().all():
        return [Missing("splits.csv names no patients, so it cannot be checked that none is in two splits.")]
    shared = results.shared_patients(splits)
    who = counted(shared, "patient has", "patients have") if shared else "No patient has"
    return [Paragraph(f"{who} images in more than one split, as counted in splits.csv.")]


def _audit(page: Page) -> list[Block]:
    audit = page.files.audit
    if audit is None:
        return [*page.problems("audit.json")]
    left_out = [mapping(entry) for entry in audit.get("left_out") or []]
    blocks: list[Block] = [Points(_found(audit, len(left_out)))]
    if left_out:
        more = f" The first {MOST_LEFT_OUT}; audit.json lists all." if len(left_out) > MOST_LEFT_OUT else ""
        columns = [Column("file", "File", numeric=False), Column("reason", "Reason", numeric=False)]
        rows = pd.DataFrame(left_out[:MOST_LEFT_OUT])
        blocks.append(table(rows, f"Images left out.{more}", columns, folded=len(left_out) > 5))
    return blocks


def _found(audit: dict[str, Any], left_out: int) -> list[str]:
    """What the audit found, a sentence each."""
    points = [f"{counted(audit.get('images'), 'image')} examined; {wording.count(left_out)} left out."]
    patients = mapping(audit.get("patients"))
    if patients:
        wide, narrow = wording.count(patients.get("wide")), wording.count(patients.get("narrow"))
        rule = wording.text(patients.get("rule"))
        points.append(f"Patients by the rule “{rule}”: {wide} if it is read widely, {narrow} if narrowly.")
    shared = mapping(audit.get("shared_patients"))
    if shared:
        told = ", ".join(f"{pair.replace('-', ' with ')} {wording.count(number)}" for pair, number in shared.items())
        points.append(f"Patients shared between the splits as they were given: {told}.")
    for entry in map(mapping, audit.get("moved") or []):
        source, reason = wording.text(entry.get("from")), wording.text(entry.get("reason"))
        points.append(f"{counted(entry.get('images'), 'image')} moved from {source}: {reason}.")
    return points


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
