"""Ray started here is nobody else's: it listens on loopback, its folder is private, and nothing of it stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

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


@pytest.fixture
def started(tmp_path: Path) -> Any:
    """A process that has started Ray; what listens, its other processes, and the folder of its session."""
    place = Path("/tmp") / f"b{os.getpid()}"
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
    yield process, listening, others, place
    process.kill()
    for pid in others:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["rm", "-rf", place], check=True)


@pytest.mark.end_to_end
def test_ray_is_private_and_leaves_nothing(started: Any) -> None:
    process, listening, _, place = started
    assert listening
    addresses = {address.removeprefix("::ffff:") for _, address in listening}  # IPv4, as an IPv6 socket shows it
    assert addresses <= {"127.0.0.1", "::1"}, listening
    (folder,) = place.glob("ray-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    process.communicate("\n", timeout=60)
    assert not [*place.glob("ray-*")]


@pytest.mark.end_to_end
def test_what_a_killed_driver_left_goes_at_the_next_start(started: Any) -> None:
    from bench.scratch import remove_left

    process, _, others, place = started
    process.kill()
    process.wait()
    until = time.monotonic() + 90
    while any(map(psutil.pid_exists, others)) and time.monotonic() < until:
        time.sleep(1)
    assert not [pid for pid in others if psutil.pid_exists(pid)], "Ray's processes end with their driver"
    assert [*place.glob("ray-*")]
    assert remove_left(place)
    assert not [*place.glob("ray-*")]
