"""The lower bound: what a run has to do, counted by hand, and how fast bare Keras does it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import checksums
from bench.compare.lower_bound import bare_keras, calibrate, lower_bound
from bench.compare.lower_bound.bare_keras import Network, Way
from bench.compare.lower_bound.calibrate import Rate
from bench.compare.lower_bound.lower_bound import least_time, lower_bound_of_run
from bench.compare.lower_bound.work import Data, Part, Scoring, Trained, added, needed, without
from bench.errors import ConfigError
from bench.models.augmentation import Policy
from bench.run.courses import Curve
from bench.run.documents import LowerBoundRecord
from bench.run.folder import RunDir, write_json, write_table, write_text
from bench.run.record import read_strictly
from bench.run.results import TrialLog, TrialRecord
from bench.run.tables import BASELINES, FINALISTS, FOLDS, ROBUSTNESS
from bench.stats.metrics import METRICS
from bench.trial import EpochRecord, TrialConfig

POLICIES = {
    "none": Policy("none"),
    "off": Policy("off"),
    "light": Policy("light", rotation=5),
    "also": Policy("also", rotation=5),
    "strong": Policy("strong", rotation=15),
}


def config(backbone: str = "vgg16", augmentation: str = "none", depth: int = 0, **more: Any) -> TrialConfig:
    return TrialConfig.from_mapping(
        {"backbone": backbone, "augmentation": augmentation, "unfreeze_depth": depth, **more}
    )


def test_work_counted_by_hand() -> None:
    trained = [
        Trained(config(), head=5),
        Trained(config("vgg16", "light"), head=2),
        Trained(config("vgg16", "also", 1), head=1, finetune=3),  # the same views as light, one more of them
        Trained(config("vgg16", "strong", 2, batch_size=16), head=8, finetune=6),
        Trained(config("resnet50", "off"), head=4),
        Trained(config("inceptionv3", "strong"), head=0),  # failed before its first epoch
    ]
    assert needed(trained, Data(n_train=100, n_val=10, views=4, policies=POLICIES)) == {
        Part("resnet50", "forward"): 110,
        Part("resnet50", "training", 0, 32): 400,
        Part("resnet50", "validation", 0): 40,
        Part("vgg16", "forward"): 110 * (1 + 3 + 4),
        Part("vgg16", "training", 0, 16): 800,
        Part("vgg16", "training", 0, 32): 800,
        Part("vgg16", "validation", 0): 160,
        Part("vgg16", "training", 1, 32): 300,
        Part("vgg16", "validation", 1): 30,
        Part("vgg16", "training", 2, 16): 600,
        Part("vgg16", "validation", 2): 60,
    }


def test_the_clean_view_is_passed_even_where_only_augmented_ones_are_trained_on() -> None:
    work = needed([Trained(config("vgg16", "light"), head=1)], Data(100, 10, 4, POLICIES))
    assert work[Part("vgg16", "forward")] == 220


def test_networks_of_other_weights_see_the_images_anew() -> None:
    trained = [Trained(config(initialisation=start), head=1) for start in ("given", "random", "random")]
    assert needed(trained, Data(100, 10, 4, POLICIES))[Part("vgg16", "forward")] == 2 * 110


def test_a_batch_is_not_larger_than_the_set() -> None:
    assert Part("vgg16", "training", 0, 20) in needed([Trained(config(), head=1)], Data(20, 10, 4, POLICIES))


def test_a_fixed_list_cold_and_warm() -> None:
    trained = [Trained(config(), 3), Trained(config("vgg16", "light", 1), 3, 3)]
    data = Data(100, 10, 2, POLICIES)
    cold = needed(trained, data)
    assert cold == {
        Part("vgg16", "forward"): 330,
        Part("vgg16", "training", 0, 32): 600,
        Part("vgg16", "validation", 0): 60,
        Part("vgg16", "training", 1, 32): 300,
        Part("vgg16", "validation", 1): 30,
    }
    warm = needed(trained, data, warm=True)
    assert warm == {part: images for part, images in cold.items() if part.kind != "forward"}


def test_a_retraining_begins_with_the_view_of_its_number() -> None:
    data = Data(100, 10, 2, POLICIES)
    trial = Trained(config("vgg16", "light"), head=2)
    assert trial.used(data) == {0, 1}
    second = Trained(config("vgg16", "light", 1), head=2, finetune=3, views=5, first_view=1)
    assert second.used(data) == {1, 2, 3}, "each phase begins with it"
    fifth = Trained(config("vgg16", "also"), head=2, views=5, first_view=4)
    assert fifth.used(data) == {4, 0}
    clean = Trained(config("vgg16"), head=5, views=5, first_view=1)
    fold = Trained(config("vgg16"), head=1, views=5, images=(80, 30))
    small = Trained(TrialConfig("small_cnn", "none", batch_size=32), head=7)
    trials, whole = needed([trial], data), needed([trial, second, fifth, clean, fold, small], data)
    assert whole[Part("vgg16", "forward")] == 110 * (1 + 5), "views 0 to 4, those of the search among them"
    assert without(whole, trials) == {
        Part("small_cnn", "training", 0, 32): 700,
        Part("small_cnn", "validation"): 70,
        Part("vgg16", "forward"): 330,
        Part("vgg16", "training", 0, 32): 900 + 80,
        Part("vgg16", "validation"): 90 + 30,
        Part("vgg16", "training", 1, 32): 300,
        Part("vgg16", "validation", 1): 30,
    }
    assert added(trials, without(whole, trials)) == whole


def test_scoring_counted_by_hand() -> None:
    models = [("vgg16", 2), ("vgg16", 2), ("vgg16", 1), ("resnet50", 0), ("small_cnn", 0), ("small_cnn", 0)]
    assert Scoring(models, 50, "vgg16", 90).needed() == {
        Part("resnet50", "forward"): 50,
        Part("small_cnn", "validation"): 100,
        # to the cut of depth 1 and on to the classes, then the other two suffixes, and the winner from end to end
        Part("vgg16", "forward"): 50 + 90,
        Part("vgg16", "validation", 2): 100,
    }


def rate(images_per_second: float, batch: int = 32) -> Rate:
    return Rate(images_per_second, "float32", batch, 2, 1, False, "2026-11-23T06:00:00+00:00", 0.1)


def test_seconds_are_images_by_speed() -> None:
    first, second = Part("vgg16", "forward"), Part("vgg16", "training", 1, 32)
    assert least_time({first: 300, second: 50}, {first: rate(150.0), second: rate(20.0)}).seconds == 4.5


SPACE = """
parameters:
  backbone: {choices: [vgg16]}
  augmentation: {choices: [none, light]}
  unfreeze_depth: {low: 0, high: 1}
