"""The networks of one process: backbones, the prefixes, suffixes and heads made of them, and what is exported.

They outlive the job that they were built for: building one and tracing its steps takes longer than many a job.
"""

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from bench.clock import Clock
from bench.models import assemble, small_cnn
from bench.models.backbones import boundary_cut, cut_layer
from bench.models.standardisation import Standard, exportable
from bench.models.weights import load_backbone
from bench.search.parameters import TrialConfig
from bench.train.steps import FusedAdam, Moments, SteppedModel
from bench.train.task import Task

LOSS = "categorical_crossentropy"


class Exported:
    """What is exported of a backbone: one flat float32 graph, to which trained weights are given, and its two parts.

    Args:
        task: sizes and classes.
        name: of the network.
        network: its Keras model; not shared.
    """

    def __init__(self, task: Task, name: str, network: Any) -> None:
        self._row, stored = task.backbones[name], task.images[name]
        silent = np.zeros(self._row.n_features, np.float32), np.ones(self._row.n_features, np.float32)
        self.name = name
        self.model = assemble.full_model(
            self._row, network, stored.size, stored.channels, task.n_classes, silent, 0.5, precision="float32"
        )
        # not the head that is trained: that would hold on to every graph which it was ever part of
        self._head = assemble.trial_head(self._row.n_features, task.n_classes)
        self._prefixes: dict[tuple[int, ...], Any] = {}
        self._suffixes: dict[int, Any] = {}

    def take(self, network: Any, head: Any, standard: Standard, config: TrialConfig) -> None:
        """Take over what was trained: the weights of the network and of its head."""
        for layer in network.layers:
            if layer.weights:
                self.model.get_layer(layer.name).set_weights(layer.get_weights())
        standardise = self.model.get_layer("standardise")
        kernel, bias = head.get_layer("probabilities").get_weights()
        exported, kernel = exportable(standard, kernel)
        standardise.set_weights([*exported, np.asarray(0)])
        standardise.finalize_state()
        self.model.get_layer("dropout").rate = config.dropout
        self.model.get_layer("probabilities").set_weights([kernel, bias])
        self._head.set_weights(head.get_weights())

    def prefix(self, depths: tuple[int, ...]) -> Any:
        """Images -> the boundaries at ``depths`` (0 to 4), which must lie in front of what was trained last."""
        if depths not in self._prefixes:
            outputs = [self._at(depth) for depth in depths]
            self._prefixes[depths] = keras.Model(self.model.input, outputs, name=f"{self._row.name}_exact_prefix")
        return self._prefixes[depths]

    def suffix(self, depth: int) -> Any:
        """The boundary at ``depth`` (0 to 5) -> probabilities."""
        if depth == 0:
            return self._head
        if depth not in self._suffixes:
            cut = boundary_cut(self._row, depth)
            start = cut_layer(self.model, cut).output if cut else self.model.input
            tail = keras.Model(start, self._at(0), name=f"{self._row.name}_exact_tail")
            features = keras.Input(start.shape[1:], name="features")
            self._suffixes[depth] = keras.Model(features, self._head(tail(features)), name="exact_suffix")
        return self._suffixes[depth]

    def _at(self, depth: int) -> Any:
        if depth == 0:
            return self.model.get_layer("pool").output
        return cut_layer(self.model, str(boundary_cut(self._row, depth))).output


