"""What an audit finds, in words: each check of images, duplicates, patients and splits yields its `Finding`s."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import pandas as pd

from bench.data.audit.duplicates import Duplicates
from bench.data.audit.shortcut import Shortcut
from bench.data.images.decode import OTHER
from bench.data.imageset import ImageSet, how_read
from bench.data.splits import REFERENCE_AUC, SPLITS, Cluster, SplitReport, half_width, too_small

Severity = Literal["stop", "warning", "note", "good"]
SEVERITIES: tuple[Severity, ...] = ("stop", "warning", "note", "good")
MOST_EXCLUDED = 0.01  # share of a class's images that may be excluded before a run stops
UNEVEN, VERY_UNEVEN = 1.5, 10.0  # ratio of the largest to the smallest class that is mentioned, and that is warned of
PROBLEMS = {
    "empty": ("Empty files", "without a byte"),
    "no image": ("Files that are no images", "called like an image that holds something else"),
    "truncated": ("Truncated files", "cut off before the end of the image"),
    "unreadable": ("Unreadable images", "that cannot be decoded"),
    "no access": ("Files without access", "that could not be read from the disk"),
}
COPIES = (
    ("exact", "Exact duplicates", "the same pixels"),
    ("near", "Near duplicates", "nearly the same look (recompressed, resized or slightly changed copies)"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found.

    Attributes:
        kind: a word for programs, such as ``truncated``.
        heading: a title.
        severity: ``stop`` (a run does not start), ``warning``, ``note``, or ``good`` (searched for, not found).
        text: one or two sentences.
        count: how many images (or sets of images, or patients) it is about.
        files: their names.
    """

    kind: str
    heading: str
    severity: Severity
    text: str
    count: int = 0
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What the checks rest on; rows of ``table`` and ``facts`` are the same images.

    Attributes:
        source: the images.
        facts: columns as in `bench.data.images.decode.Facts`.
        duplicates: among them.
        given: the split of each image as it was given, empty where none was.
        table: with the splits as they are used.
        splits: what was decided about them.
        shortcut: how well metadata alone predict the label.
        keep_going: whether the user wants to go on without what cannot be decoded.
    """

    source: ImageSet
    facts: pd.DataFrame
    duplicates: Duplicates
    given: pd.Series
    table: pd.DataFrame
    splits: SplitReport
    shortcut: Shortcut
    keep_going: bool

    def names(self, rows: Iterable[Any]) -> tuple[str, ...]:
        """Names of the images in some rows (numbers, or a mask of all)."""
        return tuple(self.table["image"].to_numpy()[pd.Series(rows).to_numpy()].tolist())

    def split(self, row: int) -> str:
        """The split of an image: as given, or as drawn where none was."""
        return str(self.given.iloc[row] or self.table["split"].iloc[row])

    def conflicting(self, cluster: Cluster) -> bool:
        """Whether copies carry different labels."""
        return self.table["label"].iloc[list(cluster.rows)].nunique() > 1

    def crossing(self, cluster: Cluster) -> bool:
        """Whether copies lie in different splits."""
        return len({split for row in cluster.rows if (split := self.split(row))}) > 1


def find(evidence: Evidence) -> list[Finding]:
    """All findings, the most severe first."""
    checks = (
        _too_many, _refused, _shortcut, _patients, _duplicates, _conflicts, _assumed, _validation, _missing_labels,
        _problems, _constant, _source, _imbalance, _alike, _moved, _ways_of_storing, _others, _layout,
    )  # fmt: skip
    found = [finding for check in checks for finding in check(evidence)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def excluded_by_class(table: pd.DataFrame, facts: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Class -> (images that could not be decoded, all its images), of the classes that lose too large a share."""
    images = (facts["problem"] != OTHER).to_numpy()
    lost = (facts["problem"] != "")[images].groupby(table["label"].to_numpy()[images]).agg(["sum", "size"])
    return {
        str(label): (int(row["sum"]), int(row["size"]))
        for label, row in lost.iterrows()
        if row["sum"] > MOST_EXCLUDED * row["size"]
    }


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


# Files and images


def _too_many(evidence: Evidence) -> Iterator[Finding]:
    lost = excluded_by_class(evidence.table, evidence.facts)
    if lost:
        told = ", ".join(f"{name} {n} of {total} ({100 * n / total:.1f} %)" for name, (n, total) in lost.items())
        after = "The run goes on without them (--keep-going)." if evidence.keep_going else "A run needs --keep-going."
        text = f"More than {100 * MOST_EXCLUDED:.0f} % of a class cannot be decoded: {told}. {after}"
        severity: Severity = "warning" if evidence.keep_going else "stop"
        yield Finding("too many left out", "Too many images left out", severity, text, sum(n for n, _ in lost.values()))


