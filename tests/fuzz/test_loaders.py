"""Damaged and made-up files: whatever a loader is given, it answers by a value, a ConfigError or a finding.

Each loader reads whole files in which some bytes were changed, left out, doubled or put in. The inputs are the same on
every run; ``-m thorough`` takes 5,000 of each.
"""

import gzip
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from report_run import write_run
from source_files import dicom, pixels, png, write_bytes

from bench.data.images.decode import DECODE_ERRORS, decode, facts_of, problem_of
from bench.data.sources.open_source import open_source
from bench.data.splits import take_over
from bench.errors import ConfigError
from bench.evaluation import ledger
from bench.models.hdf5 import check_h5
from bench.report.read import files
from bench.run.courses import read_courses
from bench.run.documents import ModelCard
from bench.run.folder import RunDir
from bench.run.record import read_strictly
from bench.run.tables import SCHEMAS
from bench.search.shipped import SHIPPED
from bench.search.space import parse_space

MOST_PIXELS = 10**5
"""So that what states another size is refused at once."""
Load = Callable[[bytes], object]


def encoded(kind: str, **options: Any) -> bytes:
    """A small picture as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels(1, (20, 24))).save(file, kind, **options)
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, train_images=pixels(1, (12, 8, 8)), train_labels=np.arange(12) % 2)
    return file.getvalue()


def hdf5() -> bytes:
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as held:
        held["layer/kernel"] = np.ones((3, 3))
        held.attrs["model_config"] = '{"class_name": "Functional", "config": {"layers": []}}'
    return file.getvalue()


PICTURES = {
    **{kind: encoded(kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")},
    "TIFF deflated": encoded("TIFF", compression="tiff_adobe_deflate"),
    "DICOM": dicom(pixels(1, (20, 24)), PatientID="p1", WindowCenter=40, WindowWidth=80),
}
TABLE = b"path,label,patient,split\n" + b"".join(
    f"{'ab'[n % 2]}/{n}.png,{'ab'[n % 2]},p{n // 2},{('train', 'val', 'test')[n // 2 % 3]}\n".encode()
    for n in range(12)
)
CARD = (
    b'{"file": "best_model.h5", "sha256": "0", "classes": ["a", "b"], "temperature": 1.5, "input": {"height": 8, '
    b'"width": 8, "channels": 1, "resize": "squash", "window": {"low": 0, "high": 9}}}'
)
COURSE = (
    b'{"kind": "trial", "name": "1", "repeat": null, "fold": null, "epochs": [4, 5], "probabilities": '
    b"[[[0.25, 0.75], [0.5, 0.5]], [[0.125, 0.875], [0.75, 0.25]]]}\n"
)
LEDGER = b'{"time": "2026-01-01T00:00:00+00:00", "split": "x", "checksum": "y"}\n'


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """``whole`` with a few stretches of it, of texts values too, replaced by others, nothing, or themselves twice."""
    text = b"\0" not in whole
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        value = text and draw(st.booleans()) and VALUE.search(content, start)
        start = value.start() if value else start
        end = value.end() if value else start + draw(st.sampled_from([0, 1, 2, 4, 16, 10**6]))
        part = draw(st.one_of(st.binary(max_size=8), st.just(content[start:end] * 2), st.sampled_from(TOKENS)))
        content = content[:start] + part + content[end:]
    return content


VALUE = re.compile(rb"[^\s,:{}\[\]]+")
"""What stands between the marks of a table, of JSON or of YAML."""
TOKENS = tuple(map(str.encode, ("", "\0", "\n", '"', "'", "[", "{", "}", "NaN", "null", "-1", "1e999", "9" * 400)))


class Loaders:
    """Each loader by name, with a whole file that it reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for number in range(12):
            write_bytes(folder / "ab"[number % 2] / f"{number}.png", png(pixels(number)))
        self.source = open_source(str(folder), 0)
        self.run = write_run(folder.parent / "xray", trials=6, image_side=8)

    def written(self, name: str, content: bytes) -> Path:
        path = self.folder.parent / name
        path.write_bytes(content)
        return path

    def image(self, content: bytes) -> object:
        try:
            return facts_of(content, decode(content, max_pixels=MOST_PIXELS))
        except DECODE_ERRORS as error:
            return problem_of(error, content)

    def source_of(self, name: str) -> Load:
        def load(content: bytes) -> object:
            return open_source(str(self.written(name, content)), 0, image_root=self.root(name), max_pixels=MOST_PIXELS)

        return load

    def root(self, name: str) -> Path | None:
        return self.folder if name.endswith(".csv") else None

    def splits(self, content: bytes) -> object:
        return take_over(self.written("s.csv", content), self.source.table)

    def space(self, content: bytes) -> object:
        return parse_space("s", content.decode("utf-8", "replace"))

    def card(self, content: bytes) -> object:
        return read_strictly(ModelCard, self.written("best_model.json", content))

    def ledger(self, content: bytes) -> object:
        return ledger._read(self.written("ledger.jsonl", content))

    def h5(self, content: bytes) -> object:
        try:
            return check_h5(self.written("m.h5", content))
        except (OSError, ValueError) as error:
            return error

    def strictly(self, name: str) -> Load:
        """A file of a run folder, as the pipeline reads it."""

        def load(content: bytes) -> object:
            path = self.written(name, content)
            if name == "run.json":
                return RunDir(path.parent).read()
            try:
                return SCHEMAS[name].read(path.parent)
            except ValueError as error:  # is told as a ConfigError where the table is read
                return error

        return load

    def courses(self, content: bytes) -> object:
        """predictions_epochs.jsonl.gz; what was drawn is packed as a line of its own, whose checksum is right."""
        self.written("predictions_epochs.jsonl.gz", gzip.compress(content))
        return read_courses(RunDir(self.folder.parent))

    def leniently(self, name: str) -> Load:
        """A file of a run folder, as the report reads it."""

        def load(content: bytes) -> object:
            whole = (self.run.path / name).read_bytes()
            try:
                (self.run.path / name).write_bytes(content)
                return files.read(self.run)
            finally:
                (self.run.path / name).write_bytes(whole)

        return load


