"""Which images show the same patient, and which subgroups they belong to: by what the source says, or by their names.

Patients are told apart in two ways. ``patient_id`` joins only images that are surely one patient's, and is read when
leaks are sought; ``split_group`` joins too much rather than too little, and is what splits keep together. Subgroups are
for the evaluation alone: neither training nor the splits depend on them.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.data.names import listed, split_of, word_list
from bench.errors import ConfigError

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
    """How the patient is read from a file name.

    Attributes:
        pattern: of the file name.
        patient_id: template, such as of series and number.
        split_group: template, such as of the number alone.
        own: whether no other set calls its files so: the mark by which the set is known.
        beside: whether other sets call their files so too: read only in a folder that holds own marks, or lies beside
            one that does (the same folder of all splits being one), and joined within such a folder only.
    """

    pattern: re.Pattern[str]
    patient_id: str
    split_group: str
    own: bool = True
    beside: bool = False


@dataclass(frozen=True)
class PublicSet:
    """A public set whose file names tell the patient.

    Attributes:
        title: the set, and the marks by which it is known.
        rules: the first that fits a name is taken.
    """

    title: str
    rules: tuple[NameRule, ...]

    def is_in(self, names: Sequence[str]) -> bool:
        """Whether enough of the names bear the set's own marks."""
        return sum(map(self.marks, names)) / max(1, len(names)) >= RECOGNISED

    def marks(self, name: str) -> bool:
        """Whether a name bears a mark of the set."""
        return any(rule.own and rule.pattern.match(_file_name(name)) for rule in self.rules)


PNEUMONIA = NameRule(
    re.compile(r"^person(?P<number>\d+)_(?P<series>bacteria|virus)_\d+"), r"\g<series>-\g<number>", r"person-\g<number>"
)
CHEST_XRAY = PublicSet(
    "the public chest X-ray file names (person…_bacteria or _virus, NORMAL2-IM-…)",
    (
        PNEUMONIA,
        NameRule(re.compile(r"^NORMAL2-IM-(?P<number>\d+)-\d+"), r"NORMAL2-IM-\g<number>", r"IM-\g<number>"),
        # OsiriX and Horos call every export so: alone, such a name tells nothing
        NameRule(re.compile(r"^IM-(?P<number>\d+)-\d+"), r"IM-\g<number>", r"IM-\g<number>", own=False, beside=True),
    ),
)
"""In the public paediatric chest X-ray set the series are numbered independently, so the number alone joins
images of different children; that is safe for drawing splits and a false alarm when looking for leaks."""
OCT = PublicSet(
    "the public OCT file names (CNV-, DME-, DRUSEN-PATIENT-NUMBER)",
    (
        NameRule(
            re.compile(r"^(?P<series>CNV|DME|DRUSEN)-(?P<number>\d{4,})-\d+\."),
            r"\g<series>-\g<number>",
            r"oct-\g<number>",
        ),
        NameRule(re.compile(r"^NORMAL-(?P<number>\d{4,})-\d+\."), r"NORMAL-\g<number>", r"oct-\g<number>", own=False),
    ),
)
"""OCT2017, (disease)-(randomised patient)-(image): Kermany et al., Cell 172:1122 (2018)."""
PUBLIC_SETS = (CHEST_XRAY, OCT)
CALLED_PATIENT = re.compile(r"(?:^|/)((?:patient|subject|case|pat|subj|sub|pt)[-_ ]?\d+[^/]*)/", re.IGNORECASE)


def find_patients(
    names: Sequence[str], pattern: str | None = None, known: Sequence[str] | None = None, known_rule: str = ""
) -> Patients:
    """The patients of images called ``names``.

    A pattern goes before what the source knows, that before the built-in reading of the names of public sets, where
    at least a tenth of the names bear such a set's own marks. Without any of them, and where the one in use says
    nothing of an image, each image is its own patient.

    Args:
        names: unique names, as paths relative to the source.
        pattern: a regular expression with one group, searched for in the file name, or in the whole relative
            path where the pattern holds a ``/``.
        known: what the source says; empty, or a word for nobody, where it says nothing of an image.
        known_rule: where ``known`` comes from, in words.

    Raises:
        ConfigError: if the pattern is no regular expression, has not one group, or matches nothing.
    """
    if pattern is not None:
        compiled = _compiled(pattern)
        matches = (compiled.search(name if "/" in pattern else _file_name(name)) for name in names)
        found = [somebody(match[1] or "") if match else "" for match in matches]
        if not any(found):
            raise ConfigError(
                f"--patient-pattern '{pattern}' matches none of the {len(names)} names, such as {names[0]!r}; it is "
                "searched for in the file name, or in the path below the data folder if it holds a '/'."
            )
        return _told(names, [(one, one) if one else None for one in found], f"--patient-pattern {pattern}")
    named = [somebody(patient) for patient in known or ()]
    if any(named):
        return _told(names, [(one, one) if one else None for one in named], known_rule)
    return _by_known_names(names) or Patients(
        tuple(names), tuple(names), ASSUMED, assumed=True, notes=_suggestion(names)
    )


