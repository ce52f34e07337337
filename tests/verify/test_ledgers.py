"""`verify` holds each line of a ledger that this run wrote into against run.json, and against the line before it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.evaluation.ledger import LEDGER, SCORES, Ledgers, Opening
from bench.verify import integrity
from bench.verify.reading import Folder, Tally

AUC = 0.9
Lines = list[bytes]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose split was opened twice, in a ledger that holds the line of another run first."""
    ledgers, about = Ledgers((tmp_path,)), {"data": "d", "split": "s", "images": 6, "kind": "evaluation"}
    ledgers.write(Opening(time="2026-01-01", run="other", decisions="z", **about))
    own = [Opening(time=f"2026-01-0{day}", run="own", decisions="c", plan=f"p{day}", **about) for day in (2, 3)]
    openings = [ledgers.write(one) for one in own]
    ledgers.write(own[-1].model_copy(update={"kind": SCORES, "scores": {"auc": AUC}}))
    folder = tmp_path / "run"
    folder.mkdir()
    record = {"test": {"openings": [one.model_dump(mode="json") for one in openings]}}
    (folder / "run.json").write_text(json.dumps(record))
    evaluation = {"winner": "toy", "models": {"toy": {"metrics": {"auc": {"value": AUC}}}}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


def changed(line: bytes, remove: tuple[str, ...] = ("checksum",), **to: Any) -> bytes:
    """A line with other fields, without those that would tell that it is another."""
    entry = json.loads(line) | to
    return json.dumps({name: value for name, value in entry.items() if name not in remove}).encode()


def ledger(run: Path, change: Callable[[Lines], Lines]) -> Tally:
    path, tally = run.parent / LEDGER, Tally()
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    integrity.ledger(Folder(run), tally)
    return tally


def test_a_ledger_as_it_was_written_agrees(run: Path) -> None:
    tally = ledger(run, lambda lines: lines)
    assert tally.compared > 20 and (tally.wrong, tally.skipped) == ([], "")


WRONG: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "scores without a checksum": (lambda lines: [*lines[:3], changed(lines[3], scores={})], "line 4 was changed"),
    "images of the last opening": (
        lambda lines: [*lines[:2], changed(lines[2], images=9), lines[3]],
        "images of the opening of 2026-01-03 is another",
    ),
    "plan of the last opening": (
        lambda lines: [*lines[:2], changed(lines[2], plan="x"), lines[3]],
        "plan of the opening of 2026-01-03 is another",
    ),
    "a line outside the chain": (
        lambda lines: [*lines, changed(lines[0], ("checksum", "previous"))],
        "the chain is broken before line 5",
    ),
    "a list": (lambda lines: [*lines, b"[1]"], "line 5 cannot be read"),
    "a line that is nested deeply": (lambda lines: [*lines, b"[" * 100_000], "line 5 cannot be read"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_was_changed_in_a_ledger_is_named(run: Path, what: str) -> None:
    change, said = WRONG[what]
    assert any(said in one for one in ledger(run, change).wrong)


def test_lines_of_earlier_versions_stand_before_the_chain(run: Path) -> None:
    path = run.parent / LEDGER
    earlier = changed(path.read_bytes().splitlines()[0], ("checksum", "previous"), run="earlier")
    own = json.loads((run / "run.json").read_text())["test"]["openings"]
    path.write_bytes(earlier + b"\n")
    for one in own:
        Ledgers((run.parent,)).write(Opening.model_validate(one))
    assert ledger(run, lambda lines: lines).wrong == []


def test_that_a_ledger_lacks_what_came_of_the_last_opening_is_noted(run: Path) -> None:
    """It is written after the evaluation, and a ledger that cannot be written then is passed over."""
    tally = ledger(run, lambda lines: lines[:-1])
    assert tally.wrong == []
    assert tally.skipped == f"{run.parent / LEDGER} does not say what came of the last opening"
