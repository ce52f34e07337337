"""The public two-dimensional sets of MedMNIST by name: what there is, what the labels mean, each fetched once.

Source: MedMNIST v2 and v3, https://medmnist.com and https://doi.org/10.5281/zenodo.10519652; Yang et al., MedMNIST v2,
Scientific Data 10, 41 (2023). The data are under CC BY 4.0 except where an entry says otherwise.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import platformdirs
import yaml
from pydantic import TypeAdapter

from bench.data.images.limits import MOST_PIXELS
from bench.data.imageset import ImageSet
from bench.data.sources.arrays import npz_source, refuse_pattern
from bench.errors import ConfigError

PREFIX = "medmnist:"
BASE_URL = "https://zenodo.org/records/10519652/files"
TIMEOUT = 30.0  # seconds without an answer after which fetching is given up
SIZES = (28, 64, 128, 224)  # height and width of the images in pixels; a file each


@dataclass(frozen=True)
class MedMnist:
    """One set.

    Attributes:
        name: as in its files' names.
        task: ``binary-class``, ``multi-class``, ``ordinal-regression`` or ``multi-label``.
        channels: 1 grey, 3 colour.
        samples: the number of images for training, validation and test.
        classes: names of the labels 0, 1, …
        md5: checksums of the files, one a size.
        licence: of the data.
    """

    name: str
    task: str
    channels: int
    samples: tuple[int, int, int]
    classes: tuple[str, ...]
    md5: tuple[str, str, str, str]
    licence: str = "CC BY 4.0"

    def file(self, size: int) -> str:
        """The name of the file of a size."""
        return f"{self.name}.npz" if size == SIZES[0] else f"{self.name}_{size}.npz"


@cache
def catalogue() -> tuple[MedMnist, ...]:
    """The sets there are, as medmnist.yaml lists them."""
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    return TypeAdapter(tuple[MedMnist, ...]).validate_python(yaml.safe_load(text))


def medmnist_source(
    data: str,
    cache: Path | None = None,
    patient_pattern: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
    max_pixels: int = MOST_PIXELS,
) -> ImageSet:
    """The set that ``data``, ``medmnist:NAME[@SIZE]``, names; fetched if it is not in the cache yet.

    Args:
        data: NAME as in the catalogue, SIZE in pixels, 28 by default.
        cache: folder for what is fetched; the user's own by default.
        patient_pattern: refused, as in `npz_source`.
        tell: called with a line before the set is fetched.
        max_pixels: of an image.

    Raises:
        ConfigError: if there is no such set or size, it is multi-label, or it cannot be fetched.
    """
    entry, size = _entry(data)
    refuse_pattern(data, patient_pattern)
    folder = (cache or Path(platformdirs.user_cache_dir("medical-transfer-bench"))) / "medmnist"
    found = npz_source(_fetched(entry, size, folder, tell), entry.classes, max_pixels=max_pixels)
    credit = (
        f"MedMNIST's {entry.name} is under {entry.licence}; its source: Yang et al., Scientific Data 10, 41 (2023)."
    )
    return replace(found, source="medmnist", path=data, notes=(*found.notes, credit))


def class_names(stem: str) -> tuple[str, ...] | None:
    """The class names of a file called as MedMNIST calls its files, None if it is not."""
    return next(
        (entry.classes for entry in catalogue() for size in SIZES if entry.file(size) == f"{stem.lower()}.npz"), None
    )


def _entry(data: str) -> tuple[MedMnist, int]:
    name, at, size = data[len(PREFIX) :].lower().partition("@")
    entry = next((entry for entry in catalogue() if entry.name == name), None)
    if entry is None:
        raise ConfigError(
            f"MedMNIST has no two-dimensional set {name!r}; there are {', '.join(entry.name for entry in catalogue())}."
        )
    if entry.task == "multi-label":
        raise ConfigError(
            f"{PREFIX}{name} is multi-label data ({len(entry.classes)} findings that may occur together); each image "
            "must have exactly one label."
        )
    sizes = [str(size) for size in SIZES]
    if at and size not in sizes:
        raise ConfigError(f"{PREFIX}{name} comes in sizes {', '.join(sizes)}, not {size!r}; write {PREFIX}{name}@64.")
    return entry, int(size) if at else SIZES[0]


def _fetched(entry: MedMnist, size: int, folder: Path, tell: Callable[[str], None]) -> Path:
    """The set's file in ``folder``; what lies there was checked when it came."""
    path = folder / entry.file(size)
    if path.is_file():
        return path
    import pooch

    url = f"{BASE_URL}/{path.name}?download=1"
    unpacked = sum(entry.samples) * size * size * entry.channels / 1e9
    tell(f"Fetching {path.name} ({sum(entry.samples):,} images, {unpacked:.2g} GB unpacked) from {url}")
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        pooch.retrieve(
            url,
            known_hash=f"md5:{entry.md5[SIZES.index(size)]}",
            fname=path.name,
            path=folder,
            downloader=pooch.HTTPDownloader(chunk_size=1 << 20, timeout=TIMEOUT),
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path.name} could not be fetched ({_why(error)}); where there is no network, fetch it elsewhere from "
            f"{url} and give it by --data {path.name}."
        ) from error
    return path


def _why(error: Exception) -> str:
    """What went wrong, in a few words; the messages of network errors go over many lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    if getattr(error, "request", None) is not None:
        return f"no connection: {type(error).__name__}"
    return "what came is not the published file, its MD5 differs" if isinstance(error, ValueError) else str(error)
