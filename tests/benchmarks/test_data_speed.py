"""Decoding, opening and auditing, at the sizes that people have; memory beside it where it must not grow."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from test_run_speed import ROOT, XRAYS, memory_of, peak_of

from bench.data.images.store import store_images
from bench.data.sources.open_source import folder_source

N_IMAGES = 4548
"""As many as the reference set trains on."""
SIZE = 96


def draw(root: Path, count: int, side: int) -> Path:
    """A folder of ``count`` JPEGs of two classes, every picture another."""
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 256, (max(4, side // 8),) * 2, dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side)).convert("RGB").save(root / "ab"[number % 2] / f"{number:06d}.jpeg")
    return root


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4,548 colour JPEGs of 224 pixels: the reference set's training part, or as many drawn ones."""
    if XRAYS.is_dir():
        return XRAYS / "train"
    return draw(tmp_path_factory.mktemp("drawn"), N_IMAGES, 224)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """``many(count)`` -> a folder of so many small JPEGs."""
    made: dict[int, Path] = {}

    def make(count: int) -> Path:
        if count not in made:
            made[count] = draw(tmp_path_factory.mktemp(f"many-{count}"), count, 48)
        return made[count]

    return make


def pillow_loop(root: Path, mode: str) -> int:
    """What one writes without this suite: one image after another."""
    arrays = []
    for path in sorted(root.rglob("*.jpeg")):
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            arrays.append(np.asarray(image.convert(mode).resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    return len(np.stack(arrays))


@pytest.mark.benchmark(group="decode 4,548 JPEGs of 224 px to 96 px")
@pytest.mark.parametrize("way", ["store", "store, facts too", "Pillow loop", "Pillow loop to grey"])
def test_decoding(benchmark: Any, jpegs: Path, tmp_path: Path, way: str) -> None:
    source = folder_source(jpegs)
    if way.startswith("Pillow"):
        mode = "L" if "grey" in way else "RGB"
        assert benchmark.pedantic(pillow_loop, args=(jpegs, mode), rounds=5) == len(source.table)
        return
    caches = iter(tmp_path / str(number) for number in range(1000))

    def prepare() -> tuple[tuple[Any, ...], dict[str, Any]]:
        cache = next(caches)
        if way == "store":  # decoding and resizing alone: what a further image size costs
            store_images(source, [], cache)
        return (source, [SIZE], cache), {}

    found = benchmark.pedantic(store_images, setup=prepare, rounds=5)
    assert len(found.sizes[SIZE].open()) == len(source.table)


@pytest.mark.benchmark(group="open 50,000 stored images, listing their files")
def test_opening(benchmark: Any, many: Callable[[int], Path], tmp_path: Path) -> None:
    root = many(50_000)
    store_images(folder_source(root), [8], tmp_path)
    found = benchmark.pedantic(lambda: store_images(folder_source(root), [8], tmp_path), rounds=5)
    assert len(found.sizes[8].open()) == 50_000


@pytest.mark.benchmark(group="audit of chest_xray, nothing decoded before")
def test_audit(benchmark: Any, tmp_path: Path) -> None:
    if not XRAYS.is_dir():
        pytest.skip(f"the chest radiographs are not at {XRAYS}")
    caches = iter(str(tmp_path / str(number)) for number in range(1000))

    def command() -> int:
        line = [sys.executable, "-m", "bench", "audit", str(XRAYS), "--cache", next(caches)]
        return subprocess.run(line, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode

    assert benchmark.pedantic(command, rounds=3) == 0


DECODE = """
import sys
from pathlib import Path
from bench.data.sources.open_source import folder_source
from bench.data.images.store import store_images
source = folder_source(Path(sys.argv[1]))
print("go", flush=True)
store_images(source, [64], Path(sys.argv[2]))
"""


@pytest.mark.benchmark(group="decode small JPEGs; peak_mib is the memory of all processes")
@pytest.mark.parametrize("count", [5_000, 50_000])
def test_memory(benchmark: Any, many: Callable[[int], Path], tmp_path: Path, count: int) -> None:
    root = many(count)

    def decode() -> dict[str, float]:
        line = [sys.executable, "-c", DECODE, str(root), str(tmp_path / "cache")]
        process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        before = memory_of(psutil.Process(process.pid))
        return {"listed_mib": round(before * 1024), "peak_mib": round(peak_of(process, every=0.2) * 1024)}

    benchmark.extra_info.update(benchmark.pedantic(decode, rounds=1))
    assert benchmark.extra_info["peak_mib"] > 0
