"""Which images show the same patient: by what the source says, by a pattern, or by names that are known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import ConfigError

ASSUMED = "each image is taken for its own patient (an assumption: nothing says otherwise)"
RECOGNISED = 0.1
"""Share of the names that must read like the public set's for the built-in reading to be used on those that do. The
patterns are specific: images of other kinds beside the set must not part its patients."""


@dataclass(frozen=True)
class Patients:
    """The patient of each image.

    Attributes:
        wide: the reading by which splits keep images together; joins too much rather than too little.
        narrow: the reading by which leaks are looked for; joins only what is surely one patient.
        rule: the reading in words.
        assumed: whether each image, not just some, is its own patient for want of anything better.
        notes: what the user should know, in sentences.
    """

    wide: tuple[str, ...]
    narrow: tuple[str, ...]
    rule: str
    assumed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NameRule:
    """How the patient is read from a file name, narrowly (series and number) and widely (number alone)."""

    pattern: re.Pattern[str]
    narrow: str
    wide: str


PNEUMONIA = NameRule(
    re.compile(r"^person(?P<number>\d+)_(?P<series>bacteria|virus)_\d+"),
    narrow=r"\g<series>-\g<number>",
    wide=r"person-\g<number>",
)
CHEST_XRAY_RULES = (
    PNEUMONIA,
    NameRule(
        re.compile(r"^(?P<series>NORMAL2-)?IM-(?P<number>\d+)-\d+"),
        narrow=r"\g<series>IM-\g<number>",
        wide=r"IM-\g<number>",
    ),
)
"""In the public paediatric chest X-ray set the series are numbered independently, so the number alone joins
images of different children; that is safe for drawing splits and a false alarm when looking for leaks."""


def find_patients(
    names: Sequence[str], pattern: str | None = None, known: Sequence[str] | None = None, known_rule: str = ""
) -> Patients:
    """The patients of images called ``names``.

    A pattern goes before what the source knows, that before the built-in reading of the public chest X-ray
    names, where at least a tenth of the names can be read so. Without any of them, and where the one in use
    says nothing of an image, each image is its own patient.

    Args:
        names: unique names, as paths relative to the source.
        pattern: a regular expression with one group, searched for in the file name, or in the whole relative
            path where the pattern holds a ``/``.
        known: what the source says, empty where it says nothing of an image.
        known_rule: where ``known`` comes from, in words.

    Raises:
        ConfigError: if the pattern is no regular expression, has not one group, or matches nothing.
    """
    if pattern is not None:
        found = _by_pattern(names, _compiled(pattern))
        if not any(found):
            raise ConfigError(
                f"--patient-pattern '{pattern}' matches none of the {len(names)} names, such as {names[0]!r}; it is "
                "searched for in the file name, or in the path below the data folder if it holds a '/'."
            )
        return _told(names, found, f"--patient-pattern {pattern}")
    if known is not None and any(known):
        return _told(names, known, known_rule)
    return _by_known_names(names) or Patients(tuple(names), tuple(names), ASSUMED, assumed=True)


def is_chest_xray_set(names: Sequence[str]) -> bool:
    """Whether at least a tenth of the names read like those of the public chest X-ray set."""
    read = sum(any(rule.pattern.match(_file_name(name)) for rule in CHEST_XRAY_RULES) for name in names)
    return read / max(1, len(names)) >= RECOGNISED


def subtype_of(name: str) -> str:
    """``bacteria`` or ``virus`` where a name of the public chest X-ray set says so, else nothing."""
    match = PNEUMONIA.pattern.match(_file_name(name))
    return match["series"] if match else ""


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


def _by_pattern(names: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    whole = "/" in pattern.pattern
    matches = (pattern.search(name if whole else _file_name(name)) for name in names)
    return [(match[1] or "") if match else "" for match in matches]


def _told(names: Sequence[str], found: Sequence[str], rule: str) -> Patients:
    """Patients that are named for most images; an image without one is its own patient."""
    patients = tuple(patient or name for name, patient in zip(names, found, strict=True))
    silent = [name for name, patient in zip(names, found, strict=True) if not patient]
    return Patients(patients, patients, rule, notes=_silent(silent, rule))


def _silent(names: Sequence[str], rule: str) -> tuple[str, ...]:
    if not names:
        return ()
    some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return (f"{len(names)} images have no patient by the rule “{rule}”; each is taken for its own patient: {some}.",)


def _by_known_names(names: Sequence[str]) -> Patients | None:
    """The built-in reading of the names that it knows, None where these are too few."""
    wide, narrow, silent = [], [], []
    for name in names:
        stem = _file_name(name)
        for rule in CHEST_XRAY_RULES:
            match = rule.pattern.match(stem)
            if match:
                wide.append(match.expand(rule.wide))
                narrow.append(match.expand(rule.narrow))
                break
        else:
            wide.append(name)
            narrow.append(name)
            silent.append(name)
    if (len(names) - len(silent)) / max(1, len(names)) < RECOGNISED:
        return None
    rule_in_words = "built-in reading of the public chest X-ray file names"
    return Patients(tuple(wide), tuple(narrow), rule_in_words, notes=_silent(silent, rule_in_words))
