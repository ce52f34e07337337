"""`initialisation` as a hyperparameter: which weights there are, one network each, and whether they were worth it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import pytest
import toys

from bench.cli import main
from bench.errors import ConfigError
from bench.models.backbones import get_backbone
from bench.models.scaling import RADIMAGENET
from bench.models.weights import check_starts, folders_of, resolve_weights, scalable
from bench.run.folder import RunDir
from bench.search import tune
from bench.search.lanes import Lanes
from bench.search.parameters import GIVEN, TrialConfig, network_name, network_title
from bench.search.space import load_space, parse_space
from bench.train.trainer import Trainer

TOY, TOY2 = toys.toy_backbone(), toys.toy_backbone("toy2")


def toy_file(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    network = toys.build_toy()
    if path.name.endswith(".weights.h5"):
        network.save_weights(path)
    else:
        network.save(path)
    return path


def test_a_network_is_a_backbone_with_its_initialisation() -> None:
    plain = TrialConfig("vgg16")
    other = TrialConfig("vgg16", initialisation="random")
    assert (plain.network, other.network) == ("vgg16", "vgg16+random")
    assert plain.key != other.key
    assert plain.key == TrialConfig("vgg16", initialisation=GIVEN).key
    assert TrialConfig.from_row({"config_backbone": "vgg16"}).initialisation == GIVEN, "as earlier tables have it"
    assert TrialConfig.from_row({"config_backbone": "vgg16", "config_initialisation": ""}).key == plain.key
    assert network_title("vgg16", {"vgg16": "VGG16"}) == "VGG16"
    assert network_title("vgg16+random", {"vgg16": "VGG16"}) == "VGG16 from random"


@pytest.mark.parametrize(
    ("entry", "first", "second"),
    [
        ("", (GIVEN,), (GIVEN,)),
        ("initialisation: {choices: [imagenet, random]}", ("imagenet", "random"), ("imagenet", "random")),
        (
            "initialisation: {choices: [imagenet, radimagenet], when: {backbone: [resnet50]}}",
            (GIVEN,),
            ("imagenet", "radimagenet"),
        ),
        ("initialisation: {choices: [random], when: {unfreeze_depth: [1]}}", ("random", GIVEN), ("random", GIVEN)),
    ],
)
def test_what_each_backbone_can_begin_with(entry: str, first: tuple[str, ...], second: tuple[str, ...]) -> None:
    space = parse_space(
        "starts",
        f"parameters:\n  backbone: {{choices: [vgg16, resnet50]}}\n  unfreeze_depth: {{choices: [0, 1]}}\n  {entry}",
    )
    assert space.initialisations == {"vgg16": first, "resnet50": second}


def test_the_shipped_space_asks_whether_radimagenet_helps() -> None:
    space = load_space("radimagenet")
    assert space.initialisations == dict.fromkeys(
        ("resnet50", "inceptionv3", "densenet121"), ("imagenet", "radimagenet", "random")
    )
    for backbone in space.backbones:
        recipe = space.recipe(get_backbone(backbone))
        assert all(space[name].contains(value) for name, value in recipe.items())
        assert recipe["initialisation"] == "imagenet"


def test_weights_of_several_initialisations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files in the folder of --weights, one elsewhere, and random ones: each under its network's name."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    ours, rad = toy_file(tmp_path / "w" / TOY.weights_file, 1), toy_file(tmp_path / "w/RadImageNet-Toy_notop.h5", 2)
    mine = toy_file(tmp_path / "mine" / TOY2.weights_file, 3)
    starts = {"toy": ("imagenet", "radimagenet", "random"), "toy2": (str(mine.parent),)}
    starts["toy2"] = ("mine",)
    monkeypatch.chdir(tmp_path)
    folders = folders_of(starts, {})
    assert folders == {"mine": str(mine.parent)}
    assert folders_of(starts, {"mine": "/elsewhere"}) == {"mine": "/elsewhere"}, "as the run has written it down"
    check_starts(str(ours.parent), [TOY, TOY2], starts, folders)
    monkeypatch.chdir("/")  # as workers have it
    given = {"cache": tmp_path / "cache", "seed": 0, "starts": starts, "folders": folders}
    found = resolve_weights(str(ours.parent), [TOY, TOY2], **given)
    toy2 = "toy2+mine"
    assert {name: file.name for name, file in found.files.items()} == {
        "toy+imagenet": ours.name,
        "toy+radimagenet": rad.name,
        "toy+random": "toy-random-0.weights.h5",
        toy2: mine.name,
    }
    assert found.kind == "several"
    assert len(set(found.sha256.values())) == 4
    assert found.fed(TOY, "toy+radimagenet").preprocessing == RADIMAGENET
    assert {found.fed(TOY, f"toy+{one}").preprocessing for one in ("imagenet", "random")} == {TOY.preprocessing}
    assert "Initialisation random: Random weights" in found.note
    assert {start: kind for start, (kind, _) in found.starts.items()} == {
        "imagenet": "imagenet",
        "radimagenet": "folder",
        "random": "random",
        "mine": "folder",
    }
    assert scalable(str(ours.parent), starts) == ["toy+imagenet", "toy+radimagenet", toy2]
    said = resolve_weights(str(ours.parent), [TOY, TOY2], **given, scaling="unit")
    assert said.scaling == {"toy+imagenet": "unit", "toy+radimagenet": "radimagenet", toy2: "unit"}
    named = resolve_weights(str(ours.parent), [TOY, TOY2], **given, scaling="toy+radimagenet=caffe")
    assert named.scaling == {"toy+radimagenet": "caffe"}, "what the warning advises can be given"


def test_what_is_not_to_be_had_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with pytest.raises(ConfigError, match=r"RadImageNet's weights of Toy are not to be had: RadImageNet-Toy_notop\.h5"):
        check_starts(None, [TOY], {"toy": ("imagenet", "radimagenet")})
    with pytest.raises(ConfigError, match=r"given \(by --weights\), imagenet, .* but the space names 'imagenett'"):
        check_starts(None, [TOY], {"toy": ("imagenett",)})
    with pytest.raises(ConfigError, match="--weights takes imagenet, random or a folder"):
        check_starts("nowhere", [TOY], {"toy": ("imagenet",)})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty lacks toy\.weights\.h5"):
        check_starts(None, [TOY], {"toy": (str(tmp_path / "empty"),)})
    toy_file(tmp_path / "keras/models/RadImageNet-Toy_notop.h5", 0)
    check_starts(None, [TOY], {"toy": ("radimagenet",)})


def test_networks_of_one_backbone_do_not_mix(make_task: Callable[..., Any], tmp_path: Path) -> None:
    """Weights, features and scalings of each are its own, whatever was trained before in the process."""
    starts = {"toy": (GIVEN, "radimagenet", "random")}
    toy_file(tmp_path / "w" / TOY.weights_file, 1)
    mine = tmp_path / "rad"
    toy_file(mine / "RadImageNet-Toy_notop.h5", 2)
    (tmp_path / "home").mkdir()
    weights = resolve_weights(str(mine), [TOY], tmp_path / "cache", seed=5, starts={"toy": starts["toy"][1:]})
    given = resolve_weights(str(tmp_path / "w"), [TOY], tmp_path / "cache", seed=0)
    files, hashes = {**weights.files, **given.files}, {**weights.sha256, **given.sha256}
    task = make_task()
    networks = {network_name("toy", start): weights.fed(TOY, network_name("toy", start)) for start in starts["toy"]}

    def trainer(name: str) -> Trainer:
        every = type(weights)("several", "", files, hashes, weights.scaling)
        images = dict.fromkeys(networks, task.images["toy"])
        changed = {"images": images, "backbones": networks, "weights": every, "cache": tmp_path / name}
        return Trainer(make_task(**changed))

    configs = [TrialConfig("toy", "light", 1, 1e-2, 0.1, batch_size=8, initialisation=start) for start in starts["toy"]]
    together = trainer("together")
    first = [together.run(config).metrics["log_loss"] for config in configs]
    assert len({round(one, 6) for one in first}) == 3
    assert [together.run(config).metrics["log_loss"] for config in reversed(configs)] == pytest.approx(first[::-1])
    alone = [trainer(f"alone {number}").run(config).metrics["log_loss"] for number, config in enumerate(configs)]
    assert alone == pytest.approx(first, abs=1e-6)


def test_a_worker_stays_with_the_network_that_it_has() -> None:
    lanes = Lanes(2)
    one, other = ({"backbone": "toy", "unfreeze_depth": 1, "initialisation": start} for start in ("imagenet", "random"))
    lane = lanes.begin(TrialConfig.from_mapping(one))
    assert lanes.choose([one, other]) == 1, "the second worker takes what the first has not"
    lanes.begin(TrialConfig.from_mapping(other))
    lanes.end(lane)
    assert lanes.choose([other, one]) == 1


@pytest.mark.end_to_end
def test_a_run_tells_whether_the_initialisation_mattered(
    tmp_path: Path, toy_folder: Path, briefly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_one_round", toys.trials_here)
    monkeypatch.chdir(tmp_path)
    toy_file(tmp_path / "mine" / TOY.weights_file, 1)
    space = toys.SPACE.split("points:")[0].replace("[toy, toy2]", "[toy]")
    Path("starts.yaml").write_text(
        space.replace("augmentations:", "  initialisation: {choices: [mine, random]}\naugmentations:")
    )
    flags = ["--data", str(toy_folder), "--space", "starts.yaml", "--weights", "random", "--epochs", "1"]
    flags += ["--precision", "float32", "--no-learning-curve", "--repeats", "2", "--jobs", "1", "--bootstrap", "100"]
    assert main(["run", *flags, "--budget", "4", "--name", "starts", "--cache", "cache"]) == 0
    run = RunDir(Path("reports") / "starts")
    trials = pd.read_csv(run.trials)
    assert set(trials["state"]) <= {"completed", "pruned"}
    assert set(trials["config_initialisation"]) == {"mine", "random"}
    assert set(run.read().weights.sha256) == {"toy+mine", "toy+random"}
    won = pd.read_csv(run.finalists).query("winner")["config_initialisation"].iloc[0]
    others = pd.read_csv(run.baselines).query("baseline == 'initialisation'")
    assert list(others["state"]) == ["completed", "completed"]
    assert set(others["config_initialisation"]) == {"mine", "random"} - {won}
    same = [column for column in others if column.startswith("config_") and column != "config_initialisation"]
    finalist = pd.read_csv(run.finalists).query("winner")[same].iloc[0]
    assert (others[same].fillna(-1) == finalist.fillna(-1)).all(axis=None)
    pairs = pd.read_csv(run.path / "comparisons.csv")
    assert len(pairs[(pairs["a"] == "toy") & (pairs["b"] == "initialisation")]) == 1
    page = " ".join(run.report.read_text(encoding="utf-8").split())
    assert f"Toy was initialised from {won}. The same configuration was trained in the same way from" in page
    assert ("This is not transfer learning" in page) == (won == "random")
    card = json.loads((run.path / "best_model.json").read_text(encoding="utf-8"))
    assert card["weights"]["kind"] == {"mine": "folder", "random": "random"}[won]
    assert main(["verify", "starts"]) == 0
    shutil.rmtree("mine")
    assert main(["run", "--resume", "starts", "--budget", "5"]) == 2, "weights that are gone are said"
