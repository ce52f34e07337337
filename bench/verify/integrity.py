"""Whether files, the seal on the test split, the plan and the ledgers are as they were written."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import xxhash

from bench.checksums import FIELD, of_document
from bench.models.hdf5 import held_card, other_parts
from bench.verify.reading import Folder, Json, Tally

RESUMED = {"outer", "repeats", "budget", "time_limit", "until_settled"}
"""Settings that a resumed run may take anew: its plan is written again where they count, and before they do."""
GROWING = {"repeats", "budget"}
"""Those that it may only raise."""
EVALUATED = {"bootstrap", "target_sensitivity", "group_by"}
"""Those that `evaluate` may take anew before it opens the test split."""
LEDGER = "test-openings.jsonl"  # `bench.run.ledgers` would bring the settings with it, and these `bench.stats`


def files(run: Folder, tally: Tally) -> None:
    """Checksums of the files of finished stages, and SHA-256 of every model."""
    if run.has("evaluation.json") and not run.run.get("pinned"):
        tally.note("run.json holds no checksums of files")
    if run.has("run.json") and (told := run.run.get(FIELD)) is not None:
        tally.check(told == of_document(run.run), "run.json is not as the run wrote it")
    for name, told in run.run.get("pinned", {}).items():
        if _there(run, name, tally):
            found = xxhash.xxh3_128_hexdigest(run.file(name).read_bytes())
            tally.check(told == found, f"{name} is not as the run wrote it")
    for _, table in run.tables_of("finalists.csv", "baselines.csv"):
        for model, told in zip(table["model"], table["sha256"], strict=True):
            if isinstance(model, str) and _there(run, model, tally):
                tally.check(told == run.sha256(model), f"{model} is not as the run wrote it")


def _there(run: Folder, name: str, tally: Tally) -> bool:
    """Whether a file that the run has written is there; one that is gone does not agree."""
    there = run.has(name)
    if not there:
        tally.check(False, f"{name} is gone")
    return there


def seal(run: Folder, tally: Tally) -> None:
    """The test split was opened under the choices, the plan and the images that are on record."""
    record = run.run.get("test", {})
    openings, plans = record.get("openings", []), run.run.get("plans", [])
    _plan(run, plans, tally)
    _settings(run, plans, tally)
    if run.has("evaluation.json") and not _there(run, "best_model.json", tally):
        return
    card = run.json("best_model.json")
    if _there(run, "best_model.h5", tally):
        agree = card["sha256"] == run.sha256("best_model.h5")
        tally.check(agree, "best_model.json speaks of another best_model.h5")
    _attribute(run, card, tally)
    if not run.has("evaluation.json"):
        return
    tally.same("openings", list(run.evaluation["opened"]), list(record.get("opened", [])))
    tally.check(bool(openings), "run.json holds no opening, but there is an evaluation")
    for last in openings[-1:]:
        choices = run.sha256("best_model.json")
        tally.same("SHA-256 of best_model.json when the split was opened", last["decisions"], choices)
        tally.same("test images opened", last["images"], run.evaluation["images"])
        pixels = "\n".join(sorted(run.table("predictions_test.csv")["pixels"].astype(str)))
        split = hashlib.blake2b(pixels.encode(), digest_size=16).hexdigest()
        tally.same("fingerprint of the test images", last["split"], split)
        if plans:  # one that was changed later, as by a larger budget that changed no model, is none of this opening
            before = [plan["sha256"] for plan in plans if plan["time"] <= last["time"]]
            tally.check(bool(before), "the plan was written after the test split was opened")
            tally.same("plan of the opening", last.get("plan"), before[-1] if before else None)
    for threshold in card.get("thresholds", []):
        told = [one for one in run.evaluation["thresholds"] if one["class"] == threshold["class"]]
        tally.check(told == [threshold], f"threshold of {threshold['class']}: not the one that was frozen")


def _attribute(run: Folder, card: Json, tally: Tally) -> None:
    """best_model.h5 holds its card, is otherwise the winner's file, and holds the same values."""
    best = run.file("best_model.h5") if run.has("best_model.h5") else None
    if best:
        parts = other_parts(card, held_card(best))
        tally.check(not parts, f"best_model.h5 holds another card than best_model.json: {', '.join(parts)}")
    if not card.get("trained"):  # as in earlier versions, where it was that file
        return
    for _, table in run.tables_of("finalists.csv"):
        winner = table[table["winner"].astype(str).eq("True")].iloc[0]
        tally.same("SHA-256 of the winner's file", card["trained"], winner["sha256"])
        if best and run.has(str(winner["model"])):
            with h5py.File(best, "r") as own, h5py.File(run.file(str(winner["model"])), "r") as other:
                same = _values(own) == _values(other)
            tally.check(same, "best_model.h5 holds other weights than the winner's file")


