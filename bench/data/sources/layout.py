"""What the folders of a set of images stand for: splits, folds, patients, classes; what is unclear is refused."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.data.names import (
    beside_split,
    eval_as_test,
    fold_of,
    folded,
    listed,
    pattern,
    printable,
    split_of,
    word_list,
    words_of,
)
from bench.data.sources.columns import role_of
from bench.data.sources.split_tables import splits_beside
from bench.data.sources.table_file import read_table
from bench.data.sources.tree import File, Folder, is_images_name, is_unlabelled_name, with_count
from bench.errors import ConfigError

LAYOUTS = (
    "folders of images called after their class, directly or inside train/, val/ and test/ (docs/data.md lists them)"
)
MANIFEST = "name the images in a .csv with path,label[,patient][,split]"
WORKBOOKS = (".xlsx", ".xls", ".ods")
"""Endings of tables that are not read, and can be saved as ones that are."""
ANNEXED = "annex/objects/"  # where links of git-annex lead
MANY = 10  # so many folders called by numbers are patients rather than classes


class Placed(NamedTuple):
    """An image, and what the folders around it say of it; empty where they say nothing."""

    file: File
    label: str
    split: str = ""
    fold: str = ""
    patient: str = ""


@dataclass
class Reading:
    """How a folder was read.

    Attributes:
        root: the folder.
        placed: its images.
        folders: those that they lie in or below.
        layout: in a few words.
        loose: paths of images beside class folders.
        others: paths of other files there.
        beside: paths of folders beside those that were read, with how many images they hold.
        patients: folders that are patients, and hold class folders.
        tables: paths of the tables that lie among the images.
        numbered: names of folders in all splits that patients may be called by.
        notes: what the user should know, in sentences.
    """

    root: Path
    placed: list[Placed] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    layout: str = "class"
    loose: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    patients: list[Folder] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    numbered: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def place(self, folder: Folder, label: str, **where: str) -> None:
        """Take all images in and below ``folder`` as of one class; ``where`` as in `Placed`."""
        self.folders.append(folder)
        self.placed += [Placed(image, label, **where) for image in folder.every()]

    def pass_over(self, folder: Folder) -> None:
        """Leave out the files that lie in ``folder`` itself; where it holds links that lead nowhere, it is refused."""
        _refuse_lost(self.root, folder)
        self.loose += [image.path for image in folder.images]
        self.others += folder.others

    def are_years(self, names: Iterable[str]) -> bool:
        """Whether folders are called by years, and with them all that may be patients: then they are none."""
        return all(pattern("year").fullmatch(name) for name in {*names, *self.numbered})


def read_layout(root: Path, tree: Folder) -> Reading:
    """What the folders below ``root`` say of the images in ``tree``.

    Args:
        root: the folder, for messages.
        tree: what lies in it, without masks.

    Raises:
        ConfigError: if the folders have no meaning that is known, or two; it names what would be accepted.
    """
    reading, top = Reading(root, tables=_tables(tree)), tree
    _leave_unlabelled(tree, reading)
    _leave_copies(tree, reading)
    while (below := _outer(top)) is not None:
        reading.pass_over(top)
        reading.beside += [with_count(one) for one in top.holding().values() if one is not below]
        top = below
        _leave_copies(top, reading)
    _refuse_lost_classes(root, top)
    _read_top(root, top, reading)
    _note_few_patients(reading)
    if top is not tree:
        reading.layout += f" below {printable(top.path)}"
    return reading


def _refuse_lost(root: Path, folder: Folder) -> None:
    """Refuse links that lead nowhere where folders of images are expected: they may have been some of these."""
    lost = [path for path in folder.lost if _may_be_a_folder(root / path)]
    if lost:
        leads, it = ("leads", "it") if len(lost) == 1 else ("lead", "them")
        raise ConfigError(
            f"{listed(lost)} in {root} {leads} nowhere, as a link to a disk that is not there does, and may stand for "
            f"class folders or splits; mend {it}, or take {it} out of {root}."
        )


def _may_be_a_folder(link: Path) -> bool:
    """Whether a link may have led to a folder of labelled images: git-annex has links of files alone."""
    file = link.suffix.lower() in word_list("other files") or ANNEXED in str(link.readlink())
    return not (file or words_of(link.name) & word_list("masks") or is_unlabelled_name(link.name))


def _refuse_lost_classes(root: Path, tree: Folder) -> None:
    """Refuse folders in which all that may be images is gone: the class, or the patient, would be left out."""
    for folder in tree.walk():
        gone = [path for path in folder.lost if not Path(path).suffix and _may_be_images(path)]
        if len(gone) > 1 and next(folder.every(), None) is None:
            raise ConfigError(
                f"{root / folder.path} holds {len(gone)} links that lead nowhere ({listed(gone)}) and no image; fetch "
                f"what they stand for, or take the folder out of {root}."
            )


def _may_be_images(path: str) -> bool:
    """Whether files of this path may be images though their names have no ending, as in folders with classes."""
    return not any(words_of(part) & word_list("masks") or is_unlabelled_name(part) for part in path.split("/"))


def _outer(folder: Folder) -> Folder | None:
    """The one folder in ``folder`` that all is in, unless it is a split, fold or class; or its folder of images."""
    holding = folder.holding()
    images = [one for name, one in holding.items() if is_images_name(name) and len(one.holding()) > 1]
    if len(images) == 1 and not images[0].images:
        return images[0]
    below = next(iter(holding.values()), None)
    if below is None or len(holding) > 1 or fold_of(below.name):
        return None
    inside = below.holding()
    if _is_plain(below.name) and not _is_whole(inside):
        return None
    if not inside or all(_names_a_patient(name) and one.images for name, one in inside.items()):
        return None
    if below.images and (len(inside) < 2 or 2 * len(below.images) > sum(1 for _ in below.every())):
        return None  # a class, and more in it
    return below


def _is_whole(holding: Mapping[str, Folder]) -> bool:
    """Whether folders are the splits of a set, whatever the folder around them is called."""
    splits = set(_called_splits(holding).values())
    return "train" in splits and (len(splits) > 1 or len(holding) == 1)


def _leave_unlabelled(tree: Folder, reading: Reading) -> None:
    """Leave out, at whatever depth, the folders of images that nobody has labelled, where others stand beside them."""
    for folder in tree.walk():
        unlabelled = [name for name in folder.holding() if is_unlabelled_name(name)]
        if len(unlabelled) < len(folder.holding()):
            reading.beside += [with_count(folder.folders.pop(name)) for name in unlabelled]


def _leave_copies(folder: Folder, reading: Reading) -> None:
    """Leave out a folder that holds once more what lies beside it, as where an archive was unpacked twice.

    It is no split, but for train in train. The same goes for the one folder that all is in.
    """
    names = {folded(name) for name in folder.holding()}
    for name, below in folder.holding().items():
        if split_of(name) not in (None, split_of(folder.name)):
            continue
        copy = below
        while len(inside := copy.holding()) == 1 and not copy.images:
            copy = next(iter(inside.values()))
        again = {folded(one) for one in copy.holding()} & (names - {folded(name)})
        if len(again) > 1 and len(again) >= len(names) - 1 and _repeats(copy, folder):
            reading.beside.append(with_count(folder.folders.pop(name)))
    holding = list(folder.holding().values())
    if len(holding) == 1:
        _leave_copies(holding[0], reading)


def _repeats(below: Folder, folder: Folder) -> bool:
    """Whether most images below one folder lie in another under the same names."""
    skipped = len(folder.path) + 1 if folder.path else 0
    there = {image.path[skipped:] for image in folder.every()}
    again = [image.path[len(below.path) + 1 :] in there for image in below.every()]
    return sum(again) > 0.5 * len(again)


def _read_top(root: Path, top: Folder, reading: Reading) -> None:
    holding = top.holding()
    if not any(folder.holding() for folder in holding.values()):
        _refuse_one_level_of_both(root, holding)
    splits = _splits(root, holding)
    if splits:
        _read_splits(root, top, splits, reading)
        return
    tables = [name for name in reading.tables if not name.lower().endswith(WORKBOOKS)]
    if _is_pile(holding) or (len(holding) == 1 and tables and not next(iter(holding.values())).holding()):
        raise _no_labels(root, reading.tables, holding)
    for named, kind in ((split_of, "split"), (fold_of, "fold")):
        if _parted(root, holding, named, kind):
            reading.pass_over(top)
            for label, folder in holding.items():
                reading.pass_over(folder)
                for name, part in folder.holding().items():
                    reading.place(part, label, **{kind: named(name) or ""})
            reading.layout = f"class/{kind}"
            return
    _refuse_one_level_of_both(root, holding)
    reading.layout = _read_classes(root, top, reading, {})


def _is_pile(holding: Mapping[str, Folder]) -> bool:
    """Whether the folders hold images, and say nothing of them: images/, or part_1, part_2 …"""
    if any(len(folder.holding()) > 1 or not all(map(is_images_name, folder.holding())) for folder in holding.values()):
        return False
    names = {frozenset(word for word in words_of(name) if not word.isdigit()) for name in holding}
    return all(map(is_images_name, holding)) or (
        len(names) == 1 < len(holding) and bool(set().union(*names) & word_list("piles"))
    )


# Splits


def _is_plain(name: str) -> bool:
    """Whether a name says that a folder is a split, and nothing else."""
    return split_of(name) is not None and all(word.isdigit() for word in beside_split(name))


def _class_names(folder: Folder, codes: bool = False) -> set[str]:
    """The folders in ``folder`` that may be classes, under names that are the same in all splits.

    Args:
        folder: that of a split, or of what may be one.
        codes: whether names as patients have them, such as J189 or 100, count too, unless there are folders in theirs.
    """
    return {
        folded(name)
        for name, below in _parts(folder).items()
        if not _names_a_patient(name) or (codes and not below.holding())
    }


def _parts(folder: Folder) -> dict[str, Folder]:
    """The folders in ``folder``, or in the one folder that all in it is in."""
    holding = folder.holding()
    while len(holding) == 1 and (only := next(iter(holding.values()))).holding() and not only.images:
        holding = only.holding()
    return holding


def _called_splits(holding: Mapping[str, Folder]) -> dict[str, str]:
    """Folder name -> split, of the folders that are splits.

    A folder called like a split is one if its name says nothing else, if it holds a class folder that another one
    called like a split holds, or if one of another split is called alike but for that. So test_positive beside
    test_negative is a class, also where both hold the patient p001.
    """
    named = {name: split for name in holding if (split := split_of(name)) and fold_of(name) is None}
    classes = {name: _class_names(holding[name]) for name in named}
    coded = {name: _class_names(holding[name], codes=True) for name in named}
    found = {
        name: split
        for name, split in named.items()
        if _is_plain(name)
        or any(classes[name] & classes[other] for other in named if other != name)
        or any(
            beside_split(name) == beside_split(other) or coded[name] & coded[other]
            for other in named
            if named[other] != split
        )
    }
    return eval_as_test(found)


def _splits(root: Path, holding: Mapping[str, Folder]) -> dict[str, str]:
    """As `_called_splits`.

    Raises:
        ConfigError: if two are the same split.
    """
    found = _called_splits(holding)
    for split in dict.fromkeys(found.values()):
        same = [name for name in found if found[name] == split]
        if len(same) > 1:
            raise ConfigError(
                f"{root} has {len(same)} folders that are called like a {split} split ({listed(same)}), but one is "
                f"needed; move what is not wanted out of {root}, or {MANIFEST}."
            )
    return found


def _read_splits(root: Path, top: Folder, splits: dict[str, str], reading: Reading) -> None:
    holding = top.holding()
    reading.pass_over(top)
    for name in splits:
        _leave_copies(holding[name], reading)
    classes = {name: _class_names(holding[name], codes=True) for name in splits}
    known = set().union(*classes.values())
    others = {name: folder for name, folder in holding.items() if name not in splits}
    folds = {name: "train" for name in others if fold_of(name) is not None and "train" not in splits.values()}
    strangers = {name: one for name, one in others.items() if name not in folds}
    doubt = _maybe_a_class(splits) if strangers and not _is_whole(holding) else ""
    _refuse_strangers(root, strangers, splits, classes, "" if "train" in splits.values() else doubt)
    said = Counter(one for names in classes.values() for one in names)
    sure = {one for one in known if said[one] > 1 or not _names_a_patient(one)}
    unlabelled = [name for name in splits if not _has_classes(holding[name], sure)]
    if unlabelled:
        raise _without_labels(root, reading.tables, splits, unlabelled, holding, doubt)
    if "train" not in splits.values() and not folds:
        raise ConfigError(f"{root} has {listed(splits)}{doubt} but no train folder; --data takes {LAYOUTS}.")
    _refuse_bare(root, map(holding.__getitem__, folds), reading.tables)
    reading.beside += [with_count(one) for one in strangers.values()]
    reading.numbered |= {part for name in splits for part in _parts(holding[name]) if _names_a_patient(part)}
    layouts, years = set(), []
    for name, split in (splits | folds).items():
        folder, where = holding[name], {"split": split} | ({"fold": fold_of(name) or ""} if name in folds else {})
        _refuse_splits_inside(root, folder, split, known)
        while len(inside := folder.holding()) == 1 and _has_classes(only := next(iter(inside.values())), known):
            if folded(only.name) in known or (_names_a_patient(only.name) and not reading.are_years([only.name])):
                break
            reading.pass_over(folder)
            folder = only
            years += [folder] if reading.are_years([folder.name]) else []
            _refuse_splits_inside(root, folder, split, known)
        layout = _read_classes(root, folder, reading, where)
        layouts.add(f"fold/{layout}" if name in folds else layout)
    if years:
        reading.notes.append(
            f"Taken for years, not for patients: {listed(one.path for one in years)}; if they are patients, call them "
            f"patient_{years[0].name} and so on."
        )
    kinds = {layout.removeprefix("fold/") for layout in layouts}
    if len(kinds) > 1 and "patient/class" in kinds:
        raise ConfigError(
            f"The splits in {root} are laid out in different ways ({listed(sorted(layouts))}); lay all out as "
            f"split/class, or {MANIFEST}."
        )
    called = [f"{printable(name)} is {split}" for name, split in splits.items() if name.casefold() != split]
    called += [f"{len(folds)} folds are train"] if folds else []
    reading.layout = f"split/{max(layouts, key=len)}" + (f" ({', '.join(called)})" if called else "")


def _has_classes(folder: Folder, known: set[str]) -> bool:
    """Whether a split has class folders, and not images alone, be it in a folder of their own."""
    holding = folder.holding()
    if len(holding) == 1:
        name, only = next(iter(holding.items()))
        nondescript = is_images_name(name) or split_of(name) or is_unlabelled_name(name) or folded(name) == "unknown"
        return (folded(name) in known and not (nondescript and only.images)) or _has_classes(only, known)
    return bool(holding)


def _refuse_strangers(
    root: Path,
    others: Mapping[str, Folder],
    splits: Mapping[str, str],
    classes: Mapping[str, set[str]],
    doubt: str,
) -> None:
    """Refuse a folder beside the splits that holds class folders as they do; ``doubt`` of the splits is said too."""
    for name, folder in others.items():
        if any(folded(name) in names for names in classes.values()):
            raise ConfigError(
                f"{root / folder.path} is called like a class folder of {listed(splits)}, but lies beside them; move "
                f"it into one of them, or out of {root}."
            )
        same = _class_names(folder, codes=True) & set().union(*classes.values())
        shared = sorted({one for below in folder.walk() for one in below.folders if folded(one) in same})
        if shared:
            raise ConfigError(
                f"{root / folder.path} holds the class folder{'s' * (len(shared) > 1)} {listed(shared)} as "
                f"{listed(splits)} {'do' if len(splits) > 1 else 'does'}, but its name tells no split; call it train, "
                f"val or test, or move it out of {root}{doubt}."
            )


def _refuse_splits_inside(root: Path, folder: Folder, split: str, known: set[str]) -> None:
    """Refuse a folder of a split that holds splits, alone or beside classes; ``known``: class folders of all splits."""
    holding = folder.holding()
    found = _called_splits(holding)
    if len(holding) == 1:  # as in seg_train/seg_train
        found = {name: one for name, one in found.items() if one != split_of(folder.name)}
    elif not _is_whole(holding):
        found = {name: one for name, one in found.items() if _class_names(holding[name], codes=True) & known}
    if found:
        others = listed(name for name in holding if name not in found)
        raise ConfigError(
            f"{root / folder.path} is read as of the {split} split, but holds {listed(found)}"
            f"{f' beside {others}' if others else ''}, called like {'a split' if len(found) == 1 else 'splits'}; lay "
            f"all splits out beside each other, or {MANIFEST}."
        )


def _maybe_a_class(splits: Mapping[str, str]) -> str:
    """What to say of folders read as splits beside other folders, all of which may be classes."""
    read = " and ".join(f"{printable(name)} is read as the {split} split" for name, split in splits.items())
    return f" ({read} because of {'its name' if len(splits) == 1 else 'their names'}; rename what is a class)"


def _without_labels(
    root: Path,
    tables: list[str],
    splits: Mapping[str, str],
    unlabelled: list[str],
    holding: Mapping[str, Folder],
    doubt: str,
) -> ConfigError:
    labelled = [name for name in splits if name not in unlabelled]
    if not labelled or "train" not in {splits[name] for name in labelled}:
        return _no_labels(root, tables, unlabelled, doubt)
    images = sum(1 for name in unlabelled for _ in holding[name].every())
    parent = holding[labelled[0]].path.rpartition("/")[0]
    place = root / parent if parent else root
    go_on = f"--data {place / labelled[0]}" if len(labelled) == 1 else f"move {listed(unlabelled)} out of {place}"
    return ConfigError(
        f"The {images} images in {listed(unlabelled)} of {place} lie in no class folder, so they have no label, and "
        f"nothing can be tested on them; sort them into class folders, or leave them out: {go_on}."
    )


def _no_labels(root: Path, tables: list[str], folders: Iterable[str] = (), doubt: str = "") -> ConfigError:
    """What to say where images have no label; ``doubt`` of the folders is said in addition."""
    named = listed(folders)
    place = f"{named} of {root}" if named else f"{root}"
    return ConfigError(
        f"The images in {place} lie in no class folder, so they have no label{doubt}{_or_table(root, tables)}; "
        f"--data takes {LAYOUTS}; or {MANIFEST}."
    )


def _refuse_bare(root: Path, folds: Iterable[Folder], tables: list[str]) -> None:
    """Refuse folds whose images lie in no class folder."""
    bare = [fold.path for fold in folds if not fold.holding()]
    if bare:
        doubt = " (they are read as folds because of their names; rename what is a class)"
        raise _no_labels(root, tables, bare, doubt)


def _tables(tree: Folder) -> list[str]:
    """The tables below a folder, the one that most likely has the labels first."""

    def merit(name: str) -> tuple[bool, bool, bool, int, int]:
        words = words_of(name.rpartition("/")[2])
        unlikely = bool(words & {"sample", "submission", "test", "testing"})
        likely = bool(words & {"train", "training", "label", "labels"})
        return unlikely, name.lower().endswith(WORKBOOKS), not likely, name.count("/"), len(name)

    endings = (".csv", ".tsv", *WORKBOOKS)
    found = [name for folder in tree.walk() for name in folder.others if name.lower().endswith(endings)]
    return sorted(found, key=merit)


def _or_table(root: Path, tables: list[str]) -> str:
    """The command that takes a table which may have the labels, and its columns; nothing where there is none."""
    if not tables:
        return ""
    path = root / tables[0]
    if path.suffix.lower() in WORKBOOKS:
        return f" (they may be in {path}: save that as CSV)"
    try:
        table = read_table(path, role_of)
    except ConfigError as error:
        return f" (they may be in a table that cannot be read: {str(error).rstrip('.')})"
    columns = listed([name for name in table.header if name], 12) or "(none)"
    take = splits_beside(table) or f"to take them from there, give --data {path}"
    return f" (they may be in {path.name}, which has the columns {columns}: {take})"


# Classes


def _parted(root: Path, holding: Mapping[str, Folder], named: Callable[[str], str | None], kind: str) -> bool:
    """Whether the folders are classes, each parted into splits, or folds.

    Raises:
        ConfigError: if some are and others are not, or one has two folders for the same part.
    """
    inside = {label: folder.holding() for label, folder in holding.items()}
    parted = [label for label, parts in inside.items() if parts and all(map(named, parts))]
    found = {named(name) for label in parted for name in inside[label]}
    contents = [_class_names(part) for label in parted for part in inside[label].values()]
    if len(parted) > 1 and all(len(names) > 1 for names in contents):
        first = holding[parted[0]]
        raise ConfigError(
            f"{listed(parted)} in {root} each hold {listed(first.holding())} with class folders "
            f"({listed(sorted(contents[0]))}, …); give one of them, by --data {root / first.path}, or {MANIFEST}."
        )
    if not parted or (len(found) < 2 and found != {"train"}) or len(holding) < 2:
        return False
    others = [label for label in holding if label not in parted]
    if others:
        raise ConfigError(
            f"{root / holding[parted[0]].path} is parted into {listed(inside[parted[0]])}, but {listed(others)} "
            f"{'is' if len(others) == 1 else 'are'} not; part every class alike, or {MANIFEST}."
        )
    for label in parted:
        if len({named(name) for name in inside[label]}) < len(inside[label]):
            raise ConfigError(
                f"{root / holding[label].path} has two folders for one {kind} ({listed(inside[label])}); one is needed."
            )
    if kind == "split" and "train" not in found:
        raise ConfigError(
            f"The classes in {root} are parted into {listed(sorted(map(str, found)))} but have no train folder; "
            f"--data takes {LAYOUTS}."
        )
    return True


def _read_classes(root: Path, top: Folder, reading: Reading, where: Mapping[str, str]) -> str:
    """Place what lies in class folders, maybe below folds or patients, as of ``where``; returns the layout in words."""
    _leave_copies(top, reading)
    holding = top.holding()
    reading.pass_over(top)
    folds = {name: fold for name in holding if (fold := fold_of(name)) is not None}
    if folds and len(folds) == len(holding) > 1:
        _refuse_bare(root, map(holding.__getitem__, folds), reading.tables)
        for name, fold in folds.items():
            layout = _read_classes(root, holding[name], reading, {**where, "fold": fold})
        return f"fold/{layout}"
    if _are_patients(root, holding, reading):
        reading.patients += holding.values()
        for patient, folder in holding.items():
            reading.pass_over(folder)
            for label, below in folder.holding().items():
                reading.place(below, label, **where, patient=patient)
        return "patient/class"
    _look_into_classes(root, holding, reading)
    for label, folder in holding.items():
        reading.place(folder, label, **where)
    inside = [name for folder in holding.values() for name in folder.holding()]
    return "class/images" if inside and all(map(is_images_name, inside)) else "class"


def _names_a_patient(name: str) -> bool:
    return bool(pattern("patient").fullmatch(name) or pattern("identifier").fullmatch(name))


def _are_patients(root: Path, holding: Mapping[str, Folder], reading: Reading) -> bool:
    """Whether the folders are patients with class folders in them.

    Raises:
        ConfigError: if they look like patients and hold no class folders, or are years and hold some.
    """
    names = [name for name in holding if _names_a_patient(name) or (name.isdigit() and len(holding) > MANY)]
    if len(names) < 0.8 * len(holding):
        return False
    inside = {folded(name) for folder in holding.values() for name in folder.holding()}
    classes = {name for name in inside if not pattern("visit").fullmatch(name) and not _names_a_patient(name)}
    if len(classes) > 1 and classes == inside and len(classes) <= max(2, len(holding)):
        if not reading.are_years(holding):
            return True
        first = next(iter(holding))
        raise ConfigError(
            f"The folders {listed(holding)} in {root} are called by years and hold class folders "
            f"({listed(sorted(classes))}), so it is unclear what they are; if they are patients, call them "
            f"patient_{first} and so on; if they are years, lay them out as class/{first}, or {MANIFEST}."
        )
    held = listed(dict.fromkeys(name for folder in holding.values() for name in folder.holding()))
    told = f"folders that are not clearly classes ({held})" if held else "no class folders"
    numbered = len(holding) > MANY and any(_names_a_patient(name) for name in names)
    if numbered or all(pattern("patient").fullmatch(name) for name in names):
        raise ConfigError(
            f"The {len(holding)} folders in {root} look like patients, not classes ({listed(names)}), and hold {told}"
            f"{_or_table(root, reading.tables)}; lay them out as patient/class or class/patient, or {MANIFEST}."
        )
    return False


def _note_few_patients(reading: Reading) -> None:
    """Note patients who may be something else: few, called by numbers, and each with every class."""
    names = sorted({folder.name for folder in reading.patients})
    classes = [set(map(folded, folder.holding())) for folder in reading.patients]
    certain = all(pattern("patient").fullmatch(name) for name in names)
    if not certain and len(names) <= MANY and all(one == classes[0] for one in classes):
        reading.notes.append(
            f"Taken for patients, though each holds every class: {listed(names)}; if they are sites or batches, lay "
            f"them out as class/{names[0]}, or {MANIFEST}."
        )


def _look_into_classes(root: Path, holding: Mapping[str, Folder], reading: Reading) -> None:
    """Refuse folders that each hold class folders, as sites and sets do; note where it is not sure what is a class."""
    if len(holding) > MANY and all(map(str.isdigit, holding)):
        reading.notes.append(f"{len(holding)} folders called by numbers were taken for classes; if not, {MANIFEST}.")
    elif len(holding) > 2 and all(pattern("identifier").fullmatch(name) for name in holding):
        reading.notes.append(f"The folders {listed(holding)} were taken for classes; if they are patients, {MANIFEST}.")
    if splits := list(filter(_is_plain, holding)):
        note = (
            f"Taken for classes, though called like splits: {listed(splits)}; if they are splits, lay all of them out "
            "beside each other."
        )
        reading.notes += [note] if note not in reading.notes else []
    below = [one for folder in holding.values() for one in folder.holding().values()]
    _refuse_deeper_classes(root, holding)
    if below and all(_names_a_patient(one.name) for one in below):
        depth = below[0].path.count("/")
        names = listed(dict.fromkeys(one.name for one in below))
        note = (
            f"The folders in the classes look like patients ({names}) but were not taken for them; if they are, give "
            f"--patient-pattern '^(?:[^/]+/){{{depth}}}([^/]+)/'."
        )
        reading.notes += [note] if note not in reading.notes else []
    inside = [_class_names(folder) for folder in holding.values()]
    if len(inside) < 2 or any(len(names) < 2 for names in inside):
        return
    if any(folder.images for folder in holding.values()):
        return
    every = set().union(*inside)
    shared = listed(sorted({name for folder in holding.values() for name in folder.holding()}))
    alike = all(names == inside[0] for names in inside) and not all(map(pattern("part").fullmatch, every))
    if alike or all(words_of(name) & word_list("own sets") for name in holding):
        raise ConfigError(
            f"{listed(holding)} in {root} each hold folders ({shared}), so it is unclear which are the classes; call "
            f"the outer folders train, val and test if they are splits, give one of them, by --data "
            f"{root / next(iter(holding.values())).path}, or {MANIFEST}."
        )
    note = (
        f"{listed(holding)} were taken for the classes, and what each holds ({shared}) for parts of it; if those are "
        f"the classes, {MANIFEST}."
    )
    reading.notes += [note] if note not in reading.notes else []


def _refuse_deeper_classes(root: Path, holding: Mapping[str, Folder]) -> None:
    """Refuse PART/PATIENT/study1_positive: what the inner folders of every outer one say is the class."""
    found = [
        {
            word
            for one in folder.folders.values()
            for deep in one.walk()
            if deep is not one
            for word in words_of(deep.name)
        }
        for folder in holding.values()
    ]
    words = sorted(set.intersection(*found) & word_list("findings"))
    if len(holding) > 1 and len(words) > 1:
        raise ConfigError(
            f"{listed(holding)} in {root} each hold folders called {' and '.join(words)}, so it is unclear which are "
            f"the classes; lay them out as class/patient, or {MANIFEST}."
        )


def _refuse_one_level_of_both(root: Path, holding: Mapping[str, Folder]) -> None:
    """Refuse trainA, trainB, testA, testB: a folder for each pair of split and class."""
    named = {name: split for name in holding if (split := split_of(name))}
    rests = {name: "-".join(sorted(word for word in beside_split(name) if not word.isdigit())) for name in named}
    told = {name: rest for name, rest in rests.items() if rest}
    if len(named) == len(holding) > 2 and len(set(told.values())) > 1 and len({named[name] for name in told}) > 1:
        example = next(iter(told))
        raise ConfigError(
            f"The folders in {root} tell split and class at once ({listed(named)}); sort them into split/class, such "
            f"as {named[example]}/{told[example]}."
        )