def somebody(patient: str) -> str:
    """``patient`` without blanks around it; empty where that is a word for nobody, such as nan."""
    patient = patient.strip()
    return "" if patient.casefold() in word_list("unknown patients") | word_list("empty cells") else patient


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


def _told(names: Sequence[str], found: Sequence[tuple[str, str] | None], rule: str) -> Patients:
    """Patients of whom split_group and patient_id are told for most images; any other image is its own patient."""
    silent = [name for name, one in zip(names, found, strict=True) if not one]
    split_groups, ids = zip(*(one or (name, name) for name, one in zip(names, found, strict=True)), strict=True)
    note = f"{len(silent)} images have no patient by the rule “{rule}”; each is taken for its own patient"
    return Patients(split_groups, ids, rule, notes=(f"{note}: {listed(silent)}.",) if silent else ())


def _by_known_names(names: Sequence[str]) -> Patients | None:
    """The built-in reading of the names of public sets, None where no such set is recognised."""
    sets = [one for one in PUBLIC_SETS if one.is_in(names)]
    if not sets:
        return None
    places = _Places(sets, names)
    return _told(names, list(map(places.read, names)), f"built-in reading of {' and '.join(one.title for one in sets)}")


class _Places:
    """The folders in which names without a mark are read, and how these are told apart.

    Args:
        sets: that were recognised.
        names: of all images.
    """

    def __init__(self, sets: Sequence[PublicSet], names: Sequence[str]) -> None:
        self.rules = [rule for one in sets for rule in one.rules]
        self.marked = {_place(name) for name in names if any(one.marks(name) for one in sets)}
        self.beside = {place.rpartition("/")[0] for place in self.marked if place}
        unmarked = [rule.pattern for rule in self.rules if rule.beside]
        found = {_place(name) for name in names if any(pattern.match(_file_name(name)) for pattern in unmarked)}
        read = {place for place in found if self.holds(place)}
        chief = (read & self.marked) or read
        self.chief = min(chief) if len(chief) == 1 else None

    def holds(self, place: str) -> bool:
        """Whether names without a mark are read in ``place``."""
        return place in self.marked or (bool(place) and place.rpartition("/")[0] in self.beside)

    def read(self, name: str) -> tuple[str, str] | None:
        """The split_group and the patient_id that a name tells; None if it cannot be read."""
        for rule in self.rules:
            match = rule.pattern.match(_file_name(name))
            if match and (not rule.beside or self.holds(_place(name))):
                where = f"{_place(name)}/" if rule.beside and _place(name) != self.chief else ""
                return where + match.expand(rule.split_group), where + match.expand(rule.patient_id)
        return None


def _place(name: str) -> str:
    """The folder of a file, the same for all splits."""
    return "/".join(part for part in name.split("/")[:-1] if split_of(part) is None)


def _suggestion(names: Sequence[str]) -> tuple[str, ...]:
    """The pattern by which folders would name the patients, where folders look like it."""
    called = sorted({match[1] for name in names if (match := CALLED_PATIENT.search(name))})
    if len(called) > 1:
        kind = re.match(r"[A-Za-z]+", called[0])
        return (
            f"There are {len(called)} folders such as {called[0]}; if each is a patient, say so by "
            f"--patient-pattern '/?({kind[0] if kind else ''}[^/]*\\d[^/]*)/'.",
        )
    places = {_place(name) for name in names}
    deep = {place for place in places if "/" in place}
    if len({place.rpartition("/")[2] for place in deep}) > 2 * len({place.partition("/")[0] for place in deep}):
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
    if not CHEST_XRAY.is_in(names):
        return {}
    matches = [PNEUMONIA.pattern.match(_file_name(name)) for name in names]
    found = [match["series"] if match else "" for match in matches]
    return {f"{PREFIX}{SUBTYPE}": found} if any(found) else {}


def folder_groups(where: object, names: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """The columns of subgroups of a set that has file names and nothing else.

    Args:
        where: the source, for the message.
        names: of the images.
        wanted: the columns that ``--group-by`` names.

    Raises:
        ConfigError: if one is wanted that the names do not give.
    """
    known = file_subtypes(names)
    unknown = [name for name in wanted if name.strip().lower() != SUBTYPE or not known]
    if unknown:
        accepted = (
            f"its file names give {SUBTYPE} only"
            if known
            else "it has no columns, and its file names give no subtype; give the images as a .csv with that column"
        )
        raise ConfigError(f"--group-by {unknown[0]!r} cannot be used with {where}: {accepted}.")
    return known


def refuse_groups(where: object, wanted: Sequence[str]) -> None:
    """Refuse, by a ConfigError, ``--group-by`` for a source that has neither columns nor file names."""
    if wanted:
        raise ConfigError(
            f"--group-by {wanted[0]!r} cannot be used with {where}, which has no columns; leave it out, or give the "
            "images as a .csv with that column."
        )
