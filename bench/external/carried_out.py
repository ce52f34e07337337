"""One external test from the images to external.json: read and audited, copies taken out, scored with all frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from bench import __version__, numbers
from bench.data.audit.audit import audit_unsplit, require_enough
from bench.data.audit.findings import how_read
from bench.data.images.decode import FACTS, Facts
from bench.data.images.store import Stored, store_images
from bench.data.imageset import ImageSet
from bench.data.patients import PREFIX
from bench.data.splits import units_of
from bench.device import without_chatter
from bench.errors import ConfigError
from bench.evaluation.calibration import BINS
from bench.evaluation.curves import curves
from bench.evaluation.grouping import grouped, image_groups
from bench.evaluation.operating_points import operating_points
from bench.evaluation.predictions import predictions_table
from bench.evaluation.recognise import TestImages
from bench.evaluation.subgroups import subgroups
from bench.external.classes import LEFT_OUT, ClassMap
from bench.external.copies import KnownImages
from bench.external.opened import open_images
from bench.external.place import ALONE, RECORD, free_folder, whole_or_nothing
from bench.external.samples import Sample, differences, internal_sample
from bench.report.external.page import render_external
from bench.reuse.command import banner
from bench.reuse.model import ReusableModel
from bench.reuse.unlike import unlike as unlike_in
from bench.run import tables
from bench.run.console import Screen
from bench.run.documents import (
    AuditRecord,
    BootstrapRecord,
    CalibrationRecord,
    ExternalData,
    ExternalExclusion,
    ExternalModel,
    ExternalRecord,
    Refusal,
)
from bench.run.folder import RunDir, file_sha256, write_json
from bench.scratch import remove_left_in_cache
from bench.settings import RunSettings, is_path
from bench.stats.bootstrap import Bootstrap
from bench.stats.conformal import COVERAGE
from bench.stats.enough import FEWEST_PATIENTS
from bench.stats.predictions import Predictions

FORMAT = 1
BATCH = 32
NAMED = 10
"""Files that external.json names of each reason for which images take no part."""
UNMAPPED = "class left out by --map"
UNREADABLE = "not readable"


@dataclass(frozen=True)
class Wanted:
    """One external test as it was asked for.

    Attributes:
        model: to be tested.
        settings: how the images are read; also draws and cache.
        source: the images, and ``classes`` what theirs are called in the model.
        name: of the test.
        command: as it was typed.
    """

    model: ReusableModel
    settings: RunSettings
    source: ImageSet
    classes: ClassMap
    name: str
    command: str

    @property
    def about_model(self) -> list[str]:
        """What must be known of the model, in lines."""
        return list(banner(self.model))

    @property
    def bootstrap(self) -> Bootstrap:
        """Of the internal test, as its run drew it."""
        seed = self.model.run.read().settings.seed if self.model.run is not None else self.settings.seed
        return Bootstrap(self.settings.bootstrap, seed=seed)


@dataclass(frozen=True)
class _Images:
    """The external images, decoded and audited.

    Attributes:
        stored: pixels and facts.
        audit: what was found.
        table: one row per image: ``image``, ``given`` (its class in the data), ``label`` (in the model), ``patient``
            and ``group:NAME``.
        excluded: row number -> reason and detail.
    """

    stored: Stored
    audit: AuditRecord
    table: pd.DataFrame
    excluded: Mapping[int, tuple[str, str]]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Row numbers of the images that take part."""
        return np.array([row for row in range(len(self.table)) if row not in self.excluded], dtype=np.int64)

    def part(self) -> pd.DataFrame:
        """Their rows of the table."""
        return self.table.iloc[self.rows].reset_index(drop=True)

    def facts(self) -> pd.DataFrame:
        """Their facts."""
        return self.stored.facts.iloc[self.rows].reset_index(drop=True)

    def each_fact(self) -> list[Facts]:
        """The same one by one."""
        rows: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()} for row in self.facts()[list(FACTS)].to_dict("records")
        ]
        return [Facts(**row) for row in rows]


@dataclass(frozen=True)
class _Seen:
    """What the network says of the images that take part, and in what each is unlike the training images."""

    scores: npt.NDArray[np.float64]
    unlike: Sequence[str] | None


