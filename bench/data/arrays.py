"""An .npz file in the layout of MedMNIST: train_images and train_labels, the same for val and test if there are any."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.data.imageset import COLUMNS, ImageSet
from bench.data.listing import check_classes, stamp
from bench.data.npz import NpzReader, header, load, open_npz
from bench.data.patients import ASSUMED
from bench.errors import ConfigError

SPLITS = ("train", "val", "test")
LAYOUT = (
    "an .npz file holds train_images and train_labels, and may hold val_images, val_labels, test_images, test_labels"
)
SHAPES = "(n, height, width), (n, height, width, 1) or (n, height, width, 3)"


def npz_source(path: Path, class_names: Sequence[str] | None = None, patient_pattern: str | None = None) -> ImageSet:
    """The images in the .npz file at ``path``, of which only the labels are loaded.

    Args:
        path: the file.
        class_names: names of the labels 0, 1, …; the labels themselves where these do not fit.
        patient_pattern: refused, as rows of arrays have no names.

    Raises:
        ConfigError: if the file is not laid out as it should be, or a pattern is given.
    """
    refuse_pattern(path, patient_pattern)
    with open_npz(path) as archive:
        splits = _splits_in(path, archive)
        labels = [_labels(path, archive, split) for split in splits]
    counts = tuple(len(part) for part in labels)
    values = np.unique(np.concatenate(labels))
    if class_names is None or not np.array_equal(values, np.arange(len(class_names))):
        class_names = [str(value) for value in values]
    named = dict(zip(values.tolist(), class_names, strict=True))
    check_classes(path, class_names, "label")
    digits = len(str(max(counts) - 1))
    names = [f"{split}/{row:0{max(5, digits)}}" for split, n in zip(splits, counts, strict=True) for row in range(n)]
    table = pd.DataFrame(
        {
            "image": names,
            "label": [named[value] for part in labels for value in part.tolist()],
            "patient": names,
            "patient_narrow": names,
            "split": np.repeat(splits, counts),
            "fold": "",
        }
    )
    file = stamp(path.stat())
    return ImageSet(
        source="npz",
        path=str(path),
        classes=tuple(class_names),
        table=table[list(COLUMNS)],
        stamps=tuple(f"{file}-{name}" for name in names),
        reader=NpzReader(path, tuple(f"{split}_images" for split in splits), counts),
        patient_rule=ASSUMED,
        patients_assumed=True,
    )


def refuse_pattern(where: str | Path, patient_pattern: str | None) -> None:
    """Refuse ``--patient-pattern``: a pattern cannot match rows of arrays.

    Raises:
        ConfigError: if one is given.
    """
    if patient_pattern is not None:
        raise ConfigError(
            f"--patient-pattern cannot be used with {where}: its images are rows of arrays and have no file names; "
            "leave it out, or give the images as a folder or a .csv."
        )


def _splits_in(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """The splits that are there, train first."""
    there = [name.removesuffix(".npy") for name in archive.namelist()]
    splits = [split for split in SPLITS if split == "train" or {f"{split}_images", f"{split}_labels"} & {*there}]
    missing = [f"{split}_{kind}" for split in splits for kind in ("images", "labels") if f"{split}_{kind}" not in there]
    if missing:
        raise ConfigError(
            f"{path} has no {' and no '.join(missing)} (found: {', '.join(there) or 'nothing'}); {LAYOUT}."
        )
    return splits


def _labels(path: Path, archive: zipfile.ZipFile, split: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The labels of a split, shape (n_images,), after a look at the shapes of both arrays."""
    shape, dtype = header(archive, f"{split}_images")
    label_shape, label_dtype = header(archive, f"{split}_labels")
    for name, kind, accepted in ((f"{split}_images", dtype, "biuf"), (f"{split}_labels", label_dtype, "biu")):
        if kind.kind not in accepted:
            needed = "numbers" if "f" in accepted else "integers"
            raise ConfigError(f"{name} in {path} is an array of {kind}; {needed} are needed.")
    if 0 in shape[1:] or not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
        raise ConfigError(f"{split}_images in {path} has shape {shape}; {SHAPES} is needed.")
    if len(label_shape) == 2 and label_shape[1] > 1:
        raise ConfigError(
            f"{path} looks like multi-label data ({split}_labels has shape {label_shape}); "
            "each image must have exactly one label."
        )
    if len(label_shape) not in (1, 2) or 0 in label_shape[1:]:
        raise ConfigError(f"{split}_labels in {path} has shape {label_shape}; (n,) or (n, 1) is needed.")
    if shape[0] != label_shape[0]:
        raise ConfigError(f"{path} holds {shape[0]} {split}_images but {label_shape[0]} {split}_labels.")
    if split == "train" and not shape[0]:
        raise ConfigError(f"train_images in {path} is empty; images to train on are needed.")
    return load(archive, f"{split}_labels").reshape(-1).astype(np.int64)
