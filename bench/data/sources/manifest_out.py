"""A set written as a manifest, to be corrected by hand and read again."""

import csv
import io
from pathlib import Path

from bench.data.groups import PREFIX
from bench.data.imageset import FileReader, ImageSet
from bench.data.sources.one_label import blank
from bench.errors import ConfigError


def root_of(source: ImageSet) -> Path:
    """The folder that the paths of its manifest start from.

    Raises:
        ConfigError: if its images are not files of their own.
    """
    if not isinstance(source.reader, FileReader):
        raise ConfigError(
            f"The images of {source.path} are no files of their own, so no manifest can name them; a folder or a table "
            "of files is needed."
        )
    return source.reader.root.resolve()


def manifest_text(source: ImageSet) -> str:
    """A row an image: path, label, patient, split, and fold, the narrow reading of patients and groups where given.

    Read with its root as ``--image-root``, it gives the same table. Where nobody knows the patient, the cell is empty.

    Raises:
        ConfigError: if its images are no files, or a class is called as an empty cell is written.
    """
    root_of(source)
    table = source.table
    odd = [label for label in source.classes if blank(label)]
    if odd:
        raise ConfigError(
            f"{source.path} has a class called {odd[0]!r}, which counts as empty in a manifest; call it otherwise."
        )
    known = table["patient"].where(table["patient"] != table["image"], "")
    narrow = table["patient_narrow"].where(table["patient_narrow"] != table["image"], "")
    columns = {"path": table["image"], "label": table["label"], "patient": known}
    if (narrow != known).any():
        columns["patient_narrow"] = narrow
    columns["split"] = table["split"]
    if (table["fold"] != "").any():
        columns["fold"] = table["fold"]
    columns |= {name.removeprefix(PREFIX): table[name] for name in map(str, table.columns) if name.startswith(PREFIX)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()
