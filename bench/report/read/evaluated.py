"""The files that an evaluation leaves beside evaluation.json, as the report reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.report.read.reading import Problems, arrays, json_object, missing, unreadable, whole_lines
from bench.run.folder import RunDir

UNTESTED = "it is written when the test split is opened under the present models"
EARLIER = "this run was evaluated by an earlier version of the suite, which did not write it"


@dataclass(frozen=True)
class Images:
    """Images as a model saw them, and maps of the same images where there are any.

    Attributes:
        images: uint8, shape (n, height, width, 1 or 3).
        ranks: number of each image, shape (n,); of failures alone.
        maps, randomised: float in [0, 1], shape (n, height, width); of saliency alone.
    """

    images: npt.NDArray[np.uint8]
    ranks: tuple[int, ...] = ()
    maps: npt.NDArray[np.float32] | None = None
    randomised: npt.NDArray[np.float32] | None = None


@dataclass
class Evaluated:
    """What the evaluation wrote in files of their own; None where one is not there, or not whole."""

    controls: pd.DataFrame | None = None
    comparisons: pd.DataFrame | None = None
    points: pd.DataFrame | None = None
    prevalences: pd.DataFrame | None = None
    decision: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    calibration: dict[str, Any] | None = None
    subgroups: pd.DataFrame | None = None
    failures: pd.DataFrame | None = None
    failure_images: Images | None = None
    robustness: pd.DataFrame | None = None
    saliency: dict[str, Any] | None = None
    saliency_images: Images | None = None


@dataclass(frozen=True)
class _Kind:
    """What a table must hold: columns without which it says nothing, and which of its columns are no numbers."""

    needed: Sequence[str]
    names: Sequence[str] = ()
    flags: Sequence[str] = ()


_TABLES = {
    "comparisons": _Kind(("family", "a", "b", "difference"), ("family", "a", "b", "verdict", "sentence")),
    "operating_points": _Kind(("class", "point", "measure", "value"), ("class", "point", "rule", "measure")),
    "prevalences": _Kind(("class", "point", "prevalence", "ppv", "npv"), ("class", "point"), ("observed",)),
    "decision_curve": _Kind(("class", "threshold", "model", "treat_all"), ("class",)),
    "curves": _Kind(("model", "class", "curve", "x", "y"), ("model", "class", "curve")),
    "subgroups": _Kind(("group", "value", "images"), ("group", "value"), ("small",)),
    "failures": _Kind(("rank", "image", "label", "predicted", "confidence"), ("predicted",), ("shown",)),
    "robustness": _Kind(("corruption", "level", "auc", "accuracy"), ("corruption", "unit")),
}


def read_evaluated(run: RunDir, evaluation: dict[str, Any] | None, problems: Problems, there: bool) -> Evaluated:
    """Every such file of ``run`` that can be read.

    Args:
        run: the run folder.
        evaluation: the content of evaluation.json, None where there is none.
        problems: takes a sentence for each file that is not there, or not whole.
        there: whether there is an evaluation of the present models; if not, controls alone are read, for
            what else may lie there is of other models.
    """
    if not there:
        for path in run.of_test[1:]:
            missing(path, problems, UNTESTED)
        return Evaluated(controls=_controls(run, problems))

    def table(name: str) -> pd.DataFrame | None:
        kind, why = _TABLES[name], _why(name, evaluation)
        return whole_lines(run.path / f"{name}.csv", problems, kind.needed, why, kind.names, kind.flags)

    return Evaluated(
        controls=_controls(run, problems),
        comparisons=table("comparisons"),
        points=table("operating_points"),
        prevalences=table("prevalences"),
        decision=table("decision_curve"),
        curves=table("curves"),
        calibration=json_object(run.path / "calibration.json", problems, _why("calibration", evaluation)),
        subgroups=table("subgroups"),
        failures=table("failures"),
        failure_images=_images(run, "failures.npz", ["ranks"], problems, evaluation),
        robustness=table("robustness"),
        saliency=json_object(run.path / "saliency.json", problems, _why("saliency", evaluation)),
        saliency_images=_images(run, "saliency.npz", ["maps", "randomised"], problems, evaluation),
    )


def _why(name: str, evaluation: dict[str, Any] | None) -> str:
    """Why the file ``name`` may not be there, as far as evaluation.json knows."""
    refusals = (evaluation or {}).get("refusals")
    if not isinstance(refusals, list):
        return EARLIER
    for refusal in refusals:
        if isinstance(refusal, dict) and str(refusal.get("what")).startswith(name):
            return str(refusal.get("reason")).rstrip(".")
    return "the evaluation did not write it, or it was moved"


def _controls(run: RunDir, problems: Problems) -> pd.DataFrame | None:
    names = ["baseline", "state", "note", "config_backbone", "config_augmentation", "model", "sha256"]
    why = "no control has been trained"
    table = whole_lines(run.baselines, problems, ["baseline", "state"], why, names, ["representative"])
    return None if table is None else table.rename(columns={"baseline": "control"})


def _images(
    run: RunDir, name: str, more: Sequence[str], problems: Problems, evaluation: dict[str, Any] | None
) -> Images | None:
    path = run.path / name
    found = arrays(path, problems, ["images", *more], _why(path.stem, evaluation))
    if found is None:
        return None
    images = found["images"]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        wrong = f"images must have shape (n, H, W, 1 or 3), but got {images.shape}"
    elif uneven := [key for key in more if len(found[key]) != len(images)]:
        wrong = f"it must hold as many {uneven[0]} as images ({len(images)}), but holds {len(found[uneven[0]])}"
    else:
        ranks = tuple(int(rank) for rank in found.get("ranks", ()))
        return Images(images.astype(np.uint8), ranks, found.get("maps"), found.get("randomised"))
    unreadable(path, problems, ValueError(wrong))
    return None
