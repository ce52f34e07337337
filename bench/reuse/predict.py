"""Images through a model, batch by batch: read ahead by threads while the network computes; a table of each batch.

No more than a few batches are in memory, however many images there are.
"""

import math
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from bench.data.images.decode import DECODE_ERRORS, Facts, Pixels, problem_of
from bench.data.imageset import Content
from bench.device import cpu_cores
from bench.evaluation.recognise import TestImages
from bench.models.export import load_image
from bench.numbers import short
from bench.reuse.images import Wanted, patient_of
from bench.reuse.unlike import differences
from bench.run.documents import ModelCard
from bench.stats.conformal import COVERAGE, check_coverage

if TYPE_CHECKING:
    from bench.reuse.model import ReusableModel

FIRST = 1
"""Images of the first batch, so that the first row comes soon."""
BATCH = 32
AHEAD = 3
"""Batches that are read before they are needed, at most."""
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Given:
    """One image as it was read.

    Attributes:
        name, patient: as they stand in the table.
        pixels: shape (side, side, channels); None where it could not be read, and ``problem`` says why.
        facts: what was found out while decoding it.
    """

    name: str
    patient: str
    pixels: Pixels | None = None
    facts: Facts | None = None
    problem: str = ""


@dataclass(frozen=True)
class Answer:
    """What is said of one image.

    Attributes:
        called: index of the class that it is called.
        raw: the network's own probabilities, shape (n_classes,).
        distance: of its pooled features (`bench.stats.familiarity`); None where that is not known.
        held: which classes its prediction set holds, shape (n_classes,); None where there are no sets.
    """

    called: int
    raw: npt.NDArray[np.float64]
    distance: float | None
    held: npt.NDArray[np.bool_] | None


def columns(card: ModelCard) -> list[str]:
    """The columns of the table of predictions."""
    probabilities = [f"{kind}_{name}" for kind in ("probability", "raw") for name in card.classes]
    return ["image", "patient", "called", *probabilities, "threshold", "confidence", "abstain", "note"]


def predictions(
    model: "ReusableModel", wanted: Sequence[Wanted], coverage: float = COVERAGE, watch: TestImages | None = None
) -> Iterator[pd.DataFrame]:
    """One table of a few images after another, one row an image, in the order of ``wanted``.

    Args:
        model: that says what they show.
        wanted: the images.
        coverage: of the prediction sets.
        watch: notes test images before anything is said of them; None where that is not wanted.

    Yields:
        the columns of `columns`. An image that cannot be read has no values, and a note.

    Raises:
        ConfigError: if the model cannot be loaded, or gives no probabilities.
        ValueError: unless the coverage lies between 0 and 1.
    """
    check_coverage(coverage)
    with _read_ahead(model, wanted) as batches:
        _ = model.forward  # refused, if at all, before a test image is noted
        for batch in batches:
            read = [(one.pixels, one.facts) for one in batch if one.pixels is not None and one.facts is not None]
            if watch is not None:
                watch.note([facts for _, facts in read])
            size = BATCH if len(batch) > FIRST else FIRST
            found = model.outputs(np.stack([pixels for pixels, _ in read]), size) if read else []
            yield table(model, batch, found, coverage)


