"""What backbones compute in: timed on this machine at the run's own size, and remembered in the cache.

float32 and bfloat16 are timed in turn, so that a busy machine slows both; bfloat16 is taken for a part where it is
clearly faster. Weights are random: their values do not change the time.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bench import checksums
from bench.device import bfloat16_units, cpu_cores, gpus, graph_step, identity, listed_gpus, unoptimised_graphs
from bench.models.backbones import Backbone
from bench.models.weights import load_backbone
from bench.run.folder import write_json
from bench.run.record import Number, Part, PrecisionRecord
from bench.seeds import stable_hash
from bench.train.task import Precision, Task
from bench.trial import N_STAGES

FORMAT = 1
PRECISIONS = ("float32", "bfloat16")
GAIN = 1.05
"""bfloat16 is taken where float32 takes at least so many times as long."""
BATCH = 32
FEWEST = 2
CALL_MILLISECONDS = 200.0
"""A timed call has fewer images where a whole batch would take longer than this, by the table of backbones."""
REPEATS = 3

Milliseconds = dict[str, dict[str, float]]
"""Part (``prefix``, ``suffix``) -> precision -> milliseconds per image."""


class KeptTimes(Part):
    """A file of the cache: what was timed, on which machine, and the milliseconds per image."""

    about: dict[str, Any]
    measured: dict[str, dict[str, Number]]


def measure(task: Task) -> dict[str, PrecisionRecord]:
    """What each backbone of ``task`` is to compute in, by times measured in this process or read from the cache.

    To be called where training will run, after `bench.device.set_up`.
    """
    return {name: _decided(_times(task, backbone)) for name, backbone in task.architectures.items()}


def fixed(names: Iterable[str], precision: str) -> dict[str, PrecisionRecord]:
    """Both parts of all backbones in ``precision``, as the user chose."""
    return {name: PrecisionRecord(prefix=precision, suffix=precision) for name in names}


def inference_times(found: Mapping[str, PrecisionRecord]) -> dict[str, float]:
    """Milliseconds per image in float32, as exported models compute, of each backbone that was timed."""
    prefixes = {name: one.measured.get("prefix", {}) for name, one in found.items()}
    return {name: times["float32"] for name, times in prefixes.items() if "float32" in times}


def by_backbone(found: Mapping[str, PrecisionRecord]) -> dict[str, Precision]:
    """What a `Task` needs to know."""
    return {name: Precision(one.prefix, one.suffix) for name, one in found.items()}


def describe(backbones: Mapping[str, Backbone], found: Mapping[str, PrecisionRecord]) -> str:
    """In words, one backbone after the other."""
    return "; ".join(f"{backbones[name].title} {one.describe()}" for name, one in found.items())


def faster(times: Mapping[str, float]) -> str:
    """bfloat16 if it was timed and float32 takes at least `GAIN` times as long, else float32."""
    half = times.get("bfloat16")
    return "bfloat16" if half is not None and times["float32"] >= GAIN * half else "float32"


def suffix_depth(depths: Iterable[int]) -> int:
    """The unfreeze depth whose training step is timed: the deepest that has a frozen prefix; 0 if none is trained."""
    tried = set(depths)
    return max((depth for depth in tried if 0 < depth < N_STAGES), default=N_STAGES if N_STAGES in tried else 0)


def _decided(measured: Milliseconds) -> PrecisionRecord:
    return PrecisionRecord(**{part: faster(times) for part, times in measured.items()}, measured=measured)


def _times(task: Task, backbone: Backbone) -> Milliseconds:
    """The times of ``backbone``; a file of the cache that is damaged, or about something else, is written anew."""
    stored, depth = task.images[backbone.name], suffix_depth(task.depths)
    about = {
        "format": FORMAT,
        "machine": {**identity(), "cards": list(listed_gpus()), "units": list(bfloat16_units())},
        "backbone": backbone.name,
        "network": stable_hash([(stage.cut, stage.stride, stage.channels) for stage in backbone.stages]),
        "size": stored.size,
        "channels": stored.channels,
        "classes": task.n_classes,
        "depth": depth,
    }
    file = task.cache / "precision" / f"{stable_hash(about)}.json"
    wanted = {"prefix", "suffix"} if depth else {"prefix"}
    kept = _kept(file)
    if (
        kept is not None
        and kept.about == about
        and {part for part in kept.measured if "float32" in kept.measured[part]} == wanted
    ):
        return kept.measured
    measured = time_parts(backbone, stored.size, stored.channels, task.n_classes, depth)
    write_json(file, KeptTimes(about=about, measured=measured))
    checksums.keep(file)
    return measured


def _kept(file: Path) -> KeptTimes | None:
    """What is in ``file``; None if that is not what was written, or of another version."""
    try:
        return KeptTimes.model_validate_json(file.read_bytes()) if checksums.intact(file) else None
    except (OSError, ValidationError):
        return None


def time_parts(backbone: Backbone, size: int, channels: int, n_classes: int, depth: int) -> Milliseconds:
    """Milliseconds per image of the prefix (to pooled features) and, at ``depth`` above 0, of a training step.

    What a device cannot compute in bfloat16 has no time there.

    Args:
        backbone: row of the table.
        size: height and width in pixels.
        channels: of the images, 1 or 3.
        n_classes: number of classes.
        depth: unfreeze depth of the suffix, 0 to 5.
    """
    from bench.models import assemble  # Keras, which the process that only asks for this must not load

    networks = {name: load_backbone(backbone, size, None, name) for name in PRECISIONS}
    random = np.random.default_rng(0)
    scale = (size / 96) ** 2 * 2 / cpu_cores()

    def array(count: int, shape: Iterable[int]) -> npt.NDArray[np.float32]:
        return random.random((count, *shape), dtype=np.float32)

    def prefix(name: str) -> Callable[[], Any]:
        model = assemble.prefix_model(backbone, networks[name], size, channels, (0,))
        return graph_step(model, 255 * array(n_images, (size, size, channels)))

    def suffix(name: str) -> Callable[[], Any]:
        head = assemble.trial_head(backbone.n_features, n_classes)
        model = assemble.suffix_model(backbone, networks[name], size, channels, depth, head)
        targets = np.eye(n_classes, dtype=np.float32)[np.arange(n_images) % n_classes]
        return graph_step(model, array(n_images, model.input_shape[1:]), targets)

    n_images = _images(backbone.cost[0] * scale)
    measured = {"prefix": _alternately(prefix, n_images)}
    if depth:
        n_images = _images(backbone.suffix_cost(depth) * scale)
        measured["suffix"] = _alternately(suffix, n_images)
    return measured


def _images(milliseconds: float) -> int:
    """Images of a timed call, at about so many milliseconds each; a GPU takes a whole batch."""
    return BATCH if gpus() else int(np.clip(CALL_MILLISECONDS / milliseconds, FEWEST, BATCH))


def _alternately(build: Callable[[str], Callable[[], Any]], n_images: int) -> dict[str, float]:
    """Median milliseconds per image by precision, each timed in turn; the first call, which traces, is not timed."""
    steps: dict[str, Callable[[], Any]] = {}
    with nullcontext() if gpus() else unoptimised_graphs():  # on GPUs the layout of arrays is an optimisation
        for name in PRECISIONS:
            try:
                step = build(name)
                step()
            except Exception:  # an old GPU, say, has no kernels for bfloat16, and says so in many ways
                if name == "float32":
                    raise
            else:
                steps[name] = step
        spent: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(REPEATS):
            for name, step in steps.items():
                started = time.perf_counter()
                step()
                spent[name].append(time.perf_counter() - started)
    return {name: round(1000 * statistics.median(seconds) / n_images, 4) for name, seconds in spent.items()}
