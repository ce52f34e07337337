"""What has to be done for some trainings, counted in images: nothing is measured here.

Each image of the pool (the training and validation images) passes once through each frozen network and view that was
used, and then only the trainable part is trained. By definition validation images pass in augmented views, too: the
cache holds them so for folds, though a trial, which is validated on clean images, does not strictly need them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.models.augmentation import Policy
from bench.models.backbones import get_backbone
from bench.trial import TrialConfig

SMALL_CNN = "small_cnn"
"""The network that is trained from scratch, on the images themselves."""
ORDER = ("forward", "training", "validation")


@dataclass(frozen=True)
class Part:
    """A part of the work.

    Attributes:
        backbone: a backbone's name, or `SMALL_CNN`, whose depth is 0.
        kind: ``forward`` (images through the whole network to pooled features), ``training`` or ``validation``.
        depth: stages that are trained or validated together with the head; 0 is the head alone.
        batch: images per training step, which are part of the configuration; 0 leaves them free.
    """

    backbone: str
    kind: str
    depth: int = 0
    batch: int = 0

    @property
    def network(self) -> str:
        """Which network does it: ``forward``, ``head``, ``suffix`` or `SMALL_CNN`."""
        if self.backbone == SMALL_CNN:
            return SMALL_CNN
        return "forward" if self.kind == "forward" else "suffix" if self.depth else "head"

    @property
    def title(self) -> str:
        """In words: ``VGG16, depth 2, training``."""
        batch = f", batches of {self.batch}" if self.batch else ""
        if self.network == SMALL_CNN:
            return f"Small CNN, {self.kind}{batch}"
        name = get_backbone(self.backbone).title
        if self.kind == "forward":
            return f"{name}, frozen network"
        return f"{name}, {f'depth {self.depth}' if self.depth else 'head'}, {self.kind}{batch}"


Work = dict[Part, int]
"""A part of the work -> how many images pass."""


@dataclass(frozen=True)
class Data:
    """What was trained on.

    Attributes:
        n_train: number of training images.
        n_val: number of validation images.
        views: pre-drawn augmentations that a trial of the search turns through.
        policies: augmentation policies by name; those of equal amounts share their views.
    """

    n_train: int
    n_val: int
    views: int
    policies: Mapping[str, Policy]


@dataclass(frozen=True)
class Trained:
    """A training, and how many epochs its head and then its unfrozen stages had.

    Attributes:
        config: of a small CNN, whose backbone is `SMALL_CNN`, only the batch size counts.
        head: epochs of the head; of a small CNN all.
        finetune: epochs of the unfrozen stages.
        views: that it turns through, an epoch each and anew in each phase; 0 for as many as `Data` says.
        first_view: the one it begins with.
        images: numbers of training and validation images, where they are not those of `Data`: of a fold.
    """

    config: TrialConfig
    head: int
    finetune: int = 0
    views: int = 0
    first_view: int = 0
    images: tuple[int, int] | None = None

    def used(self, data: Data) -> set[int]:
        """Numbers of the views that it was trained on."""
        views = self.views or data.views
        return {(self.first_view + epoch) % views for epoch in range(max(self.head, self.finetune))}


def needed(trained: Iterable[Trained], data: Data, warm: bool = False) -> Work:
    """What has to be done for ``trained``, each image of the pool once through each frozen network and view.

    Args:
        trained: those that were stopped or failed with the epochs that they had.
        data: what they were trained on.
        warm: whether the frozen networks' output is there already.
    """
    work: Work = defaultdict(int)
    used: dict[tuple[str, str], dict[Any, set[int]]] = defaultdict(lambda: defaultdict(set))
    for one in trained:
        config, (n_train, n_val) = one.config, one.images or (data.n_train, data.n_val)
        if config.backbone != SMALL_CNN and one.used(data):
            amounts = tuple(sorted(data.policies[config.augmentation].amounts().items()))
            used[config.backbone, config.initialisation][amounts] |= one.used(data)
        for depth, epochs in ((0, one.head), (config.unfreeze_depth, one.finetune)):
            work[Part(config.backbone, "training", depth, min(config.batch_size, n_train))] += n_train * epochs
            work[Part(config.backbone, "validation", depth)] += n_val * epochs
    for (backbone, _), views in used.items() if not warm else ():
        drawn = sum(len(numbers) for amounts, numbers in views.items() if amounts)
        # the clean images are always needed: features are standardised by them, and they are validated on
        work[Part(backbone, "forward")] += (data.n_train + data.n_val) * (drawn + 1)
    return in_order(work)


@dataclass(frozen=True)
class Scoring:
    """What was predicted after all trainings.

    Attributes:
        models: backbone, or `SMALL_CNN`, and depth of each exported model.
        n_images: that each was scored on.
        winner: backbone, or `SMALL_CNN`, of the exported winner.
        n_winner: images that the winner alone predicted from end to end, altered ones included.
    """

    models: Sequence[tuple[str, int]]
    n_images: int
    winner: str
    n_winner: int

    def needed(self) -> Work:
        """Each image once through each backbone's longest prefix, then through the suffix of each of its models.

        A pass through the whole network is one through the prefix and the suffix of the model of least depth.
        """
        work: Work = defaultdict(int)
        for backbone in dict.fromkeys(backbone for backbone, _ in self.models):
            depths = sorted(depth for name, depth in self.models if name == backbone)
            if backbone != SMALL_CNN:
                work[Part(backbone, "forward")] += self.n_images
                depths = depths[1:]
            for depth in depths:
                work[Part(backbone, "validation", depth)] += self.n_images
        work[Part(self.winner, "forward")] += self.n_winner
        return in_order(work)


def added(*works: Work) -> Work:
    """All of ``works`` together."""
    return in_order(sum((Counter(work) for work in works), Counter()))


def without(work: Work, done: Work) -> Work:
    """What of ``work`` is left after ``done``, which is a part of it."""
    return in_order({part: images - done.get(part, 0) for part, images in work.items()})


def in_order(work: Mapping[Part, int]) -> Work:
    """``work`` by backbone, depth and kind, without what is nothing."""
    done = sorted(work, key=lambda part: (part.backbone, part.depth, ORDER.index(part.kind), part.batch))
    return {part: work[part] for part in done if work[part]}
