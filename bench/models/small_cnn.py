"""A small convolutional network from scratch: the baseline that says whether pretraining was worth it."""

from typing import Any

CHANNELS = (16, 32, 48, 64, 80)
"""Of the five convolutions, each 3x3; 93,714 parameters for colour images of two classes."""
DROPOUT = 0.2
MOMENTUM = 0.9
"""Of the moving statistics: with 40 steps per epoch Keras's 0.99 would lag an epoch and a half behind the weights."""
EPOCHS = 20
PATIENCE = 5
LEARNING_RATE = 1e-3
BATCH_SIZE = 32
"""How it is trained, by Adam: at least so many epochs and so much patience, for it starts from nothing."""
COST = 3.0
"""Rough milliseconds of a training step per image at 96 pixels on two CPU cores."""


def small_cnn(size: int, channels: int, n_classes: int, seed: int) -> Any:
    """Images of 0 to 255 -> class probabilities, by built-in Keras layers only, computing in float32.

    Five convolutions with batch normalisation, max pooling between them, then as in the full models global average
    pooling, dropout and a dense softmax. Raghu et al. 2019 (Transfusion, arXiv:1902.07208) found networks of this
    kind close to pretrained ones on two large medical tasks. On PneumoniaMNIST one of about 93 thousand parameters
    reaches an AUC of 0.955.

    Args:
        size: height and width in pixels.
        channels: of the images, 1 or 3.
        n_classes: number of classes.
        seed: decides initial weights and dropout.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    plain: dict[str, Any] = {"dtype": "float32"}
    images = keras.Input((size, size, channels), name="image")
    values = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale", **plain)(images)
    for number, filters in enumerate(CHANNELS, start=1):
        if number > 1:
            values = layers.MaxPooling2D(padding="same", name=f"pool{number - 1}", **plain)(values)
        convolution = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{number}", **plain)
        values = layers.BatchNormalization(momentum=MOMENTUM, name=f"bn{number}", **plain)(convolution(values))
        values = layers.ReLU(name=f"relu{number}", **plain)(values)
    values = layers.GlobalAveragePooling2D(name="pool", **plain)(values)
    values = layers.Dropout(DROPOUT, seed=seed, name="dropout", **plain)(values)
    values = layers.Dense(n_classes, activation="softmax", name="probabilities", **plain)(values)
    return keras.Model(images, values, name="small_cnn")


def count_parameters(channels: int, n_classes: int) -> int:
    """How many numbers the network holds, the moving statistics of batch normalisation included."""
    inputs = (channels, *CHANNELS[:-1])
    convolutions = sum(9 * before * after for before, after in zip(inputs, CHANNELS, strict=True))
    return convolutions + 4 * sum(CHANNELS) + (CHANNELS[-1] + 1) * n_classes