@pytest.fixture(scope="module")
def loaders(tmp_path_factory: pytest.TempPathFactory) -> Loaders:
    folder = tmp_path_factory.mktemp("fuzz") / "data"
    folder.mkdir()
    return Loaders(folder)


def cases(loaders: Loaders) -> dict[str, tuple[Load, bytes]]:
    run = loaders.run.path
    return {
        **{kind: (loaders.image, content) for kind, content in PICTURES.items()},
        "table": (loaders.source_of("t.csv"), TABLE),
        "npz": (loaders.source_of("a.npz"), archive()),
        "splits": (loaders.splits, b"image" + TABLE.removeprefix(b"path")),
        "space": (loaders.space, (SHIPPED / "default.yaml").read_bytes()),
        "model card": (loaders.card, CARD),
        "ledger": (loaders.ledger, LEDGER * 3),
        "h5": (loaders.h5, hdf5()),
        "courses": (loaders.courses, COURSE),
        **{f"{name}, strictly": (loaders.strictly(name), (run / name).read_bytes()) for name in STRICT},
        **{f"{name}, leniently": (loaders.leniently(name), (run / name).read_bytes()) for name in LENIENT},
    }


STRICT = (
    *("run.json", "trials.csv", "splits.csv", "predictions_test.csv", "epochs.csv", "finalists.csv", "baselines.csv"),
    *("predictions_val.csv", "comparisons.csv", "operating_points.csv", "subgroups.csv"),
)
LENIENT = (
    *("run.json", "trials.csv", "splits.csv", "predictions_test.csv", "audit.json", "evaluation.json"),
    *("calibration.json", "failures.npz", "augmentation.npz", "epochs.csv"),
)
NAMES = (
    *PICTURES,
    *("table", "npz", "splits", "space", "model card", "ledger", "h5", "courses"),
    *(f"{name}, strictly" for name in STRICT),
    *(f"{name}, leniently" for name in LENIENT),
)


def arrays(**named: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **named)
    return file.getvalue()


@pytest.mark.parametrize("name", ["failures.npz", "augmentation.npz", "saliency.npz", "thumbnails.npz"])
@pytest.mark.parametrize("kind", ["0-d", "text", "not a number", "structured", "2-d"])
def test_a_report_stands_whatever_arrays_hold(loaders: Loaders, name: str, kind: str) -> None:
    other = {
        "0-d": np.array(3),
        "text": np.array(["a", "b"]),
        "not a number": np.array([np.nan, 1]),
        "structured": np.zeros(3, [("a", "i4")]),
        "2-d": np.ones((2, 2)),
    }[kind]
    with np.load(loaders.run.path / name) as held:
        names = held.files
    assert names
    for one in names:
        with np.load(loaders.run.path / name) as held:
            loaders.leniently(name)(arrays(**{**dict(held), one: other}))


def try_out(loaders: Loaders, name: str, inputs: int) -> None:
    load, whole = cases(loaders)[name]
    load(whole)

    @settings(
        max_examples=inputs,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(whole))
    def one(content: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load(content)
            except ConfigError as error:
                assert str(error).strip()
                assert len(str(error)) < 5000

    one()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_a_config_error_comes_out(loaders: Loaders, name: str) -> None:
    try_out(loaders, name, 5 if name.endswith("leniently") else 100)


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_a_config_error_comes_out_of_thousands(loaders: Loaders, name: str) -> None:
    try_out(loaders, name, 500 if name.endswith("leniently") else 5000)
