"""A campaign: undisturbed runs to compare with, then one fault after another, and what came of each."""

import functools
import io
import json
import multiprocessing
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import pandas as pd
import toys

from bench.scratch import DRAFTS, NEW
from faults.child import Fault, run

SPACE = (
    toys.SPACE.split("points:")[0]
    + """points:
  - {backbone: toy, augmentation: light, unfreeze_depth: 0, learning_rate: 0.02, dropout: 0.0, batch_size: 8}
  - {backbone: toy2, augmentation: none, unfreeze_depth: 0, learning_rate: 0.05, dropout: 0.3, batch_size: 8}
  - {backbone: toy, augmentation: none, unfreeze_depth: 1, learning_rate: 0.02, finetune_factor: 0.1, dropout: 0.0,
     batch_size: 8}
"""
)
BUDGET = 3
RUN, FOLDER = "run", Path("reports/run")
BEGIN = [
    *("run", "--data", "data", "--space", "toys.yaml", "--weights", "random", "--budget", str(BUDGET)),
    *("--epochs", "2", "--repeats", "1", "--jobs", "1", "--precision", "float32", "--image-size", "32"),
    *("--bootstrap", "100", "--cache", "cache", "--name", RUN),
]
RESUME = ["run", "--resume", RUN]
NOT_COMPARED = ("seconds", "elapsed", "trial", "retried_as", "sha256")
"""Columns, by how they begin, that may differ between two runs of the same: what a trial's number is, for one."""
TABLES = (
    *("trials.csv", "finalists.csv", "baselines.csv", "splits.csv", "predictions_val.csv", "predictions_test.csv"),
    *("predictions_models.csv", "comparisons.csv", "operating_points.csv", "decision_curve.csv", "subgroups.csv"),
)
SECONDS = 180
"""After which a command counts as stuck."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, -9 if it was killed; and what it said."""

    status: int
    said: str

    @property
    def wrong(self) -> str:
        """What no command may do, whatever has happened; empty if it did not."""
        if "Traceback (most recent call last)" in self.said:
            return f"a traceback: {self.said[-1500:]}"
        if self.status not in (0, -9) and "error: " not in self.said:
            return f"exit status {self.status} without a word: {self.said[-800:]}"
        return ""


class Place:
    """A working folder with data, cache and reports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / FOLDER
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)

    def command(self, arguments: list[str], fault: Fault = Fault(), count: Path | None = None) -> Ended:  # noqa: B008
        """Carry out a command here, in a process of its own."""
        log = self.folder / "said.txt"
        log.unlink(missing_ok=True)
        process = _processes().Process(target=run, args=(arguments, self.folder, log, fault, count))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return Ended(124, f"stuck for {SECONDS} s: {log.read_text()[-800:]}")
        return Ended(process.exitcode or 0, log.read_text() if log.exists() else "")

    def go_on(self) -> Ended:
        """Go on with the run, or begin it where nothing was begun."""
        return self.command(RESUME if (self.run / "run.json").exists() else BEGIN)

    def copy(self, name: str) -> "Place":
        """A copy beside this one, whose files have the same times."""
        other = Place(self.folder.parent / name)
        shutil.rmtree(other.folder, ignore_errors=True)
        shutil.copytree(self.folder, other.folder, symlinks=True)
        return other


_ledger = tempfile.TemporaryDirectory(prefix="bench-faults-")
"""Where runs with faults keep their ledger: this machine's own stays as it is."""


@functools.cache
def _processes() -> Any:
    context = multiprocessing.get_context("forkserver")
    tests, root = str(Path(__file__).parents[1]), str(Path(__file__).parents[2])
    path = os.pathsep.join([tests, root])  # Python 3.11 looks nowhere else for what it preloads
    context.set_forkserver_preload(["faults.child"])
    with mock.patch.dict(os.environ, {"PYTHONPATH": path, "XDG_DATA_HOME": _ledger.name}):
        forkserver.ensure_running()
    return context


def scores(place: Place) -> dict[str, list[dict[str, Any]]]:
    """All that the tables of a run say of what was measured: table -> rows."""
    found = {}
    for name in TABLES:
        table = pd.read_csv(place.run / name, keep_default_na=False)
        if name == "trials.csv":
            table = table[table["state"] != "failed"]
        table = table[[column for column in table if not column.startswith(NOT_COMPARED)]]
        rows = table.astype(str).to_dict("records")
        found[name] = sorted(rows, key=str)
    return found


