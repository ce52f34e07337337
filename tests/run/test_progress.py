"""The display of a run: what it shows on a terminal and in a log, and how close its forecast comes to the truth."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from bench.cluster import Ended, Job, Workers
from bench.models.backbones import FIRST_RECIPE, get_backbone
from bench.run import forecast as forecasts
from bench.run import progress
from bench.run.console import Screen
from bench.run.courses import Curve
from bench.run.forecast import Forecast
from bench.run.progress import RunDisplay, SearchDisplay
from bench.run.record import PrecisionRecord
from bench.run.request import Request
from bench.run.results import TrialLog, TrialRecord
from bench.search.space import load_space
from bench.settings import make_settings
from bench.stats.metrics import METRICS, get_metric
from bench.train.job import TrainingJob
from bench.trial import EpochRecord, TrialConfig

AUC = get_metric("auc")
TIMED = sorted(Path(__file__).with_name("timed").glob("*.json"))
IMAGES = {"train": 240, "val": 120, "test": 120}


def terminal() -> Screen:
    """A screen on a terminal that is a text in memory."""
    return Screen(Console(file=io.StringIO(), force_terminal=True, width=150, height=40, highlight=False))


def log_file() -> Screen:
    return Screen(Console(file=io.StringIO(), force_terminal=False, width=150, soft_wrap=True))


def text_of(screen: Screen) -> str:
    file: Any = screen.console.file
    return str(file.getvalue())


def shown(display: RunDisplay) -> list[str]:
    """What a terminal shows of the display now."""
    console = Console(file=io.StringIO(), width=150)
    console.print(display)
    file: Any = console.file
    return [line.rstrip() for line in file.getvalue().splitlines()]


def request(folder: Path, images: dict[str, int] = IMAGES, space: str = "demo", **settings: Any) -> Request:
    table = pd.DataFrame({"split": [split for split, count in images.items() for _ in range(count)]})
    made = make_settings(name="timed", output=folder, **settings)
    return Request(made, load_space(space, settings.get("backbones")), None, table)  # type: ignore[arg-type]


def config(backbone: str = "vgg16", policy: str = "light", depth: int = 1) -> TrialConfig:
    return TrialConfig(backbone, policy, depth, 1e-3, 0.1 if depth else None)


def record(trial: int, one: TrialConfig, state: str = "completed", **more: Any) -> TrialRecord:
    known = {"seconds": 10.0, "elapsed": 10.0, "auc": 0.9, "epochs": 8, "spent": {}} | more
    metrics = dict.fromkeys(METRICS, 0.5) | {"auc": known.pop("auc")}
    reason = "" if state == "completed" else "weak"
    return TrialRecord(trial, state, reason, "sampled", one, metrics, 1, **known)


def test_the_display_shows_stage_bar_time_left_and_what_runs(tmp_path: Path) -> None:
    display, log = RunDisplay(terminal()), TrialLog(tmp_path)  # type: ignore[arg-type]
    assert shown(display)[0].endswith("0 s elapsed"), "nothing is known yet"
    display.forecast = Forecast(request(tmp_path, budget=10), Workers(2, 1, 0.0, 2, 0))
    display.knows(log)
    search = SearchDisplay(display, AUC, 10, log, lambda: None)
    search.trial_started(0, config())
    search.trial_started(1, config("resnet50"))
    search.trial_scored(1, 0.875, 2)
    head, stages, status, *running = shown(display)
    assert "0 s elapsed, about" in head and head.endswith("to the report")
    assert stages.startswith("Start › Search › Finalists (") and "› Report (" in stages
    assert status == "0 of 10 trials done"
    assert running[0].startswith("  running: trial 0: vgg16, ") and running[0].endswith("no epoch finished yet")
    assert running[1].endswith("ROC AUC 0.875 so far, epoch 2")
    log.records.append(record(0, config()))
    search.trial_ended(log.records[0])
    assert shown(display)[2].startswith("1 of 10 trials done; best validation ROC AUC 0.900 (vgg16")
    assert [one.trial for one in search.trials()] == [1]


def test_jobs_after_the_search_are_counted_and_named() -> None:
    display = RunDisplay(terminal())
    display.begin("finalists")
    jobs = [Job(f"finalist toy, seed {seed}", int, kind="finalist") for seed in (1, 2)]
    display.planned(dict.fromkeys(jobs, 1.0))
    display.job_began(jobs[0], 0)
    assert shown(display)[2:] == ["0 of 2 trainings of finalists done", "  running: finalist toy, seed 1"]
    display.job_ended(Ended(jobs[0], None, None, 0, 0.0, 1.0))
    display.job_began(jobs[1], 0)
    assert shown(display)[2:] == ["1 of 2 trainings of finalists done", "  running: finalist toy, seed 2"]
    display.planned({Job("baseline recipe, seed 1", int, kind="baseline"): 1.0})
    assert shown(display)[2] == "0 of 1 trainings of baselines done"


def test_lines_stand_above_what_is_live_and_nothing_of_it_stays() -> None:
    screen = terminal()
    with pytest.raises(KeyboardInterrupt), RunDisplay(screen):
        with screen.counting("Images decoded", 3) as advance:
            advance(3)
            screen.line("a line")
        assert screen._live is not None, "the bar of the images has gone, the display stays"
        raise KeyboardInterrupt
    assert screen._live is None
    text = text_of(screen)
    assert "a line" in text and "Images decoded: 3 in 0 s" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"


@pytest.mark.parametrize("force", ["", "FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_log_has_plain_lines_and_one_at_least_in_every_interval(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, force: str
) -> None:
    if force:
        monkeypatch.setenv(force, "1")
    screen = Screen()
    with RunDisplay(screen, every=0.05) as display:
        with screen.counting("Images decoded", 300) as advance:
            advance(200)
            time.sleep(0.12)
        display.forecast = Forecast(request(tmp_path, budget=10), Workers(2, 1, 0.0, 2, 0))
        search = SearchDisplay(display, AUC, 10, display.forecast.log, lambda: None)
        search.trial_started(3, config())
        time.sleep(0.12)
    before = threading.active_count()
    text = capsys.readouterr().out
    assert not set("\r\x1b") & set(text)
    lines = text.splitlines()
    assert lines.count("Start: Images decoded: 200 of 300; 0 s elapsed") >= 2
    searching = [
        line for line in lines if line.startswith("Search: 0 of 10 trials done; running: trial 3; 0 s elapsed")
    ]
    assert len(searching) >= 2 and all("; about " in line and "to the report" in line for line in searching)
    time.sleep(0.12)
    assert not capsys.readouterr().out, "and none when it is over"
    assert threading.active_count() <= before


def test_the_line_of_a_trial_tells_the_time_left_of_the_whole_run(tmp_path: Path) -> None:
    display = RunDisplay(log_file())
    display.forecast = Forecast(request(tmp_path, budget=2), Workers(2, 1, 0.0, 2, 0))
    search = SearchDisplay(display, AUC, 2, display.forecast.log, lambda: None)
    display.forecast.log.records.append(record(0, config()))
    search.trial_ended(display.forecast.log.records[0])
    line = text_of(display.screen).strip()
    assert line.startswith("[1/2] trial 0: vgg16, ") and line.endswith("to the report")
    assert "; best 0.900; about " in line


def test_a_forecast_that_fails_costs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    display = RunDisplay(terminal())
    display.forecast = Forecast(request(tmp_path), Workers(2, 1, 0.0, 2, 0))
    monkeypatch.setattr(Forecast, "report", lambda self: 1 / 0)
    assert display.ahead() == {} and shown(display)[0].endswith("elapsed")


def stages(folder: Path, workers: int = 2, **settings: Any) -> dict[str, float]:
    made = Forecast(request(folder, **{"budget": 20, **settings}), Workers(workers, 1, 0.0, 2, 0))
    return {stage: made.of(stage) for stage in forecasts.STAGES}


def test_settings_count_in_the_forecast(tmp_path: Path) -> None:
    usual = stages(tmp_path)
    assert stages(tmp_path, no_test=True)["evaluation"] < usual["evaluation"] / 2
    assert stages(tmp_path, folds=5)["finalists"] > 1.25 * usual["finalists"]
    assert stages(tmp_path, repeats=1)["finalists"] < usual["finalists"] / 2
    assert stages(tmp_path, budget=40)["search"] > 1.3 * usual["search"]
    assert stages(tmp_path, time_limit=7)["search"] == 7
    assert usual["outer"] == 0
    looped = stages(tmp_path, outer="5x2")["outer"]
    assert stages(tmp_path, outer="5x1")["outer"] == pytest.approx(looped / 2)
    assert stages(tmp_path, outer="5x2", outer_budget=5)["outer"] < 0.9 * looped
    assert stages(tmp_path, outer="5x2", time_limit=7)["outer"] == 7
    assert stages(tmp_path, workers=1)["search"] == pytest.approx(2 * usual["search"])
    assert stages(tmp_path, scheduler="none")["search"] > usual["search"]
    assert stages(tmp_path, epochs=8)["finalists"] > 2 * usual["finalists"], "more epochs, and views to be drawn"


def test_a_cache_that_has_all_features_is_noticed(tmp_path: Path) -> None:
    made = Forecast(request(tmp_path), Workers(2, 1, 0.0, 2, 0))
    before = made.search()
    for number, policy in enumerate(("light", "medium", "strong")):
        made.log.records.append(record(number, config("vgg16", policy, 0), seconds=0.1, epochs=4))
    assert made.search() < 0.7 * before


def test_a_time_that_was_measured_on_a_busier_machine_is_corrected_by_passes_that_took_less(tmp_path: Path) -> None:
    slow = PrecisionRecord(measured={"prefix": {"float32": 200.0}})
    made = Forecast(request(tmp_path, backbones=("vgg16",)), Workers(2, 1, 0.0, 2, 0), {"vgg16": slow})
    before = made.evaluation()
    for number, policy in enumerate(("light", "medium", "strong")):  # 360 images in four views, each 20 ms
        made.log.records.append(record(number, config("vgg16", policy, 0), epochs=4, spent={"filling": 28.8}))
    assert made.evaluation() < before / 3
    assert made.filling(made._request.backbones[0], "light", 4) < 40, "as nothing was in the cache"


def trial_of(made: Forecast, head: int, tuned: int, seconds: float) -> TrialRecord:
    """A trial of the log of ``made``, with its epochs."""
    number = len(made.log.records)
    one = replace(config(depth=2), learning_rate=1e-3 + number / 1e6)
    ended = record(number, one, epochs=head + tuned, seconds=seconds)
    phases = ["head"] * head + ["finetune"] * tuned
    made.log.epochs.curves[Curve("trial", str(number))] = [
        EpochRecord(phase, epoch, 0.5, dict(ended.metrics or {}), 1.0) for epoch, phase in enumerate(phases, 1)
    ]
    made.log.records.append(ended)
    return ended


def test_trainings_are_taken_to_have_the_epochs_that_trials_had(tmp_path: Path) -> None:
    """A head that gained nothing more after 4 of 100 epochs was taken for one of all: its time went to the suffix."""
    made = Forecast(request(tmp_path, budget=9, epochs=100), Workers(1, 1, 0.0, 1, 0))
    vgg16 = made._request.backbones[0]
    assert vgg16.name == "vgg16"
    allowed = made.training(("vgg16", 2), 240)
    took = made.step(vgg16, 2) * (240 + 120 / 3) * 12
    ended = trial_of(made, head=4, tuned=12, seconds=took)
    assert made.training(("vgg16", 2), 240, config=ended.config) == pytest.approx(took, rel=0.05)
    assert made.training(("vgg16", 2), 240) == pytest.approx(allowed * (100 + 12) / 200, rel=0.05)
    for _ in range(7):
        trial_of(made, head=4, tuned=12, seconds=took)
    assert made.training(("vgg16", 2), 240) == pytest.approx(allowed * (100 + 8 * 12) / 900, rel=0.05)


def test_a_winner_that_is_its_recipe_is_not_trained_again_as_a_baseline(tmp_path: Path) -> None:
    made = Forecast(request(tmp_path, budget=9), Workers(1, 1, 0.0, 1, 0))
    inceptionv3 = made._recipe(get_backbone("inceptionv3"))
    made.log.records.append(record(0, replace(inceptionv3, dropout=0.5), seconds=10.0, auc=0.8))
    other = made.baselines()
    made.log.records.append(record(1, inceptionv3, seconds=10.0, auc=0.9))
    own = made.of_jobs([TrainingJob(inceptionv3, 0, made._request.epochs, model_file=tmp_path)])[0]
    assert other - made.baselines() == pytest.approx(own * made._settings.repeats, rel=0.1)


def test_a_running_trial_whose_features_are_not_there_yet_takes_longer(tmp_path: Path) -> None:
    made = Forecast(request(tmp_path, budget=2), Workers(1, 1, 0.0, 1, 0))
    made.log.records.append(record(0, config("vgg16", "light", 0), seconds=30.1, epochs=4, spent={"filling": 30.0}))
    there, lacking, begun = (
        made.search([(config("vgg16", policy, 0), elapsed)])
        for policy, elapsed in (("light", 0.0), ("strong", 0.0), ("strong", 10.0))
    )
    assert lacking > there + 20, "360 images in four views"
    assert lacking - begun == pytest.approx(10)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Sets the time that the display reads."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    yield lambda seconds: now.__setitem__(0, seconds)


def lots(jobs: list[list[Any]]) -> list[list[list[Any]]]:
    """Jobs that were carried out together: a lot begins when all of the one before have ended."""
    found: list[list[list[Any]]] = []
    for job in sorted(jobs, key=lambda job: job[3]):
        if not found or job[3] >= max(other[4] for other in found[-1]):
            found.append([])
        found[-1].append(job)
    return found


def replay(timed: Any, folder: Path, clock: Callable[[float], None], ask: Callable[[float, RunDisplay], None]) -> None:
    """Have the display live through a recorded run again; ``ask`` is called after every event and once a second.

    Args:
        timed: ``trials``: number, began, ended, state, backbone, policy, depth, epochs, ROC AUC, seconds, seconds by
            activity; ``jobs``: kind, name, worker, began, ended; all in seconds since the run began.
        folder: where nothing is written.
        clock: sets the time.
        ask: called with the time and the display.
    """
    clock(0.0)
    settings = {"learning_curve": False, **timed["settings"]}  # recorded before there was one
    made = request(folder, timed["images"], timed["space"], **settings)
    recipes = {one.name: one.recipe or FIRST_RECIPE for one in made.backbones}  # of the time of the recording
    made = replace(made, space=replace(made.space, recipes=recipes))
    precision = {name: PrecisionRecord(**one) for name, one in timed["precision"].items()}
    display, events = RunDisplay(log_file(), 1e9), list[tuple[float, Callable[[], None]]]()
    display.forecast = forecast = Forecast(made, Workers(timed["workers"], 1, 0.0, 2, 0), precision)
    search, log = None, forecast.log

    def begin_search() -> None:
        nonlocal search
        search = SearchDisplay(display, AUC, made.settings.budget, log, lambda: None)

    def end_trial(one: TrialRecord) -> None:
        log.records.append(one)
        search.trial_ended(one)

    def training(kind: str, name: str) -> TrainingJob:
        best = log.best(AUC, None if kind == "baseline" else name.split()[1].rstrip(","))
        assert best is not None
        chosen = best.config
        if "recipe" in name:
            backbone = next(one for one in made.backbones if one.name == chosen.backbone)
            chosen = TrialConfig.from_mapping(made.space.recipe(backbone))
        return TrainingJob(chosen, 0, made.epochs, from_scratch="small_cnn" in name, model_file=folder)

    def plan(some: list[list[Any]]) -> None:
        trained = some[0][0] != "evaluation"
        seconds = forecast.of_jobs([training(*one[:2]) for one in some]) if trained else [0.0] * len(some)
        display.planned({jobs[one[1], one[3]]: expected for one, expected in zip(some, seconds, strict=True)})

    jobs = {(one[1], one[3]): Job(one[1], int, kind=one[0]) for one in timed["jobs"]}
    first = min(one[1] for one in timed["trials"])
    events.append((first, begin_search))
    for trial, began, ended, state, backbone, policy, depth, epochs, auc, seconds, spent in timed["trials"]:
        more = {"seconds": seconds, "elapsed": ended - first, "auc": auc, "epochs": epochs, "spent": spent}
        one = record(trial, config(backbone, policy, depth), state, **more)
        events.append((began, lambda one=one: search.trial_started(one.trial, one.config)))
        events.append((ended, lambda one=one: end_trial(one)))
    assert forecast.steps("evaluation") == sum(one[0] == "evaluation" for one in timed["jobs"])
    over, stage = max(one[2] for one in timed["trials"]), "search"
    for lot in lots(timed["jobs"]):
        if (of := "evaluation" if lot[0][0] == "evaluation" else "finalists") != stage:
            events.append((over, lambda of=of: display.begin(of)))
        stage = of
        events.append((over, lambda lot=lot: plan(lot)))
        for _, name, worker, began, ended in lot:
            job = jobs[name, began]
            events.append((began, lambda job=job, worker=worker: display.job_began(job, worker)))
            done = Ended(job, None, None, worker, began, ended)
            events.append((ended, lambda done=done: display.job_ended(done)))
        over = max(one[4] for one in lot)
    events.append((timed["report"], lambda: display.begin("report")))
    events += [(float(second), lambda: None) for second in range(1, int(timed["end"]))]
    for when, happens in sorted(events, key=lambda one: one[0]):
        clock(when)
        happens()
        ask(when, display)


@pytest.mark.parametrize("file", TIMED, ids=lambda file: file.stem)
def test_the_time_left_is_within_30_percent_from_a_quarter_of_a_recorded_run(
    tmp_path: Path, clock: Callable[[float], None], file: Path
) -> None:
    timed = json.loads(file.read_text())
    ratios: dict[float, float] = {}

    def ask(now: float, display: RunDisplay) -> None:
        ratios[now / timed["end"]] = sum(display.ahead().values()) / (timed["end"] - now)

    replay(timed, tmp_path, clock, ask)
    told = {
        share: next(ratio for at, ratio in ratios.items() if at >= share) for share in (0.25, 0.4, 0.5, 0.6, 0.75, 0.9)
    }
    assert all(0.7 <= ratio <= 1.3 for ratio in told.values()), told
    later = [ratio for share, ratio in ratios.items() if 0.25 <= share <= 0.95]
    assert sum(0.7 <= ratio <= 1.3 for ratio in later) >= 0.9 * len(later), "and nearly so all the way"
