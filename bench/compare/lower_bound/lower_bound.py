"""The lower bound: the least time in which bare Keras could do the work of a run, or of a comparison's fixed list.

What has to be done is read from the files that were left; how fast it can be done is measured by
`bench.compare.lower_bound.calibrate`, never through this suite's own functions.

    python -m bench compare --limit NAME
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.compare import statistics
from bench.compare.inputs import complete_points
from bench.compare.lower_bound.calibrate import Rate, calibrate, machine
from bench.compare.lower_bound.done import scored, trained_after, trained_in_search, winner_in
from bench.compare.lower_bound.work import SMALL_CNN, Data, Part, Trained, Work, added, needed, without
from bench.compare.page import read_trials, render
from bench.compare.record import LOWER_BOUND_FILE, SPACE_FILE, ListBound, read, read_comparison
from bench.errors import ConfigError
from bench.models.backbones import get_backbone
from bench.run.documents import LeastTime, LowerBoundPart, LowerBoundRecord
from bench.run.folder import STAGES, RunDir, write_json
from bench.run.record import RunRecord
from bench.run.request import DEFAULT_EPOCHS
from bench.run.results import TrialLog
from bench.run.tables import SPLITS
from bench.search.space import Space, parse_space

AFTER = STAGES[STAGES.index("search") + 1 :]
"""The stages that follow the search."""


def least_time(work: Mapping[Part, int], rates: Mapping[Part, Rate], measured: float | None = None) -> LeastTime:
    """The seconds that ``work`` takes at ``rates``, and its parts, beside what was ``measured``."""
    by_part = {part: images / rates[part].images_per_second for part, images in work.items()}
    seconds = round(sum(by_part.values()), 3)
    return LeastTime(
        seconds=seconds,
        parts=tuple(
            LowerBoundPart(what=part.title, images=images, seconds=round(by_part[part], 3), **asdict(rates[part]))
            for part, images in work.items()
        ),
        measured=measured,
        ratio=round(measured / seconds, 4) if measured and seconds else None,
    )


def bound(found: LeastTime, rates: Mapping[Part, Rate], **more: Any) -> LowerBoundRecord:
    """``found`` with the machine that ``rates`` were measured on, and ``more``."""
    measured = {
        "date": min((rate.measured for rate in rates.values()), default=""),
        "load": max((rate.load for rate in rates.values()), default=0.0),
    }
    return LowerBoundRecord(**dict(found), calibrated=machine().model_copy(update=measured), **more)


@dataclass(frozen=True)
class RunWork:
    """What a run did: in its search, and after it; ``after`` is None where there are no finalists yet."""

    search: Work
    after: Work | None
    sizes: Mapping[str, int]
    n_classes: int

    @property
    def whole(self) -> Work:
        """All of it."""
        return added(self.search, self.after or {})


def work_of_run(run: RunDir) -> RunWork:
    """What the trials, finalists, folds, baselines and the evaluation of a run have to do at least.

    Raises:
        ConfigError: if no trial ended an epoch, or the run's files do not say what was done.
    """
    log = TrialLog.load(run)
    if not log.records:
        raise ConfigError(f"Run {run.name!r} has no finished trial yet, so it has no limit; finish it first.")
    try:
        record = run.read()
        settings, splits = record.settings, SPLITS.read(run.path)["split"].value_counts()
        space = parse_space(record.space.name, run.space.read_text(encoding="utf-8"))
        if record.data is None:
            raise ValueError("run.json tells of no images")
        data = Data(int(splits["train"]), int(splits["val"]), settings.views, space.policies)
        trials, after = trained_in_search(log), None
        search = needed(trials, data)
        if run.finished("finalists"):
            epochs = settings.epochs or space.epochs or DEFAULT_EPOCHS
            trained = needed([*trials, *trained_after(run, log.epochs.curves, epochs)], data)
            scoring = scored(run, data.n_val, int(splits.get("test", 0))) if run.finished("evaluation") else None
            after = added(without(trained, search), scoring.needed() if scoring else {})
    except (KeyError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"The limit of run {run.name!r} needs run.json, space.yaml and splits.csv, and of what follows the search "
            f"finalists.csv and baselines.csv: {reason}."
        ) from None
    if not search:
        raise ConfigError(f"No trial of run {run.name!r} ended an epoch, so it has no limit.")
    return RunWork(search, after, _sizes(run, record, space, search), len(record.data.classes))


def _sizes(run: RunDir, record: RunRecord, space: Space, search: Work) -> dict[str, int]:
    """Backbone -> size of its images in pixels; the small CNN takes the winner's."""
    wanted = record.settings.image_size or space.image_size
    sizes = {part.backbone: wanted or get_backbone(part.backbone).native_size for part in search}
    winner = winner_in(run)
    return {**sizes, SMALL_CNN: sizes[winner]} if winner in sizes else sizes


