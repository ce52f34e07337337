"""A model of a run, loaded again: its card, its network, and images read as they were read in training."""

import contextlib
import os
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.images.decode import Facts
from bench.data.images.limits import MOST_PIXELS
from bench.data.images.window import Window
from bench.errors import ConfigError
from bench.failures import MEMORY, kind_of
from bench.invocation import resume
from bench.models.export import BATCH, in_one_shape, load_images, with_pooled
from bench.models.export import load_model as load_network
from bench.models.hdf5 import check_given_h5
from bench.models.metadata import check_card, read_card
from bench.run.documents import EnsembleCard, ModelCard, ModelInput
from bench.run.folder import RunDir, file_sha256, find_run
from bench.run.record import RunRecord, read_leniently, read_strictly
from bench.settings import REPORTS
from bench.stats.calibration import CalibrationMap
from bench.stats.conformal import COVERAGE, check_coverage
from bench.stats.patients import RULES

Paths = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]
"""Several paths, or one."""
MOST_SIDE = 10_000
"""Pixels of an image's side that a model may ask for."""
FROM_ONE = 1e-2
"""How far the sum of an image's probabilities may be from 1: of bfloat16, by about 0.003."""
MOST_REASON = 200
"""Characters of what Keras says of a file: it may go on to a layer's whole configuration."""
LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, IndexError)
"""What Keras raises at a file that it cannot make a network of."""


