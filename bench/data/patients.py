"""Which images show the same patient, and which subgroups they belong to: by what the source says, or by their names.

Patients are told apart in two ways. ``patient_id`` joins only images that are surely one patient's, and is read when
leaks are sought; ``split_group`` joins too much rather than too little, and is what splits keep together. Subgroups are
for the evaluation alone: neither training nor the splits depend on them.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from bench.data.names import listed, merge_labels, split_of, word_list
from bench.errors import ConfigError, NoSubgroups

PREFIX = "group:"
"""Stands before the name of a subgroup's column in `bench.data.imageset.ImageSet.table`; empty cells are not given."""
SUBTYPE = "subtype"
ASSUMED = "each image is taken for its own patient (an assumption: nothing says otherwise)"
RECOGNISED = 0.1
"""Share of the names that must bear a public set's own marks for its built-in reading to be used. The marks are
specific: images of other kinds beside the set must not part its patients."""


@dataclass(frozen=True)
class Patients:
    """The patient of each image.

    Attributes:
        split_groups: by which splits keep images together.
        ids: by which leaks are sought.
        rule: how they were told apart, in words.
        assumed: whether each image, not just some, is its own patient for want of anything better.
        notes: what the user should know, in sentences.
    """

    split_groups: tuple[str, ...]
    ids: tuple[str, ...]
    rule: str
    assumed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NameRule:
    """How the patient is read from a file name; see public_sets.yaml."""

    pattern: re.Pattern[str]
    patient_id: str
    split_group: str
    own: bool = True
    beside: bool = False


@dataclass(frozen=True)
class PublicSet:
    """A public set whose file names tell the patient; see public_sets.yaml."""

    title: str
    rules: tuple[NameRule, ...]

    def is_in(self, names: Sequence[str]) -> bool:
        """Whether enough of the names bear the set's own marks."""
        return sum(map(self.marks, names)) / max(1, len(names)) >= RECOGNISED

    def marks(self, name: str) -> bool:
        """Whether a name bears a mark of the set."""
        return any(rule.own and rule.pattern.match(_file_name(name)) for rule in self.rules)


CALLED_PATIENT = re.compile(r"(?:^|/)((?:patient|subject|case|pat|subj|sub|pt)[-_ ]?\d+[^/]*)/", re.IGNORECASE)


