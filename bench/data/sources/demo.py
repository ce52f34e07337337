"""The embedded demo data set: synthetic chest phantoms drawn from a seed; not medical data, and of no clinical meaning.

Each image is a drawing that resembles a frontal chest radiograph: lungs, ribs, spine, heart shadow, vessels.
It shows one of two findings:

- ``NORMAL``: lung fields with branching vessel markings under a smooth haze;
- ``OPACITY``: the same markings under patchy, fluffy opacities, from hardly visible to dense.

What differs is local texture inside the lungs. Brightness is no help: haze and opacities are drawn from one
distribution of place, extent and strength, and differ in the size of their lumps alone; neither changes the mean
density of the lungs; every image has its own exposure; and large hearts, soft-tissue shadows, clumps outside the
lungs and devices come with either.

**The ceiling.** In every split one in 40 images labelled NORMAL shows the OPACITY finding, and three in 80 labelled
OPACITY show the NORMAL one, as reference standards of real collections err. Those images are drawn exactly as
the other class is, so nothing in them tells which they are. The best a model can do is to rank by the finding.
With a = 1/40 and b = 3/80 the shares shown as the other class, a pair of one image from each class is ranked
rightly with probability (1 - a)(1 - b), tied with a(1 - b) + b(1 - a), and wrongly with ab; so
AUC <= (1 - a)(1 - b) + (a(1 - b) + b(1 - a)) / 2 = 1 - (a + b) / 2 = 0.969 for any model, in expectation.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from bench.errors import ConfigError

CLASSES = ("NORMAL", "OPACITY")
SPLITS = ("train", "val", "test")
SHOWN_AS_OTHER = {"NORMAL": 1 / 40, "OPACITY": 3 / 80}
"""Share of a class's images, by label, that are drawn with the other class's finding."""

LUMP_SIZES = {"NORMAL": (0.50, 0.80), "OPACITY": (0.06, 0.12)}
"""Range of the lumps' size in the lungs by finding, in half image sides: all that tells the two findings apart."""

_NORMAL_SHARE = 1 / 3
_MAX_IMAGES_PER_PATIENT = 4
_MIN_SIZE = 16

Field = npt.NDArray[Any]
"""Float array of shape (size, size): a quantity at every pixel, of the order of 1; float32, for speed."""


@dataclass(frozen=True)
class DemoSet:
    """Drawn images with what is known of each; every sequence has one entry per image, in the same order.

    Attributes:
        images: uint8 array of shape (n_images, size, size), grey, 0 black to 255 white.
        labels: class names, ``NORMAL`` or ``OPACITY``.
        patients: patients' names, such as ``demo-0001``; a patient has 1 to 4 images, one label and one split.
        splits: ``train``, ``val`` or ``test``.
        findings: the class each image was drawn as; differs from ``labels`` for the few that set the ceiling.
            For checking the data set, never for training.
    """

    images: npt.NDArray[np.uint8]
    labels: list[str]
    patients: list[str]
    splits: list[str]
    findings: list[str]


def draw(seed: int = 0, n_train: int = 240, n_val: int = 120, n_test: int = 120, size: int = 160) -> DemoSet:
    """The demo data set of a seed: on one machine, the same arguments give the same bytes.

    Elsewhere single pixels may differ by one grey level, as float32 functions round differently across processors.
    A third of each split's images is NORMAL, the rest OPACITY; patients never cross splits.

    Args:
        seed: decides every drawn quantity.
        n_train, n_val, n_test: images in each split.
        size: side of an image in pixels.

    Raises:
        ConfigError: if a split has fewer than 2 images (it needs both classes), or the size is below 16 pixels.
    """
    counts = dict(zip(SPLITS, (n_train, n_val, n_test), strict=True))
    for split, n_images in counts.items():
        if n_images < len(CLASSES):
            raise ConfigError(
                f"Every split of the demo set needs at least {len(CLASSES)} images, one a class, "
                f"but got {n_images} for {split!r}."
            )
    if size < _MIN_SIZE:
        raise ConfigError(f"Demo images are drawn at {_MIN_SIZE} pixels or more, but got size={size}.")

    rng = np.random.default_rng(seed)
    images, rows, n_patients = [], [], 0
    for split, n_images in counts.items():
        for label, findings in _roster(rng, n_images):
            n_patients += 1
            anatomy = {name: rng.uniform(*ends) for name, ends in ANATOMY.items()}
            for finding in findings:
                images.append(_draw_image(rng, anatomy, finding, size))
                rows.append((label, f"demo-{n_patients:04d}", split, finding))
    return DemoSet(np.stack(images), *map(list, zip(*rows, strict=True)))


