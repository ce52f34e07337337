"""Where images come from: each source becomes one `ImageSet`, a table of images with label, patient and split.

Nothing is decoded here; `store.py` does that.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from bench.data.images.limits import MOST_PIXELS
from bench.data.imageset import ImageSet, MemoryReader
from bench.data.names import printable, readable
from bench.data.patients import refuse_groups
from bench.data.sources import demo
from bench.data.sources.arrays import npz_source
from bench.data.sources.folder import LAYOUTS, folder_source
from bench.data.sources.layout import WORKBOOKS
from bench.data.sources.listing import is_archive, with_patients
from bench.data.sources.manifest import manifest_source
from bench.data.sources.medmnist import PREFIX, class_names, medmnist_source
from bench.data.sources.table_file import ENDINGS as TABLES
from bench.errors import ConfigError

__all__ = ["demo_source", "folder_source", "open_source"]

ACCEPTED = (
    f"{LAYOUTS}; a table (.csv, .tsv, .txt) with path,label[,patient][,split]; an .npz file in the MedMNIST layout; "
    f"{PREFIX}NAME[@SIZE]; or demo"
)


def open_source(
    data: str | os.PathLike[str] | None,
    seed: int,
    *,
    patient_pattern: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
    group_by: Sequence[str] = (),
    image_root: str | os.PathLike[str] | None = None,
    max_pixels: int = MOST_PIXELS,
) -> ImageSet:
    """The images at ``data``.

    Args:
        data: a folder, a table (.csv, .tsv, .txt), an .npz, ``medmnist:NAME[@SIZE]``, or the demo set
            where it is None or ``demo``; a `Path` is a place on the disk, whatever it is called.
        seed: the demo set is drawn from it.
        patient_pattern: a regular expression with one group that names the patient in a file name.
        cache: folder for what is fetched; the user's own by default.
        tell: called with a line before anything is fetched.
        group_by: columns whose values name subgroups; the table has each as ``group:COLUMN``.
        image_root: the folder that the paths of a table start from; None takes the table's own.
        max_pixels: of an image; larger ones are not decoded.

    Raises:
        ConfigError: if there is nothing usable, it cannot be read, or there is no such column; the message says what
            is accepted.
    """
    data = str(Path(data).absolute()) if isinstance(data, os.PathLike) else data
    cache, image_root = (None if one is None else Path(one) for one in (cache, image_root))
    if image_root is not None and (Path(data or "").is_dir() or Path(data or "").suffix.lower() not in TABLES):
        raise ConfigError(
            f"--image-root is the folder that the paths of a table start from, and {data or 'demo'} is no table; leave "
            f"it out, or give --data one of {', '.join(TABLES)}."
        )
    if data is None or data == "demo":
        refuse_groups("the demo set", group_by)
        return demo_source(seed, patient_pattern)
    if data.lower().startswith(PREFIX):
        refuse_groups(data, group_by)
        return medmnist_source(data, cache, patient_pattern, tell, max_pixels)
    if printable(data) != data:
        raise ConfigError(f"The path {data!a} is not UTF-8; --data takes paths in UTF-8.")
    return _open_path(Path(data), patient_pattern, group_by, image_root, max_pixels)


def _open_path(
    path: Path, patient_pattern: str | None, group_by: Sequence[str], image_root: Path | None, max_pixels: int
) -> ImageSet:
    with readable(path):
        is_folder, exists, is_file = path.is_dir(), path.exists(), path.is_file()
    kind = "" if is_folder else path.suffix.lower()
    if not exists:
        thing = "file" if kind in (*TABLES, ".npz") else "folder"
        raise ConfigError(f"There is no {thing} {path}; --data takes {ACCEPTED}.")
    if not is_folder and not is_file:
        raise ConfigError(f"{path} is a pipe, a device or a socket; --data takes {ACCEPTED}.")
    if kind in TABLES:
        return manifest_source(path, patient_pattern, group_by, image_root, max_pixels)
    if kind == ".npz":
        refuse_groups(path, group_by)
        return npz_source(path, class_names(path.stem), patient_pattern, max_pixels)
    if not is_folder:
        what = "an archive, to be unpacked" if is_archive(path.name) else "a file of another kind"
        what = "a workbook, to be saved as CSV" if kind in WORKBOOKS else what
        raise ConfigError(f"{path} is {what}; --data takes {ACCEPTED}.")
    return folder_source(path, patient_pattern, group_by, max_pixels)


def demo_source(seed: int, patient_pattern: str | None = None) -> ImageSet:
    """The embedded data set: synthetic chest phantoms."""
    drawn = demo.draw(seed=seed)
    names = [f"phantom-{row:04d}.png" for row in range(len(drawn.labels))]
    content = hashlib.blake2b(drawn.images.tobytes(), digest_size=16).hexdigest()
    draft = ImageSet(
        source="demo",
        path="embedded demo data",
        classes=tuple(sorted(set(drawn.labels))),
        table=pd.DataFrame(
            {"image": names, "label": drawn.labels, "patient_id": drawn.patients, "split": drawn.splits, "fold": ""}
        ),
        stamps=(f"seed {seed}, {content}",) * len(names),
        reader=MemoryReader(drawn.images),
        patient_rule="known: the images are drawn patient by patient",
        synthetic=True,
        notes=("The demo data are synthetic phantoms drawn from a seed; scores on them say nothing about medicine.",),
    )
    return with_patients(draft, patient_pattern)
