"""What trainings said of the validation images after each epoch that could have been chosen.

predictions_epochs.jsonl.gz has one line of JSON per training, in the order in which they ended: whose it is (``kind``,
``name``, ``repeat``, ``fold``), the numbers of its ``epochs``, and its ``probabilities`` by epoch, image and class; of
a training whose model was exported, those of that model. Each line is a gzip member of its own, so that it can be
appended and forced to the disk, and carries its checksum; a line that was being written counts as none.
`pandas.read_json(file, lines=True)` reads the file.
"""

import gzip
import json
import os
import zlib
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from bench.disk import full_disk_named
from bench.run.folder import RunDir
from bench.trial import Scored

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
    """All trainings of the file, as far as it is whole; none where there is no file."""
    if not run.predictions_epochs.exists():
        return []
    lines, _ = _whole_lines(run.predictions_epochs.read_bytes())
    found: dict[Curve, Course] = {}
    for line in lines:
        content = json.loads(line)
        curve = Curve(content["kind"], content["name"], content["repeat"], content["fold"])
        scores = np.asarray(content["probabilities"], np.float32)
        found[curve] = Course(curve, tuple(content["epochs"]), scores)
    return list(found.values())


def mend(run: RunDir) -> None:
    """Cut off what an interruption has left of a last line: what is appended behind it would not be found."""
    if run.predictions_epochs.exists():
        content = run.predictions_epochs.read_bytes()
        _, end = _whole_lines(content)
        if end < len(content):
            os.truncate(run.predictions_epochs, end)


def _whole_lines(content: bytes) -> tuple[list[bytes], int]:
    """The lines up to the first that is not whole, and where the last of them ends."""
    lines, end = [], 0
    while end < len(content):
        member = zlib.decompressobj(wbits=31)
        try:
            line = member.decompress(content[end:])
        except zlib.error:
            break
        if not member.eof:
            break
        lines.append(line)
        end = len(content) - len(member.unused_data)
    return lines, end
