"""What all methods of a comparison share: images, splits, weights and space, made ready as a run's pipeline does."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.compare.methods.methods import Method
from bench.compare.spec import Spec
from bench.data.audit.audit import audit, require_enough
from bench.data.images.store import StoredImages
from bench.data.splits import labels_of, rows_of
from bench.device import quiet
from bench.errors import ConfigError
from bench.models.backbones import Backbone
from bench.models.weights import Weights, resolve_weights
from bench.run.console import Screen
from bench.run.examine import decode_all
from bench.run.request import Request
from bench.search.space import Space
from bench.trial import TrialConfig


@dataclass(frozen=True)
class Scene:
    """One comparison's images and what is asked of every method."""

    request: Request
    configurations: tuple[Mapping[str, Any], ...]
    images: Mapping[str, StoredImages]
    rows: Mapping[str, Any]
    labels: Mapping[str, Any]
    weights: Weights
    fingerprint: str

    def spec(self, method: Method, seed: int, scratch: Path, cache: Path) -> Spec:
        """What ``method`` is given under ``seed``."""
        request, settings = self.request, self.request.settings
        return Spec(
            method=method.name,
            seed=seed,
            images=self.images,
            rows=self.rows,
            labels=self.labels,
            n_classes=len(request.source.classes),
            weights=self.weights,
            space_name=request.space.name,
            space_text=request.space.text,
            configurations=self.configurations,
            budget=settings.budget,
            epochs=request.epochs,
            patience=request.epochs if self.configurations else settings.patience,
            views=settings.views,
            jobs=settings.jobs,
            cache=cache.absolute(),
            cache_bytes=settings.cache_size,
            scratch=scratch.absolute(),
            options=method.options,
        )


def complete_points(space: Space) -> tuple[Mapping[str, Any], ...]:
    """The points of ``space`` as a fixed list of configurations; what has a single choice need not be given.

    Raises:
        ConfigError: if there are none, one is incomplete, or one is there twice.
    """
    if not space.points:
        raise ConfigError(f"--list: space {space.name!r} has no points: to train.")
    whole: list[Mapping[str, Any]] = []
    seen = set()
    for number, point in enumerate(space.points, start=1):
        chosen = dict(point)
        for parameter in (one for one in space.parameters if one.active(chosen) and one.name not in chosen):
            if parameter.choices is None or len(parameter.choices) > 1:
                raise ConfigError(
                    f"--list: every point must be a whole configuration, but point {number} lacks {parameter.name}."
                )
            chosen[parameter.name] = parameter.choices[0]
        key = TrialConfig.from_mapping(chosen).key
        if key in seen:
            raise ConfigError(f"--list: all points must differ from each other, but point {number} is there twice.")
        seen.add(key)
        whole.append(chosen)
    return tuple(whole)


def set_scene(request: Request, configurations: tuple[Mapping[str, Any], ...], screen: Screen) -> Scene:
    """Decode what is not stored yet, audit and split it, and find the weights.

    Raises:
        ConfigError: if the images cannot be used, or weights cannot be had.
    """
    settings, source = request.settings, request.source
    stored = decode_all(source, sorted(set(request.sizes.values())), settings, screen)
    require_enough(source, stored, settings.keep_going)
    table = audit(source, stored, settings).table
    rows = {split: rows_of(table, split) for split in ("train", "val")}
    quiet()
    # Keras stays out of this process, which has to sit still while the methods run
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        weights = pool.submit(
            _find_weights,
            settings.weights,
            request.backbones,
            settings.cache.absolute(),
            settings.seed,
            settings.is_demo,
        ).result()
    return Scene(
        request=request,
        configurations=configurations,
        images={name: stored.sizes[size].sealed(rows_of(table, "test")) for name, size in request.sizes.items()},
        rows=rows,
        labels={split: labels_of(table, chosen, source.classes) for split, chosen in rows.items()},
        weights=weights,
        fingerprint=stored.fingerprint,
    )


def _find_weights(
    wanted: str | None, backbones: Sequence[Backbone], cache: Path, seed: int, fall_back: bool
) -> Weights:
    """`resolve_weights` without the words that TensorFlow writes whatever it is told."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    return resolve_weights(wanted, backbones, cache, seed, fall_back)
