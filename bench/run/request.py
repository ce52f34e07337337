"""Settings become a request that can be carried out: everything that can be wrong with it is found here.

No work is started, and nothing is written but a request itself.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from bench import RULES
from bench.checksums import FIELD, of_document
from bench.cluster import share_out
from bench.data.audit.audit import draw_splits
from bench.data.images.store import missing_bytes
from bench.data.images.window import Window
from bench.data.imageset import ImageSet
from bench.data.patients import naming
from bench.data.sources.open_source import open_source
from bench.data.splits import folds, outer_folds, require_inner_folds
from bench.device import cpu_cores
from bench.errors import ConfigError
from bench.models.backbones import FIRST_RECIPE, Backbone, boundary_bytes, get_backbone
from bench.models.scaling import parse_scaling
from bench.models.weights import RANDOM, check_starts, folders_of, random_file, scalable
from bench.numbers import disk
from bench.run.folder import RunDir, find_run, find_start, write_text, write_vouched
from bench.run.ledgers import data_folder
from bench.run.record import RunRecord
from bench.search.space import Space, load_space, parse_space
from bench.settings import LONGEST_NAME, RunSettings, about_flag, flag_of, is_path, make_settings
from bench.stats.ensemble import MOST_MEMBERS
from bench.stats.metrics import applicable
from bench.train.cache import entries

DEFAULT_EPOCHS, DEFAULT_PATIENCE = 8, 3
TABLE_BYTES = 20 * 10**6
"""About what tables, figures and the report of a run take, and the models of the small CNN."""


@dataclass(frozen=True)
class Request:
    """A run that can be carried out: checked settings, and what they name.

    Attributes:
        settings: of the run.
        space: what is searched.
        source: all the images.
        table: the splits as far as they can be known before anything is decoded, for checks and estimates.
        taken: splits.csv of the run itself, when it is resumed.
        resumed: whether the run is there already.
        command: that began the run, where this is a later one; empty if it is this one.
    """

    settings: RunSettings
    space: Space
    source: ImageSet
    table: pd.DataFrame
    taken: Path | None = None
    resumed: bool = False
    folders: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def run(self) -> RunDir:
        """Its folder."""
        return RunDir(self.settings.output / self.settings.name)

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """Rows of the backbones that the space offers."""
        return tuple(get_backbone(name) for name in self.space.backbones)

    @property
    def sizes(self) -> dict[str, int]:
        """Backbone name -> image size in pixels."""
        return image_sizes(self.settings, self.space)

    @property
    def epochs(self) -> int:
        """At most so many per phase."""
        return self.settings.epochs or self.space.epochs or DEFAULT_EPOCHS

    @property
    def patience(self) -> int:
        """A phase ends after so many epochs without gain."""
        return self.settings.patience or self.space.patience or DEFAULT_PATIENCE


def image_sizes(settings: RunSettings, space: Space) -> dict[str, int]:
    """Backbone name -> image size in pixels.

    Raises:
        ConfigError: if a backbone needs larger images.
    """
    sizes = {}
    for backbone in map(get_backbone, space.backbones):
        size = settings.image_size or space.image_size or backbone.native_size
        if size < backbone.minimum_size:
            given = f"--image-size is {size}; enlarge it"
            suggested = f"space {space.name!r} has image_size: {size}; enlarge it there, take a larger --image-size,"
            raise ConfigError(
                f"{backbone.title} needs images of at least {backbone.minimum_size} pixels, "
                f"but {given if settings.image_size else suggested} or leave {backbone.title} out by --backbones."
            )
        sizes[backbone.name] = size
    return sizes


def prepare(
    settings: RunSettings,
    space: Space | None = None,
    resumed: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Request:
    """Check everything about a request that can be checked before work starts.

    Args:
        settings: of the run.
        space: what is searched; read from ``settings`` if None.
        resumed: whether the run is there already.
        tell: told of a download.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    if not settings.address:
        share_out(cpu_cores(), 0, 0.0, settings.jobs)  # refuses more jobs than there are cores
    space = space or load_space(settings.space_name, settings.backbones)
    image_sizes(settings, space)
    rows, starts = tuple(get_backbone(name) for name in space.backbones), space.initialisations
    known = RunDir(settings.output / settings.name).read().weights.folders if resumed else {}
    folders = folders_of(starts, known)
    check_starts(settings.weights, rows, starts, folders)
    if settings.scaling is not None:
        parse_scaling(settings.scaling, scalable(settings.weights, starts))
    if not resumed:
        check_outside(settings, "output", "cache")
    if settings.outer_budget and not settings.outer:
        raise ConfigError(f"--outer-budget {settings.outer_budget} needs folds to search in; add --outer, as in 5x2.")
    if settings.ledger == "data" and data_folder(settings) is None:
        raise ConfigError(f"--ledger data needs data that are files of yours, but got --data {settings.data}.")
    run = RunDir(settings.output / settings.name)
    taken = run.splits if resumed and run.finished("data") else None
    source = open_settings(settings, tell)
    _check_order(settings, source)
    table, _ = draw_splits(source, settings, taken=taken)
    with naming(source.patient_rule):
        if settings.folds:
            folds(table, settings.folds, settings.split_seed)
        first = list(islice(outer_folds(table, *settings.outer_shape, settings.split_seed), 1))
        require_inner_folds(table, first, settings.folds, settings.split_seed)
    return Request(settings, space, source, table, taken, resumed, folders)