augmentations:
  none: {}
  light: {rotation: 5}
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run of two trials: one completed at depth 1, one that failed in its second epoch."""
    run = RunDir(tmp_path / "xray")
    log = TrialLog(run)
    metrics = dict.fromkeys(METRICS, 0.9)
    epochs = [EpochRecord("head" if n <= 2 else "finetune", n, 0.5, metrics, 1.0) for n in range(1, 6)]
    done = TrialRecord(0, "completed", "", "sampled", config("vgg16", "light", 1), metrics, 5, 5, 9.0, 9.0)
    failed = TrialRecord(1, "failed", "the loss became nan", "sampled", config(), None, None, 1, 2.0, 11.0)
    log.add(done, epochs)
    log.add(failed, epochs[:1])
    write_text(run.space, SPACE)
    splits = ["train"] * 40 + ["val"] * 10 + ["test"] * 10 + [""] * 5
    write_table(run.splits, pd.DataFrame({"image": range(len(splits)), "label": "a", "split": splits}))
    settings = {"views": 4, "image_size": 32, "cache": str(tmp_path / "cache")}
    content = {"settings": settings, "data": {"classes": ["a", "b"]}, "space": {"name": "mine"}}
    write_json(run.run, {**content, "seconds": {"search": 30.0}, "hardware": {"cpus": 10_000}})
    return run


def test_the_lower_bound_of_a_run(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def rates(parts: Any, sizes: Any, n_classes: int, cache: Path, tell: Any) -> Any:
        given.update(sizes=sizes, n_classes=n_classes, cache=cache)
        return {part: rate(10.0 if part.kind == "forward" else 100.0) for part in parts}

    monkeypatch.setattr(lower_bound, "calibrate", rates)
    told: list[str] = []
    found = lower_bound_of_run(run, told.append)
    assert given == {"sizes": {"vgg16": 32}, "n_classes": 2, "cache": run.path.parent / "cache"}
    # 3 views of light and the clean one of the pool; 2 + 1 epochs of the head, 3 of the suffix, with validation
    assert found.seconds == 50 * 4 / 10 + (40 * 6 + 10 * 6) / 100
    assert found.measured == 30.0 and found.ratio == round(30 / 23, 4)
    assert found.after is None and found.whole is None, "there are no finalists yet"
    assert lower_bound.describe_run(found) == "Least time of the search: 23 s; it took 30 s, 1.30 times as long."
    assert [part.what for part in found.parts][:2] == [
        "VGG16, frozen network",
        "VGG16, head, training, batches of 32",
    ]
    assert sum(part.seconds for part in found.parts) == pytest.approx(found.seconds)
    assert "10000 CPU cores" in found.notes[0] and told == list(found.notes)
    assert (run.path / "limit.json").exists()
    lower_bound_of_run(run, told.append, cache=run.path / "elsewhere")
    assert given["cache"] == run.path / "elsewhere"


@pytest.fixture
def whole_run(run: RunDir) -> RunDir:
    """`run`, and two seeds of its finalist, two folds, a small CNN, robustness and maps."""
    log, config_ = TrialLog.load(run), config("vgg16", "light", 1)
    metrics = dict.fromkeys(METRICS, 0.9)

    def curve(phases: str) -> list[EpochRecord]:
        names = {"h": "head", "f": "finetune", "s": "scratch"}
        return [EpochRecord(names[phase], n, 0.5, metrics, 1.0) for n, phase in enumerate(phases, start=1)]

    rows = []
    for repeat in (1, 2):
        log.epochs.add(Curve("finalist", "vgg16", repeat), curve("hhfff"))
        about = {"backbone": "vgg16", "repeat": repeat, "state": "completed", "model": f"models/vgg16-{repeat}.h5"}
        rows.append({**about, "winner": repeat == 2, **config_.columns()})
    FINALISTS.write(run.path, rows)
    folds = []
    for fold in (1, 2):
        log.epochs.add(Curve("fold", "vgg16", fold=fold), curve("hf"))
        sizes = {"images_train": 25, "images_val": 25}
        folds.append({"backbone": "vgg16", "fold": fold, "state": "completed", **sizes, **config_.columns()})
    FOLDS.write(run.path, folds)
    log.epochs.add(Curve("baseline", "small_cnn", 1), curve("ssss"))
    trained = {"baseline": "small_cnn", "repeat": 1, "state": "completed", "model": "models/small_cnn-1.h5"}
    others = [
        {"baseline": name, "repeat": 1, "state": state}
        for name, state in (("recipe", "skipped"), ("majority", "completed"))
    ]
    BASELINES.write(run.path, [*others, trained])
    levels = [{"corruption": "none", "images": 8}, *({"corruption": "noise", "level": n, "images": 8} for n in (1, 2))]
    ROBUSTNESS.write(run.path, levels)
    write_json(run.saliency, {"method": "class activation map", "items": [{"image": "a"}, {"image": "b"}]})
    write_json(run.evaluation, {})
    for stage in ("search", "finalists", "evaluation"):
        run.finish(stage)
    content = run.read_run()
    content["settings"]["epochs"] = 5
    seconds = {"start": 1.0, "data": 2.0, "search": 46.0, "finalists": 40.0, "evaluation": 20.0, "report": 3.0}
    write_json(run.run, {**content, "seconds": seconds})
    return run


def constant_rates(parts: Any, sizes: Any, *others: Any) -> dict[Part, Rate]:
    assert sizes == {"vgg16": 32, "small_cnn": 32}
    return {part: rate(10.0 if part.kind == "forward" else 100.0) for part in parts}


def test_the_lower_bound_of_a_whole_run(whole_run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower_bound, "calibrate", constant_rates)
    found = lower_bound_of_run(whole_run, lambda text: None)
    assert found.seconds == 23 and found.ratio == 2
    assert found.after is not None and found.whole is not None
    # view 3 of light for the second seed, which begins with view 1; 20 images scored by one pass and one suffix more,
    # by the small CNN, and by the winner from end to end, altered twice by 8, and 2 maps twice
    forward = 50 + 20 + 20 + 2 * 8 + 2 * 2
    seeds, folds, small = 2 * 5 * (40 + 10), 2 * 2 * (25 + 25), 4 * (40 + 10)
    after = forward / 10 + (seeds + folds + small + 20 + 20) / 100
    assert found.after.seconds == pytest.approx(after)
    assert found.after.measured == 60 and found.after.ratio == pytest.approx(60 / after, abs=1e-4)
    assert found.whole.seconds == pytest.approx(23 + after) and found.whole.measured == 112
    told = lower_bound.describe_run(found).splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "Least time of the search",
        "Least time of what follows it",
        "Least time of the whole run",
    ]
    assert read_strictly(LowerBoundRecord, whole_run.path / "limit.json") == found


def test_what_is_sealed_was_not_scored(whole_run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower_bound, "calibrate", constant_rates)
    opened = lower_bound_of_run(whole_run, lambda text: None)
    for file in (whole_run.evaluation, whole_run.path / "robustness.csv", whole_run.saliency):
        file.unlink()
    sealed = lower_bound_of_run(whole_run, lambda text: None)
    assert opened.after is not None and sealed.after is not None
    fewer = (10 + 10 + 16 + 4) / 10 + (10 + 10) / 100
    assert float(sealed.after.seconds or 0) == pytest.approx(float(opened.after.seconds or 0) - fewer)


def test_a_damaged_table_of_what_follows_is_said(whole_run: RunDir) -> None:
    (whole_run.path / "finalists.csv").write_text("backbone\n")
    with pytest.raises(ConfigError, match=r"needs .*finalists\.csv"):
        lower_bound_of_run(whole_run, print)


def test_a_run_without_trials_has_no_lower_bound(run: RunDir) -> None:
    run.trials.unlink()
    with pytest.raises(ConfigError, match="no finished trial yet"):
        lower_bound_of_run(run, print)


def test_trials_without_epochs_have_no_lower_bound(run: RunDir) -> None:
    epochs = pd.read_csv(run.epochs)
    write_table(run.epochs, epochs[:0])
    with pytest.raises(ConfigError, match="ended an epoch"):
        lower_bound_of_run(run, print)


def test_a_damaged_run_says_what_is_needed(run: RunDir) -> None:
    run.splits.unlink()
    with pytest.raises(ConfigError, match=r"needs run.json, space.yaml and splits.csv"):
        lower_bound_of_run(run, print)


def test_bare_keras_imports_nothing_of_the_suite() -> None:
    tree = ast.parse(Path(bare_keras.__file__).read_text(encoding="utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not any(name.startswith("bench") for name in names)


def build_vgg16(**arguments: Any) -> Any:
    import keras

    return keras.applications.VGG16(include_top=False, **arguments)


def build_nothing(**arguments: Any) -> Any:
    raise AttributeError("no such network")


def network(part: str, build: Any = build_vgg16, backbone: str = "VGG16") -> Network:
    return Network(part, backbone, build, cut="max_pooling:4", size=32, n_features=512, n_classes=2)


def test_a_bare_small_cnn() -> None:
    bench, way = bare_keras.Bench(), Way("float32")
    found = calibrate._network(Part("small_cnn", "training", 0, 32), 32, 2)
    bench.build(found, way)
    bench.prepare(found, way, True, batch=4)
    assert bench.time(0) > 0


@pytest.mark.parametrize(
    ("part", "training", "trained"), [("forward", False, 26), ("suffix", True, 8), ("head", True, 2)]
)
def test_bare_models(part: str, training: bool, trained: int) -> None:
    bench, way = bare_keras.Bench(), Way("float32")
    bench.build(network(part), way)
    bench.prepare(network(part), way, training, batch=4)
    assert len(bench.models[way].trainable_weights) == trained
    assert bench.time(0) > 0


@pytest.fixture(scope="module")
def group() -> Iterator[calibrate.Processes]:
    """Two real processes of bare Keras."""
    found = calibrate.Processes(2, 1)
    yield found
    found.close()


def test_a_rate_is_measured_once_unless_the_machine_was_busy(
    group: calibrate.Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through real processes, at the head alone."""
    monkeypatch.setattr(group, "close", lambda: None)
    load = [10_000.0]
    monkeypatch.setattr("os.getloadavg", lambda: (load[0], 0.0, 0.0))
    monkeypatch.setattr(calibrate, "SECONDS", 0.01)
    monkeypatch.setattr(calibrate, "QUICK_SECONDS", 0.01)
    monkeypatch.setattr(calibrate, "start", lambda cores: [group])
    monkeypatch.setattr(calibrate, "ways", lambda: [Way("float32")])
    part = Part("vgg16", "validation", 0)
    told: list[str] = []
    busy = calibrate.calibrate([part], {"vgg16": 32}, 2, tmp_path, told.append)
    assert busy[part].load == 10_000 and "not idle" in told[0]
    load[0] = 0.0
    first = calibrate.calibrate([part], {"vgg16": 32}, 2, tmp_path, told.append)
    assert first[part].load == 0, "what was measured on a busy machine is measured anew"
    assert first[part].processes == 2 and first[part].images_per_second > 0
    assert first[part].batch in calibrate.HEAD_BATCHES

    def never(cores: int) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(calibrate, "start", never)
    assert calibrate.calibrate([part], {"vgg16": 32}, 2, tmp_path, told.append) == first
    with pytest.raises(AssertionError, match="measured again"):
        calibrate.calibrate([part], {"vgg16": 64}, 2, tmp_path, told.append)
    (file,) = (tmp_path / "calibration").glob("*.json")
    whole = file.read_text()
    for damaged in (whole[:20], whole.replace('"load": 0.0', '"load": 0.5'), ""):
        file.write_text(damaged)
        with pytest.raises(AssertionError, match="measured again"):
            calibrate.calibrate([part], {"vgg16": 32}, 2, tmp_path, told.append)
    for other in ("{}", '{"rate": {"speed": 3}}', "[]", "0"):
        file.write_text(other)
        checksums.keep(file)
        assert calibrate._kept(file) is None


def test_what_cannot_be_built_says_why(group: calibrate.Processes) -> None:
    group.call("clear")
    with pytest.raises(calibrate.CalibrationFailed, match="could not build NoSuchNet: AttributeError"):
        group.call("build", network("forward", build_nothing, "NoSuchNet"), Way("float32"))


def test_a_process_that_was_killed_says_so() -> None:
    killed = calibrate.Processes(1, 1)
    killed._processes[0].kill()
    try:
        with pytest.raises(calibrate.CalibrationFailed, match="a process of bare Keras was killed by SIGKILL"):
            killed.call("clear")
    finally:
        killed.close()
