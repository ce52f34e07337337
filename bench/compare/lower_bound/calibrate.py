"""Images per second of every part of the work, by bare Keras at its best on this machine; measured once and kept.

Tried are: one process of all threads against one per core of one thread; float32 against bfloat16 where the hardware
has it; XLA where it may be faster; and, where the batch is not part of the configuration, several batch sizes. Each is
timed briefly, the best of them three times for longer.
"""

import json
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import checksums
from bench.compare.lower_bound import bare_keras
from bench.compare.lower_bound.bare_keras import Network, Way
from bench.compare.lower_bound.work import SMALL_CNN, Part
from bench.device import bfloat16_units, gpus, identity, memory_bytes
from bench.errors import TrialFailed
from bench.failures import by_status
from bench.models import small_cnn
from bench.models.backbones import boundary_cut, get_backbone
from bench.numbers import counted
from bench.run.documents import CalibratedOn
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
PROCESS_BYTES = 2.5 * 2**30
"""Memory that a process of bare Keras is allowed for."""


class CalibrationFailed(TrialFailed):
    """A process of bare Keras ended or could not carry out its order; the message gives the reason."""


class Processes:
    """A group of processes; each GPU belongs to one."""

    def __init__(self, count: int, threads: int, cards: Sequence[str] = ()) -> None:
        self.count, self.threads = count, threads
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": str(threads)}
        environment |= {"TF_NUM_INTEROP_THREADS": "1"} if threads == 1 else {}
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for number in range(count):
            own, other = context.Pipe()
            given = {**environment, "CUDA_VISIBLE_DEVICES": cards[number] if cards else ""}
            process = context.Process(target=bare_keras.serve, args=(other, given), daemon=True)
            process.start()
            other.close()
            self._pipes.append(own)
            self._processes.append(process)

    def call(self, name: str, *arguments: Any) -> list[Any]:
        """Have all carry out the same method of `bare_keras.Bench`; returns their answers when all are done.

        Raises:
            CalibrationFailed: if one could not.
        """
        try:
            for pipe in self._pipes:
                pipe.send((name, arguments))
            answers = [pipe.recv() for pipe in self._pipes]
        except (EOFError, OSError) as error:
            raise CalibrationFailed(self._ended()) from error
        failed = next((error for _, error in answers if error), "")
        if failed:
            about = arguments[0].backbone if name in ("build", "prepare") else ""
            raise CalibrationFailed(f"bare Keras could not {name} {about}: {failed}")
        return [answer for answer, _ in answers]

    def rate(self, seconds: float) -> float:
        """Images per second of all together over at least ``seconds``."""
        return float(sum(self.call("time", seconds)))

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()

    def _ended(self) -> str:
        """How the first process ended that has."""
        for process in self._processes:
            process.join(0.5)
        status = next((process.exitcode for process in self._processes if process.exitcode is not None), None)
        return f"a process of bare Keras {by_status(status) if status is not None else 'closed its output'}"


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
        processes = f"{counted(self.processes, 'process', 'processes')} of {counted(self.threads, 'thread')}"
        return f"{self.precision}{', XLA' * self.xla}, batches of {self.batch}, {processes}"


def machine() -> CalibratedOn:
    """What decides a rate beside the work: processor, cores, GPUs, and versions."""
    return CalibratedOn(**identity())


def calibrate(
    parts: Iterable[Part], sizes: Mapping[str, int], n_classes: int, cache: Path, tell: Callable[[str], None]
) -> dict[Part, Rate]:
    """The rate of each of ``parts``; measured on this machine unless it was before, while the machine was not busy.

    Args:
        parts: of the work.
        sizes: backbone name, or `SMALL_CNN` -> height and width of its images in pixels.
        n_classes: number of classes.
        cache: folder in whose ``calibration/`` rates are kept, by machine, versions and part.
        tell: told what is measured.

    Raises:
        CalibrationFailed: if bare Keras cannot do a part.
    """
    here, found = machine(), {}
    busy = BUSY * here.cores
    missing: dict[tuple[str, str, int], dict[Part, Path]] = {}
    for part in dict.fromkeys(parts):
        key = stable_hash(here.content(), asdict(part), sizes[part.backbone], n_classes)
        file = cache / "calibration" / f"{key}.json"
        kept = _kept(file)
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
        groups = start(here.cores)
        for group in groups:
            stack.callback(group.close)
        for (backbone, _, _), files in missing.items():
            for part, rate in _measure(list(files), sizes[backbone], n_classes, groups, load).items():
                tell(f"{part.title}: {rate.images_per_second:,.0f} images/s ({rate.describe()})")
                about = {"machine": here.content(), "what": asdict(part), "size": sizes[backbone], "classes": n_classes}
                write_json(files[part], {**about, "rate": asdict(rate)})
                checksums.keep(files[part])
                found[part] = rate
    return found


