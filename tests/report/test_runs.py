"""What `list` says of every kind of run folder, and what `open` shows."""

import json
import os
import re
import shutil
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_run import write_run

from bench.checksums import checksum
from bench.cli import main
from bench.errors import ConfigError, TrialFailed
from bench.flags import UNFAIR
from bench.report.read.files import read
from bench.report.runs import COLUMNS, State, listed, newest
from bench.run import pipeline
from bench.run.console import Screen
from bench.run.folder import STAGES, RunDir, held, is_held, write_json
from bench.run.messages import headline

CREATED = "2026-11-20T10:00:00+00:00"


def edit(run: RunDir, **changes: object) -> None:
    write_json(run.run, run.read_run() | changes)


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of run folders in the working folder, with one finished run."""
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "reports" / "xray", trials=6, image_side=16)
    for stage in STAGES:
        run.finish(stage)
    return tmp_path / "reports"


def the(output: Path, name: str = "xray") -> tuple[str, ...]:
    (row,) = (row for row in listed(output) if row.run == name)
    return row.state.value, str(row.score or ""), row.note


def test_a_finished_run_has_the_score_of_the_internal_test_with_its_interval(output: Path) -> None:
    (row,) = listed(output)
    scores = json.loads((output / "xray" / "evaluation.json").read_text())
    found = scores["models"][scores["winner"]]["metrics"]["auc"]
    assert (row.state, row.score and row.score.split) == (State.FINISHED, "test")
    assert row.score is not None and (row.score.value, row.score.low) == (found["value"], found["low"])
    assert row.chosen in ("VGG16", "ResNet50", "InceptionV3")
    assert str(row.score) == f"test ROC AUC {found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def test_a_sealed_run_has_the_score_of_validation(output: Path) -> None:
    (output / "xray" / "evaluation.json").unlink()
    edit(RunDir(output / "xray"), winner={"backbone": "vgg16", "score": 0.9871, "sd": 0.0042})
    state, score, note = the(output)
    assert (state, note) == ("finished", "")
    assert score == "validation ROC AUC 0.987 ± 0.004"


def test_scores_of_a_search_that_was_extended_are_not_those_of_the_test(output: Path) -> None:
    RunDir(output / "xray").unfinish("evaluation")
    state, score, _ = the(output)
    assert state == "interrupted" and score.startswith("validation")


def test_how_far_a_run_has_come(output: Path) -> None:
    run = RunDir(output / "xray")
    shutil.rmtree(run.path / ".stages")
    (run.path / ".stages").mkdir()
    assert the(output)[0] == "interrupted"
    edit(run, stopped="OSError: No space left on device")
    assert the(output)[::2] == ("failed", "OSError: No space left on device")
    with held(run.path, "busy"):
        assert the(output)[0] == "running"
    edit(run, stopped="")
    run.trials.unlink()
    assert the(output)[0] == "audit only"


def test_asking_whether_a_run_is_going_on_leaves_it_alone(tmp_path: Path) -> None:
    assert not is_held(tmp_path) and list(tmp_path.iterdir()) == []
    with held(tmp_path, "busy"):
        assert is_held(tmp_path) and is_held(tmp_path)
        with pytest.raises(ConfigError, match="busy"), held(tmp_path, "busy"):
            pass
    assert not is_held(tmp_path)


def test_a_run_that_has_just_begun(output: Path) -> None:
    with held(output / "new", "busy"):
        assert the(output, "new") == ("running", "", "It is reading its images.")
    assert the(output, "new")[0] == "interrupted"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'"run"', b"\xff\xfe", b"[" * 100_000, b'{"winner": {"score": 1}, "created": 3}']
)
def test_a_damaged_folder_is_a_row(output: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (output / "xray" / "run.json").write_bytes(content)
    assert main(["list"]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split("\t")[0] == "xray" and "run.json" in row
    assert "\tdamaged\t" in row or b"winner" in content


def test_a_folder_that_has_lost_its_record_and_others_that_are_no_run(output: Path) -> None:
    (output / "xray" / "run.json").unlink()
    os.mkfifo(output / "xray" / "run.json")  # reading it would never end
    (output / "speed").mkdir()
    (output / "speed" / "compare.csv").write_text("method\n")
    (output / "side-by-side.html").write_text("")
    assert [(row.run, row.state, row.note) for row in listed(output)] == [("xray", "damaged", "run.json is missing.")]


def test_a_damaged_evaluation_is_said(output: Path) -> None:
    (output / "xray" / "evaluation.json").write_text("{")
    state, score, note = the(output)
    assert state == "finished" and score.startswith("validation") and "evaluation.json could not be read" in note


def test_what_a_run_writes_anew_while_it_is_read_is_not_called_damaged(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on forgets the checksums of what it is about to write."""
    run = RunDir(output / "xray")
    pinned = run.read().pinned

    def written_anew(path: Path) -> str:
        run.unpin(path)
        path.write_bytes(path.read_bytes() + b"\n")
        return checksum(path)

    for module in ("bench.report.read.files", "bench.report.runs"):
        monkeypatch.setattr(f"{module}.checksum", written_anew)
    assert the(output)[2] == "" and "evaluation.json" not in run.read().pinned
    run.update(pinned=pinned)
    assert not read(run).changed and not run.read().pinned


