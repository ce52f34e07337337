"""Processes of bare Keras that share this machine and do the same at the same time."""

import multiprocessing
from collections.abc import Sequence
from typing import Any

from bench.compare.hardware import gpus
from bench.compare.lower_bound import bare_keras
from bench.compare.lower_bound.bare_keras import Network, Way
from bench.device import best_cpu_precision, memory_bytes
from bench.errors import TrialFailed
from bench.postmortem import by_status

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

    def _call(self, name: str, *arguments: Any) -> list[Any]:
        """Have all carry out the same; returns their answers when all are done."""
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

    def clear(self) -> None:
        """Forget all models."""
        self._call("clear")

    def build(self, network: Network, way: Way) -> None:
        """Build a model.

        Raises:
            CalibrationFailed: if it cannot be built; the other methods raise it likewise.
        """
        self._call("build", network, way)

    def prepare(self, network: Network, way: Way, training: bool, batch: int) -> None:
        """Prepare the step to be timed."""
        self._call("prepare", network, way, training, batch)

    def rate(self, seconds: float) -> float:
        """Images per second of all together over at least ``seconds``."""
        return float(sum(self._call("time", seconds)))

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


def ways() -> list[Way]:
    """Precisions and compilers that are worth a try here.

    bfloat16 only where the hardware computes in it. XLA on GPUs and, for predictions, on CPUs without bfloat16: at 96
    pixels on a CPU with it, XLA predicted no faster than bfloat16 with VGG16, ResNet50 and InceptionV3, trained more
    slowly, and took up to 24 seconds to compile.
    """
    plain = [Way("float32"), Way("mixed_bfloat16")]
    if gpus():
        return [Way(way.precision, xla) for xla in (False, True) for way in plain]
    return plain if best_cpu_precision() == "bfloat16" else [Way("float32"), Way("float32", xla=True)]


def start(cores: int) -> list[Processes]:
    """Start the groups of processes that are to be compared: one per GPU, else one per core, and one alone."""
    cards = gpus()
    if cards:
        return [Processes(len(cards), max(1, cores // len(cards)), cards)]
    count = max(1, min(cores, int(memory_bytes() / PROCESS_BYTES)))
    return [Processes(count, max(1, cores // count)), *([Processes(1, cores)] if count > 1 else [])]
