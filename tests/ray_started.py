"""A process that has started Ray, as a run does."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

STARTED = """
import json, sys, time
import psutil
from bench import cluster
from bench.cluster import Job
cluster.start(1)
import ray
ray.get(ray.remote(lambda: 1).remote())
time.sleep(2)  # its agents listen a little later
processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
listening = {
    (process.name(), connection.laddr.ip)
    for process in processes
    for connection in process.net_connections(kind="inet")
    if connection.status == psutil.CONN_LISTEN
}
print(json.dumps([sorted(listening), [process.pid for process in processes[1:]]]), flush=True)
sys.stdin.readline()
cluster.stop()
"""


@dataclass(frozen=True)
class Started:
    """The process, what listens as (process name, address), its other processes, and where its session's folder is."""

    process: subprocess.Popen[str]
    listening: list[tuple[str, str]]
    others: list[int]
    place: Path

    def left(self) -> list[int]:
        """Those of its other processes that are still there."""
        return [pid for pid in self.others if psutil.pid_exists(pid)]


@contextlib.contextmanager
def started(name: str) -> Iterator[Started]:
    """Within the block the process is there; ``name`` is that of its folder, which must be short for Ray's sockets."""
    place = Path("/tmp") / f"{name}{os.getpid()}"
    place.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(place), "RAY_TMPDIR": ""},
    )
    assert process.stdout is not None
    listening, others = json.loads(process.stdout.readline())
    found = Started(process, listening, others, place)
    yield found
    process.kill()
    for pid in found.left():
        os.kill(pid, signal.SIGKILL)
    subprocess.run(["rm", "-rf", place], check=True)
