"""The lower bound: the least time in which bare Keras could do the trials of a run, or a comparison's fixed list.

What has to be done is read from the files that were left; how fast it can be done is measured by
`bench.compare.lower_bound.calibrate`, never through this suite's own functions.

    python -m bench compare --limit NAME
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from bench.compare import statistics
from bench.compare.comparison import SPACE_FILE
from bench.compare.inputs import complete_points
from bench.compare.lower_bound.calibrate import Rate, calibrate, machine
from bench.compare.lower_bound.work import Data, Part, Trained, needed
from bench.compare.page import read_trials, render
from bench.compare.record import LOWER_BOUND_FILE, ListBound, read, read_comparison
from bench.errors import ConfigError
from bench.models.backbones import get_backbone
from bench.run.documents import LowerBoundPart, LowerBoundRecord
from bench.run.folder import RunDir, write_json
from bench.run.results import Curve, TrialLog
from bench.run.tables import SPLITS
from bench.search.space import parse_space


def least_time(work: Mapping[Part, int], rates: Mapping[Part, Rate]) -> LowerBoundRecord:
    """The seconds that ``work`` takes at ``rates``, and its parts."""
    seconds = {part: images / rates[part].images_per_second for part, images in work.items()}
    measured = {
        "date": min((rate.measured for rate in rates.values()), default=""),
        "load": max((rate.load for rate in rates.values()), default=0.0),
    }
    return LowerBoundRecord(
        seconds=round(sum(seconds.values()), 3),
        parts=tuple(
            LowerBoundPart(what=part.title, images=images, seconds=round(seconds[part], 3), **asdict(rates[part]))
            for part, images in work.items()
        ),
        calibrated=machine().model_copy(update=measured),
    )


def trained_in_run(run: RunDir) -> list[Trained]:
    """The trials of a run with the epochs that they had.

    Raises:
        ConfigError: if there are none, or their tables cannot be read.
    """
    log = TrialLog.load(run)
    if not log.records:
        raise ConfigError(f"Run {run.name!r} has no finished trial yet, so it has no limit; finish it first.")
    trained = []
    for record in log.records:
        phases = Counter(epoch.phase for epoch in log.epochs.curves.get(Curve("trial", str(record.trial)), []))
        trained.append(Trained(record.config, phases["head"], phases["finetune"]))
    return trained


def lower_bound_of_run(run: RunDir, tell: Callable[[str], None] = print, cache: Path | None = None) -> LowerBoundRecord:
    """Compute the least time for a run's search, write limit.json into its folder and return what it holds.

    Args:
        run: the run.
        tell: told what is measured.
        cache: where calibrations are kept; None takes the run's own cache.

    Raises:
        ConfigError: if the run's files do not say what was done.
        CalibrationFailed: if bare Keras cannot do a part of the work.
    """
    record = run.read()
    settings = record.settings
    try:
        space = parse_space(record.space.name, run.space.read_text(encoding="utf-8"))
        splits = SPLITS.read(run.path)["split"].value_counts()
        data = Data(int(splits["train"]), int(splits["val"]), settings.views, space.policies)
        if record.data is None:
            raise ValueError("run.json tells of no images")
        n_classes = len(record.data.classes)
    except (KeyError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"The limit of run {run.name!r} needs run.json, space.yaml and splits.csv: {reason}."
        ) from None
    work = needed(trained_in_run(run), data)
    if not work:
        raise ConfigError(f"No trial of run {run.name!r} ended an epoch, so it has no limit.")
    wanted = settings.image_size or space.image_size
    sizes = {part.backbone: wanted or get_backbone(part.backbone).native_size for part in work}
    found = least_time(work, calibrate(work, sizes, n_classes, cache or settings.cache, tell))
    measured, notes = record.seconds.get("search"), []
    ratio = round(measured / found.seconds, 4) if measured and found.seconds else None
    cpus, cores = record.hardware.cpus, found.calibrated.cores
    if cpus not in (None, cores):
        notes.append(f"The run had {cpus} CPU cores, the machine of the calibration has {cores}.")
        tell(notes[0])
    found = found.model_copy(update={"measured": measured, "ratio": ratio, "notes": tuple(notes)})
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
    found = ListBound(cold=least_time(cold, rates), warm=least_time(warm, rates))
    write_json(folder / LOWER_BOUND_FILE, found)
    render(folder)
    return found


def describe_run(found: LowerBoundRecord) -> str:
    """The result of `lower_bound_of_run` in a sentence."""
    ratio = f"; the search took {found.measured:.0f} s, {found.ratio:.2f} times as long" if found.ratio else ""
    return f"Least time: {found.seconds:.0f} s{ratio}."


def describe_list(folder: Path) -> str:
    """The result of `lower_bound_of_list` in a few lines."""
    facts, found = read_comparison(folder), read(ListBound, folder / LOWER_BOUND_FILE)
    assert facts is not None and found is not None
    lines = [f"Least time: {found.cold.seconds:.0f} s, with a filled cache {found.warm.seconds:.0f} s."]
    for _, row in statistics.over_lower_bound(read_trials(folder), facts, found).iterrows():
        told = row["incomplete"] or f"{row['ratio']:.2f} times the limit"
        lines.append(f"  {row['method']}, seed {row['seed']}: {row['wall']:.0f} s, {told}")
    return "\n".join(lines)