@pytest.mark.usefixtures("undrawn")
def test_results_that_are_not_as_the_run_wrote_them_are_said(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can be read, so that nothing but their checksums tells."""
    run = RunDir(output / "xray")
    assert the(output)[2] == "" and not read(run).changed
    scores = json.loads(run.evaluation.read_text())
    scores["models"][scores["winner"]]["metrics"]["auc"]["value"] = 0.999
    write_json(run.evaluation, scores)
    record = json.loads(run.run.read_text())
    record["settings"]["epochs"] = 99
    write_json(run.run, record)
    said = {name: f"{name} is not as the run wrote it: it was damaged" for name in ("run.json", "evaluation.json")}
    note = the(output)[2]
    assert all(one in note for one in said.values()) and "remove its line “checksum”" in note
    run.splits.unlink()
    files = read(run)
    assert all(files.problems[name].startswith(one) for name, one in said.items()) and files.changed == list(said)
    assert files.problems["splits.csv"].startswith("splits.csv is missing")
    hashed: list[str] = []
    monkeypatch.setattr("bench.report.read.files.checksum", lambda path: hashed.append(path.name) or checksum(path))
    assert main(["report", "xray"]) in (0, UNFAIR)
    assert "evaluation.json" in hashed and len(hashed) == len(set(hashed)), "every file is read once"
    told = capsys.readouterr().out
    assert all(f"ATTENTION: run xray: {name} is not as the run wrote it" in told for name in said)
    assert "Files are not as the run wrote them" in run.report.read_text(encoding="utf-8")


def test_the_list_is_in_order_of_age_and_readable_by_machines(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = RunDir(Path(shutil.copytree(output / "xray", output / "o\u202eld")))
    edit(old, created="2020-01-01T00:00:00+00:00")
    assert main(["list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == list(COLUMNS)
    assert [row[0] for row in rows[1:]] == ["xray", r"o\u202eld"] and rows[2][5].endswith(" days")
    assert main(["list", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["run"], first["state"], second["created"]) == ("xray", "finished", "2020-01-01T00:00:00+00:00")
    assert 0.5 < first["score"]["low"] < first["score"]["value"] < first["score"]["high"] <= 1


def test_where_there_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(tmp_path / "nowhere") == []
    assert main(["list", "--output", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["list", "--output", str(tmp_path / "nowhere")]) == 0
    told = capsys.readouterr()
    assert told.out.split() == list(COLUMNS) and told.err.startswith("There is no run in ")
    assert main(["open", "--output", str(tmp_path)]) == 2
    assert "There is no run in" in capsys.readouterr().err


def test_the_table_of_a_terminal_has_the_filled_columns(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("run", "score", "xray", "finished", "test ROC AUC")) and "note" not in told


def test_a_narrow_terminal_breaks_no_word_and_notes_have_lines_of_their_own(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = RunDir(Path(shutil.copytree(output / "xray", output / "a-run-with-a-long-name-of-2026")))
    (failed.path / "evaluation.json").write_text("{")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert set(" ".join(the(output)[1:]).split()) <= set(told.split()), "the score is broken between words alone"
    assert {"a-run-with-a-long-name-of-2026", "finished"} <= set(told.split())
    assert any(line.startswith(f" {failed.name}: evaluation.json could not be read") for line in told.splitlines())


@pytest.mark.parametrize("name", ["r" * 36, "r" * 65])
def test_a_long_name_is_broken_before_a_score_is_cut_short(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(output / "xray", output / name)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert set(the(output)[1].split()) <= set(told.split())
    assert "r" * 8 in told and (name in told) is (len(name) < 40)


# open


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The pages that a browser was asked to show, on a machine with a display."""
    pages: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda page: pages.append(page) or True)
    return pages


