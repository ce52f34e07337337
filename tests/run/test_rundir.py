"""Files of a run folder: whole or not there; markers of stages; finding a run."""

import json
import os
import platform
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import ConfigError
from bench.invocation import resume
from bench.run import folder as module
from bench.run.folder import (
    _DRAFT,
    STAGES,
    RunDir,
    atomic_path,
    find_run,
    find_start,
    held,
    to_disk,
    write_json,
    write_table,
    write_text,
    write_vouched,
)
from bench.run.record import OpeningRecord
from bench.run.tables import FINALISTS, FOLDS, OUTER, OUTER_PREDICTIONS, SCHEMAS


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def make_run(folder, content=None):
    write_json(folder / "run.json", {"name": folder.name} if content is None else content)
    return RunDir(folder)


# Atomic writes


def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert files_in(tmp_path) == ["table.csv"]


def test_an_interrupt_inside_a_first_write_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "new.json") as temporary:
        temporary.write_text("{")
        raise KeyboardInterrupt
    assert files_in(tmp_path) == []


def test_the_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "model.h5"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent, "a rename across disks would not be one step"
        assert temporary.suffix == ".h5", "Keras goes by the ending"
    assert path.read_text() == "whole"
    assert files_in(tmp_path) == ["model.h5"]


def test_what_was_written_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path, done = tmp_path / "table.csv", []
    replace = Path.replace
    monkeypatch.setattr(module, "to_disk", lambda what: done.append((what.name, what.is_dir())))
    monkeypatch.setattr(Path, "replace", lambda self, target: (done.append("rename"), replace(self, target))[1])
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert done == [(temporary.name, False), "rename", (tmp_path.name, True)]
    done.clear()
    with atomic_path(path, durable=False) as temporary:
        temporary.write_text("drawn")
    assert done == ["rename"]


def test_files_and_folders_are_forced_to_the_disk(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("content")
    forced = []
    monkeypatch.setattr(os, "fsync", lambda number: forced.append(os.fstat(number).st_ino))
    to_disk(tmp_path / "file")
    to_disk(tmp_path)
    assert forced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize(("number", "name", "passes"), [(22, ".", True), (22, "file", False), (5, ".", False)])
def test_a_file_system_that_cannot_force_folders_is_no_error(tmp_path, monkeypatch, number, name, passes):
    (tmp_path / "file").write_text("content")

    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with nullcontext() if passes else pytest.raises(OSError):
        to_disk(tmp_path / name)


@pytest.mark.parametrize("name", ["splits.csv", "space.yaml", "audit.json"])
@pytest.mark.parametrize("change", ["is not as the run wrote it", "is gone"])
def test_a_run_does_not_go_on_with_other_splits_than_it_began_with(tmp_path, name, change):
    run = make_run(tmp_path / "one")
    files = [run.path / each for each in ("splits.csv", "space.yaml", "audit.json")]
    for path in files:
        path.write_text(f"content of {path.name}")
    run.check_pinned()
    run.pin(*files)
    run.check_pinned()
    path = run.path / name
    path.unlink() if change == "is gone" else path.write_text(path.read_text().replace("content", "kontent"))
    with pytest.raises(ConfigError, match=f"{name} {change}, so the run would go on with others than it began with"):
        run.check_pinned()


def test_written_files_can_be_read_by_others(tmp_path):
    write_text(tmp_path / "report.html", "x")
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_numbers_that_json_does_not_know(tmp_path, value):
    path = tmp_path / "run.json"
    write_json(path, {"score": 0.5})
    with pytest.raises(ValueError):
        write_json(path, {"score": value})
    assert json.loads(path.read_text()) == {"score": 0.5}
    assert files_in(tmp_path) == ["run.json"]


def test_json_keeps_text_as_it_is(tmp_path):
    write_json(tmp_path / "run.json", {"note": "±7° Ärzte"})
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert "±7° Ärzte" in text
    assert text.endswith("}\n")


def test_a_table_has_no_index(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"a": [1], "b": ["x"]}))
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,x\n"


# run.json