def require(labels: "pd.Series[str]", patients: "pd.Series[str]", why: str) -> None:
    """Refuse, by a ConfigError, images of which fewer than two classes have patients enough for an interval.

    Args:
        labels: what each image is in the model, shape (n_images,).
        patients: patient of each image, shape (n_images,).
        why: there are no more images, such as " once classes are left out"; empty for all that there are.
    """
    counts = {str(name): int(count) for name, count in patients.groupby(labels, sort=False).nunique().items()}
    if len(counts) < 2:
        held = f"images of {next(iter(counts))!r} alone" if counts else f"no image{' any more' if why else ''}"
        raise ConfigError(f"The external data hold {held}{why}; an external test needs two classes of the model.")
    if sum(count >= FEWEST_PATIENTS for count in counts.values()) < 2:
        held = numbers.joined([f"{numbers.counted(count, 'patient')} of {name!r}" for name, count in counts.items()])
        raise ConfigError(
            f"The external data hold images of {held}{why}; an external test needs {FEWEST_PATIENTS} of each of two "
            "classes, since what looks at a class of fewer has no interval."
        )


def external_test(wanted: Wanted, output: Path, screen: Screen) -> tuple[Path, ExternalRecord]:
    """Carry out a test, and write all of its files.

    Args:
        wanted: the test.
        output: folder of run folders.
        screen: shows what goes on.

    Returns:
        the folder of the test, and what external.json says.

    Raises:
        ConfigError: if the images or the model cannot be used; nothing is predicted then.
        OSError: if no ledger can be written; nothing is predicted then.
    """
    known = KnownImages.of_run(wanted.model.run)
    images = _read(wanted, known, screen)
    part = images.part()
    why = ""
    if images.excluded:
        reasons = numbers.joined([f"{one.images:,} as {one.reason}" for one in _exclusions(images)])
        why = f" once {numbers.counted(len(images.excluded), 'image')} are excluded ({reasons})"
    require(part["label"], part["patient"], why)
    sha256 = wanted.model.card.sha256 or file_sha256(wanted.model.path)
    trained = wanted.model.card.of or sha256
    folder = free_folder(wanted.model, output, wanted.name, trained, images.stored.fingerprint)
    with whole_or_nothing(folder) as draft:
        with without_chatter():
            _ = wanted.model.forward
        ledger = open_images(wanted.model, wanted.settings, trained, images.facts(), images.stored.fingerprint)
        watch = _watched(wanted, images)
        seen = _predict(wanted.model, images, screen)
        screen.line("Intervals are drawn …")
        record = _scored(wanted, images, known, seen, draft)
        about = record.model.model_copy(update={"sha256": sha256, "trained": trained})
        name = folder.name if wanted.model.run is not None else folder.name.removeprefix(ALONE)
        record = record.model_copy(update={"name": name, "model": about, "ledger": ledger})
        write_json(draft / RECORD, record)
        render_external(draft)
    if watch.sentence:
        screen.line(f"note: {watch.sentence}")
    return folder, record


def _read(wanted: Wanted, known: KnownImages, screen: Screen) -> _Images:
    """Decode and audit the images, and find those that take no part."""
    source, settings, taken = wanted.source, wanted.settings, wanted.model.input
    screen.layout(how_read(source))
    remove_left_in_cache(settings.cache.absolute())
    with screen.counting("Images decoded", len(source.table)) as advance:
        stored = store_images(
            source,
            [taken.height],
            settings.cache.absolute(),
            advance,
            resize=taken.resize,
            window=wanted.model.window,
            verify=settings.verify,
        )
    require_enough(source, stored, settings.keep_going)
    audited = audit_unsplit(source, stored, settings, screen.counting)
    screen.findings(audited.audit.findings)
    theirs = source.table["label"]
    table = pd.DataFrame(
        {
            "image": source.table["image"],
            "given": theirs,
            "label": theirs.map(wanted.classes.ours),
            "patient": units_of(audited.table),
        }
    )
    groups = [name for name in source.table if str(name).startswith(PREFIX)]
    table = table.join(source.table[groups])
    return _Images(stored, audited.audit, table, _excluded(table, stored, known))


