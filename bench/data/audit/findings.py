"""What an audit finds, in words: each check of images, duplicates, patients and splits yields its findings."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Literal

import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined, Template

from bench import numbers
from bench.data.audit.alterations import NEARLY
from bench.data.audit.duplicates import Duplicates
from bench.data.images.decode import OTHER
from bench.data.imageset import Excluded, ImageSet
from bench.data.splits import REFERENCE_AUC, SPLITS, Cluster, SplitReport, half_width, too_small
from bench.run.documents import FindingRecord, Layout, LeftOut, ShortcutRecord

Severity = Literal["stop", "warning", "note", "good"]
SEVERITIES: tuple[Severity, ...] = ("stop", "warning", "note", "good")
MOST_EXCLUDED = 0.01  # share of a class's images that may be excluded before a run stops
UNEVEN, VERY_UNEVEN = 1.5, 10.0  # ratio of the largest to the smallest class that is mentioned, and that is warned of
PROBLEMS = ("empty", "no image", "truncated", "too large", "unreadable", "no access")
COPIES = {
    "exact": "the same pixels",
    "near": "nearly the same look (recompressed, resized or slightly changed copies)",
}


@dataclass(frozen=True)
class Evidence:
    """What the checks rest on; rows of ``table`` and ``facts`` are the same images.

    Attributes:
        source: the images.
        facts: columns as in `bench.data.images.decode.Facts`.
        duplicates: among them.
        table: with the splits as they are used.
        splits: what was decided about them, and the splits as they were given.
        shortcut: how well metadata alone predict the label.
        border: how well the border of the images alone does.
        keep_going: whether the user wants to go on without what cannot be decoded.
    """

    source: ImageSet
    facts: pd.DataFrame
    duplicates: Duplicates
    table: pd.DataFrame
    splits: SplitReport
    shortcut: ShortcutRecord
    border: ShortcutRecord
    keep_going: bool

    def names(self, rows: Iterable[Any]) -> tuple[str, ...]:
        """Names of the images in some rows (numbers, or a mask of all)."""
        return tuple(self.table["image"].to_numpy()[pd.Series(rows).to_numpy()].tolist())

    def files(self, clusters: Iterable[Cluster]) -> tuple[str, ...]:
        """Names of the images in some clusters."""
        return tuple(self.table["image"].iloc[[row for cluster in clusters for row in cluster.rows]])

    def if_many(self, count: int) -> Severity:
        """A warning where so many files are a large share of the images, else a note."""
        return "warning" if count > MOST_EXCLUDED * len(self.table) else "note"

    def split(self, row: int) -> str:
        """The split of an image: as given, or as drawn where none was."""
        return str(self.splits.given.iloc[row] or self.table["split"].iloc[row])

    def conflicting(self, cluster: Cluster) -> bool:
        """Whether copies carry different labels."""
        return self.table["label"].iloc[list(cluster.rows)].nunique() > 1

    def crossing(self, cluster: Cluster) -> bool:
        """Whether copies lie in different splits."""
        return len({split for row in cluster.rows if (split := self.split(row))}) > 1


def find(evidence: Evidence) -> list[FindingRecord]:
    """All findings, the most severe first."""
    checks = (
        _too_many, _refused, _shortcut, _border, _patients, _duplicates, _altered, _conflicts, _assumed, _validation,
        _one_patient, _missing_labels, _problems, _constant, _source, _imbalance, _alike, _moved, _ways_of_storing,
        _others, _layout,
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


@cache
def _templates() -> dict[str, tuple[Template, Template]]:
    """Kind -> heading and text, as findings.yaml has them."""
    environment = Environment(undefined=StrictUndefined)
    environment.filters |= {"count": numbers.count, "of": numbers.counted}
    environment.globals |= {"score": numbers.score, "with_interval": numbers.with_interval}
    written = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {
        kind: (environment.from_string(one["heading"]), environment.from_string(one["text"]))
        for kind, one in written.items()
    }


def _finding(
    kind: str, severity: Severity, count: int = 0, files: tuple[str, ...] = (), **values: object
) -> FindingRecord:
    """A finding in the words of findings.yaml; by default it is about as many images as it names files."""
    count = count or len(files)
    heading, text = (template.render(n=count, **values).strip() for template in _templates()[kind])
    return FindingRecord(kind=kind, heading=heading, severity=severity, text=text, count=count, files=files)


def how_read(source: ImageSet) -> Layout:
    """How ``source`` was read: layout, how many splits, folds, classes and known patients, and what was not taken."""
    table = source.table
    counts = [(len(set(table[column]) - {""}), column) for column in ("split", "fold") if column in table]
    told = [numbers.counted(count, noun) for count, noun in counts if count]
    told += [] if source.patients_assumed else [numbers.counted(table["patient_id"].nunique(), "patient")]
    told.append(numbers.counted(len(source.classes), "class", "classes"))
    parts = [f"layout: {source.layout or source.source}"]
    parts.append(", ".join(told).replace(" folds", " folds (--folds given validates over them)"))
    left = [one for one in (*source.excluded, Excluded("other file", source.others)) if one.names]
    files = sum(len(one.names) for one in left if not one.folders)
    if files:
        of_kinds = ", ".join(one.counted for one in left if not one.folders)
        parts.append(f"{numbers.counted(files, 'file')} left out: {of_kinds}")
    folders = [one.counted for one in left if one.folders]
    parts += [f"left out: {', '.join(folders)}"] if folders else []
    left_out = tuple(LeftOut(kind=one.kind, text=one.counted, count=len(one.names), files=one.names) for one in left)
    return Layout(text="; ".join(parts), left_out=left_out)


# Files and images


def _too_many(evidence: Evidence) -> Iterator[FindingRecord]:
    lost, going = excluded_by_class(evidence.table, evidence.facts), evidence.keep_going
    if lost:
        told = ", ".join(f"{name} {n} of {total} ({100 * n / total:.1f} %)" for name, (n, total) in lost.items())
        values: dict[str, Any] = {"limit": f"{100 * MOST_EXCLUDED:.0f}", "told": told, "keep_going": going}
        count = sum(n for n, _ in lost.values())
        yield _finding("too many left out", "warning" if going else "stop", count, **values)


def _problems(evidence: Evidence) -> Iterator[FindingRecord]:
    problems = evidence.facts["problem"]
    others = evidence.names(problems == OTHER)
    if problems.isin(["", OTHER]).all():
        yield _finding("readable", "good", images=len(problems) - len(others))
    if others:
        kinds = sorted(set(evidence.facts["reason"][problems == OTHER].str.rpartition("image, but ")[2]))
        yield _finding("other file", "note", files=others, kinds=", ".join(kinds))
    for kind in PROBLEMS:
        if files := evidence.names(problems == kind):
            example = f"{files[0]}: {evidence.facts['reason'][problems == kind].iloc[0]}"
            yield _finding(kind, "warning", files=files, example=example)


def _constant(evidence: Evidence) -> Iterator[FindingRecord]:
    if files := evidence.names(evidence.facts["constant"].to_numpy(dtype=bool)):
        yield _finding("constant", "warning", files=files)


def _source(evidence: Evidence) -> Iterator[FindingRecord]:
    if evidence.source.notes:
        yield _finding("source", "note", notes=evidence.source.notes)


def _others(evidence: Evidence) -> Iterator[FindingRecord]:
    if files := evidence.source.others:
        endings = ", ".join(sorted({PurePath(name).suffix or "no ending" for name in files}))
        yield _finding("others", evidence.if_many(len(files)), files=files, endings=endings)


def _layout(evidence: Evidence) -> Iterator[FindingRecord]:
    """How the source was read, where it had more than the images."""
    if excluded := evidence.source.excluded:
        loose = sum(len(one.names) for one in excluded if one.kind in ("loose image", "hidden image"))
        lost = any(one.kind == "link that leads nowhere" for one in excluded)
        files = tuple(name for one in excluded for name in one.names)
        severity: Severity = "warning" if lost else evidence.if_many(loose)
        yield _finding("layout", severity, files=files, read=how_read(evidence.source).text)


def _ways_of_storing(evidence: Evidence) -> Iterator[FindingRecord]:
    facts = evidence.facts[evidence.facts["problem"] == ""]
    grey, is_deep = facts["grey"].astype(bool), facts["deep"].astype(bool)
    own, shallow = (facts["window"] == "own").to_numpy(), (grey & ~is_deep).to_numpy()
    values: dict[str, Any] = {
        "windows": _windows(facts[is_deep]),
        "coloured": int((~grey).sum()),
        "shallow": int(shallow.sum()),
    }
    for kind, which in {
        "rotated": facts["rotated"],
        "deep": facts["deep"],
        "transparent": facts["transparent"],
        "palette": facts["mode"].isin(["P", "PA"]) & (facts["format"] != "GIF"),
        "frames": facts["frames"] > 1,
        "mixed colour": grey if 0 < grey.sum() < len(grey) else grey & False,
        "mixed depth": is_deep & (own & shallow.any()),
    }.items():
        if files := evidence.names(facts.index[which.to_numpy(dtype=bool)]):
            yield _finding(kind, "note", files=files, **values)


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


def _patients(evidence: Evidence) -> Iterator[FindingRecord]:
    """Patients in two of the given splits, by patient_id (narrow) and by split_group (wide)."""
    source, splits, table = evidence.source, evidence.splits, evidence.table
    narrow, wide = splits.shared_patients.get("narrow", {}), splits.shared_patients.get("wide", {})
    if not narrow:
        return
    values: dict[str, Any] = {
        "shared": _pairs(narrow),
        "wide": _pairs(wide),
        "rule": source.patient_rule,
        "merged": splits.merged,
    }
    if any(narrow.values()):
        counted = (evidence.splits.given != "").to_numpy() & (evidence.facts["problem"] == "").to_numpy()
        where = evidence.splits.given.where(counted).groupby(table["patient_id"].to_numpy()).transform("nunique")
        files = evidence.names(counted & (where > 1).to_numpy())
        moved = [f"{entry['images']} left {entry['from']}" for entry in splits.moved if "patient" in entry["reason"]]
        yield _finding("patients", "warning", sum(narrow.values()), files, moved=moved, **values)
        return
    nameless = int((table["patient_id"] == table["image"]).sum())
    doubts = [f"of {numbers.counted(nameless, 'image')} nobody knows the patient"] if nameless else []
    doubts += [source.patient_doubt] if source.patient_doubt else []
    severity: Severity = "note" if source.patients_assumed or doubts else "good"
    yield _finding("patients", severity, assumed=source.patients_assumed, doubts=doubts, **values)


def _pairs(shared: Mapping[str, int]) -> str:
    return ", ".join(f"{pair.replace('-', ' and ')} share {n}" for pair, n in shared.items() if n)


def _assumed(evidence: Evidence) -> Iterator[FindingRecord]:
    if evidence.source.patients_assumed:
        yield _finding("assumed", "warning", len(evidence.table), doubt=evidence.source.patient_doubt)


def _duplicates(evidence: Evidence) -> Iterator[FindingRecord]:
    for kind, what in COPIES.items():
        clusters = [cluster for cluster in evidence.duplicates.clusters if cluster.kind == kind]
        crossing = [cluster for cluster in clusters if evidence.crossing(cluster)]
        severity: Severity = "warning" if crossing else "note" if clusters else "good"
        files = evidence.files(crossing or clusters)
        values: dict[str, Any] = {"what": what, "sets": _sets(clusters), "crossing": _sets(crossing)}
        yield _finding(kind, severity, len(clusters), files, **values)


def _altered(evidence: Evidence) -> Iterator[FindingRecord]:
    """Copies by what was done to them; good only where all images were searched for all kinds."""
    found = evidence.duplicates
    clusters = [cluster for cluster in found.clusters if cluster.kind == "altered"]
    crossing = [cluster for cluster in clusters if evidence.crossing(cluster)]
    whole = not (found.unsearched or found.plain or found.alike)
    severity: Severity = "warning" if crossing else "good" if whole and not clusters else "note"
    changes = [change for cluster in clusters for change in cluster.changes if change not in ("", NEARLY)]
    kinds = Counter(re.sub(r" by (?!90|180)\d+ degrees", "", change) for change in changes)
    values: dict[str, Any] = {
        "kinds": "; ".join(f"{numbers.count(n)} {kind}" for kind, n in kinds.most_common()),
        "sets": _sets(clusters),
        "crossing": _sets(crossing),
        "plain": found.plain,
        "unsearched": found.unsearched,
    }
    yield _finding("altered", severity, len(clusters), evidence.files(crossing or clusters), **values)


def _sets(clusters: Sequence[Cluster]) -> str:
    """How many sets of how many images; empty for none."""
    images = numbers.count(sum(len(cluster.rows) for cluster in clusters))
    sets = f"{numbers.counted(len(clusters), 'set')} of {images} images{' in all' * (len(clusters) > 1)}"
    return sets if clusters else ""


def _conflicts(evidence: Evidence) -> Iterator[FindingRecord]:
    clusters = [cluster for cluster in evidence.duplicates.clusters if evidence.conflicting(cluster)]
    if evidence.duplicates.clusters:
        severity: Severity = "warning" if clusters else "good"
        yield _finding("conflicting labels", severity, len(clusters), evidence.files(clusters), sets=_sets(clusters))


def _alike(evidence: Evidence) -> Iterator[FindingRecord]:
    if alike := evidence.duplicates.alike:
        yield _finding("alike", "note", alike)


# Splits and labels


def _refused(evidence: Evidence) -> Iterator[FindingRecord]:
    if reason := evidence.splits.refused:
        yield _finding("splits", "stop", reason=reason)


def _validation(evidence: Evidence) -> Iterator[FindingRecord]:
    """What became of the given validation split, and whether the one that is used is large enough."""
    note, given, merged = evidence.splits.on_validation, (evidence.splits.given == "val").any(), evidence.splits.merged
    if note:
        yield _finding("validation", "warning" if given else "note", note=note, given=given, merged=merged)
    labels = evidence.table.loc[evidence.table["split"] == "val", "label"]
    if labels.nunique() > 1 and too_small(labels) and (merged or not given):
        values: dict[str, Any] = {
            "images": len(labels),
            "auc": REFERENCE_AUC,
            "half_width": f"{half_width(labels):.2f}",
        }
        yield _finding("small validation", "warning", **values)


def _one_patient(evidence: Evidence) -> Iterator[FindingRecord]:
    """Splits that are scored, and in which all images are known to show one patient."""
    table = evidence.table
    told = []
    for split in ("val", "test") if not evidence.source.patients_assumed else ():
        patients = table.loc[table["split"] == split, "patient_id"]
        if patients.nunique() == 1:
            told.append(f"{split} ({numbers.counted(len(patients), 'image')})")
    if told:
        yield _finding("one patient", "warning", len(told), told=told)


def _moved(evidence: Evidence) -> Iterator[FindingRecord]:
    """Each decision by which images left a split, with its files."""
    for entry in evidence.splits.moved:
        files = tuple(entry["files"])
        yield _finding("moved", "note", entry["images"], files, left=entry["from"], reason=entry["reason"])


def _missing_labels(evidence: Evidence) -> Iterator[FindingRecord]:
    found = []
    for split in SPLITS:
        labels = set(evidence.table.loc[evidence.splits.given == split, "label"])
        missing = [name for name in evidence.source.classes if name not in labels]
        if labels and missing:
            found.append(f"{split} holds no {', no '.join(missing)}")
    if found:
        yield _finding("missing labels", "warning", len(found), found=found)


def _imbalance(evidence: Evidence) -> Iterator[FindingRecord]:
    ratios = {}
    for split in SPLITS:
        counts = evidence.table.loc[evidence.table["split"] == split, "label"].value_counts()
        if len(counts) > 1:
            ratios[split] = counts.iloc[0] / counts.iloc[-1]
    most = max(ratios.values(), default=1.0)
    if most >= UNEVEN:
        told = ", ".join(f"{split} {ratio:.1f} to 1" for split, ratio in ratios.items())
        yield _finding("imbalance", "warning" if most > VERY_UNEVEN else "note", told=told)


def _shortcut(evidence: Evidence) -> Iterator[FindingRecord]:
    yield _baseline("shortcut", evidence.shortcut)


def _border(evidence: Evidence) -> Iterator[FindingRecord]:
    yield _baseline("border", evidence.border)


def _baseline(kind: str, found: ShortcutRecord) -> FindingRecord:
    limit = found.limit or 0.0
    telling = [feature for feature in found.features if (feature.auc or 0) > limit] or found.features[:1]
    severity: Severity = "warning" if found.warns else "note" if found.auc is None or found.auc > limit else "good"
    values = found.model_dump(exclude={"images", "patients", "features"}) | {"telling": telling}
    return _finding(kind, severity, len(telling) if found.warns else 0, **values)
