"""The live report: when it is renewed, what it says, and that nothing that goes wrong in it reaches the run."""

import logging
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from report_outline import Outline
from report_run import edit_json, write_run

from bench.report.figures import search as figures_search
from bench.report.live import LEAST_PAUSE, PAUSE_PER_SECOND, RETRAINING, SEARCHING, LiveReport, Pace, Renderer
from bench.report.live_page import Trials
from bench.run.folder import RunDir
from bench.trial import Running, TrialConfig


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Renderings:
    """What was rendered instead of a page; ``begun`` is set at each, and each waits for ``may_end``."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, bool]] = []
        self.running: list[tuple[list[Running], bool]] = []
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    def __call__(
        self, run: RunDir, note: str, going_on: bool, running: Sequence[Running] = (), anew: bool = True
    ) -> Path:
        self.running.append((list(running), anew))
        self.begun.set()
        assert self.may_end.wait(10)
        run.report.write_text(note, encoding="utf-8")
        self.notes.append((note, going_on))
        return run.report


class AtOnce(Pace):
    """No pause at all."""

    def wait(self) -> float:
        return 0.0


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 12 trials; to be copied, not to be changed."""
    return write_run(tmp_path_factory.mktemp("written") / "xray", trials=12, image_side=16).path


@pytest.fixture
def searching(written: Path, tmp_path: Path) -> RunDir:
    """A run in the middle of its search: 12 of 50 trials have ended."""
    run = RunDir(shutil.copytree(written, tmp_path / "xray"))
    for path in (run.finalists, run.evaluation, run.predictions_test, run.best_model):
        path.unlink()
    settings = run.read_run()["settings"]
    edit_json(run.run, winner=None, search=None, settings={**settings, "budget": 50})
    return run


def waited(report: LiveReport) -> None:
    """Wait until the thread of ``report`` has ended, which it does by itself once the report is given up."""
    assert report._thread is not None
    report._thread.join(10)
    assert not report._thread.is_alive()


def test_the_first_rendering_is_due_at_once_and_the_next_after_a_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.wait() == 0
    with pace.timed():
        clock.now += 0.5
    assert pace.wait() == LEAST_PAUSE
    clock.now += 59
    assert pace.wait() == 1
    clock.now += 2
    assert pace.wait() == 0


def test_a_slow_rendering_is_followed_by_a_long_pause() -> None:
    clock = Clock()
    pace, began, rendering = Pace(clock), clock.now, 0.0
    for seconds in (3.0, 8.0, 2.0, 4.0):
        clock.now += pace.wait()
        with pace.timed():
            clock.now += seconds
        rendering += seconds
        assert pace.wait() == PAUSE_PER_SECOND * seconds
    assert rendering / (clock.now + pace.wait() - began) < 0.02


def test_a_rendering_that_fails_counts_too() -> None:
    clock = Clock()
    pace = Pace(clock)
    with pytest.raises(ValueError, match="no"), pace.timed():
        clock.now += 10
        raise ValueError("no")
    assert pace.wait() == 500


def test_what_happens_during_a_rendering_or_a_pause_is_shown_in_the_next_one_and_only_once(searching: RunDir) -> None:
    rendered = Renderings()
    rendered.may_end.clear()
    with LiveReport(searching, rendered, AtOnce()) as report:
        report.renew()
        assert rendered.begun.wait(10)
        rendered.begun.clear()
        for _ in range(5):
            report.renew()
        report.stage(RETRAINING)
        rendered.may_end.set()
        assert rendered.begun.wait(10)
        rendered.begun.clear()
        assert not rendered.begun.wait(0.2), "nothing is new"
    assert rendered.notes == [(SEARCHING, True), (RETRAINING, True)]


def test_a_trial_that_ends_in_the_pause_does_not_wait_for_another_to_be_shown(searching: RunDir) -> None:
    class Brief(Pace):
        def wait(self) -> float:
            return min(super().wait(), 0.05)

        def ended(self) -> None:
            self._due = None

    pace, rendered = Brief(), Renderings()
    with LiveReport(searching, rendered, pace) as report:
        report.renew()
        assert rendered.begun.wait(10)
        rendered.begun.clear()
        report.renew()
        assert not rendered.begun.wait(0.2), "a minute has not passed"
        pace.ended()
        assert rendered.begun.wait(10)