def weights(file: Path) -> dict[str, bytes]:
    """All arrays of an .h5 file, by their names in it."""
    found: dict[str, bytes] = {}
    with h5py.File(file) as held:
        held.visititems(
            lambda name, one: found.update({name: one[()].tobytes()} if isinstance(one, h5py.Dataset) else {})
        )
    return found


def difference(place: Place, expected: dict[str, list[dict[str, Any]]], model: dict[str, bytes]) -> str:
    """The first table of a run that is not as ``expected``, or its model if that is not; empty if all are."""
    try:
        found = scores(place)
    except (OSError, ValueError, KeyError) as error:
        return f"a table cannot be read: {error}"
    for name, rows in expected.items():
        if found[name] != rows:
            other = next((pair for pair in zip(found[name], rows, strict=False) if pair[0] != pair[1]), None)
            return f"{name} has {len(found[name])} rows for {len(rows)}; the first that differs: {other}"
    for file in ("report.html", "best_model.json"):
        if not (place.run / file).stat().st_size:
            return f"{file} is empty"
    try:
        same = weights(place.run / "best_model.h5") == model
    except OSError as error:
        return f"best_model.h5 cannot be read: {error}"
    return "" if same else "best_model.h5 has other weights"


class Campaign:
    """Faults in runs on toys.

    Args:
        folder: a folder for all of it.
        seed: decides the faults.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self._chance = random.Random(seed)
        self.empty = Place(folder / "empty")
        toys.write_folder(self.empty.folder / "data", {"train": 12, "val": 10, "test": 8})
        (self.empty.folder / "toys.yaml").write_text(SPACE)
        self.whole = self.empty.copy("whole")
        count = folder / "count"
        ended = self.whole.command(BEGIN, count=count)
        if ended.status != 0:
            raise RuntimeError(f"the undisturbed run ended with status {ended.status}: {ended.said}")
        counted = json.loads(count.read_text())
        self.operations: int = counted["operations"]
        self.appends: list[int] = counted["appends"]
        self.expected, self.model = scores(self.whole), weights(self.whole.run / "best_model.h5")

    def kills(self, number: int, power: bool = False) -> Iterator[str]:
        """Kill the driver at ``number`` operations of its files, spread over the whole run; gives what is wrong, or ''.

        Every third is one at which a file has grown.

        Args:
            number: how many kills.
            power: whether the power is cut, too.
        """
        for turn in range(number):
            first = 1 + (turn * self.operations + self._chance.randrange(self.operations)) // number
            if turn % 3 == 2:
                first = self._chance.choice(self.appends)
            after, seed = self._chance.random() < 0.5, self._chance.randrange(2**32)
            fault = Fault(min(first, self.operations), after, power, seed)
            place = self.empty.copy("power" if power else "killed")
            ended = place.command(BEGIN, fault)
            wrong = ended.wrong or ("" if ended.status == -9 else f"it was not killed: {ended}")
            before = finished(place)
            if not wrong and self._chance.random() < 0.3:  # once more, while it is taken up
                place.command(
                    RESUME if (place.run / "run.json").exists() else BEGIN,
                    replace(fault, operation=1 + self._chance.randrange(40)),
                )
                before |= finished(place)
            yield _about(fault, wrong or self.comes_to_its_end(place, before))

    def comes_to_its_end(self, place: Place, before: dict[str, tuple[str, ...]]) -> str:
        """What is wrong with a run once it was taken up, whose trials ``before`` were finished; empty if nothing is."""
        ended = place.go_on()
        if ended.wrong or ended.status:
            return ended.wrong or f"it cannot be resumed: {ended.said[-800:]}"
        after = finished(place)
        again = [trial for trial, seconds in before.items() if after.get(trial) != seconds]
        if again:
            return f"finished trials were lost, or trained again: {again}"
        left = [path for path in place.run.rglob(".*.draft-*") if path.is_file()]
        left += [path for path in (place.folder / "cache").rglob(".*") if path.name.startswith((*DRAFTS, NEW))]
        left += place.temporary.iterdir()
        if left:
            return f"files are left behind: {left[:3]}"
        return self.difference(place)

    def difference(self, place: Place) -> str:
        """What of a finished run is not as in the undisturbed one; empty if nothing is."""
        return difference(place, self.expected, self.model)

    def corruptions(self, number: int) -> Iterator[str]:
        """Damage one file after another of a run and its cache, and take the run up; gives what is wrong, or ''.

        What the run was still to read must be found out: the run refuses to go on, in a sentence, or comes to the same
        scores.
        """
        half = self.empty.copy("half")
        half.command(BEGIN, Fault(self.operations * 2 // 3))
        for turn in range(number):
            source = (self.whole, half)[turn % 2]
            place = source.copy("damaged")
            files = sorted(
                path for path in (*place.run.rglob("*"), *(place.folder / "cache").rglob("*")) if _counts(path)
            )
            file = self._chance.choice(files)
            what, damage = self._chance.choice(DAMAGES)
            content = damage(file.read_bytes(), self._chance)
            file.unlink()
            if content is not None:
                file.write_bytes(content)
            about = f"{what} of {file.relative_to(place.folder)} ({'whole' if source is self.whole else 'half'})"
            yield _about(about, self._holds(place, of_cache="cache" in file.relative_to(place.folder).parts))

    def _holds(self, place: Place, of_cache: bool) -> str:
        """What is wrong with a run over damaged files, each command that its user may give; empty if nothing is.

        A run may refuse to go on from its own damaged files; what is ``of_cache`` can be made again.
        """
        for command in (RESUME, ["report", RUN], ["run", *BEGIN[1:-1], "again"]):
            ended = place.command(command)
            if ended.wrong or (of_cache and ended.status):
                return f"{' '.join(command[:2])}: {ended.wrong or ended.said[-800:]}"
            if ended.status == 0 and command is RESUME and (wrong := self.difference(place)):
                return f"green, and {wrong}"
        again = Place(place.folder)
        again.run = place.folder / "reports/again"
        return self.difference(again) if ended.status == 0 else f"another run cannot be had: {ended.said[-500:]}"


Damage = Callable[[bytes, random.Random], bytes | None]
DAMAGES: tuple[tuple[str, Damage], ...] = (
    ("a flipped bit", lambda content, chance: _flipped(content, chance)),
    ("a digit", lambda content, chance: _other_digit(content, chance)),
    ("the last line", lambda content, chance: b"".join(content.splitlines(keepends=True)[:-1])),
    ("the last line twice", lambda content, chance: content + b"".join(content.splitlines(keepends=True)[-1:])),
    ("the end", lambda content, chance: content[: chance.randrange(len(content) + 1)]),
    ("all", lambda content, chance: b""),
    ("the file", lambda content, chance: None),
    ("zeros in place of half", lambda content, chance: content[: len(content) // 2] + bytes(-(-len(content) // 2))),
    ("zeros in place of all", lambda content, chance: bytes(len(content))),
)


def _flipped(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return b"?"
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]


def _other_digit(content: bytes, chance: random.Random) -> bytes:
    """Another digit in place of one, so that the file is as well formed as before; files without digits lose all."""
    places = [place for place, byte in enumerate(content) if byte in b"123456789"]
    if not places:
        return b""
    place = chance.choice(places)
    return content[:place] + str((content[place] - ord("0")) % 9 + 1).encode() + content[place + 1 :]


DRAWN = ("report.html", "figures", "model_card.md")
"""What is drawn anew by every report."""


def _counts(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".lock") and not set(path.parts) & set(DRAWN)


def finished(place: Place) -> dict[str, tuple[str, ...]]:
    """The configurations of trials that are in trials.csv with a score, and the seconds that each took.

    A line without its end was never finished. No two trainings take the same time to the last digit, so that one that
    was repeated is told by it.
    """
    try:
        whole = (place.run / "trials.csv").read_bytes().rpartition(b"\n")[0]
        table = pd.read_csv(io.BytesIO(whole), keep_default_na=False, dtype=str)
    except (OSError, ValueError):
        return {}
    table = table[table["state"].isin(("completed", "pruned"))]  # a line that was torn has no state
    configured = table[[name for name in table if name.startswith("config_")]].to_dict("records")
    taken = table[[name for name in table if name.startswith("seconds")]].itertuples(index=False, name=None)
    return dict(zip(map(str, configured), taken, strict=True))


def _about(what: object, wrong: str) -> str:
    return f"{what}: {wrong}" if wrong else ""


def main(kills: int, corruptions: int, power_cuts: int, seed: int) -> int:
    """Carry out a campaign and tell of it; returns how many faults came to a bad end."""
    bad = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        campaign = Campaign(Path(folder), seed)
        print(f"An undisturbed run leaves its files in {campaign.operations} operations.", flush=True)
        for title, number, faults in (
            ("kills", kills, campaign.kills(kills)),
            ("power cuts", power_cuts, campaign.kills(power_cuts, power=True)),
            ("corruptions", corruptions, campaign.corruptions(corruptions)),
        ):
            wrong = [one for one in faults if one and print(f"WRONG: {one}", flush=True) is None]
            print(f"{number} {title}, of which {len(wrong)} came to a bad end", flush=True)
            bad += len(wrong)
    return bad
