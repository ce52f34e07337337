"""Which column of a manifest says what: the names under which published sets have them, and what is near."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "path": (
        *("path", "file path", "image path", "img path", "image file path", "file", "filename", "image file"),
        *("image filename", "img file", "image", "image name", "img", "img name", "image index", "image id", "img id"),
        *("id code", "isic id", "dicom", "dicom path", "dicom id", "sop instance uid", "scan", "slide", "id"),
    ),
    "label": (
        *(
            "label",
            "labels",
            "label name",
            "class",
            "class name",
            "class label",
            "label id",
            "class id",
            "target",
            "diagnosis",
            "diagnostic",
        ),
        *("dx", "finding", "findings", "finding labels", "image label", "category", "pathology", "disease"),
        *("condition", "ground truth", "gt", "grade", "level"),
    ),
    "patient": (
        *("patient", "patient id", "patients", "patient code", "patient no", "patient nr", "patient number", "pid"),
        *("patient identifier", "patient uid", "patient key", "patient name", "pat id", "pt id", "subject"),
        *("subject id", "subject code", "subject number", "participant", "participant id", "person", "person id"),
        *("individual", "individual id", "mrn", "case", "case id", "case number", "case no", "lesion", "lesion id"),
        *("study", "study id", "study uid", "study instance uid", "exam", "exam id", "accession", "accession number"),
    ),
    "split": (
        *("split", "splits", "data split", "dataset split", "partition", "set", "subset", "dataset", "data set"),
        *("phase", "usage", "mode", "group", "grp", "part"),
    ),
    "fold": ("fold", "folds", "fold id", "fold no", "fold number", "k fold", "cv fold"),
    "patient_narrow": ("patient_narrow",),
}
"""What a column says -> the names it goes by, those to be preferred first. Compared as `normal` makes them."""
NOT_PATIENTS = {
    **dict.fromkeys(("lesion", "lesionid"), "a lesion"),
    **dict.fromkeys(("study", "studyid", "studyuid", "studyinstanceuid", "exam", "examid"), "an examination"),
    **dict.fromkeys(("accession", "accessionnumber"), "an examination"),
}
"""Names of columns that join images of one patient, though not all of them -> what they name instead."""
SAID_OF_PATIENTS = re.compile(
    r"age|sex|gender|weight|height|size|birth|race|ethni|position|orient|history|count|type|stat|class|group|diagnos"
)
"""In the name of a column that holds something about a patient, not who it is."""
ALIKE = 0.8
"""`difflib`'s ratio from which on a name counts as a misspelt other one."""
PEOPLE = ("patient", "subject", "participant")


def normal(name: str) -> str:
    """A column's name as names are compared: letters and digits alone, in one case."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name)).casefold()


ROLES: Mapping[str, tuple[str, ...]] = {
    role: tuple(dict.fromkeys(map(normal, names))) for role, names in SYNONYMS.items()
}
"""As ``SYNONYMS``, normalised."""
KNOWN = {name: role for role, names in ROLES.items() for name in names}


def is_known(name: str) -> bool:
    """Whether some column of a manifest goes by this name."""
    return normal(name) in KNOWN


def candidates(header: Sequence[str], role: str) -> list[int]:
    """The places of the columns that may say ``role``, those to be preferred first."""
    places = [place for place, name in enumerate(header) if KNOWN.get(normal(name)) == role]
    return sorted(places, key=lambda place: ROLES[role].index(normal(header[place])))


def near(header: Sequence[str], role: str, among: Iterable[int]) -> list[str]:
    """The names of the columns ``among`` (places) that look as if they said ``role``, the likeliest first.

    That is a misspelt name, or a longer one with one of the names as a word in it (adjudicated_dr_grade).
    """
    words = [name for name in ROLES[role] if len(name) > 2]
    inside = PEOPLE if role == "patient" else tuple(words)
    scored = []
    for place in among:
        name = normal(header[place])
        if not name or (role == "patient" and SAID_OF_PATIENTS.search(name)):
            continue
        parts = {normal(part) for part in re.findall(r"[^\W_]+", header[place])}
        has_word = bool(parts & set(inside)) or any(name.startswith(word) for word in inside if role == "patient")
        likeness = max(difflib.SequenceMatcher(None, name, word).ratio() for word in words)
        if has_word or likeness >= ALIKE:
            scored.append((has_word, likeness, header[place]))
    return [name for *_, name in sorted(scored, reverse=True)]
