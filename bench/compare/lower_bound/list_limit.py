"""The limit of a comparison's fixed list, beside the time that this suite and the peers took for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.compare.lower_bound.calibrate import calibrate
from bench.compare.lower_bound.limit import FILE, summary, work_of_list
from bench.compare.lower_bound.limit_table import over_the_limit, read_limit
from bench.compare.page import read_facts, read_trials, render
from bench.compare.scene import complete_points
from bench.compare.spec import SPACE_FILE
from bench.errors import ConfigError
from bench.run.folder import write_json
from bench.search.space import parse_space
from bench.trial import TrialConfig


def run_list_limit(folder: Path, cache: Path, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """Compute the least time for the list of the comparison in ``folder``, cold and warm, and write limit.json.

    Args:
        folder: of a comparison with ``--list``.
        cache: where calibrations are kept.
        tell: told what is measured.

    Raises:
        ConfigError: if the comparison trained no fixed list, or does not hold it.
        CalibrationFailed: if bare Keras cannot do a part of the work.
    """
    facts = read_facts(folder)
    settings, data = facts.get("settings", {}), facts.get("data", {})
    if not settings.get("list"):
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
    space = parse_space(settings["space"], text)
    configs = [TrialConfig.from_mapping(given) for given in complete_points(space)]
    given = (configs, settings["epochs"], data["train"], data["val"], settings["views"], space.policies)
    cold, warm = work_of_list(*given), work_of_list(*given, warm=True)
    rates = calibrate(cold, settings["image_size"], len(data["classes"]), cache, tell)
    found = {"cold": summary(cold, rates), "warm": summary(warm, rates)}
    write_json(folder / FILE, found)
    render(folder)
    return found


def describe(folder: Path) -> str:
    """The same in a few lines."""
    found = read_limit(folder)
    assert found is not None
    lines = [f"Least time: {found['cold']['seconds']:.0f} s, with a filled cache {found['warm']['seconds']:.0f} s."]
    for _, row in over_the_limit(read_trials(folder), read_facts(folder), found).iterrows():
        told = row["told"] or f"{row['ratio']:.2f} times the limit"
        lines.append(f"  {row['method']}, seed {row['seed']}: {row['wall']:.0f} s, {told}")
    return "\n".join(lines)
