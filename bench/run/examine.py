"""The data stage: decode what is not stored yet, audit the images, split them, and put the test split behind its wall.

No worker is needed for this, and nothing is written to the run folder before the audit is through.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.data.audit.audit import Audited, audit, require_enough
from bench.data.images.store import Stored, StoredImages, is_stored, store_images
from bench.data.imageset import ImageSet
from bench.data.patients import naming
from bench.data.splits import OuterFold, changes_since, folds, labels_of, outer_folds, require_inner_folds, rows_of
from bench.errors import ConfigError
from bench.evaluation.ledger import Ledgers
from bench.evaluation.test_access import SealedTest
from bench.models.backbones import Backbone
from bench.models.weights import Weights
from bench.numbers import joined
from bench.run.console import Screen
from bench.run.ledgers import folders
from bench.run.record import DataRecord, RunRecord
from bench.run.request import Request, asked_window
from bench.run.tables import SPLITS
from bench.scratch import remove_left_in_cache
from bench.search.parameters import GIVEN, network_name
from bench.settings import RunSettings
from bench.train.task import Task

LONG = 3.0
"""Seconds after which it is worth while to begin other things beside the decoding."""


@dataclass(frozen=True)
class Examined:
    """The images of a run, decoded, audited and split.

    Attributes:
        audited: what the audit found, and all splits.
        facts: one row per image, columns as in `bench.data.images.decode.Facts`.
        table: one row per image with its split, as all but the evaluation see it: test images without labels.
        images: backbone name -> the stored set at that backbone's size, test images sealed.
        test: the test split, out of reach until everything is decided.
        seconds: that this took.
        outer: the folds of the nested loop; none without --outer.
    """

    audited: Audited
    facts: pd.DataFrame
    table: pd.DataFrame
    images: Mapping[str, StoredImages]
    test: SealedTest
    seconds: float
    outer: tuple[OuterFold, ...] = ()

    def record(self, source: ImageSet) -> DataRecord:
        """What run.json says of the images."""
        stored, audit = next(iter(self.images.values())), self.audited.audit
        return DataRecord(
            source=source.source,
            path=source.path,
            fingerprint=stored.fingerprint,
            synthetic=source.synthetic,
            classes=tuple(source.classes),
            channels=stored.channels,
            splits=audit.splits.used,
            notes=audit.notes,
        )


def examine(
    request: Request, screen: Screen, begun: RunRecord | None, meanwhile: Callable[[], object] = lambda: None
) -> Examined:
    """Decode, audit and split the images of a run; ``begun`` is its record if it is resumed.

    ``meanwhile`` is called again and again once decoding has taken `LONG` seconds.

    Raises:
        ConfigError: if the images cannot be used, or are not those that the run began with.
    """
    settings, started = request.settings, time.perf_counter()
    stored = decode_all(request.source, sorted(set(request.sizes.values())), settings, screen, meanwhile)
    if begun is not None and begun.data is not None and begun.data.fingerprint != stored.fingerprint:
        raise ConfigError(
            f"The images at {request.source.path} are not those of run {request.run.name!r}: "
            f"{_changes(request, stored)}; start a new run, or name the place of its images by --data."
        )
    require_enough(request.source, stored, settings.keep_going)
    audited = audit(request.source, stored, settings, request.taken, counting=screen.counting)
    images = {name: stored.sizes[size] for name, size in request.sizes.items()}
    test = SealedTest(audited.table, stored.facts, images, request.run, Ledgers(folders(settings)))
    table = test.sealed_table()
    with naming(request.source.patient_rule):
        if settings.folds:
            folds(table, settings.folds, settings.split_seed)
        outer = tuple(outer_folds(table, *settings.outer_shape, settings.split_seed))
        require_inner_folds(table, outer, settings.folds, settings.split_seed)
    return Examined(audited, stored.facts, table, test.sealed_images(), test, time.perf_counter() - started, outer)


def _changes(request: Request, stored: Stored) -> str:
    """What is not as in the splits of a run that is resumed; the first images are named."""
    found: list[str] = []
    with suppress(OSError, ValueError):
        found = changes_since(SPLITS.read(request.run.path), request.source.table, stored.facts)
    return joined(found) or "they have changed, are others, or are decoded otherwise by this version"


def decode_all(
    source: ImageSet,
    sizes: Sequence[int],
    settings: RunSettings,
    screen: Screen,
    meanwhile: Callable[[], object] = lambda: None,
) -> Stored:
    """The stored set, decoded with a progress bar if it is not stored yet; ``meanwhile`` as in `examine`.

    First what killed processes have left in the cache goes.
    """
    cache = settings.cache.absolute()
    remove_left_in_cache(cache)
    window = asked_window(settings)
    if not settings.verify and is_stored(source, sizes, settings.resize, cache, window):
        return store_images(source, sizes, cache, resize=settings.resize, window=window)
    title = "Images compared" if settings.verify else "Images decoded"
    with screen.counting(title, len(source.table)) as advance:
        how: dict[str, Any] = {"resize": settings.resize, "window": window, "verify": settings.verify}
        started = time.perf_counter()

        def advanced(count: int) -> None:
            advance(count)
            if time.perf_counter() - started > LONG:
                meanwhile()

        stored = store_images(source, sizes, cache, advanced, **how)
    if stored.changed:
        screen.line(
            f"  note: {stored.changed} files had changed although size and time had not; all were decoded again."
        )
    if stored.damaged:
        screen.line(
            f"  note: damaged in {stored.folder}: {', '.join(stored.damaged)}; the images were decoded again. The disk "
            "may be failing, or have lost power."
        )
    return stored


def networks(request: Request, weights: Weights) -> dict[str, Backbone]:
    """Network name -> its backbone, fed as its weights want; that of each backbone, and all that trials can choose."""
    return {
        network_name(row.name, start): weights.fed(row, network_name(row.name, start))
        for row in request.backbones
        for start in dict.fromkeys([GIVEN, *request.space.initialisations[row.name]])
    }


def make_task(request: Request, table: pd.DataFrame, images: Mapping[str, StoredImages], weights: Weights) -> Task:
    """What training needs to know; the test split's rows are not in it."""
    settings, backbones = request.settings, networks(request, weights)
    rows = {split: rows_of(table, split) for split in ("train", "val")}
    return Task(
        images={name: images[row.name] for name, row in backbones.items()},
        rows=rows,
        labels={split: labels_of(table, chosen, request.source.classes) for split, chosen in rows.items()},
        n_classes=len(request.source.classes),
        backbones=backbones,
        weights=weights,
        policies=request.space.policies,
        metric=settings.metric,
        epochs=request.epochs,
        patience=request.patience,
        views=settings.views,
        seed=settings.seed,
        cache=settings.cache.absolute(),
        cache_bytes=settings.cache_size,
        depths=request.space.depths,
        class_weights=settings.class_weights,
        ordinal=settings.ordinal is not None,
    )
