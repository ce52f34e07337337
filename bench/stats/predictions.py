"""`Predictions`: what a model says of some images, beside their reference standard and their patients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.stats.enough import by_class, fewest, one_against_rest, too_few
from bench.stats.metrics import Labels, Mask, Metric, Scores, applicable, one_vs_rest


@dataclass(frozen=True)
class OneVsRest:
    """One class against all others.

    Attributes:
        name: of the class.
        positive: whether an image is of the class, shape (n_images,).
        scores: probability of the class, shape (n_images,).
        few: why there are too few patients of either side for an interval; empty if there are enough.
    """

    name: str
    positive: Mask
    scores: Scores
    few: str

    @property
    def both_sides(self) -> bool:
        """Whether there are images of the class and images of others."""
        return bool(self.positive.any() and not self.positive.all())


@dataclass(frozen=True)
class Predictions:
    """A model's probabilities of some images; those of two models of the same images differ in `scores` alone.

    Attributes:
        labels: class indices, shape (n_images,).
        scores: probabilities, shape (n_images, n_classes), rows sum to 1.
        patients: patient of each image, shape (n_images,); the bootstrap draws whole patients.
        classes: class names by index; without any they are numbered.
        ordinal: whether the classes have an order, which is that of their indices.
    """

    labels: Labels
    scores: Scores
    patients: npt.NDArray[Any]
    classes: Sequence[str] = ()
    ordinal: bool = False

    def __post_init__(self) -> None:
        if not self.classes:
            object.__setattr__(self, "classes", tuple(f"class {index}" for index in range(self.scores.shape[1])))

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: Any) -> "Predictions":
        """Some images, by a mask, row numbers or a slice."""
        return replace(self, labels=self.labels[chosen], scores=self.scores[chosen], patients=self.patients[chosen])

    def with_scores(self, scores: Scores) -> "Predictions":
        """What another model says of the same images."""
        return replace(self, scores=scores)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that mean something for these classes."""
        return applicable(self.scores.shape[1], self.ordinal)

    @property
    def n_patients(self) -> int:
        """How many patients there are."""
        return len(np.unique(self.patients))

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Most probable class of each image, shape (n_images,)."""
        return np.asarray(self.scores.argmax(axis=1))

    @property
    def right(self) -> Mask:
        """Whether the most probable class is the label, shape (n_images,)."""
        return np.asarray(self.predicted == self.labels)

    @property
    def missing_classes(self) -> str:
        """Why scores over all classes cannot be computed, empty if they can."""
        missing = [name for index, name in enumerate(self.classes) if not np.any(self.labels == index)]
        return f"the split holds no image of {', '.join(missing)}" if missing else ""

    @property
    def few(self) -> str:
        """Why there are too few patients for an interval of anything; empty if there are enough."""
        return too_few(self.patients)

    @property
    def few_of_a_class(self) -> str:
        """Why there are too few for what depends on each class by itself, such as the AUC; empty if enough."""
        return too_few(self.patients, by_class(self.labels, self.classes))

    def few_for(self, metric: Metric) -> str:
        """Why there are too few for an interval of ``metric``; empty if there are enough."""
        return self.few_of_a_class if metric.needs_all_classes else self.few

    def fewest_for(self, metric: Metric) -> int:
        """Patients that t intervals of ``metric`` go by: of the class with the fewest if it needs all, else all."""
        return fewest(self.patients, by_class(self.labels, self.classes) if metric.needs_all_classes else None)

    def against_rest(self, index: int) -> OneVsRest:
        """The class of an ``index`` against the others."""
        sides = one_against_rest(self.labels, index, self.classes)
        few = too_few(self.patients, sides)
        return OneVsRest(self.classes[index], sides[self.classes[index]], self.scores[:, index], few)

    def curves(self) -> Iterator[OneVsRest]:
        """The classes that get a curve: the second of two, else each against the rest; without those of one side."""
        found = (self.against_rest(index) for index in one_vs_rest(len(self.classes)))
        return (one for one in found if one.both_sides)
