"""The arithmetic of pairs: ours beside the plain way, their ratio, and how far it lies from the committed one.

No clock and no pytest here; `conftest.py` measures and prints.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEAD = ("pair", "ours", "plain", "ratio", "rounds", "baseline", "change", "")


class Seconds(list[float]):
    """What a piece of work took by a clock of its own, such as each epoch of a trial, instead of the whole call."""


@dataclass(frozen=True)
class Pair:
    """Two ways of doing one thing, measured in turn in one run.

    Attributes:
        name: of the pair, its key in the baseline.
        against: what the plain way is, in words.
        ours: seconds of each round.
        plain: seconds of each round of the plain way, measured just before ours of the same round.
    """

    name: str
    against: str
    ours: tuple[float, ...]
    plain: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.plain):
            raise ValueError(
                f"{self.name}: both ways must have the same number of rounds, at least one, "
                f"but got {len(self.ours)} and {len(self.plain)}"
            )
        wrong = [seconds for seconds in (*self.ours, *self.plain) if not 0 < seconds < math.inf]
        if wrong:
            raise ValueError(f"{self.name}: seconds must be positive and finite, but got {wrong[0]}")

    @property
    def ratio(self) -> float:
        """Median of ours over median of the plain way: below 1 ours is faster."""
        return statistics.median(self.ours) / statistics.median(self.plain)

    @property
    def rounds(self) -> tuple[float, float]:
        """Lowest and highest ratio of a round."""
        found = [ours / plain for ours, plain in zip(self.ours, self.plain, strict=True)]
        return min(found), max(found)


def read_baseline(path: Path) -> dict[str, dict[str, Any]]:
    """Name of a pair -> ``ratio``, ``note`` and ``measured``; nothing where there is no file.

    Raises:
        ValueError: if an entry has no ratio that is positive and finite.
    """
    if not path.is_file():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    for name, entry in found.items():
        ratio = entry.get("ratio")
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < math.inf:
            raise ValueError(f"{path}: the ratio of {name!r} must be positive and finite, but got {ratio!r}")
    return found


def updated(
    baseline: Mapping[str, Mapping[str, Any]], pairs: Iterable[Pair], measured: str
) -> dict[str, Mapping[str, Any]]:
    """``baseline`` with the ratios of ``pairs``, to three digits; what was not measured stays as it is.

    Args:
        baseline: as `read_baseline` gives it.
        pairs: what was measured.
        measured: on what, in words.
    """
    fresh = {
        pair.name: {"ratio": float(f"{pair.ratio:.3g}"), "note": f"against {pair.against}", "measured": measured}
        for pair in pairs
    }
    return dict(sorted({**baseline, **fresh}.items()))


def write_baseline(path: Path, baseline: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``baseline``, to be committed."""
    path.write_text(json.dumps(baseline, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def change(ratio: float, before: float) -> float:
    """By how much of ``before`` the ratio has grown: 0.1 means that ours has become 10 % slower than it was."""
    return ratio / before - 1


def verdict(pair: Pair, before: float) -> str:
    """``slower`` or ``faster`` where every round lies on that side of ``before``, else nothing: that may be noise."""
    low, high = pair.rounds
    return "slower" if low > before else "faster" if high < before else ""


def table(pairs: Iterable[Pair], baseline: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of a table: medians, ratio, lowest and highest ratio of a round, ratio in the baseline, change."""
    rows = [HEAD]
    for pair in pairs:
        low, high = pair.rounds
        before = baseline.get(pair.name, {}).get("ratio")
        against = ("-", "-", "new") if before is None else _beside(pair, before)
        medians = (duration(statistics.median(pair.ours)), duration(statistics.median(pair.plain)))
        rows.append((pair.name, *medians, f"{pair.ratio:.3g}", f"{low:.3g} to {high:.3g}", *against))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return ["  ".join(_aligned(row, widths)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """Three digits with a unit that suits."""
    scale, unit = (1, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    return f"{seconds * scale:.3g} {unit}"


def _beside(pair: Pair, before: float) -> tuple[str, str, str]:
    return f"{before:.3g}", f"{change(pair.ratio, before):+.0%}", verdict(pair, before)


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    first, *middle, last = list(zip(row, widths, strict=True))
    return [first[0].ljust(first[1]), *(text.rjust(width) for text, width in middle), last[0]]