def test_telling_it_returns_at_once_although_a_rendering_hangs(searching: RunDir) -> None:
    rendered = Renderings()
    rendered.may_end.clear()
    with LiveReport(searching, rendered, AtOnce()) as report:
        report.renew()
        assert rendered.begun.wait(10)
        report.renew()
        report.stage(RETRAINING)
        assert rendered.notes == [], "it hangs still"
        rendered.may_end.set()


def test_a_new_run_has_no_page_before_its_first_trial_and_a_resumed_one_has_it_at_once(
    searching: RunDir, tmp_path: Path
) -> None:
    new, rendered = RunDir(tmp_path / "new"), Renderings()
    new.path.mkdir()
    with LiveReport(new, rendered, AtOnce()) as report:
        report.stage(SEARCHING)
        assert not rendered.begun.wait(0.1)
        report.renew()
        assert rendered.begun.wait(10)
    resumed = Renderings()
    with LiveReport(searching, resumed) as report:
        report.stage(SEARCHING)
        assert resumed.begun.wait(10), "with nothing but its first stage"


def test_an_error_gives_the_live_report_up_and_is_logged_once(
    searching: RunDir, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def failing(run: RunDir, note: str, *more: object) -> Path:
        tried.append(note)
        raise OSError("no space left on device")

    with caplog.at_level(logging.DEBUG), LiveReport(searching, failing, AtOnce()) as report:
        report.renew()
        waited(report)
        for _ in range(3):
            report.renew()
        report.stage(RETRAINING)
    assert len(tried) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "The live report is given up, and the run goes on: OSError: no space left on device"
    ]


def test_no_thread_to_be_had_is_no_reason_to_stop(
    searching: RunDir, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    rendered = Renderings()
    with LiveReport(searching, rendered, AtOnce()) as report:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            report.renew()
        report.renew()
    assert rendered.notes == [] and "can't start new thread" in caplog.text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyboardInterrupt(), "The run was interrupted."),
        (ValueError("disk full.\nmore"), "The run stopped: disk full."),
    ],
)
def test_a_run_that_stops_leaves_a_page_that_says_so(searching: RunDir, error: BaseException, words: str) -> None:
    rendered = Renderings()
    with pytest.raises(type(error)), LiveReport(searching, rendered, AtOnce()) as report:
        report.renew()
        assert rendered.begun.wait(10)
        raise error
    assert rendered.notes[-1] == (words, False)


def test_the_final_report_is_never_replaced(searching: RunDir) -> None:
    rendered = Renderings()
    with pytest.raises(ValueError, match="after"), LiveReport(searching, rendered) as report:
        report.renew()
        assert rendered.begun.wait(10)
        report.close()
        searching.report.unlink()
        searching.report.write_text("final", encoding="utf-8")
        report.renew()
        raise ValueError("after the report")
    assert searching.report.read_text(encoding="utf-8") == "final"


def test_closing_waits_for_a_rendering_that_has_begun(searching: RunDir) -> None:
    rendered = Renderings()
    rendered.may_end.clear()
    with LiveReport(searching, rendered, AtOnce()) as report:
        report.renew()
        assert rendered.begun.wait(10)
        threading.Timer(0.1, rendered.may_end.set).start()
        report.close()
        assert len(rendered.notes) == 1, "nothing is written after it was closed"


