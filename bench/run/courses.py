"""What trainings said of the validation images after each epoch that could have been chosen.

predictions_epochs.jsonl.gz has one line of JSON per training, in the order in which they ended: whose it is (``kind``,
``name``, ``repeat``, ``fold``), the numbers of its ``epochs``, and its ``probabilities`` by epoch, image and class; of
a training whose model was exported, those of that model. Each line is a gzip member of its own, so that it can be
appended and forced to the disk, and carries its checksum; one that is damaged or was being written counts as none.
`pandas.read_json(file, lines=True)` reads the file.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from bench.disk import full_disk_named
from bench.numbers import counted
from bench.run.folder import RunDir, atomic_path
from bench.trial import Scored

_MEMBER = b"\x1f\x8b\x08" + bytes(5)
"""What a member of a gzip file begins with that has no name and no time."""
BLOCK = 1 << 14
"""Bytes that are unpacked at a time."""
MOST_UNPACKED, SMALL = 100, 10**8
"""Times its size that a line may take, and bytes that any line may."""
MOST_IN_VAIN = 100
"""Times its size that of a damaged file is looked at for whole lines."""
MOST_IMAGES = 5000
"""Of more validation images, so many, evenly spaced, are kept: the file would else outgrow the models."""


@dataclass(frozen=True)
class Curve:
    """Whose epochs they are.

    Attributes:
        kind: ``trial``, ``finalist``, ``baseline``, ``fold`` or ``size``.
        name: the number of a trial; else the name of a backbone or baseline.
        repeat: of a finalist or baseline, from 1.
        fold: of a finalist's validation over folds, from 1.
    """

    kind: str
    name: str
    repeat: int | None = None
    fold: int | None = None


@dataclass(frozen=True)
class Course:
    """What one training said of the validation images.

    Attributes:
        curve: whose it is.
        epochs: numbers of the epochs, from 1 through all phases.
        scores: probabilities, shape (n_epochs, n_kept_images, n_classes).
    """

    curve: Curve
    epochs: tuple[int, ...]
    scores: npt.NDArray[np.float32]


def kept_images(n_images: int) -> npt.NDArray[np.int64]:
    """Which of the validation images, in their order, the file is about."""
    return np.unique(np.linspace(0, n_images - 1, min(n_images, MOST_IMAGES)).astype(np.int64))


def append_course(run: RunDir, curve: Curve, scored: Scored) -> None:
    """Append a training and force it to the disk; an error, such as a full disk, leaves the file as it was.

    A later line of the same ``curve`` replaces an earlier one.
    """
    kept = scored.scores[:, kept_images(scored.scores.shape[1])]
    numbers = np.array([float(text) for text in kept.astype(np.float32).astype(str).ravel()])  # as short as exact
    line = {**asdict(curve), "epochs": list(scored.epochs), "probabilities": numbers.reshape(kept.shape).tolist()}
    file = run.predictions_epochs
    before = file.stat().st_size if file.exists() else 0
    try:
        with full_disk_named(file), file.open("ab") as opened:
            opened.write(gzip.compress(json.dumps(line).encode() + b"\n", mtime=0))
            opened.flush()
            os.fsync(opened.fileno())
    except OSError:
        if file.exists():
            os.truncate(file, before)
        raise


def read_courses(run: RunDir) -> list[Course]:
    """All trainings of the file that are whole; none where there is no file."""
    if not run.predictions_epochs.exists():
        return []
    found: dict[Curve, Course] = {}
    for _, _, course in _whole_lines(run.predictions_epochs.read_bytes()):
        found[course.curve] = course
    return list(found.values())


def mend(run: RunDir) -> str:
    """Leave the whole lines alone in the file: what is appended behind the rest of an interrupted one would be lost.

    Returns:
        a sentence on what was damaged otherwise than by an interruption; empty if nothing was.
    """
    file = run.predictions_epochs
    if not file.exists():
        return ""
    content = file.read_bytes()
    lines = list(_whole_lines(content))
    end = lines[-1][1] if lines else 0
    whole = b"".join(content[first:last] for first, last, _ in lines)
    damaged = len(whole) < end or not _interrupted(content[end:])
    if len(whole) < end:
        with atomic_path(file) as temporary:
            temporary.write_bytes(whole)
    elif end < len(content):
        os.truncate(file, end)
    kept = f"{counted(len(lines), 'training')} of it {'is' if len(lines) == 1 else 'are'} whole"
    left = "what choosing gained and what an ensemble may hold is told from these alone"
    return f"{file.name} was damaged; {kept}, and {left}" if damaged else ""


def _whole_lines(content: bytes) -> Iterator[tuple[int, int, Course]]:
    """Where each whole line begins and ends, and what it says; what lies between them is damaged."""
    first, in_vain, whole = 0, 0, memoryview(content)
    while 0 <= first < len(content) and in_vain <= MOST_IN_VAIN * len(content):
        line, taken, _ = _line(whole[first:])
        course = None if line is None else _course(line)
        if course is not None:
            yield first, first + taken, course
            first += taken
        else:
            in_vain += taken
            first = content.find(_MEMBER, first + 1)


def _line(content: memoryview) -> tuple[bytes | None, int, bool]:
    """The line that ``content`` begins with.

    Returns:
        the line, None if it is not whole; how many bytes were looked at, of a whole one its own; whether there is
        something else than a line or its beginning.
    """
    member, parts, size, seen = zlib.decompressobj(wbits=31), list[bytes](), 0, 0
    try:
        while seen < len(content) and not member.eof:
            piece: bytes | memoryview = content[seen : seen + BLOCK]
            seen += len(piece)
            while piece and not member.eof:
                parts.append(member.decompress(piece, BLOCK))
                piece, size = member.unconsumed_tail, size + len(parts[-1])
                if size > max(SMALL, MOST_UNPACKED * seen):
                    return None, seen, True
    except zlib.error:
        return None, seen, True
    return b"".join(parts) if member.eof else None, seen - len(member.unused_data), False


def _course(line: bytes) -> Course | None:
    """What a line says; None if that is no training."""
    try:
        content = json.loads(line)
        curve = Curve(content["kind"], content["name"], content["repeat"], content["fold"])
        scores = np.asarray(content["probabilities"], np.float32)
        epochs = tuple(content["epochs"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    named = isinstance(curve.kind, str) and isinstance(curve.name, str)
    counted_by = {type(one) for one in (curve.repeat, curve.fold) if one is not None} | {type(one) for one in epochs}
    sound = named and counted_by <= {int} and scores.ndim == 3 and len(scores) == len(epochs)
    return Course(curve, epochs, scores) if sound else None


def _interrupted(end: bytes) -> bool:
    """Whether the end of the file is as an interruption leaves it: the beginning of a line, and maybe zeros behind."""
    whole, _, _ = _line(memoryview(end))  # whose own last bytes may be zeros
    _, _, other = _line(memoryview(end.rstrip(b"\0")))
    return whole is None and not other
