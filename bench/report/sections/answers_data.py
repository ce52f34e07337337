"""What a run says of its data, in one sentence each; empty where its files do not say.

The guideline tables and the model card are made from these, from `answers_model` and from `answers_tested`.
"""

from collections.abc import Mapping

from bench import numbers
from bench.numbers import counted
from bench.report.names import joined
from bench.report.page import Page
from bench.report.read import results
from bench.report.tables import data as tables_data
from bench.run.record import SplitRecord

MOST_CLASSES = 12
"""Classes that a sentence names, or a table of the model card has columns for."""


def class_names(page: Page) -> str:
    """The classes in prose, the first of them where there are many; empty where the files name none."""
    known = page.files.classes
    more = [f"{len(known) - MOST_CLASSES} more"] if len(known) > MOST_CLASSES else []
    return joined([*known[:MOST_CLASSES], *more])


def used(page: Page) -> Mapping[str, SplitRecord]:
    """Images, patients and classes by split as the run used them, from audit.json or run.json."""
    audited = page.files.audit.splits.used if page.files.audit else {}
    return audited or page.files.about_data.splits


def source(page: Page) -> str:
    """Where the images come from; of a path only its last part, for the rest is nobody's business."""
    about = page.files.about_data
    if not about.source:
        return ""
    folder = about.path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    where = f" “{folder}”" if folder else ""
    fingerprint = f"; fingerprint {about.fingerprint}" if about.fingerprint else ""
    synthetic = ", drawn by a program" if about.synthetic else ""
    return f"Source: {about.source}{where}{synthetic}{fingerprint}."


def flow(page: Page) -> str:
    """How many images were examined, and how many take part."""
    audit, splits = page.files.audit, page.files.splits
    if audit is None or audit.images is None:
        return ""
    told = f"{counted(audit.images, 'image')} examined, {numbers.count(len(audit.left_out))} unreadable"
    if splits is None:
        return f"{told}."
    taken = splits.dropna(subset=["split"])
    known = taken["patient"].notna().any() and not audit.patients.assumed
    who = f" of {counted(taken['patient'].nunique(), 'patient')}" if known else ""
    return f"{told}; {counted(len(taken), 'image')}{who} take part."


def excluded(page: Page) -> str:
    """The images that take no part, by reason."""
    splits = page.files.splits
    if page.files.audit is None or splits is None:
        return ""
    rows = tables_data.no_part(splits)
    if not len(rows):
        return "Every image that was found takes part."
    reasons = [f"{row['reason']} ({numbers.count(row['images'])})" for _, row in rows.head(4).iterrows()]
    more = f"; {counted(len(rows) - 4, 'more reason')}" if len(rows) > 4 else ""
    return f"{counted(rows['images'].sum(), 'image')} left out: {'; '.join(reasons)}{more}."


def subset(page: Page) -> str:
    """Whether a part of the images was drawn."""
    settings = page.files.record.settings
    if not settings.model_fields_set:
        return ""
    if settings.max_images is None:
        return "No subset was drawn: every usable image takes part."
    return f"Training and validation were cut to {counted(settings.max_images, 'image')}; the test split was not."


def missing_values(page: Page) -> str:
    """What was done with images that could not be read."""
    if page.files.audit is None:
        return ""
    unreadable = len(page.files.audit.left_out)
    if not unreadable:
        return "Nothing is imputed: every image could be decoded."
    return f"Nothing is imputed; {counted(unreadable, 'image')} did not decode and were left out."


def assignment(page: Page) -> str:
    """How the images came into their splits, and the sizes of these."""
    parts = used(page)
    shares = _sizes(parts)
    if not shares:
        return ""
    if page.files.audit is None or not page.files.audit.splits.model_fields_set:
        return f"By split: {shares}."
    given, settings = page.files.audit.splits.given, page.files.record.settings
    drawn = f"drawn by patient{f' with seed {settings.seed}' if 'seed' in settings.model_fields_set else ''}"
    changed = f"given, but changed before use, what was missing {drawn}"
    how = drawn if not given else "as they were given" if given == parts else changed
    return f"By split: {shares}; {how}."


def _sizes(parts: Mapping[str, SplitRecord]) -> str:
    total = sum(part.images for part in parts.values())
    return joined(
        f"{name} {counted(part.images, 'image')} ({numbers.percent(part.images / total)})"
        for name, part in parts.items()
        if total
    )


def disjoint(page: Page) -> str:
    """On what level the splits are disjoint, as counted in splits.csv."""
    splits = page.files.splits
    if splits is None or splits["patient"].isna().all():
        return ""
    shared, everyone = results.shared_patients(splits), splits.dropna(subset=["split"])["patient"].nunique()
    crossing = counted(shared, "patient is", "patients are") if shared else "no patient is"
    told = f"By patient: of {numbers.count(everyone)}, {crossing} in more than one split"
    audit = page.files.audit
    if results.patients_assumed(audit) and not shared:
        return "It cannot be judged: nothing names the patients, and each image was taken for a patient of its own."
    return f"{told} (rule: {audit.patients.rule})." if audit and audit.patients.rule else f"{told}."


def sizes(page: Page) -> str:
    """Images and patients of each split, with its classes."""
    told = []
    for name, part in used(page).items():
        by_class = part.classes if len(part.classes) <= MOST_CLASSES else {}
        classes = joined(f"{label} {numbers.count(count)}" for label, count in by_class.items())
        known = part.patients and not results.patients_assumed(page.files.audit)
        who = f" of {counted(part.patients, 'patient')}" if known else ""
        told.append(f"{name}: {counted(part.images, 'image')}{who}{f' ({classes})' if classes else ''}")
    return f"{'; '.join(told)}." if told else ""


def shares(page: Page) -> str:
    """The share of each class by split, and that development and test come from one source."""
    rows = tables_data.splits(used(page))
    names = tables_data.class_names(rows)
    if len(rows) < 2 or not names:
        return ""
    told = [
        f"{label} " + joined(f"{row['split']} {numbers.percent(row[f'share {label}'])}" for _, row in rows.iterrows())
        for label in (names[1:] if len(names) == 2 else names[:4])
    ]
    return f"All splits come from one data set. Shares of their images: {'; '.join(told)}."


def outcome(page: Page) -> str:
    """What is predicted."""
    classes = page.files.classes
    if not classes:
        return ""
    positive = f"; positive: {classes[1]}" if len(classes) == 2 else ""
    return f"The label of an image, one of {class_names(page)}, as the source gives it{positive}."
