"""Pictures for the tests of the data, and a small chest X-ray folder with faults planted in it, each of them known."""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.data.sources.demo import draw

SIZE = 96
PER_CLASS = {"train": 24, "val": 4, "test": 10}


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """``image`` as a file of a kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    """An orientation tag."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@cache
def pictures() -> tuple[Image.Image, ...]:
    """Grey phantoms, all different, SIZE pixels wide and high."""
    drawn = draw(seed=3, n_train=100, n_val=4, n_test=2, size=SIZE)
    return tuple(Image.fromarray(pixels) for pixels in drawn.images)


def file_name(split: str, label: str, number: int) -> str:
    """The name of a patient's only image, as in the public chest X-ray set; numbers are unique across splits."""
    number += {"train": 0, "val": 1000, "test": 2000}[split]
    if label == "NORMAL":
        return f"{split}/NORMAL/IM-{number:04d}-0001.jpeg"
    return f"{split}/PNEUMONIA/person{number}_bacteria_{number}.jpeg"


def write(root: Path, name: str, content: bytes) -> str:
    """Write a file; its name."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name


def write_clean(root: Path, larger: str = "") -> None:
    """A folder without faults: 24 + 24 images to train, 4 + 4 to validate, 10 + 10 to test, a patient each.

    Args:
        root: where to.
        larger: a class whose images are saved larger.
    """
    left = iter(pictures())
    for split, count in PER_CLASS.items():
        for number in range(count):
            for label in ("NORMAL", "PNEUMONIA"):
                image = next(left)
                image = image.resize((SIZE * 5 // 4,) * 2) if label == larger else image
                write(root, file_name(split, label, number), encode(image, "JPEG", quality=85))


@dataclass(frozen=True)
class Planted:
    """What was planted: the kind of each finding -> the files that it must name."""

    root: Path
    files: dict[str, set[str]]


def write_planted(root: Path) -> Planted:
    """The clean folder with one class saved larger, and one fault (or a pair) of every kind beside it."""
    write_clean(root, larger="PNEUMONIA")
    spare = list(pictures()[76:])

    def grey(kind: str, **options: Any) -> bytes:
        return encode(spare.pop(), kind, **options)

    def train(name: str, content: bytes) -> str:
        return write(root, f"train/{name}", content)

    picture = spare.pop()
    rgba = picture.convert("RGBA")
    rgba.paste((0, 0, 0, 0), (0, 0, 20, 20))
    deep = np.asarray(spare.pop()).astype(np.uint16) * 100 + 500
    copied = (root / file_name("test", "NORMAL", 0)).read_bytes()
    resaved, conflicting, shared = spare.pop(), grey("PNG"), grey("JPEG")
    palette = spare.pop().convert("RGB").quantize(32)
    of_train = file_name("train", "PNEUMONIA", 5)
    files = {
        "truncated": {train("NORMAL/IM-0500-0001.jpeg", grey("JPEG")[:1500])},
        "empty": {train("NORMAL/IM-0501-0001.jpeg", b"")},
        "no image": {train("PNEUMONIA/person500_virus_1.jpeg", b"Dear colleague, the image is attached.")},
        "transparent": {train("NORMAL/IM-0502-0001.png", encode(rgba))},
        "deep": {train("PNEUMONIA/person501_virus_2.png", encode(Image.fromarray(deep)))},
        "palette": {train("NORMAL/IM-0503-0001.png", encode(palette))},
        "rotated": {train("PNEUMONIA/person502_virus_3.jpeg", grey("JPEG", exif=exif(6)))},
        "exact": {file_name("test", "NORMAL", 0), train("NORMAL/IM-0504-0001.jpeg", copied)},
        "near": {
            write(root, "test/PNEUMONIA/person2503_bacteria_4.jpeg", encode(resaved, "JPEG", quality=95)),
            train("PNEUMONIA/person503_virus_4.jpeg", encode(resaved, "JPEG", quality=60)),
        },
        "conflicting labels": {
            train("NORMAL/IM-0505-0001.png", conflicting),
            train("PNEUMONIA/person504_virus_5.png", conflicting),
        },
        "constant": {train("NORMAL/IM-0506-0001.png", encode(Image.new("L", (SIZE, SIZE), 77)))},
        "others": {train("NORMAL/readme.txt", b"downloaded in spring")},
        "patients": {of_train, write(root, "val/PNEUMONIA/person5_bacteria_900.jpeg", shared)},
    }
    return Planted(root, files)
