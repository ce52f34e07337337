"""This machine as bare Keras sees it: what it is, and processes of `bench.compare.methods.bare` that share it."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.device import cpu_cores
from bench.postmortem import by_status

PROCESS_BYTES = 2.5 * 2**30
"""Memory that a process of bare Keras is allowed for."""


class CalibrationFailed(Exception):
    """A process of bare Keras ended or could not carry out its order; the message gives the reason."""


class Processes:
    """Some processes of bare Keras that do the same at the same time; each GPU belongs to one."""

    def __init__(self, count: int, threads: int, cards: Sequence[str] = ()) -> None:
        self.count, self.threads = count, threads
        self._all = [self._start(threads, cards[number] if cards else "") for number in range(count)]

    @staticmethod
    def _start(threads: int, gpu: str) -> "subprocess.Popen[str]":
        more = {"CUDA_VISIBLE_DEVICES": gpu, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": str(threads)}
        more |= {"TF_NUM_INTEROP_THREADS": "1"} if threads == 1 else {}
        command = [sys.executable, "-m", "bench.compare.methods.bare"]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, text=True, env={**os.environ, **more})

    def ask(self, **order: Any) -> list[dict[str, Any]]:
        """Have all carry out ``order``; returns their answers when all are done.

        Raises:
            CalibrationFailed: if one could not.
        """
        try:
            for process in self._all:
                assert process.stdin is not None
                print(json.dumps(order), file=process.stdin, flush=True)
        except BrokenPipeError as error:
            raise CalibrationFailed(self._ended()) from error
        lines = [process.stdout.readline() for process in self._all if process.stdout is not None]
        if not all(lines):
            raise CalibrationFailed(self._ended())
        answers: list[dict[str, Any]] = [json.loads(line) for line in lines]
        failed = next((answer["error"] for answer in answers if "error" in answer), "")
        if failed:
            raise CalibrationFailed(f"bare Keras could not {order['do']} {order.get('application', '')}: {failed}")
        return answers

    def _ended(self) -> str:
        """How the first process ended that has."""
        status = next((process.wait() for process in self._all if process.poll() is not None), None)
        return f"a process of bare Keras {by_status(status) if status is not None else 'closed its output'}"

    def rate(self, seconds: float) -> float:
        """Images a second of all together over at least ``seconds``."""
        return float(sum(answer["images_per_second"] for answer in self.ask(do="time", seconds=seconds)))

    def close(self) -> None:
        """End the processes."""
        for process in self._all:
            process.communicate()


def machine() -> dict[str, Any]:
    """What decides a rate beside the work: processor, cores, GPUs, and versions."""
    versions = {name: importlib.metadata.version(name) for name in ("keras", "tensorflow")}
    cores = cpu_cores()
    return {"processor": _cpu("model name") or platform.machine(), "cores": cores, "gpus": len(gpus()), **versions}


def _cpu(entry: str) -> str:
    """The first value of ``entry`` in /proc/cpuinfo, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(entry)), "")


def gpus() -> list[str]:
    """Names of the GPUs that may be used, as CUDA_VISIBLE_DEVICES has them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def ways() -> list[dict[str, Any]]:
    """Precisions and compilers that are worth a try here.

    bfloat16 only where the hardware computes in it. XLA on GPUs and, for predictions, on CPUs without bfloat16: at 96
    pixels on a CPU with it, XLA predicted no faster than bfloat16 with VGG16, ResNet50 and InceptionV3, trained more
    slowly, and took up to 24 seconds to compile.
    """
    bfloat16 = bool(gpus()) or bool({"avx512_bf16", "amx_bf16"} & set(_cpu("flags").split()))
    plain = [{"precision": name, "xla": False} for name in ("float32", "mixed_bfloat16")[: 1 + bfloat16]]
    if gpus():
        return plain + [{**way, "xla": True} for way in plain]
    return plain if bfloat16 else [*plain, {"precision": "float32", "xla": True}]


def start(cores: int) -> list[Processes]:
    """Start the groups of processes that are to be compared: one a GPU, else one a core, and one alone."""
    cards = gpus()
    if cards:
        return [Processes(len(cards), max(1, cores // len(cards)), cards)]
    count = max(1, min(cores, int(psutil.virtual_memory().total / PROCESS_BYTES)))
    return [Processes(count, max(1, cores // count)), *([Processes(1, cores)] if count > 1 else [])]
