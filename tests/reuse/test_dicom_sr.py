"""Structured reports: one a study, with what was predicted, read back by other code than wrote them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from toy_model import write_images, write_model

from bench.cli import main
from bench.errors import ConfigError
from bench.reuse import dicom_sr
from bench.reuse.dicom_sr import Identity, Reports, write_reports

SHA256 = "ab" * 32
LONG = "a class whose name is far longer than the sixty-four characters that a code's meaning holds"


def write_source(path: Path, study: str, patient: str = "P1", **changes: Any) -> Path:
    """A radiograph of 2 x 2 pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    source = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    source.SpecificCharacterSet = "ISO_IR 100"
    source.PatientName, source.PatientID, source.PatientSex = "Müller^Jörg", patient, "M"
    source.StudyInstanceUID, source.SeriesInstanceUID = study, generate_uid()
    source.SOPClassUID, source.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    source.StudyDate, source.Modality = "20250102", "DX"
    source.Rows = source.Columns = 2
    source.BitsAllocated = source.BitsStored = 8
    source.HighBit, source.SamplesPerPixel, source.PixelRepresentation = 7, 1, 0
    source.PhotometricInterpretation, source.PixelData = "MONOCHROME2", b"\1\2\3\4"
    for name, value in changes.items():
        setattr(source, name, value)
    source.save_as(path, enforce_file_format=True)
    return path


def row(image: str, called: str | None, probability: float, **more: Any) -> dict[str, Any]:
    found = {
        "image": image,
        "called": called,
        "probability_NORMAL": 1 - probability,
        f"probability_{LONG}": probability,
    }
    return {**found, "threshold": 0.41, "abstain": False, "note": "", **more}


