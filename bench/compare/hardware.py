"""This machine in a few words: what times compare within, and what bare Keras can use."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench.device import cpu_cores, memory_bytes


def gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    return [line.removeprefix("GPU ").partition(":")[0] for line in _listed_gpus()]


def processor() -> str:
    """The CPU's model name, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()


def hardware() -> dict[str, Any]:
    """The machine, as compare.json has it."""
    return {
        "cpus": cpu_cores(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "gpus": _listed_gpus(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _listed_gpus() -> list[str]:
    """``GPU 0: NVIDIA H200`` for each GPU of the machine."""
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [line.split(" (UUID")[0] for line in listed.splitlines() if line.startswith("GPU")]
