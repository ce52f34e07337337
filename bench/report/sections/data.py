"""The section on the data: source, splits, what the audit found in the images, and what augmentation makes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench import numbers
from bench.report.blocks import MOST_LISTED, Section, Table, table
from bench.report.figures import data as figures_data
from bench.report.page import Page
from bench.report.tables import data as tables_data
from bench.report.templating import Values
from bench.run.documents import AuditRecord, FindingRecord, ShortcutRecord
from bench.run.record import DataRecord

TITLE = "Data"

SEVERITIES = {"stop": "Serious", "warning": "Warning", "note": "Note", "good": "Good"}
"""What the page calls them, the most severe first."""

MODES = {"L": "grey", "1": "black and white", "RGB": "colour", "RGBA": "colour, transparent", "P": "palette"}

LIMIT = 0.6
"""ROC AUC up to which metadata gives little away, where audit.json names no limit."""

MOST_IN_WORDS = 6
"""Classes that the text for those who do not see a figure names."""


def data(page: Page) -> Section:
    """The images: source, splits, the audit and what augmentation makes of them."""
    audit, about = page.files.audit, page.files.about_data
    used = (audit.splits.used if audit else {}) or about.splits
    shown = tables_data.splits(used)
    notes = list(dict.fromkeys([*about.notes, *(audit.notes if audit else ())]))
    values: Values = {
        "about": about if about.model_fields_set or audit is None else DataRecord(source=audit.source, path=audit.path),
        "described": bool(about.model_fields_set or audit),
        "classes": page.files.classes or (list(audit.classes) if audit else []),
        "audit": audit,
        "notes": notes,
        "used": _split_table(shown, shares=audit is not None) if used else None,
        "shares": _class_shares(page, shown),
        "most_in_words": MOST_IN_WORDS,
        "most_listed": MOST_LISTED,
        "crossing": _crossing(page),
        "gallery": page.files.gallery,
        "suspects": _suspects(page),
        "augmentation": page.drawing("augmentation", figures_data.gallery, page.files.gallery),
    }
    if audit is not None:
        values |= {
            "given": _split_table(tables_data.splits(audit.splits.given), shares=True),
            "unchanged": audit.splits.given == used,
            "moved": [{**entry, "files": _files(entry)} for entry in audit.moved],
            "findings": [one for one in audit.findings if not _repeats(one, notes)],
            "severities": SEVERITIES,
            "excluded": _excluded,
            "duplicates": _duplicates,
            "copies": _copies(page, audit),
            "shared": _shared(audit),
            "limit": LIMIT if audit.shortcut is None or audit.shortcut.limit is None else audit.shortcut.limit,
            "features": _features(audit.shortcut, "Each feature on its own."),
            "border_features": _features(audit.border, "Each feature of the border on its own."),
            "images": _images,
        }
    return page.section("data", TITLE, **values)


def _split_table(splits: pd.DataFrame, shares: bool) -> Table:
    """One row per split; with ``shares``, each class's share of it and the imbalance too."""
    classes = tables_data.class_names(splits)
    if shares:
        splits = splits.assign(**{f"told {name}": splits[f"share {name}"].map(numbers.percent) for name in classes})
    else:
        splits = splits.drop(columns="imbalance", errors="ignore")
    return table("splits", splits, classes={f"class {name}": name for name in classes})


def _class_shares(page: Page, splits: pd.DataFrame) -> Values:
    classes = tables_data.class_names(splits)
    drawing = page.drawing("class_shares", figures_data.class_shares, splits)
    too_many = figures_data.too_many(len(classes))
    return {"classes": classes, "splits": splits, "drawing": drawing, "too_many": too_many} if classes else {}


def _crossing(page: Page) -> Values:
    """How many patients have images in two splits, counted in splits.csv itself; empty without that file."""
    splits = page.files.splits
    if splits is None:
        return {}
    if splits["patient"].isna().all():
        return {"named": False}
    narrow = tables_data.shared_patients(splits)
    return {
        "named": True,
        "assumed": page.files.patients_assumed,
        "narrow": narrow,
        "wide": tables_data.shared_patients(splits, "patient_wide"),
    }


def _repeats(finding: FindingRecord, notes: list[str]) -> bool:
    """Whether a finding warns of nothing and says no more than notes that the page has shown already."""
    rest = finding.text
    for note in notes:
        rest = rest.replace(note, "")
    return finding.severity == "note" and not rest.strip()


def _files(entry: Mapping[str, Any]) -> Sequence[Any]:
    """The files of a part of audit.json whose form is not checked."""
    found = entry.get("files")
    return found if isinstance(found, list | tuple) else ()