def _values(file: Any) -> dict[str, str]:
    """SHA-256 of every array in an HDF5 file, by its place."""
    found: dict[str, str] = {}

    def add(name: str, one: Any) -> None:
        if isinstance(one, h5py.Dataset):
            found[name] = hashlib.sha256(one[()].tobytes()).hexdigest()

    file.visititems(add)
    return found


def _plan(run: Folder, plans: list[Json], tally: Tally) -> None:
    for plan in plans:
        text = json.dumps(plan["holds"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        found = hashlib.sha256(text.encode()).hexdigest()
        tally.same(f"SHA-256 of the plan of {plan['time']}", plan["sha256"], found)
        for name, file in (("space", "space.yaml"), ("split", "splits.csv")):
            if _there(run, file, tally):
                tally.same(f"SHA-256 of {file} in the plan", plan["holds"][name], run.sha256(file))


def _settings(run: Folder, plans: list[Json], tally: Tally) -> None:
    """What run.json says of its settings is what was planned last; what may have been changed since is noted."""
    told, changed = run.run.get("settings", {}), []
    may_change = RESUMED if run.has("evaluation.json") else RESUMED | EVALUATED
    for name, planned in plans[-1].get("holds", {}).get("settings", {}).items() if plans else ():
        if name not in told or name == "outer_budget":  # in a plan that is the budget, unless it is given
            continue
        if name in may_change and told[name] != planned and not (name in GROWING and told[name] < planned):
            changed.append(name)
        else:
            tally.same(f"setting {name} and the last plan's", told[name], planned)
    if changed:
        tally.note(f"other than in the last plan, as --resume may take them: {', '.join(changed)}")


def ledger(run: Folder, tally: Tally) -> None:
    """Each ledger's chain is whole, and holds this run's openings with their scores."""
    openings = run.run.get("test", {}).get("openings", [])
    folders = dict.fromkeys(folder for one in openings for folder in one.get("ledgers", []))
    there = {folder: Path(folder) / LEDGER for folder in folders if (Path(folder) / LEDGER).is_file()}
    gone = [folder for folder in folders if folder not in there]
    if gone or not folders:
        tally.note(f"no longer there: {', '.join(gone)}" if gone else "no ledger is on record")
    tally.check(bool(there) or not folders, "no ledger that this run wrote into is there any more")
    for folder, path in there.items():
        entries = _chain(path, tally)
        mine = [one for one in openings if folder in one.get("ledgers", [])]
        for one in mine:
            _opened(entries, one, path, tally)
        if run.has("evaluation.json") and openings[-1] in mine:
            _scores(run, [entry for entry in entries if _same(entry, openings[-1])], path, tally)


def _opened(entries: list[Json], one: Json, path: Path, tally: Tally) -> None:
    """A line holds an opening of run.json, in each field that both have."""
    lines = [entry for entry in entries if _same(entry, one) and entry.get("kind") == "evaluation"]
    tally.check(bool(lines), f"{path} lacks the opening of {one['time']}")
    for entry in lines:
        for name in sorted({*entry} & {*one} - {"ledgers", "scores"}):  # scores stand in a line of their own
            tally.check(entry[name] == one[name], f"{path}: {name} of the opening of {one['time']} is another")


def _same(entry: Json, opening: Json) -> bool:
    names = ("time", "run", "begun", "split", "decisions")
    return all(entry.get(name) == opening.get(name, "") for name in names)


def _chain(path: Path, tally: Tally) -> list[Json]:
    """The lines of a ledger that can be read; each has to carry its checksum and the hash of the line before it.

    Those of earlier versions carry neither, and stand before the first that does.
    """
    entries, before, chained = [], "", False
    for number, line in enumerate((one for one in path.read_bytes().split(b"\n") if one.strip()), start=1):
        try:
            entry: Any = json.loads(line)
            told = entry.pop("checksum", None)
            previous = entry.get("previous")
        except (ValueError, AttributeError, TypeError, RecursionError):
            tally.check(False, f"{path}: line {number} cannot be read")
        else:
            chained = chained or previous is not None
            earlier = not chained and told is None
            whole = earlier or told == xxhash.xxh3_64_hexdigest(json.dumps(entry).encode())
            tally.check(whole, f"{path}: line {number} was changed")
            tally.check(not chained or previous == before, f"{path}: the chain is broken before line {number}")
            entries.append(entry)
        before = hashlib.sha256(line).hexdigest()
    return entries


def _scores(run: Folder, mine: list[Json], path: Path, tally: Tally) -> None:
    """What came of the last opening; where a ledger could not be written at its end, it does not hold that."""
    told = run.evaluation["models"][run.winner]["metrics"]
    for entry in mine:
        for name, value in entry.get("scores", {}).items():
            tally.close(f"{path}: {name}", value, told.get(name, {}).get("value"))
    if not any(entry.get("kind") == "scores" for entry in mine):
        tally.note(f"{path} does not say what came of the last opening")