def _problems(evidence: Evidence) -> Iterator[Finding]:
    problems = evidence.facts["problem"]
    others = evidence.names(problems == OTHER)
    if problems.isin(["", OTHER]).all():
        yield Finding("readable", "Files", "good", f"All {len(problems) - len(others)} images can be decoded.")
    if others:
        kinds = sorted(set(evidence.facts["reason"][problems == OTHER].str.rpartition("image, but ")[2]))
        text = f"{_count(len(others), 'DICOM file')} that {'holds' if len(others) == 1 else 'hold'} no image "
        text += f"({', '.join(kinds)}): left out, as other files are."
        yield Finding("other file", "Other DICOM files", "note", text, len(others), others)
    for kind, (heading, what) in PROBLEMS.items():
        if files := evidence.names(problems == kind):
            text = f"{_count(len(files), 'file')} {what}: left out."
            yield Finding(kind, heading, "warning", text, len(files), files)


def _constant(evidence: Evidence) -> Iterator[Finding]:
    if files := evidence.names(evidence.facts["constant"].to_numpy(dtype=bool)):
        text = f"{_count(len(files), 'image')} of one value only, with nothing to see: look, and remove mistakes."
        yield Finding("constant", "Constant images", "warning", text, len(files), files)


def _source(evidence: Evidence) -> Iterator[Finding]:
    if evidence.source.notes:
        yield Finding("source", "The source", "note", " ".join(evidence.source.notes))


def _others(evidence: Evidence) -> Iterator[Finding]:
    if files := evidence.source.others:
        endings = ", ".join(sorted({PurePath(name).suffix or "no ending" for name in files}))
        text = f"{_count(len(files), 'file')} among the images not called like an image ({endings}): left out."
        severity: Severity = "warning" if len(files) > MOST_EXCLUDED * len(evidence.table) else "note"
        yield Finding("others", "Other files", severity, text, len(files), files)


def _layout(evidence: Evidence) -> Iterator[Finding]:
    """How the source was read, where it had more than the images."""
    if excluded := evidence.source.excluded:
        loose = sum(len(one.names) for one in excluded if one.kind == "loose image")
        files = tuple(name for one in excluded for name in one.names)
        text = how_read(evidence.source)["text"]
        severity: Severity = "warning" if loose > MOST_EXCLUDED * len(evidence.table) else "note"
        yield Finding("layout", "What was left out", severity, f"{text[0].upper()}{text[1:]}.", len(files), files)


def _ways_of_storing(evidence: Evidence) -> Iterator[Finding]:
    facts = evidence.facts[evidence.facts["problem"] == ""]
    grey, is_deep = facts["grey"].astype(bool), facts["deep"].astype(bool)
    mixed = grey if 0 < grey.sum() < len(grey) else grey & False
    own, shallow = (facts["window"] == "own").to_numpy(), (grey & ~is_deep).to_numpy()
    palette = facts["mode"].isin(["P", "PA"]) & (facts["format"] != "GIF")
    deep = f"of more than 8 bits per channel: {_windows(facts[is_deep])}"
    beside = f"in grey beside {int((~grey).sum())} in colour; all are stored with three channels"
    ranges = (
        f"windowed from its own darkest value to its brightest beside {int(shallow.sum())} of 8 bits that stay as "
        "they are: which is which must not tell the label (--window, or files of one kind)"
    )
    for kind, heading, which, what in (
        ("rotated", "Orientation tags", facts["rotated"], "with an orientation tag, turned upright"),
        ("deep", "More than 8 bits per channel", facts["deep"], deep),
        ("transparent", "Transparent images", facts["transparent"], "with transparency, laid on black"),
        ("palette", "Palette images", palette, "stored with a palette, converted"),
        ("frames", "Files of several images", facts["frames"] > 1, "with others in the same file; the first is taken"),
        ("mixed colour", "Grey and coloured images", mixed, beside),
        ("mixed depth", "Grey of 8 bits and of more", is_deep & (own & shallow.any()), ranges),
    ):
        if files := evidence.names(facts.index[which.to_numpy(dtype=bool)]):
            yield Finding(kind, heading, "note", f"{_count(len(files), 'image')} {what}.", len(files), files)


def _windows(deep: pd.DataFrame) -> str:
    """How images of more than 8 bits per channel became 8, by what decided it."""
    ranges = [f"{low:g} to {high:g}" for low, high in zip(deep["low"], deep["high"], strict=True)]
    told = {
        "own": "from its own minimum to its maximum",
        "header": "as its DICOM header says",
        "set": f"from {next(iter(ranges), '')}, one range for the whole set",
        "asked": f"from {next(iter(ranges), '')}, by --window",
        "": "of which the upper 8 bits stay",
    }
    counts = deep["window"].value_counts()
    return "; ".join(f"{counts[rule]} {'windowed ' * bool(rule)}{how}" for rule, how in told.items() if rule in counts)