def _excluded(page: Page, audit: AuditRecord) -> Values:
    """The images that take no part, by reason, and the file that they were counted in."""
    splits, source = page.files.splits, "splits.csv"
    rows = tables_data.no_part(splits) if splits is not None else pd.DataFrame()
    if not len(rows):
        rows, source = tables_data.left_out(audit.left_out), "audit.json"
    classes = {f"class {name}": name for name in tables_data.class_names(rows)}
    files = [f"{numbers.text(one.file)}: {numbers.text(one.reason)}" for one in audit.left_out]
    return {
        "rows": rows,
        "source": source,
        "table": table("excluded", rows.head(MOST_LISTED), classes=classes),
        "files": files,
    }


def _duplicates(audit: AuditRecord) -> Values:
    """The groups of images that are the same, or look the same."""
    groups = tables_data.duplicates(audit.duplicates)
    return {"groups": groups, "table": table("duplicates", groups.head(MOST_LISTED), folded=len(groups) > 5)}


def _copies(page: Page, audit: AuditRecord) -> Values:
    """Pictures of copies beside each other, and what each is; empty where there are none."""
    images = page.files.copies
    places = [place for place, at in enumerate(images.ranks) if at < len(audit.duplicates)] if images else []
    if images is None or not places:
        return {}
    sets = [audit.duplicates[images.ranks[place]] for place in places]
    titles = [tables_data.change(one) for one in sets]
    drawing = page.drawing("copies", figures_data.copies, images.images[places], titles, sets)
    return {"titles": titles, "drawing": drawing}


def _suspects(page: Page) -> Values:
    """Doubtful labels: a table of the first, and their pictures; empty where none were sought."""
    rows, images = page.files.suspects, page.files.suspected_images
    if rows is None:
        return {}
    shown = rows.head(len(images.images)) if images else rows.head(0)
    drawing = None
    if images is not None and len(shown):
        titles = [f"{row['label']}, or {row['suggested']}?" for _, row in shown.iterrows()]
        drawing = page.drawing("suspected_labels", figures_data.suspects, images.images[: len(shown)], titles)
    listed = table("suspected_labels", rows.head(MOST_LISTED), folded=len(rows) > 5)
    return {"rows": rows, "table": listed, "shown": shown, "drawing": drawing}


def _shared(audit: AuditRecord) -> Table | None:
    """Patients that two of the given splits share, by both readings; None where there is no pair of splits."""
    narrow, wide = audit.shared_patients.narrow, audit.shared_patients.wide
    pairs = dict.fromkeys([*narrow, *wide])
    counts = [[pair.replace("-", " and "), narrow.get(pair), wide.get(pair)] for pair in pairs]
    rows = pd.DataFrame(counts, columns=["pair", "narrow", "wide"], dtype="object")
    shown = rows[["pair", "narrow"]].rename(columns={"narrow": "both"}) if narrow == wide else rows
    caption = "Patients with images in two of the splits as they were given."
    return table("shared_patients", shown, caption) if len(rows) else None


def _features(found: ShortcutRecord | None, caption: str) -> Table | None:
    """How well each feature tells the classes apart on its own."""
    if found is None or not found.features:
        return None
    rows = [{"name": numbers.text(one.name), "auc": one.auc} for one in found.features]
    return table("features", pd.DataFrame(rows), caption)


def _images(page: Page, audit: AuditRecord) -> Values:
    """Size, kind and format of the images by class, and a figure of the properties that vary."""
    rows = tables_data.by_class(audit.by_class)
    if not len(rows):
        return {"rows": rows}
    measures = tables_data.varying(rows, list(figures_data.PROPERTIES))
    return {
        "rows": rows,
        "size": tables_data.one_size(rows),
        "table": _class_table(rows),
        "measures": {name: figures_data.PROPERTIES[name].split(" (")[0].lower() for name in measures},
        "drawing": page.drawing("image_properties", figures_data.properties, rows, measures),
        "too_many": figures_data.too_many(len(rows)),
    }


def _class_table(rows: pd.DataFrame) -> Table:
    shows = {"width": numbers.count, "height": numbers.count, "aspect": numbers.short, "bytes": numbers.size}
    quartiles = {
        f"{name}_middle": [
            "" if pd.isna(low) else f"[{show(low)}, {show(high)}]"
            for low, high in zip(rows[f"{name}_q1"], rows[f"{name}_q3"], strict=True)
        ]
        for name, show in shows.items()
    }
    counts = {"modes": rows["modes"].map(modes), "formats": rows["formats"].map(_numbers)}
    return table("images_by_class", rows.assign(**quartiles, **counts))


def modes(counts: Mapping[str, int]) -> str:
    """Colour modes in words with their numbers of images, one per line."""
    return _numbers({f"{MODES[mode]} ({mode})" if mode in MODES else mode: number for mode, number in counts.items()})


def _numbers(counts: Mapping[str, int]) -> str:
    told = [f"{name} {numbers.count(number)}".replace(" ", numbers.NBSP) for name, number in counts.items()]
    return "\n".join(told) or numbers.text(None)
