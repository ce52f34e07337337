"""`ImageSet`: labelled images as a source hands them over, not yet decoded."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.data.images.readers import Content, FileReader, MemoryReader, Read, Reader

__all__ = ["COLUMNS", "Content", "FileReader", "ImageSet", "LeftOut", "MemoryReader", "Read", "Reader", "how_read"]

COLUMNS = ("image", "label", "patient", "patient_narrow", "split", "fold")


@dataclass(frozen=True)
class LeftOut:
    """What a source found and did not take, of one kind.

    Attributes:
        kind: a noun in the singular, such as ``mask``.
        names: of the files or folders, relative to where the source was found; what is not UTF-8 is escaped.
        plural: of ``kind`` where it is not formed by an s.
        folders: whether these are folders, or links to folders.
    """

    kind: str
    names: tuple[str, ...]
    plural: str = ""
    folders: bool = False

    @property
    def counted(self) -> str:
        """How many there are of the kind, such as ``3 masks``."""
        return f"{len(self.names)} {self.kind if len(self.names) == 1 else self.plural or self.kind + 's'}"


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, not yet decoded.

    Attributes:
        source: the kind of source: ``folder``, ``manifest``, ``npz``, ``medmnist`` or ``demo``.
        path: where it was found, as the user gave it.
        classes: class names in the order of their indices.
        table: a row an image: ``image`` (its unique name in the source), ``label`` (class name), ``patient`` (read
            widely; splits keep these together), ``patient_narrow`` (leaks are looked for by this one), ``split``
            (``train``, ``val``, ``test``, or empty where none is given), ``fold`` (as the source calls it, empty where
            none is given), and maybe ``group:COLUMN`` (a text by which the evaluation looks at subgroups, empty where
            none is given). The index counts from 0.
        stamps: a text an image that changes when its file changes (size and modification time).
        reader: how the images are had.
        patient_rule: how patients were told apart, in words.
        patients_assumed: whether each image is taken for its own patient for want of anything better.
        patient_doubt: why no patient being in two splits would say too much, although patients are told apart; empty
            where nothing speaks against it.
        others: what was found but does not look like an image, relative to ``path``: files of other kinds, and links
            that lead nowhere. What is not UTF-8 in a name is escaped.
        synthetic: whether the images are drawn, not taken.
        notes: what the user should know about this source, in sentences.
        layout: how it was read, in a few words, such as ``split/class``; empty where there is one way only.
        left_out: what else was found and not taken.
    """

    source: str
    path: str
    classes: tuple[str, ...]
    table: pd.DataFrame
    stamps: tuple[str, ...]
    reader: Reader
    patient_rule: str
    patients_assumed: bool = False
    patient_doubt: str = ""
    others: tuple[str, ...] = ()
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    layout: str = ""
    left_out: tuple[LeftOut, ...] = ()


def how_read(source: ImageSet) -> dict[str, Any]:
    """How ``source`` was read, for people and for audit.json.

    Returns:
        ``text`` (a line: layout, how many splits, folds, classes and known patients, how much was left out) and
        ``left_out`` (of each kind ``kind``, ``text``, ``count`` and ``files``).
    """
    table = source.table
    parts = [f"layout: {source.layout or source.source}"]
    counts = [(len(set(table[column]) - {""}), column) for column in ("split", "fold") if column in table]
    counts = [(count, noun) for count, noun in counts if count]
    counts += [] if source.patients_assumed else [(table["patient_narrow"].nunique(), "patient")]
    counts += [(len(source.classes), "classe")]
    told = ", ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
    parts.append(told.replace(" folds", " folds (--folds given validates over them)"))
    left = [one for one in (*source.left_out, LeftOut("other file", source.others)) if one.names]
    files = sum(len(one.names) for one in left if not one.folders)
    if files:
        told = ", ".join(one.counted for one in left if not one.folders)
        parts.append(f"{files} file{'s' * (files != 1)} left out: {told}")
    folders = [one.counted for one in left if one.folders]
    parts += [f"left out: {', '.join(folders)}"] if folders else []
    return {
        "text": "; ".join(parts),
        "left_out": [
            {"kind": one.kind, "text": one.counted, "count": len(one.names), "files": list(one.names)} for one in left
        ],
    }
