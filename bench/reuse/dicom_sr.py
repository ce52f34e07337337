"""Predictions as DICOM: one structured report a study, after TID 1500 (PS3.16), marked as research.

highdicom, an optional dependency, is only imported when needed.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench import __version__
from bench.data.images.decode import DECODE_ERRORS
from bench.data.images.dicom import HEAD, is_dicom_content
from bench.errors import ConfigError
from bench.reuse.model import ReusableModel
from bench.run.documents import RESEARCH_USE
from bench.run.folder import atomic_path, file_sha256
from bench.texts import visible

if TYPE_CHECKING:
    from pydicom import Dataset

INSTALL = 'DICOM structured reports need highdicom: pip install "medical-transfer-bench[dicom-sr]".'
SCHEME = "99MTB"
"""Designator of the codes below; those that begin with 99 are private (PS3.16, 8.2)."""
MAKER = "medical-transfer-bench"
MOST_MEANING = 64
"""Characters of a code's meaning (PS3.5, 6.2: LO)."""
SERIES = 99_001
"""Number of the series of reports, above those of images."""
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
INHERITED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""What a report has of its study; a source that lacks some gives it empty (type 2)."""
SEXES = ("M", "F", "O")
DAY, TIME = r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"
DATES = {"PatientBirthDate": DAY, "StudyDate": DAY, "StudyTime": TIME}
"""What these look like (PS3.5, 6.2: DA and TM); anything else is left empty."""
Code = tuple[str, str]
"""Value and meaning of a private code."""
CALLED: Code = ("CALLED", "Called class")
USE: Code = ("USE", "Intended use")
RESEARCH: Code = ("RESEARCH", RESEARCH_USE)
ABSTAINS: Code = ("ABSTAINS", "Abstains: the prediction set is not the called class alone")
DECISION: Code = ("DECISION", "Decision")


@dataclass(frozen=True)
class Identity:
    """Which model it was.

    Attributes:
        name: of the run or the file.
        sha256: of the .h5 file.
        version: of the suite that made it.
    """

    name: str
    sha256: str
    version: str = __version__

    @classmethod
    def of(cls, model: ReusableModel) -> "Identity":
        """That of a loaded model."""
        return cls(model.name, model.card.sha256 or file_sha256(model.path), model.card.suite_version or __version__)


@dataclass
class Reports:
    """What was written.

    Attributes:
        files: a report each.
        left_out: image -> why it is in none.
    """

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def write_reports(
    predictions: pd.DataFrame,
    sources: "Mapping[str, str | os.PathLike[str] | Dataset]",
    folder: str | os.PathLike[str],
    model: Identity,
) -> Reports:
    """Write one structured report for each study among the sources, and patient in it.

    Args:
        predictions: a row an image, as ``predict`` gives them: ``image``, ``called``, ``probability_CLASS`` of each
            class and, where they are known, ``threshold``, ``abstain`` and ``note``.
        sources: image -> the DICOM file that it was read from, or what that holds.
        folder: is made; files are called by their SOP Instance UID.
        model: that predicted.

    Raises:
        ConfigError: if highdicom is missing, or the folder cannot be written.
    """
    require_highdicom()
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--dicom-sr {folder} cannot be made: {error.strerror}.") from None
    reports = Reports()
    for rows in _by_study(predictions, sources, reports).values():
        try:
            report = _report(rows, model)
        except (ValueError, TypeError, AttributeError) as error:  # highdicom checks what a header holds
            reports.left_out |= {str(row["image"]): f"its header cannot be used: {error}" for row, _ in rows}
            continue
        target = folder / f"{report.SOPInstanceUID}.dcm"
        with atomic_path(target) as temporary:
            report.save_as(temporary, enforce_file_format=True)
        reports.files.append(target)
    return reports


def report_on(model: ReusableModel, predictions: pd.DataFrame, folder: Path) -> Reports:
    """`write_reports` of predictions whose column ``image`` holds paths; other files than DICOM are left out.

    Raises:
        ConfigError: as `write_reports`.
    """
    sources = {str(image): Path(str(image)) for image in predictions["image"]}
    return write_reports(predictions, sources, folder, Identity.of(model))


def require_highdicom() -> None:
    """Check that structured reports can be written.

    Raises:
        ConfigError: if highdicom is not installed.
    """
    if find_spec("highdicom") is None:
        raise ConfigError(INSTALL)


Rows = list[tuple[dict[str, Any], Any]]
"""Of each image its row and its source."""


def _by_study(
    predictions: pd.DataFrame, sources: "Mapping[str, str | os.PathLike[str] | Dataset]", reports: Reports
) -> dict[tuple[str, str], Rows]:
    """The rows of each study that can be reported on, by patient: where numbers were replaced, patients may share one.

    The others are noted in ``reports``.
    """
    studies: dict[tuple[str, str], Rows] = {}
    for row in predictions.to_dict("records"):
        name = str(row["image"])
        source = _header(sources.get(name))
        if not isinstance(row.get("called"), str) or not row["called"]:
            reports.left_out[name] = "it was not classified"
        elif source is None:
            reports.left_out[name] = "it is no DICOM file"
        elif missing := [one for one in NEEDED if not source.get(one)]:
            reports.left_out[name] = f"its header has no {missing[0]}"
        else:
            whose = str(source.StudyInstanceUID), str(source.get("PatientID") or "")
            studies.setdefault(whose, []).append(({str(k): v for k, v in row.items()}, source))
    return studies


def _header(source: "str | os.PathLike[str] | Dataset | None") -> "Dataset | None":
    """The data elements of a source before its pixels; None if it is no DICOM file."""
    from pydicom import dcmread

    if not isinstance(source, str | os.PathLike):
        return source
    try:
        with Path(source).open("rb") as file:
            if not is_dicom_content(file.read(HEAD)):
                return None
        return dcmread(source, stop_before_pixels=True, force=True)
    except DECODE_ERRORS:
        return None


def _report(rows: Rows, model: Identity) -> Any:
    """The structured report of one study."""
    from highdicom import ContentQualificationValues, sr
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    evidence = [_evidence(source) for _, source in rows]
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[MAKER, model.sha256]),
        name=_meaning(model.name),
        manufacturer_name=MAKER,
        model_name=_meaning(model.name),
        serial_number=model.sha256[:MOST_MEANING],
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[
            _group(row, source, number, model)
            for number, ((row, _), source) in enumerate(zip(rows, evidence, strict=True), start=1)
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.EnhancedSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=SERIES,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=_meaning(model.name),
        software_versions=model.version or __version__,
        device_serial_number=model.sha256[:MOST_MEANING] or None,
        series_description="Research use only: predictions of a model",
        content_qualification=ContentQualificationValues.RESEARCH,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name=MAKER)],
        is_complete=True,
        is_final=False,
        is_verified=False,
        specific_character_set="ISO_IR 192",
    )


def _evidence(source: Any) -> Any:
    """What a report needs to know of a source: references, patient and study, empty where the source does not say."""
    from pydicom import Dataset

    kept = Dataset()
    for name in (*NEEDED, *INHERITED):
        setattr(kept, name, source.get(name) or "")
    if kept.PatientSex not in SEXES:
        kept.PatientSex = ""
    for name, form in DATES.items():
        if not re.fullmatch(form, str(kept.get(name))):
            setattr(kept, name, "")
    for name in ("Rows", "Columns", "NumberOfFrames", "Modality"):
        if name in source:
            setattr(kept, name, source[name].value)
    return kept


def _group(row: Mapping[str, Any], source: Any, number: int, model: Identity) -> Any:
    """The measurements of one image: the probability of each class, and what it is called."""
    from highdicom import sr
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    def coded(code: Code) -> Any:
        return CodedConcept(code[0], SCHEME, _meaning(code[1]))

    prefix = "probability_"
    probabilities = {name.removeprefix(prefix): row[name] for name in row if name.startswith(prefix)}
    classes = {label: f"CLASS{place}" for place, label in enumerate(probabilities)}
    called = str(row["called"])
    evaluations = [(CALLED, (classes.get(called, "CLASS"), called)), (USE, RESEARCH)]
    abstains = row.get("abstain")
    if pd.notna(abstains) and str(abstains).lower() in ("true", "yes"):
        evaluations.append((DECISION, ABSTAINS))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identifier=f"image {number}"),
        algorithm_id=sr.AlgorithmIdentification(MAKER, model.version or __version__, list(_parameters(row, model))),
        measurements=[
            sr.Measurement(
                coded((f"P{code}", f"Probability of {label}")),
                round(float(probabilities[label]), 6),
                codes.UCUM.NoUnits,
            )
            for label, code in classes.items()
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=coded(name), value=coded(value)) for name, value in evaluations
        ],
        source_images=[sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)],
    )


def _parameters(row: Mapping[str, Any], model: Identity) -> Iterator[str]:
    """What is to be known of how the image was classified, a sentence each."""
    yield RESEARCH_USE
    yield f"Model {visible(model.name)}, SHA-256 of its file {model.sha256}."
    if pd.notna(threshold := row.get("threshold")):
        yield f"Threshold on the model's own probability, frozen on validation: {threshold}."
    if isinstance(note := row.get("note"), str) and note:
        yield f"Note on this image: {visible(note)}"


def _meaning(text: str) -> str:
    """``text`` as the meaning of a code."""
    plain = visible(text).replace("\\", "/").strip() or "unnamed"
    return plain if len(plain) <= MOST_MEANING else f"{plain[: MOST_MEANING - 1]}…"
