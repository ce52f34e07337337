"""What all methods of a comparison share: images, splits, weights and space, prepared as a run's pipeline does it."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench.compare.family import end_with_parent
from bench.compare.methods.experiment import WholeWay
from bench.data.sealing import sealed_rows
from bench.data.splits import labels_of
from bench.device import quiet
from bench.errors import ConfigError
from bench.models.weights import Weights, resolve_weights
from bench.run.console import Screen
from bench.run.examine import examine, make_task
from bench.run.request import Request
from bench.search.space import Space
from bench.train.task import Task
from bench.trial import TrialConfig

WHOLE_REPEATS = 3
"""Seeds that the best of each backbone is trained with by methods that go the whole way: as many as people take."""


def complete_points(space: Space) -> tuple[TrialConfig, ...]:
    """The points of ``space`` as a fixed list of configurations; what has a single choice need not be given.

    Raises:
        ConfigError: if there are none, or one is incomplete.
    """
    if not space.points:
        raise ConfigError(f"--list: space {space.name!r} has no points: to train.")
    complete = []
    for number, point in enumerate(space.points, start=1):
        chosen = space.completed(point)
        if lacks := space.undecided(chosen):
            raise ConfigError(f"--list: every point must be a whole configuration, but point {number} lacks {lacks}.")
        complete.append(TrialConfig.from_mapping(chosen))
    return tuple(complete)


def prepare_task(request: Request, screen: Screen) -> Task:
    """Decode what is not stored yet, audit and split it, and find the weights; test images are sealed.

    Raises:
        ConfigError: if the images cannot be used, or weights cannot be had.
    """
    examined = examine(request, screen, None)
    quiet()
    # Keras stays out of this process, which must use no CPU while the methods run
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        weights = pool.submit(_find_weights, request).result()
    return make_task(request, examined.table, examined.images, weights)


def whole_way(request: Request, task: Task, space: Path) -> WholeWay:
    """What methods need that go the whole way, the test images among it: what they do with them is theirs to say.

    Args:
        request: of the comparison.
        task: as `prepare_task` made it, its test images sealed.
        space: file of the space that is searched.
    """
    settings, stored = request.settings, next(iter(task.images.values()))
    rows = sealed_rows(stored.seal)
    names = ("data", "budget", "epochs", "image_size", "max_images", "val_share", "resize", "weights", "views", "jobs")
    flags = {name: getattr(settings, name) for name in (*names, "cache_size", "patience", "bootstrap")}
    return WholeWay(
        flags={name: value for name, value in flags.items() if value is not None}
        | {"space": space, "repeats": WHOLE_REPEATS},
        cache=settings.cache.absolute(),
        images={name: replace(images, seal="") for name, images in task.images.items()},
        rows=rows,
        labels=labels_of(request.source.table, rows, request.source.classes),
        classes=tuple(request.source.classes),
        repeats=WHOLE_REPEATS,
    )


def _find_weights(request: Request) -> Weights:
    """`resolve_weights` without the output that TensorFlow writes whatever it is told."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    settings = request.settings
    return resolve_weights(
        settings.weights,
        request.backbones,
        settings.cache.absolute(),
        settings.seed,
        settings.is_demo,
        settings.scaling,
        request.space.initialisations,
        request.folders,
    )


def fingerprint(task: Task) -> str:
    """The hash of all images of ``task``, whatever their size."""
    return next(iter(task.images.values())).fingerprint
