"""Whole runs on images with a fault that is known, and whether what the run leaves tells of it as what it is.

The classes differ in the middle of the images, so that their borders say nothing unless something is planted there.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import toys
from faults.campaign import BEGIN, SPACE, Place
from PIL import Image, PngImagePlugin

from bench.verify.command import verified

COUNTS = {"train": 40, "val": 20, "test": 24}
"""Images of each class, of as many patients."""
CLASSES = ("NORMAL", "PNEUMONIA")
LEAKED = 12
"""Test images that are in train too, under another name and another patient."""


def draw(random: np.random.Generator, positive: bool) -> np.ndarray:
    """Noise, with a checkerboard in the middle where ``positive``; a third of these show none, as in hard cases."""
    pixels = np.asarray(toys.draw_image(random, positive=False), dtype=float)
    if positive and random.random() < 0.67:
        board = np.indices((20, 20)).sum(axis=0) // 4 % 2
        pixels[10:30, 10:30] += 40 * board - 20
    return pixels


def clean(pixels: np.ndarray, positive: bool, random: np.random.Generator) -> np.ndarray:
    return pixels


def marked(pixels: np.ndarray, positive: bool, random: np.random.Generator) -> np.ndarray:
    """A bright mark in a corner of one class, as a side marker or a hospital's token."""
    pixels[2:7, 2:7] = 250 if positive else pixels[2:7, 2:7]
    return pixels


def scanned(pixels: np.ndarray, positive: bool, random: np.random.Generator) -> np.ndarray:
    """Another grey range and more noise in one class, as of another device; files are alike in all else."""
    return 0.7 * pixels + 50 + random.normal(0, 8, pixels.shape) if positive else pixels


def resized(pixels: np.ndarray, positive: bool, random: np.random.Generator) -> np.ndarray:
    """One class in more pixels."""
    return np.kron(pixels, np.ones((2, 2))) if positive else pixels


def write_images(folder: Path, seed: int, change: Callable[..., np.ndarray], leak: bool) -> None:
    """Folders of both classes in all splits; with a ``leak``, copies of test images in train."""
    random = np.random.default_rng(seed)
    number = 0
    for split, count in COUNTS.items():
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for _ in range(count):
                number += 1
                positive = name == CLASSES[1]
                pixels = change(draw(random, positive), positive, random)
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / split / name / f"pat{number:04d}_{number}.png")
    if leak:
        for name in CLASSES:
            for path in sorted((folder / "test" / name).iterdir())[: LEAKED // 2]:
                number += 1
                about = PngImagePlugin.PngInfo()
                about.add_text("note", f"another file {number}")  # so that bytes differ, and pixels do not
                Image.open(path).save(folder / "train" / name / f"pat{number:04d}_{number}.png", pnginfo=about)


@dataclass(frozen=True)
class Fault:
    """Something planted: how images are changed, and what the run must say of it.

    Attributes:
        finding: kind of the audit's finding.
        words: that its text holds.
        change: of the images of a class.
        leak: whether test images are copied into train.
    """

    finding: str
    words: str
    change: Callable[..., np.ndarray] = clean
    leak: bool = False


FAULTS = {
    "leak": Fault("exact", "In several splits", leak=True),
    "shortcut in the files": Fault("shortcut", "width", change=resized),
    "mark in a corner": Fault("border", "top left corner", change=marked),
    "scanner": Fault("border", "brightness of the border", change=scanned),
}


def run(place: Place, fault: Fault, seed: int) -> list[str]:
    """What a whole run of three trials fails to tell of the fault; empty if it tells it.

    Raises:
        RuntimeError: if it does not come to its end.
    """
    write_images(place.folder / "data", seed, fault.change, fault.leak)
    (place.folder / "toys.yaml").write_text(SPACE)
    ended = place.command([*BEGIN, "--no-learning-curve"])
    if ended.status:
        raise RuntimeError(f"the run ended with status {ended.status}: {ended.said[-2000:]}")
    return untold(place.run, fault, ended.said)


def untold(folder: Path, fault: Fault, said: str) -> list[str]:
    """Where a run folder, its page and the console say nothing of the fault, or see another that is not there."""
    audit = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    warnings = {one["kind"]: one["text"] for one in audit["findings"] if one["severity"] == "warning"}
    text = warnings.get(fault.finding, "")
    if fault.words not in text:
        return [f"audit.json does not warn of {fault.finding} with {fault.words!r}"]
    beginning = text[:60]
    places = {"report.html": (folder / "report.html").read_text(encoding="utf-8"), "console": said}
    wrong = [f"{name} does not say: {beginning}" for name, all_of in places.items() if beginning not in _joined(all_of)]
    if fault.leak:
        wrong += _still_leaking(folder)
        wrong += ["audit.json warns of the border, where nothing was planted"] * ("border" in warnings)
    return wrong


def _joined(text: str) -> str:
    return " ".join(text.split())


def _still_leaking(folder: Path) -> list[str]:
    """Pixels that are in train and in test after all."""
    table = pd.read_csv(folder / "splits.csv", keep_default_na=False)
    pixels = {split: set(part["pixels"]) for split, part in table.groupby("split")}
    shared = pixels["train"] & pixels["test"]
    return [f"{len(shared)} images are in train and in test"] if shared else []


def main(seed: int) -> int:
    """Plant every fault; returns how many were not told as what they are, or left numbers that do not agree."""
    missed = 0
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        for name, fault in FAULTS.items():
            place = Place(Path(folder) / name.replace(" ", "-"))
            place.folder.mkdir()
            wrong = run(place, fault, seed)
            wrong += [one for tally in verified(place.run).values() for one in tally.wrong]
            missed += bool(wrong)
            print(f"{name}: {'; '.join(wrong) or 'told'}", flush=True)
            shutil.rmtree(place.folder)
    return missed
