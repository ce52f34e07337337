"""What is asked of a comparison: everything that can be wrong with it is found here, before any work."""

import hashlib
import importlib.metadata
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import RULES, __version__
from bench.compare.methods.methods import METHODS, Method, choose
from bench.compare.methods.process import MethodRun
from bench.compare.page import TARGET, read_facts
from bench.compare.scene import complete_points
from bench.device import cpu_cores
from bench.errors import ConfigError
from bench.run.pipeline import PACKAGES
from bench.run.request import Request, check_disk, check_writable, prepare
from bench.search.space import load_space
from bench.settings import make_settings


@dataclass(frozen=True)
class Comparison:
    """A comparison that can be carried out.

    Attributes:
        request: images, space and budget, as of a run.
        configurations: a fixed list to train; empty for searches.
        methods: in their order.
        seeds: in their order.
        target: validation AUC.
        time_limit: seconds for one method under one seed; None for no limit.
    """

    request: Request
    configurations: tuple[Mapping[str, Any], ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    target: float
    time_limit: float | None

    @property
    def folder(self) -> Path:
        """Where everything is left."""
        return self.request.run.path

    def run(self, method: Method, seed: int) -> MethodRun:
        """The folder of one method under one seed."""
        return MethodRun(self.folder / "runs" / f"{method.name}-{seed}", method, seed)

    def is_left(self, method: Method, seed: int) -> bool:
        """Whether ``method`` has yet to be run under ``seed``, for the first time or again."""
        ended = self.run(method, seed).ended()
        return ended is None or not ended.stands(self.time_limit)


def plan(
    *,
    methods: Sequence[str] | None = None,
    seeds: int = 1,
    seed: int = 0,
    target: float = TARGET,
    time_limit: float | None = None,
    fixed_list: str | None = None,
    **values: Any,
) -> Comparison:
    """Check everything about a comparison that can be checked before work starts.

    Splits, subset and random weights are the same for all seeds, those of seed 0.

    Args:
        methods: names; None takes all.
        seeds: how many.
        seed: the first.
        target: validation AUC that the methods are timed to.
        time_limit: seconds for one method under one seed.
        fixed_list: a space file whose points are to be trained, instead of a search.
        values: settings as of a run: data, budget, space, epochs and so on.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    if seeds < 1 or seed < 0:
        raise ConfigError(f"--seeds of at least 1 and --seed of at least 0 are needed, but got {seeds} and {seed}.")
    if not 0.5 < target < 1:
        raise ConfigError(f"--target takes an AUC above 0.5 and below 1, but got {target}.")
    for flag in ("space", "budget"):
        if fixed_list is not None and flag in values:
            raise ConfigError(f"--list brings its own {flag}, so --{flag} cannot be given with it.")
    chosen = choose(methods, fixed_list is not None)
    configurations: tuple[Mapping[str, Any], ...] = ()
    if fixed_list is not None:
        configurations = complete_points(load_space(fixed_list))
        values |= {"space": fixed_list, "budget": len(configurations)}
    settings = make_settings(**values)
    cpus = cpu_cores()
    if settings.jobs > cpus:
        raise ConfigError(f"--jobs {settings.jobs} is more than the {cpus} CPU cores here; 1 to {cpus} are accepted.")
    comparison = Comparison(
        prepare(settings), configurations, chosen, tuple(range(seed, seed + seeds)), target, time_limit
    )
    check_writable(comparison.folder.parent, "--output")
    check_writable(settings.cache, "--cache")
    check_disk(comparison.request)
    _check_begun(comparison)
    _check_caches(comparison)
    return comparison


def decisive(comparison: Comparison) -> dict[str, Any]:
    """What must stay the same for results to stand side by side."""
    settings, request = comparison.request.settings, comparison.request
    names = ("data", "budget", "weights", "views", "max_images", "val_share", "resize", "jobs", "cache_size")
    return {
        **{name: getattr(settings, name) for name in names},
        "epochs": request.epochs,
        "patience": request.epochs if comparison.configurations else settings.patience,
        "image_size": dict(request.sizes),
        "space": request.space.name,
        "list": bool(comparison.configurations),
        "space_sha256": hashlib.sha256(request.space.text.encode()).hexdigest(),
    }


def _check_begun(comparison: Comparison) -> None:
    old = read_facts(comparison.folder)
    if comparison.folder.exists() and not old and any(comparison.folder.glob("[!.]*")):
        raise ConfigError(f"{comparison.folder} is there already and holds no comparison; choose another --name.")
    if not old:
        return
    if old["rules"] != RULES:
        raise ConfigError(
            f"Comparison {comparison.folder.name!r} was begun under version {old['rules']} of the rules, this is "
            f"version {RULES}; choose another --name."
        )
    now = {"this suite": __version__, **packages()}
    for name, version in {"this suite": old["suite_version"], **old["packages"]}.items():
        if now.get(name) != version:
            raise ConfigError(
                f"Comparison {comparison.folder.name!r} was begun with version {version} of {name}, this is "
                f"{now.get(name)}; choose another --name."
            )
    if old["hardware"] != hardware():
        raise ConfigError(
            f"Comparison {comparison.folder.name!r} was begun on another machine, and times compare on one alone; "
            "choose another --name."
        )
    for name, value in decisive(comparison).items():
        if old["settings"].get(name) != value:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{flag} cannot change within a comparison, but {comparison.folder.name!r} was begun with "
                f"{old['settings'].get(name)!r} and this is {value!r}; choose another --name."
            )


def _check_caches(comparison: Comparison) -> None:
    for method in comparison.methods:
        source = METHODS.get(method.goes_on_from)
        if source is None:
            continue
        for seed in comparison.seeds:
            if not comparison.is_left(method, seed) or comparison.run(source, seed).cache.is_dir():
                continue
            if not comparison.is_left(source, seed):
                raise ConfigError(
                    f"--methods: {method.name} goes on from the cache that {source.name} leaves, and that of seed "
                    f"{seed} was not kept; compare both under another --name."
                )
            if source not in comparison.methods:
                raise ConfigError(
                    f"--methods: {method.name} goes on from the cache that {source.name} leaves, and there is none for "
                    f"seed {seed}; add {source.name}."
                )


def packages() -> dict[str, str]:
    """The versions of what decides scores and times."""
    return {name: importlib.metadata.version(name) for name in (*PACKAGES, "keras-tuner")}


def hardware() -> dict[str, Any]:
    """The machine in a few words."""
    gpus: list[str] = []
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        gpus = [line.split(" (UUID")[0] for line in listed.stdout.splitlines() if line.startswith("GPU")]
    return {
        "cpus": cpu_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus,
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
    }
