"""What runs in a process of its own: one command of the suite on toys, without Ray, with a fault on its way.

The processes are forked from one that has loaded TensorFlow, so that a run takes seconds.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import toys

from bench import cluster
from bench.cli import main
from bench.device import plain_keras, set_up
from bench.evaluation import decide
from bench.models.backbones import BACKBONES
from bench.report import pictures
from bench.search import tune

plain_keras()  # loaded once for all children

OPERATIONS = ("replace", "rename", "link", "unlink", "mkdir", "fsync")
"""Functions of `os` before or after which a process may be killed: they are what a run leaves its files by."""


@dataclass(frozen=True)
class Fault:
    """What befalls a process.

    Attributes:
        operation: it is killed at the operation of this number, counted from 1; 0 never.
        after: whether the operation is still carried out.
        power: whether the power is cut, too: what was not forced to the disk may be lost.
        seed: decides what of it is.
    """

    operation: int = 0
    after: bool = False
    power: bool = False
    seed: int = 0


def run(arguments: list[str], folder: Path, log: Path, fault: Fault, count: Path | None = None) -> None:
    """Carry out a command of the suite in ``folder`` and end this process with its exit status.

    Args:
        arguments: of the command line.
        folder: working folder.
        log: file that gets all that is said.
        fault: what befalls the process.
        count: file that gets the number of operations, and which of them forced a file to the disk that had grown.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    tempfile.tempdir = str(folder / "tmp")
    set_up(1)  # before anything is computed, for more threads add in another order
    _without_ray()
    disk = Disk(fault, folder)
    status = 70
    with contextlib.suppress(BaseException):
        try:
            with disk.watched():
                status = main(arguments)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            traceback.print_exc()
    if count is not None:
        count.write_text(json.dumps({"operations": disk.operations, "appends": disk.appends}))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _without_ray() -> None:
    """All jobs in this process, one after another; figures blank; toys in the table of backbones."""
    BACKBONES.update({name: toys.toy_backbone(name) for name in ("toy", "toy2")})
    for module, name, value in (
        (cluster, "run_jobs", toys.jobs_here),
        (cluster, "start", lambda *_: cluster.Workers(1, 1, 0.0, 1, 0)),
        (cluster, "warm_up", lambda workers: None),
        (cluster, "stop", lambda: None),
        (tune, "_one_round", toys.trials_here),
        (decide, "fresh_process", lambda *_: contextlib.nullcontext(lambda expected: 0.0)),
        (pictures, "picture", toys.blank(pictures.picture)),
    ):
        setattr(module, name, value)


class Disk:
    """Counts what a process does to its files, kills it, and takes from the disk what a power cut would.

    A file is safe once it was forced to the disk as it is, as far as it was long then; a new name once its folder was.
    Of what is not safe some is lost: it is missing, zeros, or cut short; a name is not there, or stands for what it
    stood for before.

    Args:
        fault: what befalls the process.
        folder: where files can be lost.
    """

    def __init__(self, fault: Fault, folder: Path) -> None:
        self.operations = 0
        self._lock = threading.Lock()
        self._fault, self._folder = fault, folder
        self._before = {path: _state(path) for path in self._files()}
        self.appends: list[int] = []
        self._safe: set[tuple[int, ...]] = set(self._before.values())
        self._length = {state[:2]: state[2] for state in self._safe}
        self._renamed: dict[Path, bytes | None] = {}
        self._real = {name: getattr(os, name) for name in OPERATIONS}

    def _files(self) -> Iterator[Path]:
        for place, _, names in os.walk(self._folder):
            yield from (Path(place, name) for name in names)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block every operation is counted."""
        for name in OPERATIONS:
            setattr(os, name, self._counting(name))
        try:
            yield
        finally:
            for name, real in self._real.items():
                setattr(os, name, real)

    def _counting(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def operation(*arguments: Any, **more: Any) -> Any:
            with self._lock:  # the live report is written by a thread of its own
                self.operations += 1
                fatal = self.operations == self._fault.operation
            if fatal and not self._fault.after:
                self._end()
            if name in ("replace", "rename"):
                self._remember(Path(os.fspath(arguments[1])).absolute())
            try:
                found = real(*arguments, **more)
                if name == "fsync":
                    self._forced(arguments[0])
                return found
            finally:
                if fatal:
                    self._end()

        return operation

    def _remember(self, target: Path) -> None:
        """What a name stood for, as long as its folder is not forced to the disk."""
        if self._fault.power and target not in self._renamed and not target.is_dir():
            self._renamed[target] = target.read_bytes() if target.exists() else None

    def _forced(self, number: int) -> None:
        state = _identity(os.fstat(number))
        if 0 < self._length.get(state[:2], 0) < state[2]:
            self.appends.append(self.operations)
        self._safe.add(state)
        self._length[state[:2]] = state[2]
        place = Path(f"/proc/self/fd/{number}").resolve()
        if place.is_dir():
            self._renamed = {path: old for path, old in self._renamed.items() if path.parent != place}

    def _end(self) -> None:
        try:
            if self._fault.power:
                self._lose(random.Random(self._fault.seed))
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    def _lose(self, chance: random.Random) -> None:
        for target, old in self._renamed.items():
            if chance.random() < 0.5:
                continue
            if target.is_dir():  # a folder that was put in place as a whole
                shutil.rmtree(target)
                continue
            target.unlink(missing_ok=True)
            if old is not None:
                target.write_bytes(old)
                self._safe.add(_state(target))
        for path in sorted(self._files()):
            if path.name.startswith("study.db") or _state(path) in self._safe or chance.random() < 0.3:
                continue  # SQLite forces its own file to the disk, out of sight
            content = path.read_bytes()
            kept = self._length.get(_state(path)[:2], 0)
            safe, rest = content[:kept], content[kept:]
            path.write_bytes(safe + chance.choice([b"", bytes(len(rest)), rest[: chance.randrange(len(rest) + 1)]]))


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _state(path: Path) -> tuple[int, ...]:
    return _identity(path.lstat())
