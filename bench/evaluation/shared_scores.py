"""What several files of one backbone predict for the same images: what is frozen in all of them is computed once.

No score depends on which other files there are: a file whose frozen layers are not, bit for bit, those of the file
that has most of them is scored by its whole network, and so is every file that is another graph.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.decode import Pixels
from bench.models.backbones import boundary_cut, cut_layer, get_backbone
from bench.models.export import ExportMismatch, in_one_shape, largest_difference, load_model, predict_rows
from bench.models.hdf5 import check_h5
from bench.models.standardisation import LEAST_EXPORTED
from bench.search.parameters import N_STAGES
from bench.stats.metrics import Scores

FEATURE_BYTES = 256 * 2**20
"""Boundaries that are held at a time: of as many images as this is enough for."""
BATCH = 32
"""Images at a time; all batches are of one shape, so that each network is traced once."""
CHECKED_IMAGES = 32
"""Images that each file predicts by its whole network, too."""
_FREE = ("name", "trainable", "rate", "seed", "build_config")
"""What may differ between two files of one graph."""
Weights = list[npt.NDArray[Any]]


@dataclass(frozen=True)
class ModelFile:
    """An exported training.

    Attributes:
        path: of the .h5.
        depth: its unfreeze depth; `N_STAGES` where nothing was frozen.
        cut: the layer where its frozen prefix ends, as `boundary_cut` names it; None where nothing was frozen.
    """

    path: Path
    depth: int = N_STAGES
    cut: str | None = None

    @classmethod
    def of_backbone(cls, path: Path, backbone: str, depth: int) -> "ModelFile":
        """A training of a backbone of the table."""
        return cls(path, depth, boundary_cut(get_backbone(backbone), depth))


def score_files(
    files: Sequence[ModelFile], images: Pixels, rows: npt.NDArray[np.int64], room: int = FEATURE_BYTES
) -> dict[Path, Scores]:
    """Class probabilities of some rows of a stored set by each of ``files``, which may share their frozen layers.

    Args:
        files: usually of one backbone; any others are scored too, one by one.
        images: uint8 array of shape (n_images, height, width, channels).
        rows: row numbers of the images to score, at least one.
        room: bytes of boundaries that are held at a time.

    Returns:
        path -> float array of shape (len(rows), n_classes), rows sum to 1.

    Raises:
        ExportMismatch: if a file cannot be read, or predicts something else by its whole network than is found here.
    """
    network = _Network(files)
    found: dict[Path, Scores] = {}
    sharing: list[_Suffix] = []
    for one in files:
        if one == network.first:
            continue
        if graph_of(one.path) != network.graph:
            found[one.path] = predict_rows(_loaded(one.path), images, rows)
            continue
        network.load(one)
        if network.frozen_as_in_first(one):
            checked = network.whole(images, rows[:CHECKED_IMAGES])
            sharing.append(_Suffix(one, _values(network.suffixes[one.depth]), checked))
        else:
            found[one.path] = network.whole(images, rows)
    network.load(network.first)
    return found | network.share(sharing, images, rows, room)


@dataclass(frozen=True)
class _Suffix:
    """What a file has of its own: the weights behind its cut; and what its whole network predicts for some images."""

    file: ModelFile
    weights: Weights
    checked: Scores


class _Network:
    """The graph of the file with most frozen layers, into which the weights of one file after the other are loaded.

    Attributes:
        first: that file.
        graph: as `graph_of` has it.
        suffixes: unfreeze depth -> boundary -> class probabilities, of the same layers.
    """

    def __init__(self, files: Sequence[ModelFile]) -> None:
        import keras

        self.first = min(files, key=lambda one: one.depth)
        self.graph = graph_of(self.first.path)
        self._model = _loaded(self.first.path)
        output, self._standard = _with_variable_standard(self._model)
        self.suffixes: dict[int, Any] = {}
        self._frozen: dict[int, list[Any]] = {}
        boundaries = []
        for depth, cut in sorted({(one.depth, one.cut) for one in files if one.cut and len(files) > 1}):
            try:
                boundary = cut_layer(self._model, str(cut)).output
            except ValueError:  # a nested backbone, as an earlier version exported it: its layers are out of reach
                continue
            self.suffixes[depth] = keras.Model(boundary, output, name=f"suffix_{depth}")
            self._frozen[depth] = keras.Model(self._model.input, boundary, name=f"prefix_{depth}").layers
            boundaries.append(boundary)
        # one graph for boundaries, for the scores of the first file and for what others are checked by: one tracing
        self._all = keras.Model(self._model.input, [*boundaries, output], name="boundaries_and_scores")
        layers = self._frozen.get(self.first.depth, [])
        self._given = {layer.name: layer.get_weights() for layer in layers}

    def load(self, file: ModelFile) -> None:
        """Take over all weights of a file of the same graph."""
        try:
            check_h5(file.path)
            self._model.load_weights(file.path)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise _unreadable(file.path, error) from error
        if self._standard:
            mean, variance = self._model.get_layer("standardise").get_weights()[:2]
            self._standard.reset((mean, np.maximum(variance, LEAST_EXPORTED)))

    def frozen_as_in_first(self, file: ModelFile) -> bool:
        """Whether the weights before the cut of ``file``, which has been loaded, are those of the first file."""
        if file.depth not in self._frozen or self.first.depth not in self._frozen:
            return False
        return all(
            one.tobytes() == other.tobytes()
            for layer in self._frozen[file.depth]
            for one, other in zip(layer.get_weights(), self._given[layer.name], strict=True)
        )

    def whole(self, images: Pixels, rows: npt.NDArray[np.int64]) -> Scores:
        """Class probabilities by the whole network, with the weights that are loaded."""
        return self._through(images, rows)[-1]

    def share(
        self, sharing: Sequence[_Suffix], images: Pixels, rows: npt.NDArray[np.int64], room: int
    ) -> dict[Path, Scores]:
        """Scores of the first file, which has been loaded, and of those that share its frozen layers."""
        depths = sorted(self.suffixes)
        deepest = self.suffixes[max(depths)] if depths else None
        own = _values(deepest) if deepest else []
        bytes_per_image = sum(4 * int(np.prod(self.suffixes[depth].input_shape[1:])) for depth in depths)
        block = BATCH * max(1, room // (BATCH * max(1, bytes_per_image)))
        parts: dict[Path, list[Scores]] = {one.path: [] for one in (self.first, *(each.file for each in sharing))}
        for start in range(0, len(rows), block):
            if deepest:
                _assign(deepest, own)  # what the last file has left there
            *boundaries, scores = self._through(images, rows[start : start + block])
            parts[self.first.path].append(scores)
            for each in sharing:
                suffix = self.suffixes[each.file.depth]
                _assign(suffix, each.weights)
                parts[each.file.path].append(_behind(suffix, boundaries[depths.index(each.file.depth)]))
        found = {path: np.concatenate(scores) for path, scores in parts.items()}
        for each in sharing:
            largest_difference(
                found[each.file.path][: len(each.checked)],
                each.checked,
                f"{each.file.path} predicts other probabilities by its whole network than behind the frozen layers "
                f"that it shares with {self.first.path.name}",
            )
        return found

    def _through(self, images: Pixels, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.float32]]:
        """All boundaries, in the order of their depths, and the probabilities."""
        starts = range(0, len(rows), BATCH)
        parts = [in_one_shape(self._all, images[rows[start : start + BATCH]], BATCH) for start in starts]
        return [np.concatenate(one) for one in zip(*parts, strict=True)]


def _with_variable_standard(model: Any) -> tuple[Any, Any]:
    """The output of ``model`` with its standardisation done by a layer of variables, and that layer.

    Keras's own layer puts its mean and variance into a traced graph as constants, so that those of the file that was
    traced would be used for all. Where there is none, the output as it is and None.
    """
    import keras

    from bench.models.assemble import VariableStandardisation

    if not any(isinstance(layer, keras.layers.Normalization) for layer in model.layers):
        return model.output, None
    standard = VariableStandardisation(name="variable_standardise")
    values = standard(model.get_layer("standardise").input)
    return model.get_layer("probabilities")(values), standard


def _behind(suffix: Any, boundary: npt.NDArray[np.float32]) -> Scores:
    starts = range(0, len(boundary), BATCH)
    return np.concatenate([in_one_shape(suffix, boundary[start : start + BATCH], BATCH)[0] for start in starts])


def _values(model: Any) -> Weights:
    return [np.array(variable) for variable in model.weights]


def _assign(model: Any, values: Weights) -> None:
    for variable, value in zip(model.weights, values, strict=True):
        variable.assign(value)


def graph_of(model_file: Path) -> Any:
    """The graph of an exported file, comparable: layers are numbered, for Keras's own names depend on the session.

    Raises:
        ExportMismatch: if the file cannot be read.
    """
    import h5py

    try:
        check_h5(model_file)
        with h5py.File(model_file) as held:
            config = json.loads(held.attrs["model_config"])["config"]
        numbers = {layer["config"]["name"]: number for number, layer in enumerate(config["layers"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(model_file, error) from error
    return _numbered(config["layers"], numbers)


def _numbered(value: Any, numbers: Mapping[str, int]) -> Any:
    if isinstance(value, dict):
        return {key: _numbered(one, numbers) for key, one in value.items() if key not in _FREE}
    if isinstance(value, list):
        return [_numbered(one, numbers) for one in value]
    return numbers.get(value, value) if isinstance(value, str) else value


def _loaded(model_file: Path) -> Any:
    try:
        return load_model(model_file)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _unreadable(model_file, error) from error


def _unreadable(model_file: Path, error: Exception) -> ExportMismatch:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ExportMismatch(f"{model_file} cannot be read as an exported model: {reason}")
