"""The files of a run folder as the report reads them: each one whole, or one sentence on why it is not there."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.errors import ConfigError
from bench.failures import KINDS, kind_in
from bench.finalists.seeds import model_files
from bench.invocation import typed
from bench.report.names import PARAMETERS, STATES, joined
from bench.report.read.evaluated import UNTESTED, Evaluated, read_evaluated
from bench.report.read.reading import arrays, csv_table, first_line, json_object, missing, numbers, unreadable
from bench.report.wording import counted, text
from bench.run.folder import STAGES, RunDir
from bench.stats.metrics import BRIER_SUM, METRICS, Metric


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
    """A row a configuration: the last trial of it."""
    retried: int = 0
    """Failed trials whose configuration was tried again: history, and no part of ``trials``."""
    epochs: pd.DataFrame | None = None
    finalists: pd.DataFrame | None = None
    folds: pd.DataFrame | None = None
    """A row a finalist and fold; None where the run asked for none, which is no problem."""
    splits: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    evaluation: dict[str, Any] | None = None
    audit: dict[str, Any] | None = None
    evaluated: Evaluated = field(default_factory=Evaluated)
    gallery: Gallery | None = None
    limit: dict[str, Any] | None = None
    """What the machine could do at best; None where nobody asked, which is no problem."""
    opened: bool = False
    """Whether there is an evaluation of the test split: evaluation.json is there, readable or not."""
    outdated: bool = False
    """Whether that evaluation is of finalists that have been trained anew since; it is left out then."""
    unfinished: bool = False
    """Whether a stage of the run has not come to its end."""
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
    def openings(self) -> int:
        """How often this run has opened its test split, whether or not an evaluation came of it."""
        return len(listed(mapping(self.run.get("test")).get("openings")))

    @property
    def brier(self) -> str:
        """Which Brier score the evaluation holds; those that do not say were made when it was always the sum."""
        return str(mapping(mapping(self.evaluation).get("definitions")).get("brier") or BRIER_SUM)

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
        files.problems["run.json"] = (
            f"run.json could not be read, so settings and data are unknown: {first_line(error)}"
        )
    files.trials = _trials(run.trials, files)
    files.epochs = _epochs(run.epochs, files)
    files.finalists = _finalists(run.finalists, files)
    files.folds = _folds(run.folds, files)
    files.splits = csv_table(run.splits, files.problems, ["image", "label", "split"], "the data stage has not finished")
    files.audit = _audit(run.audit, files)
    files.unfinished = run.begun and not all(run.finished(stage) for stage in STAGES)
    _read_evaluation(run, files)
    files.gallery = _gallery(run.augmentation, files)
    limit = run.path / "limit.json"
    files.limit = json_object(limit, files.problems, "") if limit.exists() else None
    return files


def _read_evaluation(run: RunDir, files: RunFiles) -> None:
    """What came of the test split, unless it came of other models than those that are there."""
    files.evaluation = json_object(run.evaluation, files.problems, _sealed(run, files.openings))
    evaluated = mapping(mapping(files.evaluation).get("files"))
    if evaluated and files.finalists is not None and {"repeat", "sha256"} <= set(files.finalists):
        present = model_files(files.finalists, pd.DataFrame())
        files.outdated = any(evaluated.get(name) != found for name, found in present.items())
    if files.outdated:
        files.evaluation = None
        files.problems["evaluation.json"] = (
            "The test split was evaluated before the finalists were trained anew: what was found then is about other "
            f"models and is left out. Finish the run by “{typed('run', '--resume', run.name)}”."
        )
    there = files.opened and not files.outdated
    if there:
        why = "the evaluation did not write it, or it was moved"
        files.predictions = csv_table(run.predictions_test, files.problems, ["image", "label"], why)
    else:
        missing(run.predictions_test, files.problems, UNTESTED)
    files.evaluated = read_evaluated(run, files.evaluation, files.problems, there)


def _sealed(run: RunDir, openings: int) -> str:
    command = typed("evaluate", run.name)
    if openings:
        return f"{opened_in_vain(openings)}; evaluate the present models with “{command}”"
    return f"the test split is still sealed; once every choice is made, open it with “{command}”"


def opened_in_vain(openings: int) -> str:
    """That the test split was opened, although no evaluation is there."""
    times = "once" if openings == 1 else f"{openings} times"
    return (
        f"the test split has been opened {times}, but there is no evaluation of the present models: it was "
        "interrupted, or they were trained anew"
    )


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
    content = json_object(path, files.problems, "the data have not been audited")
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
_TEXTS = [
    "state",
    "reason",
    "failure",
    "origin",
    "config_backbone",
    "config_augmentation",
    "backbone",
    "winner",
    "model",
]
_TEXTS += ["representative", "sha256"]


def _trials(path: Path, files: RunFiles) -> pd.DataFrame | None:
    table = csv_table(path, files.problems, ["trial", "state", "config_backbone"], "no trial has finished yet")
    if table is None:
        return None
    more = [*CONFIG, *SCORES, "reason", "failure", "retried_as", "origin", "epochs", "seconds"]
    table = _whole_rows(numbers(_with_columns(table, more), _TEXTS), path, files, ["trial", "config_backbone"])
    known = table["failure"].isin(KINDS)
    table["failure"] = (
        table["failure"].where(known, table["reason"].map(text).map(kind_in)).where(table["state"] == "failed", "")
    )
    again = table["retried_as"].notna()
    files.retried = int(again.sum())
    return table[~again].reset_index(drop=True)


def _epochs(path: Path, files: RunFiles) -> pd.DataFrame | None:
    """The epochs of trials (with ``trial``) and of finalists (with ``finalist``), seeds one after the other."""
    table = csv_table(path, files.problems, ["kind", "name", "epoch"], "no epoch has finished yet", ["kind", "name"])
    if table is None:
        return None
    table = table[table["kind"].isin(["trial", "finalist"])].reset_index(drop=True)
    of_trial = table["kind"] == "trial"
    table = table.assign(trial=table["name"].where(of_trial), finalist=table["name"].mask(of_trial))
    return numbers(_with_columns(table, [*SCORES, "phase", "loss"]), ["finalist", "phase", "kind", "name"])


def _finalists(path: Path, files: RunFiles) -> pd.DataFrame | None:
    table = csv_table(path, files.problems, ["backbone", "state"], "the finalists have not been retrained yet")
    if table is None:
        return None
    more = [*CONFIG, *SCORES, "seed", "trial", "reason", "winner", "trial_score", "seconds"]
    more += ["folds", "fold_mean", "fold_sd", "repeat", "representative"]
    table = numbers(_with_columns(table, more), _TEXTS)
    for name in ("winner", "representative"):
        table[name] = table[name].astype("str").str.lower().isin(["true", "1", "1.0"])
    return _whole_rows(table, path, files, ["backbone"])


def _folds(path: Path, files: RunFiles) -> pd.DataFrame | None:
    if not path.exists():
        return None
    table = csv_table(path, files.problems, ["backbone", "fold", "state"], "")
    if table is None:
        return None
    more = ["images_train", "images_val", "patients_val", "best_epoch", "epochs", "seconds", "reason"]
    return _whole_rows(
        numbers(_with_columns(table, [*CONFIG, *SCORES, *more]), _TEXTS), path, files, ["backbone", "fold"]
    )


def _gallery(path: Path, files: RunFiles) -> Gallery | None:
    found = arrays(path, files.problems, ["policies", "images"], "no augmented images were drawn")
    if found is None:
        return None
    policies, images = [str(name) for name in found["policies"]], found["images"]
    if images.ndim != 5 or len(images) != len(policies) or images.shape[-1] not in (1, 3):
        wrong = ValueError(f"images must have shape (n_policies, n_columns, H, W, 1 or 3), but got {images.shape}")
        unreadable(path, files.problems, wrong)
        return None
    return Gallery(policies, images.astype(np.uint8))
