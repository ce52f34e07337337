"""The files of a run folder: their names, atomic writes and the markers of finished stages.

Nothing here knows what the files mean. Every file is written to a temporary name beside it and renamed, so
that a reader (or a crash) never meets half a file; a stage's marker is written after all of its files.
"""

import difflib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from bench.checksums import FIELD, SUFFIX, checksum, of_document, of_text
from bench.disk import full_disk_named
from bench.errors import ConfigError
from bench.numbers import joined
from bench.run.record import OpeningRecord, Part, RunRecord, read_strictly
from bench.texts import as_cell, from_cell, visible

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("data", "search", "finalists", "evaluation")
"""Stages that leave a marker, in order; the report is rendered anew every time."""


SHOWN_RUNS = 10
"""Runs that are named where none is like the one that is missing."""
LOCK = ".lock"
"""Held by the process that writes to a run folder."""
LONGEST_HOLDER = 200
VOUCHERS = ".tables"
"""The folder in a run folder of what `vouch` writes down."""
SPECIAL = (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
"""Kinds of files that reading may wait at for ever."""
_DRAFT = re.compile(r"\..+\.draft-[a-z0-9_]{8}(\.[a-z0-9]+)?")
"""Names of files that are being written; see `atomic_path`."""


@contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an error.

    What was written is on the disk before it takes the place of ``path``: after a power cut the one or the other is
    there, whole. Without that the rename may be kept and the content lost; what can be drawn again need not wait for
    it (``durable``).
    """
    with full_disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.draft-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with full_disk_named(path):
            yield temporary
            temporary.chmod(0o644)
            if durable:
                to_disk(temporary)
            temporary.replace(path)
            if durable:
                to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def held(folder: Path, what: str, other: str = "") -> Iterator[None]:
    """Hold ``folder``, which is made, so that no second process writes to it; the lock names this one.

    Args:
        folder: of a run, a comparison or a study.
        what: that lies there, for the sentence if it is held already, as its beginning.
        other: what can be done then, beside waiting for the other process or ending it.

    Raises:
        ConfigError: if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if is_held(folder):
            raise Timeout(str(folder / LOCK))  # without an attempt, which may empty the file
        lock = FileLock(folder / LOCK).acquire(timeout=0.2)  # `is_held` may have it for a moment
    except Timeout:
        holder = _holder(folder)
        of = f" ({holder})" if holder else ""
        raise ConfigError(f"{what} is going on in another process{of}; wait for it or end it{other}.") from None
    with lock:
        with suppress(OSError):  # a full disk; it is told to people alone
            (folder / LOCK).write_text(f"{os.getpid()} on {platform.node()}", encoding="ascii", errors="replace")
        yield


def _holder(folder: Path) -> str:
    """Which process of which machine holds ``folder``, as it has written into the lock; empty where it has not."""
    try:
        with (folder / LOCK).open(encoding="ascii") as file:
            told = file.read(LONGEST_HOLDER)
    except (OSError, ValueError):
        return ""
    return told if re.fullmatch(r"\d+ on \S+", told) else ""


def is_held(folder: Path) -> bool:
    """Whether a process of this machine has ``folder`` `held`; nothing is written to find that out."""
    import fcntl  # which Windows lacks

    try:
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(lock)
    return False


def to_disk(path: Path) -> None:
    """Force a file, or a folder's list of names, to the disk; some file systems know no such thing for folders."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(number)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_page(path: Path, text: str) -> None:
    """The same for a page of HTML or Markdown: what comes from data can hold no unseen characters in it."""
    write_text(path, visible(text, keep="\n\t"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value``, or what is known of a document, as indented JSON in one step.

    Raises:
        ValueError: for NaN and infinity.
    """
    content = value.content() if isinstance(value, Part) else value
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_vouched(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as `write_json` does, with a checksum (`bench.checksums.of_document`) of what is read."""
    read = json.loads(json.dumps(content))  # names are text then, whatever they were, and sorted as such
    write_json(path, {**read, FIELD: of_document(read)})


def write_table(path: Path, table: "pd.DataFrame", vouched: bool = False) -> None:
    """Write ``table`` as CSV without its index in one step; `from_cells` gives its texts back.

    Args:
        path: of the file.
        table: its rows.
        vouched: whether `as_written` is to know the file by its content.
    """
    with atomic_path(path) as temporary:
        _each_text(table, as_cell).to_csv(temporary, index=False)
        if vouched:
            vouch(path, temporary)


def vouch(path: Path, draft: Path) -> None:
    """Write down which checksums a table may have: its own, and that of the draft that is about to replace it.

    A kill at any moment leaves it with one of the two. What is written down has a checksum itself.
    """
    known = " ".join(checksum(one) for one in (path, draft) if one.exists())
    write_text(_voucher(path), f"{known}\n{of_text(known)}\n")


def as_written(path: Path) -> bool:
    """Whether a table is one of those that `vouch` knows; so is one of which nothing is known, or nothing legible."""
    try:
        known, own = _voucher(path).read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ValueError):
        return True
    return own != of_text(known) or checksum(path) in known.split()


def _voucher(path: Path) -> Path:
    return path.parent / VOUCHERS / f"{path.name}{SUFFIX}"


def from_cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """The texts of a CSV file that `write_table` wrote, as they were before."""
    return _each_text(table, from_cell)


def _each_text(table: "pd.DataFrame", written: Callable[[str], str]) -> "pd.DataFrame":
    """``table`` with its header and the cells that are texts written otherwise."""
    found = table.rename(columns=lambda name: written(str(name)))
    for name, column in zip(found, (table[one] for one in table), strict=True):
        if column.dtype.kind not in "biufc":
            texts = {one: written(one) for one in column.unique() if isinstance(one, str)}
            changed = {one: other for one, other in texts.items() if one != other}
            if changed:
                found[name] = column.map(lambda one, known=changed: known.get(one, one), na_action="ignore")
    return found


def extend_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a CSV file anew, vouched for as by `write_table`, with the rows of ``table``, which has its columns."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(path.read_bytes() + _lines(table))
        vouch(path, temporary)


def append_rows(path: Path, table: "pd.DataFrame") -> None:
    """Append the rows of ``table`` to a CSV file that `write_table` wrote with its columns, and force them to the disk.

    An end of the machine may leave a part of the last line; an error, such as a full disk, leaves the file as it was.
    """
    before = path.stat().st_size
    try:
        with full_disk_named(path), path.open("ab") as file:
            file.write(_lines(table))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.truncate(path, before)
        raise


def _lines(table: "pd.DataFrame") -> bytes:
    """The rows of ``table`` as CSV."""
    return _each_text(table, as_cell).to_csv(index=False, header=False).encode()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class File:
    """A file or folder of a run folder; read from a `RunDir`, it is its path."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: "RunDir", owner: type["RunDir"]) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunDir:
    """The folder ``reports/NAME`` of one run; what is in each table, `bench.run.tables` says."""

    path: Path

    report = File("report.html")
    best_model = File(
        "best_model.h5"
    )  # the winner's file under ``models``; once it is evaluated, a copy that holds its card
    best_model_card = File("best_model.json")  # its classes, input, threshold, calibration map and provenance
    run = File("run.json")  # see `bench.run.record`
    request = File("request.json")  # what a start that has no run.json yet was asked for
    space = File("space.yaml")  # the search-space file, as it was
    audit = File("audit.json")
    copies = File("copies.npz")  # thumbnails of copies that the audit found, beside each other
    splits = File("splits.csv")
    study = File("study.db")  # the Optuna study
    trials = File("trials.csv")
    epochs = File("epochs.csv")
    predictions_epochs = File("predictions_epochs.jsonl.gz")  # see `bench.run.courses`
    augmentation = File("augmentation.npz")  # one image under every policy
    suspected_labels = File("suspected_labels.csv")  # of train and val, to be looked at
    suspected_images = File("suspected_labels.npz")  # the first of them
    models = File("models")  # every exported training; see `model_file`
    finalists = File("finalists.csv")
    baselines = File("baselines.csv")
    folds = File("folds.csv")
    learning_curve = File("learning_curve.csv")
    outer = File("outer.csv")  # folds of the nested loop
    outer_predictions = File("outer_predictions.csv")
    outer_folds = File("outer")  # a folder of each fold, with its search
    predictions_val = File("predictions_val.csv")
    evaluation = File("evaluation.json")  # scores on the test split; the rest are the tables and pictures beside it
    predictions_test = File("predictions_test.csv")
    predictions_models = File("predictions_models.csv")
    predictions_patients = File("predictions_patients.csv")  # where patients have several images
    predictions_secondary = File("predictions_secondary.csv")  # of an ensemble, and of averaged views
    best_ensemble = File("best_ensemble.h5")  # where an ensemble is better than the winner on validation
    best_ensemble_card = File("best_ensemble.json")
    comparisons = File("comparisons.csv")
    calibration = File("calibration.json")
    operating_points = File("operating_points.csv")
    prevalences = File("prevalences.csv")
    decision_curve = File("decision_curve.csv")
    curves = File("curves.csv")
    subgroups = File("subgroups.csv")
    failures = File("failures.csv")
    failures_images = File("failures.npz")
    thumbnails = File("thumbnails.npz")  # of validation and test images, for the threshold panel
    robustness = File("robustness.csv")
    predictions_altered = File("predictions_altered.csv")
    saliency = File("saliency.json")
    saliency_images = File("saliency.npz")
    figures = File("figures")
    external = File("external")  # a folder of each external test; see `bench.external`
    vouchers = File(VOUCHERS)  # see `vouch`

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "RunDir":
        """The run folder at a path as it was typed: ``.`` and ``..`` bear no name, and have that of what they mean."""
        place = Path(path)
        return cls(place.resolve() if place.name in ("", "..") else place)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def of_test(self) -> tuple[Path, ...]:
        """Every file that comes of the test split; evaluation.json, which vouches for the others, first."""
        return (
            self.evaluation,
            *(self.predictions_test, self.predictions_models, self.comparisons, self.calibration),
            *(self.operating_points, self.prevalences, self.decision_curve, self.curves, self.subgroups),
            *(self.failures, self.failures_images, self.robustness, self.predictions_altered),
            *(self.saliency, self.saliency_images),
            self.thumbnails,
            *self.of_some_tests,
        )

    @property
    def of_some_tests(self) -> tuple[Path, ...]:
        """Those of them that only some runs have."""
        return (self.predictions_patients, self.predictions_secondary)

    @property
    def of_ensemble(self) -> tuple[Path, ...]:
        """The ensemble and its card, which validation decides."""
        return (self.best_ensemble, self.best_ensemble_card)

    def model_file(self, name: str, repeat: int) -> Path:
        """Where the model of one training lies: written once, and never renamed.

        Args:
            name: of a backbone or baseline.
            repeat: counted from 1.
        """
        return self.models / f"{name}-{repeat}.h5"

    def export(self, model: Path) -> None:
        """Make ``model`` best_model.h5 in one step, as a hard link or, where the disk knows none, as a copy."""
        best = self.best_model
        if best.exists() and best.samefile(model):
            return
        with atomic_path(best) as temporary:
            temporary.unlink()
            try:
                temporary.hardlink_to(model)
            except OSError:
                shutil.copyfile(model, temporary)

    def read_run(self) -> dict[str, Any]:
        """The content of run.json, whatever it holds, without its checksum.

        Raises:
            ConfigError: if the folder holds no readable run.json, or one that was changed.
        """
        try:
            content: dict[str, Any] = json.loads(self._content())
        except (ValueError, RecursionError) as error:  # also of what is no UTF-8
            raise ConfigError(f"{self.run} cannot be read: it is not valid JSON ({error}).") from None
        if said := _said_of_changes(content):
            raise ConfigError(f"{self.run} {said}.")
        if isinstance(content, dict):
            content.pop(FIELD, None)
        return content

    @property
    def changes_of_run(self) -> str:
        """A sentence on a run.json that is not as the run wrote it; empty if it is, or nothing tells."""
        try:
            said = _said_of_changes(json.loads(self._content()))
        except (ConfigError, OSError, ValueError, RecursionError):
            return ""
        return f"{self.run.name} {said}." if said else ""

    def read(self) -> RunRecord:
        """run.json.

        Raises:
            ConfigError: if the folder holds no run.json, or one that is damaged, or was changed.
        """
        self.read_run()
        return read_strictly(RunRecord, self.run)

    def _content(self) -> bytes:
        try:
            return self.run.read_bytes()
        except FileNotFoundError:
            raise ConfigError(f"{self.path} is not a run folder: it holds no run.json.") from None

    def write(self, record: RunRecord) -> RunRecord:
        """Write run.json in one step, without what is not known yet, with a checksum of it; returns ``record``."""
        write_vouched(self.run, record.content())
        return record

    def update(self, **found: Any) -> RunRecord:
        """Add to run.json what was found, by the fields of `RunRecord`; returns the record."""
        return self.write(self.read().model_copy(update=found))

    def change_settings(self, **changes: Any) -> RunRecord:
        """Change settings that run.json holds; returns the record."""
        return self.update(settings=self.read().settings.model_copy(update=changes))

    def spend(self, stage: str, seconds: float) -> RunRecord:
        """Add to the seconds of a stage in run.json; returns the record."""
        return self.write(self.read().spend(stage, seconds))

    def pin(self, *files: Path) -> RunRecord:
        """Write down the checksums of ``files``, which must stay as they are; returns the record."""
        found = {path.name: checksum(path) for path in files}
        return self.update(pinned={**self.read().pinned, **found})

    def pinned_files(self, pinned: Mapping[str, str]) -> list[Path]:
        """The files of finished stages whose checksums are known, there or not."""
        files = dict.fromkeys(path for stage in STAGES for path in self.files_of(stage))
        return [path for path in files if path.name in pinned]

    def check_pinned(self) -> list[str]:
        """See whether the files of finished stages are still as the run wrote them.

        Returns:
            the files of the evaluation that are not: it counts as unfinished then, for it can be made again.

        Raises:
            ConfigError: if another is not.
        """
        pinned = self.read().pinned
        known = self.pinned_files(pinned)
        damaged = [path for path in known if not (path.is_file() and checksum(path) == pinned[path.name])]
        again = [path for path in damaged if path in self.files_of("evaluation")]
        for path in damaged:
            if path not in again:
                what = "is not as the run wrote it" if path.is_file() else "is gone"
                raise ConfigError(
                    f"{path} {what}, so the run would go on with others than it began with; put the file back, or "
                    "begin a new run (--splits takes a table of splits over, --space a search space)."
                )
        if again:
            self.unfinish("evaluation")
        return [path.name for path in again]

    def check_tables(self) -> list[str]:
        """See whether the tables that unfinished stages go on from are as the run wrote them.

        Those that are not are set aside where their rows are made again by training alone.

        Returns:
            a sentence on each of these.

        Raises:
            ConfigError: if one of outer folds is not, each of which takes a search.
        """
        pinned, outer = self.read().pinned if self.run.exists() else {}, (self.outer, self.outer_predictions)
        trained = (self.finalists, self.baselines, self.folds, self.learning_curve)
        known = [path for path in (*outer, *trained) if path.is_file() and path.name not in pinned]
        changed = [path for path in known if not as_written(path)]
        if others := [path for path in changed if path in outer]:
            raise ConfigError(
                f"{others[0]} is not as the run wrote it, so the run would go on with others than it carried out; put "
                "the file back, or remove it: the outer folds are carried out again."
            )
        told = "is not as the run wrote it; it is now"
        return [f"{path.name} {told} {_aside(path).name}, and made again" for path in changed]

    def files_of(self, stage: str) -> tuple[Path, ...]:
        """What a stage leaves and a later one, or the report, goes by; models have their checksums in the tables."""
        return {
            "data": (self.space, self.splits, self.audit),
            "search": (self.trials, self.epochs, self.predictions_epochs),
            "finalists": (
                self.finalists,
                self.baselines,
                self.folds,
                self.learning_curve,
                self.outer,
                self.outer_predictions,
                self.epochs,
                self.predictions_epochs,
            ),
            "evaluation": (*self.of_test, self.predictions_val, self.best_model_card, *self.of_ensemble),
        }[stage]

    def add_opening(self, opening: OpeningRecord) -> RunRecord:
        """Add an opening of the test split to run.json; returns the record."""
        before = self.read().test
        opened, openings = (*before.opened, opening.time), (*before.openings, opening)
        return self.update(test=before.model_copy(update={"opened": opened, "openings": openings}))

    def opening_evaluated(self, opening: OpeningRecord) -> RunRecord:
        """Note in run.json that an opening has led to an evaluation, before this is written; returns the record."""
        before = self.read().test
        evaluated = tuple(dict.fromkeys((*before.evaluated, opening.time)))
        return self.update(test=before.model_copy(update={"evaluated": evaluated}))

    def _marker(self, stage: str) -> Path:
        if stage not in STAGES:
            raise ValueError(f"stage must be one of {', '.join(STAGES)}, but got {stage!r}")
        return self.path / ".stages" / stage

    def finish(self, stage: str) -> None:
        """Mark ``stage`` as finished, and pin its files; to be called after all of them are written."""
        marker = self._marker(stage)
        if self.run.exists():
            self.pin(*(path for path in self.files_of(stage) if path.exists()))
        write_text(marker, "")

    def unfinish(self, stage: str) -> None:
        """Take back the marker of ``stage`` alone; its files may change again."""
        self._marker(stage).unlink(missing_ok=True)
        self.unpin(*self.files_of(stage))

    def unpin(self, *files: Path) -> None:
        """Forget the checksums of ``files``, which are about to change."""
        changing = {path.name for path in files}
        if self.run.exists() and changing & set(pinned := self.read().pinned):
            self.update(pinned={name: found for name, found in pinned.items() if name not in changing})

    def clear_drafts(self) -> None:
        """Remove what a killed process was writing (see `atomic_path`); to be called while the folder is `held`."""
        for path in self.path.rglob(".*.draft-*"):
            if _DRAFT.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)

    @property
    def never_begun(self) -> bool:
        """Whether the folder holds no more than what a start leaves that was ended before run.json was there."""
        names, own = {path.name for path in self.path.iterdir()}, (LOCK, self.request.name, self.space.name)
        return LOCK in names and all(name in own or _DRAFT.fullmatch(name) for name in names)

    @property
    def kept(self) -> bool:
        """Whether the folder holds what ``--resume`` goes on with."""
        return self.run.exists() or self.request.exists()

    @property
    def begun(self) -> bool:
        """Whether any stage has ever been finished here."""
        return (self.path / ".stages").is_dir()

    def finished(self, stage: str) -> bool:
        """Whether ``stage`` and all of its files are whole."""
        return self._marker(stage).exists()


def _said_of_changes(content: Any) -> str:
    """What is wrong with a JSON object that does not have its checksum; nothing if it has none."""
    told = content.get(FIELD) if isinstance(content, dict) else None
    if told is None or told == of_document(content):
        return ""
    return (
        "is not as the run wrote it: it was damaged, or edited by hand; put it back, or, if the edit is meant, remove "
        f"its line “{FIELD}”"
    )


def _aside(path: Path) -> Path:
    """Rename a damaged file, so that nothing is read from it; returns where it is now."""
    return path.replace(path.with_suffix(f".damaged{path.suffix}"))


def _refuse_special(folder: Path) -> None:
    """Refuse, by a ConfigError, a run folder in which reading would wait for ever: pipes, devices, sockets."""
    inside = [*os.walk(folder)]  # which passes over what vanishes, and goes into no folder that is a link
    links = [folder / name for _, folders, _ in inside[:1] for name in folders if (folder / name).is_symlink()]
    inside += [first for link in links for first in islice(os.walk(link), 1)]
    for place, folders, files in inside:
        for name in (*folders, *files):
            try:
                kind = stat.S_IFMT((path := Path(place, name)).stat().st_mode)
            except OSError:  # it is gone, or leads nowhere
                continue
            if kind in SPECIAL:
                raise ConfigError(f"{path} is a pipe, a device or a socket, which no run leaves; remove it.")


def find_start(name: str | os.PathLike[str], folder: str | os.PathLike[str]) -> RunDir | None:
    """As `find_run`, the folder of a start that was ended before run.json was there; None if there is none."""
    for path in (Path(folder) / name, Path(name)):
        run = RunDir.at(path)
        if run.run.is_file():
            return None
        if run.request.is_file() and run.never_begun:
            return run
    return None


def find_run(name: str | os.PathLike[str], folder: str | os.PathLike[str]) -> RunDir:
    """The run folder called ``name`` in ``folder``; a path to a run folder is taken too.

    Args:
        name: of the run, or the path of its folder.
        folder: of run folders.

    Raises:
        ConfigError: if there is no such run; the message has the names that are near, else those there are.
    """
    name, folder = os.fspath(name), Path(folder)
    for path in (folder / name, Path(name)):
        if (path / "run.json").is_file():
            _refuse_special(path)
            return RunDir.at(path)
    raise ConfigError(f"There is no run {name!r} in {folder}{_instead(name, folder)}")


def _instead(name: str, folder: Path) -> str:
    """The end of the sentence that ``folder`` has no run ``name``."""
    names = sorted(path.parent.name for path in folder.glob("*/run.json"))
    if not names:
        return "; there is no run yet."
    near = difflib.get_close_matches(name.lower(), (one.lower() for one in names), n=3)
    if found := [one for one in names if one.lower() in near or one.lower().startswith(name.lower())][:3]:
        return f"; did you mean {joined(found, 'or')}?"
    more = f" and {len(names) - SHOWN_RUNS} more" if len(names) > SHOWN_RUNS else ""
    return f"; the runs there are: {', '.join(names[:SHOWN_RUNS])}{more}."
