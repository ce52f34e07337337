"""An experiment reaches another process; rows of outcomes are whole and possible; processes end as a family."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from bench.compare.family import end
from bench.compare.methods.experiment import OUTCOMES, Clock
from bench.compare.methods.keras_training import pixels
from bench.trial import TrialConfig


def test_an_experiment_reaches_another_process(make_experiment):
    experiment = make_experiment(configurations=(TrialConfig("toy"),), options={"cache": False})
    loaded = pickle.loads(pickle.dumps(experiment))
    for name in ("rows", "labels"):
        for split in ("train", "val"):
            assert np.array_equal(getattr(loaded.task, name)[split], getattr(experiment.task, name)[split])
    empty = {"rows": {}, "labels": {}}
    assert replace(loaded, task=replace(loaded.task, **empty)) == replace(
        experiment, task=replace(experiment.task, **empty)
    )
    assert np.array_equal(pixels(loaded.task, "toy", "val"), pixels(experiment.task, "toy", "val"))


def test_rows_are_in_the_file_as_soon_as_a_trial_has_ended(make_experiment, outcomes, tmp_path):
    rows = outcomes(make_experiment(method="ray-tune", seed=3))
    assert list(pd.read_csv(tmp_path / "outcomes.csv")) == OUTCOMES.names
    rows.add(TrialConfig.from_mapping({"backbone": "toy", "unfreeze_depth": 1}), 0.75, 4, "pruned", "stopped\nby ASHA")
    rows.add(TrialConfig("toy2"), None, 0, "failed", "no memory")
    found = pd.read_csv(tmp_path / "outcomes.csv")
    assert found["trial"].tolist() == [0, 1]
    assert set(found["method"]) == {"ray-tune"} and set(found["seed"]) == {3}
    assert found["auc"].iloc[0] == 0.75 and np.isnan(found["auc"].iloc[1])
    assert found["config_finetune_factor"].iloc[0] == 0.1 and np.isnan(found["config_finetune_factor"].iloc[1])
    assert found["reason"].tolist() == ["stopped by ASHA", "no memory"]
    assert found["ended"].is_monotonic_increasing and (found["core_seconds"] > 0).all()


@pytest.mark.parametrize(("auc", "state"), [(None, "completed"), (0.5, "failed"), (0.5, "stopped")])
def test_impossible_rows_are_refused(make_experiment, outcomes, auc, state):
    with pytest.raises(ValueError, match="but got"):
        outcomes(make_experiment()).add(TrialConfig("toy"), auc, 1, state)


def test_the_clock_counts_children_also_once_they_are_gone():
    clock = Clock()
    _, before = clock.read()
    busy = "import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass\ntime.sleep(1)"
    subprocess.run([sys.executable, "-c", busy], check=True)
    seconds, after = clock.read()
    assert after - before > 1.2
    assert seconds > 1.5


def test_a_process_ends_with_all_that_it_has_started():
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    process = subprocess.Popen([sys.executable, "-c", child])
    time.sleep(1)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) == 2
    end(process.pid)
    process.wait(5)
    assert not any(member.is_running() for member in family)


COMPARISON = """
import sys
from pathlib import Path
from types import SimpleNamespace
from bench import cli
from bench.compare import comparison, plan
from bench.compare.methods.experiment import Experiment
from bench.compare.methods.process import MethodRun
from bench.compare.methods.table import Method

def carry_out(run, screen):
    run.begin_anew()
    run.carry_out(Experiment(run.method, SimpleNamespace(seed=0), None, (), 1, 1, run.folder / "scratch"), None)

if __name__ == "__main__":
    plan.make_plan = lambda **values: MethodRun(Path(sys.argv[1]), Method("sleeping", "Sleeping", "sleeping_method"), 0)
    comparison.carry_out = carry_out
    sys.exit(cli.main(["compare"]))
"""
"""The command with nothing to compare but one method, which starts a process and never ends."""


@pytest.mark.parametrize(("ended_by", "status"), [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_method_ends_with_its_comparison_and_takes_its_family_along(tmp_path, ended_by, status):
    script, run = tmp_path / "comparison.py", tmp_path / "run"
    script.write_text(COMPARISON)
    paths = [str(Path(__file__).parent), str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    comparison = subprocess.Popen([sys.executable, str(script), str(run)], env=environment)
    family = []
    try:
        wait_until(lambda: (run / "notes.txt").exists() or comparison.poll() is not None)
        family = psutil.Process(comparison.pid).children(recursive=True)
        assert any("time.sleep(600)" in " ".join(member.cmdline()) for member in family)
        comparison.send_signal(ended_by)
        assert comparison.wait(60) == status
        wait_until(lambda: not any(map(is_alive, family)))
    finally:
        comparison.kill()
        comparison.wait()
        for member in filter(is_alive, family):
            member.kill()


def is_alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s"
        time.sleep(0.1)
