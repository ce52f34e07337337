"""A test split that was opened stays open: what a resumed run says of models that are added, and what it refuses."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.errors import ConfigError
from bench.run import messages
from bench.run.documents import EvaluationRecord
from bench.run.folder import RunDir, write_json, write_text
from bench.run.record import RecordedSettings, RunRecord, SpaceRecord, WeightsRecord
from bench.run.request import resume
from bench.search.space import load_space
from bench.settings import make_settings

BEFORE = EvaluationRecord(
    opened=("2026-11-01T10:00:00+00:00",), files={"vgg16-1": "a", "vgg16-2": "b", "recipe-1": "c"}
)


def told(files: dict[str, str]) -> list[str]:
    said: list[str] = []
    messages.evaluated_before(SimpleNamespace(line=said.append), files, BEFORE)  # type: ignore[arg-type]
    return said


def test_which_models_are_added_trained_anew_or_gone_is_said() -> None:
    (said,) = told({"vgg16-1": "a", "vgg16-2": "other", "vgg16-3": "d", "resnet50-1": "e"})
    assert "evaluated before (2026-11-01T10:00:00+00:00)" in said
    assert "added: vgg16-3, resnet50-1; trained anew: vgg16-2; no longer among them: recipe-1" in said
    assert told(dict(BEFORE.files)) == []


@pytest.mark.parametrize("evaluated", [True, False])
def test_what_was_evaluated_is_not_sealed_again(tmp_path: Path, evaluated: bool) -> None:
    run, settings = RunDir(tmp_path / "opened"), make_settings(name="opened", output=tmp_path, cache=tmp_path / "cache")
    space = load_space("demo", None)
    run.write(
        RunRecord(
            name="opened",
            rules=-1,
            settings=RecordedSettings(**settings.model_dump()),
            space=SpaceRecord(name="demo"),
            weights=WeightsRecord(kind="random"),
        )
    )
    write_text(run.space, space.text)
    if evaluated:
        write_json(run.evaluation, BEFORE)
    refused = "--no-test cannot seal it again" if evaluated else "version -1 of the rules"
    with pytest.raises(ConfigError, match=refused):
        resume(run, {"no_test": True})
    with pytest.raises(ConfigError, match="version -1 of the rules"):
        resume(run, {})


def test_another_loop_than_the_one_that_has_begun_is_refused(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "looped")
    settings = make_settings(name="looped", output=tmp_path, cache=tmp_path / "cache", outer="3x2", outer_budget=8)
    record = RunRecord(
        name="looped",
        rules=-1,
        settings=RecordedSettings(**settings.model_dump()),
        space=SpaceRecord(name="demo"),
        weights=WeightsRecord(kind="random"),
    )
    run.write(record)
    write_text(run.space, load_space("demo", None).text)
    write_text(run.outer, "repeat,fold,state\n")
    for change in ({"outer": "5x2"}, {"outer": "3x1"}, {"outer_budget": 9}):
        with pytest.raises(ConfigError, match=r"has folds of --outer 3x2 with --outer-budget 8; .* --outer 3x3\."):
            resume(run, change)
    for change in ({"outer": "3x4"}, {"budget": 80}):
        with pytest.raises(ConfigError, match="version -1 of the rules"):
            resume(run, change)
