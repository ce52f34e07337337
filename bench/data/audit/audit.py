"""The audit: what there is to know about a set before anything is trained on it, and the splits that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bench.data.audit.copy_pictures import CopyPictures, copy_pictures
from bench.data.audit.duplicates import Counting, Duplicates, find_duplicates, silently
from bench.data.audit.findings import Evidence, excluded_by_class, find, how_read
from bench.data.audit.shortcut import border_shortcut, shortcut
from bench.data.images.decode import OTHER
from bench.data.images.store import Stored
from bench.data.imageset import ImageSet
from bench.data.patients import naming
from bench.data.splits import (
    Shares,
    SplitReport,
    assign_splits,
    changes_since,
    describe,
    groups,
    report_given,
    same_images,
    subset,
    take_over,
    units,
)
from bench.errors import ConfigError
from bench.invocation import typed
from bench.numbers import joined
from bench.run.documents import (
    AuditedSplits,
    AuditRecord,
    ClassDistribution,
    Copy,
    DuplicateSet,
    Excluded,
    PatientRule,
    SharedPatients,
)
from bench.run.folder import from_cells
from bench.settings import RunSettings

FORMAT = 2
QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Audited:
    """A set with its splits, and what was found out about it.

    Attributes:
        table: as in `bench.data.imageset.ImageSet`, with ``split`` (empty for an image that takes no part),
            ``reason``, ``group`` and ``unit``.
        splits: what was decided about the splits.
        audit: the content of audit.json.
        copies: pictures of some of the copies found.
    """

    table: pd.DataFrame
    splits: SplitReport
    audit: AuditRecord
    copies: CopyPictures


def draw_splits(
    source: ImageSet,
    settings: RunSettings,
    excluded: Mapping[int, str] | None = None,
    duplicates: Duplicates | None = None,
    taken: Path | None = None,
    content: "pd.Series[str] | None" = None,
) -> tuple[pd.DataFrame, SplitReport]:
    """The splits of ``source`` as ``settings`` want them; without facts, others of the same sizes.

    Args:
        source: the images.
        settings: of the run.
        excluded: row number -> why an image takes no part.
        duplicates: among the images.
        taken: splits.csv of the run itself, when it is resumed.
        content: hash of each image, by which splits are drawn.

    Raises:
        ConfigError: if splits cannot be drawn or taken over.
    """
    table, file = source.table if content is None else source.table.assign(content=content), taken or settings.splits
    reasons = dict(excluded or {})
    if taken is not None and not same_images(taken, table):
        changes = changes_since(from_cells(pd.read_csv(taken, dtype=str, keep_default_na=False)), table)
        raise ConfigError(
            f"The images at {source.path} are not those of the run: {joined(changes)}; start a new run, or name the "
            "place of its images by --data."
        )
    if file is not None:
        table, silent = take_over(file, table)
        reasons = {**silent, **reasons}
    with naming(source.patient_rule):
        table, report = assign_splits(
            table,
            settings.split_seed,
            excluded=reasons,
            clusters=duplicates.clusters if duplicates else (),
            shares=Shares(settings.test_share, settings.val_share, fixed=file is not None),
        )
    if settings.max_images and taken is None:
        table = subset(table, settings.max_images, settings.split_seed)
    return table, report


def audit(
    source: ImageSet,
    stored: Stored,
    settings: RunSettings,
    taken: Path | None = None,
    strict: bool = True,
    counting: Counting = silently,
) -> Audited:
    """Audit a decoded set, and split it.

    Args:
        source: the images.
        stored: their facts.
        settings: of the run.
        taken: splits.csv of the run itself, when it is resumed.
        strict: whether to refuse a set for which no splits can be drawn; otherwise the audit goes on with the given
            ones, and ``splits.refused`` says why.
        counting: shows how far the search for copies is.

    Raises:
        ConfigError: if no image could be decoded; if splits cannot be drawn and ``strict``.
    """
    facts = stored.facts
    _require_use(source, facts, settings)
    excluded = _undecoded(facts)
    duplicates = find_duplicates(facts, stored.folder, stored.thumbnails(), counting)
    try:
        table, report = draw_splits(source, settings, excluded, duplicates, taken, facts["content"])
    except ConfigError as error:
        if strict:
            raise
        table, report = undrawn(source, settings, excluded, duplicates)
        report.refused = str(error)
    return _audited(source, stored, settings, duplicates, table, report)


def audit_unsplit(source: ImageSet, stored: Stored, settings: RunSettings, counting: Counting = silently) -> Audited:
    """Audit a decoded set that is scored as a whole: no splits are drawn, and given ones count for nothing.

    Args:
        source, stored, counting: as of `audit`.
        settings: window, what becomes of a set with many unreadable files, and the seed of the baselines' folds.

    Raises:
        ConfigError: if no image could be decoded.
    """
    source = replace(source, table=source.table.assign(split="", fold=""))
    facts, settings = stored.facts, settings.model_copy(update={"splits": None})
    _require_use(source, facts, settings)
    duplicates = find_duplicates(facts, stored.folder, stored.thumbnails(), counting)
    table, report = undrawn(source, settings, _undecoded(facts), duplicates)
    return _audited(source, stored, settings, duplicates, table, report)


def _undecoded(facts: pd.DataFrame) -> dict[int, str]:
    """Row number -> why an image could not be decoded."""
    problems = facts.index[facts["problem"] != ""]
    return {int(row): f"{facts['problem'].iloc[row]}: {facts['reason'].iloc[row]}" for row in problems}


def _audited(
    source: ImageSet,
    stored: Stored,
    settings: RunSettings,
    duplicates: Duplicates,
    table: pd.DataFrame,
    report: SplitReport,
) -> Audited:
    facts = stored.facts
    working = facts.index[(facts["problem"] == "") & (table["split"] != "test")]
    known = table["label"].loc[working].tolist(), table["group"].loc[working].tolist(), settings.split_seed
    evidence = Evidence(
        source=source,
        facts=facts,
        duplicates=duplicates,
        table=table,
        splits=report,
        shortcut=shortcut(facts.loc[working], *known),
        border=border_shortcut(stored.thumbnails(), working.tolist(), *known),
        keep_going=settings.keep_going,
    )
    content = _content(evidence)
    return Audited(table, report, content, copy_pictures(content.duplicates, duplicates, stored.thumbnails()))


def _require_use(source: ImageSet, facts: pd.DataFrame, settings: RunSettings) -> None:
    """Refuse a set of which no image can be decoded, and a window that no image goes through."""
    if (facts["problem"] != "").all():
        raise ConfigError(
            f"None of the {len(facts)} images in {source.path} can be decoded ({facts['reason'].iloc[0]})."
        )
    if settings.window and not (facts["window"] == "asked").any():
        raise ConfigError(
            f"--window {','.join(f'{part:g}' for part in settings.window)} applies to none of the images in "
            f"{source.path}: it is for DICOM in grey and for grey of more than 8 bits; leave it out."
        )


def undrawn(
    source: ImageSet, settings: RunSettings, excluded: Mapping[int, str], duplicates: Duplicates
) -> tuple[pd.DataFrame, SplitReport]:
    """The splits as they are given, where none can be drawn."""
    table = source.table
    if settings.splits is not None:
        table, _ = take_over(settings.splits, table)
    reason = pd.Series(dict(excluded), dtype=str).reindex(table.index, fill_value="")
    joined = {"group": groups(table, duplicates.clusters), "unit": units(table, duplicates.clusters)}
    table = table.assign(reason=reason, **joined)
    return table.assign(split=table["split"].where(reason == "", "")), report_given(table.loc[reason == ""], table)


def require_enough(source: ImageSet, stored: Stored, keep_going: bool) -> None:
    """Refuse, by a ConfigError, to go on where too much of a class cannot be decoded, unless ``keep_going``."""
    lost = excluded_by_class(source.table, stored.facts)
    if keep_going or not lost:
        return
    name, (count, total) = max(lost.items(), key=lambda item: item[1][0] / item[1][1])
    rows = (~stored.facts["problem"].isin(["", OTHER])).to_numpy() & (source.table["label"] == name).to_numpy()
    some = ", ".join(source.table["image"][rows].head(5))
    raise ConfigError(
        f"{count} of {total} images of class {name!r} ({100 * count / total:.1f} %) cannot be decoded, such as {some}; "
        f"at most 1 % is accepted, unless you go on without them by --keep-going (`{typed('audit')}` lists all)."
    )


def _content(evidence: Evidence) -> AuditRecord:
    """What audit.json holds."""
    source, table, facts = evidence.source, evidence.table, evidence.facts
    images = (facts["problem"] != OTHER).to_numpy()
    lost = table[["image", "label"]].join(facts[["problem", "reason"]])[~facts["problem"].isin(["", OTHER])]
    used = table[table["split"] != ""]
    given = table.assign(split=evidence.splits.given)[evidence.splits.given != ""]
    return AuditRecord(
        format=FORMAT,
        source=source.source,
        path=source.path,
        classes=source.classes,
        images=int(images.sum()),
        layout=how_read(source),
        findings=tuple(find(evidence)),
        left_out=tuple(
            Excluded(file=file, label=label, kind=kind, reason=reason)
            for _, file, label, kind, reason in lost[["image", "label", "problem", "reason"]].itertuples()
        ),
        patients=PatientRule(
            rule=source.patient_rule,
            assumed=source.patients_assumed,
            wide=int(table["split_group"][images].nunique()),
            narrow=int(table["patient_id"][images].nunique()),
        ),
        shared_patients=SharedPatients(**evidence.splits.shared_patients),
        duplicates=tuple(
            DuplicateSet(
                kind=cluster.kind,
                distance=cluster.distance,
                labels_conflict=evidence.conflicting(cluster),
                across_splits=evidence.crossing(cluster),
                images=tuple(
                    Copy(file=name, label=label, split=evidence.split(row), change=change)
                    for (row, name, label), change in zip(
                        table.iloc[list(cluster.rows)][["image", "label"]].itertuples(),
                        cluster.changes or [""] * len(cluster.rows),
                        strict=True,
                    )
                ),
            )
            for cluster in evidence.duplicates.clusters
        ),
        moved=tuple(map(dict, evidence.splits.moved)),
        splits=AuditedSplits(given=describe(given), used=describe(used)),
        by_class={name: _distribution(facts[(table["label"] == name).to_numpy()]) for name in source.classes},
        shortcut=evidence.shortcut,
        border=evidence.border,
        notes=(*source.notes, *evidence.splits.notes),
    )


def _distribution(facts: pd.DataFrame) -> ClassDistribution:
    """Five numbers of each measure, and how often each mode and format occurs, of one class."""
    decoded = facts[facts["problem"] == ""]
    about: dict[str, tuple[float, ...]] = {}
    if len(decoded):
        measures = {
            "width": decoded["width"],
            "height": decoded["height"],
            "aspect": decoded["width"] / decoded["height"],
            "bytes": decoded["bytes"],
            "bytes_per_pixel": decoded["bytes"] / (decoded["width"] * decoded["height"]),
        }
        about = {
            name: tuple(round(float(v), 4) for v in values.quantile(QUARTILES)) for name, values in measures.items()
        }
    modes, formats = (
        {str(key): int(count) for key, count in decoded[name].value_counts().items()} for name in ("mode", "format")
    )
    return ClassDistribution(images=len(decoded), **about, modes=modes, formats=formats)
