"""The plan of a comparison: everything that can be wrong with it is found here, before any work."""

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import RULES, __version__
from bench.cluster import hardware
from bench.compare.inputs import complete_points
from bench.compare.methods.process import MethodRun
from bench.compare.methods.table import METHODS, Method, choose
from bench.compare.record import SPACE_FILE, TARGET, Decisive, read_comparison
from bench.errors import ConfigError
from bench.run.folder import LOCK
from bench.run.pipeline import PACKAGES
from bench.run.request import Request, check_disk, check_writable, prepare
from bench.search.parameters import PARAMETERS
from bench.search.space import load_space
from bench.settings import make_settings
from bench.trial import TrialConfig


@dataclass(frozen=True)
class Plan:
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
    configurations: tuple[TrialConfig, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    target: float
    time_limit: float | None

    @property
    def folder(self) -> Path:
        """Where everything is left."""
        return self.request.run.path

    @property
    def patience(self) -> int:
        """A phase ends after so many epochs without gain; no configuration of a list is stopped early."""
        return self.request.epochs if self.configurations else self.request.patience

    def run(self, method: Method, seed: int) -> MethodRun:
        """The folder of one method under one seed."""
        return MethodRun(self.folder / "runs" / f"{method.name}-{seed}", method, seed)

    def is_left(self, method: Method, seed: int) -> bool:
        """Whether ``method`` has yet to be run under ``seed``, for the first time or again."""
        ended = self.run(method, seed).ended()
        return ended is None or not ended.stands(self.time_limit)

    def decisive(self) -> Decisive:
        """What must stay the same for results to stand side by side."""
        settings, space = self.request.settings, self.request.space
        names = ("data", "budget", "weights", "views", "max_images", "val_share", "resize", "jobs", "cache_size")
        return Decisive(
            **{name: getattr(settings, name) for name in names},
            epochs=self.request.epochs,
            patience=self.patience,
            image_size=dict(self.request.sizes),
            space=space.name,
            list=bool(self.configurations),
            space_sha256=hashlib.sha256(space.text.encode()).hexdigest(),
        )


def make_plan(
    *,
    methods: Sequence[str] | None = None,
    seeds: int = 1,
    seed: int = 0,
    target: float = TARGET,
    time_limit: float | None = None,
    fixed_list: str | None = None,
    **values: Any,
) -> Plan:
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
    if seeds < 1 or seed < 0 or seed + seeds > 2**31:
        raise ConfigError(
            f"--seeds of at least 1 and --seed of at least 0, together at most {2**31}, are needed, but got "
            f"{seeds} and {seed}."
        )
    if not 0.5 < target < 1:
        raise ConfigError(f"--target takes an AUC above 0.5 and below 1, but got {target}.")
    for flag in ("space", "budget"):
        if fixed_list is not None and flag in values:
            raise ConfigError(f"--list brings its own {flag}, so --{flag} cannot be given with it.")
    chosen = choose(methods, fixed_list is not None)
    configurations: tuple[TrialConfig, ...] = ()
    if fixed_list is not None:
        configurations = complete_points(load_space(fixed_list))
        values |= {"space": fixed_list, "budget": len(configurations)}
    settings = make_settings(**values)
    plan = Plan(prepare(settings), configurations, chosen, tuple(range(seed, seed + seeds)), target, time_limit)
    _check_parameters(plan)
    check_writable(plan.folder.parent, "--output")
    check_writable(settings.cache, "--cache")
    check_disk(plan.request)
    _check_begun(plan)
    _check_caches(plan)
    return plan


def _check_parameters(plan: Plan) -> None:
    """The other methods fine-tune by plain Adam, so what they do not know cannot be compared."""
    searched = {one.name for one in plan.request.space.told}
    for row in PARAMETERS.values():
        own = any(getattr(one, row.name) != row.default for one in plan.configurations)
        if row.quiet and row.when and (own or row.name in searched):
            raise ConfigError(
                f"A comparison takes no {row.name}, which its other methods do not know; leave it out of "
                f"{plan.request.space.name!r}."
            )


def _check_begun(plan: Plan) -> None:
    """A comparison of that name that is there already must have been begun with the same everything."""
    begun = read_comparison(plan.folder)
    if begun is None:
        if plan.folder.exists() and not _never_begun(plan.folder):
            raise ConfigError(f"{plan.folder} is there already and holds no comparison; choose another --name.")
        return
    name = repr(plan.folder.name)
    if begun.rules != RULES:
        raise ConfigError(
            f"Comparison {name} was begun under version {begun.rules} of the rules, this is version {RULES}; "
            "choose another --name."
        )
    now = {"this suite": __version__, **packages()}
    for package, version in {"this suite": begun.suite_version, **begun.packages}.items():
        if now.get(package) != version:
            raise ConfigError(
                f"Comparison {name} was begun with version {version} of {package}, this is {now.get(package)}; "
                "choose another --name."
            )
    if begun.hardware != hardware():
        raise ConfigError(
            f"Comparison {name} was begun on another machine, and times compare on one alone; choose another --name."
        )
    before, wanted = begun.settings, plan.decisive()
    if change := _change_of_space(before, wanted, plan.folder):
        raise ConfigError(f"Comparison {name} was begun {change}choose another --name.")
    for setting, value in wanted:
        if (then := getattr(before, setting)) != value:
            raise ConfigError(
                f"--{setting.replace('_', '-')} cannot change within a comparison, but {name} was begun with "
                f"{_told(then)} and this is {_told(value)}; choose another --name."
            )


def _change_of_space(before: Decisive, now: Decisive, folder: Path) -> str:
    """The words by which a comparison began with another space or list; empty if it did not.

    Other settings follow from it, so it is looked at before them.

    Args:
        before: of then.
        now: of now.
        folder: of the comparison.
    """
    flag = "--list" if now.list else "--space"
    if before.list != now.list:
        return f"with{'out' * now.list} --list; "
    if before.space != now.space:
        return f"with {flag} {before.space} and this is {now.space}; "
    if before.space_sha256 != now.space_sha256:
        kept = folder / SPACE_FILE
        return f"with another text of {flag} {now.space}: its file has changed; put {kept} in its place, or "
    return ""


def _told(value: object) -> str:
    return "its default" if value is None else repr(value)


def _never_begun(folder: Path) -> bool:
    """Whether the folder holds no more than what a start leaves that was ended before compare.json was there."""
    names = {path.name for path in folder.glob("[!.]*")}
    return not names or (names == {SPACE_FILE} and (folder / LOCK).exists())


def _check_caches(plan: Plan) -> None:
    """A method that goes on from another's cache needs that method first, and its cache kept."""
    for method in (one for one in plan.methods if one.goes_on_from):
        source = METHODS[method.goes_on_from]
        needs = f"--methods: {method.name} goes on from the cache that {source.name} leaves, and"
        for seed in plan.seeds:
            if not plan.is_left(method, seed):
                continue
            run = plan.run(source, seed)
            ended = run.ended()
            if plan.is_left(source, seed) and source not in plan.methods:
                raise ConfigError(f"{needs} there is none for seed {seed}; add {source.name}.")
            if ended is not None and ended.state == "finished" and not run.cache.is_dir():
                raise ConfigError(f"{needs} that of seed {seed} was not kept; compare both under another --name.")


def packages() -> dict[str, str]:
    """The versions of what decides scores and times."""
    return {name: importlib.metadata.version(name) for name in (*PACKAGES, "keras-tuner")}