def test_update_changes_and_returns_the_record_and_adds_nothing_else(tmp_path):
    run = make_run(tmp_path / "xray", {"seconds": {}})
    returned = run.update(precision="float32")
    assert returned == run.read()
    assert run.read_run() == {"seconds": {}, "precision": "float32"}
    run.spend("data", 1.25)
    run.spend("data", 1.25)
    assert run.read_run()["seconds"] == {"data": 2.5}
    run.change_settings(budget=7)
    assert run.read_run()["settings"] == {"budget": 7}
    assert run.read().settings.bootstrap == 2000


@pytest.mark.parametrize("edit", ['"budget": 9', '"budget": 7.0', '"budget": 7, "x": 1'])
def test_a_run_json_that_was_edited_is_refused_until_its_checksum_is_taken_out(tmp_path, edit):
    run = make_run(tmp_path / "xray")
    run.change_settings(budget=7)
    assert run.read().settings.budget == 7 and not run.changes_of_run
    content = json.loads(run.run.read_text())
    run.run.write_text(json.dumps(content, indent=4, sort_keys=True))
    assert run.read().settings.budget == 7, "another layout says the same"
    run.run.write_text(run.run.read_text().replace('"budget": 7', edit))
    for reading in (run.read, run.read_run, lambda: run.spend("data", 1.0), run.check_pinned):
        with pytest.raises(ConfigError, match=r"run.json is not as the run wrote it: .* remove its line “checksum”"):
            reading()
    assert run.changes_of_run.startswith("run.json is not as the run wrote it")
    content = json.loads(run.run.read_text())
    del content["checksum"]
    run.run.write_text(json.dumps(content))
    assert run.read_run() == content and not run.changes_of_run
    run.spend("data", 1.0)
    assert "checksum" in json.loads(run.run.read_text())


def test_openings_are_added_to_those_before(tmp_path):
    run = make_run(tmp_path / "xray")
    for time in ("2026-01-01", "2026-01-02"):
        run.add_opening(OpeningRecord(time=time, run="xray"))
    assert run.read_run()["test"]["opened"] == ["2026-01-01", "2026-01-02"]
    assert [one.time for one in run.read().test.openings] == ["2026-01-01", "2026-01-02"]


