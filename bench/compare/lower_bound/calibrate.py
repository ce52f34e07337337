"""Images per second of every part of the work, by bare Keras at its best on this machine; measured once and kept.

Tried are: one process of all threads against one per core of one thread; float32 against bfloat16 where the hardware
has it; XLA where it may be faster; and, where the batch is not part of the configuration, several batch sizes. Each is
timed briefly, the best of them three times for longer.
"""

import importlib.metadata
import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.compare.hardware import gpus, processor
from bench.compare.lower_bound.bare_keras import Network, Way
from bench.compare.lower_bound.processes import Processes, start, ways
from bench.compare.lower_bound.work import Part
from bench.device import cpu_cores
from bench.models.backbones import boundary_cut, get_backbone
from bench.run.folder import write_json
from bench.seeds import stable_hash

BATCHES = (32, 64, 128)
HEAD_BATCHES = (128, 1024)
QUICK_SECONDS = 0.4
SECONDS = 1.0
REPEATS = 3
NEAR_BEST = 0.9
"""Another number of processes is timed for longer only if it briefly reached this share of the best."""
BUSY = 0.5
"""A load average per core above which the machine counts as busy: what is measured then is not kept for good."""


@dataclass(frozen=True)
class Rate:
    """How fast a part of the work can be done, and how: images per second of the whole machine."""

    images_per_second: float
    precision: str
    batch: int
    processes: int
    threads: int
    xla: bool
    measured: str
    load: float

    def describe(self) -> str:
        """How the rate was reached, in words."""
        processes = f"{self.processes} process{'es' * (self.processes > 1)} of {self.threads} thread"
        return f"{self.precision}{', XLA' * self.xla}, batches of {self.batch}, {processes}{'s' * (self.threads > 1)}"


def machine() -> dict[str, Any]:
    """What decides a rate beside the work: processor, cores, GPUs, and versions."""
    versions = {name: importlib.metadata.version(name) for name in ("keras", "tensorflow")}
    return {"processor": processor(), "cores": cpu_cores(), "gpus": len(gpus()), **versions}


def calibrate(
    parts: Iterable[Part], sizes: Mapping[str, int], n_classes: int, cache: Path, tell: Callable[[str], None]
) -> dict[Part, Rate]:
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
    here, found = machine(), {}
    busy = BUSY * here["cores"]
    missing: dict[tuple[str, str, int], dict[Part, Path]] = {}
    for part in dict.fromkeys(parts):
        key = stable_hash(here, asdict(part), sizes[part.backbone], n_classes)
        file = cache / "calibration" / f"{key}.json"
        kept = Rate(**json.loads(file.read_text(encoding="utf-8"))["rate"]) if file.exists() else None
        if kept is not None and kept.load <= busy:
            found[part] = kept
        else:
            missing.setdefault((part.backbone, part.network, part.depth), {})[part] = file
    if not missing:
        return found
    load = round(os.getloadavg()[0], 2)
    if load > busy:
        tell(f"The machine is not idle (load {load:g}): what is measured now may be too slow, and is not used again.")
    with ExitStack() as stack:
        groups = start(here["cores"])
        for group in groups:
            stack.callback(group.close)
        for (backbone, _, _), files in missing.items():
            for part, rate in _measure(list(files), sizes[backbone], n_classes, groups, load).items():
                tell(f"{part.title}: {rate.images_per_second:,.0f} images/s ({rate.describe()})")
                about = {"machine": here, "what": asdict(part), "size": sizes[backbone], "classes": n_classes}
                write_json(files[part], {**about, "rate": asdict(rate)})
                found[part] = rate
    return found


def _can_help(way: Way, part: Part) -> bool:
    """A head is too small for any but the plain way, and on CPUs XLA only predicts faster."""
    if part.network == "head":
        return way == Way("float32")
    return not way.xla or part.kind != "training" or bool(gpus())


def _measure(
    parts: Sequence[Part], size: int, n_classes: int, groups: Sequence[Processes], load: float
) -> dict[Part, Rate]:
    """The rates of ``parts``, which one network does."""
    first, row = parts[0], get_backbone(parts[0].backbone)
    cut = boundary_cut(row, first.depth) if first.network == "suffix" else None
    network = Network(first.network, row.title, row.build, cut, size, row.n_features, n_classes)

    def brief(group: Processes, part: Part, way: Way, batch: int) -> float:
        group.prepare(network, way, part.kind == "training", batch)
        return group.rate(QUICK_SECONDS)

    for group in groups:
        group.clear()
    best: dict[Part, tuple[float, Way, int]] = {}
    for way in ways():
        able = [part for part in parts if _can_help(way, part)]
        if able:
            groups[0].build(network, way)
        for part in able:
            free = HEAD_BATCHES if part.network == "head" else BATCHES
            for batch in (part.batch,) if part.batch else free:
                rate = brief(groups[0], part, way, batch)
                if part not in best or rate > best[part][0]:
                    best[part] = rate, way, batch
    found = {}
    for part, (quick, way, batch) in best.items():
        reached = []
        for group in groups:
            group.build(network, way)
            if brief(group, part, way, batch) >= NEAR_BEST * quick or group is groups[0]:
                reached.append((statistics.median(group.rate(SECONDS) for _ in range(REPEATS)), group))
        rate, group = max(reached, key=lambda pair: pair[0])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        found[part] = Rate(
            round(rate, 3), way.precision, batch, group.count, group.threads, way.xla, measured=now, load=load
        )
    return found