def _roster(rng: np.random.Generator, n_images: int) -> list[tuple[str, list[str]]]:
    """A split's patients in random order: for each the label, and the finding drawn in each of its images."""
    n_normal = max(1, round(n_images * _NORMAL_SHARE))
    roster: list[tuple[str, list[str]]] = []
    for label, other, n_label in zip(CLASSES, CLASSES[::-1], (n_normal, n_images - n_normal), strict=True):
        findings = np.full(n_label, label, dtype=object)
        n_other = round(n_label * SHOWN_AS_OTHER[label])
        findings[rng.choice(n_label, n_other, replace=False)] = other
        start = 0
        while start < n_label:
            stop = start + int(rng.integers(1, _MAX_IMAGES_PER_PATIENT + 1))
            roster.append((label, [str(finding) for finding in findings[start:stop]]))
            start = stop
    return [roster[i] for i in rng.permutation(len(roster))]


ANATOMY = {
    "lung_width": (0.29, 0.36),
    "lung_height": (0.64, 0.78),
    "lung_gap": (0.40, 0.46),
    "diaphragm": (0.42, 0.62),
    "heart_size": (0.24, 0.40),
    "heart_tilt": (0.3, 0.9),
    "rib_spacing": (0.17, 0.22),
    "rib_slope": (0.15, 0.45),
    "rib_density": (0.06, 0.16),
    "torso_width": (0.92, 1.10),
    "vessel_density": (0.15, 0.25),
}
"""What all images of a patient share -> the range that it is drawn from, whatever the class. Lengths are in half image
sides, x to the right and y downwards."""
Anatomy = dict[str, float]  # of one patient, keys as in ANATOMY


def _draw_image(rng: np.random.Generator, anatomy: Anatomy, finding: str, size: int) -> npt.NDArray[np.uint8]:
    """One exposure of a patient, uint8 array of shape (size, size)."""
    x, y = _pose(rng, size)
    lungs = _lungs(anatomy, x, y)
    density = _torso(anatomy, x, y)
    density += _bones(anatomy, x, y)
    density -= rng.uniform(0.42, 0.62) * lungs
    density += anatomy["vessel_density"] * lungs * _vessels(rng, x, y)
    density += _haze_or_opacities(rng, finding, lungs, x, y)
    density += _soft_tissue(rng, x, y)
    density += _clumps_outside(rng, lungs, x, y)
    density += _devices(rng, x, y)
    return _expose(rng, density)


