"""What the sources made of files share: which files are images, how splits are called, and the set they become."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pandas as pd

from bench.data.dicom import ENDINGS as DICOM_ENDINGS
from bench.data.dicom import has_magic, read_patient_ids, require_pydicom
from bench.data.imageset import COLUMNS, FileReader, ImageSet
from bench.data.patients import find_patients
from bench.errors import ConfigError

PICTURES = (".jpg", ".jpeg", ".jfif", ".jp2", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
EXTENSIONS = (*PICTURES, *DICOM_ENDINGS)
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What reads ``path``, and what lies below it.

    Raises:
        ConfigError: in place of `OSError`, such as where the permission to read is missing.
    """
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(path)
        why = error.strerror or error
        raise ConfigError(f"{printable(where)} cannot be read ({why}); all of --data must be readable.") from None


def printable(name: str) -> str:
    """``name`` with what is not UTF-8 in it written as escapes; unchanged where all of it is."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def is_dicom(root: Path, name: str) -> bool:
    """Whether file ``name`` below ``root`` is DICOM: by its ending, or by its content where that is no known ending.

    DICOM files are often called after their UID, so that digits stand where an ending would, or ``.ima``.
    """
    ending = PurePosixPath(name).suffix.lower()
    return ending in DICOM_ENDINGS or (ending not in PICTURES and has_magic(root / name))


def stamp(stat: os.stat_result) -> str:
    """A text that changes when the file does."""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def check_classes(where: str | Path, labels: Iterable[str], carrier: str) -> tuple[str, ...]:
    """The class names in order.

    Args:
        where: the source, for the message.
        labels: class names, repeated as they may be.
        carrier: what carries a label there, such as ``class folder``.

    Raises:
        ConfigError: if there are fewer than two, or a name lists several labels.
    """
    classes = tuple(sorted(set(labels)))
    several = [label for label in classes if "|" in label or ";" in label]
    if several:
        raise ConfigError(
            f"{where} looks like multi-label data ({carrier} {several[0]!r}); each image must have exactly one label."
        )
    if len(classes) < 2:
        raise ConfigError(
            f"{where} holds one class only ({classes[0]}); at least two {carrier}s with images are needed."
        )
    return classes


def file_set(
    source: str,
    path: Path,
    root: Path,
    table: pd.DataFrame,
    stamps: Sequence[str],
    *,
    classes: tuple[str, ...],
    patient_pattern: str | None,
    known: Sequence[str] = (),
    known_rule: str = "",
    others: Sequence[str] = (),
    notes: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
) -> ImageSet:
    """The set of images that are files of their own.

    Args:
        source: the kind of source.
        path: where it was found.
        root: the folder that names are relative to.
        table: columns ``image``, ``label`` and ``split``.
        stamps: one an image.
        classes: class names in order.
        patient_pattern: as given by ``--patient-pattern``.
        known: the patients that the source names, empty where it names none; goes before DICOM headers.
        known_rule: where ``known`` comes from, in words.
        others: as in `ImageSet`.
        notes: what the user should know.
        groups: columns ``group:COLUMN`` -> a text an image, as `bench.data.groups` makes them.

    Raises:
        ConfigError: if the pattern is of no use, or there are DICOM files and nothing to read them with.
    """
    names = table["image"].tolist()
    dicom = [row for row, name in enumerate(names) if is_dicom(root, name)]
    if dicom:
        require_pydicom()
        if patient_pattern is None and not any(known):
            ids = [""] * len(names)
            for row, patient in zip(dicom, read_patient_ids([root / names[row] for row in dicom]), strict=True):
                ids[row] = patient
            if len(set(ids) - {""}) > 1:
                known, known_rule = ids, "DICOM PatientID"
            elif any(ids):
                notes = [
                    *notes,
                    "The DICOM PatientID is the same in all files, so it was not used to tell patients apart.",
                ]
    patients = find_patients(names, patient_pattern, known or None, known_rule)
    return ImageSet(
        source=source,
        path=str(path),
        classes=classes,
        table=table.assign(patient=patients.wide, patient_narrow=patients.narrow)[list(COLUMNS)].assign(
            **{name: list(cells) for name, cells in (groups or {}).items()}
        ),
        stamps=tuple(stamps),
        reader=FileReader(root, tuple(names)),
        patient_rule=patients.rule,
        patients_assumed=patients.assumed,
        others=tuple(others),
        notes=(*notes, *patients.notes),
    )
