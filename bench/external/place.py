"""The folder of an external test: its name, and how it appears whole or not at all."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import ConfigError
from bench.reuse.model import ReusableModel
from bench.run.documents import ExternalRecord
from bench.run.record import read_strictly
from bench.settings import is_path

RECORD = "external.json"
ALONE = "external-"
"""Begins the name of the folder of a test of a model without its run."""
MOST_NAME = 60


def name_of(data: str, given: str | None) -> str:
    """The test's name: as it was ``given``, else that of the data's folder or file.

    Raises:
        ConfigError: if the given name is none that a folder can bear.
    """
    if given is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", given):
            raise ConfigError(f"--name takes at most 100 letters, digits, '.', '_' and '-', but got {given!r}.")
        return given
    place = Path(data).resolve()
    found = data if not is_path(data) else place.name if place.is_dir() else place.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", found).strip("-._")[:MOST_NAME] or "data"


def free_folder(model: ReusableModel, output: Path, name: str, trained: str, fingerprint: str) -> Path:
    """Where the test goes: the folder of the ``name``, or the next one with a number where that holds another test.

    A test of the same model on the same images is the one that is replaced.

    Args:
        model: that is tested.
        output: folder of run folders, for a model without its run.
        name: of the test.
        trained: SHA-256 of the training's file.
        fingerprint: of the images, with their labels.
    """
    number, called = 1, name
    while True:
        folder = model.run.external / called if model.run is not None else output / f"{ALONE}{called}"
        if not folder.exists() or _same(folder, trained, fingerprint):
            return folder
        number += 1
        called = f"{name}-{number}"


def _same(folder: Path, trained: str, fingerprint: str) -> bool:
    with suppress(OSError, ValueError, ConfigError, json.JSONDecodeError):
        known = read_strictly(ExternalRecord, folder / RECORD)
        return (known.model.trained, known.data.fingerprint) == (trained, fingerprint)
    return False


@contextmanager
def whole_or_nothing(folder: Path) -> Iterator[Path]:
    """A draft beside ``folder`` that takes its place when the block ends without an error, else goes.

    Where a folder is replaced, it makes room at the last moment, and comes back if the draft cannot take its place.
    """
    made = not folder.parent.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.draft-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)
        before = draft.with_name(f"{draft.name}-before")
        if folder.exists():
            folder.replace(before)
        try:
            draft.replace(folder)
        except BaseException:
            if before.exists():
                before.replace(folder)
            raise
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):
            if made:
                folder.parent.rmdir()  # which goes only where it is empty
