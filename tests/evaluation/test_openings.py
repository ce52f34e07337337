"""Every way to look at test images is found again: other places, plans, copies, splits, and `predict`."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.data.images.decode import decode, facts_of
from bench.data.images.pixels import Facts
from bench.data.images.store import StoredImages
from bench.data.splits import write_splits
from bench.evaluation.ledger import EVALUATION, PREDICTION, SCORES, SEALED, Ledgers, Opening
from bench.evaluation.openings import summary
from bench.evaluation.recognise import TestImages
from bench.evaluation.test_access import OpenTest, SealedTest
from bench.run.documents import LedgerRecord
from bench.run.folder import RunDir, file_sha256, write_json, write_text
from bench.run.ledgers import LEDGER, WITH_DATA, folders, machine_folder
from bench.run.plans import changes, write_plan
from bench.settings import RunSettings, make_settings

N = 24


def picture(number: int) -> Image.Image:
    """A smooth image that differs from every other."""
    small = np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)
    return Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 images."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(N):
        picture(number).save(folder / f"{number:02d}.png")
    return folder


def altered(data: Path) -> Path:
    """The same images, smaller and recompressed."""
    folder = data.parent / "altered"
    folder.mkdir()
    for path in data.glob("*.png"):
        Image.open(path).resize((64, 64)).save(folder / f"{path.stem}.jpg", quality=80)
    return folder


def facts_in(folder: Path) -> list[Facts]:
    contents = [path.read_bytes() for path in sorted(folder.glob("[0-9]*"))]
    return [facts_of(content, decode(content)) for content in contents]


def settings_for(data: Path, **changes: object) -> RunSettings:
    return make_settings(data=str(data), name="one", **{"cache": data.parent / "cache", **changes})


def make(folder: Path, settings: RunSettings, splits: list[str] | None = None) -> tuple[RunDir, SealedTest]:
    """A run whose data are split and whose test split (by default the second half) is set aside."""
    data = Path(settings.data)
    facts = pd.DataFrame([dataclasses.asdict(one) for one in facts_in(data)])
    images = sorted(path.name for path in data.glob("[0-9]*"))
    table = pd.DataFrame({"image": images, "label": ["A", "B"] * (N // 2), "patient_id": images, "split_group": images})
    table = table.assign(split=splits or ["train"] * (N // 2) + ["test"] * (N // 2), reason="")
    folder.mkdir(parents=True)
    run = RunDir(folder)
    write_json(run.run, {"name": run.name, "created": "2026", "settings": settings.model_dump(mode="json")})
    write_text(run.space, "epochs: 3\n")
    write_splits(run.splits, table, facts)
    write_plan(run)
    stored = {"vgg16": StoredImages(data / "none.npy", 2, 1, f"fingerprint of {data}")}
    sealed = SealedTest(table, facts, stored, run, Ledgers(folders(settings)))
    sealed.set_aside()
    return run, sealed


def decide(run: RunDir, temperature: float = 1.0) -> None:
    run.evaluation.unlink(missing_ok=True)
    run.best_model.write_bytes(b"a model")
    write_json(run.best_model_card, {"sha256": file_sha256(run.best_model), "temperature": temperature})
    for stage in ("data", "search", "finalists"):
        run.finish(stage)


def opened(run: RunDir, sealed: SealedTest, temperature: float = 1.0) -> LedgerRecord:
    decide(run, temperature)
    found: OpenTest = sealed.open()
    sealed.scored(found.opening, {"auc": 0.75})
    return summary(found.known, found.opening)


def test_another_cache_and_another_output_hide_no_opening(data: Path, tmp_path: Path) -> None:
    first = opened(*make(tmp_path / "reports" / "one", settings_for(data)))
    assert (first.this_split, first.to_beware_of) == (1, False)
    assert "no other opening of just these is on record on this machine since 20" in first.sentence
    assert "first time" not in first.sentence
    second = opened(*make(tmp_path / "elsewhere" / "two", settings_for(data, cache=tmp_path / "other cache")))
    assert second.this_split == 2 and second.to_beware_of
    assert "have been opened 2 times, by 2 runs" in second.sentence
    assert second.openings[0].scores == {"auc": 0.75}, "what the first came to"


def test_an_evaluation_after_an_extension_is_another_opening_under_another_plan(data: Path, tmp_path: Path) -> None:
    run, sealed = make(tmp_path / "reports" / "one", settings_for(data))
    opened(run, sealed)
    run.change_settings(budget=80)
    write_plan(run)
    again = opened(run, sealed, temperature=2.0)
    assert "opened 2 times, by this run alone and under 2 plans: a choice made after" in again.sentence
    assert changes(run.read().plans) == [("budget: 50 → 80",)]


def test_resized_and_recompressed_images_are_known(data: Path, tmp_path: Path) -> None:
    opened(*make(tmp_path / "reports" / "one", settings_for(data)))
    found = opened(*make(tmp_path / "reports" / "two", settings_for(altered(data))))
    assert (found.this_split, found.overlapping, found.shared_images, found.altered_images) == (1, 1, N // 2, N // 2)
    assert (
        "share up to 12 of these images (12 of these resized or recompressed) were opened once before" in found.sentence
    )


def test_a_split_drawn_anew_shares_images(data: Path, tmp_path: Path) -> None:
    opened(*make(tmp_path / "reports" / "one", settings_for(data)))
    drawn = ["test" if number % 2 else "train" for number in range(N)]
    found = opened(*make(tmp_path / "reports" / "two", settings_for(data, split_seed=1), drawn))
    assert (found.overlapping, found.shared_images, found.altered_images) == (1, N // 4, 0)
    apart = ["test"] * 6 + ["train"] * 18
    assert opened(*make(tmp_path / "reports" / "three", settings_for(data), apart)).overlapping == 1, "of the second"


def test_strangers_that_look_alike_are_no_copies(data: Path, tmp_path: Path) -> None:
    """Where images of one set are within the limit of each other, the hash says nothing."""
    rng = np.random.default_rng(0)
    base = np.asarray(picture(0)).astype(int)
    other = tmp_path / "alike"
    for number in range(N):
        for folder in (data, other):
            folder.mkdir(exist_ok=True)
            noise = rng.integers(-3, 4, base.shape)
            Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
    opened(*make(tmp_path / "reports" / "one", settings_for(data)))
    assert opened(*make(tmp_path / "reports" / "two", settings_for(other))).overlapping == 0


@pytest.mark.parametrize("place", ["of the run", "elsewhere", "altered", "by another run's model", "after a move"])
def test_predict_on_test_images_is_an_opening(data: Path, tmp_path: Path, place: str) -> None:
    run, sealed = make(tmp_path / "reports" / "one", settings_for(data))
    shown = {"elsewhere": lambda: Path(data.rename(tmp_path / "moved")), "altered": lambda: altered(data)}
    folder = shown.get(place, lambda: data)()
    of = run
    if place == "by another run's model":
        of = RunDir(tmp_path / "elsewhere" / "other")
        of.path.mkdir(parents=True)
        write_json(of.run, {"name": "other", "settings": {"cache": str(tmp_path / "another cache")}})
    elif place == "after a move":
        run.splits.unlink()  # the ledger of this machine alone remembers
    facts, paths = facts_in(folder), sorted(folder.glob("[0-9]*"))
    training = TestImages.of_run(of, paths[:6], "abc")
    training.note(facts[:6])
    assert training.sentence == "", "training images are nobody's secret"
    watch = TestImages.of_run(of, paths[6:15], "abc")
    watch.note(facts[6:15])
    told = watch.sentence
    assert told.startswith("3 of 9 images are test images of run one")
    assert ("(3 of them resized or recompressed)" in told) == (place == "altered")
    found = opened(run, sealed)
    assert (found.this_split, found.predicted, found.predicted_images) == (1, 1, 3)
    how = " (3 of these resized or recompressed)" if place == "altered" else ""
    assert f"Up to 3 test images at a time{how} were classified by `predict`, once" in found.sentence
    assert found.to_beware_of
    assert PREDICTION in [one.kind for one in found.openings]


def lines_of(folder: Path | None) -> list[str]:
    assert folder is not None
    return (folder / LEDGER).read_text().splitlines()


def test_each_line_carries_plan_scores_and_the_hash_of_the_line_before(data: Path, tmp_path: Path) -> None:
    run, sealed = make(tmp_path / "reports" / "one", settings_for(data))
    opened(run, sealed)
    lines = lines_of(machine_folder())
    entries = [json.loads(line) for line in lines]
    assert [one["kind"] for one in entries] == [SEALED, EVALUATION, SCORES]
    (plan,) = run.read().plans
    text = json.dumps(plan.holds, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert {one["plan"] for one in entries} == {plan.sha256} == {hashlib.sha256(text.encode()).hexdigest()}
    assert plan.holds["settings"]["budget"] == 50 and plan.holds["split"] == file_sha256(run.splits)
    assert entries[2]["scores"] == {"auc": 0.75}
    assert [one["previous"] for one in entries] == [
        "",
        *(hashlib.sha256(one.encode()).hexdigest() for one in lines[:2]),
    ]
    assert lines == lines_of(tmp_path / "cache")


@pytest.mark.parametrize("damage", ["changed", "removed", "the first", "the last", "added", "none"])
def test_a_broken_chain_is_said(data: Path, tmp_path: Path, damage: str) -> None:
    """A changed line whose checksum was made anew, too."""
    settings = settings_for(data)
    for name in ("one", "two"):
        run, sealed = make(tmp_path / "reports" / name, settings)
        opened(run, sealed)
    folder = machine_folder()
    lines = lines_of(folder)
    entry = json.loads(lines[1])
    lines[1:] = {
        "changed": [lines[1].replace('"run": "one"', '"run": "two"'), *lines[2:]],
        "removed": lines[2:],
        "the last": lines[1:-2],
        "added": [json.dumps({**entry, "run": "three"}), *lines[1:]],
    }.get(damage, lines[1:])
    (folder / LEDGER).write_text("\n".join(lines[1:] if damage == "the first" else lines) + "\n")
    broken = Ledgers(folders(settings)).known(run).broken
    said = {"the first": "before its first line", "the last": "lacks an opening", "none": ""}.get(damage, "is broken")
    assert len(broken) == (damage != "none") + (damage in ("removed", "changed")), broken
    assert all("is broken before" in one or "lacks an opening" in one for one in broken)
    assert said in " ".join(broken)
    found = opened(*make(tmp_path / "reports" / "three", settings))
    assert found.this_split == 3, "the cache's ledger remembers"
    assert found.broken == broken and " ".join(broken) in found.sentence


def test_a_chain_that_is_taken_off_the_lines_after_a_removed_one_is_broken_once(tmp_path: Path) -> None:
    for day in range(1, 6):
        opening = Opening(time=f"2026-01-0{day}", run="one", data="d", split="s", images=6, decisions="z")
        Ledgers((tmp_path,)).write(opening)
    path = tmp_path / LEDGER
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    bare = [{name: one[name] for name in one if name not in ("previous", "checksum")} for one in entries]
    for left, said in (
        ([entries[0], *bare[2:]], ["before line 2"]),
        ([*entries[:3], bare[3]], ["before line 4"]),
        (bare, []),
        (entries, []),
    ):
        path.write_text("".join(f"{json.dumps(one)}\n" for one in left))
        broken = Ledgers((tmp_path,)).known(RunDir(tmp_path / "reports" / "one")).broken
        assert len(broken) == len(said) and all(words in one for words, one in zip(said, broken, strict=True))


def test_a_ledger_travels_with_the_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(WITH_DATA in str(folder) for folder in folders(settings_for(data)))
    opened(*make(tmp_path / "reports" / "one", settings_for(data, ledger="data")))
    assert [json.loads(line)["kind"] for line in lines_of(data / WITH_DATA)] == [SEALED, EVALUATION, SCORES]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another machine"))
    moved = data.rename(tmp_path / "moved")
    settings = settings_for(moved, cache=tmp_path / "another cache")
    found = opened(*make(tmp_path / "elsewhere" / "two", settings))
    assert found.this_split == 2, "the folder is there, so it is used"


def test_data_that_cannot_be_written_are_no_error(data: Path, tmp_path: Path) -> None:
    (data / WITH_DATA).write_text("a file in its way")
    settings = settings_for(data, ledger="data")
    assert data / WITH_DATA in folders(settings)
    (data / WITH_DATA).rename(tmp_path / "aside")
    run, sealed = make(tmp_path / "reports" / "one", settings_for(data))
    sealed._ledgers = Ledgers((tmp_path / "aside", *sealed._ledgers.folders))
    found = opened(run, sealed)
    run.change_settings(budget=9)
    write_plan(run)
    assert sealed.set_aside() == [tmp_path / "aside"], "said, and no error"
    assert found.this_split == 1
    assert str(tmp_path / "aside") not in run.read().test.openings[0].ledgers
    sealed._ledgers = Ledgers((tmp_path / "aside",))
    decide(run, 2.0)
    with pytest.raises(OSError, match="aside"):
        sealed.open()  # an opening that can be written down nowhere is none
