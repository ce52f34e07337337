"""Where the images lie that a manifest names: as it says, or below its root under another folder or ending."""

import filecmp
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from bench.data.imageset import stamp
from bench.data.names import printable, readable, split_of, word_list, words_of
from bench.data.sources.listing import DEEPEST, EXTENSIONS, is_called_like_an_image
from bench.errors import ConfigError


@dataclass(frozen=True)
class Located:
    """The files that names lead to.

    Attributes:
        names: of the files, relative to the root or absolute; empty where there is none.
        stamps: as `bench.data.imageset.stamp` makes them; empty where there is none.
        ambiguous: name -> the files that it may mean.
        searched: how many were found elsewhere, or under another ending, than the manifest says.
        example: one of these: as the manifest has it, and where it was found.
    """

    names: tuple[str, ...]
    stamps: tuple[str, ...]
    ambiguous: dict[str, list[str]]
    searched: int = 0
    example: tuple[str, str] = ("", "")

    @property
    def found(self) -> int:
        """How many names lead to a file."""
        return sum(bool(name) for name in self.names)


@dataclass
class ImageFiles:
    """The files below the folder ``root``, walked once, and only if a name does not lead to a file as it stands."""

    root: Path

    def locate(self, cells: Sequence[str]) -> Located:
        """The files that paths of a manifest lead to.

        A path is tried as it stands, then with its backslashes taken for what parts folders. One that leads to no file
        is looked for by its name, without or under another ending too, in every folder
        below the root. What parts the paths of the manifest from each other, all but the folders common to them, must
        be there, as many folders must be the same for all, and no split may become another; so no image of another
        patient or split is taken for it.
        """
        wanted = [cell if self._has_backslash(cell) else cell.replace("\\", "/") for cell in cells]
        stamps = [self._stamp(name) for name in wanted]
        lost = {name for name, one in zip(wanted, stamps, strict=True) if not one and name}
        if not lost:
            return Located(tuple(wanted), tuple(stamps), {})
        common = _common_folders(wanted)
        found, ambiguous = {}, {}
        all_places = {name: self._places(name, common) for name in lost}
        shared = {name: _shared(name, places[0]) for name, places in all_places.items() if places}
        most = max(shared.values(), default=0)
        for name, places in all_places.items():
            if places and shared[name] < most:
                continue
            if len(places) == 1 or (places and self._all_alike(places)):
                found[name] = places[0]
            elif places:
                ambiguous[name] = places
        names = [name if one else found.get(name, "") for name, one in zip(wanted, stamps, strict=True)]
        stamps = [one or (self._stamp(name) if name else "") for name, one in zip(names, stamps, strict=True)]
        names = [name if one else "" for name, one in zip(names, stamps, strict=True)]  # a pipe has none
        for place, name in enumerate(wanted):
            if not names[place] and (link := self._lost_link(name)):
                names[place], stamps[place] = name, link
        examples = [(name, found[name]) for name in wanted if name in found]
        return Located(tuple(names), tuple(stamps), ambiguous, len(examples), examples[0] if examples else ("", ""))

    def _has_backslash(self, name: str) -> bool:
        """Whether a file is called so, with a backslash in its name."""
        return "\\" in name and os.sep == "/" and bool(self._stamp(name))

    def _lost_link(self, name: str) -> str:
        """The stamp of a link to an image that is gone, which is an image that cannot be read; empty for others."""
        path = self.root / name
        try:
            is_lost = is_called_like_an_image(name) and path.is_symlink() and not path.exists()
            return stamp(path.lstat()) if is_lost else ""
        except (OSError, ValueError):
            return ""

    def _stamp(self, name: str) -> str:
        """Empty where there is no such file."""
        try:
            status = (self.root / name).stat()
        except (OSError, ValueError):
            return ""
        return stamp(status) if name and stat.S_ISREG(status.st_mode) else ""

    def _places(self, name: str, common: int) -> list[str]:
        """The files that ``name`` may mean, those that fit best alone."""
        by_name, by_stem = self._index
        file = _parts(name)[-1] if _parts(name) else ""
        needed = len(_parts(name)) - 1 - common
        stem, _, ending = file.rpartition(".")
        has_ending = f".{ending}" in EXTENSIONS
        for files in (by_name.get(file, []), by_stem.get(file, []), by_stem.get(stem, []) if has_ending else []):
            shared = {place: _shared(name, place) for place in files}
            splits = _splits_in(name)
            fitting = [place for place in files if shared[place] >= needed]
            fitting = [place for place in fitting if not splits or _splits_in(place) in (set(), splits)]
            if fitting:
                most = max(shared[place] for place in fitting)
                return _preferred(name, [place for place in fitting if shared[place] == most])
        return []

    def _all_alike(self, places: Sequence[str]) -> bool:
        """Whether files are copies of each other, as where an archive was unpacked twice."""
        first, *others = (self.root / place for place in places)
        with readable(self.root):
            return all(filecmp.cmp(first, other, shallow=False) for other in others)

    @cached_property
    def _index(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """File name, and name without ending, -> files below the root, in order."""
        names: dict[str, list[str]] = defaultdict(list)
        stems: dict[str, list[str]] = defaultdict(list)
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(filter(_may_hold_data, folders))
            below = Path(folder).relative_to(self.root).as_posix()
            folders[:] = folders if below.count("/") < DEEPEST else []
            for file in sorted(files):
                if file.startswith(".") or printable(file) != file or printable(below) != below:
                    continue
                place = file if below == "." else f"{below}/{file}"
                name = _composed(file)
                names[name].append(place)
                if name.endswith(EXTENSIONS):
                    stems[name.rpartition(".")[0]].append(place)
        return names, stems


def _may_hold_data(folder: str) -> bool:
    """Whether a folder of this name is neither hidden nor one that systems keep for themselves."""
    return not (folder.startswith((".", "@", "$")) or folder.lower() in word_list("system folders"))


def _preferred(name: str, places: list[str]) -> list[str]:
    """Of files that fit alike: those of the very same case, and those that are no masks."""
    same = [
        place
        for place in places
        if name.rpartition("/")[2] in (file := place.rpartition("/")[2], file.rpartition(".")[0])
    ]
    images = [place for place in same or places if not words_of(place.rpartition("/")[0]) & word_list("masks")]
    return images or same or places


def check_root(root: Path) -> None:
    """Refuse, by a ConfigError, an ``--image-root`` that is no folder."""
    with readable(root):
        if not root.is_dir():
            raise ConfigError(f"--image-root {root} is no folder; the folder that the paths start from is needed.")


def _composed(name: str) -> str:
    """A name in one Unicode form and case: systems differ in how they write an accent, and in whether case counts."""
    return unicodedata.normalize("NFC", name).casefold()


def _parts(name: str) -> list[str]:
    return [_composed(part) for part in name.split("/") if part not in ("", ".")]


def _common_folders(names: Sequence[str]) -> int:
    """How many of the first folders all paths share."""
    folders = {tuple(_parts(name)[:-1]) for name in names if name}
    return sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False)))


def _splits_in(path: str) -> set[str]:
    return {split for part in path.split("/")[:-1] if (split := split_of(part))}


def _shared(name: str, other: str) -> int:
    """How many of their last folders two paths share."""
    pairs = zip(reversed(_parts(name)[:-1]), reversed(_parts(other)[:-1]), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
