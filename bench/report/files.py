"""The files of a run folder as the report reads them: each one whole, or one sentence on why it is not there."""

import json
import shlex
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.errors import ConfigError
from bench.metrics import METRICS, Metric
from bench.report.names import PARAMETERS, STATES, joined
from bench.report.wording import counted
from bench.rundir import RunDir


@dataclass(frozen=True)
class Gallery:
    """Augmented images, column 0 the original.

    ``images`` is a uint8 array of shape (n_policies, n_columns, height, width, 1 or 3).
    """

    policies: list[str]
    images: npt.NDArray[np.uint8]


@dataclass
class RunFiles:
    """What a run folder holds; ``problems`` says for each file that is not there, or not whole, why."""

    run: dict[str, Any] = field(default_factory=dict)
    trials: pd.DataFrame | None = None
    epochs: pd.DataFrame | None = None
    finalists: pd.DataFrame | None = None
    folds: pd.DataFrame | None = None
    """A row a finalist and fold; None where the run asked for none, which is no problem."""
    splits: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    evaluation: dict[str, Any] | None = None
    audit: dict[str, Any] | None = None
    gallery: Gallery | None = None
    limit: dict[str, Any] | None = None
    """What the machine could do at best; None where nobody asked, which is no problem."""
    opened: bool = False
    """Whether the test split was opened: evaluation.json is there, readable or not."""
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What decided the run, from run.json; empty where it does not say."""
        return mapping(self.run.get("settings"))

    @property
    def data(self) -> dict[str, Any]:
        """What run.json says about the images; empty where it does not."""
        return mapping(self.run.get("data"))

    @property
    def classes(self) -> list[str]:
        """The class names in the order of the model's outputs."""
        return [str(name) for name in (self.evaluation or {}).get("classes") or self.data.get("classes") or []]

    @property
    def metric(self) -> Metric:
        """The metric that the search ranked by; ROC AUC where the run does not say."""
        named = self.settings.get("metric") or mapping(self.run.get("winner")).get("metric")
        return METRICS.get(str(named), METRICS["auc"])

    @property
    def backbones(self) -> list[str]:
        """Every backbone that the run knows of: those asked for, or all of the space, then those in the tables."""
        offered = mapping(mapping(mapping(self.run.get("space")).get("parameters")).get("backbone")).get("choices")
        names = [str(name) for name in self.settings.get("backbones") or offered or []]
        if self.trials is not None:
            names += sorted(str(name) for name in self.trials["config_backbone"].dropna().unique())
        if self.finalists is not None:
            names += sorted(str(name) for name in self.finalists["backbone"].dropna().unique())
        return list(dict.fromkeys(names))


def mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is a dict, else an empty one: a damaged file must not stop the page."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def has_format(audit: dict[str, Any]) -> bool:
    """Whether audit.json says its format, and so holds findings; those of the first runs do not."""
    return audit.get("format") is not None


def read(run: RunDir) -> RunFiles:
    """Every file of ``run`` that can be read, and a sentence for each that cannot."""
    files = RunFiles(opened=run.evaluation.exists())
    try:
        files.run = mapping(run.read_run())
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        files.problems["run.json"] = f"run.json could not be read, so settings and data are unknown: {_first(error)}"
    files.trials = _trials(run.trials, files)
    files.epochs = _epochs(run.epochs, files)
    files.finalists = _finalists(run.finalists, files)
    files.folds = _folds(run.folds, files)
    files.splits = _table(run.splits, files, ["image", "label", "split"], "the data stage has not finished")
    files.audit = _audit(run.audit, files)
    files.evaluation = _json(run.evaluation, files, _sealed(run))
    why = "it is written when the test split is opened"
    files.predictions = _table(run.predictions_test, files, ["image", "label"], why)
    files.gallery = _gallery(run.augmentation, files)
    limit = run.path / "limit.json"
    files.limit = _json(limit, files, "") if limit.exists() else None
    return files


def _sealed(run: RunDir) -> str:
    command = f"python -m bench evaluate {shlex.quote(run.name)}"
    return f"the test split is still sealed; once every choice is made, open it with “{command}”"


