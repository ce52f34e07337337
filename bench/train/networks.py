"""The networks of one process: backbones, the prefixes, suffixes and heads made of them, and full models.

They outlive the job that they were built for: building one and tracing its steps takes longer than many a job.
"""

from typing import Any

import numpy.typing as npt

from bench.clock import Clock
from bench.models import assemble
from bench.models.linear_probe import Head
from bench.models.standardisation import Standard
from bench.models.weights import load_backbone
from bench.search.parameters import TrialConfig
from bench.train.steps import FusedAdam, Moments, SteppedModel
from bench.train.task import Task

LOSS = "categorical_crossentropy"


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
        self._changed: set[str] = set()
        self._prefixes: dict[tuple[str, tuple[int, ...]], Any] = {}
        self._heads: dict[str, Any] = {}
        self._suffixes: dict[tuple[str, int], Any] = {}
        self._moments = Moments()

    def prefix(self, name: str, depths: tuple[int, ...]) -> Any:
        """Images -> the outputs of the frozen prefix at each of ``depths`` (0 to 4)."""
        if (name, depths) not in self._prefixes:
            row, stored = self.task.backbones[name], self.task.images[name]
            self._prefixes[name, depths] = assemble.prefix_model(
                row, self._backbone(name, self.task.precision_of(name).prefix), stored.size, stored.channels, depths
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
        network = self._trained(name)
        if name not in self._pretrained:
            self._pretrained[name] = network.get_weights()
        self._changed.add(name)
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
            for variable, value in zip(self._trained(name).weights, self._pretrained[name], strict=True):
                variable.assign(value)
            self._changed.discard(name)

    def full(
        self, config: TrialConfig, standard: Standard, head: Head, seed: int = 0, precision: str | None = None
    ) -> Any:
        """A full model of its own (no other shares its weights), with the backbone as pretrained."""
        row, stored = self.task.backbones[config.backbone], self.task.images[config.backbone]
        network = self._load(config.backbone, precision or self.task.precision_of(config.backbone).suffix)
        model = assemble.full_model(
            row, network, stored.size, stored.channels, self.task.n_classes, standard, config.dropout, seed
        )
        model.get_layer("probabilities").set_weights(head)
        return model

    def _trained(self, name: str) -> Any:
        """The network that suffixes share their layers with; also the prefix's where that computes in the same."""
        return self._backbone(name, self.task.precision_of(name).suffix)

    def _backbone(self, name: str, precision: str) -> Any:
        if (name, precision) not in self._backbones:
            with self.clock("start-up"):
                self._backbones[name, precision] = self._load(name, precision)
        return self._backbones[name, precision]

    def _load(self, name: str, precision: str) -> Any:
        size, file = self.task.images[name].size, self.task.weights.files[name]
        return load_backbone(self.task.backbones[name], size, file, precision)

    def _stepped(self, built: Any) -> Any:
        """The same graph as a model that takes several steps per call; moments are shared, for no two train at once."""
        model = SteppedModel(built.input, built.output, name=built.name)
        return compiled(model, FusedAdam(moments=self._moments))


def compiled(model: Any, optimizer: Any | None = None) -> Any:
    """``model`` ready to be trained, by an Adam of its own where no optimizer is given."""
    model.compile(optimizer or FusedAdam(), LOSS, jit_compile=False)
    return model
