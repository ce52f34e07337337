"""`predict` and `load_model`: what a model says of images, wherever it and they lie, and what is refused."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from toys import SIZE, build_toy, draw_image, toy_backbone

from bench import load_model
from bench.cli import main
from bench.data.images.decode import decode, facts_of
from bench.errors import ConfigError
from bench.models.metadata import ATTRIBUTE, read_card, write_with_card
from bench.reuse import predict as predicting
from bench.reuse.command import banner
from bench.reuse.images import Wanted, wanted_images
from bench.reuse.model import ReusableModel
from bench.reuse.predict import BATCH, FIRST, decided, predictions
from bench.run.documents import ModelCard, ModelInput, PatientLevel, Threshold, TrainingImages
from bench.run.folder import RunDir, file_sha256, write_json
from bench.run.ledgers import LEDGER, machine_folder
from bench.run.tables import SPLITS
from bench.stats.calibration import CalibrationMap
from bench.stats.conformal import ConformalScores
from bench.stats.familiarity import fit_distance

CLASSES = ("mild, left", "=5 mm")
SIDE = 40


def noise(n: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [draw_image(rng, bool(number % 2), SIDE) for number in range(n)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of a toy network whose card knows everything; its threshold is what it says of its third image."""
    from bench.models.assemble import full_model
    from bench.models.export import pooled_features

    run = RunDir(tmp_path_factory.mktemp("reports") / "xray")
    write_json(run.run, {"name": "xray", "created": "2026-01-02", "settings": {"cache": str(run.path / "cache")}})
    standard = np.full(16, 0.2, np.float32), np.full(16, 0.04, np.float32)
    network = full_model(toy_backbone(), build_toy(), SIZE, 1, 2, standard, 0.0)
    network.save(run.path / "trained.h5")
    images = np.stack([np.asarray(image.resize((SIZE, SIZE)))[..., None] for image in noise(120)])
    features = pooled_features(network, images, np.arange(120))
    assert features is not None
    distance = fit_distance(features[:60], features[60:])
    card = ModelCard(
        file="best_model.h5",
        classes=CLASSES,
        input=ModelInput(height=SIZE, width=SIZE, channels=1),
        threshold=Threshold(label=CLASSES[1], value=0.5, rule="made up"),
        calibration=CalibrationMap.of_temperature(2.0),
        conformal=ConformalScores(19, tuple(np.linspace(0.05, 0.95, 19).tolist())),
        training=TrainingImages(
            images=60, kinds={"grey": 60}, width=(SIDE, SIDE), height=(SIDE, SIDE), aspect=(1.0, 1.0), features=distance
        ),
        weights={"kind": "random", "note": "drawn"},
        data={"synthetic": True},
    )
    write_with_card(run.path / "trained.h5", run.best_model, card)
    write_json(run.best_model_card, card.model_copy(update={"sha256": file_sha256(run.best_model)}))
    return run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a folder of six images, one of which is none."""
    for number, image in enumerate(noise(5, seed=1)):
        (tmp_path / "scans" / "deep").mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "scans" / ("deep" if number > 2 else "") / f"{number}.png")
    (tmp_path / "scans" / "broken.png").write_bytes(b"no image")
    (tmp_path / "scans" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, str]], str]:
    found = capsys.readouterr()
    return list(csv.DictReader(io.StringIO(found.out))), found.err


def test_a_folder_is_a_table_in_a_pipe_and_what_is_no_image_is_a_row(
    run: RunDir, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run.path), "scans", "gone.png"]) == 0
    rows, said = printed(capsys)
    names = ["scans/0.png", "scans/1.png", "scans/2.png", "scans/broken.png", "scans/deep/3.png", "scans/deep/4.png"]
    assert [row["image"] for row in rows] == [*names, "gone.png"]
    heads = [f"{kind}_{name}" for kind in ("probability", "raw") for name in CLASSES]
    assert list(rows[0]) == [
        *("image", "patient", "called"), *heads, *("threshold", "confidence", "abstain", "note")
    ]  # fmt: skip
    for row in (rows[3], rows[6]):
        assert row["note"].startswith("not read: ") and {row[name] for name in ("called", *heads, "abstain")} == {""}
    model = load_model(run.best_model)
    images, _ = model.read([Path(name) for name in names if "broken" not in name])
    raw = model.scores(images)
    read = [row for row in rows if row["called"]]
    np.testing.assert_allclose([[float(row[f"raw_{name}"]) for name in CLASSES] for row in read], raw, atol=1e-6)
    after = raw**0.5 / (raw**0.5).sum(axis=1, keepdims=True)
    told = [[float(row[f"probability_{name}"]) for name in CLASSES] for row in read]
    np.testing.assert_allclose(told, after, atol=1e-6)
    for row, own, mapped in zip(read, raw, after, strict=True):
        place_of = int(own[1] >= 0.5)
        assert row["called"].lstrip("'") == CLASSES[place_of] and float(row["threshold"]) == 0.5
        assert float(row["confidence"]) == pytest.approx(mapped[place_of], abs=1e-6)
        held = 1 - mapped <= 0.9  # 19 patients: rank 18 of 20
        assert (row["abstain"] == "True") == (not held[place_of] or held.sum() != 1)
    assert "Research use only" in said and "random weights" in said and "drawn images" in said


def test_the_file_alone_says_the_same_and_plain_keras_loads_it(run: RunDir, place: Path) -> None:
    import keras

    shutil.copy(run.best_model, "copied.h5")
    alone = load_model("copied.h5")
    assert alone.named and alone.run is None and alone.card.frozen and alone.card.sha256 == file_sha256(run.best_model)
    expected = load_model("xray", run.path.parent).predict("scans")
    pd.testing.assert_frame_equal(alone.predict(["scans"]), expected)
    images, _ = alone.read([Path("scans/0.png"), Path("scans/1.png")])
    plain = keras.models.load_model("copied.h5", compile=False)
    np.testing.assert_allclose(plain.predict(images.astype("float32"), verbose=0), alone.scores(images), atol=1e-6)
    assert not any(type(layer).__name__ in ("Functional", "Sequential") for layer in plain.layers), "one flat graph"
    write_with_card(run.path / "trained.h5", place / "again.h5", read_card(run.best_model))  # type: ignore[arg-type]
    assert (place / "again.h5").read_bytes() == run.best_model.read_bytes(), "it can be put back"


ALONE = """
import json, sys
refused = set(json.loads(sys.argv[1]))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
import keras, numpy as np
model = keras.models.load_model(sys.argv[2], compile=False)
np.save(sys.argv[4], model.predict(np.load(sys.argv[3]), verbose=0))
"""


def needed_by(name: str) -> set[str]:
    """Distributions that one needs, itself included, in their normalised names."""
    found, waiting = set[str](), [name]
    while waiting:
        if (one := canonicalize_name(waiting.pop())) in found:
            continue
        with suppress(PackageNotFoundError):
            wanted = [Requirement(text) for text in requires(one) or ()]
            waiting += [each.name for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})]
            found.add(one)
    return found


@pytest.mark.thorough
def test_the_file_predicts_the_same_where_there_is_tensorflow_alone(run: RunDir, place: Path) -> None:
    allowed = needed_by("tensorflow")
    refused = [
        module
        for module, owners in packages_distributions().items()
        if not allowed & {canonicalize_name(owner) for owner in owners}
    ]
    assert {"pandas", "sklearn", "ray"} <= {*refused} and not {"keras", "numpy"} & {*refused}
    images, _ = load_model(run.path).read(sorted((place / "scans").glob("[0-9].png")))
    np.save("images.npy", images.astype(np.float32))
    typed = [json.dumps([*refused, "bench"]), str(run.best_model), "images.npy", "found.npy"]
    subprocess.run([sys.executable, "-c", ALONE, *typed], check=True)
    np.testing.assert_allclose(np.load("found.npy"), load_model(run.path).scores(images), atol=1e-5)


@pytest.mark.parametrize(("below", "typed"), [("", "best_model.h5"), ("", "."), ("figures", "../best_model.h5")])
def test_a_model_from_within_its_run_folder_is_that_of_the_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, below: str, typed: str
) -> None:
    (run.path / below).mkdir(exist_ok=True)
    monkeypatch.chdir(run.path / below)
    found = load_model(typed).run
    assert found is not None and found.name == "xray" and found.path.parent.samefile(run.path.parent)


def test_places_and_images_are_paths_or_texts_and_one_image_is_a_list_of_one(run: RunDir, place: Path) -> None:
    model = load_model("xray", output=str(run.path.parent))
    expected, _ = model.read([Path("scans/0.png")])
    for paths in ("scans/0.png", Path("scans/0.png"), ["scans/0.png"]):
        images, (facts,) = model.read(paths)
        np.testing.assert_array_equal(images, expected)
        assert facts.width == SIDE
        assert model.predict(paths)["image"].tolist() == ["scans/0.png"]


def test_files_by_their_ending_hold_the_same_table(run: RunDir, place: Path) -> None:
    endings = ["csv", "json"]
    try:
        import pyarrow  # noqa: F401

        endings.append("parquet")
    except ImportError:
        assert main(["predict", str(run.path), "scans", "--out", "x.parquet"]) == 2
    for ending in endings:
        assert main(["predict", str(run.path), "scans", "--out", f"x.{ending}", "--coverage", "0.5"]) == 0
    expected = load_model(run.path).predict("scans", coverage=0.5)
    content = json.loads(Path("x.json").read_text())
    assert [row["image"] for row in content] == expected["image"].tolist()
    assert content[3]["raw_=5 mm"] is None and content[3]["abstain"] is None
    readers: dict[str, Callable[[str], pd.DataFrame]] = {"csv": pd.read_csv, "json": pd.read_json}
    for ending in endings:
        found = readers.get(ending, pd.read_parquet)(f"x.{ending}")
        assert list(found.columns) == [
            ("'" if ending == "csv" and name.startswith("=") else "") + name for name in expected
        ]
        np.testing.assert_allclose(found["raw_=5 mm"].astype(float), expected["raw_=5 mm"], atol=1e-9)
        np.testing.assert_array_equal(found["abstain"].isna(), expected["abstain"].isna())


def test_arrays_to_be_classified_may_differ_in_scale(tmp_path: Path) -> None:
    """They are shown by the window of the model, not by one of their own."""
    deep = np.arange(2 * 8 * 8, dtype=np.int16).reshape(2, 8, 8) * 30
    np.savez(tmp_path / "some.npz", images=deep, masks=deep % 2)
    with ExitStack() as stack:
        found = wanted_images([tmp_path / "some.npz"], stack)
        assert [one.row for one in found] == ["images/0", "images/1", "masks/0", "masks/1"]
        assert np.array_equal(found[1].read(), deep[1])


def test_manifests_name_patients_arrays_have_rows_and_patterns_are_filled_in(run: RunDir, place: Path) -> None:
    Path("list.csv").write_text("filename,subject\nscans/1.png,007\nscans/0.png,NA\ngone.png,8\n")
    np.savez("some.npz", extra=np.zeros(3), pictures=np.stack([np.asarray(image) for image in noise(3)]))
    found = load_model(run.path).predict(["list.csv", "some.npz", "scans/d*/*.png"])
    assert found["image"].tolist() == [
        *("scans/1.png", "scans/0.png", "gone.png"),
        *(f"some.npz:pictures/{row}" for row in range(3)),
        *("scans/deep/3.png", "scans/deep/4.png"),
    ]
    assert found["patient"].tolist() == ["007", "", "8", "", "", "", "", ""]
    assert found["called"].isna().tolist() == [False, False, True, *[False] * 5]


def test_an_image_that_is_named_more_than_once_is_one_row_with_its_patient(
    run: RunDir, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("scans/list.csv").write_text("path,patient\n0.png,A\n1.png,\ndeep/4.png,B\n")
    Path("link.png").symlink_to("scans/1.png")
    np.savez("some.npz", pictures=np.stack([np.asarray(image) for image in noise(2)]))
    model = load_model(run.path)
    with pytest.warns(UserWarning, match="8 repeats left out"):
        found = model.predict(["scans/*", f"{place}/scans/./0.png", "some.npz", "link.png", "some.npz", "gone", "gone"])
    assert found["image"].tolist() == [
        *("scans/0.png", "scans/1.png", "scans/2.png", "scans/broken.png", "scans/deep/3.png"),
        *("scans/deep/4.png", "scans/notes.txt", "some.npz:pictures/0", "some.npz:pictures/1", "gone"),
    ]
    assert found["patient"].tolist() == ["A", "", "", "", "", "B", *[""] * 4]
    assert main(["predict", str(run.path), "scans/list.csv", "scans", "--by", "patient"]) == 0
    rows, said = printed(capsys)
    assert "note: images that are named more than once are taken once; 3 repeats left out." in said
    assert [row["images"] for row in rows if row["patient"] in "AB"] == ["1", "1"]


def test_the_model_abstains_where_the_set_is_another_class_than_the_one_called(run: RunDir) -> None:
    model = load_model(run.path)
    low = Threshold(label=CLASSES[1], value=0.05, rule="made up")
    card = model.card.model_copy(update={"threshold": low, "calibration": CalibrationMap()})
    raw = np.array([[0.93, 0.07], [0.05, 0.95]], np.float32)
    given = [
        predicting.Given("a", "", np.zeros((1, 1, 1), np.uint8)),
        predicting.Given("b", "", np.zeros((1, 1, 1), np.uint8)),
    ]
    found = predicting.table(ReusableModel(model.path, None, card), given, [raw], coverage=0.5)
    assert found["called"].tolist() == [CLASSES[1]] * 2
    assert found["abstain"].tolist() == [True, False], "a set of the other class alone confirms nothing"


def test_beside_others_what_holds_no_image_is_a_row_or_nothing(run: RunDir, place: Path) -> None:
    (place / "empty").mkdir()
    (place / "README.txt").write_text("nothing of a table")
    odd = place / os.fsdecode(b"odd-\xff.png")
    (place / "scans" / "0.png").rename(odd)
    found = load_model(run.path).predict(["empty", "README.txt", str(odd)])
    assert found["image"].tolist() == ["README.txt", f"{place}/odd-\\udcff.png"]
    assert found["called"].isna().tolist() == [True, False] and found["note"][0].startswith("not read: ")
    with pytest.raises(ConfigError, match="holds no file that looks like an image"):
        load_model(run.path).predict("empty")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"by_patient": PatientLevel(rule="median")}, "aggregates images by 'median'; mean, maximum, noisy-or, top"),
        ({"by_patient": PatientLevel(threshold=Threshold(label="C", value=0.5))}, "thresholds of other classes"),
        ({"classes": ("a", "a"), "threshold": None}, "names a class twice"),
    ],
)
def test_a_card_whose_parts_do_not_fit_is_refused(
    run: RunDir, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    card = load_model(run.path).card.model_copy(update=change)
    write_with_card(run.path / "trained.h5", tmp_path / "changed.h5", card)
    with pytest.raises(ConfigError, match=said):
        load_model(tmp_path / "changed.h5")


def test_a_row_per_patient_by_the_rule_and_the_threshold_of_the_run(
    run: RunDir, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("list.csv").write_text(
        "filename,subject\nscans/0.png,B\nscans/1.png,A\nscans/2.png,A\nscans/deep/3.png,\nscans/broken.png,A\ngone.png,C\n"
    )
    model = load_model(run.path)
    images = model.predict(["list.csv"]).set_index("image")
    probabilities = images[[f"probability_{name}" for name in CLASSES]]
    of_a = probabilities.loc[["scans/1.png", "scans/2.png"]].to_numpy()
    largest = float(of_a[:, 1].max())
    decided_on = PatientLevel(
        rule="maximum",
        calibration=CalibrationMap.of_temperature(0.5),
        threshold=Threshold(label=CLASSES[1], value=largest, rule="made up"),
    )
    chosen = ReusableModel(model.path, model.run, model.card.model_copy(update={"by_patient": decided_on}))
    found = chosen.predict(["list.csv"], by="patient").set_index("patient")
    assert found.index.tolist() == ["B", "A", "scans/deep/3.png", "C"]
    assert found["images"].tolist() == [1, 2, 1, 0]
    row = found.loc["A"]
    assert row[f"aggregated_{CLASSES[1]}"] == pytest.approx(largest) and row["threshold"] == pytest.approx(largest)
    assert row["called"] == CLASSES[1], "the threshold is reached"
    assert row[f"probability_{CLASSES[1]}"] == pytest.approx(largest**2 / (largest**2 + (1 - largest) ** 2))
    both = (1 - of_a <= 0.9).all(axis=0)
    assert row["abstain"] == (not both[1] or both.sum() != 1)
    assert "1 image: not read: " in row["note"] and found.loc["C", "note"].startswith("not read: ")
    assert pd.isna(found.loc["C", "called"])

    assert main(["predict", str(run.path), "list.csv", "--by", "patient", "--out", "patients.csv"]) == 0
    assert "No rule for patients is known of this model" in capsys.readouterr().err
    assert main(["predict", str(run.path), "list.csv", "--by", "patient", "--out", "patients.parquet"]) == 0
    assert pd.read_parquet("patients.parquet")["images"].tolist() == [1, 2, 1, 0]
    table = pd.read_csv("patients.csv").set_index("patient")
    assert table.loc["A", f"aggregated_{CLASSES[0]}"] == pytest.approx(of_a[:, 0].mean())
    by = ["predict", str(run.path), "scans", "--by", "patient", "--out", "none.csv"]
    assert main(by) == 2
    assert "or --patient-pattern; no image here names its patient" in capsys.readouterr().err
    assert main([*by, "--patient-pattern", "P(.+)_"]) == 2
    assert "matches none of the 6 names, such as 'scans/0.png'" in capsys.readouterr().err
    assert main([*by, "--patient-pattern", "no group"]) == 2
    assert "has 0 groups, but needs exactly one" in capsys.readouterr().err and not Path("none.csv").exists()


def test_the_patient_is_read_from_the_name_by_a_pattern(run: RunDir, place: Path) -> None:
    """It goes before what a manifest says, and is searched for in the whole path where it holds a ``/``."""
    model = load_model(run.path)
    found = model.predict(["scans/0.png", "scans/1.png", "scans/deep"], patient_pattern=r"^([13])\.png")
    assert found["patient"].tolist() == ["", "1", "3", ""]
    Path("list.csv").write_text("path,patient\nscans/0.png,A\nscans/deep/3.png,A\n")
    found = model.predict("list.csv", patient_pattern=r"scans/(\w+)/")
    assert found["patient"].tolist() == ["A", "deep"]
    assert (
        main(["predict", str(run.path), "scans", "--by", "patient", "--patient-pattern", r"(.)\.png", "--out", "p.csv"])
        == 0
    )
    assert pd.read_csv("p.csv", dtype=str)["patient"].tolist() == ["0", "1", "2", "n", "3", "4"]


def test_images_unlike_the_training_images_are_marked_and_others_are_not(run: RunDir, place: Path) -> None:
    own = noise(200, seed=5)
    for number, image in enumerate(own):
        image.save(place / f"own-{number:03d}.png")
    rng = np.random.default_rng(2)
    grid = np.indices((SIDE, SIDE))
    foreign = {
        "colour": Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)),
        "large": own[0].resize((SIDE * 3, SIDE * 3)),
        "wide": own[0].resize((SIDE * 2, SIDE)),
        "drawn": Image.fromarray(((grid[0] // 20 + grid[1] // 20) % 2 * 255).astype(np.uint8)),
    }
    for name, image in foreign.items():
        image.save(place / f"{name}.png")
    found = load_model(run.path).predict(["own-*.png", *(f"{name}.png" for name in foreign)]).set_index("image")["note"]
    marked = found[found.index.str.startswith("own")].str.contains("unlike the training images")
    assert marked.mean() < 0.06
    assert "colour (training: grey)" in found["colour.png"]
    assert "120 x 120 pixels (training: 40 x 40)" in found["large.png"]
    assert "width / height 2 (training: 1 to 1)" in found["wide.png"]
    assert "times as far as the limit" in found["drawn.png"]


@pytest.mark.parametrize(
    ("raw", "called", "threshold"),
    [([0.3, 0.3, 0.4], 2, 0.7), ([0.5, 0.2, 0.3], 0, None)],
    ids=["the highest, below its threshold", "a class without one"],
)
def test_of_several_classes_the_highest_is_called(raw: list[float], called: int, threshold: float | None) -> None:
    frozen = (Threshold(label="b", value=0.1), Threshold(label="c", value=0.7))
    card = ModelCard(classes=("a", "b", "c"), thresholds=frozen)
    found, shown = decided(card, np.array([raw]))
    assert found.tolist() == [called]
    np.testing.assert_equal(shown[0], np.nan if threshold is None else threshold)


def test_no_more_than_a_few_batches_are_read_ahead(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.asarray(noise(1)[0])
    read: list[int] = []

    def wanted(number: int) -> Wanted:
        return Wanted(str(number), lambda: (read.append(number), pixels)[1], Path("none.png"))

    monkeypatch.setattr(predicting, "patient_of", lambda one: "")
    tables = predictions(load_model(run.path), [wanted(number) for number in range(600)])
    assert len(next(tables)) == FIRST and len(next(tables)) == BATCH
    assert len(read) <= FIRST + BATCH * (predicting.AHEAD + 1)
    assert sum(map(len, tables)) + FIRST + BATCH == 600 and sorted(read) == list(range(600))


def test_test_images_of_a_run_are_noted_in_parts_and_count_once(
    run: RunDir, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.evaluation.ledger import PREDICTION, Ledgers

    copied = RunDir(Path(shutil.copytree(run.path, place / "reports" / "xray")))
    paths = sorted(place.glob("scans/[0-9].png")) + sorted(place.glob("scans/deep/*"))
    facts = [facts_of(content, decode(content)) for content in (path.read_bytes() for path in paths)]
    rows = [
        {"image": path.name, "label": "A", "split": "test", "pixels": one.pixels, "looks": one.perceptual_hash}
        for path, one in zip(paths[1:], facts[1:], strict=True)
    ]
    SPLITS.write(copied.path, rows)
    assert main(["predict", "xray", str(paths[0])]) == 0
    folder = machine_folder()
    assert folder is not None and not (folder / LEDGER).exists()
    monkeypatch.setattr(predicting, "FIRST", 2)
    monkeypatch.setattr(predicting, "BATCH", 2)
    capsys.readouterr()
    assert main(["predict", "xray", *map(str, paths)]) == 0
    assert "note: 4 of 5 images are test images of run xray; that is written into" in capsys.readouterr().err
    known = Ledgers((folder,)).known(copied)
    assert len(known.lines) == 3 and not known.broken
    (once,) = known.of(PREDICTION)
    assert once.images == 4 and len(once.sample) == 4 * 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list.csv", "--out", "./list.csv"], "--out list.csv is one of the files that are read"),
        (["l*.csv", "--out", "scans/../list.csv"], "--out scans/../list.csv is one of the files that are read"),
        (["--out", "reports/xray/best_model.json"], "--out reports/xray/best_model.json is one of the files that"),
        (["--by", "patient"], "no image here names its patient"),
        (["--out", "scans/0.png/found.csv"], "--out scans/0.png cannot be written"),
        (["--out", "found.csv", "--dicom-sr", "scans/0.png"], "--dicom-sr scans/0.png cannot be written"),
        (["--dicom-sr", "scans/0.png/below"], "--dicom-sr scans/0.png/below cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_test_image_is_noted(
    run: RunDir,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    copied = RunDir(Path(shutil.copytree(run.path, place / "reports" / "xray")))
    (facts,) = (facts_of(content, decode(content)) for content in [Path("scans/0.png").read_bytes()])
    row = {"image": "0.png", "label": "A", "split": "test", "pixels": facts.pixels, "looks": facts.perceptual_hash}
    SPLITS.write(copied.path, [row])
    monkeypatch.setattr("bench.reuse.dicom_sr.require_highdicom", lambda: None)
    Path("list.csv").write_text("path\nscans/1.png\n")
    before = Path("list.csv").read_text(), copied.best_model_card.read_text()
    assert main(["predict", "xray", "scans/0.png", *arguments]) == 2
    assert before == (Path("list.csv").read_text(), copied.best_model_card.read_text())
    found = capsys.readouterr()
    assert said in found.err and found.err.startswith("error: ") and found.out == ""
    folder = machine_folder()
    assert folder is not None and not (folder / LEDGER).exists() and not Path("found.csv").exists()
    if arguments[0] == "--by":
        with pytest.raises(ConfigError, match=said):
            load_model("xray").predict("scans/0.png", by="patient")
        assert not (folder / LEDGER).exists()


def changed(edit: Callable[[Any], None]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            edit(file)

    return change


def layer(**changes: str) -> Callable[[Path], None]:
    def edit(file: Any) -> None:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][2].update(changes)
        file.attrs["model_config"] = json.dumps(config)

    return changed(edit)


def held(**changes: Any) -> Callable[[Path], None]:
    def edit(file: Any) -> None:
        file.attrs[ATTRIBUTE] = json.dumps(json.loads(file.attrs[ATTRIBUTE]) | changes)

    return changed(edit)


def weights(value: float) -> Callable[[Path], None]:
    """All weights of the head are the ``value``."""

    def edit(file: Any) -> None:
        def fill(_: str, one: Any) -> None:
            if isinstance(one, h5py.Dataset):
                one[...] = value

        file["model_weights/probabilities"].visititems(fill)

    return changed(edit)


def logits(path: Path) -> None:
    """The head has no softmax."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        (head,) = (one for one in config["config"]["layers"] if one["config"]["name"] == "probabilities")
        head["config"]["activation"] = "linear"
        file.attrs["model_config"] = json.dumps(config)
    weights(2.0)(path)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no model": (lambda path: path.write_bytes(b"no model"), "is no model of a run that can be loaded"),
    "weights alone": (changed(lambda file: file.attrs.__delitem__("model_config")), "is no model of a run that can be"),
    "Lambda": (layer(class_name="Lambda"), "a layer Lambda, which runs code that the file brings"),
    "custom object": (layer(module="mine", class_name="Mine"), "of 'mine', which is not Keras's"),
    "a link": (
        changed(lambda file: file.__setitem__("x", h5py.ExternalLink("secret.h5", "/v"))), "a link to another place"
    ),
    "weights of NaN": (weights(np.nan), "other.h5 gives no probabilities (some are not finite)"),
    "logits": (logits, "other.h5 gives no probabilities (the lowest is -"),
    "other channels": (held(input={"height": SIZE, "width": SIZE, "channels": 3}), "it is the card of another model"),
    "other classes": (held(classes=["a", "b", "c"], threshold=None), "it is the card of another model"),
    "damaged metadata": (held(classes=7), "holds metadata of this suite that cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_model_is_refused_in_a_sentence_and_nothing_is_written(
    run: RunDir, place: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    change, said = REFUSED[what]
    shutil.copy(run.best_model, path := place / "other.h5")
    change(path)
    assert main(["predict", "other.h5", "scans", "--out", "x.csv"]) == 2
    found = capsys.readouterr()
    (line,) = found.err.splitlines()
    assert line.startswith("error: ") and said in line and found.out == ""
    assert not [one for one in place.iterdir() if one.name not in ("scans", "other.h5")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["empty"], "The folder empty holds no file that looks like an image."),
        (["scans/broken.png"], "None of 1 file could be read as an image; scans/broken.png: not read: "),
        (["scans", "--out", "x.xlsx"], "--out takes a file that ends in .csv, .json or .parquet, but got x.xlsx."),
        (["scans", "--coverage", "1"], "--coverage must lie between 0 and 1, such as 0.95, but got 1."),
        (["labels.npz"], "labels.npz holds no array of images, which has the shape"),
        (["list.csv"], "list.csv has no column path"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    run: RunDir, place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (place / "empty").mkdir()
    np.savez("labels.npz", labels=np.arange(3))
    Path("list.csv").write_text("age,sex\n61,f\n")
    assert main(["predict", str(run.path), *arguments]) == 2
    found = capsys.readouterr()
    (line,) = found.err.splitlines()
    assert line.startswith(f"error: {said}") and found.out == ""


def test_an_archive_that_cannot_be_used_is_a_row_beside_other_images(place: Path) -> None:
    np.savez("labels.npz", labels=np.arange(3))
    np.savez("objects.npz", images=np.array([None, "x"]))
    Path("damaged.npz").write_bytes(b"PK no archive")
    bad = ["labels.npz", "objects.npz", "damaged.npz"]
    with ExitStack() as stack:
        good, *others = wanted_images(["scans/0.png", *bad], stack)
        assert good.read()
        assert [one.name for one in others] == bad
        for one in others:
            with pytest.raises(ValueError, match=rf"^{one.name} (holds no array of images|is no \.npz file)"):
                one.read()
    for path in bad:
        with ExitStack() as stack, pytest.raises(ConfigError, match=path):
            wanted_images([path], stack)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        (None, "What the training images of this model were like is not known"),
        (TrainingImages(images=9, reason="there are fewer than 20"), "network's features, as there are fewer than 20."),
        (TrainingImages(images=9), "network's features."),
        (TrainingImages(features=fit_distance(*np.random.default_rng(1).normal(size=(2, 40, 3)))), ""),
    ],
)
def test_what_limits_are_missing_is_said_with_the_reason(training: TrainingImages | None, said: str) -> None:
    card = ModelCard(classes=CLASSES, training=training, conformal=ConformalScores(1, (0.5,)))
    lines = list(banner(ReusableModel(Path("x.h5"), None, card)))
    assert len(lines) == 1 + bool(said) and said in lines[-1]