# Patients and copies


def _patients(evidence: Evidence) -> Iterator[Finding]:
    """Patients in two of the given splits, by patient_id (narrow) and by split_group (wide)."""
    shared, source = evidence.splits.shared_patients, evidence.source
    narrow, wide = shared.get("narrow", {}), shared.get("wide", {})
    if not narrow:
        return
    heading = "Patients across splits"
    if any(narrow.values()):
        readings = "" if narrow == wide else f" By the wide reading, by which splits are drawn: {_pairs(wide)}."
        counted = (evidence.given != "").to_numpy() & (evidence.facts["problem"] == "").to_numpy()
        where = evidence.given.where(counted).groupby(evidence.table["patient_id"].to_numpy()).transform("nunique")
        files = evidence.names(counted & (where > 1).to_numpy())
        text = f"Patients have images in two of the given splits: {_pairs(narrow)}.{readings} {_decided(evidence)}"
        text = f"{text.strip()} Patients are told apart by this rule: {source.patient_rule}."
        yield Finding("patients", heading, "warning", text, sum(narrow.values()), files)
        return
    more = f" (by the wide reading, {_pairs(wide)} would be)" if any(wide.values()) else ""
    nameless = int((evidence.table["patient_id"] == evidence.table["image"]).sum())
    doubts = [f"of {_count(nameless, 'image')} nobody knows the patient"] if nameless else []
    doubts += [source.patient_doubt] if source.patient_doubt else []
    severity: Severity = "note" if source.patients_assumed or doubts else "good"
    if source.patients_assumed:
        text = "Whether a patient is in two given splits cannot be judged: nothing says who is shown."
    elif doubts:
        text = f"As far as can be told, no patient is in two given splits{more}: {' and '.join(doubts)}."
    else:
        text = f"No patient is in two given splits{more} (rule: {source.patient_rule})."
    yield Finding("patients", heading, severity, text)


def _pairs(shared: Mapping[str, int]) -> str:
    return ", ".join(f"{pair.replace('-', ' and ')} share {n}" for pair, n in shared.items() if n)


def _decided(evidence: Evidence) -> str:
    """What became of the images whose patients or copies crossed splits."""
    moved = [
        f"{entry['images']} left {entry['from']}" for entry in evidence.splits.moved if "patient" in entry["reason"]
    ]
    if moved:
        return f"Their images: {', '.join(moved)}."
    return "Validation is merged with train and drawn anew, so none crosses any more." if evidence.splits.merged else ""


def _assumed(evidence: Evidence) -> Iterator[Finding]:
    if evidence.source.patients_assumed:
        text = (
            "Nothing says which images show the same patient, so each counts as its own: an assumption. If patients "
            "have several images, scores are too good; name patients by --patient-pattern or a patient column."
        )
        if doubt := evidence.source.patient_doubt:
            text += f" {doubt[0].upper()}{doubt[1:]}."
        yield Finding("assumed", "Patients are assumed", "warning", text, len(evidence.table))


def _duplicates(evidence: Evidence) -> Iterator[Finding]:
    for kind, heading, what in COPIES:
        clusters = [cluster for cluster in evidence.duplicates.clusters if cluster.kind == kind]
        crossing = [cluster for cluster in clusters if evidence.crossing(cluster)]
        if not clusters:
            yield Finding(kind, heading, "good", f"No two images have {what}.")
            continue
        where = "None lies in two splits."
        if crossing:
            where = f"In several splits: {_sets(crossing)}; what crosses leaves the earlier split."
        text = f"Images with {what}: {_sets(clusters)}. {where}"
        files = evidence.names([row for cluster in (crossing or clusters) for row in cluster.rows])
        yield Finding(kind, heading, "warning" if crossing else "note", text, len(clusters), files)


def _sets(clusters: Sequence[Cluster]) -> str:
    images = sum(len(cluster.rows) for cluster in clusters)
    return f"{_count(len(clusters), 'set')} of {images} images" + (" in all" if len(clusters) > 1 else "")


def _conflicts(evidence: Evidence) -> Iterator[Finding]:
    kind, heading, copies = "conflicting labels", "Copies under different labels", evidence.duplicates.clusters
    clusters = [cluster for cluster in copies if evidence.conflicting(cluster)]
    if clusters:
        text = (
            f"{_sets(clusters)} are copies of each other under different labels: at least one label of each set is "
            "wrong."
        )
        files = evidence.names([row for cluster in clusters for row in cluster.rows])
        yield Finding(kind, heading, "warning", text, len(clusters), files)
    elif copies:
        yield Finding(kind, heading, "good", "All copies of an image carry the same label.")


