"""What a method of the comparison is given, and what it leaves: a `Spec` goes in, a row an ended trial comes out.

A specification is a folder of one JSON file and four .npy files, for each method runs in a process of its own.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.compare.clock import Clock
from bench.data.images.store import StoredImages
from bench.models.backbones import Backbone, get_backbone
from bench.models.weights import Weights
from bench.run.folder import write_json
from bench.search.space import Space, parse_space
from bench.trial import TrialConfig

SPACE_FILE = "space.yaml"
"""In a comparison's folder: the text of the space that is searched, or whose points are trained."""
SPLITS = ("train", "val")
STATES = ("completed", "pruned", "failed")
CONFIG = tuple(f"config_{entry.name}" for entry in fields(TrialConfig))
COLUMNS = ("method", "seed", "trial", "state", "ended", "core_seconds", "auc", "epochs", "reason", *CONFIG)
"""Of outcomes.csv, a row a trial: ``ended`` in seconds since the method's process started, ``core_seconds`` of CPU
time until then, ``auc`` on validation, ``epochs`` of all phases."""


@dataclass(frozen=True)
class Spec:
    """All that a method needs: the same images, labels, weights, space and number of trials for every method.

    Attributes:
        method: its name.
        seed: decides samples, initial heads, orders and augmentation.
        images: backbone name -> the decoded images, uint8 array of shape (n_images, size, size, channels) in an .npy.
        rows: ``train`` and ``val`` -> row numbers of ``images``.
        labels: ``train`` and ``val`` -> class indices, in the order of ``rows``.
        n_classes: number of classes.
        weights: the backbones' weight files.
        space_name: of the search space.
        space_text: the space file's content.
        configurations: a fixed list to train instead of a search; empty for a search.
        budget: number of trials.
        epochs: at most so many a phase.
        patience: a phase ends after so many epochs without gain.
        views: pre-drawn augmentations (this suite only).
        jobs: trials at a time; 0 lets a method choose.
        cache: folder of the feature cache (this suite only).
        cache_bytes: that the feature cache may take (this suite only).
        scratch: folder for whatever a method writes on its way.
        options: of the method.
    """

    method: str
    seed: int
    images: Mapping[str, StoredImages]
    rows: Mapping[str, npt.NDArray[np.int64]]
    labels: Mapping[str, npt.NDArray[np.int64]]
    n_classes: int
    weights: Weights
    space_name: str
    space_text: str
    configurations: tuple[Mapping[str, Any], ...]
    budget: int
    epochs: int
    patience: int
    views: int
    jobs: int
    cache: Path
    cache_bytes: int
    scratch: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        """What is searched, narrowed to the backbones that there are images of."""
        return parse_space(self.space_name, self.space_text, tuple(self.images))

    @property
    def backbones(self) -> dict[str, Backbone]:
        """Rows of the table of backbones, by name."""
        return {name: get_backbone(name) for name in self.images}

    def pixels(self, backbone: str, split: str) -> npt.NDArray[np.uint8]:
        """The images of ``split``, uint8 array of shape (n_images, size, size, channels)."""
        return np.asarray(self.images[backbone].open()[self.rows[split]])

    def save(self, folder: Path) -> Path:
        """Write spec.json and the .npy files into ``folder``; returns the JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        content = asdict(self)
        for name in ("rows", "labels"):
            for split in SPLITS:
                np.save(folder / f"{name}-{split}.npy", getattr(self, name)[split])
            del content[name]
        file = folder / "spec.json"
        write_json(file, json.loads(json.dumps(content, default=str)))
        return file

    @classmethod
    def load(cls, file: Path) -> "Spec":
        """The specification that `save` has written."""
        content = json.loads(file.read_text(encoding="utf-8"))
        for name in ("rows", "labels"):
            content[name] = {split: np.load(file.parent / f"{name}-{split}.npy") for split in SPLITS}
        content["images"] = {
            name: StoredImages(**{**stored, "file": Path(stored["file"])}) for name, stored in content["images"].items()
        }
        files = {name: Path(path) for name, path in content["weights"]["files"].items()}
        content["weights"] = Weights(**{**content["weights"], "files": files})
        content["configurations"] = tuple(content["configurations"])
        content["cache"], content["scratch"] = Path(content["cache"]), Path(content["scratch"])
        return cls(**content)


class Outcomes:
    """The rows of one method, each in the file as soon as its trial has ended: a method that is killed keeps them.

    Args:
        file: outcomes.csv; begun anew.
        spec: of the method.
        clock: of its process.
    """

    def __init__(self, file: Path, spec: Spec, clock: Clock) -> None:
        self._file = file
        self._spec = spec
        self._clock = clock
        self._trial = 0
        self._notes = file.with_name("notes.txt")
        with file.open("w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerow(COLUMNS)

    def note(self, text: str) -> None:
        """Something that the reader of the comparison should know."""
        with self._notes.open("a", encoding="utf-8") as notes:
            notes.write(" ".join(text.split()) + "\n")

    def add(self, config: Mapping[str, Any], auc: float | None, epochs: int, state: str, reason: str = "") -> None:
        """Note a trial that has just ended.

        Args:
            config: its parameters by name; those that it left out have their defaults.
            auc: on validation, of its best epoch of the phase that counts; None if it failed.
            epochs: of all its phases.
            state: ``completed``, ``pruned`` or ``failed``.
            reason: why it was stopped or failed.

        Raises:
            ValueError: for an unknown state, or a score that does not go with it.
        """
        if state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}, but got {state!r}")
        if (auc is None) != (state == "failed"):
            raise ValueError(f"a trial has a score unless it failed, but got {auc!r} of a {state} trial")
        ended, core_seconds = self._clock.read()
        row = {
            "method": self._spec.method,
            "seed": self._spec.seed,
            "trial": self._trial,
            "state": state,
            "ended": round(ended, 3),
            "core_seconds": round(core_seconds, 2),
            "auc": auc,
            "epochs": epochs,
            "reason": " ".join(reason.split()),
            **{f"config_{name}": value for name, value in asdict(TrialConfig.from_mapping(config)).items()},
        }
        self._trial += 1
        with self._file.open("a", newline="", encoding="utf-8") as table:
            csv.DictWriter(table, COLUMNS).writerow(row)
