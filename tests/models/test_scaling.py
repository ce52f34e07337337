"""How pixels are scaled for weights: what the files' names say, what the user says, and what gives a mistake away."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import toys
from PIL import Image

from bench import cluster
from bench.cli import main
from bench.errors import ConfigError
from bench.models.backbones import CAFFE, TF, Preprocessing
from bench.models.scaling import RADIMAGENET, SCALINGS, UNIT, check_scaling, describe, divergence, parse_scaling
from bench.models.weights import Weights, check_weights, resolve_weights
from bench.run.folder import RunDir
from bench.run.pipeline import find_weights
from bench.run.record import RunRecord, ScalingRecord, WeightsRecord
from bench.search.parameters import GIVEN
from bench.settings import make_settings

SIDE = 48


def scenes(seed: int, n: int = 24, dark: bool = False) -> npt.NDArray[np.uint8]:
    """Coarse colour noise, reddish as skin and slides are: each channel with a mean and contrast of its own."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, 8, 8, 1)) + 0.5 * rng.normal(size=(n, 8, 8, 3))
    levels = np.array([160, 110, 90]) * (0.6 if dark else 1.0) + np.array([45, 55, 60]) * coarse
    pixels = levels.clip(0, 255).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in pixels])


def trained_on(images: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> Any:
    """A toy network whose first batch normalisation remembers what ``images`` gave it under a scaling."""
    import keras

    keras.utils.set_random_seed(1)
    network = toys.build_toy(input_shape=(SIDE, SIDE, 3))
    values = images[..., ::-1] if preprocessing.bgr else images
    given = values * np.array(preprocessing.scales, np.float32) + np.array(preprocessing.offsets, np.float32)
    seen = np.asarray(keras.Model(network.input, network.get_layer("conv1").output)(given))
    layer = network.get_layer("bn1")
    layer.set_weights([*layer.get_weights()[:2], seen.mean(axis=(0, 1, 2)), seen.var(axis=(0, 1, 2))])
    return network


@pytest.mark.parametrize("true", SCALINGS)
def test_the_right_scaling_is_not_doubted_and_each_other_is(true: str) -> None:
    """RGB for BGR, 0 to 1 for -1 to 1, means not taken off, RadImageNet's division left out, and all others."""
    network = trained_on(scenes(0), SCALINGS[true].preprocessing)
    for name, one in SCALINGS.items():
        found = check_scaling(network, scenes(1), one.preprocessing)
        assert found is not None
        assert found.assumed == name
        assert found.doubtful == (name != true), (name, found)
        assert found.best == true


def test_darker_grey_images_do_not_raise_doubts_about_the_order_of_colours() -> None:
    network = trained_on(scenes(0), CAFFE)
    grey = scenes(1, dark=True)[..., :1]
    found = check_scaling(network, grey, CAFFE)
    assert found is not None
    assert not found.doubtful
    assert found == check_scaling(network, np.repeat(grey, 3, axis=-1), CAFFE), "grey as three equal channels"
    wrong = check_scaling(network, grey, TF)
    assert wrong is not None
    assert (wrong.doubtful, wrong.best) == (True, "caffe")


def test_there_is_nothing_to_check_without_batch_normalisation() -> None:
    import keras

    images = keras.Input((SIDE, SIDE, 3))
    assert check_scaling(keras.Model(images, keras.layers.Conv2D(4, 3)(images)), scenes(0), TF) is None


def test_the_divergence_is_that_of_normal_distributions() -> None:
    """Against the integral of p log(p / q), p what is seen."""
    grid = np.linspace(-30, 30, 200_001)

    def density(mean: float, variance: float) -> npt.NDArray[np.float64]:
        return np.exp(-((grid - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    p, q = density(1.0, 2.0), density(-0.5, 3.0)
    wanted = np.trapezoid(p * np.log(np.maximum(p, 1e-300) / np.maximum(q, 1e-300)), grid)
    stored, seen = (np.array([-0.5]), np.array([3.0])), (np.array([1.0]), np.array([2.0]))
    assert divergence(stored, seen) == pytest.approx(wanted, rel=2e-3)
    assert divergence(stored, stored) == 0
    assert divergence((np.zeros(1), np.ones(1)), (np.zeros(1), np.full(1, 1e9))) == 50, "one channel counts so much"


def test_red_and_blue_are_exchanged_in_the_scaling_of_the_other_order() -> None:
    pixel = np.array([10.0, 20.0, 30.0])

    def scaled(name: str) -> npt.NDArray[np.float64]:
        one = SCALINGS[name].preprocessing
        return np.asarray((pixel[::-1] if one.bgr else pixel) * one.scales + one.offsets)

    assert scaled("caffe") == pytest.approx([30 - 103.939, 20 - 116.779, 10 - 123.68])
    assert scaled("caffe-rgb") == pytest.approx(scaled("caffe")[::-1])
    assert scaled("torch-bgr") == pytest.approx(scaled("torch")[::-1])
    assert scaled("radimagenet") == pytest.approx(scaled("caffe") / 255)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("unit", {"vgg16": "unit", "resnet50": "unit"}),
        ("resnet50=tf-bgr", {"resnet50": "tf-bgr"}),
        ("raw, vgg16=caffe", {"vgg16": "caffe", "resnet50": "raw"}),
        ("vgg16=caffe,raw", {"vgg16": "caffe", "resnet50": "raw"}),
    ],
)
def test_what_the_user_says(text: str, found: dict[str, str]) -> None:
    assert parse_scaling(text, ["vgg16", "resnet50"]) == found


def test_a_network_counts_more_than_its_backbone_in_whatever_order() -> None:
    networks = ["vgg16+mine", "vgg16+imagenet"]
    for text in ("vgg16+mine=raw,vgg16=caffe,unit", "unit,vgg16=caffe,vgg16+mine=raw"):
        assert parse_scaling(text, networks) == {"vgg16+mine": "raw", "vgg16+imagenet": "caffe"}


@pytest.mark.parametrize(
    ("text", "of"), [("unit,raw", "all backbones"), ("vgg16=unit,vgg16=unit", "vgg16"), ("unit,vgg16=raw,unit", "all")]
)
def test_two_scalings_of_the_same_are_refused(text: str, of: str) -> None:
    with pytest.raises(ConfigError, match=f"--scaling takes one scaling of {of}.*, but got '{text}'"):
        parse_scaling(text, ["vgg16"])


@pytest.mark.parametrize("text", ["", "imagenet", "vgg16=", "vgg16=0-1", "unit;raw"])
def test_an_unknown_scaling_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--scaling takes one of caffe, caffe-rgb, tf, .*, or BACKBONE=SCALING"):
        parse_scaling(text, ["vgg16"])


@pytest.mark.parametrize("text", ["resnet50=tf", "=tf"])
def test_a_backbone_that_is_not_part_of_the_run_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"in this run vgg16, but got"):
        parse_scaling(text, ["vgg16"])


def radimagenet_file(folder: Path, network: Any) -> Path:
    """A whole model under RadImageNet's name, as it is published: with its configuration, without a head."""
    folder.mkdir(exist_ok=True)
    network.save(folder / "RadImageNet-Toy_notop.h5")
    return folder / "RadImageNet-Toy_notop.h5"


def test_radimagenets_files_are_taken_under_their_names_with_their_scaling(tmp_path: Path) -> None:
    toy, network = toys.toy_backbone(), toys.build_toy()
    file = radimagenet_file(tmp_path / "weights", network)
    weights = resolve_weights(str(file.parent), [toy], tmp_path / "cache", seed=0)
    assert weights.files["toy"] == file.resolve()
    assert weights.fed(toy, "toy").preprocessing == RADIMAGENET
    assert weights.fed(toys.toy_backbone("toy2"), "toy2").preprocessing == TF, "another backbone keeps its own"
    for ours, theirs in zip(toy.build(weights=str(file)).get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    said = resolve_weights(str(file.parent), [toy], tmp_path / "cache", seed=0, scaling="toy=unit-bgr")
    assert describe(said.fed(toy, "toy").preprocessing) == "unit-bgr (0 to 1, channels in the order BGR)"


def test_two_files_of_one_backbone_and_files_of_pytorch_are_refused(tmp_path: Path) -> None:
    toy = toys.toy_backbone()
    (tmp_path / "toy.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"lacks toy\.weights\.h5; .* PyTorch's are not read, .* stride in another"):
        check_weights(str(tmp_path), [toy])
    for name in ("toy.weights.h5", "RadImageNet-Toy_notop.h5"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"holds toy\.weights\.h5 and RadImageNet-Toy_notop\.h5: one file of Toy is"):
        check_weights(str(tmp_path), [toy])


@pytest.mark.parametrize(
    ("found", "doubtful"),
    [
        (ScalingRecord(assumed="tf", divergence=1.12, best="unit", best_divergence=0.32), True),
        (ScalingRecord(assumed="tf", divergence=0.32, best="radimagenet", best_divergence=0.30), False),
        (ScalingRecord(assumed="tf", divergence=0.09, best="torch", best_divergence=0.01), False),
        (ScalingRecord(assumed="tf", divergence=0.32, best="tf", best_divergence=0.32), False),
    ],
)
def test_a_scaling_is_doubted_where_another_is_clearly_better(found: ScalingRecord, doubtful: bool) -> None:
    assert found.doubtful == doubtful


@pytest.mark.end_to_end
def test_a_run_on_the_wrong_scaling_says_so(
    tmp_path: Path,
    toy_folder: Path,
    briefly: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """RadImageNet's file, first as its name says, then with its division left out."""
    monkeypatch.chdir(tmp_path)
    films = [np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in toy_folder.rglob("*.png")]
    radimagenet_file(tmp_path / "weights", trained_on(np.stack(films[:24]), RADIMAGENET))
    Path("toys.yaml").write_text(toys.SPACE.split("points:")[0].replace("[toy, toy2]", "[toy]"))
    flags = ["--data", str(toy_folder), "--space", "toys.yaml", "--weights", "weights", "--epochs", "1", "--no-test"]
    flags += ["--precision", "float32", "--no-learning-curve", "--repeats", "1", "--jobs", "1", "--budget", "1"]

    def run(name: str, *more: str) -> RunDir:
        assert main(["run", *flags, *more, "--name", name, "--cache", "cache"]) == 0
        return RunDir(Path("reports") / name)

    right = run("right")
    recorded = right.read().weights
    assert recorded.scaling == {"toy": describe(RADIMAGENET)}
    assert recorded.checked is not None
    assert not recorded.checked["toy"].doubtful
    assert "seem to want" not in capfd.readouterr().out
    assert "wrong scale" not in right.report.read_text()
    assert "radimagenet (BGR of 0 to 255" in right.report.read_text()

    wrong = run("wrong", "--scaling", "caffe")
    said = " ".join(capfd.readouterr().out.split())
    assert "Toy: its weights seem to want pixels scaled as radimagenet, not as caffe" in said
    assert "--scaling toy=radimagenet" in said
    assert "Toy may have seen pixels of the wrong scale" in " ".join(wrong.report.read_text().split())
    before = wrong.read().weights.checked
    assert main(["run", "--resume", "wrong", "--budget", "2"]) == 0
    assert wrong.read().weights.checked == before
    assert main(["run", "--resume", "wrong", "--scaling", "tf"]) == 2
    assert (
        main(["run", "--data", str(toy_folder), "--space", "toys.yaml", "--weights", "random", "--scaling", "tf"]) == 2
    )
    assert "--scaling is of networks with pretrained weights, in this run none" in capfd.readouterr().err


def test_a_resumed_run_keeps_its_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ``--scaling`` is read as by now."""
    backbone = toys.toy_backbone()
    weights = Weights("folder", "", {"toy": Path("toy.h5")}, {"toy": "0"}, {"toy": "unit"})
    asked: Any = SimpleNamespace(
        settings=make_settings(name="toy", cache="cache"),
        backbones=(backbone,),
        space=SimpleNamespace(initialisations={"toy": (GIVEN,)}),
        folders={},
        run=SimpleNamespace(name="toy"),
    )
    monkeypatch.setattr(cluster, "call", lambda *_: weights)

    def begun(scaling: dict[str, str]) -> RunRecord:
        return RunRecord(weights=WeightsRecord(kind="folder", sha256={"toy": "0"}, scaling=scaling))

    nowhere: Any = None
    for record in (None, begun({}), begun({"toy": describe(UNIT)})):
        assert find_weights(asked, nowhere, record) is weights
    with pytest.raises(
        ConfigError, match=r"for toy would be scaled otherwise than run 'toy' began with \(tf \(-1 to 1\)"
    ):
        find_weights(asked, nowhere, begun({"toy": describe(TF)}))
