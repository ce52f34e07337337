"""The frozen-prefix cache: what the frozen layers make of every image, computed once and kept on disk.

One entry is the output of one backbone's prefix, at one cut, for one view (a pre-drawn augmentation of a whole split).
It lies in ``CACHE/features/KEY/`` as ``values.npy`` beside ``meta.json``, and appears by one rename when both
are whole. Several processes may ask at once: a lock a pass sees to it that nothing is computed twice, and a
process that finds a pass taken works on the next view meanwhile.
"""

import contextlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from bench.data.store import StoredImages
from bench.models.augmentation import Augmenter, Policy
from bench.models.backbones import Backbone, boundary_cut
from bench.models.weights import Weights, load_backbone
from bench.seeds import stable_hash, stable_seed
from bench.trial import N_STAGES

FORMAT = 1
ABANDONED_AFTER = 24 * 3600
"""Seconds after which an entry in the making counts as left behind by a crash."""
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
    """Features of a view that is too large to keep: computed from the view's images at every read."""

    images: npt.NDArray[np.uint8]
    prefix: Any
    shape: tuple[int, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The values of ``rows``, through float16 as a stored view would give them."""
        (values,) = _outputs(self.prefix, self.images[rows])
        return (values.astype(np.float16) if _fits_float16(values) else values).astype(np.float32)


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


class FeatureCache:
    """The folder of entries, held under a budget of bytes; the least recently used entries leave first."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder / "features"
        self.budget = budget

    def open(self, key: str) -> npt.NDArray[Any] | None:
        """The values of entry ``key``, memory-mapped read-only, or None if there is no such entry."""
        entry = self.folder / key
        try:
            os.utime(entry / "meta.json")
            values: npt.NDArray[Any] = np.load(entry / "values.npy", mmap_mode="r")
        except FileNotFoundError:
            return None
        return values

    def has(self, key: str) -> bool:
        """Whether entry ``key`` is there, whole."""
        return (self.folder / key / "meta.json").is_file()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for an entry in the making; removed at the end if it was not published."""
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".filling-", dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, made: Path, key: str, meta: Mapping[str, Any]) -> None:
        """Turn the folder ``made``, which holds values.npy, into entry ``key``."""
        (made / "meta.json").write_text(json.dumps(meta))
        if not self.has(key):
            _discard(self.folder / key)  # what a crash has left of an entry
        with contextlib.suppress(OSError):  # another machine on a shared disk was faster: its entry is the same
            made.rename(self.folder / key)

    def lock(self, name: str) -> FileLock:
        """A lock between processes."""
        folder = self.folder / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")

    def trim(self, keep: set[str]) -> None:
        """Remove the least recently used entries, other than ``keep``, until the budget holds.

        A process that still reads a removed entry keeps its pages until it lets go of them.
        """
        for left in self.folder.glob(".filling-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > ABANDONED_AFTER:
                    shutil.rmtree(left, ignore_errors=True)
        found = []
        for meta in self.folder.glob("[!.]*/meta.json"):
            with contextlib.suppress(FileNotFoundError):
                found.append((meta.stat().st_mtime, (meta.parent / "values.npy").stat().st_size, meta.parent))
        total = sum(size for _, size, _ in found)
        for _, size, entry in sorted(found):
            if total <= self.budget:
                break
            if entry.name not in keep:
                _discard(entry)
                total -= size


def _discard(entry: Path) -> None:
    """Remove an entry: out of sight by one rename first, so that a crash leaves nothing half removed in its place."""
    away = entry.with_name(f".filling-discarded-{entry.name}-{os.getpid()}")
    with contextlib.suppress(OSError):
        entry.rename(away)
        shutil.rmtree(away, ignore_errors=True)


class FrozenFeatures:
    """Features of one data set under one set of weights, filled as they are asked for.

    Args:
        images: by backbone name, the stored set at that backbone's size.
        rows: by split (``train``, ``val``), the row numbers that belong to it.
        backbones: by name.
        weights: the files the prefixes are loaded from.
        cache: where entries live.
        seed: of the run; decides the views.
        likely_depths: unfreeze depths that other trials may ask for.
    """

    def __init__(
        self,
        images: Mapping[str, StoredImages],
        rows: Mapping[str, npt.NDArray[np.int64]],
        backbones: Mapping[str, Backbone],
        weights: Weights,
        cache: FeatureCache,
        seed: int,
        likely_depths: Sequence[int] = (),
    ) -> None:
        self._images = images
        self._rows = rows
        self._backbones = backbones
        self._weights = weights
        self._cache = cache
        self._seed = seed
        self._likely = tuple(likely_depths)
        self._networks: dict[str, Any] = {}
        self._prefixes: dict[tuple[str, tuple[int, ...]], Any] = {}
        self.seconds = 0.0
        """Seconds this process has spent filling, waiting for another process included."""

    def training_views(self, backbone: str, policy: Policy, depth: int, n_views: int) -> list[Features]:
        """The first ``n_views`` views of the training images at the boundary of ``depth`` (one for ``none``)."""
        count = 1 if policy.identity else n_views
        return self._views([Pass(backbone, "train", policy, view) for view in range(count)], depth)

    def validation(self, backbone: str, depth: int) -> Features:
        """The validation images, unaugmented, at the boundary of ``depth``."""
        return self._views([Pass(backbone, "val", Policy("none"), 0)], depth)[0]

    def network(self, backbone: str) -> Any:
        """The backbone with its pretrained weights, as a Keras model that nobody may train."""
        if backbone not in self._networks:
            size, file = self._images[backbone].size, self._weights.files[backbone]
            self._networks[backbone] = load_backbone(self._backbones[backbone], size, file)
        return self._networks[backbone]

    def entry_bytes(self, backbone: str, split: str, depth: int) -> int:
        """Bytes that one view takes at the boundary of ``depth``."""
        stored = self._images[backbone]
        return boundary_bytes(self._backbones[backbone], stored.size, stored.channels, depth) * len(self._rows[split])

    def _views(self, passes: list[Pass], depth: int) -> list[Features]:
        if (
            depth != IMAGES
            and self.entry_bytes(passes[0].backbone, passes[0].split, depth) * len(passes) > self._cache.budget
        ):
            self._fill(passes, (IMAGES,))
            return [self._computed(one, depth) for one in passes]
        while True:
            self._fill(passes, (depth,))
            opened = [self._cache.open(self._key(one, depth)) for one in passes]
            if all(values is not None for values in opened):  # else another process has just trimmed the cache
                return [StoredFeatures(values) for values in opened if values is not None]

    def _computed(self, one: Pass, depth: int) -> Features:
        images = self._cache.open(self._key(one, IMAGES))
        if images is None:
            images = self._draw_all(one)
        prefix = self._prefix(one.backbone, (depth,))
        return ComputedFeatures(images, prefix, (len(images), *prefix.outputs[0].shape[1:]))

    def _draw_all(self, one: Pass) -> npt.NDArray[np.uint8]:
        return np.concatenate(list(self._drawn(one)))

    def _key(self, one: Pass, depth: int) -> str:
        backbone, stored = self._backbones[one.backbone], self._images[one.backbone]
        rows = self._rows[one.split]
        frozen = depth != IMAGES
        return stable_hash(
            FORMAT,
            stored.fingerprint,
            stable_hash(rows.tolist()),
            (stored.size, stored.channels),
            one.drawn,
            None if one.policy.identity else (self._seed, CHUNK),
            (boundary_cut(backbone, depth), asdict(backbone.preprocessing), self._weights.sha256[one.backbone], depth)
            if frozen
            else None,
        )

    def _wanted(self, one: Pass, depth: int) -> tuple[int, ...]:
        """The boundaries to keep from one pass: what was asked for, and what is cheap to keep along the way."""
        if depth == IMAGES:
            return (IMAGES,)
        likely = tuple(d for d in self._likely if d != IMAGES and d > 0)
        if sum(self.entry_bytes(one.backbone, one.split, d) for d in likely) <= EAGER_BYTES:
            return tuple(sorted({0, depth, *likely}))
        return tuple(sorted({0, depth}))

    def _fill(self, passes: list[Pass], depths: Sequence[int]) -> None:
        """Compute what is missing of ``passes``, first what no other process is at, then what is left."""
        started = time.perf_counter()
        pending = [one for one in passes if not all(self._cache.has(self._key(one, depth)) for depth in depths)]
        if not pending:
            return
        for blocking in (False, True):
            for one in list(pending):
                lock = self._cache.lock(stable_hash(self._key(one, IMAGES), one.backbone))
                try:
                    with lock.acquire(timeout=-1 if blocking else 0):
                        self._fill_one(one, depths)
                    pending.remove(one)
                except Timeout:
                    continue
        self._cache.trim(keep={self._key(one, depth) for one in passes for depth in depths})
        self.seconds += time.perf_counter() - started

    def _fill_one(self, one: Pass, depths: Sequence[int]) -> None:
        missing = [depth for depth in depths if not self._cache.has(self._key(one, depth))]
        if not missing:
            return
        wanted = sorted({d for depth in missing for d in self._wanted(one, depth)})
        wanted = [depth for depth in wanted if not self._cache.has(self._key(one, depth))]
        frozen = tuple(depth for depth in wanted if depth != IMAGES)
        prefix = self._prefix(one.backbone, frozen) if frozen else None
        n_images = len(self._rows[one.split])
        with contextlib.ExitStack() as stack:
            folders = {depth: stack.enter_context(self._cache.scratch()) for depth in wanted}
            arrays: dict[int, npt.NDArray[Any]] = {}
            start = 0
            for images in self._drawn(one):
                outputs: dict[int, npt.NDArray[Any]] = {IMAGES: images} if IMAGES in wanted else {}
                if prefix is not None:
                    outputs.update(zip(frozen, _through(prefix, images), strict=True))
                for depth, values in outputs.items():
                    if depth not in arrays:
                        arrays[depth] = np.lib.format.open_memmap(
                            folders[depth] / "values.npy",
                            mode="w+",
                            dtype=_kept_dtype(depth, values),
                            shape=(n_images, *values.shape[1:]),
                        )
                    if arrays[depth].dtype == np.float16 and np.abs(values).max() > FLOAT16_LARGEST:
                        arrays[depth] = _widened(arrays[depth], folders[depth])
                    arrays[depth][start : start + len(images)] = values
                start += len(images)
            for depth, folder in folders.items():
                arrays.pop(depth).flush()  # type: ignore[attr-defined]
                meta = {"backbone": one.backbone, "split": one.split, "depth": depth, **one.drawn}
                self._cache.publish(folder, self._key(one, depth), meta)

    def _drawn(self, one: Pass) -> Iterator[npt.NDArray[np.uint8]]:
        """The view's images, chunk by chunk; the same whenever it is drawn."""
        augment = Augmenter(one.policy, stable_seed("view", self._seed, one.drawn))
        images = self._images[one.backbone].open()
        rows = self._rows[one.split]
        for start in range(0, len(rows), CHUNK):
            yield augment(np.asarray(images[rows[start : start + CHUNK]]))

    def _prefix(self, backbone: str, depths: tuple[int, ...]) -> Any:
        from bench.models.assemble import prefix_model

        if (backbone, depths) not in self._prefixes:
            row, stored = self._backbones[backbone], self._images[backbone]
            network = self.network(backbone)
            self._prefixes[backbone, depths] = prefix_model(row, network, stored.size, stored.channels, depths)
        return self._prefixes[backbone, depths]


def _through(prefix: Any, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    """The outputs of ``prefix``; a short last chunk is filled up, because another shape would be traced anew."""
    filled = np.concatenate([images, np.repeat(images[-1:], CHUNK - len(images), axis=0)])
    return [values[: len(images)] for values in _outputs(prefix, filled)]


def _outputs(prefix: Any, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    """All outputs of ``prefix``; Keras takes a list of one output apart."""
    found = prefix.predict_on_batch(images)
    return [np.asarray(values) for values in (found if isinstance(found, list | tuple) else [found])]


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


def _kept_dtype(depth: int, values: npt.NDArray[Any]) -> type[np.generic]:
    """Pooled features and what leaves float16's range stay float32."""
    if depth == IMAGES:
        return np.uint8
    return np.float16 if depth > 0 and _fits_float16(values) else np.float32


def _widened(array: npt.NDArray[Any], folder: Path) -> npt.NDArray[Any]:
    """A float32 copy of a half-filled float16 map, in its place."""
    path = folder / "wide.npy"
    wide: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=array.shape)
    for start in range(0, len(array), CHUNK):
        wide[start : start + CHUNK] = array[start : start + CHUNK]
    path.replace(folder / "values.npy")
    return wide
