"""One thing trained with several seeds: what each training leaves, which stands for all, and where their files lie.

Shared by finalists and controls; what is trained, and why, is theirs to say.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

import pandas as pd

from bench.errors import ConfigError, TrialFailed
from bench.run.folder import RunDir, file_sha256
from bench.run.results import rank
from bench.seeds import stable_seed
from bench.stats.metrics import METRICS, Metric
from bench.trial import TrialResult

Row = dict[str, Any]
T = TypeVar("T", bound=Mapping[str, Any])


def repeat_seed(purpose: str, repeat: int, *parts: Any) -> int:
    """The seed of one of several trainings; that of the first does not depend on how many follow.

    Args:
        purpose: what is trained.
        repeat: counted from 1.
        parts: JSON-like values that decide the seed too.
    """
    return stable_seed(purpose, *parts) if repeat == 1 else stable_seed(purpose, *parts, repeat)


def model_files(finalists: pd.DataFrame, controls: pd.DataFrame) -> dict[str, str]:
    """``BACKBONE-REPEAT`` or ``CONTROL-REPEAT`` -> SHA-256 of its model file, of the trainings that left one.

    Args:
        finalists: finalists.csv.
        controls: controls.csv; may be empty.
    """
    found: dict[str, str] = {}
    for table, name in ((finalists, "backbone"), (controls, "control")):
        for row in table.to_dict("records"):
            digest = row.get("sha256")
            if row["state"] == "completed" and isinstance(digest, str) and digest:
                found[f"{row[name]}-{int(row['repeat'])}"] = digest
    return found


def attempt(train: Callable[[], TrialResult]) -> tuple[TrialResult | None, str]:
    """What ``train`` returns, or why it failed: whatever ends one training, the others go on, as in the search."""
    try:
        return train(), ""
    except ConfigError:
        raise
    except TrialFailed as error:
        return None, str(error)
    except Exception as error:
        return None, f"{type(error).__name__}: {' '.join(str(error).split())}"


def outcome(result: TrialResult | None, model: Path, run: RunDir) -> Row:
    """What a table says of how a training ended: its metrics, epochs and seconds, and the file it left.

    Args:
        result: of the training; None if it failed.
        model: the file that it has written.
        run: the run folder.
    """
    return {
        **{f"metric_{name}": result.metrics[name] if result else None for name in METRICS},
        "best_epoch": result.best_epoch if result else None,
        "epochs": len(result.epochs) if result else 0,
        "seconds": round(result.seconds, 3) if result else 0.0,
        "model": model.relative_to(run.path).as_posix() if result else "",
        "sha256": file_sha256(model) if result else "",
    }


def completed(rows: Iterable[T]) -> list[T]:
    """Those of ``rows`` whose training was completed."""
    return [row for row in rows if row["state"] == "completed"]


def metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The validation metrics of a completed row, by name."""
    return {name: float(row[f"metric_{name}"]) for name in METRICS}


def mean_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Each validation metric's mean over the completed of ``rows``, of which there must be one."""
    each = [metrics_of(row) for row in completed(rows)]
    return {name: fmean(one[name] for one in each) for name in METRICS}


def repeat_summary(rows: Iterable[Mapping[str, Any]], metric: Metric) -> Row:
    """``repeats`` (completed), ``mean`` and the sample's standard deviation ``sd`` of the validation score."""
    scores = [float(row[f"metric_{metric.name}"]) for row in completed(rows)]
    return {
        "repeats": len(scores),
        "mean": fmean(scores) if scores else None,
        "sd": stdev(scores) if len(scores) > 1 else None,
    }


def mark_representative(rows: Sequence[Row], metric: Metric) -> Row | None:
    """Mark the completed row with the best validation score, ties by log loss, then by repeat; returns it."""
    best = min(completed(rows), key=lambda row: (*rank(metric, metrics_of(row)), row["repeat"]), default=None)
    for row in rows:
        row["representative"] = row is best
    return best


def find_model(row: Row, run: RunDir, places: Sequence[Path]) -> bool:
    """Whether the file of ``row`` is there, by its content; the row then says where.

    A crash while files changed places may have left it in any of ``places`` instead of where the row says.
    """
    for path in (run.path / row["model"], *places):
        if path.is_file() and file_sha256(path) == row["sha256"]:
            row["model"] = path.relative_to(run.path).as_posix()
            return True
    return False


def own_place(name: str, repeat: int, run: RunDir) -> Path:
    """Where the file of one training lies unless it stands for all of them."""
    return run.models / f"{name}-{repeat}.h5"


def place_models(rows: Sequence[Row], run: RunDir, names: str, winner: Row | None = None) -> None:
    """Put each file where it belongs: the winner's is best_model.h5, a representative's ``models/NAME.h5``.

    All others are ``models/NAME-REPEAT.h5``. What lies under these names and belongs to no row, left by an earlier
    choice, is removed.

    Args:
        rows: of the table; ``model`` is changed.
        run: the run folder.
        names: the column that names the thing trained.
        winner: the row of ``rows`` whose file is exported.
    """
    wanted = {}
    with_file = [row for row in rows if row["model"]]
    for number, row in enumerate(with_file):
        stands = run.models / f"{row[names]}.h5" if row["representative"] else own_place(row[names], row["repeat"], run)
        wanted[number] = run.best_model if row is winner else stands
    for number, row in enumerate(with_file):  # shared places are cleared before other files move in
        if run.path / row["model"] != wanted[number]:
            _move(row, own_place(row[names], row["repeat"], run), run)
    for number, row in enumerate(with_file):
        _move(row, wanted[number], run)
    kept = {run.path / row["model"] for row in with_file}
    for name in {row[names] for row in rows}:
        for path in (run.models / f"{name}.h5", *run.models.glob(f"{name}-[0-9]*.h5")):
            if path not in kept:
                path.unlink(missing_ok=True)


def _move(row: Row, wanted: Path, run: RunDir) -> None:
    source = run.path / row["model"]
    if source != wanted:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        source.replace(wanted)
        row["model"] = wanted.relative_to(run.path).as_posix()