@dataclass(frozen=True)
class ReusableModel:
    """A model ready to predict; nothing is loaded before it is needed.

    Attributes:
        path: of the .h5 file.
        run: the run that it belongs to; None for a file by itself.
        known: what is written of it; None where the file holds no metadata.
        limit: pixels of an image that is read, at most; None for as many as its run read.
    """

    path: Path
    run: RunDir | None = None
    known: ModelCard | None = None
    limit: int | None = None

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the ensemble of its run, not the winner."""
        return self.run is not None and self.path.name == self.run.best_ensemble.name

    @property
    def name(self) -> str:
        """Of the run, or of a file by itself; an ensemble has both."""
        if self.run is None:
            return self.path.name
        return f"{self.run.name} ({self.path.name})" if self.is_ensemble else self.run.name

    @property
    def named(self) -> bool:
        """Whether classes, input and decisions are known; else they are read off the network, with neutral names."""
        return self.known is not None

    @cached_property
    def card(self) -> ModelCard:
        """What best_model.json says; of a file without metadata the input's shape and classes called by number.

        Raises:
            ConfigError: if the file is no model that can be loaded.
        """
        return self.known or _neutral(self.network, self.path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the columns of `scores`."""
        return self.card.classes

    @cached_property
    def input(self) -> ModelInput:
        """What the network takes."""
        found = self.card.input
        assert found is not None
        return found

    @property
    def files(self) -> tuple[Path, ...]:
        """The model's own, and what its folder may say of it."""
        folder = RunDir(self.path.parent)
        return self.path, folder.best_model_card, folder.best_ensemble_card

    @cached_property
    def window(self) -> Window | None:
        """What images of more than 8 bits go through; None if each has its own."""
        return Window(**self.input.window) if self.input.window else None

    @cached_property
    def max_pixels(self) -> int:
        """Of an image that is read; a file by itself, which anybody may have made, says nothing of it."""
        if self.limit is not None or self.run is None:
            return self.limit or MOST_PIXELS
        with contextlib.suppress(ConfigError, ValueError):  # a model can be used whatever has become of run.json
            return read_leniently(RunRecord, self.run.read_run())[0].settings.max_pixels
        return MOST_PIXELS

    @cached_property
    def network(self) -> Any:
        """The Keras model: float images (n, side, side, channels) of 0 to 255 -> class probabilities.

        Raises:
            ConfigError: if the file cannot be loaded, or holds more than Keras's own layers and its values.
        """
        try:
            network = load_network(self.path)
        except LOADING_ERRORS as error:
            raise _not_loaded(self.path, error) from error
        except Exception as error:
            if kind_of(error) != MEMORY:
                raise
            raise ConfigError(f"{self.path} cannot be loaded: its network needs more memory than there is.") from error
        _check_network(network, self.path, self.known)
        return network

    @cached_property
    def forward(self) -> Any:
        """The network, with its pooled features as a second output where the card tells how far they may lie.

        Raises:
            ConfigError: if it cannot be loaded, or gives no probabilities of an image of noise.
        """
        known = self.card.training
        both = with_pooled(self.network) if known and known.features else None
        found = self.network if both is None else both
        noise = np.random.default_rng(0).integers(0, 256, (1, *self.network.input_shape[1:]), dtype=np.uint8)
        _check_probabilities(in_one_shape(found, noise, 1)[0], self.path)
        return found

    def outputs(self, images: npt.NDArray[np.uint8], size: int) -> list[npt.NDArray[np.float32]]:
        """What `forward` gives for at most ``size`` images of shape (n_images, side, side, channels).

        Returns:
            probabilities, shape (n_images, n_classes), and maybe pooled features, shape (n_images, n_features).

        Raises:
            ConfigError: as `forward`, and if the network gives no probabilities of these images.
        """
        found = in_one_shape(self.forward, images, size)
        _check_probabilities(found[0], self.path)
        return found

    def read(self, paths: Paths) -> tuple[npt.NDArray[np.uint8], list[Facts]]:
        """Images decoded, windowed and resized by the code that training used.

        Args:
            paths: of image files, or of one.

        Returns:
            uint8 array of shape (n_images, side, side, channels), and the facts of each image.

        Raises:
            ConfigError: if a file is no image that can be read.
        """
        taken = self.input
        return load_images(_each(paths), taken.height, taken.channels, taken.resize, self.window, self.max_pixels)

    def scores(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The network's own probabilities.

        Args:
            images: uint8 array of shape (n_images, side, side, channels), as `read` returns it.

        Returns:
            float32 array of shape (n_images, n_classes), rows sum to 1.

        Raises:
            ConfigError: if the images have another shape than the network takes, or it gives no probabilities.
        """
        side, channels = self.input.height, self.input.channels
        if images.shape[1:] != (side, side, channels):
            raise ConfigError(
                f"{self.path} takes images of {side} x {side} pixels and {channels} channel(s); these have the shape "
                f"{images.shape[1:]}."
            )
        if not len(images):
            return np.empty((0, len(self.classes)), np.float32)
        size = min(BATCH, len(images))
        starts = range(0, len(images), size)
        return np.concatenate([self.outputs(images[at : at + size], size)[0] for at in starts])

    def predict(
        self,
        paths: Paths,
        coverage: float = COVERAGE,
        by: Literal["image", "patient"] = "image",
        patient_pattern: str | None = None,
    ) -> pd.DataFrame:
        """What the model says of images: what ``python -m bench predict`` writes; repeats are left out with a warning.

        Args:
            paths: images, folders, patterns, manifests, DICOM and .npz files, as `bench.reuse.images` reads them.
            coverage: of the prediction sets that ``abstain`` rests on.
            by: ``patient`` for one row per patient, as `bench.reuse.patients.by_patient` describes it.
            patient_pattern: a regular expression with one group that names the patient in a file name; None for what
                a manifest or a DICOM file says.

        Returns:
            one row per image: ``image``, ``patient`` (empty where not known), ``called``, ``probability_CLASS``
            (calibrated), ``raw_CLASS``, ``threshold``, ``confidence`` (calibrated, of what it is called), ``abstain``
            (True where the prediction set is not one class) and ``note``. A file that cannot be read has a note alone.

        Raises:
            ConfigError: if a path leads to no image, the model cannot be loaded, or patients are asked for and unknown.
            ValueError: unless the coverage lies between 0 and 1.
        """
        if by not in ("image", "patient"):
            raise ValueError(f"by must be 'image' or 'patient', but got {by!r}")
        check_coverage(coverage)
        from bench.reuse.images import wanted_images
        from bench.reuse.patients import by_patient, require_patients
        from bench.reuse.predict import columns, predictions
        from bench.reuse.watch import watch_of

        with ExitStack() as stack:
            tell = lambda line: warnings.warn(line, stacklevel=4)  # noqa: E731
            wanted = wanted_images(_each(paths), stack, tell, self.max_pixels, patient_pattern)
            if by == "patient":
                require_patients(wanted)
            parts = list(predictions(self, wanted, coverage, watch_of(self, [one.file for one in wanted])))
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns(self.card))
        return by_patient(self, table, coverage) if by == "patient" else table

    def calibrated(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Calibrated probabilities of raw ``scores``, both of shape (n_images, n_classes)."""
        return (self.card.map or CalibrationMap())(scores)


def _not_loaded(path: Path, error: BaseException) -> ConfigError:
    """What is said of a file that Keras, or the check before it, could not read."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    reason = textwrap.shorten(reason, MOST_REASON, placeholder=" …").rstrip(".")
    return ConfigError(f"{path} is no model of a run that can be loaded: {reason}.")


def _each(paths: Paths) -> Sequence[str | os.PathLike[str]]:
    """One path is a list of one."""
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def load_model(
    name_or_path: str | os.PathLike[str], output: str | os.PathLike[str] = REPORTS, max_pixels: int | None = None
) -> ReusableModel:
    """The model of a run by the run's name, by its folder, or an .h5 file by itself.

    Args:
        name_or_path: such as ``xray``, ``reports/xray`` or ``best_model.h5``; a file goes before a run of that name.
        output: the folder of run folders.
        max_pixels: of an image that is read; None for as many as the run read.

    Raises:
        ConfigError: if there is none, if it has no model yet, or if its card does not belong to it.
    """
    path = Path(name_or_path)
    if path.is_file():
        return replace(_of_file(path), limit=max_pixels)
    if path.suffix.lower() in (".h5", ".hdf5", ".keras"):
        raise ConfigError(f"There is no model file {path}.")
    return replace(_of_run(find_run(name_or_path, output)), limit=max_pixels)


def _of_run(run: RunDir) -> ReusableModel:
    finish = resume(run.name, run.path.parent)
    if not run.best_model_card.exists():
        raise ConfigError(f"Run {run.name!r} has no model yet; finish it by `{finish}`.")
    card = read_strictly(ModelCard, run.best_model_card)
    if not run.best_model.is_file():
        raise ConfigError(f"Run {run.name!r} has no best_model.h5 any more; `{finish}` puts it back.")
    if card.input is None or card.sha256 != file_sha256(run.best_model):
        raise ConfigError(
            f"best_model.json of run {run.name!r} does not belong to the best_model.h5 beside it (the run was "
            f"interrupted, or one of them was replaced); finish it by `{finish}`."
        )
    check_card(run.best_model_card, run.best_model, f"`{finish}` makes the evaluation again")
    _check_card(card, run.best_model_card)
    return ReusableModel(run.best_model, run, card)


def _of_file(path: Path) -> ReusableModel:
    """A file by itself, with the card that it holds; of a file of a run in its place, the run too."""
    run = RunDir.at(path.parent)
    if path.name == run.best_model.name and run.best_model_card.is_file():
        if run.run.is_file():
            return _of_run(run)
        card = read_strictly(ModelCard, run.best_model_card)
        if card.sha256 != file_sha256(path):
            raise ConfigError(f"{run.best_model_card} is of another model than {path}; move one of them away.")
        check_card(run.best_model_card, path, "put it back, or move it away: the .h5 file's own card is used then")
        _check_card(card, run.best_model_card)
        return ReusableModel(path, None, card)
    try:
        check_given_h5(path)
    except LOADING_ERRORS as error:
        raise _not_loaded(path, error) from error
    held = read_card(path)
    if held is None:
        return ReusableModel(path)
    _check_card(held, path)
    known = held.model_copy(update={"sha256": file_sha256(path)})
    if path.name != run.best_ensemble.name or not all(one.is_file() for one in _of_its_run(run)):
        return ReusableModel(path, None, known)
    if read_strictly(EnsembleCard, run.best_ensemble_card).sha256 != known.sha256:
        raise ConfigError(f"{run.best_ensemble_card} is of another ensemble than {path}; move one of them away.")
    return ReusableModel(run.best_ensemble, run, known)


def _of_its_run(run: RunDir) -> tuple[Path, ...]:
    """What lies beside an ensemble that is in its run's folder."""
    return run.run, run.best_model_card, run.best_ensemble_card


def _check_card(card: ModelCard, where: Path) -> None:
    """Refuse, by a ConfigError, a card whose parts do not fit each other; ``where`` it was read from."""
    decided = [card, card.by_patient] if card.by_patient else [card]
    fits = all(one.map is None or one.map.fits(len(card.classes)) for one in decided)
    if not fits or any(frozen.label not in card.classes for one in decided for frozen in one.frozen):
        raise ConfigError(f"{where} holds a calibration map or thresholds of other classes.")
    if len(set(card.classes)) < len(card.classes):
        raise ConfigError(f"{where} names a class twice.")
    if card.by_patient and card.by_patient.rule not in RULES:
        raise ConfigError(f"{where} aggregates images by {card.by_patient.rule!r}; {', '.join(RULES)} are known.")
    taken = card.input
    try:
        usable = taken is not None and 0 < taken.height == taken.width <= MOST_SIDE and taken.channels in (1, 3)
        Window(**taken.window) if taken is not None and taken.window else None
    except TypeError:
        usable = False
    if not usable or len(card.classes) < 2:
        raise ConfigError(f"{where} states an input that no model of a run has: {taken}.")


def _check_network(network: Any, path: Path, card: ModelCard | None) -> None:
    """Refuse, by a ConfigError, a network that does not turn square images into one probability per class."""
    entered, left = _shape(network, "input_shape"), _shape(network, "output_shape")
    square = len(entered) == 4 and 0 < entered[1] == entered[2] <= MOST_SIDE
    if not square or entered[3] not in (1, 3):
        raise ConfigError(
            f"{path} takes an input of shape {entered}; a model of square images with 1 or 3 channels is accepted."
        )
    if len(left) != 2 or left[1] < 2:
        raise ConfigError(f"{path} gives an output of shape {left}; one probability for each class is accepted.")
    if card is None:
        return
    if left[1] != len(card.classes):
        raise ConfigError(
            f"{path} has {left[1]} classes, but its card names {len(card.classes)}; it is the card of another model."
        )
    if card.input is not None and (card.input.height, card.input.channels) != (entered[1], entered[3]):
        raise ConfigError(
            f"{path} takes {entered[1]} pixels and {entered[3]} channel(s), but its card states {card.input.height} "
            f"and {card.input.channels}; it is the card of another model."
        )


def _check_probabilities(found: npt.NDArray[np.float32], path: Path) -> None:
    """Refuse, by a ConfigError, outputs of shape (n_images, n_classes) that are no probabilities."""
    wrong = ""
    if not np.isfinite(found).all():
        wrong = "some are not finite"
    elif (found < 0).any():
        wrong = f"the lowest is {found.min():.3g}"
    elif (away := np.abs(found.sum(axis=1, dtype=np.float64) - 1)).max() > FROM_ONE:
        wrong = f"those of an image add up to {found[away.argmax()].sum():.4g}"
    if wrong:
        raise ConfigError(
            f"{path} gives no probabilities ({wrong}); one for each class, from 0 to 1 and 1 in all, is accepted."
        )


def _shape(network: Any, name: str) -> tuple[int, ...]:
    """The shape of a network's only input or output, 0 for what is not fixed; empty where there are several."""
    found = getattr(network, name, None)
    if not isinstance(found, tuple) or not all(size is None or isinstance(size, int) for size in found):
        return ()
    return tuple(int(size or 0) for size in found)


def _neutral(network: Any, path: Path) -> ModelCard:
    """The card of a file without metadata."""
    _, height, width, channels = network.input_shape
    return ModelCard(
        file=path.name,
        classes=tuple(f"class_{number}" for number in range(network.output_shape[1])),
        input=ModelInput(height=height, width=width, channels=channels),
    )