def _alike(evidence: Evidence) -> Iterator[Finding]:
    if alike := evidence.duplicates.alike:
        text = f"{alike} images are too alike for the perceptual hash; near duplicates among them are not sought."
        yield Finding("alike", "Images that look alike", "note", text, alike)


# Splits and labels


def _refused(evidence: Evidence) -> Iterator[Finding]:
    if reason := evidence.splits.refused:
        yield Finding("splits", "No splits can be drawn", "stop", reason)


def _validation(evidence: Evidence) -> Iterator[Finding]:
    """What became of the given validation split, and whether the one that is used is large enough."""
    note, given, merged = evidence.splits.on_validation, (evidence.given == "val").any(), evidence.splits.merged
    if note and not given:
        yield Finding("validation", "Validation split", "note", note)
    elif note:
        heading = "Validation split too small" if merged else "Small validation split"
        yield Finding("validation", heading, "warning", note)
    labels = evidence.table.loc[evidence.table["split"] == "val", "label"]
    if labels.nunique() > 1 and too_small(labels) and (merged or not given):
        text = (
            f"The validation split that was drawn, {len(labels)} images, is small: at an AUC of {REFERENCE_AUC} its "
            f"95 % interval would be ±{half_width(labels):.2f}; differences between configurations are uncertain."
        )
        yield Finding("small validation", "Small validation split", "warning", text)


def _moved(evidence: Evidence) -> Iterator[Finding]:
    """Each decision by which images left a split, with its files."""
    for entry in evidence.splits.moved:
        text = f"{_count(entry['images'], 'image')} left {entry['from']} because {entry['reason']}."
        files = tuple(entry["files"])
        yield Finding("moved", f"Left out of {entry['from']}", "note", text, entry["images"], files)


def _missing_labels(evidence: Evidence) -> Iterator[Finding]:
    found = []
    for split in SPLITS:
        labels = set(evidence.table.loc[evidence.given == split, "label"])
        missing = [name for name in evidence.source.classes if name not in labels]
        if labels and missing:
            found.append(f"{split} holds no {', no '.join(missing)}")
    if found:
        text = f"Of the given splits, {'; '.join(found)}."
        yield Finding("missing labels", "Labels missing from a split", "warning", text, len(found))


def _imbalance(evidence: Evidence) -> Iterator[Finding]:
    ratios = {}
    for split in SPLITS:
        counts = evidence.table.loc[evidence.table["split"] == split, "label"].value_counts()
        if len(counts) > 1:
            ratios[split] = counts.iloc[0] / counts.iloc[-1]
    most = max(ratios.values(), default=1.0)
    if most >= UNEVEN:
        told = ", ".join(f"{split} {ratio:.1f} to 1" for split, ratio in ratios.items())
        weighed = "Training weighs classes unless --no-class-weights; accuracy alone flatters here."
        text = f"Largest to smallest class: {told}. {weighed}"
        yield Finding("imbalance", "Class imbalance", "warning" if most > VERY_UNEVEN else "note", text)


def _shortcut(evidence: Evidence) -> Iterator[Finding]:
    found, heading = evidence.shortcut, "Shortcut control"
    auc, low = found["auc"], found.get("low")
    if auc is None:
        yield Finding("shortcut", heading, "note", f"Not computed: {found.get('reason')}.")
        return
    interval = "" if low is None else f" [{low:.2f}, {found['high']:.2f}]"
    score = f"AUC {auc:.2f}{interval}, cross-validated by patient, test left out"
    if found["warns"]:
        telling = [feature for feature in found["features"] if feature["auc"] > found["limit"]] or found["features"][:1]
        told = ", ".join(f"{feature['name']} (alone {feature['auc']:.2f})" for feature in telling)
        text = f"The label can be told without looking at the picture: {told}. Metadata alone reach {score}; "
        text += "a model may learn this instead of the disease."
        if telling[0]["name"] == "bytes per pixel":
            text += " Bytes per pixel depend partly on what is shown: sharp detail compresses worse than haze."
        yield Finding("shortcut", heading, "warning", text, len(telling))
    elif auc > found["limit"]:
        why = "there are too few patients for an interval"
        if low is not None:
            why = f"the interval reaches down to {low:.2f}, not above {found['limit']}"
        yield Finding("shortcut", heading, "note", f"Metadata alone may tell the label, or not: {score}; {why}.")
    else:
        yield Finding("shortcut", heading, "good", f"Metadata alone do not tell the label ({score}).")