@pytest.fixture
def written(tmp_path: Path) -> tuple[Reports, dict[str, Path]]:
    studies = generate_uid(), generate_uid()
    (tmp_path / "plain.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(600))
    sources = {
        "plain.png": tmp_path / "plain.png",
        "a.dcm": write_source(tmp_path / "a.dcm", studies[0]),
        "b.dcm": write_source(tmp_path / "b.dcm", studies[0]),
        "c.dcm": write_source(tmp_path / "c.dcm", studies[1], "P2", PatientSex="unknown", StudyDate=""),
        "bare.dcm": write_source(tmp_path / "bare.dcm", ""),
        "odd.dcm": write_source(tmp_path / "odd.dcm", studies[1]),
    }
    rows = [
        row("a.dcm", "NORMAL", 0.25),
        row("b.dcm", LONG, 0.75, abstain=True, note="It is unlike the training images."),
        row("c.dcm", "NORMAL", 0.125),
        row("bare.dcm", "NORMAL", 0.5),
        row("odd.dcm", None, float("nan"), note="the file ends before its image does"),
        row("plain.png", "NORMAL", 0.5),
    ]
    table = pd.DataFrame(rows).astype({"called": "string", "abstain": "boolean"})  # what is missing is NA
    table.loc[0, "abstain"] = pd.NA
    reports = write_reports(table, sources, tmp_path / "reports", Identity("xray", SHA256))
    return reports, sources


def items(content: Dataset) -> Iterator[Dataset]:
    """The content tree, item by item."""
    for item in content.get("ContentSequence", ()):
        yield item
        yield from items(item)


def named(report: Dataset, meaning: str) -> list[Dataset]:
    return [one for one in items(report) if one.ConceptNameCodeSequence[0].CodeMeaning.startswith(meaning)]


def test_a_report_a_study_says_what_was_predicted_of_which_image(
    written: tuple[Reports, dict[str, Path]],
) -> None:
    reports, sources = written
    assert reports.left_out == {
        "bare.dcm": "its header has no StudyInstanceUID",
        "odd.dcm": "it was not classified",
        "plain.png": "it is no DICOM file",
    }
    first, second = (pydicom.dcmread(path) for path in reports.files)
    images = {name: pydicom.dcmread(path) for name, path in sources.items() if path.suffix == ".dcm"}
    assert first.StudyInstanceUID == images["a.dcm"].StudyInstanceUID
    assert (first.Modality, first.VerificationFlag, first.PreliminaryFlag) == ("SR", "UNVERIFIED", "PRELIMINARY")
    assert first.ContentQualification == "RESEARCH" and "Research use only" in first.SeriesDescription
    assert str(first.PatientName) == "Müller^Jörg" and (first.PatientID, second.PatientID) == ("P1", "P2")
    assert second.PatientSex == "" and first.StudyDate == "20250102"

    evidence = first.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    referenced = {one.ReferencedSOPInstanceUID for series in evidence for one in series.ReferencedSOPSequence}
    assert referenced == {images[name].SOPInstanceUID for name in ("a.dcm", "b.dcm")}
    groups = named(first, "Measurement Group")
    assert len(groups) == 2 and len(named(second, "Measurement Group")) == 1
    for group, name, probability, called in zip(
        groups, ("a.dcm", "b.dcm"), (0.25, 0.75), ("NORMAL", LONG[:63] + "…"), strict=True
    ):
        (source,) = [one for one in items(group) if one.ValueType == "IMAGE"]
        assert source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == images[name].SOPInstanceUID
        values = [float(one.MeasuredValueSequence[0].NumericValue) for one in named(group, "Probability of")]
        assert values == [1 - probability, probability]
        assert [one.ConceptCodeSequence[0].CodeMeaning for one in named(group, "Called class")] == [called]
        assert "Research use only" in named(group, "Intended use")[0].ConceptCodeSequence[0].CodeMeaning
        told = " ".join(one.TextValue for one in named(group, "Algorithm Parameters"))
        assert SHA256 in told and "0.41" in told and ("unlike the training" in told) == (name == "b.dcm")
        assert len(named(group, "Decision")) == (name == "b.dcm")


def test_patients_who_share_a_study_have_a_report_each_and_an_odd_header_costs_nothing_else(tmp_path: Path) -> None:
    study = generate_uid()
    sources = {
        "a.dcm": write_source(tmp_path / "a.dcm", study, "P1"),
        "b.dcm": write_source(tmp_path / "b.dcm", study, "P2"),
        "c.dcm": write_source(tmp_path / "c.dcm", generate_uid(), "P3", StudyDate="2025", PatientBirthDate="unknown"),
        "d.dcm": write_source(tmp_path / "d.dcm", "not.a.uid", "P4"),
    }
    table = pd.DataFrame([row(name, "NORMAL", 0.25) for name in sources])
    reports = write_reports(table, sources, tmp_path / "reports", Identity("xray", SHA256))
    found = [pydicom.dcmread(path) for path in reports.files]
    assert [one.PatientID for one in found][:3] == ["P1", "P2", "P3"]
    assert all(len(named(one, "Measurement Group")) == 1 for one in found)
    assert found[2].StudyDate in ("", None) and found[2].PatientBirthDate in ("", None)
    assert len(found) + len(reports.left_out) == 4


def test_the_template_is_recognised_when_a_report_is_parsed(written: tuple[Reports, dict[str, Path]]) -> None:
    from highdicom.sr import srread

    report = srread(written[0].files[0])
    groups = report.content.get_image_measurement_groups()  # by the structure of TID 1500 and TID 1501
    assert [len(group.get_measurements()) for group in groups] == [2, 2]


def test_dcmtk_reads_every_report(written: tuple[Reports, dict[str, Path]]) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed: apt-get install dcmtk")
    for path in written[0].files:
        done = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "Probability of NORMAL" in done.stdout, done.stderr
        assert not [line for line in done.stderr.splitlines() if line[:1] in "EF"], done.stderr


def test_predict_writes_reports_beside_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, study = write_model(tmp_path / "model"), generate_uid()
    rng = np.random.default_rng(0)
    for name in ("a.dcm", "b.dcm"):
        pixels = rng.integers(0, 256, (40, 40), dtype=np.uint8).tobytes()
        write_source(tmp_path / name, study, Rows=40, Columns=40, PixelData=pixels)
    (plain,) = write_images(tmp_path, ("plain.png",))
    monkeypatch.chdir(tmp_path)
    sources = [str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm"), str(plain)]
    assert main(["predict", str(model), *sources, "--out", "table.csv", "--dicom-sr", "sr"]) == 0
    table = pd.read_csv("table.csv").set_index("image")
    (file,) = (tmp_path / "sr").iterdir()
    report = pydicom.dcmread(file)
    assert report.StudyInstanceUID == study
    for group, name in zip(named(report, "Measurement Group"), sources[:2], strict=True):
        values = [float(one.MeasuredValueSequence[0].NumericValue) for one in named(group, "Probability of")]
        assert values == pytest.approx(table.loc[name, ["probability_NORMAL", "probability_PNEUMONIA"]], abs=1e-4)
    said = capsys.readouterr().err
    assert "1 structured report in sr; 1 image in none." in said and f"{plain}: it is no DICOM file" in said


def test_without_highdicom_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_sr, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install .*\[dicom-sr\]"):
        write_reports(pd.DataFrame(), {}, tmp_path / "reports", Identity("xray", SHA256))
    assert not (tmp_path / "reports").exists()
