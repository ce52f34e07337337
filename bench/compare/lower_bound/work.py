"""What has to be done for some trials, counted in images: nothing is measured here.

Each image passes once through each frozen network and view that was used, and then only the trainable part is trained.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.models.augmentation import Policy
from bench.models.backbones import get_backbone
from bench.trial import TrialConfig


@dataclass(frozen=True)
class Part:
    """A part of the work.

    Attributes:
        backbone: a backbone's name.
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
        """Which network does it: ``forward``, ``head`` or ``suffix``."""
        return "forward" if self.kind == "forward" else "suffix" if self.depth else "head"

    @property
    def title(self) -> str:
        """In words: ``VGG16, depth 2, training``."""
        name = get_backbone(self.backbone).title
        if self.kind == "forward":
            return f"{name}, frozen network"
        batch = f", batches of {self.batch}" if self.batch else ""
        return f"{name}, {f'depth {self.depth}' if self.depth else 'head'}, {self.kind}{batch}"


Work = dict[Part, int]
"""A part of the work -> how many images pass."""


@dataclass(frozen=True)
class Trained:
    """A configuration, and how many epochs its head and then its unfrozen stages were trained."""

    config: TrialConfig
    head: int
    finetune: int = 0


@dataclass(frozen=True)
class Data:
    """What the trials were trained on.

    Attributes:
        n_train: number of training images.
        n_val: number of validation images.
        views: pre-drawn augmentations of the training images; epoch e of a phase uses view e mod ``views``.
        policies: augmentation policies by name; those of equal amounts share their views.
    """

    n_train: int
    n_val: int
    views: int
    policies: Mapping[str, Policy]


def needed(trained: Iterable[Trained], data: Data, warm: bool = False) -> Work:
    """What has to be done to train ``trained``, each image once through each frozen network and view.

    Args:
        trained: trials, those that were stopped or failed with the epochs that they had.
        data: what they were trained on.
        warm: whether the frozen networks' output is there already.
    """
    work: Work = defaultdict(int)
    used: dict[str, dict[Any, int]] = defaultdict(dict)
    for one in trained:
        config, longest = one.config, max(one.head, one.finetune)
        if longest == 0:
            continue
        views = used[config.backbone]
        amounts = tuple(sorted(data.policies[config.augmentation].amounts().items()))
        views[amounts] = max(views.get(amounts, 0), min(data.views, longest))
        for depth, epochs in ((0, one.head), (config.unfreeze_depth, one.finetune)):
            batch = min(config.batch_size, data.n_train)
            work[Part(config.backbone, "training", depth, batch)] += data.n_train * epochs
            work[Part(config.backbone, "validation", depth)] += data.n_val * epochs
    for backbone, views in used.items() if not warm else ():
        drawn = sum(count for amounts, count in views.items() if amounts)
        # the clean training images are always needed: the features are standardised by them
        work[Part(backbone, "forward")] = data.n_train * (drawn + 1) + data.n_val
    order = ("forward", "training", "validation")
    done = sorted(work, key=lambda part: (part.backbone, part.depth, order.index(part.kind), part.batch))
    return {part: work[part] for part in done if work[part]}
