"""What an audit finds, in words: each check of images, duplicates, patients and splits leaves one `Finding` or none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import pandas as pd

from bench.data.audit.duplicates import Cluster, Duplicates
from bench.data.images.decode import OTHER
from bench.data.imageset import ImageSet, how_read
from bench.data.splits import REFERENCE_AUC, SPLITS, SplitReport, half_width, too_small

Severity = Literal["stop", "warning", "note", "good"]
SEVERITIES: tuple[Severity, ...] = ("stop", "warning", "note", "good")
MOST_LEFT_OUT = 0.01
"""Share of a class's images that may be left out before a run stops."""
UNEVEN = 1.5
VERY_UNEVEN = 10.0
"""Ratio of the largest to the smallest class that is mentioned, and that is warned of."""

PROBLEMS = {
    "empty": ("Empty files", "without a byte"),
    "no image": ("Files that are no images", "called like an image that holds something else"),
    "truncated": ("Truncated files", "cut off before the end of the image"),
    "unreadable": ("Unreadable images", "that cannot be decoded"),
    "no access": ("Files without access", "that could not be read from the disk"),
}
PALETTE_MODES = ("P", "PA")


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found.

    Attributes:
        kind: a word for programs, such as ``truncated``.
        heading: a title.
        severity: ``stop`` (a run does not start), ``warning``, ``note``, or ``good`` (looked for, not found).
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
    """What the checks look at; rows of ``table`` and ``facts`` are the same images.

    Attributes:
        source: the images.
        facts: columns as in `bench.data.images.decode.Facts`.
        duplicates: among them.
        given: the split of each image as it was given, empty where none was.
        table: with the splits as they are used.
        splits: what was decided about them.
        shortcut: as `bench.data.audit.shortcut.shortcut` gives it.
        keep_going: whether the user wants to go on without what cannot be decoded.
    """

    source: ImageSet
    facts: pd.DataFrame
    duplicates: Duplicates
    given: pd.Series
    table: pd.DataFrame
    splits: SplitReport
    shortcut: Mapping[str, Any]
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
        _problems,
        _constant, _source, _imbalance, _alike, _moved, _ways_of_storing, _others,
        _layout,
    )  # fmt: skip
    found = [finding for check in checks for finding in check(evidence)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def left_out_by_class(table: pd.DataFrame, facts: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Class -> (images that could not be decoded, all its images), of the classes that lose too large a share."""
    images = (facts["problem"] != OTHER).to_numpy()
    lost = (facts["problem"] != "")[images].groupby(table["label"].to_numpy()[images]).agg(["sum", "size"])
    return {
        str(label): (int(row["sum"]), int(row["size"]))
        for label, row in lost.iterrows()
        if row["sum"] > MOST_LEFT_OUT * row["size"]
    }


def _refused(evidence: Evidence) -> list[Finding]:
    reason = evidence.splits.refused
    return [Finding("splits", "No splits can be drawn", "stop", reason)] if reason else []


def _too_many(evidence: Evidence) -> list[Finding]:
    lost = left_out_by_class(evidence.table, evidence.facts)
    if not lost:
        return []
    told = ", ".join(f"{name} {n} of {total} ({100 * n / total:.1f} %)" for name, (n, total) in lost.items())
    after = "The run goes on without them (--keep-going)." if evidence.keep_going else "A run needs --keep-going."
    return [
        Finding(
            "too many left out",
            "Too many images left out",
            "warning" if evidence.keep_going else "stop",
            f"More than {100 * MOST_LEFT_OUT:.0f} % of a class cannot be decoded: {told}. {after}",
            sum(n for n, _ in lost.values()),
        )
    ]


def _problems(evidence: Evidence) -> list[Finding]:
    problems = evidence.facts["problem"]
    found, others = [], evidence.names(problems == OTHER)
    if problems.isin(["", OTHER]).all():
        found.append(Finding("readable", "Files", "good", f"All {len(problems) - len(others)} images can be decoded."))
    if others:
        kinds = sorted(set(evidence.facts["reason"][problems == OTHER].str.rpartition("image, but ")[2]))
        text = f"{_count(len(others), 'DICOM file')} that {'holds' if len(others) == 1 else 'hold'} no image "
        text += f"({', '.join(kinds)}): left out, as other files are."
        found.append(Finding("other file", "Other DICOM files", "note", text, len(others), others))
    for kind, (heading, what) in PROBLEMS.items():
        files = evidence.names(problems == kind)
        if files:
            text = f"{_count(len(files), 'file')} {what}: left out."
            found.append(Finding(kind, heading, "warning", text, len(files), files))
    return found


def _source(evidence: Evidence) -> list[Finding]:
    notes = [*evidence.source.notes]
    return [Finding("source", "The source", "note", " ".join(notes))] if notes else []


def _patients(evidence: Evidence) -> list[Finding]:
    """Patients in two of the given splits, by both readings."""
    shared = evidence.splits.shared_patients
    narrow, wide = shared.get("narrow", {}), shared.get("wide", {})
    if not narrow:
        return []
    heading = "Patients across splits"
    if not any(narrow.values()):
        if evidence.source.patients_assumed:
            text = "Whether a patient is in two given splits cannot be judged: nothing says who is shown."
            return [Finding("patients", heading, "note", text)]
        more = f" (read widely, {_pairs(wide)} would be)" if any(wide.values()) else ""
        doubts = _doubts(evidence)
        if doubts:
            text = f"As far as can be told, no patient is in two given splits{more}: {' and '.join(doubts)}."
            return [Finding("patients", heading, "note", text)]
        text = f"No patient is in two given splits{more} (rule: {evidence.source.patient_rule})."
        return [Finding("patients", heading, "good", text)]
    readings = "" if narrow == wide else f" Read widely (the safer reading for drawing splits): {_pairs(wide)}."
    counted = (evidence.given != "").to_numpy() & (evidence.facts["problem"] == "").to_numpy()
    where = evidence.given.where(counted).groupby(evidence.table["patient_narrow"].to_numpy()).transform("nunique")
    files = evidence.names(counted & (where > 1).to_numpy())
    text = f"Patients have images in two of the given splits: {_pairs(narrow)}.{readings} {_decided(evidence)}"
    text = f"{text.strip()} Patients are told apart by this rule: {evidence.source.patient_rule}."
    return [Finding("patients", heading, "warning", text, sum(narrow.values()), files)]


def _doubts(evidence: Evidence) -> list[str]:
    """Why patients may be in two splits without anyone seeing it."""
    nameless = int((evidence.table["patient_narrow"] == evidence.table["image"]).sum())
    told = [f"of {_count(nameless, 'image')} nobody knows the patient"] if nameless else []
    return told + ([evidence.source.patient_doubt] if evidence.source.patient_doubt else [])


def _decided(evidence: Evidence) -> str:
    """What became of the images whose patients or copies crossed splits."""
    moved = [
        f"{entry['images']} left {entry['from']}" for entry in evidence.splits.moved if "patient" in entry["reason"]
    ]
    if moved:
        return f"Their images: {', '.join(moved)}."
    return "Validation is merged with train and drawn anew, so none crosses any more." if evidence.splits.merged else ""


def _pairs(shared: Mapping[str, int]) -> str:
    return ", ".join(f"{pair.replace('-', ' and ')} share {n}" for pair, n in shared.items() if n)


def _assumed(evidence: Evidence) -> list[Finding]:
    if not evidence.source.patients_assumed:
        return []
    text = (
        "Nothing says which images show the same patient, so each counts as its own: an assumption. If patients have "
        "several images, scores are too good; name patients by --patient-pattern or a patient column."
    )
    if doubt := evidence.source.patient_doubt:
        text += f" {doubt[0].upper()}{doubt[1:]}."
    return [Finding("assumed", "Patients are assumed", "warning", text, len(evidence.table))]


def _duplicates(evidence: Evidence) -> list[Finding]:
    found = []
    for kind, heading, what in (
        ("exact", "Exact duplicates", "the same pixels"),
        ("near", "Near duplicates", "nearly the same look (recompressed, resized or slightly changed copies)"),
    ):
        clusters = [cluster for cluster in evidence.duplicates.clusters if cluster.kind == kind]
        if not clusters:
            found.append(Finding(kind, heading, "good", f"No two images have {what}."))
            continue
        crossing = [cluster for cluster in clusters if evidence.crossing(cluster)]
        rows = [row for cluster in (crossing or clusters) for row in cluster.rows]
        where = (
            f"In several splits: {_sets(crossing)}; what crosses leaves the earlier split."
            if crossing
            else ("None lies in two splits.")
        )
        text = f"Images with {what}: {_sets(clusters)}. {where}"
        found.append(
            Finding(kind, heading, "warning" if crossing else "note", text, len(clusters), evidence.names(rows))
        )
    return found


def _sets(clusters: Sequence[Cluster]) -> str:
    images = sum(len(cluster.rows) for cluster in clusters)
    return f"{_count(len(clusters), 'set')} of {images} images" + (" in all" if len(clusters) > 1 else "")


def _conflicts(evidence: Evidence) -> list[Finding]:
    clusters = [cluster for cluster in evidence.duplicates.clusters if evidence.conflicting(cluster)]
    heading = "Copies under different labels"
    if not clusters:
        if not evidence.duplicates.clusters:
            return []
        return [Finding("conflicting labels", heading, "good", "All copies of an image carry the same label.")]
    text = (
        f"{_sets(clusters)} are copies of each other under different labels: at least one label of each set is wrong."
    )
    rows = [row for cluster in clusters for row in cluster.rows]
    return [Finding("conflicting labels", heading, "warning", text, len(clusters), evidence.names(rows))]


def _validation(evidence: Evidence) -> list[Finding]:
    """What became of the given validation split, and whether the one that is used is large enough."""
    note, given = evidence.splits.on_validation, (evidence.given == "val").any()
    found = []
    if note and not given:
        found.append(Finding("validation", "Validation split", "note", note))
    elif note:
        heading = "Validation split too small" if evidence.splits.merged else "Small validation split"
        found.append(Finding("validation", heading, "warning", note))
    labels = evidence.table.loc[evidence.table["split"] == "val", "label"]
    if labels.nunique() > 1 and too_small(labels) and (evidence.splits.merged or not given):
        text = (
            f"The validation split that was drawn, {len(labels)} images, is small: at an AUC of {REFERENCE_AUC} its "
            f"95 % interval would be ±{half_width(labels):.2f}; differences between configurations are uncertain."
        )
        found.append(Finding("small validation", "Small validation split", "warning", text))
    return found


def _shortcut(evidence: Evidence) -> list[Finding]:
    found, heading = evidence.shortcut, "Shortcut control"
    if found.get("auc") is None:
        return [Finding("shortcut", heading, "note", f"Not computed: {found.get('reason')}.")]
    interval = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    score = f"AUC {found['auc']:.2f}{interval}, cross-validated by patient, test left out"
    if not found["warns"] and found["auc"] > found["limit"]:
        why = "there are too few patients for an interval"
        if found["low"] is not None:
            why = f"the interval reaches down to {found['low']:.2f}, not above {found['limit']}"
        text = f"Metadata alone may tell the label, or not: {score}; {why}"
        return [Finding("shortcut", heading, "note", f"{text}.")]
    if not found["warns"]:
        return [Finding("shortcut", heading, "good", f"Metadata alone do not tell the label ({score}).")]
    telling = [feature for feature in found["features"] if feature["auc"] > found["limit"]] or found["features"][:1]
    told = ", ".join(f"{feature['name']} (alone {feature['auc']:.2f})" for feature in telling)
    text = f"The label can be told without looking at the picture: {told}. Metadata alone reach {score}; "
    text += "a model may learn this instead of the disease."
    if telling[0]["name"] == "bytes per pixel":
        text += " Bytes per pixel depend partly on what is shown: sharp detail compresses worse than haze."
    return [Finding("shortcut", heading, "warning", text, len(telling))]


def _missing_labels(evidence: Evidence) -> list[Finding]:
    found = []
    for split in SPLITS:
        labels = set(evidence.table.loc[evidence.given == split, "label"])
        missing = [name for name in evidence.source.classes if name not in labels]
        if labels and missing:
            found.append(f"{split} holds no {', no '.join(missing)}")
    if not found:
        return []
    text = f"Of the given splits, {'; '.join(found)}."
    return [Finding("missing labels", "Labels missing from a split", "warning", text, len(found))]


def _constant(evidence: Evidence) -> list[Finding]:
    files = evidence.names(evidence.facts["constant"].to_numpy(dtype=bool))
    if not files:
        return []
    text = f"{_count(len(files), 'image')} of one value only, with nothing to see: look, and remove mistakes."
    return [Finding("constant", "Constant images", "warning", text, len(files), files)]


def _imbalance(evidence: Evidence) -> list[Finding]:
    ratios = {}
    for split in SPLITS:
        counts = evidence.table.loc[evidence.table["split"] == split, "label"].value_counts()
        if len(counts) > 1:
            ratios[split] = counts.iloc[0] / counts.iloc[-1]
    worst = max(ratios.values(), default=1.0)
    if worst < UNEVEN:
        return []
    told = ", ".join(f"{split} {ratio:.1f} to 1" for split, ratio in ratios.items())
    weighed = "Training weighs classes unless --no-class-weights; accuracy alone flatters here."
    text = f"Largest to smallest class: {told}. {weighed}"
    severity: Severity = "warning" if worst > VERY_UNEVEN else "note"
    return [Finding("imbalance", "Class imbalance", severity, text)]


def _alike(evidence: Evidence) -> list[Finding]:
    alike = evidence.duplicates.alike
    if not alike:
        return []
    text = f"{alike} images are too alike for the perceptual hash; near duplicates among them are not sought."
    return [Finding("alike", "Images that look alike", "note", text, alike)]


def _ways_of_storing(evidence: Evidence) -> list[Finding]:
    facts = evidence.facts[evidence.facts["problem"] == ""]
    grey = facts["grey"].astype(bool)
    mixed = grey if 0 < grey.sum() < len(grey) else grey & False
    deep = _windows(facts[facts["deep"].astype(bool)])
    own, shallow = (facts["window"] == "own").to_numpy(), (grey & ~facts["deep"].astype(bool)).to_numpy()
    kinds = (
        ("rotated", "Orientation tags", facts["rotated"], "with an orientation tag, turned upright"),
        ("deep", "More than 8 bits a channel", facts["deep"], f"of more than 8 bits a channel: {deep}"),
        ("transparent", "Transparent images", facts["transparent"], "with transparency, laid on black"),
        (
            "palette",
            "Palette images",
            facts["mode"].isin(PALETTE_MODES) & (facts["format"] != "GIF"),
            "stored with a palette, converted",
        ),
        ("frames", "Files of several images", facts["frames"] > 1, "with others in the same file; the first is taken"),
        (
            "mixed colour",
            "Grey and coloured images",
            mixed,
            f"in grey beside {int((~grey).sum())} in colour; all are stored with three channels",
        ),
        (
            "mixed depth",
            "Grey of 8 bits and of more",
            facts["deep"].astype(bool) & (own & shallow.any()),
            f"windowed from its own darkest value to its brightest beside {int(shallow.sum())} of 8 bits that stay as "
            "they are: which is which must not tell the label (--window, or files of one kind)",
        ),
    )
    found = []
    for kind, heading, which, what in kinds:
        files = evidence.names(facts.index[which.to_numpy(dtype=bool)])
        if files:
            found.append(Finding(kind, heading, "note", f"{_count(len(files), 'image')} {what}.", len(files), files))
    return found


def _windows(deep: pd.DataFrame) -> str:
    """How images of more than 8 bits a channel became 8, by what decided it."""
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


def _moved(evidence: Evidence) -> list[Finding]:
    """Each decision by which images left a split, with its files."""
    return [
        Finding(
            "moved",
            f"Left out of {entry['from']}",
            "note",
            f"{_count(entry['images'], 'image')} left {entry['from']} because {entry['reason']}.",
            entry["images"],
            tuple(entry["files"]),
        )
        for entry in evidence.splits.moved
    ]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _others(evidence: Evidence) -> list[Finding]:
    files = evidence.source.others
    if not files:
        return []
    endings = sorted({PurePath(name).suffix or "no ending" for name in files})
    text = f"{_count(len(files), 'file')} among the images not called like an image ({', '.join(endings)}): left out."
    many = len(files) > MOST_LEFT_OUT * len(evidence.table)
    return [Finding("others", "Other files", "warning" if many else "note", text, len(files), files)]


def _layout(evidence: Evidence) -> list[Finding]:
    """How the source was read, where it had more than the images."""
    left_out = evidence.source.left_out
    if not left_out:
        return []
    loose = sum(len(one.names) for one in left_out if one.kind == "loose image")
    files = tuple(name for one in left_out for name in one.names)
    text = how_read(evidence.source)["text"]
    severity: Severity = "warning" if loose > MOST_LEFT_OUT * len(evidence.table) else "note"
    return [Finding("layout", "What was left out", severity, f"{text[0].upper()}{text[1:]}.", len(files), files)]