def test_the_page_says_that_the_run_is_going_on_and_how_far(searching: RunDir) -> None:
    page = Renderer()(searching, SEARCHING).read_text(encoding="utf-8")
    seen = Outline(page)
    text = " ".join(seen.text.split())
    best = pd.read_csv(searching.trials).nlargest(1, "metric_auc").iloc[0]
    assert "Going on: 12 of 50 trials" in text
    assert "It is searching. 12 of the 50 trials in its budget have ended." in text
    for name in ("VGG16", "ResNet50", "InceptionV3"):
        assert re.search(rf"so far by backbone:.*{name} 0\.\d{{3}} \(trial \d+\)", text), name
    assert f"{best['metric_auc']:.3f} (trial {best['trial']:.0f})" in text
    assert "The test split is sealed" in text and "python run_bench.py --resume xray --output" in text
    assert len(seen.named("img")) == 1, "the history and nothing dear"
    assert not searching.figures.exists(), "figures are kept of what is final"
    assert page.count("<script") == 1 and page.count("<style") == 1
    assert not re.search(r"\bnan\b|\bNone\b|undefined", text)


def test_what_is_left_of_a_search_is_said_while_it_goes_on_and_no_more_than_its_time_limit(searching: RunDir) -> None:
    def left() -> float | None:
        return Trials.of(searching).left

    first, elapsed = left(), Trials.of(searching).elapsed
    assert elapsed and first == pytest.approx(elapsed / 12 * 38)
    settings = searching.read().settings.model_dump(mode="json", exclude_unset=True)
    edit_json(searching.run, settings={**settings, "time_limit": elapsed + 5})
    assert left() == pytest.approx(5)
    edit_json(searching.run, settings={**settings, "time_limit": elapsed - 5})
    assert left() == 0
    edit_json(searching.run, settings=settings, search={"planned": 50, "stopped_by": "time limit"})
    assert left() is None, "it is over"
    page = Renderer()(searching, RETRAINING).read_text(encoding="utf-8")
    assert "Left of the search" not in page and "Time of the search" in page
    edit_json(searching.run, settings={**settings, "budget": 60})
    assert left() == pytest.approx(elapsed / 12 * 48), "it is extended"


def test_the_page_loads_itself_anew_until_the_run_has_stopped(searching: RunDir) -> None:
    live = Outline(Renderer()(searching, SEARCHING).read_text(encoding="utf-8"))
    metas = {meta.get("http-equiv"): meta["content"] for meta in live.named("meta") if "http-equiv" in meta}
    assert metas["refresh"] == "60"
    assert metas["Content-Security-Policy"] and metas["Content-Security-Policy"].startswith("default-src 'none'")
    assert "location.reload()" in searching.report.read_text(encoding="utf-8")
    stopped = Renderer()(searching, "The run was interrupted.", going_on=False).read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' not in stopped and "reload" not in stopped
    assert "This run has stopped before its end. The run was interrupted. 12 of the 50 trials" in Outline(stopped).text


def test_the_page_of_a_run_without_any_score(searching: RunDir) -> None:
    trials = pd.read_csv(searching.trials)
    failed = trials[trials["state"] == "failed"].head(1)
    failed.to_csv(searching.trials, index=False)
    text = " ".join(Outline(Renderer()(searching, SEARCHING).read_text(encoding="utf-8")).text.split())
    assert "Going on: 1 of 50 trials" in text and "1 of the 50 trials in its budget has ended." in text
    assert "No trial has a validation ROC AUC yet." in text and "the loss was not finite in epoch 1" in text


def test_an_extended_run_says_where_its_earlier_results_are(written: Path, tmp_path: Path) -> None:
    run = RunDir(shutil.copytree(written, tmp_path / "xray"))
    assert "is in evaluation.json until it is evaluated" in Outline(Renderer()(run, SEARCHING).read_text()).text


