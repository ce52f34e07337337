"""What the audit found in the images: the part of the section on the data that audit.json fills."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.blocks import (
    MOST_LISTED,
    Block,
    Column,
    Finding,
    Findings,
    Heading,
    Missing,
    Paragraph,
    Points,
    Table,
    listing,
    table,
)
from bench.report.figures import data as figures_data
from bench.report.names import joined, present
from bench.report.page import Page
from bench.report.read.files import listed, mapping
from bench.report.tables import data as tables_data
from bench.report.wording import counted
from bench.run.documents import AuditRecord

SEVERITIES = {"stop": "Serious", "warning": "Warning", "note": "Note", "good": "Good"}
"""What the page calls them, the gravest first."""

MODES = {"L": "grey", "1": "black and white", "RGB": "colour", "RGBA": "colour, transparent", "P": "palette"}


def findings(audit: dict[str, Any], notes: Sequence[str]) -> list[Block]:
    """What was found, in the audit's own words and order.

    Args:
        audit: the content of audit.json.
        notes: sentences that the page has said already; a finding that says no more, and warns of nothing, is left out.
    """
    left_out = len(listed(audit.get("left_out")))
    lead = f"{counted(audit.get('images'), 'image')} examined; {wording.count(left_out)} could not be used."
    blocks: list[Block] = [Heading("What the audit found"), Paragraph(lead)]
    found = [_finding(entry) for entry in listed(audit.get("findings")) if not _repeats(entry, notes)]
    return [*blocks, Findings(found) if found else Missing("audit.json names no findings.")]


def _repeats(entry: dict[str, Any], notes: Sequence[str]) -> bool:
    rest = str(entry.get("text"))
    for note in notes:
        rest = rest.replace(note, "")
    return entry.get("severity") == "note" and not rest.strip()


def _finding(entry: dict[str, Any]) -> Finding:
    level = str(entry.get("severity"))
    files = listed(entry.get("files"))
    count = f" ({wording.count(entry['count'])})" if files and wording.number(entry.get("count")) else ""
    return Finding(
        severity=SEVERITIES.get(level) or wording.text(entry.get("severity")),
        level=level if level in SEVERITIES else "note",
        heading=f"{wording.text(entry.get('heading'))}{count}",
        text=wording.text(entry.get("text")),
        files=next(iter(listing(files)), None),
    )


def no_part(page: Page, audit: dict[str, Any]) -> list[Block]:
    """The images that take no part, by reason; nothing where every image does."""
    left_out, splits = listed(audit.get("left_out")), page.files.splits
    rows = tables_data.no_part(splits) if splits is not None else pd.DataFrame()
    source = "splits.csv"
    if not len(rows):
        rows, source = tables_data.left_out(page.files.audit.left_out if page.files.audit else ()), "audit.json"
    if not len(rows):
        return []
    columns = [
        Column("reason", "Reason", numeric=False),
        Column("images", "Images", wording.count),
        *(Column(f"class {name}", name, wording.count) for name in tables_data.class_names(rows)),
    ]
    caption = f"Images that take no part, as counted in {source}, by reason and class."
    blocks: list[Block] = [Heading("Images that take no part"), table(rows.head(MOST_LISTED), caption, columns)]
    files = [f"{wording.text(entry.get('file'))}: {wording.text(entry.get('reason'))}" for entry in left_out]
    return [*blocks, *listing(files, "image that could not be used", "images that could not be used")]


def duplicates(audit: AuditRecord) -> list[Block]:
    """The groups of images that are the same, or look it; nothing where there are none, which a finding says."""
    groups = tables_data.duplicates(audit.duplicates)
    if not len(groups):
        return []
    exact = int((groups["kind"] == "exact").sum())
    conflict, crossing = int(groups["conflict"].sum()), int(groups["crossing"].sum())
    lead = (
        f"{counted(exact, 'group')} of exact duplicates and {counted(len(groups) - exact, 'group')} of near ones: "
        f"{wording.count(conflict)} with conflicting labels, {wording.count(crossing)} across splits. Near duplicates "
        "are found by perceptual hash; look at them before you trust that they are copies."
    )
    return [Heading("Duplicates"), Paragraph(lead), _duplicate_table(groups)]


def _duplicate_table(groups: pd.DataFrame) -> Table:
    columns = [
        Column("kind", "Kind", numeric=False),
        Column("labels", "Labels", numeric=False),
        Column("splits", "Splits", numeric=False),
        Column("images", "Images", wording.count),
        Column("files", "Files", numeric=False),
    ]
    more = f" The first {MOST_LISTED} of {wording.count(len(groups))}; audit.json lists all."
    caption = f"Groups of duplicates, conflicts first.{more if len(groups) > MOST_LISTED else ''}"
    return table(groups.head(MOST_LISTED), caption, columns, folded=len(groups) > 5)


def patients(audit: dict[str, Any]) -> list[Block]:
    """How patients were told apart, and which of them the given splits share."""
    about = mapping(audit.get("patients"))
    blocks: list[Block] = [Heading("Patients")]
    if not about:
        return [*blocks, Missing("audit.json does not say how patients were told apart.")]
    wide, narrow = wording.count(about.get("wide")), wording.count(about.get("narrow"))
    rule = f"Patients are told apart by this rule: {wording.text(about.get('rule'))}."
    if about.get("assumed") is True:
        assumed = (
            " If patients have several images, these may lie in different splits: scores would be too good, and "
            "intervals too narrow."
        )
        return [*blocks, Paragraph(f"{rule} That makes {narrow} patients.{assumed}")]
    if wide == narrow:
        return [*blocks, Paragraph(f"{rule} That makes {narrow} patients."), *_shared(audit)]
    readings = (
        f" Read narrowly, that makes {narrow} patients; read widely, {wide}. There are two readings because a name "
        "can join too much or too little: splits are drawn by the wide one, which parts no patient, and leaks are "
        "counted by the narrow one, which joins no strangers."
    )
    return [*blocks, Paragraph(rule + readings), *_shared(audit)]


def _shared(audit: dict[str, Any]) -> list[Block]:
    """Patients that two of the given splits share, by both readings."""
    shared = mapping(audit.get("shared_patients"))
    narrow, wide = mapping(shared.get("narrow")), mapping(shared.get("wide"))
    rows = [
        {"pair": str(pair).replace("-", " and "), "narrow": narrow.get(pair), "wide": wide.get(pair)}
        for pair in dict.fromkeys([*narrow, *wide])
    ]
    if not rows:
        return []
    columns = [Column("pair", "Splits", numeric=False)]
    if narrow == wide:
        columns.append(Column("narrow", "Patients", wording.count))
    else:
        columns += [Column("narrow", "Read narrowly", wording.count), Column("wide", "Read widely", wording.count)]
    return [table(pd.DataFrame(rows), "Patients with images in two of the splits as they were given.", columns)]


def shortcut(audit: dict[str, Any]) -> list[Block]:
    """How well the classes can be told apart without a look at the images; nothing where it was not tried."""
    about = mapping(audit.get("shortcut"))
    if not about:
        return []
    blocks: list[Block] = [Heading("Shortcut control")]
    if wording.number(about.get("auc")) is None:
        why = about["reason"] if present(about.get("reason")) else "audit.json gives no reason"
        return [*blocks, Missing(f"The shortcut control was not computed: {wording.text(why)}.")]
    bounds = wording.interval(about.get("low"), about.get("high"))
    interval = f" ({wording.level(about.get('level'))} interval {bounds})" if bounds else ""
    reached = f"{wording.score(about['auc'])}{interval}"
    on = " of ".join(counted(about[key], key[:-1]) for key in ("images", "patients") if wording.number(about.get(key)))
    features = [
        {"name": wording.text(entry.get("name")), "auc": entry.get("auc")}
        for entry in map(mapping, listed(about.get("features")))
    ]
    named = joined(str(row["name"]) for row in features)
    told = f" ({named})" if named else ""
    blocks.append(
        Paragraph(
            f"A classifier that knows only what the files are like{told}, and not what they show, tells the classes "
            f"apart with ROC AUC {reached}{f', on {on}' if on else ''} outside test. Chance is 0.5."
        )
    )
    blocks.append(Points(_meaning(about)))
    if features:
        columns = [Column("name", "Feature", numeric=False), Column("auc", "ROC AUC", wording.score)]
        blocks.append(table(pd.DataFrame(features), "Each feature on its own.", columns))
    return blocks


def _meaning(about: dict[str, Any]) -> list[str]:
    """What the control says and what it does not."""
    limit = wording.short(about.get("limit") if wording.number(about.get("limit")) else 0.6)
    if about.get("warns") is True:
        return [
            f"Above {limit} the files differ between the classes, for instance because they come from other devices or "
            "were exported otherwise. A network may learn that instead of the disease, and would fail elsewhere.",
            "It does not prove that a network does so: bytes per pixel, for one, depend partly on what an image shows.",
        ]
    auc, low = wording.number(about.get("auc")), wording.number(about.get("low"))
    if auc is not None and auc > float(limit):
        why = "is not known" if low is None else f"reaches down to {wording.score(low)}"
        return [
            f"The score lies above {limit}, but its interval {why}: too few patients to tell whether the files differ "
            "between the classes."
        ]
    return [
        f"Up to {limit} the files give little away. That does not rule out shortcuts inside the images, such as "
        "markers, borders or positioning."
    ]


def classes(page: Page, audit: dict[str, Any]) -> list[Block]:
    """Size, kind and format of the images by class."""
    rows = tables_data.by_class(page.files.audit.by_class if page.files.audit else {})
    if not len(rows):
        return []
    blocks: list[Block] = [Heading("Images by class")]
    size = tables_data.one_size(rows)
    if size:
        blocks.append(Paragraph(f"All images are {size[0]:,.0f} × {size[1]:,.0f} pixels (width × height)."))
    return [*blocks, _class_table(rows), *_properties(page, rows)]


def _class_table(rows: pd.DataFrame) -> Table:
    shows = {
        "width": ("Width (pixels)", wording.count),
        "height": ("Height (pixels)", wording.count),
        "aspect": ("Aspect ratio", wording.short),
        "bytes": ("File size", wording.size),
    }
    quartiles = {
        f"{name}_middle": [
            "" if pd.isna(low) else f"[{show(low)}, {show(high)}]"
            for low, high in zip(rows[f"{name}_q1"], rows[f"{name}_q3"], strict=True)
        ]
        for name, (_, show) in shows.items()
    }
    columns = [
        Column("class", "Class", numeric=False),
        Column("images", "Images", wording.count),
        *(Column(f"{key}_median", title, show, below=f"{key}_middle") for key, (title, show) in shows.items()),
        Column("modes", "Colour modes", _modes, numeric=False),
        Column("formats", "Formats", _numbers, numeric=False),
    ]
    caption = "Images by class: median, and below it [first quartile, third quartile]; numbers of images of each kind."
    return table(rows.assign(**quartiles), caption, columns)


def _modes(value: dict[str, Any]) -> str:
    return _numbers({f"{MODES[mode]} ({mode})" if mode in MODES else mode: number for mode, number in value.items()})


def _numbers(value: dict[str, Any]) -> str:
    told = [f"{name} {wording.count(number)}".replace(" ", wording.NBSP) for name, number in value.items()]
    return "\n".join(told) or wording.text(None)


def _properties(page: Page, rows: pd.DataFrame) -> list[Block]:
    """A figure of the properties that vary."""
    measures = tables_data.varying(rows, list(figures_data.PROPERTIES))
    if not measures:
        return []
    told = "; ".join(
        f"median {figures_data.PROPERTIES[name].split(' (')[0].lower()}: "
        + joined(f"{row['class']} {wording.plain(row[f'{name}_median'])}" for _, row in rows.head(6).iterrows())
        for name in measures
    )
    return [
        page.picture(
            "image_properties",
            lambda: figures_data.properties(rows, measures),
            f"A panel a property and a row a class; {told}.",
            "The images by class. The box spans the middle half, the dark line is the median, the thin line runs from "
            "the least to the greatest value. Boxes that lie apart are something a network can tell the classes by."
            f"{figures_data.too_many(len(rows))}",
        )
    ]
