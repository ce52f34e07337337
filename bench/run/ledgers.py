"""Where ledgers of test-split openings lie: on this machine, beside a cache, and with the data."""

from collections.abc import Iterable
from pathlib import Path

import platformdirs

from bench.settings import RunSettings, is_path

LEDGER = "test-openings.jsonl"
WITH_DATA = ".medical-transfer-bench"


def machine_folder() -> Path | None:
    """The user's own folder on this machine, whatever ``--cache`` and ``--output``; None without a home folder."""
    try:
        return Path(platformdirs.user_data_dir("medical-transfer-bench"))
    except RuntimeError:
        return None


def data_folder(settings: RunSettings) -> Path | None:
    """Where the ledger that travels with the data lies, or would; None for sets that are no files."""
    if not is_path(settings.data):
        return None
    place = settings.image_root or Path(settings.data)
    return (place if place.is_dir() else place.parent) / WITH_DATA


def folders(settings: RunSettings | None, images: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The folders of all ledgers that concern a run, each once.

    Args:
        settings: of the run; that of the data is used where it is there, or ``--ledger data`` asks for it. None for a
            model without its run, of which only this machine's ledger and those of images are known.
        images: files whose parents may hold a ledger of theirs.
    """
    found = [machine_folder()]
    if settings is not None:
        found += [settings.cache.absolute()] if settings.cache != Path() else []  # a damaged run.json names none
        of_data = data_folder(settings)
        if of_data is not None and (settings.ledger == "data" or of_data.is_dir()):
            found.append(of_data)
    places = dict.fromkeys(image.parent for image in images)
    parents = dict.fromkeys(parent for place in places for parent in (place.absolute(), *place.absolute().parents))
    found += [parent / WITH_DATA for parent in parents if (parent / WITH_DATA).is_dir()]
    return tuple(dict.fromkeys(one for one in found if one is not None))
