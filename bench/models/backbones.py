"""The backbones as a table: builder, sizes, preprocessing and the five stages with the layers they are cut at.

A further backbone is one more row (see CONTRIBUTING.md).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.errors import ConfigError
from bench.search.parameters import N_STAGES


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its pixels: ``x * scale + offset`` for each output channel, from RGB 0 to 255."""

    scales: tuple[float, float, float]
    offsets: tuple[float, float, float]
    bgr: bool = False


CAFFE = Preprocessing((1.0, 1.0, 1.0), (-103.939, -116.779, -123.68), bgr=True)
TF = Preprocessing((1 / 127.5, 1 / 127.5, 1 / 127.5), (-1.0, -1.0, -1.0))
TORCH = Preprocessing(
    (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)), (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)
)
"""The three conventions of ``keras.applications.imagenet_utils.preprocess_input``."""


@dataclass(frozen=True)
class Stage:
    """One spatial resolution of a backbone.

    Attributes:
        cut: name of the stage's last layer; ``max_pooling:N`` is the N-th MaxPooling2D layer (its own name
            depends on what else the session has built).
        stride: how many input pixels one output position spans.
        channels: of the stage's output.
    """

    cut: str
    stride: int
    channels: int


@dataclass(frozen=True)
class Backbone:
    """A pretrained convolutional network without its classifier.

    Attributes:
        name: as in a search space.
        title: as people write it.
        build: ``build(weights=PATH or None, input_shape=(height, width, 3))`` -> Keras model ending in a map, of
            built-in layers only; one of Keras's own by ``partial(application, NAME)``, or by ``flat_application`` where
            it preprocesses images itself, drops blocks at random, or has other layers.
        native_size: height and width in pixels the published weights were trained at.
        minimum_size: smallest height and width in pixels that the network takes.
        preprocessing: how its pixels are scaled; becomes a layer inside the model.
        stages: five, from the input to the output.
        weights_file: Keras's name for the ImageNet weights without classifier.
        recipe: the default recipe, a configuration to start with; by default `RECIPE`.
        cost: rough milliseconds of (forward, full training step) per image at 96 pixels on two CPU cores.
        file_bytes: about what its weights, and so one exported model, take on the disk.
    """

    name: str
    title: str
    build: Callable[..., Any] = field(compare=False)
    native_size: int
    minimum_size: int
    preprocessing: Preprocessing
    stages: tuple[Stage, Stage, Stage, Stage, Stage]
    weights_file: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    cost: tuple[float, float] = (10.0, 80.0)
    file_bytes: int = 120 * 10**6

    @property
    def n_features(self) -> int:
        """Length of the pooled feature vector."""
        return self.stages[-1].channels

    def suffix_cost(self, depth: int) -> float:
        """Rough milliseconds of a training step per image at unfreeze depth ``depth``, measured as `cost` is."""
        return self.cost[1] * 0.05 * depth**2


def application(name: str, **arguments: Any) -> Any:
    """``keras.applications.NAME`` without its classifier."""
    from keras import applications

    return getattr(applications, name)(include_top=False, **arguments)


def flat_application(name: str, weights: str | None, **arguments: Any) -> Any:
    """The same without its own preprocessing, as one flat graph (`bench.models.flat`).

    Args:
        name: of the function in ``keras.applications``.
        weights: what that takes, or a file ``*.weights.h5`` that the flat network has saved.
        **arguments: ``input_shape``.
    """
    from bench.models.flat import flat

    own = weights is not None and weights.endswith(".weights.h5")
    network = flat(application(name, weights=None if own else weights, include_preprocessing=False, **arguments))
    if own:
        network.load_weights(weights)
    return network


RECIPE: Mapping[str, Any] = {
    "augmentation": "light",
    "unfreeze_depth": 2,
    "learning_rate": 1e-3,
    "finetune_factor": 0.1,
    "dropout": 0.2,
    "label_smoothing": 0.0,
    "batch_size": 32,
}
"""Head by Adam at 1e-3 with dropout 0.2, as in Keras's guide 'Transfer learning & fine-tuning'; then two stages at
1e-4, not 1e-5 as there: what won on radiographs (docs/recipes.md)."""