def test_a_figure_that_cannot_be_drawn_costs_no_more_than_itself(
    searching: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(figures_search, "history", broken)
    text = Outline(Renderer()(searching, SEARCHING).read_text(encoding="utf-8")).text
    assert "The history could not be drawn: ValueError: no ink" in text and "Leaderboard so far" in text


def test_a_page_that_cannot_be_written_leaves_the_last_one_whole(
    searching: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Renderer()(searching, SEARCHING).read_text(encoding="utf-8")

    def full(self: Path, *arguments: object, **options: object) -> int:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="no space"):
            Renderer()(searching, RETRAINING)
    assert searching.report.read_text(encoding="utf-8") == before
    assert [path.name for path in searching.path.glob(".report-*")] == []


def test_hostile_names_are_harmless(searching: RunDir) -> None:
    trials = pd.read_csv(searching.trials)
    trials["config_augmentation"] = '"><svg onload=alert(1)>'
    trials["reason"] = "</td><script>alert(2)</script>"
    trials.to_csv(searching.trials, index=False)
    seen = Outline(Renderer()(searching, "<script>alert(3)</script>").read_text(encoding="utf-8"))
    assert len(seen.named("script")) == 1 and not seen.named("svg")
    assert '"><svg onload=alert(1)>' in seen.text and "<script>alert(3)</script>" in seen.text


def test_it_beats_although_nothing_has_ended_and_takes_over_what_is_dear(searching: RunDir) -> None:
    rendered, going = Renderings(), [Running(12, TrialConfig("vgg16"), 0.875, 3)]
    with LiveReport(searching, rendered, heartbeat=0.1) as report:
        report.stage(SEARCHING)
        report.watch(lambda: going)
        deadline = time.monotonic() + 10
        while len(rendered.running) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        report.stage(RETRAINING)
        seen = list(rendered.running)
    assert [anew for _, anew in seen[:3]] == [True, False, False]
    assert seen[1:3] == [(going, False)] * 2, "the pace of dear renderings is a minute, that of the heart is its own"
    assert all(not running for running, _ in rendered.running[len(seen) + 1 :]), "the next stage has no trials"


def test_it_beats_before_the_first_trial_has_ended(searching: RunDir) -> None:
    for path in (searching.trials, searching.epochs):
        path.unlink()
    with LiveReport(searching, heartbeat=0.1) as report:
        report.stage(SEARCHING)
        report.watch(lambda: [Running(0, TrialConfig("inceptionv3", augmentation="strong"))])
        deadline = time.monotonic() + 20
        while not searching.report.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    text = " ".join(Outline(searching.report.read_text(encoding="utf-8")).text.split())
    assert "Going on: 0 of 50 trials" in text and "InceptionV3" in text and "strong" in text
    assert not re.search(r"\bnan\b|\bNone\b|undefined", text)


def test_the_page_tells_its_heartbeat_what_runs_and_what_the_audit_warns_of(searching: RunDir) -> None:
    findings = [
        {
            "kind": "shortcut",
            "severity": "warning",
            "heading": "Shortcut",
            "text": "The label can be told by size.",
            "files": [],
        },
        {"kind": "sizes", "severity": "note", "heading": "Sizes", "text": "Sizes differ.", "files": []},
    ]
    edit_json(searching.audit, findings=findings)
    running = [Running(12, TrialConfig("vgg16"), 0.875, 3), Running(13, TrialConfig("resnet50"))]
    seen = Outline(Renderer()(searching, SEARCHING, running=running).read_text(encoding="utf-8"))
    text = " ".join(seen.text.split())
    assert re.search(r"Heartbeat \d+ \w+ \d{4}, \d\d:\d\d UTC", text)
    assert re.search(r"12 VGG16 3 0\.875", text) and re.search(r"13 ResNet50 – –", text)
    assert "The label can be told by size." in text and "Sizes differ." not in text
    assert "No trial is running" in Outline(Renderer()(searching, RETRAINING).read_text(encoding="utf-8")).text
    stopped = Outline(Renderer()(searching, "It stopped.", going_on=False).read_text(encoding="utf-8")).text
    assert "Running now" not in stopped and "Heartbeat" not in stopped


def test_a_run_that_fails_before_there_is_a_page_leaves_one(searching: RunDir) -> None:
    rendered = Renderings()
    with pytest.raises(ValueError, match="all failed"), LiveReport(searching, rendered):
        raise ValueError("all failed: SIGKILL")
    assert rendered.notes == [("The run stopped: all failed: SIGKILL.", False)]


def test_importing_it_is_cheap() -> None:
    code = "import sys, bench.report.live; print(*sorted({'matplotlib', 'seaborn', 'tensorflow'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "", "not before there is something to draw"
