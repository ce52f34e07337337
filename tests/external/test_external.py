"""`evaluate MODEL --data EXTERNAL`: what is frozen, what is excluded, what is refused, and what the page says."""

import contextlib
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image, ImageOps
from toys import SIZE, build_toy, draw_image, toy_backbone, write_folder

from bench import load_model
from bench.cli import main
from bench.cluster import signals_given_back
from bench.data.audit import audit
from bench.data.audit.alterations import PAIR
from bench.errors import ConfigError
from bench.evaluation import calibration
from bench.evaluation.ledger import EXTERNAL, Ledgers
from bench.external import carried_out
from bench.external import command as external
from bench.external.carried_out import require
from bench.external.classes import ClassMap
from bench.external.place import name_of, whole_or_nothing
from bench.external.samples import RATES, Sample, _Measure, _resampled, differences, internal_sample
from bench.models.metadata import write_with_card
from bench.report.external.page import ExternalPage, _curves, _frozen, _overall
from bench.report.figures.external import roc
from bench.report.figures.winner import reliability
from bench.reuse.model import ReusableModel
from bench.run import command, request, tables
from bench.run.documents import (
    Estimate,
    EvaluationRecord,
    ExternalModel,
    ExternalRecord,
    ModelCard,
    ModelInput,
    SampleDifference,
    ShortcutRecord,
    Threshold,
    TrainingImages,
)
from bench.run.folder import RunDir, file_sha256, write_json
from bench.run.ledgers import machine_folder
from bench.run.record import read_strictly
from bench.stats.bootstrap import Bootstrap, between_samples
from bench.stats.calibration import CalibrationMap
from bench.stats.conformal import ConformalScores
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions

CLASSES = ("NORMAL", "PNEUMONIA")
MAP = CalibrationMap("intercept and slope", slopes=(3.0,), intercepts=(0.0, 0.7))
LIMIT = ConformalScores(19, tuple(np.linspace(0.05, 0.95, 19).tolist()))