def test_the_exported_model_is_the_very_file_of_its_training(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    run.models.mkdir()
    first, second = run.model_file("a", 1), run.model_file("b", 2)
    assert (first.name, second.name) == ("a-1.h5", "b-2.h5")
    first.write_text("first")
    second.write_text("second")
    for model in (first, first, second):
        run.export(model)
        assert run.best_model.samefile(model)
    monkeypatch.setattr(Path, "hardlink_to", lambda self, other: (_ for _ in ()).throw(OSError("no links here")))
    run.export(first)
    assert run.best_model.read_text() == "first" and not run.best_model.samefile(first)
    assert files_in(tmp_path) == ["a-1.h5", "b-2.h5", "best_model.h5"]


def test_a_folder_without_run_json_is_no_run(tmp_path):
    for method in (RunDir(tmp_path).read_run, RunDir(tmp_path).read):
        with pytest.raises(ConfigError, match=r"no run\.json"):
            method()


@pytest.mark.parametrize("content", [b'{"name": ', b'{"name": "\xff"}'])
@pytest.mark.parametrize("method", ["read_run", "read"])
def test_a_broken_run_json_is_named(tmp_path, method, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.json.*not valid JSON"):
        getattr(RunDir(tmp_path), method)()


def test_every_file_lies_in_the_folder(tmp_path):
    """The names that the design fixes; others read run folders by them."""
    run = RunDir(tmp_path / "xray")
    names = {
        "report": "report.html",
        "best_model": "best_model.h5",
        "best_model_card": "best_model.json",
        "trials": "trials.csv",
        "epochs": "epochs.csv",
        "finalists": "finalists.csv",
        "predictions_test": "predictions_test.csv",
        "splits": "splits.csv",
        "audit": "audit.json",
        "copies": "copies.npz",
        "run": "run.json",
        "evaluation": "evaluation.json",
        "augmentation": "augmentation.npz",
        "study": "study.db",
        "models": "models",
        "figures": "figures",
    }
    assert {attribute: getattr(run, attribute) for attribute in names} == {
        attribute: tmp_path / "xray" / name for attribute, name in names.items()
    }
    assert run.name == "xray"
    for file in SCHEMAS:
        assert getattr(run, file.removesuffix(".csv")) == run.path / file, "a schema's file has its name here too"


# Stage markers


def test_a_stage_is_finished_once_it_is_marked(tmp_path):
    run = RunDir(tmp_path)
    assert not any(run.finished(stage) for stage in STAGES)
    run.finish("search")
    assert [stage for stage in STAGES if run.finished(stage)] == ["search"]
    assert RunDir(tmp_path).finished("search"), "the marker is a file, not memory"


def test_stages_stand_in_their_order():
    assert STAGES == ("data", "search", "finalists", "evaluation")


@pytest.mark.parametrize("index", range(len(STAGES)))
def test_a_marker_is_taken_back_alone(tmp_path, index):
    run = RunDir(tmp_path)
    for stage in STAGES:
        run.finish(stage)
    run.unfinish(STAGES[index])
    assert tuple(stage for stage in STAGES if run.finished(stage)) == STAGES[:index] + STAGES[index + 1 :]


def test_taking_back_what_was_never_finished_is_no_error(tmp_path):
    run = RunDir(tmp_path)
    run.finish("data")
    run.unfinish("search")
    assert run.finished("data")


@pytest.mark.parametrize("method", ["finish", "finished", "unfinish"])
def test_an_unknown_stage_is_an_error(tmp_path, method):
    with pytest.raises(ValueError):
        getattr(RunDir(tmp_path), method)("report")


# Finding a run


def test_a_run_is_found_by_name_and_by_path(tmp_path):
    made = make_run(tmp_path / "reports" / "xray")
    assert find_run("xray", tmp_path / "reports") == made
    assert find_run(str(made.path), tmp_path / "elsewhere") == made


@pytest.mark.parametrize(("place", "typed"), [("xray", "."), ("xray/figures", ".."), ("other/below", "../../xray/.")])
def test_a_run_that_is_found_from_within_has_its_name_and_its_neighbours(tmp_path, monkeypatch, place, typed):
    made = make_run(tmp_path / "reports" / "xray")
    (folder := tmp_path / "reports" / place).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    found = find_run(typed, Path("reports"))
    assert found.name == "xray" and found.path.samefile(made.path) and found.path.parent.samefile(made.path.parent)
    assert f"--resume xray --output {found.path.parent}" in resume(found.name, found.path.parent)
    monkeypatch.chdir(tmp_path)
    assert "--output" not in resume("xray", Path("reports")) + resume("xray", tmp_path / "reports")


def test_the_name_in_the_folder_comes_before_a_path(tmp_path, monkeypatch):
    made = make_run(tmp_path / "reports" / "xray")
    make_run(tmp_path / "xray")
    monkeypatch.chdir(tmp_path)
    assert find_run("xray", tmp_path / "reports") == made


class Listing:
    """Entries of a folder, as `os.scandir` gives them, read before anything else happens."""

    def __init__(self, entries):
        self._entries = iter(list(entries))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_a_run_is_found_while_files_and_folders_in_it_come_and_go(tmp_path, monkeypatch):
    """What is listed may be gone before it is looked at, and between two looks."""
    made, scandir, is_file = make_run(tmp_path / "xray"), os.scandir, Path.is_file

    def listed_and_gone(place):
        entries = scandir(place)
        if str(place) != str(made.path):
            return entries
        with entries:
            kept = Listing(entries)
        shutil.rmtree(made.path / "external", ignore_errors=True)
        return kept

    def gone(path):
        if path.name.startswith(".trials.draft-"):
            path.unlink(missing_ok=True)
        return is_file(path)

    (made.path / "external" / "site").mkdir(parents=True)
    (made.path / ".trials.draft-abcdefgh.csv").write_text("")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_file", gone)
        assert find_run("xray", tmp_path) == made
    monkeypatch.setattr(os, "scandir", listed_and_gone)
    assert find_run("xray", tmp_path) == made and not (made.path / "external").exists()


def test_a_missing_run_is_answered_with_those_there_are(tmp_path):
    for name in ("beta", "alpha"):
        make_run(tmp_path / name)
    (tmp_path / "no_run").mkdir()
    with pytest.raises(ConfigError) as caught:
        find_run("gamma", tmp_path)
    assert "'gamma'" in str(caught.value)
    assert "alpha, beta" in str(caught.value)
    assert "no_run" not in str(caught.value)


def test_where_there_is_no_run_the_message_says_so(tmp_path):
    with pytest.raises(ConfigError, match="there is no run yet"):
        find_run("gamma", tmp_path / "reports")


def test_files_of_finished_stages_are_pinned_and_those_of_the_evaluation_can_be_made_again(tmp_path):
    run = make_run(tmp_path / "one")
    for stage in STAGES:
        for path in run.files_of(stage):
            path.write_text(f"content of {path.name}")
        run.finish(stage)
    assert run.check_pinned() == []
    run.robustness.write_text("something else")
    run.curves.unlink()
    assert sorted(run.check_pinned()) == ["curves.csv", "robustness.csv"]
    assert [stage for stage in STAGES if run.finished(stage)] == ["data", "search", "finalists"]
    assert run.check_pinned() == [], "its files may change by now"
    run.trials.write_text("something else")
    with pytest.raises(ConfigError, match=r"trials.csv is not as the run wrote it"):
        run.check_pinned()
    run.unfinish("search")
    assert run.check_pinned() == []


def test_what_two_stages_write_may_change_while_one_of_them_is_unfinished(tmp_path):
    run = make_run(tmp_path / "one")
    for stage in ("search", "finalists"):
        run.epochs.write_text(f"epochs of the {stage}")
        run.unfinish(stage)
        run.epochs.write_text(f"more epochs of the {stage}")
        assert run.check_pinned() == []
        run.finish(stage)
    run.epochs.write_text("damaged")
    with pytest.raises(ConfigError, match=r"epochs.csv is not as the run wrote it"):
        run.check_pinned()


def test_who_holds_a_folder_is_named(tmp_path):
    with held(tmp_path, "Run 'one'"):
        who = f"{os.getpid()} on {platform.node()}"
        with pytest.raises(
            ConfigError, match=rf"^Run 'one' is going on in another process \({re.escape(who)}\); wait "
        ):
            held(tmp_path, "Run 'one'").__enter__()
        (tmp_path / ".lock").write_text("")  # as an earlier version leaves it
        with pytest.raises(ConfigError, match=r"in another process; wait for it or end it, or else\.$"):
            held(tmp_path, "Run 'one'", ", or else").__enter__()
    with held(tmp_path, "Run 'one'"):
        pass


def test_what_a_killed_process_was_writing_goes_and_nothing_else(tmp_path):
    run = make_run(tmp_path / "one")
    kept = {".lock", "run.json", "models/vgg16-1.h5", "my-notes_1.txt", ".my-document.txt"}
    for name in [*kept, ".run.draft-onxx5os4.json", "models/.vgg16-1.draft-ab_cd012.h5"]:
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).touch()
    left = []
    with pytest.raises(RuntimeError), atomic_path(run.trials) as draft:
        left.append(draft.name)
        raise RuntimeError
    assert _DRAFT.fullmatch(left[0]), "as they are really called"
    run.clear_drafts()
    assert {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()} == kept


@pytest.mark.parametrize(
    ("names", "never"),
    [
        ((".lock",), True),
        ((".lock", "space.yaml", "request.json", ".run.draft-ab_cd012.json"), True),
        ((".lock", "space.yaml", "splits.csv"), False),
        (("space.yaml",), False),
        ((), False),
    ],
)
def test_a_start_that_was_ended_before_run_json_was_there_takes_no_name(tmp_path, names, never):
    for name in names:
        (tmp_path / name).touch()
    assert RunDir(tmp_path).never_begun == never


# Tables of unfinished stages

ROW = {"backbone": "a", "state": "completed", "metric_auc": 0.5}


def test_whenever_a_run_is_killed_its_tables_are_as_it_wrote_them(tmp_path, monkeypatch):
    run, replace, left = RunDir(tmp_path), Path.replace, [0]

    def killed(self, target):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    for auc, fatal in enumerate((1, 2, 0, 1, 2, 0, 2, 1, 0)):
        left[0] = fatal
        with pytest.raises(KeyboardInterrupt) if fatal else nullcontext():
            FINALISTS.write(run.path, [{**ROW, "metric_auc": auc / 10}])
        assert run.check_tables() == []
    assert FINALISTS.records(run.path)[0]["metric_auc"] == 0.8


def test_a_table_that_changed_while_its_stage_is_unfinished_is_set_aside_and_named(tmp_path):
    run = make_run(tmp_path / "one")
    for fold in (1, 2):
        FINALISTS.write(run.path, [ROW] * fold)
        FOLDS.write(run.path, [{**ROW, "fold": fold}])
    assert run.check_tables() == []
    run.finalists.write_text(run.finalists.read_text().replace("0.5", "0.6"))
    said = "finalists.csv is not as the run wrote it; it is now finalists.damaged.csv, and made again"
    assert run.check_tables() == [said]
    assert not run.finalists.exists() and "0.6" in (run.path / "finalists.damaged.csv").read_text()
    assert run.check_tables() == [] and run.folds.exists()
    FINALISTS.write(run.path, [ROW])
    run.pin(run.finalists)
    run.finalists.write_text("changed")
    assert run.check_tables() == [], "of a finished stage: `check_pinned` tells"


def test_a_table_that_nothing_vouches_for_is_taken_as_it_is(tmp_path):
    run = RunDir(tmp_path)
    write_table(run.finalists, FINALISTS.frame([ROW]))  # as before there were such checksums
    assert not run.vouchers.exists() and run.check_tables() == []
    FINALISTS.write(run.path, [ROW])
    (voucher,) = run.vouchers.iterdir()
    content = voucher.read_bytes()
    for damaged in (b"", content[:40], bytes(len(content)), bytes([content[3] ^ 1]).join((content[:3], content[4:]))):
        voucher.write_bytes(damaged)
        assert run.check_tables() == [], "the table is whole"


@pytest.mark.parametrize("file", ["outer.csv", "outer_predictions.csv"])
def test_changed_tables_of_outer_folds_are_refused(tmp_path, file):
    run = make_run(tmp_path / "one")
    image = {"repeat": 1, "fold": 1, "image": "a.png", "label": "A", "prob_A": 0.25, "calibrated_A": 0.25}
    OUTER.write(run.path, [{"repeat": 1, "fold": 1, "state": "completed", "metric_auc": 0.25}])
    OUTER_PREDICTIONS.write(run.path, OUTER_PREDICTIONS.frame([image]))
    OUTER_PREDICTIONS.append(run.path, [{**image, "fold": 2}])
    assert run.check_tables() == []
    assert [row["fold"] for row in OUTER_PREDICTIONS.records(run.path)] == [1, 2]
    path = run.path / file
    path.write_text(path.read_text().replace("0.25", "0.75", 1))
    with pytest.raises(ConfigError, match=rf"{file} is not as the run wrote it.*put the file back, or remove it"):
        run.check_tables()
    path.unlink()
    assert run.check_tables() == []


def test_a_run_goes_before_a_start_of_the_same_name_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "xray", tmp_path / "reports" / "xray"):
        folder.mkdir(parents=True)
        for name in (".lock", "request.json", "space.yaml"):
            (folder / name).touch()
    assert find_start("xray", "reports") == RunDir(Path("reports/xray"))
    (tmp_path / "reports" / "xray" / "run.json").touch()
    assert find_start("xray", "reports") is None
    assert find_start("xray", "elsewhere") == RunDir(Path("xray"))


def test_a_checksum_is_of_what_is_read_back(tmp_path):
    run = RunDir.at(tmp_path)
    write_vouched(run.run, {"by number": {2: 0.1 + 0.2, 10: (1, None)}, "name": "é"})
    assert run.read_run() == {"by number": {"2": 0.1 + 0.2, "10": [1, None]}, "name": "é"}