def _first(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _missing(path: Path, files: RunFiles, why: str) -> None:
    files.problems[path.name] = f"{path.name} is missing: {why}."


def _unreadable(path: Path, files: RunFiles, error: Exception) -> None:
    files.problems[path.name] = f"{path.name} could not be read and is left out: {_first(error)}."


def _json(path: Path, files: RunFiles, why: str) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it must hold a JSON object, but holds a {type(content).__name__}")
        return content
    except FileNotFoundError:
        _missing(path, files, why)
    except (OSError, ValueError) as error:
        _unreadable(path, files, error)
    return None


AUDIT: dict[str, type] = {
    "classes": list,
    "findings": list,
    "left_out": list,
    "patients": dict,
    "shared_patients": dict,
    "duplicates": list,
    "moved": list,
    "splits": dict,
    "by_class": dict,
    "shortcut": dict,
    "notes": list,
}
"""What the parts of audit.json are made of; lists, but those of texts, are of objects."""


def _audit(path: Path, files: RunFiles) -> dict[str, Any] | None:
    """audit.json without the parts of it that are not what they should be; those are named."""
    content = _json(path, files, "the data have not been audited")
    if content is None:
        return None
    whole, broken = dict(content), []
    for name, kind in AUDIT.items():
        part = content.get(name)
        if part is None:
            continue
        if not isinstance(part, kind):
            broken.append(name)
            del whole[name]
        elif isinstance(part, list) and name not in ("classes", "notes"):
            whole[name] = [entry for entry in part if isinstance(entry, dict)]
            if len(whole[name]) < len(part):
                broken.append(f"{len(part) - len(whole[name])} of {name}")
    if broken:
        files.problems[path.name] = f"audit.json has parts that cannot be read and are left out: {joined(broken)}."
    return whole


def _table(path: Path, files: RunFiles, needed: list[str], why: str) -> pd.DataFrame | None:
    """A CSV file with at least the columns ``needed``; names and labels are never taken for numbers or NaN."""
    kept = dict.fromkeys(("image", "label", "patient", "patient_wide", "split", "reason"), "str")
    try:
        table = pd.read_csv(path, dtype=kept, keep_default_na=False, na_values=[""])
        absent = [name for name in needed if name not in table]
        if absent:
            raise ValueError(f"it lacks the column {absent[0]!r}")
        return table
    except FileNotFoundError:
        _missing(path, files, why)
    except (OSError, ValueError) as error:
        _unreadable(path, files, error)
    return None


def _numbers(table: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    """``table`` with every column but ``texts`` as finite numbers; what is none becomes NaN."""
    table = table.copy()
    for name in table.columns:
        if name not in texts:
            values = pd.to_numeric(table[name], errors="coerce").astype("float64")
            table[name] = values.where(np.isfinite(values))
    return table


def _whole_rows(table: pd.DataFrame, path: Path, files: RunFiles, needed: list[str]) -> pd.DataFrame:
    """The rows with a known state and every column of ``needed``; those dropped are counted and said."""
    whole = table["state"].isin(list(STATES)) & table[needed].notna().all(axis=1)
    if not whole.all():
        rows = counted((~whole).sum(), "row")
        files.problems[path.name] = f"{path.name} holds {rows} that cannot be read; they are left out of what follows."
    return table[whole].reset_index(drop=True)


def _with_columns(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """``table`` with every column of ``names``, empty where the file had none."""
    return table.reindex(columns=list(dict.fromkeys([*table.columns, *names])))


CONFIG = [f"config_{name}" for name in PARAMETERS]
SCORES = [f"metric_{name}" for name in METRICS]
_TEXTS = ["state", "reason", "origin", "config_backbone", "config_augmentation", "backbone", "winner", "model"]


def _trials(path: Path, files: RunFiles) -> pd.DataFrame | None:
    table = _table(path, files, ["trial", "state", "config_backbone"], "no trial has finished yet")
    if table is None:
        return None
    table = _numbers(_with_columns(table, [*CONFIG, *SCORES, "reason", "origin", "epochs", "seconds"]), _TEXTS)
    return _whole_rows(table, path, files, ["trial", "config_backbone"])


def _epochs(path: Path, files: RunFiles) -> pd.DataFrame | None:
    table = _table(path, files, ["trial", "finalist", "epoch"], "no epoch has finished yet")
    if table is None:
        return None
    return _numbers(_with_columns(table, [*SCORES, "phase", "loss"]), ["finalist", "phase"])


def _finalists(path: Path, files: RunFiles) -> pd.DataFrame | None:
    table = _table(path, files, ["backbone", "state"], "the finalists have not been retrained yet")
    if table is None:
        return None
    more = [*CONFIG, *SCORES, "seed", "trial", "reason", "winner", "trial_score", "seconds"]
    more += ["folds", "fold_mean", "fold_sd"]
    table = _numbers(_with_columns(table, more), _TEXTS)
    table["winner"] = table["winner"].astype("str").str.lower().isin(["true", "1", "1.0"])
    return _whole_rows(table, path, files, ["backbone"])


def _folds(path: Path, files: RunFiles) -> pd.DataFrame | None:
    if not path.exists():
        return None
    table = _table(path, files, ["backbone", "fold", "state"], "")
    if table is None:
        return None
    more = ["images_train", "images_val", "patients_val", "best_epoch", "epochs", "seconds", "reason"]
    return _whole_rows(
        _numbers(_with_columns(table, [*CONFIG, *SCORES, *more]), _TEXTS), path, files, ["backbone", "fold"]
    )


def _gallery(path: Path, files: RunFiles) -> Gallery | None:
    try:
        with np.load(path, allow_pickle=False) as content:
            policies, images = [str(name) for name in content["policies"]], content["images"]
        if images.ndim != 5 or len(images) != len(policies) or images.shape[-1] not in (1, 3):
            raise ValueError(f"images must have shape (n_policies, n_columns, H, W, 1 or 3), but got {images.shape}")
        return Gallery(policies, images.astype(np.uint8))
    except FileNotFoundError:
        _missing(path, files, "no augmented images were drawn")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _unreadable(path, files, error)
    return None
