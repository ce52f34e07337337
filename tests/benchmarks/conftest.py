"""Benchmarks run only when they are asked for: ``pytest tests/benchmarks --benchmark-only``.

``-k ratios`` runs the pairs alone: ours beside the plain way, with a table of ratios at the end. ``--update-baseline``
keeps them in baseline.json, to be committed. Nothing is asserted about time.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from ratios import Pair, Seconds, read_baseline, table, updated, write_baseline

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
PAIRS = pytest.StashKey[list[Pair]]()
Work = Callable[[], Seconds | None]


@dataclass(frozen=True)
class Sizes:
    """How much the pairs work on."""

    backbones: tuple[str, ...] = ("vgg16", "resnet50", "inceptionv3")
    side: int = 96
    images: int = 1000
    train: int = 256
    val: int = 64
    draws: int = 200
    trials: int = 50
    rounds: int = 5
    slow_rounds: int = 3


TOY = Sizes(("toy", "toy2"), side=32, images=100, train=32, val=16, draws=20, trials=12, rounds=2, slow_rounds=1)
"""Only to see that the pairs run: their ratios say nothing, and are compared with nothing."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ratios of benchmarks")
    group.addoption("--update-baseline", action="store_true", help=f"keep the measured ratios in {BASELINE.name}")
    group.addoption("--toy", action="store_true", help="pairs on toys, only to see that they run")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PAIRS] = []
    if config.getoption("update_baseline", False) and config.getoption("toy", False):
        raise pytest.UsageError("--update-baseline keeps ratios of the real sizes; leave --toy out.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("benchmark_only"):
        return
    here = [item for item in items if HERE in item.path.parents]
    if here:
        config.hook.pytest_deselected(items=here)
        items[:] = [item for item in items if HERE not in item.path.parents]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backbone_name" in metafunc.fixturenames:
        metafunc.parametrize("backbone_name", _sizes(metafunc.config).backbones, scope="session")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    pairs = config.stash.get(PAIRS, [])
    if not pairs:
        return
    baseline = {} if config.getoption("toy", False) else read_baseline(BASELINE)
    terminalreporter.section("ratios: ours over plain, below 1 ours is faster")
    for line in table(pairs, baseline):
        terminalreporter.write_line(line)
    if config.getoption("update_baseline", False):
        measured = f"{os.cpu_count()} cores, Keras {version('keras')}, TensorFlow {version('tensorflow')}"
        write_baseline(BASELINE, updated(baseline, pairs, measured))
        terminalreporter.write_line(f"{len(pairs)} ratios are in {BASELINE}.")


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return _sizes(request.config)


def _sizes(config: pytest.Config) -> Sizes:
    return TOY if config.getoption("toy", False) else Sizes()


@pytest.fixture
def pair(request: pytest.FixtureRequest, benchmark: Any) -> Callable[..., None]:
    """``pair(name, ours, plain, against=...)`` measures both ways in turn, a round each.

    Both in turn, because a machine that is slow for a minute is then slow for both. What stands in pytest-benchmark's
    own table is the whole call of ours; the ratio is made of `Seconds`, where the calls return them.
    """

    def measure(
        name: str,
        ours: Work,
        plain: Work,
        *,
        against: str,
        rounds: int,
        before: Callable[[], object] = lambda: None,
        warm_up: bool = True,
    ) -> None:
        taken: dict[str, list[float]] = {"ours": [], "plain": []}

        def timed(side: str, work: Work) -> None:
            started = time.perf_counter()
            own = work()
            seconds = time.perf_counter() - started
            taken[side] += own if isinstance(own, Seconds) else [seconds]

        def first_the_plain_way() -> None:
            timed("plain", plain)
            before()

        if warm_up:
            plain()
            before()
            ours()
        benchmark.group = "pairs: the whole call of ours; for ratios see above"
        benchmark.pedantic(timed, args=("ours", ours), setup=first_the_plain_way, rounds=rounds)
        found = Pair(name, against, tuple(taken["ours"]), tuple(taken["plain"]))
        benchmark.extra_info |= {"reference": against, "ratio": found.ratio, "seconds": taken}
        request.config.stash[PAIRS].append(found)

    return measure