def begin(values: Mapping[str, Any], tell: Callable[[str], None] = lambda line: None) -> Request:
    """The request of a new run; one without a name is called by its data and the time.

    Args:
        values: settings as they were given.
        tell: told of a download.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(values.get("data", "demo")).resolve().name).strip("-._") or "run"
    moment = f"-{datetime.now():%Y%m%d-%H%M%S}"
    wanted = make_settings(**{"name": stem[: LONGEST_NAME - len(moment)] + moment, **values})
    check_output(RunDir(wanted.output / wanted.name), wanted.cache)
    return prepare(wanted, tell=tell)


def go_on(name: str, values: Mapping[str, Any], output: Path) -> Request:
    """The request of the run ``name`` in ``output``, which goes on with ``values`` in place of its own settings.

    Raises:
        ConfigError: for a setting that is fixed once a run was begun, and as `taken_up` or `_begin_again`.
    """
    changed = {setting: value for setting, value in values.items() if setting != "output"}
    resumable = [setting for setting in RunSettings.model_fields if about_flag(setting)["resumable"]]
    fixed = sorted(set(changed) - set(resumable))
    if fixed:
        flags = ", ".join(map(flag_of, resumable))
        raise ConfigError(f"{flag_of(fixed[0])} cannot be changed when a run is resumed; only {flags} can.")
    start = find_start(name, output)
    return _begin_again(start, changed) if start is not None else taken_up(find_run(name, output), changed)


def write_request(request: Request, command: str) -> None:
    """Write down what ``command`` asks a new run for: it can go on though it ends before run.json is there."""
    run, space = request.run, request.space
    write_text(run.space, space.text)
    settings = request.settings.model_dump(mode="json")
    write_vouched(run.request, {"command": command, "settings": settings, "space": space.name})


def _begin_again(run: RunDir, changed: Mapping[str, Any]) -> Request:
    """The request of a run that was ended before run.json was there, with settings ``changed``.

    Raises:
        ConfigError: if request.json or space.yaml is damaged, for the first impossible value, and as `prepare`.
    """
    make_settings(name=run.name, **changed)
    try:
        content = json.loads(run.request.read_bytes())
        if content.get(FIELD, found := of_document(content)) != found:
            raise ValueError("its checksum is another")
        places = {"output": run.path.parent, "name": run.name}
        settings = RunSettings.model_validate({**content["settings"], **changed, **places})
        space = parse_space(content["space"], run.space.read_text(encoding="utf-8"), settings.backbones)
        command = str(content["command"])
    except (ConfigError, AttributeError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise ConfigError(
            f"Run {run.name!r} was ended before it had read its images, and request.json or space.yaml in {run.path} "
            "is damaged; begin it again by the same command."
        ) from error
    check_output(run, settings.cache)
    return replace(prepare(settings, space), command=command)


def taken_up(run: RunDir, changed: Mapping[str, Any]) -> Request:
    """`resume` after a look at the settings that are ``changed``: a mistyped value is no damaged run.json.

    Raises:
        ConfigError: for the first impossible value, and as `resume`.
    """
    make_settings(name=run.name, **changed)
    return resume(run, changed)


def open_settings(settings: RunSettings, tell: Callable[[str], None] = lambda line: None) -> ImageSet:
    """The images that ``settings`` name.

    Raises:
        ConfigError: if there is nothing usable, or ``--ordinal`` names other classes.
    """
    source = open_source(
        settings.data,
        settings.split_seed,
        patient_pattern=settings.patient_pattern,
        cache=settings.cache,
        tell=tell,
        group_by=settings.group_by or (),
        image_root=settings.image_root,
        max_pixels=settings.max_pixels,
    )
    return source if settings.ordinal is None else source.ordered(settings.ordinal)


def _check_order(settings: RunSettings, source: ImageSet) -> None:
    """Refuse, by a ConfigError, a metric that asks for an order of classes that have none."""
    if settings.metric not in applicable(len(source.classes), settings.ordinal is not None):
        raise ConfigError(
            f"--metric {settings.metric} needs classes that have an order, but got {len(source.classes)} without one; "
            f"name them all from the least to the most by --ordinal, such as --ordinal {','.join(source.classes)}."
        )


def check_output(run: RunDir, cache: Path) -> None:
    """Check that a new run folder can be made, and that the cache can be written.

    Raises:
        ConfigError: if the name is taken or the folder cannot be written.
    """
    if run.path.exists() and not (run.path.is_dir() and run.never_begun):
        raise ConfigError(
            f"There is a run {run.name!r} in {run.path.parent} already; choose another --name, "
            f"or go on with it by --resume {run.name}."
        )
    check_writable(run.path.parent, "--output")
    check_writable(cache, "--cache")


def check_outside(settings: RunSettings, *names: str) -> None:
    """Check that what is written does not go into the folder of images, where it would be taken for some of them.

    Args:
        settings: of the run.
        names: which of its folders are written to: ``output``, ``cache``.

    Raises:
        ConfigError: for the first that lies inside ``--data``, links resolved.
    """
    data = Path(settings.data).resolve()
    if settings.is_demo or not os.path.isdir(data):  # noqa: PTH112 (a Path raises where it may not look)
        return
    for name in names:
        place: Path = getattr(settings, name)
        if place.resolve().is_relative_to(data):
            outside = data.parent / ("reports" if name == "output" else "cache")
            raise ConfigError(
                f"--{name} {place} lies inside --data {data}, where what is written would be taken for data; choose a "
                f"folder outside, such as --{name} {shlex.quote(str(outside))}."
            )


def check_writable(folder: Path, flag: str) -> None:
    """Check that files can be written to ``folder``, which need not exist yet.

    Raises:
        ConfigError: if not; names ``flag``.
    """
    if folder.parts[:1] == ("~",):
        raise ConfigError(f"There is no home folder for {folder}; name another folder by {flag}.")
    there = _existing(folder)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)) or _kernels_own(there):
        raise ConfigError(f"{flag} {folder} cannot be written: {there} is not a folder with permission to write.")


def _kernels_own(path: Path) -> bool:
    """Whether ``path`` lies where the system keeps no files, whatever permissions it shows."""
    return path.resolve().is_relative_to("/proc") or path.resolve().is_relative_to("/sys")


def _same_loop(run: RunDir, before: Mapping[str, object], settings: RunSettings) -> None:
    """Refuse, by a ConfigError, another nested loop than the one whose folds lie in the run folder.

    Its budget is written down with outer.csv, before the first of them begins.
    """
    shape, budget = str(before.get("outer")), before.get("outer_budget")
    if not run.outer.exists() or budget is None:
        return
    folds, repeats = (int(part) for part in shape.split("x"))
    if settings.outer_shape[0] != folds or settings.outer_shape[1] < repeats or settings.outer_budget != budget:
        raise ConfigError(
            f"Run {run.name!r} has folds of --outer {shape} with --outer-budget {budget}; a resumed run can only add "
            f"repeats, as in --outer {folds}x{repeats + 1}."
        )


def needed_bytes(request: Request) -> tuple[int, int]:
    """Bytes that a run may still write: (into the cache, into the output folder)."""
    return _images(request) + _features(request) + _drawn(request), _models(request) + TABLE_BYTES


def asked_window(settings: RunSettings) -> Window | None:
    """That of ``--window``."""
    return Window.centered(*settings.window) if settings.window else None


def _images(request: Request) -> int:
    """Bytes of the decoded images that are not stored yet."""
    settings = request.settings
    window, sizes = asked_window(settings), request.sizes.values()
    return missing_bytes(request.source, sizes, settings.resize, settings.cache.absolute(), window)


def _features(request: Request) -> int:
    """Bytes by which cached features may grow: what leaves the cache for them makes room on the disk, too."""
    there = entries(request.settings.cache)
    room = request.settings.cache_size - sum(size for _, size in there)
    record = request.run.read() if request.resumed else RunRecord()
    weights = {*record.weights.sha256.values(), ""}
    own = {(record.data.fingerprint, sha256) for sha256 in weights} if record.data else set()
    kept = sum(size for meta, size in there if (meta.get("images"), meta.get("weights")) in own)
    return max(0, min(_all_features(request) - kept, room))


def _all_features(request: Request) -> int:
    """Bytes of all features that a run may use: of the search, of what is retrained after it, and of the small CNN."""
    space, searched = request.space, min(request.settings.views, request.epochs)
    drawn = [not policy.identity for policy in space.policies.values()]
    views, later = 1 + sum(drawn) * searched, any(drawn) * (request.epochs - searched)
    depths = {0, *space.depths}
    found, retrained = 0, []
    for one in request.backbones:
        each = [boundary_bytes(one, request.sizes[one.name], 3, depth) for depth in depths]
        found += views * sum(each) * len(space.initialisations[one.name])
        retrained.append(later * max(each))
    images = any(drawn) * request.epochs * 3 * max(request.sizes.values()) ** 2
    counts = request.table["split"].value_counts()
    pool = sum(int(counts.get(split, 0)) for split in ("train", "val"))
    return pool * (found + sum(retrained) + _rivals(request) * max(retrained) + images)


def _rivals(request: Request) -> int:
    """The default recipe and, where there is one, another initialisation."""
    return 1 + any(len(starts) > 1 for starts in request.space.initialisations.values())


def _drawn(request: Request) -> int:
    """Bytes of random weights that are not drawn yet."""
    settings = request.settings
    if not (settings.weights == RANDOM or (settings.weights is None and settings.is_demo)):
        return 0
    return sum(
        one.file_bytes for one in request.backbones if not random_file(one, settings.cache, settings.seed).is_file()
    )


def _models(request: Request) -> int:
    """Bytes of the models that are not in the run folder yet."""
    repeats, sizes = request.settings.repeats, [backbone.file_bytes for backbone in request.backbones]
    # of finalists, of the default recipe and of another initialisation, and best_model.h5
    models = repeats * (sum(sizes) + _rivals(request) * max(sizes)) + max(sizes)
    members = min(MOST_MEMBERS, repeats * len(sizes))
    models += members * max(sizes) if members > 1 else 0  # best_ensemble.h5, whose members share frozen layers at best
    run = request.run
    return max(0, models - sum(map(_size, (*run.models.glob("*.h5"), run.best_model, run.best_ensemble))))


def _size(path: Path) -> int:
    """Bytes of a file; 0 if it is not there, or not any more."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def check_disk(request: Request) -> str:
    """Check that the disks have room for what the run may write; returns that in words.

    Raises:
        ConfigError: if one has not.
    """
    cache, output = needed_bytes(request)
    places = [(_existing(request.settings.cache), cache, "--cache"), (_existing(request.run.path), output, "--output")]
    if places[0][0].stat().st_dev == places[1][0].stat().st_dev:
        places = [(places[0][0], cache + output, "--cache")]
    for folder, needed, flag in places:
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise ConfigError(
                f"The run may write {disk(needed)} but only {disk(free)} are free in {folder}; "
                f"{_way_out(flag, request.resumed)}."
            )
    return f"up to {disk(cache)} in {request.settings.cache}, {disk(output)} in {request.run.path}"


