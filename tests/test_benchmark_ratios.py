"""The arithmetic of the benchmarks' pairs, and the committed ratios as a file; nothing is timed here."""

import json
import math
from pathlib import Path

import pytest
from benchmarks.ratios import Pair, change, duration, read_baseline, table, updated, verdict, write_baseline

BASELINE = Path(__file__).parent / "benchmarks" / "baseline.json"


def pair(*ours: float, plain: tuple[float, ...] = (2.0, 2.0, 2.0), name: str = "one") -> Pair:
    return Pair(name, "the plain way", ours, plain)


def test_the_ratio_is_one_of_medians() -> None:
    found = pair(1.0, 9.0, 1.5, plain=(2.0, 4.0, 3.0))
    assert found.ratio == 0.5
    assert found.rounds == (0.5, 2.25), "each round's own ratio, lowest and highest"
    assert pair(1.0, 3.0, plain=(1.0, 1.0)).ratio == 2.0, "of an even number, the mean of the middle two"


@pytest.mark.parametrize(
    ("ours", "plain", "words"),
    [
        ((), (), "at least one"),
        ((1.0,), (1.0, 2.0), "got 1 and 2"),
        ((0.0,), (1.0,), "got 0.0"),
        ((1.0,), (-1.0,), "got -1.0"),
        ((math.nan,), (1.0,), "got nan"),
        ((1.0,), (math.inf,), "got inf"),
    ],
)
def test_impossible_pairs_are_refused(ours: tuple[float, ...], plain: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pair(*ours, plain=plain)


def test_a_change_is_relative_to_the_baseline() -> None:
    assert change(0.6, 0.5) == pytest.approx(0.2)
    assert change(0.25, 0.5) == -0.5


def test_a_change_counts_where_every_round_agrees() -> None:
    found = pair(1.0, 1.2, 1.1)  # ratios of 0.5 to 0.6
    assert verdict(found, 0.4) == "slower"
    assert verdict(found, 0.7) == "faster"
    assert [verdict(found, before) for before in (0.5, 0.55, 0.6)] == ["", "", ""]


def test_the_table_shows_old_ratios_beside_new_ones() -> None:
    baseline = {"one": {"ratio": 0.4}, "never measured here": {"ratio": 1.0}}
    head, known, new = table([pair(1.0, 1.2, 1.1), pair(0.001, 0.002, 0.003, name="another")], baseline)
    assert head.split() == ["pair", "ours", "plain", "ratio", "rounds", "baseline", "change"]
    assert known.split() == ["one", "1.1", "s", "2", "s", "0.55", "0.5", "to", "0.6", "0.4", "+38%", "slower"]
    assert new.split() == ["another", "2", "ms", "2", "s", "0.001", "0.0005", "to", "0.0015", "-", "-", "new"]
    assert head.index("ratio") + len("ratio") == known.index("0.55") + len("0.55"), "columns are aligned"


@pytest.mark.parametrize(
    ("seconds", "words"), [(12.345, "12.3 s"), (1.0, "1 s"), (0.0456, "45.6 ms"), (0.000123, "123 µs")]
)
def test_durations_have_a_unit_that_suits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_updating_keeps_what_was_not_measured(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    assert read_baseline(file) == {}
    write_baseline(file, updated({}, [pair(1.0, 1.0, 1.0), pair(2.0, 2.0, 2.0, name="another")], "2 cores"))
    write_baseline(file, updated(read_baseline(file), [pair(0.66666, 0.66666, 0.66666)], "4 cores"))
    found = read_baseline(file)
    assert list(found) == ["another", "one"], "in order, so that changes are easy to see"
    assert found["one"] == {"ratio": 0.333, "note": "against the plain way", "measured": "4 cores"}
    assert found["another"] == {"ratio": 1.0, "note": "against the plain way", "measured": "2 cores"}


@pytest.mark.parametrize("ratio", [0, -1, "fast", None, True, math.nan])
def test_a_damaged_baseline_is_refused(tmp_path: Path, ratio: object) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps({"one": {"ratio": ratio}}), encoding="utf-8")
    with pytest.raises(ValueError, match="ratio of 'one' must be positive and finite"):
        read_baseline(file)


def test_the_committed_baseline_is_whole() -> None:
    for name, entry in read_baseline(BASELINE).items():
        assert set(entry) == {"ratio", "note", "measured"}, name
        assert entry["note"].startswith("against ")
