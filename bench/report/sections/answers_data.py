"""What a run says of its data, in one sentence each; empty where its files do not say.

The guideline tables and the model card are made from these, from `answers_model` and from `answers_tested`.
"""

from typing import Any

from bench.report import wording
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.read import results
from bench.report.read.files import listed, mapping
from bench.report.tables import data as tables_data
from bench.report.wording import counted

MOST_CLASSES = 12
"""Classes that a sentence names, or a table of the model card has columns for."""


def class_names(page: Page) -> str:
    """The classes in prose, the first of them where there are many; empty where the files name none."""
    known = page.files.classes
    more = [f"{len(known) - MOST_CLASSES} more"] if len(known) > MOST_CLASSES else []
    return joined([*known[:MOST_CLASSES], *more])


def used(page: Page) -> dict[str, Any]:
    """Images, patients and classes by split as the run used them, from audit.json or run.json."""
    return mapping(mapping(mapping(page.files.audit).get("splits")).get("used")) or mapping(
        page.files.data.get("splits")
    )


def source(page: Page) -> str:
    """Where the images come from; of a path only its last part, for the rest is nobody's business."""
    about = page.files.data
    if not present(about.get("source")):
        return ""
    folder = str(about.get("path") or "").replace("\\", "/").rstrip("/").rpartition("/")[2]
    where = f" “{folder}”" if folder else ""
    print_of = f"; fingerprint {about['fingerprint']}" if present(about.get("fingerprint")) else ""
    synthetic = ", drawn by a program" if about.get("synthetic") is True else ""
    return f"Source: {wording.text(about['source'])}{where}{synthetic}{print_of}."


def flow(page: Page) -> str:
    """How many images were examined, and how many take part."""
    audit, splits = mapping(page.files.audit), page.files.splits
    examined = wording.number(audit.get("images"))
    if examined is None:
        return ""
    told = f"{counted(examined, 'image')} examined, {wording.count(len(listed(audit.get('left_out'))))} unreadable"
    if splits is None:
        return f"{told}."
    taken = splits.dropna(subset=["split"])
    who = (
        f" of {counted(taken['patient'].nunique(), 'patient')}"
        if "patient" in taken and not results.patients_assumed(page.files.audit)
        else ""
    )
    return f"{told}; {counted(len(taken), 'image')}{who} take part."


def excluded(page: Page) -> str:
    """The images that take no part, by reason."""
    splits = page.files.splits
    if page.files.audit is None or splits is None:
        return ""
    rows = tables_data.no_part(splits)
    if not len(rows):
        return "Every image that was found takes part."
    reasons = [f"{row['reason']} ({wording.count(row['images'])})" for _, row in rows.head(4).iterrows()]
    more = f"; {counted(len(rows) - 4, 'more reason')}" if len(rows) > 4 else ""
    return f"{counted(rows['images'].sum(), 'image')} left out: {'; '.join(reasons)}{more}."


def subset(page: Page) -> str:
    """Whether a part of the images was drawn."""
    if not page.files.settings:
        return ""
    most = wording.number(page.files.settings.get("max_images"))
    if most is None:
        return "No subset was drawn: every usable image takes part."
    return f"Training and validation were cut to {counted(most, 'image')}; the test split was not."


def missing_values(page: Page) -> str:
    """What was done with images that could not be read."""
    if page.files.audit is None:
        return ""
    unreadable = len(listed(page.files.audit.get("left_out")))
    if not unreadable:
        return "Nothing is imputed: every image could be decoded."
    return f"Nothing is imputed; {counted(unreadable, 'image')} did not decode and were left out."


def assignment(page: Page) -> str:
    """How the images came into their splits, and the sizes of these."""
    parts = used(page)
    shares = _sizes(parts)
    if not shares:
        return ""
    if page.files.audit is None or not has_splits(page):
        return f"By split: {shares}."
    given = mapping(mapping(page.files.audit.get("splits")).get("given"))
    seed = wording.number(page.files.settings.get("seed"))
    drawn = f"drawn by patient{f' with seed {seed:.0f}' if seed is not None else ''}"
    changed = f"given, but changed before use, what was missing {drawn}"
    how = drawn if not given else "as they were given" if given == parts else changed
    return f"By split: {shares}; {how}."


def has_splits(page: Page) -> bool:
    """Whether audit.json tells of the splits as given, as that of the first runs does not."""
    return bool(mapping(mapping(page.files.audit).get("splits")))


def _sizes(parts: dict[str, Any]) -> str:
    counts = {name: wording.number(mapping(part).get("images")) for name, part in parts.items()}
    total = sum(count or 0 for count in counts.values())
    return joined(
        f"{name} {counted(count, 'image')} ({wording.percent(count / total)})"
        for name, count in counts.items()
        if count is not None and total
    )


def disjoint(page: Page) -> str:
    """On what level the splits are disjoint, as counted in splits.csv."""
    splits = page.files.splits
    if splits is None or "patient" not in splits or splits["patient"].isna().all():
        return ""
    shared, everyone = results.shared_patients(splits), splits.dropna(subset=["split"])["patient"].nunique()
    crossing = counted(shared, "patient is", "patients are") if shared else "no patient is"
    told = f"By patient: of {wording.count(everyone)}, {crossing} in more than one split"
    about = mapping(mapping(page.files.audit).get("patients"))
    if results.patients_assumed(page.files.audit) and not shared:
        return "It cannot be judged: nothing names the patients, and each image was taken for a patient of its own."
    return f"{told} (rule: {about['rule']})." if present(about.get("rule")) else f"{told}."


def numbers(page: Page) -> str:
    """Images and patients of each split, with its classes."""
    told = []
    for name, part in used(page).items():
        about = mapping(part)
        by_class = mapping(about.get("classes"))
        by_class = by_class if len(by_class) <= MOST_CLASSES else {}
        classes = joined(f"{label} {wording.count(count)}" for label, count in by_class.items())
        known = wording.number(about.get("patients")) and not results.patients_assumed(page.files.audit)
        who = f" of {counted(about['patients'], 'patient')}" if known else ""
        told.append(f"{name}: {counted(about.get('images'), 'image')}{who}{f' ({classes})' if classes else ''}")
    return f"{'; '.join(told)}." if told else ""


def shares(page: Page) -> str:
    """The share of each class by split, and that development and test come from one source."""
    rows = tables_data.splits(used(page))
    names = tables_data.class_names(rows)
    if len(rows) < 2 or not names:
        return ""
    told = [
        f"{label} " + joined(f"{row['split']} {wording.percent(row[f'share {label}'])}" for _, row in rows.iterrows())
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