def _excluded(table: pd.DataFrame, stored: Stored, known: KnownImages) -> dict[int, tuple[str, str]]:
    """Row number -> why an image takes no part; what cannot be decoded first, then classes, then copies."""
    facts, found = stored.facts, dict[int, tuple[str, str]]()
    for row, (problem, reason) in enumerate(zip(facts["problem"], facts["reason"], strict=True)):
        if problem:
            found[row] = UNREADABLE, f"{problem}: {reason}"
    for row, label in enumerate(table["label"]):
        if label == LEFT_OUT and row not in found:
            found[row] = UNMAPPED, ""
    left = [row for row in range(len(table)) if row not in found]
    return found | (known.copies(facts, stored.thumbnails(), left) if left and known.images else {})


def _watched(wanted: Wanted, images: _Images) -> TestImages:
    """Note, as `predict` does, what is a test image of any run on record, before anything is said of it."""
    model, data = wanted.model, Path(wanted.settings.data)
    files = [data / "image" if data.is_dir() else data] if is_path(wanted.settings.data) else []
    if model.run is None:
        watch = TestImages.of_file(model.path, model.card, files)
    else:
        watch = TestImages.of_run(model.run, files, file_sha256(model.run.best_model_card))
    known = images.each_fact()
    for start in range(0, len(known), 1000):
        watch.note(known[start : start + 1000])
    return watch


def _predict(model: ReusableModel, images: _Images, screen: Screen) -> _Seen:
    """The network's own probabilities, and in what images are unlike those of training, batch by batch."""
    rows, stored, training = images.rows, images.stored.sizes[model.input.height].open(), model.card.training
    scores, unlike = [], []
    facts = images.each_fact()
    with screen.counting("Images classified", len(rows)) as advance, without_chatter():
        for start in range(0, len(rows), BATCH):
            pixels = in_channels(np.asarray(stored[rows[start : start + BATCH]]), model.input.channels)
            outputs = model.outputs(pixels, BATCH)
            scores.append(outputs[0])
            unlike += unlike_in(training, facts[start : start + BATCH], outputs)
            advance(len(pixels))
    return _Seen(np.concatenate(scores).astype(np.float64), unlike if training else None)