def test_a_report_is_opened_by_name_and_else_the_last(
    output: Path, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = RunDir(Path(shutil.copytree(output / "xray", output / "other")))
    for run in (RunDir(output / "xray"), other):
        run.report.write_text("<p>")
    os.utime(other.run, (1, 1))
    assert newest(output) == RunDir(output / "xray")
    assert main(["open"]) == main(["open", "other"]) == 0
    assert shown == [(output / name / "report.html").as_uri() for name in ("xray", "other")]
    assert capsys.readouterr().out.splitlines() == [f"Report: reports/{name}/report.html" for name in ("xray", "other")]


def test_without_a_display_or_a_browser_the_path_is_printed(
    output: Path, shown: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (output / "xray" / "report.html").write_text("<p>")
    monkeypatch.setattr(webbrowser, "open", lambda page: shown.append(page))  # there is none
    for name in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for asked in (1, 1):
        assert main(["open", "xray"]) == 0
        path, told = capsys.readouterr().out.splitlines()
        assert path == "Report: reports/xray/report.html" and told.startswith("No browser can be started here")
        assert len(shown) == asked, "without a display none is asked, for it would take over the terminal"
        monkeypatch.delenv("DISPLAY", raising=False)


def test_a_run_without_a_report_says_what_makes_one(
    output: Path, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["open", "xray"]) == 2
    assert "has no report yet: `python -m bench report xray` renders it." in capsys.readouterr().err
    with held(output / "xray", "busy"):
        assert main(["open", "xray"]) == 2
    assert "has no report yet: a run writes it once its search has begun." in capsys.readouterr().err
    assert shown == []


# What comes next


@pytest.mark.parametrize(
    ("synthetic", "sealed", "last"),
    [
        (True, False, ["your own images: python run_bench.py --data path/to/images"]),
        (False, False, ["more trials: python run_bench.py --resume xray --budget 12"]),
        (
            *(False, True),
            [
                "open the test split, once every choice is made: python -m bench evaluate xray",
                "more trials: python run_bench.py --resume xray --budget 12",
            ],
        ),
    ],
)
def test_a_run_ends_with_what_can_be_done_next(
    output: Path, synthetic: bool, sealed: bool, last: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(output / "xray", trials=6, synthetic=synthetic)
    edit(run, settings=run.read_run()["settings"] | {"budget": 6})
    if sealed:
        run.evaluation.unlink()
    headline(Screen(), RunDir(Path("reports/xray")))
    told = [line.strip() for line in capsys.readouterr().out.splitlines()]
    first = told.index("Next: open the report: python -m bench open xray")
    assert told[first + 1 :] == ["classify images: python -m bench predict xray scan.jpeg", *last]


# Why a run ended


class Asked:
    """A request for a run that is taken up."""

    resumed, command = True, ""

    def __init__(self, run: RunDir) -> None:
        self.run = run


@pytest.mark.parametrize(
    ("error", "stopped"),
    [(TrialFailed("no trial succeeded"), "no trial succeeded"), (ConfigError("no"), ""), (KeyboardInterrupt(), "")],
)
def test_an_error_that_ends_a_run_is_on_record(output: Path, error: BaseException, stopped: str) -> None:
    run = RunDir(output / "xray")
    with pytest.raises(type(error)), pipeline._alone(Asked(run)):  # type: ignore[arg-type]
        raise error
    assert run.read().stopped == stopped


# As docs/api.md has it


def test_the_python_of_the_docs_runs(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cli.main", lambda arguments: 0)
    page = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
    *_, snippet = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(snippet, found)
    assert len(found["files"].trials) == 6 and found["files"].problems == {}
