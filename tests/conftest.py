"""Fixtures that several tests share."""

import gc
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import sqlalchemy

sys.path.insert(0, str(Path(__file__).parent))

from bench.device import quiet

# a slow machine is no failure: whatever Hypothesis measures by the clock is left out
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

quiet()
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
_machines = tempfile.TemporaryDirectory(prefix="bench-tests-")
os.environ["XDG_DATA_HOME"] = _machines.name  # where the ledger of this machine lies
os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's 15, workers starve beside another process of tests


_number = itertools.count()
_modules = 0
"""How many were loaded when the garbage collector last let its objects go."""
_sharing = False
"""Whether Ray has been started by a test that shares it."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that does not share Ray begins without it, and none waits while loaded modules are searched for garbage.

    TensorFlow's are a million objects, through which each full collection goes, half a second every time.
    """
    global _sharing, _modules
    if len(sys.modules) > _modules + 200:
        _modules = len(sys.modules)
        gc.collect()
        gc.freeze()
    if _sharing and "shared_ray" not in getattr(item, "fixturenames", ()):
        from bench import cluster

        cluster.stop()
        _sharing = False


@pytest.fixture(autouse=True)
def not_to_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is forced to the disk, which takes longer than most tests; what does so is tried in test_rundir."""
    from bench.run import folder

    monkeypatch.setattr(folder, "to_disk", lambda path: None)


@pytest.fixture(autouse=True)
def a_machine_without_a_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """What earlier tests have opened is not on record."""
    monkeypatch.setenv("XDG_DATA_HOME", f"{_machines.name}/{next(_number)}")


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _no_waiting(connection: Any, record: Any) -> None:
    """Nor does SQLite wait for the disk."""
    connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture
def shared_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, started once for all tests that ask for this, with the worker that has the machine to itself."""
    import ray

    from bench import cluster

    begin = ray.init

    def init(*arguments: Any, **more: Any) -> None:
        global _sharing
        if not ray.is_initialized():
            begin(*arguments, **more)
            _sharing = True

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(cluster, "stop", lambda: None)


@pytest.fixture
def alone_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What gets a machine or a process to itself is called in this process, which has loaded TensorFlow already.

    For runs that are about something else: `test_a_run_from_end_to_end` starts these processes, `test_postmortem`
    tries how they end, and test_export what a fresh one finds.
    """
    import toys

    from bench import cluster

    toys.alone_here(monkeypatch)
    yield
    cluster._trainer = None


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are blank: drawing them takes longer than a toy's whole search."""
    import toys

    from bench.report import pictures

    monkeypatch.setattr(pictures, "picture", toys.blank(pictures.picture))


@pytest.fixture
def briefly(toy_table: None, shared_ray: None, alone_here: None, blank_figures: None) -> None:
    """Runs on toys without what takes the time and is tried by `test_a_run_from_end_to_end`."""


@pytest.fixture(scope="session")
def toy_weights(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Random weights of the two toy backbones."""
    from toys import toy_backbone

    from bench.models.weights import resolve_weights

    return resolve_weights("random", [toy_backbone(), toy_backbone("toy2")], tmp_path_factory.mktemp("weights"), seed=0)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 48 + 32 + 16 images in two classes."""
    from toys import write_folder

    return write_folder(tmp_path_factory.mktemp("toy-data"), {"train": 24, "val": 16, "test": 8})


@pytest.fixture
def make_task(toy_folder: Path, toy_weights: Any, tmp_path: Path) -> Callable[..., Any]:
    """``make_task(**changes)`` -> a `bench.train.task.Task` on the toy folder."""
    import dataclasses

    from toys import SIZE, toy_backbone

    from bench.data.images.store import store_images
    from bench.data.sources.open_source import folder_source
    from bench.data.splits import labels_of, rows_of
    from bench.models.augmentation import Policy
    from bench.train.task import Task

    source = folder_source(toy_folder)
    stored = store_images(source, [SIZE], tmp_path / "store").sizes[SIZE]
    rows = {split: rows_of(source.table, split) for split in ("train", "val")}

    def make(**changes: Any) -> Task:
        task = Task(
            images={"toy": stored, "toy2": stored},
            rows=rows,
            labels={split: labels_of(source.table, chosen, source.classes) for split, chosen in rows.items()},
            n_classes=2,
            backbones={"toy": toy_backbone(), "toy2": toy_backbone("toy2")},
            weights=toy_weights,
            policies={"none": Policy("none"), "light": Policy("light", rotation=5, brightness=0.1)},
            metric="auc",
            epochs=3,
            patience=3,
            views=2,
            seed=0,
            cache=tmp_path / "cache",
            cache_bytes=10**9,
            depths=(0, 1, 2),
        )
        return dataclasses.replace(task, **changes)

    return make


@pytest.fixture
def toy_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy backbones in the table of backbones; Ray's workers get them by value."""
    import toys
    from ray import cloudpickle

    from bench.models.backbones import BACKBONES

    cloudpickle.register_pickle_by_value(toys)
    monkeypatch.setitem(BACKBONES, "toy", toys.toy_backbone())
    monkeypatch.setitem(BACKBONES, "toy2", toys.toy_backbone("toy2"))
    yield
    cloudpickle.unregister_pickle_by_value(toys)


SLOW = ("end_to_end", "backbones", "slow", "notebook")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow files come first, so that with several processes (``-n``) none of them waits for one at the end.

    What is thorough, by its marker or by thorough.txt, is left out, whatever else is selected, unless ``-m`` names it.
    Where files are named, thorough.txt leaves out nothing of them.
    """
    from short_suite import thorough_tests

    asked = "thorough" in config.option.markexpr
    named = {Path(argument.partition("::")[0]).resolve() for argument in config.args if ".py" in argument}
    stay = thorough_tests()
    for item in items:
        name = item.nodeid.partition("[")[0]
        if name in stay and (asked or item.path not in named) and not item.get_closest_marker("thorough"):
            stay[name] -= 1
            if stay[name] < 0:
                item.add_marker("thorough")
    if not asked:
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    slow = {item.path for item in items if any(item.get_closest_marker(name) for name in SLOW)}
    items.sort(key=lambda item: item.path not in slow)