def test_what_is_asked_of_python_is_checked_before_anything_is_read() -> None:
    model = ReusableModel(Path("no file.h5"), None, ModelCard(classes=CLASSES))
    with pytest.raises(ValueError, match="coverage must lie between 0 and 1, but got 2"):
        model.predict("scan.png", coverage=2)
    with pytest.raises(ConfigError, match=r"^No images are named; paths of files and folders, and patterns, are acc"):
        model.predict([])


def test_of_a_long_reason_that_a_model_cannot_be_loaded_the_beginning_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise TypeError(f"Layer 'x' cannot be made of {'its configuration, ' * 500}\nand more")

    monkeypatch.setattr("bench.reuse.model.load_network", refuse)
    with pytest.raises(ConfigError, match=r"Layer 'x' cannot be made of its configuration,.* …\.$") as caught:
        _ = ReusableModel(Path("x.h5")).network
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ([[0.4, 0.6], [0.9, 0.6]], "those of an image add up to 1.5"),
        ([[0.4, 0.6], [0.6, 0.4111]], "those of an image add up to 1.011"),
        ([[-0.5, 1.5]], "the lowest is -0.5"),
        ([[0.0, np.inf]], "some are not finite"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused(
    monkeypatch: pytest.MonkeyPatch, outputs: list[list[float]], why: str
) -> None:
    monkeypatch.setattr("bench.reuse.model.in_one_shape", lambda *_: [np.array(outputs, np.float32)])
    model = ReusableModel(Path("other.h5"))
    model.__dict__["forward"] = None
    with pytest.raises(ConfigError, match=re.escape(f"other.h5 gives no probabilities ({why})")):
        model.outputs(np.zeros((2, 8, 8, 1), np.uint8), 2)


def test_probabilities_of_bfloat16_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 8 bits each, they add up to 1 within 0.3 % only."""
    rounded = np.array([[0.9961, 0.00586], [0.5, 0.5]], np.float32)
    monkeypatch.setattr("bench.reuse.model.in_one_shape", lambda *_: [rounded])
    model = ReusableModel(Path("other.h5"))
    model.__dict__["forward"] = None
    np.testing.assert_array_equal(model.outputs(np.zeros((2, 8, 8, 1), np.uint8), 2)[0], rounded)


def test_a_card_of_another_model_beside_a_file_is_refused(run: RunDir, place: Path) -> None:

    shutil.copy(run.best_model_card, place)
    shutil.copy(run.path / "trained.h5", place / "best_model.h5")
    with pytest.raises(ConfigError, match=r"best_model\.json is of another model than .*best_model\.h5"):
        load_model(place / "best_model.h5")


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"classes": CLASSES[::-1]}, "classes"),
        (
            {"calibration": None, "threshold": {"label": CLASSES[1], "value": 0.999, "rule": "made up"}},
            "calibration, thr",
        ),
        ({"more": 1}, "more"),
    ],
)
def test_a_card_that_was_changed_is_told_from_the_one_in_the_file(
    run: RunDir, place: Path, alone: bool, change: dict[str, Any], named: str
) -> None:
    """Its SHA-256 of the .h5 file is right, so that alone says nothing."""
    own = RunDir(place / "xray")
    own.path.mkdir()
    for path in (run.best_model, *([] if alone else [run.run])):
        shutil.copy(path, own.path)
    write_json(own.best_model_card, json.loads(run.best_model_card.read_text()) | change)
    with pytest.raises(ConfigError, match=rf"best_model\.json is not the card that .* holds \(other: {named}"):
        load_model(own.best_model)


@pytest.mark.parametrize("name", ["MemoryError", "ResourceExhaustedError"])
def test_a_network_beyond_the_memory_is_a_sentence(run: RunDir, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def exhausted(path: Path) -> Any:
        raise type(name, (MemoryError if name == "MemoryError" else Exception,), {})("OOM when allocating tensor")

    monkeypatch.setattr("bench.reuse.model.load_network", exhausted)
    with pytest.raises(ConfigError, match=r"best_model\.h5 cannot be loaded: its network needs more memory"):
        _ = load_model(run.best_model).network


def test_an_ensemble_in_its_runs_folder_is_of_the_run(run: RunDir, place: Path) -> None:
    copied = RunDir(Path(shutil.copytree(run.path, place / "reports" / "xray")))
    shutil.copy(run.best_model, copied.best_ensemble)
    assert load_model(copied.best_ensemble).run is None
    write_json(copied.best_ensemble_card, {"sha256": file_sha256(copied.best_ensemble)})
    found = load_model(copied.best_ensemble)
    assert found.run is not None and (found.is_ensemble, found.name) == (True, "xray (best_ensemble.h5)")
    assert found.card.sha256 == file_sha256(copied.best_ensemble) and found.path.samefile(copied.best_ensemble)
    assert (load_model("xray").is_ensemble, load_model("xray").name) == (False, "xray")
    write_json(copied.best_ensemble_card, {"sha256": "0" * 64})
    with pytest.raises(ConfigError, match=r"best_ensemble\.json is of another ensemble than .*best_ensemble\.h5"):
        load_model(copied.best_ensemble)


def test_a_file_without_metadata_works_with_neutral_names(
    run: RunDir, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run.path / "trained.h5"), "scans"]) == 0
    rows, said = printed(capsys)
    assert "holds no metadata of this suite: classes are called by number" in said
    assert {row["called"] for row in rows} <= {"class_0", "class_1", ""}
    assert {row["abstain"] for row in rows} == {""} == {row["threshold"] for row in rows}
    assert not any("unlike" in row["note"] for row in rows)


def test_images_of_16_bits_go_through_the_window_of_the_run(run: RunDir, place: Path) -> None:
    known = load_model(run.path).card
    assert known.input is not None
    window = {"low": 0.0, "high": 1000.0, "rule": "asked"}
    card = known.model_copy(update={"input": known.input.model_copy(update={"window": window})})
    Image.fromarray(np.full((SIDE, SIDE), 500, np.uint16)).save("scan.png")
    (images, _) = ReusableModel(run.best_model, None, card).read([Path("scan.png")])
    assert set(np.unique(images)) == {128}, "by its own range it would be black"


def test_images_are_as_large_as_those_of_the_run_or_as_is_asked_for(
    run: RunDir, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before: as large as the default, whatever training had been given, and with advice that `predict` refused."""
    own = RunDir(place / "reports" / "tiles")
    shutil.copytree(run.path, own.path)
    settings = {"cache": str(own.path / "cache"), "max_pixels": SIDE * SIDE - 1}
    write_json(own.run, {"name": "tiles", "created": "2026-01-02", "settings": settings})
    np.savez("scans.npz", images=np.zeros((2, SIDE, SIDE), np.uint8))
    for name, larger in (("scans/0.png", "2k"), ("scans.npz", f"{SIDE * SIDE}")):
        assert main(["predict", "tiles", name]) == 2
        assert f"{SIDE} x {SIDE} pixels, and at most {SIDE * SIDE - 1:,} are read" in printed(capsys)[1]
        assert main(["predict", "tiles", name, "--max-pixels", larger]) == 0
        assert all(row["called"] for row in printed(capsys)[0])
    assert main(["explain", "tiles", "scans/0.png"]) == 2
    assert f"at most {SIDE * SIDE - 1:,} are read" in printed(capsys)[1]
    assert main(["predict", "tiles", "scans/0.png", "--max-pixels", "many"]) == 2
    assert "--max-pixels takes a number of pixels such as 500M" in printed(capsys)[1]
    record = json.loads(own.run.read_text())
    write_json(own.run, {**record, "hardware": {"jobs": "many"}})
    assert load_model("tiles").max_pixels == SIDE * SIDE - 1, "whatever else run.json holds"
    shutil.copy(own.best_model, alone := place / "alone.h5")
    assert load_model("tiles").max_pixels == SIDE * SIDE - 1 and load_model(alone).max_pixels == 10**8
    assert load_model("tiles", max_pixels=500).max_pixels == 500


def test_importing_the_package_stays_light() -> None:
    code = (
        "import sys, bench; assert 'load_model' in dir(bench) and not {'numpy', 'keras', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_lines_of_the_documentation_hold(run: RunDir, place: Path) -> None:
    import doctest

    card = load_model(run.path).card
    named = Threshold(label="PNEUMONIA", value=0.5, rule="made up")
    card = card.model_copy(update={"classes": ("NORMAL", "PNEUMONIA"), "threshold": named})
    toy = RunDir(place / "reports" / "xray")
    toy.path.mkdir(parents=True)
    shutil.copy(run.run, toy.run)
    write_with_card(run.path / "trained.h5", toy.best_model, card)
    write_json(toy.best_model_card, card.model_copy(update={"sha256": file_sha256(toy.best_model)}))
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```pycon\n(.*?)```", text, re.DOTALL) if "load_model" in block]
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "docs/api.md", "docs/api.md", 0)
    told: list[str] = []
    found = doctest.DocTestRunner().run(examples, out=told.append)
    assert found.failed == 0 and found.attempted >= 10, "".join(told)