def _way_out(flag: str, resumed: bool) -> str:
    """What can be done where the folder of ``flag`` has no room: a resumed run keeps its sizes and its folder."""
    if not resumed:
        return f"choose another folder by {flag}, or take a smaller --cache-size, --image-size or --max-images"
    return "make room there, or choose another folder by --cache" if flag == "--cache" else "make room there"


def _existing(path: Path) -> Path:
    folders = (path.absolute(), *path.absolute().parents)
    return next(folder for folder in folders if os.path.exists(folder))  # noqa: PTH110  (Path's may be refused)


def resume(run: RunDir, changes: Mapping[str, object]) -> Request:
    """The request of an earlier run, with what may change (budget, repeats, time limit, jobs, places …) changed.

    Raises:
        ConfigError: if run.json is unreadable, or its data are gone.
    """
    content = run.read_run()
    try:
        settings = RunSettings.model_validate(
            {**content["settings"], **changes, "output": run.path.parent, "name": run.name}
        )
        space = _space_of(run, content, settings)
        kind = content["weights"]["kind"] if "weights" in changes else ""
        before = {name: int(content["settings"][name]) for name in ("budget", "repeats")}
    except (ConfigError, KeyError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"Run {run.name!r} cannot be taken up again: run.json or space.yaml is damaged, or was read otherwise by "
            f"an earlier version ({reason})."
        ) from error
    if is_path(settings.data) and not Path(settings.data).exists() and "data" not in changes:
        raise ConfigError(
            f"The images of run {run.name!r} are no longer at {settings.data}; name their new place by --data."
        )
    if "weights" in changes and not (kind == "folder" or (kind == "several" and Path(str(settings.weights)).is_dir())):
        raise ConfigError(f"Run {run.name!r} began with {kind} weights, which --weights cannot change.")
    if "cache" in changes:
        check_writable(settings.cache, "--cache")
    if {"cache", "data"} & set(changes):
        check_outside(settings, "cache")
    for name, number in before.items():
        if getattr(settings, name) < number:
            raise ConfigError(
                f"--{name} {getattr(settings, name)} is smaller than the {number} of run {run.name!r}; a resumed run "
                "can only grow."
            )
    _same_loop(run, content["settings"], settings)
    if settings.no_test and "no_test" in changes and run.evaluation.exists():
        raise ConfigError(
            f"The test split of run {run.name!r} was opened and evaluated; --no-test cannot seal it again. Leave it "
            "out: what is added is evaluated too, and each opening stays on record."
        )
    if content.get("rules") != RULES:
        raise ConfigError(
            f"Run {run.name!r} was begun under version {content.get('rules')} of the rules, this is version {RULES}; "
            "start a new run."
        )
    return prepare(settings, space, resumed=True)


def _space_of(run: RunDir, content: Mapping[str, Any], settings: RunSettings) -> Space:
    """What the run searches, by space.yaml and the ``content`` of run.json: its default recipes are those of then."""
    text = run.space.read_text(encoding="utf-8")
    space = parse_space(content["space"]["name"], text, settings.backbones)
    recipes = content["space"].get("recipes") or {
        name: get_backbone(name).recipe or FIRST_RECIPE for name in space.backbones
    }
    return replace(space, recipes=recipes)