def _kept(file: Path) -> Rate | None:
    """The rate in ``file``; None if it is not there or not as it was written, or another version wrote it."""
    if not checksums.intact(file):
        return None
    try:
        return Rate(**json.loads(file.read_text(encoding="utf-8"))["rate"])
    except (KeyError, TypeError, ValueError):
        return None


def _can_help(way: Way, part: Part) -> bool:
    """A head is too small for any but the plain way, a small CNN is float32, and on CPUs XLA only predicts faster."""
    if part.network == "head":
        return way == Way("float32")
    if part.network == SMALL_CNN and way.precision != "float32":
        return False
    return not way.xla or part.kind != "training" or bool(gpus())


def _network(part: Part, size: int, n_classes: int) -> Network:
    """What does ``part``."""
    if part.network == SMALL_CNN:
        return Network(SMALL_CNN, "Small CNN", small_cnn.small_cnn, None, size, small_cnn.CHANNELS[-1], n_classes)
    row = get_backbone(part.backbone)
    cut = boundary_cut(row, part.depth) if part.network == "suffix" else None
    return Network(part.network, row.title, row.build, cut, size, row.n_features, n_classes)


def _measure(
    parts: Sequence[Part], size: int, n_classes: int, groups: Sequence[Processes], load: float
) -> dict[Part, Rate]:
    """The rates of ``parts``, which one network does."""
    network = _network(parts[0], size, n_classes)

    def brief(group: Processes, part: Part, way: Way, batch: int) -> float:
        group.call("prepare", network, way, part.kind == "training", batch)
        return group.rate(QUICK_SECONDS)

    for group in groups:
        group.call("clear")
    best: dict[Part, tuple[float, Way, int]] = {}
    for way in ways():
        able = [part for part in parts if _can_help(way, part)]
        if able:
            groups[0].call("build", network, way)
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
            group.call("build", network, way)
            if brief(group, part, way, batch) >= NEAR_BEST * quick or group is groups[0]:
                reached.append((statistics.median(group.rate(SECONDS) for _ in range(REPEATS)), group))
        rate, group = max(reached, key=lambda pair: pair[0])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        found[part] = Rate(
            round(rate, 3), way.precision, batch, group.count, group.threads, way.xla, measured=now, load=load
        )
    return found


def ways() -> list[Way]:
    """Precisions and compilers that are worth a try here.

    bfloat16 only where the hardware computes in it. XLA on GPUs and, for predictions, on CPUs without bfloat16: at 96
    pixels on a CPU with it, XLA predicted no faster than bfloat16 with VGG16, ResNet50 and InceptionV3, trained more
    slowly, and took up to 24 seconds to compile.
    """
    plain = [Way("float32"), Way("mixed_bfloat16")]
    if gpus():
        return [Way(way.precision, xla) for xla in (False, True) for way in plain]
    return plain if bfloat16_units() else [Way("float32"), Way("float32", xla=True)]


def start(cores: int) -> list[Processes]:
    """Start the groups of processes that are to be compared: one per GPU, else one per core, and one alone."""
    cards = gpus()
    if cards:
        return [Processes(len(cards), max(1, cores // len(cards)), cards)]
    count = max(1, min(cores, int(memory_bytes() / PROCESS_BYTES)))
    return [Processes(count, max(1, cores // count)), *([Processes(1, cores)] if count > 1 else [])]