@contextmanager
def _read_ahead(model: "ReusableModel", wanted: Sequence[Wanted]) -> Iterator[Iterator[list[Given]]]:
    """The images in batches, read by threads from the moment that the block is entered."""
    taken, window, most = model.input, model.window, model.max_pixels

    def read(one: Wanted) -> Given:
        content: Content | None = None
        try:
            content = one.read()
            pixels, facts = load_image(content, taken.height, taken.channels, taken.resize, window, most)
            return Given(one.name, patient_of(one), pixels, facts)
        except DECODE_ERRORS as error:
            strange = content is None and isinstance(error, OSError) and error.strerror
            return Given(one.name, patient_of(one), problem=strange or problem_of(error, content).reason)

    starts = [0, *range(FIRST, len(wanted), BATCH)]
    parts = [wanted[start:end] for start, end in zip(starts, [*starts[1:], len(wanted)], strict=True) if end > start]
    limit = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(cpu_cores()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = None  # for all threads at once: each decoder sets it and sets it back
        waiting: deque[list[Future[Given]]] = deque()
        following = iter(parts)

        def begin() -> None:
            part = next(following, None)
            if part is not None:
                waiting.append([pool.submit(read, one) for one in part])

        for _ in range(AHEAD):
            begin()

        def batches() -> Iterator[list[Given]]:
            while waiting:
                batch = [one.result() for one in waiting.popleft()]
                begin()
                yield batch

        try:
            yield batches()
        finally:
            Image.MAX_IMAGE_PIXELS = limit
            for part in waiting:
                for future in part:
                    future.cancel()


def table(
    model: "ReusableModel", batch: Sequence[Given], outputs: Sequence[Scores], coverage: float = COVERAGE
) -> pd.DataFrame:
    """What the network's ``outputs`` say of a batch: of its images that were read, probabilities and maybe features."""
    card, classes = model.card, model.classes
    there = np.array([one.pixels is not None for one in batch], dtype=bool)
    raw = np.full((len(batch), len(classes)), np.nan)
    calibrated = raw.copy()
    distances: npt.NDArray[np.float64] | None = None
    if there.any():
        raw[there] = outputs[0]
        calibrated[there] = model.calibrated(outputs[0])
        if len(outputs) > 1 and card.training and card.training.features:
            distances = np.full(len(batch), np.nan)
            distances[there] = card.training.features.distances(outputs[1])
    called, thresholds = decided(card, raw)
    rows = np.arange(len(batch))
    sets = card.conformal.sets(calibrated, coverage) if card.conformal else None
    answers = [
        Answer(
            called=int(called[row]),
            raw=raw[row],
            distance=None if distances is None else float(distances[row]),
            held=None if sets is None else sets[row],
        )
        for row in rows
    ]
    single = (sets.sum(axis=1) == 1) & sets[rows, called] if sets is not None else rows < 0
    columns_of = {
        "image": [one.name for one in batch],
        "patient": [one.patient for one in batch],
        "called": pd.array([classes[k] if ok else None for k, ok in zip(called, there, strict=True)], dtype="string"),
        **{f"probability_{name}": calibrated[:, k] for k, name in enumerate(classes)},
        **{f"raw_{name}": raw[:, k] for k, name in enumerate(classes)},
        "threshold": np.where(there, thresholds, np.nan),
        "confidence": calibrated[rows, called],
        "abstain": pd.array(
            [bool(not one) if ok and sets is not None else None for one, ok in zip(single, there, strict=True)],
            dtype="boolean",
        ),
        "note": ["; ".join(_notes(card, *one, coverage)) for one in zip(batch, answers, strict=True)],
    }
    return pd.DataFrame(columns_of)


def decided(card: ModelCard, raw: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """What each image is called, as a class index, and the threshold that stands beside it.

    Of two classes with a frozen threshold, the class that it is of where the raw probability reaches it, else the other
    one. Of more classes, or without a threshold, the class of the highest raw probability, as in the confusion matrix;
    its own frozen threshold stands beside it, and is not applied.

    Args:
        card: of the model.
        raw: the network's own probabilities, shape (n_images, n_classes).
    """
    frozen = {card.classes.index(one.label): one.value for one in card.frozen}
    if len(card.classes) == 2 and len(frozen) == 1:
        ((positive, value),) = frozen.items()
        called = np.where(raw[:, positive] >= value, positive, 1 - positive)
        return called.astype(np.int64), np.full(len(raw), value)
    called = np.nan_to_num(raw).argmax(axis=1)
    return called, np.array([frozen.get(int(one), math.nan) for one in called])


def _notes(card: ModelCard, one: Given, answer: Answer, coverage: float) -> Iterator[str]:
    """What is to be said of one row."""
    if one.facts is None:
        yield f"not read: {one.problem}"
        return
    if card.training:
        found = differences(card.training, one.facts, answer.distance)
        if found:
            yield f"unlike the training images: {', '.join(found)}"
    if one.facts.frames > 1:
        yield f"first of {one.facts.frames} frames"
    called, held = answer.called, answer.held
    frozen = {card.classes.index(each.label): each.value for each in card.frozen}
    if len(card.classes) > 2 and called in frozen and answer.raw[called] < frozen[called]:
        yield f"below the frozen threshold of {card.classes[called]}"
    if held is not None and (held.sum() != 1 or not held[called]):
        names = [name for name, inside in zip(card.classes, held, strict=True) if inside]
        yield f"prediction set at {short(100 * coverage)} %: {', '.join(names) or 'no class'}"