def in_channels(pixels: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Stored images of shape (n, side, side, 1 or 3) with as many channels as the network takes."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return np.stack([np.asarray(Image.fromarray(one).convert("L"))[..., None] for one in pixels])


def _scored(wanted: Wanted, images: _Images, known: KnownImages, seen: _Seen, folder: Path) -> ExternalRecord:
    """Write every table of the test to ``folder``, and return what external.json says."""
    model, part, facts = wanted.model, images.part(), images.facts()
    index = {name: number for number, name in enumerate(model.classes)}
    labels = part["label"].map(index).to_numpy(dtype=np.int64)
    inside = wanted.bootstrap
    outside = replace(inside, seed=inside.seed + 1)
    own = Predictions(labels, seen.scores, part["patient"].to_numpy(), model.classes, model.card.ordinal)
    external, internal = Sample(model, own, outside), internal_sample(model, inside)
    other = internal if isinstance(internal, Sample) else None
    groups = _groups(part, facts)
    _write_predictions(external, part, facts, seen, groups, folder)
    _write_excluded(images, folder)
    points, prevalences = operating_points(own, model.card.frozen, outside)
    tables.OPERATING_POINTS.write(folder, points)
    tables.PREVALENCES.write(folder, prevalences)
    threshold = model.card.frozen[0].value if len(model.classes) == 2 and model.card.frozen else None
    tables.SUBGROUPS.write(folder, subgroups(own, groups, threshold, outside))
    write_json(RunDir(folder).audit, images.audit)
    sides = {"external": external} | ({"internal": other} if other else {})
    splits = {name: side.calibration() for name, side in sides.items()}
    write_json(RunDir(folder).calibration, CalibrationRecord(calibration=model.card.map, bins=BINS, splits=splits))
    drawn = [curves({name: side.own}, side.bootstrap) for name, side in sides.items()]
    tables.CURVES.write(folder, pd.concat(drawn, ignore_index=True))
    unlike = None if seen.unlike is None else np.array([bool(one) for one in seen.unlike])
    return ExternalRecord(
        format=FORMAT,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        suite_version=__version__,
        command=wanted.command,
        model=_about_model(model, known),
        data=_about_data(wanted, images, known),
        bootstrap=BootstrapRecord(draws=outside.draws, level=outside.level, unit="patient"),
        external=external.scores(unlike),
        internal=other.scores() if other else None,
        without="" if isinstance(internal, Sample) else internal,
        differences=differences(external, other, model.card.frozen),
        excluded=tuple(_exclusions(images)),
        refusals=tuple(_refusals(own)),
    )


def _groups(part: pd.DataFrame, facts: pd.DataFrame) -> dict[str, list[str]]:
    names = [str(name) for name in part if str(name).startswith(PREFIX)]
    given = {name.removeprefix(PREFIX): part[name].astype(str).tolist() for name in names}
    return given | image_groups(facts)


def _write_predictions(
    external: Sample,
    part: pd.DataFrame,
    facts: pd.DataFrame,
    seen: _Seen,
    groups: Mapping[str, Sequence[str]],
    folder: Path,
) -> None:
    model, classes = external.model, external.own.classes
    table = predictions_table(part["image"], external.own, model.card.map)
    if model.card.map is None:
        after = external.calibrated.scores
        table = table.assign(**{f"calibrated_{name}": after[:, column] for column, name in enumerate(classes)})
    sets = model.card.conformal.sets(external.calibrated.scores, COVERAGE) if model.card.conformal else None
    held = (
        [[name for name, inside in zip(classes, row, strict=True) if inside] for row in sets]
        if sets is not None
        else []
    )
    about: dict[str, Any] = {
        "given": part["given"].to_numpy(),
        "pixels": facts["pixels"].astype(str).to_numpy(),
        "called": [classes[place] for place in external.called],
        "prediction_set": [" | ".join(one) or "none" for one in held] or "",
        "unlike": seen.unlike if seen.unlike is not None else "",
    }
    of_groups = {f"{PREFIX}{name}": grouped(values) for name, values in groups.items()}
    tables.PREDICTIONS_EXTERNAL.write(folder, table.assign(**about, **of_groups))


def _write_excluded(images: _Images, folder: Path) -> None:
    rows = [
        {
            "image": images.table["image"].iloc[row],
            "given": images.table["given"].iloc[row],
            "reason": why,
            "detail": detail,
        }
        for row, (why, detail) in sorted(images.excluded.items())
    ]
    tables.EXTERNAL_EXCLUDED.write(folder, rows)


def _exclusions(images: _Images) -> list[ExternalExclusion]:
    found: dict[str, list[str]] = {}
    for row, (why, _) in sorted(images.excluded.items()):
        found.setdefault(why, []).append(str(images.table["image"].iloc[row]))
    return [
        ExternalExclusion(reason=why, images=len(names), files=tuple(names[:NAMED])) for why, names in found.items()
    ]


def _about_model(model: ReusableModel, known: KnownImages) -> ExternalModel:
    card = model.card
    return ExternalModel(
        name=model.name,
        run=card.run or (model.run.name if model.run is not None else ""),
        path=str(model.path),
        backbone=card.backbone,
        suite_version=card.suite_version,
        created=card.created,
        classes=card.classes,
        thresholds=card.frozen,
        calibration=card.map,
        coverage=COVERAGE if card.conformal else None,
        known_images=None if known.unchecked else known.images,
        unchecked=known.unchecked,
        notes=tuple(banner(model)),
    )


def _about_data(wanted: Wanted, images: _Images, known: KnownImages) -> ExternalData:
    source, part = wanted.source, images.part()
    named = set(source.table["patient_id"].iloc[images.rows])
    checked = not (known.unchecked or source.patients_assumed)
    return ExternalData(
        source=source.source,
        path=source.path,
        fingerprint=images.stored.fingerprint,
        images=len(images.table),
        found={str(name): int(count) for name, count in part["given"].value_counts(sort=False).items()},
        classes=dict(wanted.classes.ours),
        patient_rule=source.patient_rule,
        patients_assumed=source.patients_assumed,
        known_patients=len(named & known.patients) if checked else None,
    )


def _refusals(own: Predictions) -> list[Refusal]:
    """What cannot be computed for want of a class or of patients."""
    if reason := own.missing_classes:
        return [Refusal(what="ROC AUC and what else compares classes", reason=reason.replace("the split", "the data"))]
    if few := own.few_of_a_class:
        return [Refusal(what="intervals of what looks at each class by itself, such as ROC AUC", reason=few)]
    return []
