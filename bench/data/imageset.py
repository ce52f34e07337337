"""`ImageSet`: labelled images as a source hands them over, not yet decoded."""

from dataclasses import dataclass

import pandas as pd

from bench.data.readers import Content, FileReader, MemoryReader, Read, Reader

__all__ = ["COLUMNS", "Content", "FileReader", "ImageSet", "MemoryReader", "Read", "Reader"]

COLUMNS = ("image", "label", "patient", "patient_narrow", "split")


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, not yet decoded.

    Attributes:
        source: the kind of source: ``folder``, ``manifest``, ``npz``, ``medmnist`` or ``demo``.
        path: where it was found, as the user gave it.
        classes: class names in the order of their indices.
        table: a row an image: ``image`` (its unique name in the source), ``label`` (class name), ``patient`` (read
            widely; splits keep these together), ``patient_narrow`` (leaks are looked for by this one), ``split``
            (``train``, ``val``, ``test``, or empty where none is given), and maybe ``group:COLUMN`` (a text by which
            the evaluation looks at subgroups, empty where none is given). The index counts from 0.
        stamps: a text an image that changes when its file changes (size and modification time).
        reader: how the images are had.
        patient_rule: how patients were told apart, in words.
        patients_assumed: whether each image is taken for its own patient for want of anything better.
        patient_doubt: why no patient being in two splits would say too much, although patients are told apart; empty
            where nothing speaks against it.
        others: what was found but does not look like an image, relative to ``path``: files of other kinds, links that
            lead nowhere, and links to folders, which are not followed. What is not UTF-8 in a name is escaped.
        synthetic: whether the images are drawn, not taken.
        notes: what the user should know about this source, in sentences.
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
