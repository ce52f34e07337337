"""Images a second of every part of the work, by bare Keras at its best on this machine; measured once and kept.

The work is done by `bench.compare.methods.bare` in its own processes. Tried are: one process of all threads against one
per core of one thread; float32 against bfloat16 where the hardware has it; XLA where it may be faster; and, where the
batch is not part of the configuration, several batch sizes. Each gets a short turn, the best of them three long ones.
"""

import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.compare.methods.machine import Processes, gpus, machine, start, ways
from bench.models.backbones import boundary_cut, get_backbone
from bench.run.folder import write_json
from bench.seeds import stable_hash

BATCHES = (32, 64, 128)
HEAD_BATCHES = (128, 1024)
QUICK_SECONDS = 0.4
SECONDS = 1.0
REPEATS = 3
WORTH_A_LOOK = 0.9
"""Another number of processes gets its long turns only if its short one reached this share of the best."""
BUSY = 0.5
"""A load average a core above which the machine counts as busy: what is measured then is not kept for good."""


@dataclass(frozen=True)
class What:
    """A part of the work.

    Attributes:
        backbone: a backbone's name.
        kind: ``forward`` (images through the whole network to pooled features), ``training`` or ``validation``.
        depth: stages that are trained or validated together with the head; 0 is the head alone.
        batch: images a training step, which are part of the configuration; 0 leaves them free.
    """

    backbone: str
    kind: str
    depth: int = 0
    batch: int = 0

    @property
    def part(self) -> str:
        """Which model does it: ``forward``, ``head`` or ``suffix``."""
        return "forward" if self.kind == "forward" else "suffix" if self.depth else "head"

    @property
    def title(self) -> str:
        """In words: ``VGG16, depth 2, training``."""
        name = get_backbone(self.backbone).title
        if self.kind == "forward":
            return f"{name}, frozen network"
        batch = f", batches of {self.batch}" if self.batch else ""
        return f"{name}, {f'depth {self.depth}' if self.depth else 'head'}, {self.kind}{batch}"


@dataclass(frozen=True)
class Rate:
    """How fast a part of the work can be done, and how: images a second of the whole machine."""

    images_per_second: float
    precision: str
    batch: int
    processes: int
    threads: int
    xla: bool
    measured: str
    load: float


def _tried(what: What, way: Mapping[str, Any]) -> bool:
    """Whether ``way`` can help: a head is too small for it, and on CPUs XLA only predicts faster."""
    plain = way["precision"] == "float32" and not way["xla"]
    if what.part == "head":
        return plain
    return not way["xla"] or what.kind != "training" or bool(gpus())


def calibrate(
    parts: Iterable[What],
    sizes: Mapping[str, int],
    n_classes: int,
    cache: Path,
    tell: Callable[[str], None],
) -> dict[What, Rate]:
    """The rate of each of ``parts``; measured on this machine unless it was before, while the machine was not busy.

    Args:
        parts: of the work.
        sizes: backbone name -> height and width of its images in pixels.
        n_classes: number of classes.
        cache: folder in whose ``calibration/`` rates are kept, by machine, versions and part.
        tell: told what is measured.

    Raises:
        CalibrationFailed: if bare Keras cannot do a part.
    """
    here, found, wanted = machine(), {}, list(dict.fromkeys(parts))

    def file(what: What) -> Path:
        key = stable_hash(here, asdict(what), sizes[what.backbone], n_classes)
        return cache / "calibration" / f"{key}.json"

    for what in wanted:
        if file(what).exists():
            kept = Rate(**json.loads(file(what).read_text(encoding="utf-8"))["rate"])
            if kept.load <= BUSY * here["cores"]:
                found[what] = kept
    missing = [what for what in wanted if what not in found]
    if not missing:
        return found
    load = round(os.getloadavg()[0], 2)
    if load > BUSY * here["cores"]:
        tell(f"The machine is not idle (load {load:g}): what is measured now may be too slow, and is not used again.")
    with ExitStack() as stack:
        groups = start(here["cores"])
        for group in groups:
            stack.callback(group.close)
        for backbone, part, depth in dict.fromkeys((what.backbone, what.part, what.depth) for what in missing):
            these = [what for what in missing if (what.backbone, what.part, what.depth) == (backbone, part, depth)]
            for what, rate in _measure(these, sizes[backbone], n_classes, groups, load).items():
                tell(f"{what.title}: {rate.images_per_second:,.0f} images/s ({describe(rate)})")
                about = {"machine": here, "what": asdict(what), "size": sizes[backbone], "classes": n_classes}
                write_json(file(what), {**about, "rate": asdict(rate)})
                found[what] = rate
    return found


def describe(rate: Rate) -> str:
    """How a rate was reached, in words."""
    processes = f"{rate.processes} process{'es' * (rate.processes > 1)} of {rate.threads} thread"
    return f"{rate.precision}{', XLA' * rate.xla}, batches of {rate.batch}, {processes}{'s' * (rate.threads > 1)}"


def _measure(
    parts: Sequence[What], size: int, n_classes: int, groups: Sequence[Processes], load: float
) -> dict[What, Rate]:
    """The rates of ``parts``, which one model does."""
    first, row = parts[0], get_backbone(parts[0].backbone)
    cut = boundary_cut(row, first.depth) if first.part == "suffix" else None
    model = {"part": first.part, "application": row.title, "cut": cut, "size": size}
    model |= {"features": row.n_features, "classes": n_classes}

    def turn(group: Processes, what: What, choice: Mapping[str, Any]) -> float:
        group.ask(do="ready", kind=what.kind, **model, **choice)
        return group.rate(QUICK_SECONDS)

    for group in groups:
        group.ask(do="clear")
    best: dict[What, tuple[float, dict[str, Any]]] = {}
    for way in ways():
        these = [what for what in parts if _tried(what, way)]
        if these:
            groups[0].ask(do="build", **model, **way)
        for what in these:
            free = HEAD_BATCHES if what.part == "head" else BATCHES
            for batch in (what.batch,) if what.batch else free:
                choice = {**way, "batch": batch}
                rate = turn(groups[0], what, choice)
                if rate > best.get(what, (0.0, {}))[0]:
                    best[what] = rate, choice
    found = {}
    for what, (quick, choice) in best.items():
        reached = []
        for group in groups:
            group.ask(do="build", **model, **choice)
            if turn(group, what, choice) >= WORTH_A_LOOK * quick or group is groups[0]:
                reached.append((statistics.median(group.rate(SECONDS) for _ in range(REPEATS)), group))
        rate, group = max(reached, key=lambda pair: pair[0])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        found[what] = Rate(
            round(rate, 3), **choice, processes=group.count, threads=group.threads, measured=now, load=load
        )
    return found