class Networks:
    """Owner of all networks of a task; nobody else loads one.

    Args:
        task: backbones, weights, sizes and precision.
        clock: counts the seconds of loading weights.
    """

    def __init__(self, task: Task, clock: Clock | None = None) -> None:
        self.task = task
        self.clock = clock or Clock()
        self._backbones: dict[tuple[str, str], Any] = {}
        self._pretrained: dict[str, list[npt.NDArray[Any]]] = {}
        self._changed: dict[str, int] = {}
        self._prefixes: dict[tuple[str, tuple[int, ...]], Any] = {}
        self._heads: dict[str, Any] = {}
        self._suffixes: dict[tuple[str, int], Any] = {}
        self._moments = Moments()
        self._exported: Exported | None = None
        self._small: dict[tuple[int, int], Any] = {}

    def trained(self, name: str) -> int:
        """How many stages of the network that images pass through are not as pretrained: those of the running job."""
        parts = self.task.precision_of(name)
        return self._changed.get(name, 0) if parts.prefix == parts.suffix else 0

    def prefix(self, name: str, depths: tuple[int, ...]) -> Any:
        """Images -> the outputs of the frozen prefix at each of ``depths`` (0 to 4).

        Raises:
            RuntimeError: if a job is training layers in front of one of them: what came out would be its own.
        """
        if min(depths) < self.trained(name):
            raise RuntimeError(f"{name}: depth {min(depths)} lies behind the {self.trained(name)} stages in training")
        if (name, depths) not in self._prefixes:
            row, stored = self.task.backbones[name], self.task.images[name]
            self._prefixes[name, depths] = assemble.prefix_model(
                row, self._prefix_network(name), stored.size, stored.channels, depths
            )
        return self._prefixes[name, depths]

    def head(self, name: str) -> Any:
        """Pooled features -> probabilities, compiled; one for all suffixes of a backbone."""
        if name not in self._heads:
            built = assemble.trial_head(self.task.backbones[name].n_features, self.task.n_classes)
            self._heads[name] = self._stepped(built)
        return self._heads[name]

    def suffix(self, name: str, depth: int) -> Any:
        """Boundary at ``depth`` (1 to 5) -> probabilities, compiled. Training it changes the backbone (`restore`)."""
        network = self._network(name)
        if name not in self._pretrained:
            self._pretrained[name] = network.get_weights()
        self._changed[name] = max(depth, self._changed.get(name, 0))
        if (name, depth) not in self._suffixes:
            row, stored = self.task.backbones[name], self.task.images[name]
            built = assemble.suffix_model(row, network, stored.size, stored.channels, depth, self.head(name))
            self._suffixes[name, depth] = self._stepped(built)
        return self._suffixes[name, depth]

    def restore(self, name: str) -> None:
        """Give the backbone its pretrained weights back, which an earlier job may have changed.

        Called as a job begins, not as one ends: what ended because memory ran out must not need more of it.
        """
        if name in self._changed:
            for variable, value in zip(self._network(name).weights, self._pretrained[name], strict=True):
                variable.assign(value)
            del self._changed[name]

    def pretrained(self, name: str) -> Any:
        """The backbone with its pretrained weights, in the precision in which images pass through it."""
        self.restore(name)
        return self._prefix_network(name)

    def exported(self, name: str) -> Exported:
        """What is exported of a backbone. One at a time is kept: jobs of one backbone follow each other."""
        if self._exported is None or self._exported.name != name:
            self._exported = None
            gc.collect()  # Keras's models are full of cycles
            self._exported = Exported(self.task, name, self._network(name))
        return self._exported

    def exact_prefix(self, name: str, depths: tuple[int, ...]) -> Any:
        """As `prefix`, in float32, as what is exported computes it; of the network that was trained last."""
        return self.exported(name).prefix(depths)

    def export(self, config: TrialConfig, standard: Standard) -> tuple[Any, Any]:
        """The model of the job that was trained last, as it is exported, and what scores its suffix in float32.

        Returns:
            images -> probabilities, of built-in layers only; and the boundary of the job's depth -> probabilities.
        """
        exported = self.exported(config.network)
        exported.take(self._network(config.network), self.head(config.network), standard, config)
        return exported.model, exported.suffix(config.unfreeze_depth)

    def small_cnn(self, backbone: str, seed: int) -> tuple[Any, Any]:
        """A small CNN for the images of a backbone with new weights, twice: to be trained, and to be exported."""
        stored, n_classes = self.task.images[backbone], self.task.n_classes
        fresh = small_cnn.small_cnn(stored.size, stored.channels, n_classes, seed)
        place = (stored.size, stored.channels)
        if place not in self._small:
            built = small_cnn.small_cnn(*place, n_classes, seed)
            model = SteppedModel(built.input, built.output, name=built.name)
            self._small[place] = compiled(model, FusedAdam())
        trained = self._small[place]
        trained.set_weights(fresh.get_weights())
        trained.get_layer("dropout").seed_generator.state.assign(keras.random.SeedGenerator(seed).state)
        return trained, fresh

    def load(self, name: str, precision: str) -> Any:
        """A backbone as pretrained, which no other model shares.

        Its layers are named as in a fresh process, for an exported file has their names: Keras counts automatic names
        by thread.
        """
        size, file = self.task.images[name].size, self.task.weights.files[name]
        with self.clock("start-up"), ThreadPoolExecutor(1) as thread:
            return thread.submit(load_backbone, self.task.backbones[name], size, file, precision).result()

    def _network(self, name: str) -> Any:
        """The backbone that is trained."""
        return self._in(name, self.task.precision_of(name).suffix)

    def _prefix_network(self, name: str) -> Any:
        """The backbone through which images pass: the same, unless its parts compute in different precisions."""
        return self._in(name, self.task.precision_of(name).prefix)

    def _in(self, name: str, precision: str) -> Any:
        if (name, precision) not in self._backbones:
            self._backbones[name, precision] = self.load(name, precision)
        return self._backbones[name, precision]

    def _stepped(self, built: Any) -> Any:
        """The same graph as a model that takes several steps per call; moments are shared, for no two train at once."""
        model = SteppedModel(built.input, built.output, name=built.name)
        return compiled(model, FusedAdam(moments=self._moments))


def compiled(model: Any, optimizer: Any | None = None) -> Any:
    """``model`` ready to be trained, by an Adam of its own where no optimizer is given."""
    model.compile(optimizer or FusedAdam(), LOSS, jit_compile=False)
    return model
