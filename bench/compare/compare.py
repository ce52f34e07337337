"""Methods and seeds one after the other on one machine; compare.csv, compare.json and compare.html are left.

A comparison that is run again under its name goes on where it stopped: what has finished is kept.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from bench import RULES, __version__
from bench.compare import page
from bench.compare.asked import Comparison, decisive, hardware, packages
from bench.compare.methods.methods import METHODS, Method
from bench.compare.methods.process import Ended, MethodRun
from bench.compare.scene import Scene, set_scene
from bench.compare.spec import COLUMNS, SPACE_FILE
from bench.errors import ConfigError
from bench.run.console import Screen, duration
from bench.run.folder import write_json, write_table, write_text


def carry_out(comparison: Comparison, screen: Screen) -> int:
    """Run what has not finished yet; returns the number of methods that failed.

    Raises:
        ConfigError: if the images cannot be used, weights cannot be had, or another process is at it.
    """
    with _alone(comparison.folder):
        scene = set_scene(comparison.request, comparison.configurations, screen)
        _begin(comparison, scene)
        failed = 0
        try:
            for seed in comparison.seeds:
                for method in comparison.methods:
                    ended = _one(comparison, scene, method, seed, screen)
                    failed += ended.state == "failed"
                    collect(comparison.folder)
        finally:
            collect(comparison.folder)
            made = page.render(comparison.folder)
        screen.line(f"Comparison: {made}")
        return failed


def _one(comparison: Comparison, scene: Scene, method: Method, seed: int, screen: Screen) -> Ended:
    run = comparison.run(method, seed)
    ended = run.ended()
    if ended is not None and ended.stands(comparison.time_limit):
        screen.line(f"{method.title}, seed {seed}: kept.")
        return ended
    screen.line(f"{method.title}, seed {seed} …")
    run.begin_anew()
    cache = run.cache
    if method.goes_on_from:
        cache = comparison.run(METHODS[method.goes_on_from], seed).cache
        if not cache.is_dir():
            reason = f"{method.goes_on_from} left no cache under this seed"
            ended = Ended(method.name, seed, "failed", 0.0, reason)
            write_json(run.folder / "ended.json", asdict(ended))
            screen.line(f"  failed: {reason}")
            return ended
    ended = run.carry_out(scene.spec(method, seed, run.folder / "scratch", cache), comparison.time_limit)
    awaited = any(other.goes_on_from == method.name and comparison.is_left(other, seed) for other in comparison.methods)
    if not awaited and ended.state != "failed":  # a cache that nobody will go on from only fills the disk
        shutil.rmtree(cache, ignore_errors=True)
    rows = run.rows()
    best = f", best validation AUC {rows['auc'].max():.4f}" if rows["auc"].notna().any() else ""
    screen.line(f"  {len(rows)} trials in {duration(ended.seconds)}{best}")
    if ended.state != "finished":
        screen.line(f"  {ended.state}: {ended.reason or 'its trials so far count'}")
    return ended


def collect(folder: Path) -> None:
    """Write compare.csv from the rows of all methods that have ended, and their ends into compare.json."""
    tables, ends = [], []
    for method in METHODS.values():
        found = (folder / "runs").glob(f"{method.name}-*")
        seeds = sorted(
            int(path.name.rpartition("-")[2]) for path in found if path.name.rpartition("-")[0] == method.name
        )
        for seed in seeds:
            run = MethodRun(folder / "runs" / f"{method.name}-{seed}", method, seed)
            ended = run.ended()
            if ended is not None:
                ends.append(asdict(ended))
                tables.append(run.rows().astype({"seed": "Int64", "trial": "Int64", "epochs": "Int64"}))
    filled = [table for table in tables if len(table)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))
    write_table(folder / "compare.csv", table)
    content = page.read_facts(folder)
    write_json(folder / "compare.json", {**content, "runs": ends})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise ConfigError(
            f"Comparison {folder.name!r} is going on in another process; wait for it or end it."
        ) from None


def _begin(comparison: Comparison, scene: Scene) -> None:
    request, old = comparison.request, page.read_facts(comparison.folder)
    if old and old["data"]["fingerprint"] != scene.fingerprint:
        raise ConfigError(
            f"The images have changed since comparison {comparison.folder.name!r} was begun; start a new one."
        )
    if old and old["weights"]["sha256"] != scene.weights.sha256:
        raise ConfigError(
            f"The weights are not those that comparison {comparison.folder.name!r} began with; start a new one."
        )
    write_text(comparison.folder / SPACE_FILE, request.space.text)
    write_json(
        comparison.folder / "compare.json",
        {
            "name": comparison.folder.name,
            "created": old.get("created", datetime.now(UTC).isoformat(timespec="seconds")),
            "suite_version": __version__,
            "rules": RULES,
            "settings": decisive(comparison),
            "target": comparison.target,
            "data": {
                "path": request.source.path,
                "fingerprint": scene.fingerprint,
                "synthetic": request.source.synthetic,
                "classes": list(request.source.classes),
                "train": len(scene.rows["train"]),
                "val": len(scene.rows["val"]),
                "sizes": dict(request.sizes),
            },
            "weights": {"kind": scene.weights.kind, "note": scene.weights.note, "sha256": scene.weights.sha256},
            "hardware": hardware(),
            "packages": packages(),
            "runs": old.get("runs", []),
        },
    )