@cache
def public_sets() -> dict[str, PublicSet]:
    """Short name -> public set, as public_sets.yaml lists them."""
    text = Path(__file__).with_name("public_sets.yaml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, PublicSet]).validate_python(yaml.safe_load(text))


def find_patients(
    names: Sequence[str],
    pattern: str | None = None,
    known: Sequence[str] | None = None,
    known_rule: str = "",
    n_classes: int = 0,
) -> Patients:
    """The patients of images called ``names``.

    A pattern goes before what the source knows, that before the built-in reading of the names of public sets, where
    at least a tenth of the names bear such a set's own marks. Without any of them, and where the one in use says
    nothing of an image, each image is its own patient. Patients who are written in two ways are joined as classes are
    (`bench.data.names.merge_labels`).

    Args:
        names: unique names, as paths relative to the source.
        pattern: a regular expression with one group, searched for in the file name, or in the whole relative
            path where the pattern holds a ``/``.
        known: what the source says; empty, or a word for nobody, where it says nothing of an image.
        known_rule: where ``known`` comes from, in words.
        n_classes: of the set; so few folders may be the labels.

    Raises:
        ConfigError: if the pattern is no regular expression, has not one group, or matches nothing.
    """
    if pattern is not None:
        return _named(names, by_pattern(names, pattern), f"--patient-pattern {pattern}")
    named = [somebody(patient) for patient in known or ()]
    if any(named):
        return _named(names, named, known_rule)
    return _by_known_names(names) or Patients(
        tuple(names), tuple(names), ASSUMED, assumed=True, notes=_suggestion(names, n_classes)
    )


def by_pattern(names: Sequence[str], pattern: str) -> list[str]:
    """The patients that a pattern finds in ``names``, as in `find_patients`; empty where it finds none.

    Raises:
        ConfigError: likewise.
    """
    compiled = _compiled(pattern)
    matches = (compiled.search(name if "/" in pattern else _file_name(name)) for name in names)
    found = [somebody(match[1] or "") if match else "" for match in matches]
    if not any(found):
        raise ConfigError(
            f"--patient-pattern '{pattern}' matches none of the {len(names)} names, such as {names[0]!r}; it is "
            "searched for in the file name, or in the path below the data folder if it holds a '/'."
        )
    return found


def somebody(patient: str) -> str:
    """``patient`` without blanks around it; empty where that is a word for nobody, such as nan."""
    patient = patient.strip()
    nobody = any(patient.casefold() in word_list(name) for name in ("empty cells", "unknown patients"))
    return "" if nobody else patient


@contextmanager
def naming(rule: str) -> Iterator[None]:
    """What rests on how patients were told apart: a ConfigError that speaks of patients has the rule added."""
    try:
        yield
    except ConfigError as error:
        if "patient" not in str(error):
            raise
        raise ConfigError(f"{str(error).removesuffix('.')}; how patients were told apart: {rule}.") from None


def _file_name(name: str) -> str:
    return name.rpartition("/")[2]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--patient-pattern '{pattern}' is no regular expression: {error}.") from None
    if compiled.groups != 1:
        raise ConfigError(
            f"--patient-pattern '{pattern}' has {compiled.groups} groups, but needs exactly one, around what names "
            r"the patient; example: --patient-pattern '^(P\d+)_'."
        )
    return compiled


def joined(patients: Sequence[str]) -> tuple[list[str], list[str]]:
    """The patients with one spelling each, such as P1 for p1 and 7 for 7.0, and notes on those that had another."""
    merged = merge_labels(patients)[0]
    other = [f"{one} is {chosen}" for one, chosen in dict.fromkeys(zip(patients, merged, strict=True)) if one != chosen]
    return merged, [f"Patients who are written in two ways were joined: {listed(other)}."] if other else []


def _named(names: Sequence[str], patients: Sequence[str], rule: str) -> Patients:
    """Patients who are called by one name each; empty where nobody is named."""
    merged, notes = joined(patients)
    found = _told(names, [(one, one) if one else None for one in merged], rule)
    return replace(found, notes=(*notes, *found.notes))


def _told(names: Sequence[str], found: Sequence[tuple[str, str] | None], rule: str) -> Patients:
    """Patients of whom split_group and patient_id are told for most images; any other image is its own patient."""
    silent = [name for name, one in zip(names, found, strict=True) if not one]
    split_groups, ids = zip(*(one or (name, name) for name, one in zip(names, found, strict=True)), strict=True)
    note = f"{len(silent)} images have no patient by the rule “{rule}”; each is taken for its own patient"
    return Patients(split_groups, ids, rule, notes=(f"{note}: {listed(silent)}.",) if silent else ())


def _by_known_names(names: Sequence[str]) -> Patients | None:
    """The built-in reading of the names of public sets, None where no such set is recognised."""
    sets = [one for one in public_sets().values() if one.is_in(names)]
    if not sets:
        return None
    rules = [rule for one in sets for rule in one.rules]
    marked = {_place(name) for name in names if any(one.marks(name) for one in sets)}
    around = {place.rpartition("/")[0] for place in marked if place}

    def is_read(place: str) -> bool:
        """Whether names without a mark are read in ``place``."""
        return place in marked or (bool(place) and place.rpartition("/")[0] in around)

    unmarked = [rule.pattern for rule in rules if rule.beside]
    found = {_place(name) for name in names if any(pattern.match(_file_name(name)) for pattern in unmarked)}
    read = {place for place in found if is_read(place)}
    chief = (read & marked) or read

    def told(name: str) -> tuple[str, str] | None:
        """The split_group and the patient_id that a name tells; None if it cannot be read."""
        for rule in rules:
            match, place = rule.pattern.match(_file_name(name)), _place(name)
            if match and (not rule.beside or is_read(place)):
                where = f"{place}/" if rule.beside and chief != {place} else ""
                return where + match.expand(rule.split_group), where + match.expand(rule.patient_id)
        return None

    return _told(names, list(map(told, names)), f"built-in reading of {' and '.join(one.title for one in sets)}")


def _place(name: str) -> str:
    """The folder of a file, the same for all splits."""
    return "/".join(part for part in name.split("/")[:-1] if split_of(part) is None)


def _suggestion(names: Sequence[str], n_classes: int) -> tuple[str, ...]:
    """The pattern by which folders would name the patients, where they look like it and are more than the classes."""
    called = sorted({match[1] for name in names if (match := CALLED_PATIENT.search(name))})
    if len(called) > 1:
        kind = re.match(r"[A-Za-z]+", called[0])
        return (
            f"There are {len(called)} folders such as {called[0]}; if each is a patient, say so by "
            f"--patient-pattern '/?({kind[0] if kind else ''}[^/]*\\d[^/]*)/'.",
        )
    places = {_place(name) for name in names}
    deep = {place for place in places if "/" in place}
    outer, inner = ({place.split("/")[end] for place in deep} for end in (0, -1))
    if len(inner) > 2 * max(len(outer), n_classes):
        return (
            f"The images lie in {len(deep)} folders such as {min(deep)}; if each is a patient, say so by "
            "--patient-pattern '([^/]+)/[^/]+$'.",
        )
    return ()


# Subgroups


def file_subtypes(names: Sequence[str]) -> dict[str, list[str]]:
    """``group:subtype`` -> ``bacteria``, ``virus`` or nothing, by the names of the public chest X-ray set; else empty.

    Args:
        names: of the images, as paths relative to the source.
    """
    chest_xray = public_sets()["chest x-ray"]
    if not chest_xray.is_in(names):
        return {}
    pattern = next(rule.pattern for rule in chest_xray.rules if "series" in rule.pattern.groupindex)
    matches = [pattern.match(_file_name(name)) for name in names]
    found = [match["series"] if match else "" for match in matches]
    return {f"{PREFIX}{SUBTYPE}": found} if any(found) else {}


def folder_groups(where: object, names: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """The columns of subgroups of a set that has file names and nothing else.

    Args:
        where: the source, for the message.
        names: of the images.
        wanted: the columns that ``--group-by`` names.

    Raises:
        NoSubgroups: if one is wanted that the names do not give.
    """
    known = file_subtypes(names)
    unknown = [name for name in wanted if name.strip().lower() != SUBTYPE or not known]
    if unknown:
        accepted = (
            f"its file names give {SUBTYPE} only"
            if known
            else "it has no columns, and its file names give no subtype; give the images as a .csv with that column"
        )
        raise NoSubgroups(f"--group-by {unknown[0]!r} cannot be used with {where}: {accepted}.", *unknown)
    return known


def refuse_groups(where: object, wanted: Sequence[str]) -> None:
    """Refuse, by `NoSubgroups`, ``--group-by`` for a source that has neither columns nor file names."""
    if wanted:
        raise NoSubgroups(
            f"--group-by {wanted[0]!r} cannot be used with {where}, which has no columns; leave it out, or give the "
            "images as a .csv with that column.",
            *wanted,
        )
