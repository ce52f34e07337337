"""The test split is out of reach until every choice is written down, and every opening stays on record."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.checksums import FIELD
from bench.data.images.store import StoredImages
from bench.data.sealing import Sealed
from bench.evaluation import known_images, ledger, test_access
from bench.evaluation.ledger import Ledgers
from bench.evaluation.openings import summary
from bench.evaluation.test_access import SealedTest, TestSealed, split_fingerprint
from bench.run.folder import RunDir, file_sha256, write_json
from bench.run.ledgers import LEDGER

TODAY = f"{datetime.now(UTC):%Y-%m-%d}"
NONE = f"These 2 test images are opened here; no other opening of just these is on record on this machine since {TODAY}"
SPLITS = ["train", "train", "val", "val", "test", "test", ""]


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": [f"{number}.png" for number in range(7)],
            "label": ["A", "B"] * 3 + ["A"],
            "patient_id": [f"p{number}" for number in range(7)],
            "split": SPLITS,
            "group:subtype": ["", "virus"] * 3 + [""],
        }
    )


@pytest.fixture
def facts() -> pd.DataFrame:
    looks = [row.tobytes().hex() for row in np.random.default_rng(0).integers(0, 256, (7, 32), dtype=np.uint8)]
    pixels = [f"{number:x}".ljust(32, "0") for number in range(7)]
    return pd.DataFrame({"pixels": pixels, "width": range(7), "perceptual_hash": looks, "constant": False})


@pytest.fixture
def images(tmp_path: Path) -> dict[str, StoredImages]:
    np.save(tmp_path / "images.npy", np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2, 1))
    return {"vgg16": StoredImages(tmp_path / "images.npy", 2, 1, "the-data")}


def known(cache: Path, run: RunDir) -> list[tuple[str, ...]]:
    """What tells the openings on record apart."""
    return [one.key for one in Ledgers((cache,)).known(run).lines]


def make_run(folder: Path) -> RunDir:
    folder.mkdir(parents=True)
    run = RunDir(folder)
    write_json(run.run, {"name": run.name})
    return run


def decide(run: RunDir) -> None:
    """Write down what `bench.evaluation.decide` does."""
    run.best_model.write_bytes(b"a model")
    write_json(run.best_model_card, {"sha256": file_sha256(run.best_model)})
    for stage in ("data", "search", "finalists"):
        run.finish(stage)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "reports" / "one")


@pytest.fixture
def sealed(table: Any, facts: Any, images: Any, run: RunDir, tmp_path: Path) -> SealedTest:
    return SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",)))


def test_nobody_reads_test_images_or_labels_before(sealed: SealedTest) -> None:
    stored = sealed.sealed_images()["vgg16"]
    assert stored.open()[np.array([0, 3, 6])].shape == (3, 2, 2, 1)
    for row in (4, 5):
        with pytest.raises(Sealed, match="sealed until every choice is written down"):
            stored.open()[np.array([0, row])]
    seen = sealed.sealed_table()
    assert seen["label"].tolist() == ["A", "B", "A", "B", "", "", "A"]
    assert seen["group:subtype"].tolist() == ["", "virus", "", "virus", "", "", ""], "it would give the label away"
    assert seen["split"].tolist() == SPLITS


def test_it_opens_when_every_choice_is_written_down(sealed: SealedTest, run: RunDir) -> None:
    decide(run)
    opened = sealed.open()
    assert opened.table["label"].tolist() == ["A", "B"]
    assert opened.table["group:subtype"].tolist() == ["", "virus"]
    assert opened.rows.tolist() == [4, 5]
    assert opened.facts["width"].tolist() == [4, 5]
    assert opened.images["vgg16"].open()[opened.rows].shape == (2, 2, 2, 1)
    noted = json.loads(run.run.read_text())["test"]
    assert len(noted["opened"]) == len(noted["openings"]) == 1
    assert noted["openings"][0]["decisions"] == file_sha256(run.best_model_card)


def break_search(run: RunDir) -> None:
    run.unfinish("search")


def break_finalists(run: RunDir) -> None:
    run.unfinish("finalists")


def break_card(run: RunDir) -> None:
    run.best_model_card.unlink()


def break_model(run: RunDir) -> None:
    run.best_model.write_bytes(b"another model")


def break_evaluated(run: RunDir) -> None:
    write_json(run.evaluation, {})


@pytest.mark.parametrize(
    "damage, said",
    [
        (break_search, "the stage 'search' of the run is not finished"),
        (break_finalists, "the stage 'finalists' of the run is not finished"),
        (break_card, "best_model.json, where every choice is written, is missing"),
        (break_model, "speaks of another"),
        (break_evaluated, "open already"),
    ],
)
def test_it_stays_sealed_otherwise(sealed: SealedTest, run: RunDir, tmp_path: Path, damage: Any, said: str) -> None:
    decide(run)
    damage(run)
    with pytest.raises(TestSealed, match=said):
        sealed.open()
    assert "test" not in json.loads(run.run.read_text())
    assert known(tmp_path / "cache", run) == []


def test_openings_are_counted_across_runs(table: Any, facts: Any, images: Any, tmp_path: Path) -> None:
    sentences = []
    for name in ("one", "two"):
        run = make_run(tmp_path / "reports" / name)
        decide(run)
        sealed = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",)))
        opened = sealed.open()
        found = summary(opened.known, opened.opening).content()
        sentences.append(found["sentence"])
    assert sentences[0] == f"{NONE}."
    assert "opened 2 times, by 2 runs" in sentences[1]
    assert "optimistic" in sentences[1]
    assert found["this_split"] == found["this_data"] == 2


def test_another_split_of_the_same_data_is_told_apart(table: Any, facts: Any, images: Any, tmp_path: Path) -> None:
    other = table.assign(split=["test", "train", "val", "val", "test", "train", ""])
    for name, splits in (("one", table), ("two", other)):
        run = make_run(tmp_path / "reports" / name)
        decide(run)
        opened = SealedTest(splits, facts, images, run, Ledgers((tmp_path / "cache",))).open()
        found = summary(opened.known, opened.opening).content()
    assert (found["this_split"], found["overlapping"], found["shared_images"], found["this_data"]) == (1, 1, 1, 2)
    assert found["sentence"].startswith(
        f"{NONE}, but other test splits that share up to 1 of these images were opened once before"
    )
    assert all("sample" not in one for one in found["openings"])


def test_a_split_that_shares_images_is_known_whatever_else_has_changed(
    table: Any, facts: Any, images: Any, tmp_path: Path
) -> None:
    """One image fewer, other names, so another fingerprint of everything."""
    smaller = table.assign(split=[*SPLITS[:5], "", ""], image=[f"other-{number}.png" for number in range(7)])
    other = {"vgg16": StoredImages(tmp_path / "images.npy", 2, 1, "other-data")}
    for name, splits, stored in (("one", table, images), ("two", smaller, other)):
        run = make_run(tmp_path / "reports" / name)
        decide(run)
        opened = SealedTest(splits, facts, stored, run, Ledgers((tmp_path / "cache",))).open()
    found = summary(opened.known, opened.opening).content()
    assert (found["this_split"], found["this_data"], found["shared_images"]) == (1, 1, 1)
    assert "test splits that share up to 1 of these images" in found["sentence"]


def test_splits_of_the_same_data_that_share_no_image(table: Any, facts: Any, images: Any, tmp_path: Path) -> None:
    for name, splits in (("one", table), ("two", table.assign(split=["test", "test", *["train"] * 5]))):
        run = make_run(tmp_path / "reports" / name)
        decide(run)
        opened = SealedTest(splits, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    found = summary(opened.known, opened.opening).content()
    assert (found["overlapping"], found["this_data"]) == (0, 2)
    assert found["sentence"] == (f"{NONE}. Other test splits of the same data were opened once.")


def test_a_run_of_the_same_name_is_another_run(table: Any, facts: Any, images: Any, tmp_path: Path) -> None:
    for folder, created in (("here", "2026-01-01"), ("there", "2026-01-02")):
        run = make_run(tmp_path / folder / "one")
        write_json(run.run, {"name": run.name, "created": created})
        decide(run)
        opened = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    assert "2 times, by 2 runs" in summary(opened.known, opened.opening).content()["sentence"]


def test_a_sample_holds_the_smallest_hashes_so_that_large_splits_compare() -> None:
    hashes = [f"{number:032x}" for number in np.random.default_rng(0).permutation(3 * known_images.MOST_SAMPLED)]
    spread = [f"{int(value, 16) * 2**80:032x}" for value in hashes]
    whole, half = (
        ledger.Opening(time="", run="", data="", split="", images=0, decisions="", sample=known_images.sample_of(part))
        for part in (spread, spread[: len(spread) // 2])
    )
    assert len(whole.sample) == len(half.sample) == 12 * known_images.MOST_SAMPLED
    assert whole.shared(whole) == (known_images.MOST_SAMPLED, 0)
    assert whole.shared(half)[0] == pytest.approx(known_images.MOST_SAMPLED / 2, rel=0.1)


def test_the_ledger_survives_a_lost_cache_and_a_lost_run(table: Any, facts: Any, images: Any, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "reports" / name) for name in ("one", "two")]
    decide(runs[0])
    SealedTest(table, facts, images, runs[0], Ledgers((tmp_path / "cache",))).open()
    assert len(known(tmp_path / "empty", runs[1])) == 1, "the other run remembers"
    runs[0].run.unlink()
    assert len(known(tmp_path / "cache", runs[1])) == 1, "the ledger remembers"


def test_a_line_cut_short_costs_no_other(table: Any, facts: Any, images: Any, run: RunDir, tmp_path: Path) -> None:
    decide(run)
    SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    path = tmp_path / "cache" / LEDGER
    path.write_text('{"time": "2020-01-\n[]\n' + path.read_text() + "{}\n")
    assert len(known(tmp_path / "cache", run)) == 1


def test_a_torn_line_swallows_no_other_and_is_told(
    table: Any, facts: Any, images: Any, run: RunDir, tmp_path: Path
) -> None:
    decide(run)
    path = tmp_path / "cache" / LEDGER
    path.parent.mkdir()
    path.write_text('{"time": "2020-01-01", "run": "torn')
    opened = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    run.run.write_text(json.dumps({"name": run.name}))  # the ledger alone remembers
    assert known(tmp_path / "cache", run) == [opened.opening.key]
    content = path.read_text()
    path.write_text(content.replace("\n", "", 1))  # as an earlier version wrote it: in one line with the torn one
    assert known(tmp_path / "cache", run) == [opened.opening.key]
    assert opened.known.unreadable == Ledgers((tmp_path / "cache",)).known(run).unreadable == 1
    found = summary(opened.known, opened.opening)
    assert found.unreadable == 1
    assert found.sentence.endswith("One line of the ledger is damaged, and may have been of these images too.")


def test_a_changed_line_is_no_opening(table: Any, facts: Any, images: Any, run: RunDir, tmp_path: Path) -> None:
    decide(run)
    opened = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    path = tmp_path / "cache" / LEDGER
    run.run.write_text(json.dumps({"name": run.name}))
    path.write_text(path.read_text().replace(opened.opening.split, "f" * 32))
    assert known(tmp_path / "cache", run) == []
    assert Ledgers((tmp_path / "cache",)).known(run).unreadable == 1


@pytest.mark.parametrize("lost", ["nothing", "run.json's opening", "the ledger"])
def test_an_evaluation_that_a_crash_ended_is_repeated_in_the_same_opening(
    table: Any, facts: Any, images: Any, run: RunDir, tmp_path: Path, lost: str
) -> None:
    decide(run)
    first = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    if lost == "run.json's opening":
        content = json.loads(run.run.read_text())
        run.run.write_text(json.dumps({key: value for key, value in content.items() if key not in ("test", FIELD)}))
    elif lost == "the ledger":
        (tmp_path / "cache" / LEDGER).unlink()
    again = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    assert again.opening.key == first.opening.key
    assert again.times == first.times == [first.opening.time]
    assert known(tmp_path / "cache", run) == [first.opening.key]
    assert known(tmp_path / "cache", make_run(tmp_path / "elsewhere" / "two")) == [first.opening.key], "in the ledger"
    card = json.loads(run.best_model_card.read_text())
    write_json(run.best_model_card, {**card, "temperature": 1.23})  # another decision
    other = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    assert len(other.known.lines) == 2 and len(other.times) == 2


def test_an_evaluation_that_is_made_again_under_the_same_decisions_is_the_same_opening(
    table: Any, facts: Any, images: Any, run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files were damaged, say: nothing was decided since, so nothing that it gave away can have been used."""
    decide(run)
    first = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    run.opening_evaluated(first.opening)
    later = datetime.fromisoformat(first.opening.time) + timedelta(minutes=1)
    monkeypatch.setattr(test_access, "datetime", SimpleNamespace(now=lambda zone: later))
    again = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    assert again.times == [first.opening.time] and len(again.known.lines) == 1
    run.opening_evaluated(again.opening)
    assert run.read().test.evaluated == (first.opening.time,)
    card = json.loads(run.best_model_card.read_text())
    write_json(run.best_model_card, {**card, "temperature": 1.23})  # who has seen the results may have decided so
    other = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    assert other.times == [first.opening.time, later.isoformat(timespec="seconds")]


@pytest.mark.parametrize("damage", ["a tail of zeros", "a damaged beginning", "a list", "openings that are none"])
def test_what_is_damaged_swallows_no_sound_line(
    table: Any, facts: Any, images: Any, run: RunDir, tmp_path: Path, damage: str
) -> None:
    decide(run)
    opened = SealedTest(table, facts, images, run, Ledgers((tmp_path / "cache",))).open()
    path = tmp_path / "cache" / LEDGER
    line = path.read_text()
    after = {"a tail of zeros": "\0" * 300, "a damaged beginning": "\xff" + line[1:], "a list": '["time"]\n'}
    path.write_text(line + after.get(damage, ""))
    run.run.write_text(json.dumps({"name": run.name, "test": {"openings": None}}))
    assert known(tmp_path / "cache", run) == [opened.opening.key]
    assert Ledgers((tmp_path / "cache",)).known(run).unreadable == (damage in after)


def test_names_and_labels_do_not_make_another_test_split(facts: pd.DataFrame) -> None:
    shuffled = facts.iloc[::-1].assign(width=9)
    assert split_fingerprint(facts) == split_fingerprint(shuffled)
    assert split_fingerprint(facts) != split_fingerprint(facts.iloc[1:])
