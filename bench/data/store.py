"""Every image decoded once into a memory-mapped uint8 array, one a size, kept between runs.

A stored set lies in ``CACHE/store/KEY-SIZE/``: ``images.npy`` of shape (n_images, size, size, channels) and
``meta.json``. The folder appears by one rename after both are whole, so what exists can be trusted.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bench.data.sources import ImageSet
from bench.errors import ConfigError

FORMAT = 1
ABANDONED_AFTER = 24 * 3600
"""Seconds after which a decoding counts as left behind by a crash."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class StoredImages:
    """One size of a stored set; cheap to send to another process, which opens the array itself.

    Attributes:
        folder: where it lies.
        size: height and width in pixels.
        channels: 1 if every image is grey, else 3.
        fingerprint: hash of the content of all images, in order.
        unreadable: (row, reason) of images that could not be decoded; their pixels are zero.
    """

    folder: Path
    size: int
    channels: int
    fingerprint: str
    unreadable: tuple[tuple[int, str], ...]

    def open(self) -> Pixels:
        """The images, uint8 array of shape (n_images, size, size, channels), memory-mapped read-only."""
        array: Pixels = np.load(self.folder / "images.npy", mmap_mode="r")
        return array


def decode(content: bytes, size: int) -> tuple[Pixels, bool]:
    """One encoded image as uint8 RGB of shape (size, size, 3), and whether it is grey.

    The orientation tag is applied; images of more than 8 bits a channel are windowed from their own minimum to
    their own maximum; transparency is laid on black; the aspect ratio is squashed to a square.

    Raises:
        OSError, ValueError, SyntaxError: if the bytes are no image that Pillow reads.
    """
    with Image.open(io.BytesIO(content)) as opened:
        opened.draft(None, (2 * size, 2 * size))
        image = ImageOps.exif_transpose(opened)
        image.load()
    if image.mode.startswith("I") or image.mode == "F":
        image = _windowed(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=-1), True
    grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    return pixels, grey


def _windowed(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are not finite")
    scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(scaled.round().astype(np.uint8))


def store_key(images: ImageSet) -> str:
    """Hash of what decides the stored arrays: the names in order, and each file's size and modification time."""
    listing = "\n".join(f"{name}\t{stamp}" for name, stamp in zip(images.table["image"], images.stamps, strict=True))
    root = images.path if images.synthetic else str(Path(images.path).resolve())
    return hashlib.blake2b(f"{FORMAT}\n{root}\n{listing}".encode(), digest_size=12).hexdigest()


def store_images(
    images: ImageSet,
    sizes: list[int],
    cache: Path,
    advance: Callable[[int], None] = lambda count: None,
    threads: int | None = None,
) -> dict[int, StoredImages]:
    """The set at each of ``sizes``; what is not stored yet is decoded in one pass over the files.

    Args:
        images: the set.
        sizes: heights (= widths) in pixels.
        cache: folder for stored sets.
        advance: called with the number of images just decoded.
        threads: decoding threads; one a core by default.

    Raises:
        ConfigError: if no image can be decoded.
    """
    key = store_key(images)
    folders = {size: cache / "store" / f"{key}-{size}" for size in sorted(set(sizes))}
    missing = [size for size, folder in folders.items() if not (folder / "meta.json").is_file()]
    if missing:
        _decode_all(images, {size: folders[size] for size in missing}, advance, threads or os.cpu_count() or 1)
    return {size: _open(folder, size) for size, folder in folders.items()}


def _open(folder: Path, size: int) -> StoredImages:
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    unreadable = tuple((int(row), str(reason)) for row, reason in meta["unreadable"])
    return StoredImages(folder, size, meta["channels"], meta["fingerprint"], unreadable)


def _decode_all(images: ImageSet, folders: dict[int, Path], advance: Callable[[int], None], threads: int) -> None:
    n_images = len(images.table)
    parent = next(iter(folders.values())).parent
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(".decoding-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_AFTER:
            shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=".decoding-", dir=parent))
    try:
        arrays = {
            size: np.lib.format.open_memmap(
                scratch / f"{size}.npy", mode="w+", dtype=np.uint8, shape=(n_images, size, size, 3)
            )
            for size in folders
        }
        hashes: list[bytes] = [b""] * n_images
        grey = np.ones(n_images, dtype=bool)
        unreadable: list[tuple[int, str]] = []

        def work(row: int) -> tuple[int, str] | None:
            try:
                content = images.read(row)
                hashes[row] = hashlib.blake2b(content, digest_size=16).digest()
                for size, array in arrays.items():
                    array[row], grey[row] = decode(content, size)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                return row, f"{type(error).__name__}: {error}"
            return None

        with ThreadPoolExecutor(threads) as pool:
            for failure in pool.map(work, range(n_images)):
                if failure:
                    unreadable.append(failure)
                advance(1)
        if len(unreadable) == n_images:
            raise ConfigError(f"None of the {n_images} images in {images.path} can be decoded ({unreadable[0][1]}).")
        channels = 1 if grey.all() else 3
        digest = hashlib.blake2b(digest_size=16)
        for name, label, content_hash in zip(images.table["image"], images.table["label"], hashes, strict=True):
            digest.update(f"{name}\t{label}\t".encode() + content_hash)
        for size, folder in folders.items():
            target = scratch / f"whole-{size}"
            target.mkdir()
            _finish_array(scratch / f"{size}.npy", arrays.pop(size), channels, target / "images.npy")
            meta = {"channels": channels, "fingerprint": digest.hexdigest(), "unreadable": unreadable}
            (target / "meta.json").write_text(json.dumps(meta))
            _publish(target, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _finish_array(drawn: Path, array: Pixels, channels: int, path: Path) -> None:
    """Move the decoded array to ``path``, keeping one channel where all three are equal in every image."""
    if channels == 3:
        array.flush()  # type: ignore[attr-defined]
        drawn.rename(path)
        return
    single = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(*array.shape[:3], 1))
    for start in range(0, len(array), 256):
        single[start : start + 256] = array[start : start + 256, ..., :1]
    single.flush()


def _publish(target: Path, folder: Path) -> None:
    try:
        target.rename(folder)
    except OSError:
        if not (folder / "meta.json").is_file():  # not just another run that was faster
            raise
