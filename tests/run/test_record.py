"""run.json as `RunRecord`: strictly for the pipeline, leniently for the report."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigError
from bench.report import names
from bench.run.folder import RunDir, write_json
from bench.run.record import (
    Hardware,
    ParameterRange,
    RecordedSettings,
    RunRecord,
    SpaceRecord,
    WinnerRecord,
    read_leniently,
    read_strictly,
)
from bench.search.space import load_space
from bench.settings import make_settings

CONTENT: dict[str, Any] = {
    "name": "xray",
    "rules": 5,
    "settings": {"data": "demo", "budget": 7, "time_limit": None, "window": [40.0, 400.0], "cache": "cache"},
    "space": {
        "name": "demo",
        "parameters": {"dropout": {"choices": [0, 0.5, True, "a"]}, "rate": {"low": 1, "high": 2}},
    },
    "seconds": {"search": 12.5},
    "data": {"source": "demo", "splits": {"train": {"images": 3, "classes": {"nan": 1}}}},
    "winner": {"backbone": "vgg16", "score": 0.9, "sd": None},
    "of a later version": {"anything": 1},
}
NAMES = st.text(min_size=1, max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_what_is_read_is_written_without_what_is_not_known(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_json(run.run, CONTENT)
    record = run.read()
    assert record.settings.bootstrap == 2000 and record.test.openings == () and record.precision is None
    assert record.space.parameters["dropout"].choices == (0, 0.5, True, "a")
    assert [type(value) for value in record.space.parameters["dropout"].choices] == [int, float, bool, str]
    run.write(record)
    assert run.read_run() == {name: part for name, part in CONTENT.items() if name != "of a later version"}
    assert run.read() == record


def test_a_record_can_only_be_copied() -> None:
    record = RunRecord.model_validate(CONTENT)
    with pytest.raises(ValueError, match="frozen"):
        record.name = "other"  # type: ignore[misc]
    more = record.spend("search", 0.25).spend("report", 1.0)
    assert (record.seconds, more.seconds) == ({"search": 12.5}, {"search": 12.75, "report": 1.0})


def test_a_run_that_goes_on_elsewhere_knows_both_machines(tmp_path: Path) -> None:
    one, two = Hardware(cpus=2, jobs=1), Hardware(cpus=8, jobs=4)
    begun = RunRecord(name="xray", hardware=one)
    assert begun.taken_up_on(one, 3, 100.0) == begun
    assert "earlier" not in begun.content(), "a run on one machine has the run.json that it had"
    assert RunRecord().taken_up_on(two, 3, 100.0).earlier == (), "what is not known is no other machine"
    told = begun.taken_up_on(Hardware(cpus=2, jobs=1, threads=2, system="Linux"), 3, 100.0)
    assert told.earlier == () and told.hardware.threads == 2, "what was not known before is no difference"
    unlike = RunRecord(hardware=Hardware(jobs=1, system="")).taken_up_on(Hardware(jobs=2, system="Linux"), 3, 100.0)
    assert names.hardware(unlike) == {"jobs": "1, then 2", "system": "Linux"}
    moved = begun.taken_up_on(two, 3, 100.0).taken_up_on(one, 7, 200.0)
    run = RunDir(tmp_path)
    run.write(moved)
    assert run.read() == moved and moved.hardware == one
    assert [moved.jobs_of(number) for number in (0, 2, 3, 6, 7)] == [1, 1, 4, 4, 1]
    assert [moved.jobs_at(moment) for moment in (99.0, 100.0, 199.0, 200.0)] == [1, 4, 4, 1]
    assert names.hardware(moved) == {"cpus": "2, then 8, then 2", "jobs": "1, then 4, then 1"}
    assert names.hardware(begun, "machine: ") == {"machine: cpus": "2", "machine: jobs": "1"}


def test_settings_and_spaces_are_recorded_whole(tmp_path: Path) -> None:
    run, settings = RunDir(tmp_path), make_settings(name="xray", cache=tmp_path / "cache", group_by=("sex",))
    space = load_space("default")
    parameters = {one.name: ParameterRange.model_validate(one.describe()) for one in space.parameters}
    run.write(
        RunRecord(
            settings=RecordedSettings(**settings.model_dump()), space=SpaceRecord(name="s", parameters=parameters)
        )
    )
    content = run.read_run()
    assert content["settings"] == settings.model_dump(mode="json")
    assert content["space"]["parameters"] == {one.name: one.describe() for one in space.parameters}


@given(
    seconds=st.dictionaries(NAMES, FINITE),
    titles=st.dictionaries(NAMES, st.text(max_size=8)),
    command=st.text(max_size=20),
    winner=st.builds(WinnerRecord, backbone=NAMES, score=st.none() | FINITE, trial=st.none() | st.integers(0, 99)),
)
def test_any_record_survives(tmp_path_factory: Any, **parts: Any) -> None:
    run = RunDir(tmp_path_factory.mktemp("run"))
    record = run.write(RunRecord(**parts))
    assert run.read() == record
    assert read_leniently(RunRecord, run.read_run()) == (record, [])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"seconds": {"search": "long"}}, "seconds.search"),
        ({"seconds": []}, "seconds"),
        ({"winner": {"score": 0.9}}, "winner.backbone"),
        ({"settings": {"budget": 0}}, "settings.budget"),
        ({"settings": {"time_limit": "soon"}}, "settings.time_limit"),
        ({"settings": {"folds": "some"}}, "settings.folds"),
        ({"data": {"splits": {"train": 3}}}, "data.splits.train"),
        ({"test": {"openings": [1]}}, "test.openings.0"),
    ],
)
def test_a_damaged_part_is_named_strictly_and_dropped_leniently(
    tmp_path: Path, change: dict[str, Any], place: str
) -> None:
    run, content = RunDir(tmp_path), CONTENT | change
    write_json(run.run, content)
    with pytest.raises(ConfigError, match=rf"run\.json cannot be read: {place}: "):
        run.read()
    before = json.dumps(content)
    record, dropped = read_leniently(RunRecord, content)
    assert json.dumps(content) == before
    (only,) = dropped
    assert place.startswith(only)
    assert (record.name, record.rules) == ("xray", 5)


def test_a_winner_without_a_name_takes_the_whole_part_with_it() -> None:
    record, dropped = read_leniently(RunRecord, CONTENT | {"winner": {"score": 0.9}})
    assert record.winner is None and dropped == ["winner"]
    record, dropped = read_leniently(RunRecord, CONTENT | {"winner": {"backbone": "vgg16", "score": "high"}})
    assert record.winner == WinnerRecord(backbone="vgg16") and dropped == ["winner.score"]


@pytest.mark.parametrize("content", [[], "text", None, 3])
def test_what_is_no_object_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match="it must hold a JSON object"):
        read_leniently(RunRecord, content)
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"run\.json cannot be read"):
        read_strictly(RunRecord, tmp_path / "run.json")


def test_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        RunDir(tmp_path).write(RunRecord(seconds={}).model_copy(update={"seconds": {"search": float("nan")}}))
    assert not list(tmp_path.iterdir())


def test_precision_is_told_by_backbone_and_that_of_earlier_versions_is_read(tmp_path: Path) -> None:
    times = {"prefix": {"float32": 48.2, "bfloat16": 24.1}, "suffix": {"float32": 9.0, "bfloat16": 8.9}}
    found = {
        "vgg16": {"prefix": "bfloat16", "suffix": "float32", "measured": times},
        "toy": {"prefix": "float32", "suffix": "float32"},
    }
    run = RunDir(tmp_path)
    write_json(run.run, CONTENT | {"precision": found, "titles": {"vgg16": "VGG16"}})
    record = run.read()
    run.write(record)
    assert run.read_run()["precision"] == found
    assert record.precisions() == {
        "VGG16": "prefix bfloat16, suffix float32 (prefix 24 ms instead of 48 per image, suffix 9.0 instead of 8.9)",
        "toy": "float32",
    }
    for before, words in (("bfloat16", {"VGG16": "bfloat16"}), (None, {})):
        write_json(run.run, CONTENT | {"precision": before, "titles": {"vgg16": "VGG16"}})
        assert run.read().precision == before
        assert run.read().precisions() == words
