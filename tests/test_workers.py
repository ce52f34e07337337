"""How a machine is shared out; what runs in the workers is in test_pipeline.py."""

import pytest

from bench.errors import ConfigError
from bench.workers import share_out

GIB = 2**30


@pytest.mark.parametrize(
    ("cpus", "gpus", "memory", "wanted", "jobs", "threads"),
    [
        (2, 0, 24, 0, 2, 1),
        (2, 0, 24, 1, 1, 2),
        (1, 0, 4, 0, 1, 1),
        (64, 0, 256, 0, 8, 8),
        (16, 0, 8, 0, 2, 8),  # memory for two
        (16, 4, 128, 0, 4, 4),
        (16, 1, 128, 2, 2, 8),
    ],
)
def test_trials_share_the_machine(cpus: int, gpus: int, memory: int, wanted: int, jobs: int, threads: int) -> None:
    workers = share_out(cpus, gpus, memory * GIB, wanted)
    assert (workers.jobs, workers.threads) == (jobs, threads)
    assert workers.jobs * workers.threads <= cpus
    assert workers.gpus == (pytest.approx(min(1, gpus / jobs)) if gpus else 0)
    assert ("gpu" in workers.resources) == bool(gpus)


def test_more_jobs_than_cores_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 to 2 are accepted"):
        share_out(2, 0, 8 * GIB, jobs=3)
