"""Whole runs: wall time by pytest-benchmark, peak memory of all processes beside it.

The demo must end within 10 minutes on two cores and stay below 8 GiB; on real radiographs see CHANGELOG.md.
"""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
XRAYS = ROOT.parent / "shared" / "data" / "chest_xray"
XRAY = ["--data", str(XRAYS), "--image-size", "96", "--budget", "12", "--epochs", "4", "--weights", "random"]


def run(flags: list[str], folder: Path) -> float:
    """Run the command; returns the peak of all its processes' memory in GiB (shared pages counted once)."""
    command = [sys.executable, str(ROOT / "run_bench.py"), *flags, "--cache", str(folder / "cache")]
    return peak_of(subprocess.Popen([*command, "--output", str(folder)], stdout=subprocess.DEVNULL), every=2.0)


def peak_of(process: "subprocess.Popen[bytes]", every: float) -> float:
    """Wait for ``process``; returns the peak of its and its children's memory in GiB, looked at ``every`` so many s."""
    peak, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(every):
            peak = max(peak, memory_of(psutil.Process(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    done.set()
    watcher.join()
    assert status == 0
    return peak


def memory_of(process: psutil.Process) -> float:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**30


@pytest.mark.benchmark(group="whole run, cold cache")
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(["--budget", "50", "--name", "demo"], id="demo"),
        pytest.param([*XRAY, "--max-images", "1200", "--name", "xray"], id="xray-1200"),
        pytest.param([*XRAY, "--name", "xray-all"], id="xray-all"),
    ],
)
def test_whole_run(benchmark: Any, tmp_path: Path, flags: list[str]) -> None:
    if "--data" in flags and not XRAYS.is_dir():
        pytest.skip(f"the chest radiographs are not at {XRAYS}")
    benchmark.extra_info["peak_gib"] = benchmark.pedantic(run, args=(flags, tmp_path), rounds=1)
    assert (tmp_path / flags[-1] / "report.html").exists()