def _pose(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Body coordinates x and y of every pixel, for a patient who stands slightly shifted, turned, near or far."""
    side = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    column, row = np.meshgrid(side, side)
    angle, scale = rng.normal(0, 0.05), rng.uniform(0.92, 1.10)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    return cos * column - sin * row + rng.normal(0, 0.04), sin * column + cos * row + rng.normal(0, 0.04)


def _step(field: Field, width: float) -> Field:
    """A smooth step from 0 to 1 where the field crosses 0, ``width`` wide."""
    ramp = np.clip(field / width + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _blob(x: Field, y: Field, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> Field:
    """A Gaussian bump of height 1, its radii (standard deviations) turned by ``angle`` radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    u, v = x - centre[0], y - centre[1]
    across, along = (cos * u + sin * v) / radii[0], (cos * v - sin * u) / radii[1]
    return np.exp(-0.5 * (across * across + along * along))


def _lungs(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Aerated lung seen at every pixel, 0 to 1: two fields, rounded above, domed below, less the heart."""
    apart = np.abs(x) - anatomy["lung_gap"]
    above = np.clip(-(y + 0.15) / anatomy["lung_height"], 0, 2)
    half_width = anatomy["lung_width"] * np.sqrt(np.clip(1 - 1.3 * above * above, 0, 1))
    apex = -0.15 - anatomy["lung_height"] / math.sqrt(1.3)
    fields = _step(half_width - np.abs(apart - 0.02 * y), 0.10) * _step(y - apex - 0.02, 0.08)
    dome = anatomy["diaphragm"] + 0.9 * apart * apart - 0.06 * (x < 0)
    return fields * _step(dome - y, 0.08) * (1 - 0.85 * _heart(anatomy, x, y))


def _heart(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """The heart's shadow, 0 to 1: a tilted ellipse that lies left of the midline, on the image's right."""
    size = anatomy["heart_size"]
    cos, sin = math.cos(anatomy["heart_tilt"]), math.sin(anatomy["heart_tilt"])
    u, v = x - (0.10 + 0.3 * (size - 0.24)), y - (anatomy["diaphragm"] - 0.72 * size)
    across, along = (cos * v - sin * u) / size, (cos * u + sin * v) / (1.25 * size)
    return _step(1 - np.sqrt(across * across + along * along), 0.2)


def _torso(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Density of the body as if without air: soft tissue that ends at the sides, mediastinum, heart, abdomen."""
    shoulders = 0.25 * np.clip(-y - 0.55, 0, 1)
    density: Field = 0.80 * _step(1.02 - np.abs(x) / anatomy["torso_width"] - shoulders, 0.16)
    density += 0.18 * np.exp(-((x / 0.16) ** 2))
    density += 0.12 * _heart(anatomy, x, y)
    density += 0.14 * _step(y - anatomy["diaphragm"] - 0.05, 0.4)
    return density


def _bones(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Density of ribs, vertebrae and clavicles."""
    apart = np.abs(x)
    wave = np.cos(2 * math.pi / anatomy["rib_spacing"] * (y + anatomy["rib_slope"] * apart - 0.75 * apart * apart))
    cage = _step(anatomy["lung_gap"] + anatomy["lung_width"] + 0.06 - apart, 0.1) * _step(apart - 0.1, 0.1)
    ribs = anatomy["rib_density"] * _step(wave - 0.35, 0.9) * cage * _step(0.85 - np.abs(y + 0.1), 0.2)
    vertebrae = 0.06 * _step(0.11 - apart, 0.06) * (1 + 0.5 * np.cos(2 * math.pi / 0.17 * y))
    clavicles = 0.12 * _step(0.035 - np.abs(y + 0.62 + 0.18 * apart), 0.04) * _step(0.34 - np.abs(apart - 0.41), 0.1)
    return np.asarray(ribs + vertebrae + clavicles)


def _vessels(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Normal lung markings, of the order of 1: hila, and curved branches that leave them and thin out."""
    size, n_branches, n_steps = len(x), 36, 120
    side = np.where(np.arange(n_branches) % 2, 1, -1)[:, None]
    turns = rng.normal(0, 0.05, (n_branches, n_steps))
    heading = rng.uniform(-1.4, 1.4, (n_branches, 1)) + np.cumsum(turns, axis=1)
    stride = rng.uniform(0.3, 0.7, (n_branches, 1)) / n_steps
    across = side * (0.14 + np.cumsum(stride * np.cos(heading), axis=1))
    down = rng.normal(-0.05, 0.06, (n_branches, 1)) + np.cumsum(stride * np.sin(heading), axis=1)
    column, row = (((place + 1) * size / 2).astype(int).clip(0, size - 1) for place in (across, down))
    thickness = np.linspace(1, 0.3, n_steps) * stride * size
    lines = np.bincount((row * size + column).ravel(), thickness.ravel(), minlength=size * size)
    branches = ndimage.gaussian_filter(lines.reshape(size, size).astype(np.float32), 0.006 * size)
    return np.asarray(np.tanh(1.2 * branches) + 0.35 * _blob(np.abs(x), y, (0.17, -0.02), (0.06, 0.12)))


def _haze_or_opacities(rng: np.random.Generator, finding: str, lungs: Field, x: Field, y: Field) -> Field:
    """The finding: foci of extra density in the lungs, their mean over the lungs taken off.

    Fluffy lumps for OPACITY, and for NORMAL lumps so large that they make a smooth haze. All else is drawn alike.
    """
    n_foci = int(rng.integers(4, 8))
    envelope = np.zeros_like(x)
    for pixel in rng.choice(np.flatnonzero(lungs > 0.6), n_foci):
        radii = (rng.uniform(0.20, 0.35), rng.uniform(0.20, 0.35))
        envelope += _blob(x, y, (float(x.flat[pixel]), float(y.flat[pixel])), radii, rng.uniform(0, math.pi))
    lump_size = rng.uniform(*LUMP_SIZES[finding])
    field = rng.uniform(0.30, 1.00) * np.minimum(envelope, 1) * _lumps(rng, len(x), lump_size) * lungs
    return np.asarray(field - lungs * (field.sum() / lungs.sum()))


def _lumps(rng: np.random.Generator, size: int, lump_size: float) -> Field:
    """Clouds of 0 to 1 with lumps about ``lump_size`` half image sides across, and smaller ones on them."""
    clouds = _noise(rng, size, lump_size) + 0.6 * _noise(rng, size, lump_size / 2)
    return _step(clouds - 0.2, 3.2)


def _noise(rng: np.random.Generator, size: int, lump_size: float) -> Field:
    """Smooth noise of mean 0 and standard deviation 1: white noise under a Gaussian, by FFT as it may be wide."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    sigma = lump_size * size / 4
    decay = [np.exp(-2 * (math.pi * sigma * f) ** 2) for f in (fft.fftfreq(size), fft.rfftfreq(size))]
    smooth = fft.irfft2(fft.rfft2(white) * np.outer(*decay).astype(np.float32), s=white.shape)
    return np.asarray((smooth - smooth.mean()) / smooth.std())


def _soft_tissue(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Smooth shadows, whatever the finding: breasts or fat over the lower lungs, a fold, an oblique beam."""
    breasts = _blob(np.abs(x), y, (rng.uniform(0.40, 0.52), rng.uniform(0.2, 0.4)), (0.24, 0.20))
    place = (rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.4))
    fold = _blob(x, y, place, (rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.5)), rng.uniform(0, math.pi))
    beam = rng.normal(0, 0.03) * x + rng.normal(0, 0.03) * y
    return rng.uniform(0, 0.12) * breasts + rng.uniform(0, 0.12) * fold + beam


def _clumps_outside(rng: np.random.Generator, lungs: Field, x: Field, y: Field) -> Field:
    """Lumpy densities outside the lungs, whatever the finding: bowel and its gas, shoulders, folds of skin."""
    envelope = np.zeros_like(x)
    for _ in range(int(rng.integers(0, 4))):
        if rng.random() < 0.6:
            centre = (rng.uniform(-0.8, 0.8), rng.uniform(0.60, 0.95))
        else:
            centre = (math.copysign(rng.uniform(0.75, 0.95), rng.uniform(-1, 1)), rng.uniform(-0.95, 0.5))
        envelope += _blob(x, y, centre, (rng.uniform(0.08, 0.22), rng.uniform(0.08, 0.22)), rng.uniform(0, math.pi))
    strength = math.copysign(rng.uniform(0.05, 0.25), rng.uniform(-1, 1))
    lumps = _lumps(rng, len(x), rng.uniform(*LUMP_SIZES["OPACITY"]))
    return np.asarray(strength * np.minimum(envelope, 1) * lumps * (1 - lungs))


def _devices(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Things that are not the patient's, whatever the finding: leads, electrodes, a pacemaker."""
    density = np.zeros_like(x)
    for _ in range(int(rng.poisson(0.3))):
        path = x - rng.uniform(-0.6, 0.6) - rng.normal(0, 0.4) * y - rng.normal(0, 0.3) * y * y
        density += rng.uniform(0.15, 0.35) * _step(0.012 - np.abs(path), 0.015)
    for _ in range(int(rng.poisson(0.4))):
        u, v = x - rng.uniform(-0.7, 0.7), y - rng.uniform(-0.7, 0.7)
        density += rng.uniform(0.15, 0.40) * _step(0.045 - np.sqrt(u * u + v * v), 0.02)
    if rng.random() < 0.08:
        density += 0.4 * _step(0.11 - np.maximum(np.abs(x - 0.45), 1.3 * np.abs(y + 0.50)), 0.04)
    return density


def _expose(rng: np.random.Generator, density: Field) -> npt.NDArray[np.uint8]:
    """The film, as uint8: density through a window, gamma, gain, blur and grain of the image's own."""
    size = len(density)
    low, high = np.quantile(density[::4, ::4], (0.03, 0.97)).astype(np.float32)
    level = np.clip(0.15 + 0.70 * (density - low) / (high - low), 0, 1)
    level = rng.uniform(0.78, 0.95) * level ** math.exp(rng.normal(0, 0.12)) + rng.uniform(0, 0.08)
    level = ndimage.gaussian_filter(level, rng.uniform(0.3, 0.7) * size / 160)
    level += rng.uniform(0.010, 0.025) * rng.standard_normal((size, size), dtype=np.float32)
    film: npt.NDArray[np.uint8] = np.clip(np.rint(255 * level), 0, 255).astype(np.uint8)
    return film
