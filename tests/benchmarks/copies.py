"""Copies of images in every guise, made as folders are augmented before they are shared, and sets to hide them in."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from bench.data.sources.demo import draw

Picture = Image.Image
Make = Callable[[Picture, np.random.Generator], Picture]
TURN = Image.Transpose


def _cropped(image: Picture, rng: np.random.Generator) -> Picture:
    width, height = (round(side * (1 - rng.uniform(0.05, 0.20))) for side in image.size)
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    part = image.crop((int(left), int(top), int(left) + width, int(top) + height))
    return part.resize(image.size, Image.Resampling.BILINEAR)


def _shifted(image: Picture, rng: np.random.Generator) -> Picture:
    way = rng.uniform(0, 2 * np.pi)
    x, y = np.array([np.cos(way), np.sin(way)]) * rng.uniform(0.04, 0.12) * image.size
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, round(x), 0, 1, round(y)))


def _bordered(image: Picture, rng: np.random.Generator) -> Picture:
    width, grey = round(rng.uniform(0.04, 0.12) * image.width), int(rng.choice([0, 255]))
    framed = ImageOps.expand(image, width, fill=grey if image.mode == "L" else (grey,) * 3)
    return framed.resize(image.size, Image.Resampling.BILINEAR)


def _turned(low: float, high: float) -> Make:
    def make(image: Picture, rng: np.random.Generator) -> Picture:
        return image.rotate(rng.uniform(low, high) * rng.choice([-1, 1]), Image.Resampling.BILINEAR)

    return make


def _locally_equalised(image: Picture, rng: np.random.Generator) -> Picture:
    grey = cv2.createCLAHE(2.0, (8, 8)).apply(np.asarray(image.convert("L")))
    return Image.fromarray(grey).convert(image.mode)


def _after(first: Make, second: Make) -> Make:
    return lambda image, rng: second(first(image, rng), rng)


def _plain(change: Callable[[Picture], Picture]) -> Make:
    return lambda image, rng: change(image)


GUISES: dict[str, Make] = {
    "mirrored": _plain(ImageOps.mirror),
    "mirrored top to bottom": _plain(ImageOps.flip),
    "transposed": _plain(lambda image: image.transpose(TURN.TRANSPOSE)),
    "rotated by 90°": _plain(lambda image: image.transpose(TURN.ROTATE_90)),
    "rotated by 180°": _plain(lambda image: image.transpose(TURN.ROTATE_180)),
    "rotated by 270°": _plain(lambda image: image.transpose(TURN.ROTATE_270)),
    "inverted": _plain(ImageOps.invert),
    "equalised": _plain(ImageOps.equalize),
    "equalised locally (CLAHE)": _locally_equalised,
    "gamma 1.8": _plain(lambda image: image.point(lambda value: round(255 * ((value % 256) / 255) ** 1.8))),
    "rotated by 3° to 10°": _turned(3, 10),
    "rotated by 10° to 25°": _turned(10, 25),
    "shifted by 4 to 12 %": _shifted,
    "cropped by 5 to 20 %": _cropped,
    "bordered by 4 to 12 %": _bordered,
    "mirrored, rotated by 3° to 25°": _after(_plain(ImageOps.mirror), _turned(3, 25)),
    "rotated by 3° to 10°, cropped": _after(_turned(3, 10), _cropped),
    "rotated by 3° to 10°, inverted": _after(_turned(3, 10), _plain(ImageOps.invert)),
}


def saved(image: Picture, quality: int = 90) -> Picture:
    """The image after it was saved as a JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert(image.mode)


def xrays(root: Path, count: int) -> list[Picture]:
    """The first ``count`` chest radiographs below ``root``, in the order of their names."""
    return [Image.open(path).convert("L") for path in sorted(root.glob("*/*/*.jpeg"))[:count]]


def phantoms(count: int) -> list[Picture]:
    """Synthetic chest radiographs, all from one model of anatomy."""
    return [saved(Image.fromarray(one)) for one in draw(seed=3, n_train=count, n_val=4, n_test=2, size=128).images][
        :count
    ]


def tissue(count: int, side: int = 192) -> list[Picture]:
    """Textures in colour, like stained sections: dark nuclei strewn at random on pink."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        pixels = np.full((side, side, 3), (225, 170, 200), np.uint8)
        for _ in range(160):
            centre, axes = rng.integers(0, side, 2), rng.integers(3, 8, 2)
            colour = [int(value) for value in rng.normal((95, 60, 140), 12)]
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(pixels, centre.tolist(), axes.tolist(), turn, 0, 360, colour, -1, cv2.LINE_AA)
        waves = cv2.GaussianBlur(rng.normal(0, 60, (side, side, 1)).astype(np.float32), (0, 0), 3)[..., None]
        noise = rng.normal(0, 4, pixels.shape)
        found.append(saved(Image.fromarray(np.clip(pixels + waves * 3 + noise, 0, 255).astype(np.uint8))))
    return found


def brains(count: int, side: int = 192) -> list[Picture]:
    """Heads on black, like slices of magnetic resonance images: skull, hemispheres, folds that are each one's own."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        wide, high = rng.uniform(0.62, 0.72), rng.uniform(0.78, 0.9)
        radius = np.hypot(x / wide, y / high)
        folds = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), rng.uniform(2.5, 4))
        brain = 110 + 45 * np.tanh(folds * 12) * (radius < 0.82)
        brain -= 80 * (np.hypot((np.abs(x) - 0.1) / 0.07, (y - rng.uniform(-0.05, 0.05)) / 0.2) < 1)
        brain -= 60 * np.exp(-((x / 0.015) ** 2))
        image = np.where(radius < 0.86, brain, np.where(radius < 0.93, 30, np.where(radius < 1, 200, 0)))
        image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1) + np.abs(rng.normal(0, 5, image.shape))
        found.append(saved(Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))))
    return found
