"""The frozen-prefix cache: what the frozen layers make of every image, computed once and kept on disk.

One entry is the output of one backbone's prefix, at one cut, for one view: a pre-drawn augmentation of the pool, which
is all training and validation images. Splits and folds are rows of it, and test images are never in it. Several
processes may need the same entries: a lock per pass ensures that nothing is computed twice, and a process that finds a
pass taken works on the next view meanwhile. What cannot be kept is computed at every read, of the same views and with
the same rounding.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import Timeout

from bench.clock import Clock
from bench.models.augmentation import Augmenter, Policy
from bench.models.backbones import boundary_bytes, boundary_cut
from bench.models.standardisation import Features
from bench.seeds import stable_hash, stable_seed
from bench.train.cache import FeatureCache, NoRoom, create, no_room_to_write
from bench.train.networks import Networks
from bench.trial import N_STAGES

FORMAT = 4
CHUNK = 64
"""Images a pass works on at a time."""
EAGER_BYTES = 256 * 2**20
"""A pass also keeps the boundaries that other trials may need later, if they take no more than this."""
IMAGES = N_STAGES
"""The boundary at depth 5, where nothing is frozen: the (augmented) images themselves."""
FLOAT16_LARGEST = 6.0e4
FLOAT16_SMALL = 2.0**-10
"""A map is kept as float16 if no value exceeds the one and the median of the values other than 0 the other:
below it float16 runs out of digits."""


@dataclass(frozen=True)
class StoredFeatures:
    """Features read from a memory map.

    Attributes:
        values: array of shape (n, ...).
        own: row numbers of the images that these features are of; None for all.
    """

    values: npt.NDArray[Any]
    own: npt.NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_images, ...)."""
        return self.values.shape if self.own is None else (len(self.own), *self.values.shape[1:])

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The values of ``rows`` as float32."""
        return np.asarray(self.values[rows if self.own is None else self.own[rows]], dtype=np.float32)


@dataclass(frozen=True)
class ComputedFeatures:
    """Features of a view that is not kept: computed from the view's images at every read.

    Attributes:
        images: gives the view's images of some places in the pool, uint8 array of shape (n, height, width, channels).
        prefix: images -> features; None where the images themselves are the features.
        dtype: what a stored view would be kept as.
        shape: (n_images, ...).
        clock: counts the seconds.
        own: places in the pool of the images that these features are of.
    """

    images: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]
    prefix: Any
    dtype: Any
    shape: tuple[int, ...]
    clock: Clock
    own: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The values of ``rows``, rounded as a stored view would give them (a value beyond float16 widens them)."""
        places = self.own[rows]
        with self.clock("filling"):
            if self.prefix is None:
                return np.asarray(self.images(places), dtype=np.float32)
            chunks = (places[start : start + CHUNK] for start in range(0, len(places), CHUNK))
            values = np.concatenate([_through(self.prefix, self.images(chunk))[0] for chunk in chunks])
        overflows = self.dtype == np.float16 and np.abs(values).max() > FLOAT16_LARGEST
        return values if overflows else values.astype(self.dtype).astype(np.float32)


Stored = StoredFeatures | ComputedFeatures


@dataclass(frozen=True)
class Pass:
    """One pass of images through a backbone: what is computed together.

    Attributes:
        backbone: its name.
        policy: how the images are altered.
        view: number of the view.
        exact: of the task's validation images alone, in float32 and kept as such: what an exported model computes.
    """

    backbone: str
    policy: Policy
    view: int = 0
    exact: bool = False

    @property
    def drawn(self) -> dict[str, Any]:
        """What decides the view: the amounts of the policy and its number, whatever the policy is called."""
        return {"amounts": self.policy.amounts(), "view": 0 if self.policy.identity else self.view}


CLEAN = Policy("none")


