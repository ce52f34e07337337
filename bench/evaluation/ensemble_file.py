"""best_ensemble.h5: the members' networks as one graph, checked against their own files, and timed. Needs Keras."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.images.store import StoredImages
from bench.evaluation.shared_scores import ModelFile
from bench.models.ensemble import Branch, ensemble_model
from bench.models.export import in_one_shape, largest_difference, load_model
from bench.run.documents import EnsembleMember
from bench.run.folder import atomic_path
from bench.stats.calibration import CalibrationMap
from bench.stats.ensemble import weighted_mean
from bench.stats.metrics import Scores

BATCH = 8
"""Images at a time; the first batch, with which a network is traced, is not timed."""


@dataclass(frozen=True)
class MemberFile:
    """A member, and where its network lies."""

    member: EnsembleMember
    file: ModelFile

    @property
    def calibration(self) -> CalibrationMap:
        """Of its probabilities."""
        return self.member.calibration


@dataclass(frozen=True)
class Written:
    """What came of writing the file.

    Attributes:
        difference: the largest, of its probabilities from the mean of its members', by file.
        images: that were compared.
        milliseconds: of one image: of the file, of the winner, of each member by itself.
    """

    difference: float
    images: int
    milliseconds: tuple[float, ...]


def write_ensemble(
    path: Path, members: Sequence[MemberFile], winner: Path, stored: StoredImages, rows: npt.NDArray[np.int64]
) -> Written:
    """Write the ensemble to ``path``, unless it says something else than its members, and time it beside the winner.

    Args:
        path: of the .h5 that is written.
        members: two at least.
        winner: its file.
        stored: the images.
        rows: of the images by which it is checked.

    Raises:
        ExportMismatch: if a probability of the file differs too much from the mean of the members' own.
    """
    images = np.asarray(stored.open()[rows])
    times: dict[Path, float] = {}
    branches, scores = [], []
    for number, one in enumerate(members):
        model = load_model(one.file.path)
        found, times[one.file.path] = _timed(model, images)
        scores.append(one.calibration(found))
        about = one.member
        name = f"m{number + 1}"  # a backbone's own names may hold what .h5 groups by
        branches.append(Branch(name, model, about.model, one.file.cut, one.calibration, about.count))
    if winner not in times:
        _, times[winner] = _timed(load_model(winner), images)
    expected = weighted_mean(scores, [one.member.count for one in members])
    with atomic_path(path) as temporary:
        ensemble_model(branches).save(temporary, include_optimizer=False)
        found, own = _timed(load_model(temporary), images)
        what = f"{path.name} gives other probabilities than the mean of its members"
        difference = largest_difference(found, expected.astype(np.float32), what)
    each = tuple(times[one.file.path] for one in members)
    return Written(difference, len(images), (own, times[winner], *each))


def _timed(model: object, images: npt.NDArray[np.uint8]) -> tuple[Scores, float]:
    """Probabilities of ``images``, and milliseconds of one."""
    parts, seconds, counted = [], 0.0, 0
    for start in range(0, len(images), BATCH):
        began = time.perf_counter()
        parts.append(in_one_shape(model, images[start : start + BATCH], BATCH)[0])
        if start or len(images) <= BATCH:
            seconds, counted = seconds + time.perf_counter() - began, counted + BATCH
    return np.concatenate(parts), 1000 * seconds / counted
