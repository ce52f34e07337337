"""How many copies in each guise are found, how many strangers are taken for copies, and how long it takes.

``pytest tests/benchmarks/test_copies_found.py --benchmark-only -s`` prints the table of docs/method/copies.md.
"""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from copies import GUISES, Picture, brains, phantoms, saved, tissue, xrays
from test_run_speed import XRAYS

from bench.data.audit.duplicates import find_duplicates
from bench.data.images.decode import Facts, perceptual_hash, thumbnail

EACH = 60
"""Copies of each guise."""
SETS: dict[str, tuple[Any, int]] = {
    "chest X-rays": (lambda count: xrays(XRAYS, count), 5_000),
    "X-ray phantoms": (phantoms, 1_500),
    "tissue textures": (tissue, 1_500),
    "brain phantoms": (brains, 1_500),
}


def examined(images: list[Picture]) -> tuple[pd.DataFrame, np.ndarray]:
    facts = [
        Facts(width=one.width, height=one.height, pixels=str(place), perceptual_hash=perceptual_hash(one))
        for place, one in enumerate(images)
    ]
    return pd.DataFrame([dataclasses.asdict(one) for one in facts]), np.stack([thumbnail(one) for one in images])


@pytest.mark.benchmark(group="altered copies among strangers")
@pytest.mark.parametrize("name", SETS)
def test_copies_in_every_guise(benchmark: Any, name: str) -> None:
    make, count = SETS[name]
    if name == "chest X-rays" and not XRAYS.is_dir():
        pytest.skip(f"the chest radiographs are not at {XRAYS}")
    originals = make(count)
    rng = np.random.default_rng(0)
    images, of, guise = list(originals), list(range(len(originals))), [""] * len(originals)
    for kind, change in GUISES.items():
        for row in rng.choice(len(originals), EACH, replace=False).tolist():
            images.append(saved(change(originals[row], rng)))
            of.append(row)
            guise.append(kind)
    facts, thumbnails = examined(images)
    strangers = len(originals)
    alone = benchmark.pedantic(find_duplicates, (facts[:strangers], None, thumbnails[:strangers]), rounds=1)
    found = find_duplicates(facts, None, thumbnails)
    clusters = [set(cluster.rows) for cluster in found.clusters]
    hits = dict.fromkeys(GUISES, 0)
    for row in range(strangers, len(images)):
        hits[guise[row]] += any({row, of[row]} <= cluster for cluster in clusters)
    altered = [cluster.rows for cluster in alone.clusters if cluster.kind == "altered"]
    benchmark.extra_info.update(found=hits, strangers_joined=len(altered), plain=alone.plain)
    print(f"\n{name}: {strangers} strangers, sets among them {len(altered)}, too plain {alone.plain}")
    for rows in altered:
        print("   joined:", rows, alone.clusters[[one.rows for one in alone.clusters].index(rows)].changes)
    for kind, hit in hits.items():
        print(f"   {kind}: {hit} of {EACH}")
    assert min(hits.values()) > 0