FIRST_RECIPE: Mapping[str, Any] = {**RECIPE, "unfreeze_depth": 1, "finetune_factor": 1e-2}
"""Keras's guide's own: that of all backbones in runs whose run.json names none."""

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone(
            name="vgg16",
            title="VGG16",
            build=partial(application, "VGG16"),
            native_size=224,
            minimum_size=32,
            preprocessing=CAFFE,
            stages=(
                Stage("block1_pool", 2, 64),
                Stage("block2_pool", 4, 128),
                Stage("block3_pool", 8, 256),
                Stage("block4_pool", 16, 512),
                Stage("block5_pool", 32, 512),
            ),
            weights_file="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            cost=(26.0, 86.0),
            file_bytes=59 * 10**6,
        ),
        Backbone(
            name="resnet50",
            title="ResNet50",
            build=partial(application, "ResNet50"),
            native_size=224,
            minimum_size=32,
            preprocessing=CAFFE,
            stages=(
                Stage("pool1_pool", 4, 64),
                Stage("conv2_block3_out", 4, 256),
                Stage("conv3_block4_out", 8, 512),
                Stage("conv4_block6_out", 16, 1024),
                Stage("conv5_block3_out", 32, 2048),
            ),
            weights_file="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            cost=(10.0, 81.0),
            file_bytes=95 * 10**6,
        ),
        Backbone(
            name="inceptionv3",
            title="InceptionV3",
            build=partial(application, "InceptionV3"),
            native_size=299,
            minimum_size=75,
            preprocessing=TF,
            stages=(
                Stage("max_pooling:1", 4, 64),
                Stage("max_pooling:2", 8, 192),
                Stage("mixed2", 8, 288),
                Stage("mixed7", 16, 768),
                Stage("mixed10", 32, 2048),
            ),
            weights_file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
            cost=(6.0, 21.0),
            file_bytes=88 * 10**6,
        ),
        Backbone(
            name="densenet121",
            title="DenseNet121",
            build=partial(application, "DenseNet121"),
            native_size=224,
            minimum_size=32,
            preprocessing=TORCH,
            stages=(
                Stage("pool1", 4, 64),
                Stage("pool2_pool", 8, 128),
                Stage("pool3_pool", 16, 256),
                Stage("pool4_pool", 32, 512),
                Stage("relu", 32, 1024),
            ),
            weights_file="densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
            cost=(7.0, 25.0),
            file_bytes=29 * 10**6,
        ),
        Backbone(
            name="efficientnetv2b0",
            title="EfficientNetV2B0",
            build=partial(flat_application, "EfficientNetV2B0"),
            native_size=224,
            minimum_size=32,
            preprocessing=TORCH,
            stages=(
                Stage("block1a_project_activation", 2, 16),
                Stage("block2b_add", 4, 32),
                Stage("block3b_add", 8, 48),
                Stage("block5e_add", 16, 112),
                Stage("output", 32, 1280),
            ),
            weights_file="efficientnetv2-b0_notop.h5",
            cost=(2.3, 7.5),
            file_bytes=24 * 10**6,
        ),
        Backbone(
            name="convnexttiny",
            title="ConvNeXtTiny",
            build=partial(flat_application, "ConvNeXtTiny"),
            native_size=224,
            minimum_size=32,
            preprocessing=TORCH,
            stages=(
                Stage("convnext_tiny_stem_layernorm", 4, 96),
                Stage("sum_3", 4, 96),
                Stage("sum_6", 8, 192),
                Stage("sum_15", 16, 384),
                Stage("output", 32, 768),
            ),
            weights_file="convnext_tiny_notop.h5",
            cost=(11.0, 36.0),
            file_bytes=112 * 10**6,
        ),
        Backbone(
            name="mobilenetv3large",
            title="MobileNetV3Large",
            build=partial(flat_application, "MobileNetV3Large"),
            native_size=224,
            minimum_size=32,
            preprocessing=TF,
            stages=(
                Stage("expanded_conv_add", 2, 16),
                Stage("expanded_conv_2_add", 4, 24),
                Stage("expanded_conv_5_add", 8, 40),
                Stage("expanded_conv_11_add", 16, 112),
                Stage("output", 32, 960),
            ),
            weights_file="weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
            cost=(1.3, 4.0),
            file_bytes=13 * 10**6,
        ),
    )
}
"""The first three are those that a search takes where neither --backbones nor the space names any (`DEFAULT`).

ConvNeXtTiny ends as Keras's own does without classifier: each position is normalised, then they are pooled; with the
classifier it is the other way round. MobileNetV3Large's pooled features are those before the classifier's own layer of
1,280 (Keras's ``conv_2``).
"""

DEFAULT = ("vgg16", "resnet50", "inceptionv3")
"""What is searched unless other backbones are asked for."""


def titles() -> dict[str, str]:
    """Name -> title of every backbone in the table."""
    return {name: backbone.title for name, backbone in BACKBONES.items()}


def get_backbone(name: str) -> Backbone:
    """The backbone called ``name``.

    Raises:
        ConfigError: if there is none; the message lists those there are.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        raise ConfigError(f"Unknown backbone {name!r}; known backbones: {', '.join(BACKBONES)}.") from None


def cut_layer(model: Any, cut: str) -> Any:
    """The layer of ``model`` that ``cut`` names.

    Raises:
        ValueError: if the model has no such layer.
    """
    kind, _, number = cut.partition(":")
    if kind != "max_pooling":
        return model.get_layer(cut)
    import keras

    pooling = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    if not 1 <= int(number) <= len(pooling):
        raise ValueError(f"{model.name} has {len(pooling)} MaxPooling2D layers, so there is no {cut!r}")
    return pooling[int(number) - 1]


def boundary_cut(backbone: Backbone, unfreeze_depth: int) -> str | None:
    """Name of the layer where the frozen prefix ends, or None at depth 5, where nothing is frozen.

    Raises:
        ConfigError: if ``0 <= unfreeze_depth <= 5`` does not hold.
    """
    if not 0 <= unfreeze_depth <= N_STAGES:
        raise ConfigError(f"unfreeze_depth must lie in 0 to {N_STAGES}, but got {unfreeze_depth}.")
    frozen = N_STAGES - unfreeze_depth
    return backbone.stages[frozen - 1].cut if frozen else None


def boundary_bytes(backbone: Backbone, size: int, channels: int, depth: int) -> int:
    """About how many bytes one image takes at the boundary of ``depth``, as float16 maps or uint8 images."""
    if depth == 0:
        return 4 * backbone.n_features
    if boundary_cut(backbone, depth) is None:
        return size * size * channels
    stage = backbone.stages[N_STAGES - depth - 1]
    return 2 * math.ceil(size / stage.stride) ** 2 * stage.channels
