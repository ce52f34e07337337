"""Whether bytes are a DICOM file, by what they begin with, with or without the preamble. Light to import."""

from typing import Literal

HEAD = 512
"""Bytes that are enough to tell."""
MAGIC = slice(128, 132)
FILE_GROUP = 0x0002
FIRST_GROUPS = (FILE_GROUP, 0x0008)
"""Groups that a file without preamble begins with: the file's own header, or the data set at once."""
LONGEST = 256
"""Bytes of a value that stands among the first of a file."""
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""Value representations whose length takes four bytes (PS3.5, 7.1.2)."""
SHORT = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
)  # fmt: skip


def is_dicom_content(content: bytes) -> bool:
    """Whether ``content``, or its first HEAD bytes, are those of a DICOM file.

    Files have ``DICM`` after 128 bytes; those without are told by their first two elements, which must be such as
    the standard allows, in ascending order. Pictures of other kinds begin otherwise.
    """
    if content[MAGIC] == b"DICM":
        return True
    first = _element(content, 0)
    if first is None or first[0] >> 16 not in FIRST_GROUPS:
        return False
    second = _element(content, first[1])
    return second is not None and second[0] > first[0] and second[0] >> 16 in FIRST_GROUPS


def _element(content: bytes, at: int) -> tuple[int, int] | None:
    """Tag of the data element at ``at``, and where the next one begins; None if there is none that makes sense."""
    if at + 8 > len(content):
        return None
    order: Literal["big", "little"] = "big" if content[0] == 0 else "little"

    def number(start: int, size: int) -> int:
        return int.from_bytes(content[start : start + size], order)

    tag, kind = number(at, 2) << 16 | number(at + 2, 2), content[at + 4 : at + 6]
    if kind in SHORT:
        start, length = at + 8, number(at + 6, 2)
    elif kind in LONG:
        start, length = at + 12, number(at + 8, 4)
    elif tag >> 16 == FILE_GROUP:  # always names its representations
        return None
    else:
        start, length = at + 8, number(at + 4, 4)
    return (tag, start + length) if length % 2 == 0 and length <= LONGEST else None
