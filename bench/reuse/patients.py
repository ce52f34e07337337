"""A table of predictions by patient: the images of each aggregated by the rule that the run chose on validation."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.errors import ConfigError
from bench.numbers import counted
from bench.reuse.images import Wanted, patient_of
from bench.reuse.predict import decided
from bench.run.documents import ModelCard, PatientLevel
from bench.stats.calibration import CalibrationMap
from bench.stats.conformal import COVERAGE
from bench.stats.patients import aggregate

if TYPE_CHECKING:
    from bench.reuse.model import ReusableModel


def require_patients(wanted: Iterable[Wanted]) -> None:
    """Refuse, by a ConfigError, images none of which names its patient, before anything is said of them."""
    if not any(map(patient_of, wanted)):
        raise ConfigError(
            "--by patient needs to know whose images these are: a manifest with a column of patients, DICOM files, or "
            "--patient-pattern; no image here names its patient."
        )


def by_patient(model: "ReusableModel", table: pd.DataFrame, coverage: float = COVERAGE) -> pd.DataFrame:
    """One row per patient of a table of `bench.reuse.predict.predictions`.

    Calibrated probabilities of a patient's images are aggregated by ``by_patient.rule`` of the card, or by their mean
    where the run has chosen none. Thresholds are those that were frozen for patients; without any, the class of the
    highest aggregated probability is called. The images of a patient share their class, so the prediction set of a
    patient holds the classes that are in the sets of all images, at the same coverage.

    Returns:
        ``patient``, ``images`` (that could be read), ``called``, ``probability_CLASS`` (calibrated by patient where the
        run has a map for it), ``aggregated_CLASS``, ``threshold`` (on the scale of the latter), ``confidence``,
        ``abstain`` and ``note``. An image whose patient is unknown stands for itself, under its name; patients none of
        whose images could be read have a note alone.
    """
    card, classes = model.card, model.classes
    owners = table["patient"].fillna("").where(lambda names: names != "", table["image"]).to_numpy(str)
    read = table["called"].notna().to_numpy()
    calibrated = table[[f"probability_{name}" for name in classes]].to_numpy("float64")[read]
    level = card.by_patient
    names, aggregated = aggregate(calibrated, owners[read], level.rule if level else "mean")
    final = (level.map if level and level.map else CalibrationMap())(aggregated)
    called, thresholds = decided(_of_patients(card, level), aggregated)
    rows = np.arange(len(names))
    _, owner, counts = np.unique(owners[read], return_inverse=True, return_counts=True)
    single: list[bool | None] = [None] * len(names)
    if card.conformal:
        shared = np.ones((len(names), len(classes)), bool)
        np.logical_and.at(shared, owner, card.conformal.sets(calibrated, coverage))
        single = ((shared.sum(axis=1) == 1) & shared[rows, called]).tolist()
    found = pd.DataFrame(
        {
            "patient": names,
            "images": counts,
            "called": pd.array([classes[index] for index in called], dtype="string"),
            **{f"probability_{name}": final[:, index] for index, name in enumerate(classes)},
            **{f"aggregated_{name}": aggregated[:, index] for index, name in enumerate(classes)},
            "threshold": thresholds,
            "confidence": final[rows, called],
            "abstain": pd.array([None if one is None else not one for one in single], dtype="boolean"),
        }
    ).set_index("patient")
    order = list(dict.fromkeys(owners))
    notes = {str(name): "; ".join(_notes(part)) for name, part in table.groupby(owners, sort=False)}
    whole = found.reindex(order).rename_axis("patient").reset_index()
    return whole.assign(images=whole["images"].fillna(0).astype(int), note=[notes[name] for name in order])


def _of_patients(card: ModelCard, level: PatientLevel | None) -> ModelCard:
    """The card with the thresholds of patients in place of those of images."""
    thresholds = level.frozen if level else ()
    return card.model_copy(update={"thresholds": tuple(thresholds), "threshold": None})


def _notes(rows: pd.DataFrame) -> Iterator[str]:
    """What is noted of images, with how many it holds for where there are several."""
    for note, count in rows.loc[rows["note"].fillna("") != "", "note"].value_counts(sort=False).items():
        yield str(note) if len(rows) == 1 else f"{counted(int(count), 'image')}: {note}"


def rule_in_words(card: ModelCard) -> str:
    """By what the images of a patient are aggregated, for the banner."""
    if card.by_patient is None:
        return (
            "No rule for patients is known of this model: calibrated probabilities are averaged, and the class of the "
            "highest average is called."
        )
    chosen = "" if card.by_patient.reason else ", which was chosen on validation"
    return f"Images of a patient are aggregated by the rule “{card.by_patient.rule}”{chosen}."