def of_folder(root: Path) -> list[Path]:
    return sorted(root.rglob("*.png"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``reports/xray``, a run whose test split is open, its ``images``, and ``outside``, other images."""
    from bench.models.assemble import full_model

    place = tmp_path_factory.mktemp("made")
    write_folder(place / "images", {"train": 8, "test": 24}, seed=1)
    write_folder(place / "outside", {"": 22}, seed=2)
    run = RunDir(place / "reports" / "xray")
    settings = {"cache": "cache", "bootstrap": 100, "seed": 3}
    write_json(run.run, {"name": "xray", "created": "2026-01-02", "settings": settings})
    standard = np.full(16, 0.2, np.float32), np.full(16, 0.04, np.float32)
    full_model(toy_backbone(), build_toy(), SIZE, 1, 2, standard, 0.0).save(run.path / "trained.h5")
    bare = ModelCard(classes=CLASSES, input=ModelInput(height=SIZE, width=SIZE, channels=1))
    files = of_folder(place / "images")
    images, facts = ReusableModel(run.path / "trained.h5", None, bare).read(files)
    scores = ReusableModel(run.path / "trained.h5", None, bare).scores(images)
    card = bare.model_copy(
        update={
            "threshold": Threshold(label=CLASSES[1], value=float(np.median(scores[:, 1])), rule="the median"),
            "calibration": MAP,
            "conformal": LIMIT,
            "training": TrainingImages(images=16, kinds={"grey": 16}, width=(40, 40), height=(40, 40), aspect=(1, 1)),
            "run": "xray",
        }
    )
    write_with_card(run.path / "trained.h5", run.best_model, card)
    write_json(run.best_model_card, card.model_copy(update={"sha256": file_sha256(run.best_model)}))
    patients = [re.sub(r"[-_][^-_]*$", "", one.stem) for one in files]
    names = [str(one.relative_to(place / "images")) for one in files]
    rows = pd.DataFrame(
        {
            "image": names,
            "label": [one.parent.name for one in files],
            "patient": patients,
            "split": [name.partition("/")[0] for name in names],
            "pixels": [one.pixels for one in facts],
            "looks": [one.perceptual_hash for one in facts],
        }
    )
    tables.SPLITS.write(run.path, rows)
    test = (rows["split"] == "test").to_numpy()
    probabilities = {f"prob_{name}": scores[test, place].astype(float) for place, name in enumerate(CLASSES)}
    tables.PREDICTIONS_TEST.write(
        run.path, rows.loc[test, ["image", "label", "patient", "pixels"]].assign(**probabilities)
    )
    write_json(run.evaluation, EvaluationRecord(classes=CLASSES, winner="toy"))
    return place


@pytest.fixture
def place(made: Path, blank_figures: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be written to; what other tests are about and takes its time is left out."""
    monkeypatch.setattr(calibration, "SIMULATIONS", 20)
    nothing = np.empty(0, PAIR), np.empty(0, np.int64)
    monkeypatch.setattr("bench.data.audit.local_features.find_altered", lambda *_: nothing)
    for baseline in ("shortcut", "border_shortcut"):
        monkeypatch.setattr(audit, baseline, lambda *_: ShortcutRecord(reason="left out here"))
    shutil.copytree(made, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def result(name: str = "outside") -> tuple[Path, ExternalRecord]:
    folder = Path("reports/xray/external") / name
    return folder, read_strictly(ExternalRecord, folder / "external.json")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def test_everything_is_frozen_copies_are_excluded_and_named_and_the_page_says_all(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside, images = place / "outside", place / "images"
    for number, copied in enumerate(of_folder(images / "train")[:3]):
        shutil.copy(copied, outside / CLASSES[0] / f"copy{number}.png")
    # the original of the enlarged image is twice among the training images
    known = tables.SPLITS.read(place / "reports/xray")
    twin = known[known["image"].str.endswith(of_folder(images / "train")[5].name)].assign(image="train/twin.png")
    tables.SPLITS.write(place / "reports/xray", pd.concat([known, twin], ignore_index=True))
    larger = Image.open(of_folder(images / "train")[5]).resize((80, 80), Image.Resampling.BICUBIC)
    larger.save(outside / CLASSES[0] / "enlarged.png")
    turned = Image.open(of_folder(images / "train")[7]).transpose(Image.Transpose.ROTATE_90)
    ImageOps.invert(ImageOps.mirror(turned)).save(outside / CLASSES[0] / "turned.png")
    shutil.copy(of_folder(images / "test")[0], outside / CLASSES[0] / "tested.png")
    (outside / CLASSES[1] / "broken.png").write_bytes(b"no image")

    assert main(["evaluate", "xray", "--data", "outside", "--keep-going"]) == 0
    said = capsys.readouterr().out
    folder, record = result()
    left = tables.EXTERNAL_EXCLUDED.read(folder).set_index("image")
    assert left.loc["NORMAL/copy0.png", "reason"] == "copy of a training image"
    assert left.loc["NORMAL/copy0.png", "detail"].endswith(of_folder(images / "train")[0].name)
    assert left.loc["NORMAL/enlarged.png", "detail"].startswith("nearly the same look as ")
    assert left.loc["NORMAL/tested.png", "reason"] == "copy of a test image"
    assert left.loc["PNEUMONIA/broken.png", "reason"] == "not readable"
    turned = left.loc["NORMAL/turned.png", "detail"]
    assert turned.endswith(f"{of_folder(images / 'train')[7].name}, mirrored, rotated by 90 degrees and inverted")
    assert len(left) == 7 and {one.reason: one.images for one in record.excluded}["copy of a training image"] == 5
    assert "NORMAL/copy1.png" in said and record.model.known_images == 65

    files = [one for one in of_folder(outside) if str(one.relative_to(outside)) not in left.index]
    model = load_model("xray")
    raw = model.scores(model.read(files)[0]).astype(float)
    predicted = (
        tables.PREDICTIONS_EXTERNAL.read(folder)
        .set_index("image")
        .loc[[str(one.relative_to(outside)) for one in files]]
    )
    np.testing.assert_allclose(predicted[[f"prob_{name}" for name in CLASSES]], raw, atol=1e-6)
    np.testing.assert_allclose(predicted[[f"calibrated_{name}" for name in CLASSES]], MAP(raw), atol=1e-6)
    threshold = model.card.frozen[0].value
    assert predicted["called"].tolist() == [CLASSES[int(one >= threshold)] for one in raw[:, 1]]
    sets = 1 - MAP(raw) <= LIMIT.limit(0.9)
    assert record.external.conformal and record.external.conformal.single.hits == int((sets.sum(axis=1) == 1).sum())
    positive = np.array([one.parent.name == CLASSES[1] for one in files])
    frozen = [[int((~positive & (raw[:, 1] < threshold)).sum()), int((~positive & (raw[:, 1] >= threshold)).sum())]]
    frozen += [[int((positive & (raw[:, 1] < threshold)).sum()), int((positive & (raw[:, 1] >= threshold)).sum())]]
    assert [list(row) for row in record.external.called] == frozen
    auc = next(one for one in record.differences if one.measure == "auc")
    labels = positive.astype(int)
    assert auc.external.value == pytest.approx(METRICS["auc"].compute(labels, raw), abs=1e-9)
    assert record.internal and record.internal.images == 48 and auc.internal.value is not None
    assert auc.difference.value == pytest.approx(auc.external.value - auc.internal.value)

    page = (folder / "report.html").read_text(encoding="utf-8")
    for anchor in (
        "summary",
        "compared",
        "curves",
        "confusion",
        "calibration",
        "sets",
        "subgroups",
        "data",
        "excluded",
        "made",
    ):
        assert f'<section id="{anchor}">' in page
    assert "could not be written" not in page and "could not be drawn" not in page
    title = re.sub(r"<[^>]+>", "", re.findall(r"<h1>(.*?)</h1>", page, re.DOTALL)[0])
    assert title.startswith("On outside (44 images of 22 patients): ROC AUC ") and "internal" in title
    assert "copy0.png" in page and "Rows whose interval" in page
    for sentence in (
        "upright, mirrored, turned by quarters or inverted",
        "rates are those at the frozen threshold",
        "The dashed line is the value on all of them.",
        "External, after the frozen map",
        "above 0, the class is rarer than predicted",
    ):
        assert sentence in " ".join(page.split()), sentence
    drawn = tables.CURVES.read(folder).query("model == 'external'")["low"].notna().any()
    assert ("with its 95 % band by patients" in " ".join(page.split())) == drawn, "an AUC of 0 has no interval"


def test_the_page_says_what_holds_of_several_classes_and_of_few_patients(tmp_path: Path) -> None:
    measures = [("auc", "", 0.9), ("accuracy", "", 0.8), ("sensitivity", "A", 0.7)]
    differences = tuple(
        SampleDifference(measure=measure, label=label, external=Estimate(value=value))
        for measure, label, value in measures
    )
    model = ExternalModel(classes=("A", "B", "C"), thresholds=(Threshold(label="C", value=0.5, rule="made up"),))
    page = ExternalPage(tmp_path, ExternalRecord(model=model, differences=differences), {})
    assert [_overall(page, name) for name, _, _ in measures] == [0.9, 0.8, None] and not _frozen(page)
    rows = pd.DataFrame({"model": "external", "class": "B", "curve": "roc", "x": [0.0, 1.0], "y": [0.0, 1.0]})
    tables.CURVES.write(tmp_path, rows.assign(low=np.nan, high=np.nan))
    assert not _curves(page)["band"]
    tables.CURVES.write(tmp_path, rows.assign(low=0.0, high=1.0))
    assert _curves(ExternalPage(tmp_path, page.record, {}))["band"]


def test_a_second_test_of_the_same_model_takes_the_place_of_the_first_and_is_counted(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for times in (0, 1):
        assert main(["evaluate", "xray", "--data", "outside"]) == 0
        folder, record = result()
        assert record.ledger and record.ledger.before == times
    assert "once before" in capsys.readouterr().out
    assert [path.name for path in folder.parent.iterdir()] == ["outside"], "and no draft is left"
    kinds = [one.kind for one in Ledgers((machine_folder(),)).known(RunDir(place / "none")).lines]  # type: ignore[arg-type]
    assert kinds == [EXTERNAL, EXTERNAL]

    card = read_strictly(ModelCard, RunDir(place / "reports/xray").best_model_card)
    moved = card.model_copy(update={"calibration": CalibrationMap(), "run": "xray"})
    run = RunDir(place / "reports/xray")
    write_with_card(run.path / "trained.h5", run.best_model, moved)
    write_json(run.best_model_card, moved.model_copy(update={"sha256": file_sha256(run.best_model)}))
    assert main(["evaluate", "xray", "--data", "outside"]) == 0
    assert main(["list"]) == 0 and "external" not in capsys.readouterr().out.split("Report:")[-1].partition("\n")[2]
    assert result("outside-2")[1].model.sha256 != record.model.sha256 == result()[1].model.sha256

    def interrupted(folder: Path) -> Path:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("SIGTERM ends a test as Ctrl-C does")

    monkeypatch.setattr(carried_out, "render_external", interrupted)
    before = [(path, path.read_bytes()) for path in sorted(Path("reports/xray/external").rglob("*.*"))]
    with signals_given_back():
        assert main(["evaluate", "xray", "--data", "outside"]) == 130
    assert before == [(path, path.read_bytes()) for path in sorted(Path("reports/xray/external").rglob("*.*"))]


def test_a_file_alone_without_newer_fields_is_tested_and_what_is_not_known_is_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(place / "reports/xray")
    old = {"conformal": None, "training": None, "threshold": None, "calibration": None}
    card = read_strictly(ModelCard, run.best_model_card).model_copy(update=old)
    write_with_card(run.path / "trained.h5", place / "alone.h5", card)
    assert main(["evaluate", "alone.h5", "--data", "outside", "--name", "b"]) == 0
    said = capsys.readouterr().out
    assert "could not be checked" in said and "no internal test" in said
    record = read_strictly(ExternalRecord, Path("reports/external-b/external.json"))
    assert record.internal is None and record.external.conformal is None and not record.model.thresholds
    page = Path("reports/external-b/report.html").read_text(encoding="utf-8")
    assert "could not be checked" in page and "holds no frozen threshold" in page and "could not be written" not in page
    assert "External, the model’s own" in page and "after the frozen map" not in page
    assert "Reliability diagrams of the model’s own probabilities" in page
    assert "an image is called its most probable class" in " ".join(page.split())
    assert main(["list"]) == 0
    shown = ExternalPage(Path("reports/external-b"), record, {})
    assert shown.calibration is not None
    bins = pd.DataFrame(
        {"step": "external", "class": CLASSES[1], **one.model_dump()}
        for one in shown.calibration.splits["external"]["after"].reliability[CLASSES[1]]
    )
    rows = tables.CURVES.read(shown.folder)
    figures = reliability(bins, {"external": "External"}), roc(rows[rows["curve"] == "roc"])
    assert [len(one.axes) for one in figures] == [1, 1], "without an internal test there is one panel"

    tables.SPLITS.write(run.path, tables.SPLITS.read(run.path).assign(pixels="", looks=""))
    assert main(["evaluate", "xray", "--data", "outside"]) == 0
    assert "of an earlier version" in result()[1].model.unchecked


def test_classes_are_mapped_or_refused_by_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = place / "outside"
    for theirs, ours in {"healthy": "NORMAL", "bacteria": "PNEUMONIA"}.items():
        (outside / ours).rename(outside / theirs)
    (outside / "viral=maybe").mkdir()
    for number in range(2):
        draw_image(np.random.default_rng(number), True).save(outside / "viral=maybe" / f"{number}.png")
    said = refusal(capsys, "evaluate", "xray", "--data", "outside")
    assert "'healthy'" in said and "'viral=maybe'" in said and "--map" in said
    maps = ["--map", "healthy=NORMAL", "--map", "bacteria=PNEUMONIA"]
    assert "'PNEUMO'" in refusal(capsys, "evaluate", "xray", "--data", "outside", *maps, "--map", "viral=maybe=PNEUMO")
    assert "'sick'" in refusal(capsys, "evaluate", "xray", "--data", "outside", "--map", "sick=NORMAL")
    assert not Path("reports/xray/external").exists() and not machine_folder().exists()  # type: ignore[union-attr]
    assert main(["evaluate", "xray", "--data", "outside", *maps, "--map", "viral=maybe="]) == 0
    folder, record = result()
    assert record.data.classes == {"bacteria": "PNEUMONIA", "healthy": "NORMAL", "viral=maybe": ""}
    assert record.external.by_class == {"NORMAL": 22, "PNEUMONIA": 22}
    assert [(one.reason, one.images) for one in record.excluded] == [("class left out by --map", 2)]
    assert set(tables.PREDICTIONS_EXTERNAL.read(folder)["given"]) == {"bacteria", "healthy"}
    joined = ClassMap.of(["a=NORMAL", "b=NORMAL"], ["a", "b", "PNEUMONIA"], CLASSES)
    assert joined.ours == {"a": "NORMAL", "b": "NORMAL", "PNEUMONIA": "PNEUMONIA"}
    assert ClassMap.of(["Normal=NORMAL"], ["Normal"], CLASSES).ours == {"Normal": "NORMAL"}


def test_what_no_test_can_be_made_of_is_refused_before_anything_is_predicted(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReusableModel, "forward", None)
    write_folder(place / "few", {"": 8})
    assert "4 patients of 'NORMAL'" in refusal(capsys, "evaluate", "xray", "--data", "few")
    assert "'NORMAL' alone" in refusal(
        capsys, "evaluate", "xray", "--data", "outside", "--map", "PNEUMONIA=", "--name", "one"
    )
    assert "in an external test" in refusal(capsys, "evaluate", "xray", "--data", "outside", "--weights", "random")
    assert "named by --data" in refusal(capsys, "evaluate", "xray", "--map", "a=b")
    assert "--name takes" in refusal(capsys, "evaluate", "xray", "--data", "outside", "--name", "../x")
    own = refusal(capsys, "evaluate", "xray", "--data", "images")
    assert "are excluded (" in own and "as copy of a training image" in own, own
    assert not Path("reports/xray/external").exists()


@pytest.mark.parametrize(
    ("counts", "why", "said"),
    [
        ({"A": 5, "B": 5}, "", "images of 5 patients of 'A' and 5 patients of 'B'; an external test needs 10 of each"),
        ({"A": 30, "B": 9, "C": 1}, "", "30 patients of 'A', 9 patients of 'B' and 1 patient of 'C'; an"),
        ({"A": 30}, " once one is left out", "hold images of 'A' alone once one is left out; an external test needs"),
        (
            {},
            " once 4 images are excluded (4 as copy)",
            "hold no image any more once 4 images are excluded (4 as",
        ),
        ({"A": 10, "B": 10, "C": 1}, "", ""),
    ],
    ids=str,
)
def test_two_classes_need_patients_enough_for_an_interval(counts: dict[str, int], why: str, said: str) -> None:
    rows = [(name, f"{name}{patient}") for name, count in counts.items() for patient in range(count) for _ in "ab"]
    table = pd.DataFrame(rows, columns=["label", "patient"], dtype=str)
    with pytest.raises(ConfigError, match=re.escape(said)) if said else contextlib.nullcontext():
        require(table["label"], table["patient"], why)


def test_the_internal_test_of_an_ensemble_is_its_own(place: Path) -> None:
    run = RunDir(Path("reports/xray"))
    shutil.copy(run.best_model, run.best_ensemble)
    write_json(run.best_ensemble_card, {"sha256": file_sha256(run.best_ensemble)})
    model = load_model(run.best_ensemble)
    assert internal_sample(model, Bootstrap(0)) == "predictions_secondary.csv of run xray cannot be read"
    table = tables.PREDICTIONS_TEST.read(run.path).drop(columns="pixels")
    of_kind = {"ensemble": (0.25, "test"), "tta": (0.5, "test"), "also": (0.75, "val")}
    rows = [
        table.assign(model="ensemble" if kind == "also" else kind, split=split, prob_NORMAL=1 - p, prob_PNEUMONIA=p)
        for kind, (p, split) in of_kind.items()
    ]
    tables.PREDICTIONS_SECONDARY.write(run.path, pd.concat(rows, ignore_index=True))
    found = internal_sample(model, Bootstrap(0))
    assert isinstance(found, Sample) and len(found.own) == len(table) and set(found.own.scores[:, 1]) == {0.25}
    assert found.own.n_patients == table["patient"].nunique()


def test_a_model_that_gives_no_probabilities_is_refused_before_the_ledger_has_its_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.reuse.model.in_one_shape", lambda *_: [np.array([[3.0, -1.0]], np.float32)])
    assert "gives no probabilities" in refusal(capsys, "evaluate", "xray", "--data", "outside")
    assert not Path("reports/xray/external/outside").exists() and not machine_folder().exists()  # type: ignore[union-attr]


def test_the_moved_images_of_a_sealed_run_open_its_own_test_split(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, bool]] = []
    monkeypatch.setattr(request, "taken_up", lambda run, changed: changed["data"])
    monkeypatch.setattr(command, "execute", lambda data, line, evaluate: opened.append((data, evaluate)) or 0)
    (place / "images").rename(place / "elsewhere")
    RunDir(place / "reports/xray").evaluation.unlink()
    assert main(["evaluate", "xray", "--data", "elsewhere"]) == 0 and opened == [("elsewhere", True)]
    assert main(["evaluate", "xray", "--data", "outside"]) == 0 and len(opened) == 1
    assert result()[1].without == "the test split of run xray has not been opened for this model"


@pytest.mark.parametrize(
    "own", [{"group_by": ["sex"]}, {"patient_pattern": r"case(\d+)_"}, {"image_root": "/nowhere"}], ids=str
)
def test_what_a_sealed_run_was_begun_with_is_asked_of_no_external_images(
    place: Path, capsys: pytest.CaptureFixture[str], own: dict[str, object]
) -> None:
    run = RunDir(place / "reports/xray")
    run.evaluation.unlink()
    content = run.read_run()
    write_json(run.run, {**content, "settings": {**content["settings"], **own}})
    (place / "outside" / "NORMAL").rename(place / "outside" / "healthy")
    said = refusal(capsys, "evaluate", "xray", "--data", "outside")
    assert "'healthy'" in said and "--map" in said
    assert "There is no folder" in refusal(capsys, "evaluate", "xray", "--data", "none")


def test_subgroups_are_those_of_the_run_as_far_as_the_data_have_them(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(place / "reports/xray")
    content = run.read_run()
    own = {"group_by": ["Sex", "scanner", "patient"]}
    write_json(run.run, {**content, "settings": {**content["settings"], **own}})
    files = [str(one.relative_to(place)) for one in of_folder(place / "outside")]
    rows = [f"{name},{Path(name).parent.name},p{row // 2},{'fm'[row % 3 == 0]}" for row, name in enumerate(files)]
    Path("outside.csv").write_text("path,label,patient,sex\n" + "\n".join(rows) + "\n")

    def groups(data: str, **asked: str) -> set[str]:
        settings = external._settings(load_model("xray"), {"data": data, **asked}, Path("reports"))
        table = external._opened(settings, bool(asked)).table
        return {name for name in table if name.startswith("group:")}

    assert groups("outside.csv") == {"group:sex"}
    assert "note: no subgroups by scanner, for which the external data" in capsys.readouterr().out
    assert groups("outside") == {"group:subtype"}
    assert "note: no subgroups by Sex, scanner or patient, for" in capsys.readouterr().out
    assert groups("outside.csv", group_by="sex") == {"group:sex"}
    said = refusal(capsys, "evaluate", "xray", "--data", "outside.csv", "--group-by", "scanner")
    assert "--group-by 'scanner' names no column" in said


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("site-2.0/", "site-2.0"),
        ("site-2.0/..", "here"),
        ("list.v2.csv", "list.v2"),
        ("medmnist:x@64", "medmnist-x-64"),
    ],
)
def test_a_test_is_called_as_its_folder_or_as_its_file_without_the_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, name: str
) -> None:
    (tmp_path / "here" / "site-2.0").mkdir(parents=True)
    (tmp_path / "here" / "list.v2.csv").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert name_of(data, None) == name


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError), whole_or_nothing(tmp_path / "new" / "one") as draft:
        (draft / "file").write_text("half")
        raise OSError
    assert not (tmp_path / "new").exists()


def sample(scores: npt.NDArray[np.float64], labels: list[int], seed: int) -> Sample:
    own = Predictions(np.array(labels), np.column_stack([1 - scores, scores]), np.arange(len(labels)), CLASSES)
    card = ModelCard(classes=CLASSES, threshold=Threshold(label="PNEUMONIA", value=0.5))
    return Sample(ReusableModel(Path("none.h5"), None, card), own, Bootstrap(400, seed=seed))


def test_external_less_internal_by_hand_on_a_small_example() -> None:
    rng = np.random.default_rng(0)
    labels = [0] * 20 + [1] * 20
    inside = sample(np.clip(rng.normal(0.4, 0.15, 40) + 0.2 * np.array(labels), 0, 1), labels, 5)
    outside = sample(np.clip(rng.normal(0.4, 0.15, 40) + 0.05 * np.array(labels), 0, 1), labels, 6)
    rows = {(one.measure, one.label): one for one in differences(outside, inside, inside.model.card.frozen)}
    found = rows["sensitivity", "PNEUMONIA"]
    shares = [float((one.own.scores[20:, 1] >= 0.5).mean()) for one in (outside, inside)]
    assert (found.external.value, found.internal.value) == pytest.approx(shares)
    assert found.difference.value == pytest.approx(shares[0] - shares[1])
    expected = np.sqrt(sum(share * (1 - share) / 20 for share in shares))  # of two independent proportions
    assert found.difference.low is not None and found.difference.high is not None
    assert (found.difference.high - found.difference.low) / 2 == pytest.approx(2.0 * expected, rel=0.15)
    auc = rows["auc", ""]
    assert auc.p is not None and auc.difference.high is not None
    assert (auc.p < 0.05) == (auc.difference.high < 0 or (auc.difference.low or 0) > 0)
    frozen = inside.model.card.frozen
    lopsided = replace(outside, own=outside.own.part(np.arange(8, 40)))  # 12 and 20 patients
    measures = [_Measure("auc"), _Measure("accuracy"), *(_Measure(name, frozen[0]) for name in RATES)]
    assert [one.fewest(lopsided.own) for one in measures] == [12, 32, 20, 12]
    assert [found.counted for found, _ in _resampled(measures, lopsided).values()] == [12, 32, 20, 12]
    alone = differences(outside, None, frozen)
    assert alone[0].external == rows["auc", ""].external and alone[0].difference.value is None
    with pytest.raises(ValueError, match="seeds"):
        differences(replace(outside, bootstrap=inside.bootstrap), inside, ())

    perfect = sample(np.array(labels, float), labels, 7)
    told = {one.measure: one for one in differences(outside, perfect, ())}["auc"]
    assert told.difference.value is not None and told.difference.low is None and "agree" in told.reason
    few = replace(outside, own=outside.own.part(np.arange(12, 40)))
    told = {one.measure: one for one in differences(few, inside, ())}["auc"]
    assert told.difference.low is None and "externally there are 8 patients" in told.reason


def test_the_variances_of_two_samples_add_up() -> None:
    a, b = (sample(np.linspace(low, 1, 40), [0, 1] * 20, seed) for seed, low in ((1, 0.0), (2, 0.5)))
    found = [
        one.bootstrap.resample(lambda weights, one=one: (weights @ one.own.scores[:, 1:]) / 40, one.own.patients)
        for one in (a, b)
    ]
    apart = between_samples(found[0], found[1], 0)
    errors = [one.standard_error(0) or 0.0 for one in found]
    reach = ((apart.high or 0) - (apart.low or 0)) / 2
    assert apart.value == pytest.approx(0.5 - 0.75)
    assert 1.98 < reach / np.hypot(*errors) < 2.03, "t of about 64 degrees of freedom"