class Views(Sequence[Features]):
    """Some images in one view after another; a view is computed, or opened, when it is first read.

    Args:
        opened: opens several views at once, in the order of their numbers here.
        count: of the views.
        ahead: so many are opened at once, sharing the work with whoever needs them too.
    """

    def __init__(self, opened: Callable[[range], list[Features]], count: int, ahead: int) -> None:
        self._opened = opened
        self._count = count
        self._views = dict(enumerate(opened(range(min(ahead, count)))))
        self._last: tuple[int, Features] | None = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(self._count))]
        if number in self._views:
            return self._views[number]
        if self._last is None or self._last[0] != number:  # one further view at a time: an open one takes its place
            self._last = None
            (view,) = self._opened(range(number, number + 1))
            self._last = number, view
        return self._last[1]


@dataclass
class Draft:
    """An entry that is being written: its folder, its map, and what removes the folder unless it was published."""

    folder: Path
    values: npt.NDArray[Any]
    scratch: contextlib.ExitStack

    def overflows(self, values: npt.NDArray[Any]) -> bool:
        """Whether ``values`` do not fit what the map is kept as."""
        return self.values.dtype == np.float16 and bool(np.abs(values).max() > FLOAT16_LARGEST)


class FrozenFeatures:
    """Features of one task's images, computed when they are first needed.

    Args:
        networks: gives the prefixes; its task says what the features are of and where they are kept, and its clock
            counts the seconds spent filling, tracing and waiting for other processes.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._task = networks.task
        self._clock = networks.clock
        self._cache = FeatureCache(self._task.cache, self._task.cache_bytes)
        self._refused: dict[tuple[str, int, bool, int], str] = {}
        self._wide: set[tuple[str, int]] = set()
        self._drawn_view: tuple[Pass | None, npt.NDArray[np.uint8]] = (None, np.empty(0, np.uint8))
        self._not_kept: dict[str, str] = {}

    def training_views(
        self,
        backbone: str,
        policy: Policy,
        depth: int,
        order: Sequence[int],
        rows: npt.NDArray[np.int64] | None = None,
    ) -> Views:
        """The views of a policy at the boundary of ``depth``.

        Args:
            backbone: its name.
            policy: how images are altered; under ``none`` there is one view, whatever the order.
            depth: stages that are not frozen.
            order: numbers of the views, as they will be read.
            rows: row numbers of the images, all of the pool; None takes the training images.
        """
        passes = [Pass(backbone, policy, view) for view in (order[:1] if policy.identity else order)]
        chosen = self._task.rows["train"] if rows is None else rows
        return Views(
            lambda some: self._of(self._views([passes[each] for each in some], depth), chosen),
            len(passes),
            self._task.views,
        )

    def clean(self, backbone: str, depth: int, rows: npt.NDArray[np.int64]) -> Features:
        """Some images of the pool as they are, at the boundary of ``depth``."""
        return self._of(self._views([Pass(backbone, CLEAN)], depth), rows)[0]

    def validation(self, backbone: str, depth: int) -> Features:
        """The validation images, as trials are scored on them."""
        return self.clean(backbone, depth, self._task.rows["val"])

    def exact_validation(self, backbone: str, depth: int) -> Features:
        """The validation images in float32, as an exported model computes them."""
        same = depth == IMAGES or (depth == 0 and self._task.precision_of(backbone).prefix == "float32")
        return self.validation(backbone, depth) if same else self._views([Pass(backbone, CLEAN, exact=True)], depth)[0]

    def entry_bytes(self, backbone: str, depth: int, n_images: int | None = None) -> int:
        """Bytes that one view takes at the boundary of ``depth``: of the pool, unless a number is given."""
        stored = self._task.images[backbone]
        values = boundary_bytes(self._task.backbones[backbone], stored.size, stored.channels, depth)
        wide = (backbone, depth) in self._wide or (self._task.cache_dtype == "float32" and 0 < depth < IMAGES)
        return values * (2 if wide else 1) * (len(self._task.pool) if n_images is None else n_images)

    def _of(self, views: list[Stored], rows: npt.NDArray[np.int64]) -> list[Features]:
        """``rows`` of views of the pool."""
        places = self._task.places(rows)
        return [
            replace(view, own=places)
            if isinstance(view, StoredFeatures)
            else replace(view, own=places, shape=(len(places), *view.shape[1:]))
            for view in views
        ]

    def _rows(self, one: Pass) -> npt.NDArray[np.int64]:
        """Row numbers of the images of a pass, in its order."""
        return self._task.rows["val"] if one.exact else self._task.pool

    @property
    def notes(self) -> dict[str, str]:
        """Sentences by what they are about: why views are not kept (backbone and depth), and that some were damaged."""
        damage = (
            f"a cached array below {self._cache.folder} was not what had been written, and is computed again; the disk "
            "may be failing, or have lost power"
        )
        return {**self._not_kept, **({"damaged": damage} if self._cache.damaged else {})}

    def forget(self) -> None:
        """Let go of images that are held in memory for a trial that has ended."""
        self._drawn_view = (None, np.empty(0, np.uint8))

    def _views(self, passes: list[Pass], depth: int) -> list[Stored]:
        if not self._cache.budget:
            return [self._computed(one, depth) for one in passes]
        backbone, exact = passes[0].backbone, passes[0].exact
        place = (backbone, depth, exact, len(passes))
        size = len(passes) * self.entry_bytes(backbone, depth, len(self._rows(passes[0])))
        if place not in self._refused and size > self._cache.budget:
            allowed = f"{self._cache.budget / 1e9:.3g} GB (--cache-size)"
            self._refused[place] = f"they take {size / 1e9:.3g} GB and the cache may take {allowed}"
        reason = self._refused.get(place)
        if reason is None:
            try:
                return self._stored(passes, depth)
            except NoRoom as error:
                reason = str(error)  # not for good: a disk that is full now may have room later
        self._not_kept[f"{backbone} {depth}"] = (
            f"{self._task.backbones[backbone].title} at unfreeze depth {depth}: features are computed at every epoch, "
            f"not kept, for {reason}"
        )
        return [self._computed(one, depth) for one in passes]

    def _stored(self, passes: list[Pass], depth: int) -> list[Stored]:
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
        """The map of one pass; None if another process is computing it, unless ``blocking``."""
        values = self._cache.open(self._key(one, depth))
        if values is not None:
            return values
        with no_room_to_write(self._cache.folder), contextlib.ExitStack() as stack:
            lock = self._cache.lock(stable_hash(self._key(one, IMAGES), one.backbone))
            try:
                with self._clock("waiting"):
                    stack.enter_context(lock.acquire(timeout=-1 if blocking else 0))
            except Timeout:
                return None
            with self._clock("filling"):
                self._fill_one(one, depth, keep)
            return self._cache.open(self._key(one, depth))

    def _computed(self, one: Pass, depth: int) -> ComputedFeatures:
        every, stored = np.arange(len(self._rows(one))), self._task.images[one.backbone]
        read = self._reader(one)
        if depth == IMAGES:
            shape = (len(every), stored.size, stored.size, stored.channels)
            return ComputedFeatures(read, None, np.uint8, shape, self._clock, every)
        prefix = self._prefix(one, (depth,))
        with self._clock.first(("prefix", one.backbone, depth, one.exact), "filling"):
            first = _through(prefix, next(self._drawn(one)))[0]
        dtype = self._kept_dtype(one, depth, first)
        return ComputedFeatures(read, prefix, dtype, (len(every), *first.shape[1:]), self._clock, every)

    def _prefix(self, one: Pass, depths: tuple[int, ...]) -> Any:
        networks = self._networks
        return networks.exact_prefix(one.backbone, depths) if one.exact else networks.prefix(one.backbone, depths)

    def _reader(self, one: Pass) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]:
        """Gives the images of some rows of a view: from the store, from the cache, or drawn once and held in memory."""
        if one.policy.identity:
            images, own = self._task.images[one.backbone].open(), self._rows(one)
            return lambda rows: np.asarray(images[own[rows]])
        kept = self._kept_images(one)
        if kept is not None:
            return lambda rows: np.asarray(kept[rows])
        return lambda rows: self._held(one)[rows]

    def _kept_images(self, one: Pass) -> npt.NDArray[np.uint8] | None:
        """The augmented images of a view that lie in the cache; None if they do not."""
        if one.policy.identity or not self._cache.budget:
            return None
        with contextlib.suppress(NoRoom):  # damaged, and not to be removed: they are drawn
            return self._cache.open(self._key(one, IMAGES))
        return None

    def _held(self, one: Pass) -> npt.NDArray[np.uint8]:
        """The images of the view that was read last."""
        if self._drawn_view[0] != one:
            self.forget()  # gone before the next ones are drawn
            self._drawn_view = (one, np.concatenate(list(self._drawn(one))))
        return self._drawn_view[1]

    def _key(self, one: Pass, depth: int) -> str:
        task = self._task
        backbone, stored = task.backbones[one.backbone], task.images[one.backbone]
        frozen = depth != IMAGES
        precision = "float32" if one.exact else task.precision_of(one.backbone).prefix
        dtype = "float32" if one.exact else task.cache_dtype
        return stable_hash(
            FORMAT,
            stored.fingerprint,
            stable_hash(self._rows(one).tolist()),
            (stored.size, stored.channels),
            one.drawn,
            None if one.policy.identity else task.seed,
            (boundary_cut(backbone, depth), asdict(backbone.preprocessing), task.weights.sha256[one.backbone], depth)
            if frozen
            else None,
            (precision, dtype) if frozen else None,
        )

    def _of_set(self, one: Pass) -> dict[str, str]:
        """By which a run knows its own entries again: the images, and the weights of the network."""
        task = self._task
        # a backbone that is searched from named initialisations alone has no weights under its own name
        return {"images": task.images[one.backbone].fingerprint, "weights": task.weights.sha256.get(one.backbone, "")}

    def _extras(self, one: Pass, depth: int) -> tuple[int, ...]:
        """The boundaries to keep from one pass beside ``depth``: what other trials may need, if it is small."""
        if depth == IMAGES or one.exact or self._networks.trained(one.backbone):
            return ()  # while stages are trained, what lies behind them is no prefix
        likely = {d for d in self._task.depths if d not in (0, IMAGES)}
        stored = self._task.images[one.backbone]
        shared = sum(self._task.images[name] == stored for name in self._task.weights.files) > 1
        if self._task.depths and shared and not one.policy.identity:
            likely.add(IMAGES)
        if sum(self.entry_bytes(one.backbone, d) for d in likely) > EAGER_BYTES:
            likely = set()
        return tuple(sorted(({0} | likely) - {depth}))

    def _fill_one(self, one: Pass, depth: int, keep: set[str]) -> None:
        """One pass; it emits ``depth`` and what else there is free room for.

        All boundaries are filled side by side, for a pass costs nearly the same whichever it emits. Only ``depth`` may
        drive other entries out of the cache; a further boundary that finds no room is dropped, and the pass goes on.
        What a map is kept as is decided by its first chunk; where a later one leaves float16's range, the map so far
        is copied to a wider one, for a second pass would cost far more.

        Raises:
            NoRoom: if there is no room for ``depth`` itself.
        """
        if self._cache.has(self._key(one, depth)):  # by another process, while this one waited for the lock
            return
        self._cache.vacate(self._key(one, depth))
        wanted = [each for each in (depth, *self._extras(one, depth)) if not self._cache.has(self._key(one, each))]
        drafts: dict[int, Draft] = {}
        with contextlib.ExitStack() as stack:
            start = 0
            for outputs in self._pass_through(one, tuple(sorted(wanted))):
                for boundary in wanted if start == 0 else list(drafts):
                    draft, values = drafts.get(boundary), outputs[boundary]
                    try:
                        if draft is None:
                            dtype, shape = self._kept_dtype(one, boundary, values), values.shape[1:]
                            drafts[boundary] = self._draft(one, boundary, shape, dtype, boundary == depth, keep)
                        elif draft.overflows(values):
                            drafts[boundary] = self._widened(one, boundary, draft, boundary == depth, keep)
                        else:
                            continue
                        stack.callback(drafts[boundary].scratch.close)
                    except NoRoom:
                        if boundary == depth:
                            raise
                        if draft is not None:
                            drafts.pop(boundary).scratch.close()
                for boundary, entry in drafts.items():
                    entry.values[start : start + len(outputs[boundary])] = outputs[boundary]
                start += len(outputs[depth])
            for boundary, entry in drafts.items():
                entry.values.flush()  # type: ignore[attr-defined]
                meta = {
                    "backbone": one.backbone,
                    "exact": one.exact,
                    "depth": boundary,
                    **one.drawn,
                    **self._of_set(one),
                }
                with contextlib.nullcontext() if boundary == depth else contextlib.suppress(NoRoom):
                    self._cache.publish(entry.folder, self._key(one, boundary), meta)

    def _draft(
        self, one: Pass, boundary: int, shape: tuple[int, ...], dtype: Any, needed: bool, keep: set[str]
    ) -> Draft:
        """An entry to be written, of ``shape`` per image; only what is ``needed`` drives others out."""
        if dtype == np.float32 and 0 < boundary < IMAGES and not one.exact:
            self._wide.add((one.backbone, boundary))
        shape = (len(self._rows(one)), *shape)
        with contextlib.ExitStack() as stack:
            size = math.prod(shape) * np.dtype(dtype).itemsize
            folder = stack.enter_context(self._cache.scratch(size, keep, evict=needed))
            values = create(folder / "values.npy", dtype, shape)
            return Draft(folder, values, stack.pop_all())

    def _widened(self, one: Pass, boundary: int, narrow: Draft, needed: bool, keep: set[str]) -> Draft:
        """A float32 copy of a float16 map whose next values would overflow; the narrow one is removed."""
        wide = self._draft(one, boundary, narrow.values.shape[1:], np.float32, needed, keep)
        for start in range(0, len(narrow.values), CHUNK):
            wide.values[start : start + CHUNK] = narrow.values[start : start + CHUNK]
        narrow.scratch.close()
        return wide

    def _pass_through(self, one: Pass, boundaries: tuple[int, ...]) -> Iterator[dict[int, npt.NDArray[Any]]]:
        """The outputs at ``boundaries``, chunk by chunk."""
        frozen = tuple(depth for depth in boundaries if depth != IMAGES)
        prefix = self._prefix(one, frozen) if frozen else None
        for images in self._drawn(one):
            outputs: dict[int, npt.NDArray[Any]] = {IMAGES: images} if IMAGES in boundaries else {}
            if prefix is not None:
                with self._clock.first(("prefix", one.backbone, frozen, one.exact), "filling"):
                    outputs.update(zip(frozen, _through(prefix, images), strict=True))
            yield outputs

    def _kept_dtype(self, one: Pass, depth: int, values: npt.NDArray[Any]) -> type[np.generic]:
        """Pooled features and what leaves float16's range stay float32."""
        if depth == IMAGES:
            return np.uint8
        half = self._task.cache_dtype == "float16" and not one.exact and depth > 0 and _fits_float16(values)
        return np.float16 if half else np.float32

    def _drawn(self, one: Pass) -> Iterator[npt.NDArray[np.uint8]]:
        """The view's images, chunk by chunk; the same whenever they are drawn."""
        drawn = self._kept_images(one)
        if drawn is not None:  # for another backbone of the same size
            for start in range(0, len(drawn), CHUNK):
                yield np.asarray(drawn[start : start + CHUNK])
            return
        augment = Augmenter(one.policy, stable_seed("view", self._task.seed, one.drawn))
        images = self._task.images[one.backbone].open()
        rows = self._rows(one)
        for start in range(0, len(rows), CHUNK):
            yield augment(np.asarray(images[rows[start : start + CHUNK]]))


def _through(prefix: Any, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    """All outputs of ``prefix``; a short chunk is filled up to half a chunk or a whole, for others would be traced."""
    full = CHUNK if len(images) > CHUNK // 2 else CHUNK // 2
    filled = np.concatenate([images, np.repeat(images[-1:], full - len(images), axis=0)])
    found = prefix.predict_on_batch(filled)
    outputs = found if isinstance(found, list | tuple) else [found]  # Keras takes a list of one output apart
    return [np.asarray(values)[: len(images)] for values in outputs]


def _fits_float16(values: npt.NDArray[Any]) -> bool:
    sizes = np.abs(values[values != 0])
    return not sizes.size or bool(sizes.max() <= FLOAT16_LARGEST and np.median(sizes) >= FLOAT16_SMALL)
