"""The frozen-prefix cache: what the frozen layers make of every image, computed once and kept on disk.

One entry is the output of one backbone's prefix, at one cut, for one view (a pre-drawn augmentation of a whole split).
Several processes may ask at once: a lock a pass sees to it that nothing is computed twice, and a process that finds a
pass taken works on the next view meanwhile. What cannot be kept is computed at every read, of the same views and with
the same rounding.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import psutil
from filelock import Timeout

from bench.clock import Clock
from bench.models.augmentation import Augmenter, Policy
from bench.models.backbones import Backbone, boundary_cut
from bench.seeds import stable_hash, stable_seed
from bench.train.cache import FeatureCache, NoRoom, create, no_room_on_a_full_disk
from bench.train.task import Task
from bench.trial import N_STAGES

FORMAT = 2
CHUNK = 64
"""Images a pass works on at a time; part of the key, for augmentation draws by the chunk."""
EAGER_BYTES = 256 * 2**20
"""A pass also keeps the boundaries that other trials may ask for later, if they take no more than this."""
IMAGES = N_STAGES
"""The boundary at depth 5, where nothing is frozen: the (augmented) images themselves."""
FLOAT16_LARGEST = 6.0e4
FLOAT16_SMALL = 2.0**-10
"""A map is kept as float16 if no value exceeds the one and the median of the values other than 0 the other:
below it float16 runs out of digits."""
IN_MEMORY = 0.5
"""Share of the free memory up to which views count as read from memory after their first epoch."""


class Features(Protocol):
    """What a training loop reads: rows of one view."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_images, ...)."""

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The values of ``rows`` as float32."""


@dataclass(frozen=True)
class StoredFeatures:
    """Features read from a memory map."""

    values: npt.NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_images, ...)."""
        return self.values.shape

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The values of ``rows`` as float32."""
        return np.asarray(self.values[rows], dtype=np.float32)


@dataclass(frozen=True)
class ComputedFeatures:
    """Features of a view that is not kept: computed from the view's images at every read.

    Attributes:
        images: gives the view's images of some rows, uint8 array of shape (n, height, width, channels).
        prefix: images -> features; None where the images themselves are the features.
        dtype: what a stored view would be kept as.
        shape: (n_images, ...).
        clock: counts the seconds.
    """

    images: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]
    prefix: Any
    dtype: Any
    shape: tuple[int, ...]
    clock: Clock

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The values of ``rows``, rounded as a stored view would give them (a value beyond float16 widens them)."""
        with self.clock("filling"):
            return self._computed(rows)

    def _computed(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if self.prefix is None:
            return np.asarray(self.images(rows), dtype=np.float32)
        chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
        parts = [_through(self.prefix, self.images(chunk))[0] for chunk in chunks]
        values = np.concatenate(parts)
        overflows = self.dtype == np.float16 and np.abs(values).max() > FLOAT16_LARGEST
        return values if overflows else values.astype(self.dtype).astype(np.float32)


@dataclass(frozen=True)
class Pass:
    """One way of all images of a split through a backbone: what is computed together."""

    backbone: str
    split: str
    policy: Policy
    view: int

    @property
    def drawn(self) -> dict[str, Any]:
        """What decides the view: the amounts of the policy and its number, whatever the policy is called."""
        return {"amounts": self.policy.amounts(), "view": 0 if self.policy.identity else self.view}


@dataclass
class Making:
    """An entry in the making: its folder, its map, and what removes the folder unless it was published."""

    folder: Path
    values: npt.NDArray[Any]
    scratch: contextlib.ExitStack

    def overflows(self, values: npt.NDArray[Any]) -> bool:
        """Whether ``values`` do not fit what the map is kept as."""
        return self.values.dtype == np.float16 and bool(np.abs(values).max() > FLOAT16_LARGEST)


class FrozenFeatures:
    """Features of one task's images, filled as they are asked for.

    Args:
        task: images, splits, backbones, weights, seed, cache and its budget, and the depths that trials may ask for.
        clock: counts the seconds spent filling, tracing and waiting for other processes.
    """

    def __init__(self, task: Task, clock: Clock | None = None) -> None:
        self._task = task
        self._cache = FeatureCache(task.cache, task.cache_bytes)
        self._clock = clock or Clock()
        self._networks: dict[str, Any] = {}
        self._prefixes: dict[tuple[str, tuple[int, ...]], Any] = {}
        self._seconds_an_image: dict[tuple[str, int], float] = {}
        self._refused: dict[tuple[str, int, str, int], str] = {}
        self._wide: set[tuple[str, int]] = set()
        self._drawn_view: tuple[Pass | None, npt.NDArray[np.uint8]] = (None, np.empty(0, np.uint8))
        self.notes: dict[str, str] = {}
        """Why views are not kept: backbone and depth -> a sentence."""

    def training_views(self, backbone: str, policy: Policy, depth: int, n_views: int) -> list[Features]:
        """The first ``n_views`` views of the training images at the boundary of ``depth`` (one for ``none``)."""
        count = 1 if policy.identity else n_views
        return self._views([Pass(backbone, "train", policy, view) for view in range(count)], depth)

    def validation(self, backbone: str, depth: int) -> Features:
        """The validation images, unaugmented, at the boundary of ``depth``."""
        return self._views([Pass(backbone, "val", Policy("none"), 0)], depth)[0]

    def network(self, backbone: str) -> Any:
        """The backbone as a Keras model; whoever changes its weights must give them back before the next pass."""
        if backbone not in self._networks:
            with self._clock("start-up"):
                self._networks[backbone] = self._task.load_network(backbone)
        return self._networks[backbone]

    def entry_bytes(self, backbone: str, split: str, depth: int) -> int:
        """Bytes that one view takes at the boundary of ``depth``."""
        stored = self._task.images[backbone]
        values = boundary_bytes(self._task.backbones[backbone], stored.size, stored.channels, depth)
        wide = (
            2 if (backbone, depth) in self._wide or (self._task.cache_dtype == "float32" and 0 < depth < IMAGES) else 1
        )
        return values * wide * len(self._task.rows[split])

    def forget(self) -> None:
        """Let go of images that are held in memory for a trial that has ended."""
        self._drawn_view = (None, np.empty(0, np.uint8))

    def _views(self, passes: list[Pass], depth: int) -> list[Features]:
        if not self._cache.budget:
            return [self._computed(one, depth) for one in passes]
        place = (passes[0].backbone, depth, passes[0].split, len(passes))
        reason = self._refused.get(place) or self._why_not(passes, depth)
        if reason:
            self._refused[place] = reason  # for good; a disk that is full now may have room later
        else:
            try:
                return self._stored(passes, depth)
            except NoRoom as error:
                reason = str(error)
        title = self._task.backbones[passes[0].backbone].title
        self.notes[f"{place[0]} {depth}"] = (
            f"{title} at unfreeze depth {depth}: features are computed at every epoch, not kept, for {reason}"
        )
        return [self._computed(one, depth) for one in passes]

    def _why_not(self, passes: list[Pass], depth: int) -> str:
        """Why views cannot all be kept, or are better computed than read; empty if they are to be kept."""
        backbone = passes[0].backbone
        size = sum(self.entry_bytes(one.backbone, one.split, depth) for one in passes)
        if size > self._cache.budget:
            allowed = f"{self._cache.budget / 1e9:.3g} GB (--cache-size)"
            return f"they take {size / 1e9:.3g} GB and the cache may take {allowed}"
        if depth in (0, IMAGES) or size < IN_MEMORY * psutil.virtual_memory().available:
            return ""
        image_bytes = size / sum(len(self._task.rows[one.split]) for one in passes)
        speed = self._cache.bytes_per_second()
        if not speed or image_bytes / speed < (computing := self._seconds_computing(backbone, depth)):
            return ""
        return (
            f"reading them would take {1000 * image_bytes / speed:.2g} ms an image on this disk, and computing them "
            f"takes {1000 * computing:.2g}"
        )

    def _seconds_computing(self, backbone: str, depth: int) -> float:
        """Seconds an image that the prefix up to ``depth`` takes, measured once."""
        if (backbone, depth) not in self._seconds_an_image:
            rows = np.resize(self._task.rows["train"], CHUNK)
            images = np.asarray(self._task.images[backbone].open()[rows])
            prefix = self._prefix(backbone, (depth,))
            _through(prefix, images)
            started = time.perf_counter()
            _through(prefix, images)
            self._seconds_an_image[backbone, depth] = (time.perf_counter() - started) / CHUNK
        return self._seconds_an_image[backbone, depth]

    def _stored(self, passes: list[Pass], depth: int) -> list[Features]:
        """The maps of all passes, computing what is missing: first what no other process is at, then what is left.

        A map is opened as soon as it is there, and can then leave the cache without being lost.
        """
        opened: dict[Pass, npt.NDArray[Any]] = {}
        keep = {self._key(one, depth) for one in passes}
        while len(opened) < len(passes):
            for blocking in (False, True):
                for one in passes:
                    values = None if one in opened else self._open_or_fill(one, depth, keep, blocking)
                    if values is not None:
                        opened[one] = values
        return [StoredFeatures(opened[one]) for one in passes]

    def _open_or_fill(self, one: Pass, depth: int, keep: set[str], blocking: bool) -> npt.NDArray[Any] | None:
        """The map of one pass; None if another process is making it, and ``blocking`` is not asked for."""
        values = self._cache.open(self._key(one, depth))
        if values is not None:
            return values
        with no_room_on_a_full_disk(self._cache.folder), contextlib.ExitStack() as stack:
            lock = self._cache.lock(stable_hash(self._key(one, IMAGES), one.backbone))
            try:
                with self._clock("waiting"):
                    stack.enter_context(lock.acquire(timeout=-1 if blocking else 0))
            except Timeout:
                return None
            with self._clock("filling"):
                self._fill_one(one, depth, keep)
            return self._cache.open(self._key(one, depth))

    def _computed(self, one: Pass, depth: int) -> Features:
        n_images, stored = len(self._task.rows[one.split]), self._task.images[one.backbone]
        read = self._reader(one)
        if depth == IMAGES:
            shape = (n_images, stored.size, stored.size, stored.channels)
            return ComputedFeatures(read, None, np.uint8, shape, self._clock)
        prefix = self._prefix(one.backbone, (depth,))
        with self._clock.first(("prefix", one.backbone, depth), "filling"):
            first = _through(prefix, next(self._drawn(one)))[0]
        return ComputedFeatures(read, prefix, self._kept_dtype(depth, first), (n_images, *first.shape[1:]), self._clock)

    def _reader(self, one: Pass) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]:
        """Gives the images of some rows of a view: from the store, from the cache, or drawn once and held in memory."""
        if one.policy.identity:
            images, own = self._task.images[one.backbone].open(), self._task.rows[one.split]
            return lambda rows: np.asarray(images[own[rows]])
        kept = self._cache.open(self._key(one, IMAGES)) if self._cache.budget else None
        if kept is not None:
            return lambda rows: np.asarray(kept[rows])
        return lambda rows: self._held(one)[rows]

    def _held(self, one: Pass) -> npt.NDArray[np.uint8]:
        """The images of the view that was asked for last."""
        if self._drawn_view[0] != one:
            self.forget()  # gone before the next ones are drawn
            self._drawn_view = (one, np.concatenate(list(self._drawn(one))))
        return self._drawn_view[1]

    def _key(self, one: Pass, depth: int) -> str:
        task = self._task
        backbone, stored = task.backbones[one.backbone], task.images[one.backbone]
        frozen = depth != IMAGES
        return stable_hash(
            FORMAT,
            stored.fingerprint,
            stable_hash(task.rows[one.split].tolist()),
            (stored.size, stored.channels),
            one.drawn,
            None if one.policy.identity else (task.seed, CHUNK),
            (boundary_cut(backbone, depth), asdict(backbone.preprocessing), task.weights.sha256[one.backbone], depth)
            if frozen
            else None,
            (task.precision, task.cache_dtype) if frozen else None,
        )

    def _extras(self, one: Pass, depth: int) -> tuple[int, ...]:
        """The boundaries to keep from one pass beside ``depth``: what other trials may ask for, if it is small."""
        if depth == IMAGES:
            return ()
        likely = {d for d in self._task.depths if d not in (0, IMAGES)}
        stored = self._task.images[one.backbone]
        shared = sum(other == stored for other in self._task.images.values()) > 1
        if self._task.depths and shared and not one.policy.identity:
            likely.add(IMAGES)
        if sum(self.entry_bytes(one.backbone, one.split, d) for d in likely) > EAGER_BYTES:
            likely = set()
        return tuple(sorted(({0} | likely) - {depth}))

    def _fill_one(self, one: Pass, depth: int, keep: set[str]) -> None:
        """One pass; it emits ``depth`` and what else there is free room for.

        Raises:
            NoRoom: if there is no room for ``depth`` itself.
        """
        if self._cache.has(self._key(one, depth)):
            return
        boundaries = [b for b in (depth, *self._extras(one, depth)) if not self._cache.has(self._key(one, b))]
        with contextlib.ExitStack() as stack:
            made: dict[int, Making] = {}
            start = 0
            for outputs in self._pass_through(one, tuple(sorted(boundaries))):
                for boundary in boundaries if start == 0 else list(made):
                    try:
                        if start == 0:
                            made[boundary] = self._begin(one, boundary, outputs[boundary], boundary == depth, keep)
                            stack.callback(made[boundary].scratch.close)
                        elif made[boundary].overflows(outputs[boundary]):
                            self._widen(one, boundary, made, boundary == depth, keep)
                            stack.callback(made[boundary].scratch.close)
                    except NoRoom:
                        if boundary == depth:
                            raise
                        if boundary in made:
                            made.pop(boundary).scratch.close()
                for boundary, entry in made.items():
                    entry.values[start : start + len(outputs[boundary])] = outputs[boundary]
                start += len(outputs[depth])
            for boundary, entry in made.items():
                entry.values.flush()  # type: ignore[attr-defined]
                meta = {"backbone": one.backbone, "split": one.split, "depth": boundary, **one.drawn}
                with contextlib.nullcontext() if boundary == depth else contextlib.suppress(NoRoom):
                    self._cache.publish(entry.folder, self._key(one, boundary), meta)

    def _begin(self, one: Pass, boundary: int, first: npt.NDArray[Any], needed: bool, keep: set[str]) -> "Making":
        """An entry in the making; its first chunk decides what it is kept as."""
        dtype = self._kept_dtype(boundary, first)
        if dtype == np.float32 and 0 < boundary < IMAGES:
            self._wide.add((one.backbone, boundary))
        shape = (len(self._task.rows[one.split]), *first.shape[1:])
        return self._make(shape, dtype, needed, keep)

    def _make(self, shape: tuple[int, ...], dtype: Any, needed: bool, keep: set[str]) -> "Making":
        with contextlib.ExitStack() as stack:
            size = math.prod(shape) * np.dtype(dtype).itemsize
            folder = stack.enter_context(self._cache.scratch(size, keep, evict=needed))
            values = create(folder / "values.npy", dtype, shape)
            return Making(folder, values, stack.pop_all())

    def _widen(self, one: Pass, boundary: int, made: dict[int, "Making"], needed: bool, keep: set[str]) -> None:
        """Put a float32 copy in the place of a float16 map whose next values would overflow."""
        self._wide.add((one.backbone, boundary))
        narrow = made[boundary]
        wide = self._make(narrow.values.shape, np.float32, needed, keep)
        for start in range(0, len(narrow.values), CHUNK):
            wide.values[start : start + CHUNK] = narrow.values[start : start + CHUNK]
        made[boundary] = wide
        narrow.scratch.close()

    def _pass_through(self, one: Pass, boundaries: tuple[int, ...]) -> Iterator[dict[int, npt.NDArray[Any]]]:
        """The outputs at ``boundaries``, chunk by chunk."""
        frozen = tuple(depth for depth in boundaries if depth != IMAGES)
        prefix = self._prefix(one.backbone, frozen) if frozen else None
        for images in self._drawn(one):
            outputs: dict[int, npt.NDArray[Any]] = {IMAGES: images} if IMAGES in boundaries else {}
            if prefix is not None:
                with self._clock.first(("prefix", one.backbone, frozen), "filling"):
                    outputs.update(zip(frozen, _through(prefix, images), strict=True))
            yield outputs

    def _kept_dtype(self, depth: int, values: npt.NDArray[Any]) -> type[np.generic]:
        """Pooled features and what leaves float16's range stay float32."""
        if depth == IMAGES:
            return np.uint8
        half = self._task.cache_dtype == "float16" and depth > 0 and _fits_float16(values)
        return np.float16 if half else np.float32

    def _drawn(self, one: Pass) -> Iterator[npt.NDArray[np.uint8]]:
        """The view's images, chunk by chunk; the same whenever they are drawn."""
        drawn = self._cache.open(self._key(one, IMAGES)) if self._cache.budget and not one.policy.identity else None
        if drawn is not None:  # for another backbone of the same size
            for start in range(0, len(drawn), CHUNK):
                yield np.asarray(drawn[start : start + CHUNK])
            return
        augment = Augmenter(one.policy, stable_seed("view", self._task.seed, one.drawn))
        images = self._task.images[one.backbone].open()
        rows = self._task.rows[one.split]
        for start in range(0, len(rows), CHUNK):
            yield augment(np.asarray(images[rows[start : start + CHUNK]]))

    def _prefix(self, backbone: str, depths: tuple[int, ...]) -> Any:
        from bench.models.assemble import prefix_model

        if (backbone, depths) not in self._prefixes:
            row, stored = self._task.backbones[backbone], self._task.images[backbone]
            network = self.network(backbone)
            self._prefixes[backbone, depths] = prefix_model(row, network, stored.size, stored.channels, depths)
        return self._prefixes[backbone, depths]


def _through(prefix: Any, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    """All outputs of ``prefix``; a short chunk is filled up to half a chunk or a whole, for others would be traced."""
    full = CHUNK if len(images) > CHUNK // 2 else CHUNK // 2
    filled = np.concatenate([images, np.repeat(images[-1:], full - len(images), axis=0)])
    found = prefix.predict_on_batch(filled)
    outputs = found if isinstance(found, list | tuple) else [found]  # Keras takes a list of one output apart
    return [np.asarray(values)[: len(images)] for values in outputs]


def boundary_bytes(backbone: Backbone, size: int, channels: int, depth: int) -> int:
    """About how many bytes one image takes at the boundary of ``depth``, as float16 maps or uint8 images."""
    if depth == 0:
        return 4 * backbone.n_features
    if boundary_cut(backbone, depth) is None:
        return size * size * channels
    stage = backbone.stages[N_STAGES - depth - 1]
    return 2 * math.ceil(size / stage.stride) ** 2 * stage.channels


def _fits_float16(values: npt.NDArray[Any]) -> bool:
    sizes = np.abs(values[values != 0])
    return not sizes.size or bool(sizes.max() <= FLOAT16_LARGEST and np.median(sizes) >= FLOAT16_SMALL)