def lower_bound_of_run(run: RunDir, tell: Callable[[str], None] = print, cache: Path | None = None) -> LowerBoundRecord:
    """Compute the least time of a run, write limit.json into its folder and return what it holds.

    That of the search, and where there are finalists that of what follows and of the whole run.

    Args:
        run: the run.
        tell: told what is measured.
        cache: where calibrations are kept; None takes the run's own cache.

    Raises:
        ConfigError: if the run's files do not say what was done.
        CalibrationFailed: if bare Keras cannot do a part of the work.
    """
    work, record = work_of_run(run), run.read()
    rates = calibrate(work.whole, work.sizes, work.n_classes, cache or record.settings.cache, tell)
    seconds, more = record.seconds, dict[str, Any]()
    if work.after is not None:
        following = round(sum(seconds.get(stage, 0.0) for stage in AFTER), 3)
        more["after"] = least_time(work.after, rates, following)
        more["whole"] = least_time(work.whole, rates, round(sum(seconds.values()) - seconds.get("outer", 0.0), 3))
    found = bound(least_time(work.search, rates, seconds.get("search")), rates, **more)
    cores, machines = found.calibrated.cores, [*(one.hardware for one in record.earlier), record.hardware]
    cpus = list(dict.fromkeys(one.cpus for one in machines if one.cpus is not None))
    if any(one != cores for one in cpus):
        had = ", then ".join(map(str, cpus))
        note = f"The run had {had} CPU cores, the machine of the calibration has {cores}."
        tell(note)
        found = found.model_copy(update={"notes": (note,)})
    write_json(run.path / LOWER_BOUND_FILE, found)
    return found


def lower_bound_of_list(folder: Path, cache: Path, tell: Callable[[str], None] = print) -> ListBound:
    """Compute the least time for the list of the comparison in ``folder``, cold and warm, and write limit.json.

    Raises:
        ConfigError: if the comparison trained no fixed list, or does not hold it.
        CalibrationFailed: if bare Keras cannot do a part of the work.
    """
    facts = read_comparison(folder)
    if facts is None or not facts.settings.list:
        raise ConfigError(
            f"{folder} holds no comparison of a fixed list (--list), so its work is not known beforehand."
        )
    try:
        text = (folder / SPACE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{folder / SPACE_FILE}, the list that was trained, is missing; give the comparison's command again, which "
            "writes it."
        ) from None
    settings, space = facts.settings, parse_space(facts.settings.space, text)
    trained = [
        Trained(config, settings.epochs, settings.epochs if config.unfreeze_depth else 0)
        for config in complete_points(space)
    ]
    data = Data(facts.data.train, facts.data.val, settings.views, space.policies)
    cold, warm = needed(trained, data), needed(trained, data, warm=True)
    rates = calibrate(cold, settings.image_size, len(facts.data.classes), cache, tell)
    found = ListBound(cold=bound(least_time(cold, rates), rates), warm=bound(least_time(warm, rates), rates))
    write_json(folder / LOWER_BOUND_FILE, found)
    render(folder)
    return found


def describe_run(found: LowerBoundRecord) -> str:
    """The result of `lower_bound_of_run`, a line for each part of the run."""
    parts = {"the search": found, "what follows it": found.after, "the whole run": found.whole}
    return "\n".join(_sentence(name, least) for name, least in parts.items() if least is not None)


def _sentence(name: str, least: LeastTime) -> str:
    ratio = f"; it took {least.measured:.0f} s, {least.ratio:.2f} times as long" if least.ratio else ""
    return f"Least time of {name}: {least.seconds:.0f} s{ratio}."


def describe_list(folder: Path) -> str:
    """The result of `lower_bound_of_list` in a few lines."""
    facts, found = read_comparison(folder), read(ListBound, folder / LOWER_BOUND_FILE)
    assert facts is not None and found is not None
    lines = [f"Least time: {found.cold.seconds:.0f} s, with a filled cache {found.warm.seconds:.0f} s."]
    for _, row in statistics.over_lower_bound(read_trials(folder), facts, found).iterrows():
        told = row["incomplete"] or f"{row['ratio']:.2f} times the limit"
        lines.append(f"  {row['method']}, seed {row['seed']}: {row['wall']:.0f} s, {told}")
    return "\n".join(lines)
