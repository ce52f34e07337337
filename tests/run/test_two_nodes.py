"""A run on a Ray cluster of two nodes, each of one core, gives what a run on one machine gives."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toys

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
RUN = [sys.executable, "-m", "bench", "run", "--weights", "random", "--backbones", "mobilenetv3large", "--precision"]
RUN += ["float32", "--image-size", "32", "--budget", "3", "--epochs", "2", "--repeats", "2", "--scheduler", "none"]
RUN += ["--seed", "3", "--bootstrap", "100", "--no-learning-curve"]
REPEATED = ("config_", "metric_", "state", "origin", "best_epoch")
"""Beginnings of the columns that do not tell of time or place."""


def wait_for(port: int) -> None:
    """Until something listens there."""
    for _ in range(120):
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of the cluster, which ends after the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sessions = tempfile.mkdtemp(prefix="nodes-", dir="/tmp")  # sockets lie there, whose paths must be short
    head = [*RAY, "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={sessions}"]
    nodes = []
    try:
        for command in (head, [*RAY, f"--address=127.0.0.1:{port}"]):
            nodes.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True))
            wait_for(port)
        yield f"127.0.0.1:{port}"  # the second node joins while the run on one machine goes on
    finally:
        for node in reversed(nodes):
            os.killpg(node.pid, signal.SIGTERM)
            node.wait()
        shutil.rmtree(sessions, ignore_errors=True)


def test_two_nodes_give_the_scores_of_one_machine(tmp_path: Path, address: str) -> None:
    toys.write_folder(tmp_path / "data", {"train": 40, "val": 30, "test": 30}, seed=4, per_patient=1)
    for name, flags in (("here", ["--jobs", "2"]), ("nodes", ["--jobs", "2", "--address", address])):
        own = [*RUN, "--data", "data", "--name", name, "--cache", f"cache-{name}", *flags]
        ran = subprocess.run(own, cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    for table in ("trials.csv", "finalists.csv", "baselines.csv", "predictions_test.csv"):
        here, there = (pd.read_csv(tmp_path / "reports" / name / table) for name in ("here", "nodes"))
        assert len(here) == len(there)
        for column in here:
            if column.startswith((*REPEATED, "prob_", "calibrated_")):
                if pd.api.types.is_float_dtype(here[column]):
                    np.testing.assert_allclose(here[column], there[column], atol=1e-5, err_msg=f"{table}: {column}")
                else:
                    assert here[column].tolist() == there[column].tolist(), f"{table}: {column}"
