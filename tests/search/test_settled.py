"""When a search is settled: on records whose answer is known, and over many simulated searches."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toys

from bench.cluster import Workers
from bench.run.folder import RunDir
from bench.run.messages import ended_early
from bench.run.record import RunRecord, SearchRecord
from bench.run.results import TrialLog, TrialRecord
from bench.run.stages import _raised
from bench.search import tune
from bench.search.plan import Plan, make_plan
from bench.search.searcher import FINISHED, RecordingSearch, Rules
from bench.search.settled import FAIR, FEWEST, LEVEL, Rule, chance, of_run, retrospect, rule_of
from bench.search.space import parse_space
from bench.settings import make_settings
from bench.stats.metrics import METRICS
from bench.trial import TrialConfig


def trial(number: int, score: float, backbone: str = "vgg16", **changes: Any) -> TrialRecord:
    metrics = dict.fromkeys(METRICS, score)
    config = TrialConfig(backbone, learning_rate=1e-4 * (1 + number))
    one = TrialRecord(number, "completed", "", "sampled", config, metrics, 1, 1, 1.0, 1.0 + number)
    return replace(one, **changes)


def trials(scores: Sequence[float], backbones: Sequence[str] = ("vgg16",)) -> list[TrialRecord]:
    return [trial(number, score, backbones[number % len(backbones)]) for number, score in enumerate(scores)]


def rule(metric: str = "auc", budget: int = 50, patients: float = 100, **changes: Any) -> Rule:
    one = Rule(METRICS[metric], (patients, patients), budget, ("vgg16",), 0)
    return replace(one, **changes)


SPREAD = [0.70 + 0.01 * number for number in range(20)]
"""Scores of which the best, 0.89, has a standard error of 0.05 of 25 patients per class, and 0.007 of 1,000."""


# The chance


def test_the_chance_is_the_predictive_one_of_the_logarithms_tail() -> None:
    # the best quarter of 8 are 0.1 and 0.2 away, 4 and 2 times nearer than 0.4; 0.05 would be 8 times nearer
    distances = [0.5, 0.1, 0.4, 0.2, 0.7, 0.6, 0.9, 0.8]
    one = 2 / 8 * (1 + math.log(8) / (math.log(4) + math.log(2))) ** -2
    assert one == 2 / 8 / 4
    assert chance(distances, 0.05, trials=1) == pytest.approx(one)
    assert chance(distances, 0.05, trials=30) == pytest.approx(1 - (1 - one) ** 30)


def test_it_finds_the_chance_of_a_known_distribution() -> None:
    rng = np.random.default_rng(0)
    found, true = [], []
    for _ in range(500):
        distances = rng.uniform(size=40) ** 0.5  # that one is below u has the chance u²
        found.append(chance(distances.tolist(), 0.3 * distances.min(), trials=1))
        true.append((0.7 * distances.min()) ** 2)
    assert np.mean(found) == pytest.approx(np.mean(true), rel=0.2)


def test_of_one_more_exchangeable_trial_it_is_one_in_all() -> None:
    rng = np.random.default_rng(0)
    found = [chance(rng.gamma(5, size=30).tolist(), 0.0, trials=1) for _ in range(500)]
    assert np.mean(found) == pytest.approx(1 / 31, rel=0.3)


def test_a_larger_margin_and_fewer_trials_make_it_smaller() -> None:
    distances = [1 - score for score in SPREAD]
    assert chance(distances, 0.01, 30) > chance(distances, 0.02, 30) > chance(distances, 0.02, 10) > 0


def test_ties_at_the_best_look_for_a_spread_below_them() -> None:
    assert 0 < chance([0.1] * 8 + [0.2] * 12, 0.05, 1) < 1
    assert chance([0.5] * 30, 0.05, 1) == 1, "nothing is known of the spread"


# The rule


def test_it_fires_where_the_best_cannot_be_beaten_by_more_than_its_standard_error() -> None:
    near = [0.88 + 0.0005 * number for number in range(20)]
    assert rule(patients=25).why(trials(near)).startswith("settled: that one of the 30 trials left beats the best by")
    assert rule(patients=25).chance(trials(near)) < LEVEL  # type: ignore[operator]


def test_it_does_not_fire_where_it_may_be_beaten() -> None:
    assert rule(patients=1000).chance(trials(SPREAD)) > LEVEL  # type: ignore[operator]
    assert rule(patients=1000).why(trials(SPREAD)) == ""


def test_the_order_of_the_scores_does_not_matter() -> None:
    assert rule().chance(trials(SPREAD)) == rule().chance(trials(SPREAD[::-1]))


def test_a_metric_that_is_minimised_is_turned_round() -> None:
    up = rule("accuracy").chance(trials(SPREAD))
    down = rule("brier").chance(
        trials([1 - score for score in SPREAD])
    )  # of both the standard error is the binomial one
    assert up == pytest.approx(down)
    worse = rule("brier").chance(trials([1 - score for score in SPREAD] + [0.9] * 4))
    assert worse < down  # type: ignore[operator]


@pytest.mark.parametrize("metric", METRICS)
def test_a_best_that_nothing_can_beat_settles_the_search(metric: str) -> None:
    perfect = 1.0 if METRICS[metric].higher_is_better else 0.0
    assert rule(metric).chance(trials([*SPREAD, perfect])) == 0


def test_too_few_trials_settle_nothing() -> None:
    sure = [0.99] * 4 + [0.5] * 40
    assert rule().chance(trials(sure[: FEWEST - 1])) is None
    assert rule().chance(trials(sure[:FEWEST])) is not None
    assert rule(budget=FEWEST).chance(trials(sure[:FEWEST])) is None, "nothing is left"


def test_every_backbone_has_its_share_first() -> None:
    two = replace(rule(), backbones=("vgg16", "resnet50"))
    scores = [0.9] * 8 + [0.8] * 32
    alone = trials(scores[:30])
    few = [trial(30 + number, 0.7, "resnet50") for number in range(FAIR)]
    assert two.chance(alone) is None
    assert two.chance(alone + few[:-1]) is None
    assert two.chance(alone + few) is not None


def test_points_and_recipes_come_first() -> None:
    ended = trials(SPREAD)
    ended[3] = replace(ended[3], origin="recipe")
    assert rule(fixed=1).chance(ended) is not None
    assert rule(fixed=2).chance(ended) is None


def failed(number: int, backbone: str = "vgg16", **changes: Any) -> TrialRecord:
    lost = {"state": "failed", "reason": "the loss became nan", "metrics": None, "best_epoch": None}
    return trial(number, 0.0, backbone, **(lost | changes))


def test_what_failed_has_ended_too() -> None:
    ended = trials(SPREAD)
    recipe = failed(20, origin="recipe")
    assert rule(fixed=1).chance(ended) is None
    assert rule(fixed=1).chance([*ended, recipe]) is not None
    more = [failed(20 + number) for number in range(10)]
    assert rule(budget=50).chance(ended + more) == rule(budget=40).chance(ended), "20 are left of either"
    assert "the 20 trials left" in rule(patients=5).why(ended + more)
    assert rule(budget=30).chance(ended + more) is None, "nothing is left"
    assert rule().chance(trials(SPREAD[:-1]) + more) is None, "too few scores"


def test_a_backbone_that_cannot_be_trained_is_not_waited_for() -> None:
    two = replace(rule(), backbones=("vgg16", "resnet50"))
    scored = trials(SPREAD)
    lost = [failed(20 + number, "resnet50") for number in range(FAIR)]
    assert two.chance(scored + lost[:-1]) is None
    assert two.chance(scored + lost) is not None
    assert two.short(scored + lost) == [] and two.short(scored) == ["resnet50"]
    assert two.chance([*scored, *lost, trial(30, 0.8, "resnet50")]) is None, "one succeeded: it has its share first"
    assert two.chance(scored) is None
    assert two.chance(scored, closed={"resnet50"}) is not None, "nothing of it is left to try"


def test_a_search_with_a_failed_recipe_would_have_ended_too() -> None:
    ended = two_at_a_time([0.88 + 0.0005 * (number % 20) for number in range(30)])
    ended[2] = replace(failed(2), origin="recipe", elapsed=ended[2].elapsed, seconds=4.0)
    ended[4] = replace(ended[4], origin="recipe")
    assert retrospect(rule(patients=25, fixed=2), ended).trials == 22


# Over many searches


def simulated(rng: np.random.Generator, better_by: float) -> Any:
    """Scores of 50 trials, normal in the logit; those after the 20th are ``better_by`` on average."""
    logits = rng.normal(2.5, 0.4, 50) + better_by * (np.arange(50) >= 20)
    return 1 / (1 + np.exp(-logits))


def missed(better_by: float, patients: float, one_trial: bool = False) -> tuple[float, float]:
    """Share of 200 searches whose rest beats the best by more than its standard error, and trials until they ended."""
    rng, lost, ended = np.random.default_rng(1), [], []
    for _ in range(200):
        scores = simulated(rng, better_by)
        records = trials(scores)
        for count in range(FEWEST, 50):
            this = rule(patients=patients, budget=count + 1 if one_trial else 50)
            if this.why(records[:count]):
                break
        best = scores[:count].max()
        lost.append(scores.max() > best + this.standard_error(best))
        ended.append(count)
    return float(np.mean(lost)), float(np.mean(ended))


@pytest.mark.parametrize("better_by", [0.0, 0.2])
@pytest.mark.parametrize("patients", [40, 150, 1000])
def test_at_most_one_in_twenty_searches_would_have_found_better(better_by: float, patients: float) -> None:
    lost, ended = missed(better_by, patients)
    assert lost <= 0.05
    assert ended < 49, "it never ended one early"


def test_the_chance_of_one_further_trial_would_end_too_many() -> None:
    assert missed(0.0, 1000, one_trial=True)[0] > 0.3


# When it would have ended a search


def two_at_a_time(scores: Sequence[float]) -> list[TrialRecord]:
    """Trials of two workers: each takes 4 seconds, and one ends every 2 seconds."""
    return [trial(number, score, elapsed=4.0 + 2 * number, seconds=4.0) for number, score in enumerate(scores)]


def test_what_would_have_been_saved_and_lost() -> None:
    near = [0.88 + 0.0005 * (number % 20) for number in range(40)]
    near[35] = 0.9
    found = retrospect(rule(patients=25, budget=40), two_at_a_time(near))
    # trial 19 ends after 42 s; trial 20 runs then and ends after 44, and 21 would have begun when 19 ended
    assert (found.trials, found.seconds, found.saved_trials, found.saved_seconds) == (21, 44.0, 19, 38.0)
    assert found.best == pytest.approx(near[19])
    assert found.lost == pytest.approx(0.9 - near[19])
    assert found.chance is not None
    assert found.chance < LEVEL
    assert found.standard_error == pytest.approx(rule(patients=25).standard_error(near[19]))


def test_the_order_is_that_in_which_trials_ended_not_that_of_their_numbers() -> None:
    ended = two_at_a_time([0.88 + 0.0005 * (number % 20) for number in range(30)])
    shuffled = [replace(one, trial=29 - one.trial) for one in ended]
    expected = retrospect(rule(patients=25), ended)
    assert expected.trials is not None
    assert retrospect(rule(patients=25), shuffled[::-1]) == expected


def test_a_search_that_it_would_not_have_ended() -> None:
    wide = rule(patients=1000)
    found = retrospect(wide, two_at_a_time(SPREAD))
    assert (found.trials, found.saved_trials, found.saved_seconds, found.lost) == (None, 0, 0.0, 0.0)
    assert found.chance == wide.chance(trials(SPREAD))
    assert retrospect(wide, two_at_a_time(SPREAD[:9])).chance is None


def recorded(**changes: Any) -> RunRecord:
    splits = {"val": {"images": 120, "patients": 60, "classes": {"PNEUMONIA": 80, "NORMAL": 40}}}
    data = {"classes": ["NORMAL", "PNEUMONIA"], "splits": splits}
    return RunRecord.model_validate({"data": data, "titles": {"vgg16": "VGG16"}} | changes)


def test_the_rule_of_a_run_counts_validation_patients_by_class() -> None:
    made = rule_of(recorded(settings={"metric": "brier"}), 30, 4)
    assert made == Rule(METRICS["brier"], (20.0, 40.0), 30, ("vgg16",), 4)
    assert rule_of(recorded(data=None), 30, 4) is None
    assert (
        rule_of(recorded(data={"classes": ["A", "B"], "splits": {"val": {"images": 3, "classes": {"A": 3}}}}), 9, 0)
        is None
    )


def test_a_failed_trial_has_no_score_but_its_time_counts() -> None:
    ended = two_at_a_time([0.88 + 0.0005 * number for number in range(24)])
    failed = {"state": "failed", "reason": "out of memory", "metrics": None, "best_epoch": None}
    ended[5] = replace(ended[5], **failed)
    found = of_run(recorded(), ended, 50)
    assert found is not None
    assert (found.trials, found.saved_trials) == (22, 2), "the 20th score is that of the 21st trial"


# The search


@pytest.fixture
def space(toy_table: None) -> Any:
    return parse_space("toys", toys.SPACE)


class Silent:
    def trial_started(self, number: int, config: TrialConfig) -> None: ...
    def trial_scored(self, number: int, score: float, epoch: int) -> None: ...
    def trial_ended(self, one: TrialRecord) -> None: ...
    def note(self, text: str) -> None: ...


def settled_log(run: RunDir) -> TrialLog:
    log = TrialLog.load(run)
    for one in trials([0.88 + 0.0005 * number for number in range(20)]):
        log.add(one, [])
    return log


@pytest.mark.usefixtures("study_in_memory")
def test_a_settled_search_proposes_nothing(tmp_path: Path, space: Any) -> None:
    search = RecordingSearch(Rules(space, "auc", epochs=3, seed=0), settled_log(RunDir(tmp_path)), Silent())
    search.enqueue(make_plan(space, [toys.toy_backbone()], budget=50).items)
    search.until = rule(patients=25)
    assert search.suggest("next") == FINISHED
    assert search.stopped_because.startswith("settled: that one of the 30 trials left")
    search.until = None
    assert search.suggest("next") != FINISHED


@pytest.mark.usefixtures("study_in_memory")
def test_it_is_settled_though_a_recipe_failed_and_a_backbone_has_nothing_left(tmp_path: Path, toy_table: None) -> None:
    tiny = parse_space(
        "tiny", "parameters: {backbone: {choices: [toy, toy2]}, learning_rate: {choices: [1e-4, 2.0e-4]}}"
    )
    log = settled_log(RunDir(tmp_path))
    log.add(replace(failed(20, "toy"), origin="recipe"), [])
    search = RecordingSearch(Rules(tiny, "auc", epochs=3, seed=0), log, Silent())
    search.until = rule(patients=25, fixed=1, backbones=("vgg16", "toy2"))
    assert search.suggest("next") != FINISHED, "toy2 has a configuration left"
    search.until = rule(patients=25, fixed=2)
    assert not search._is_settled(), "a recipe is to come"
    search.until = rule(patients=25, fixed=1)
    assert search._is_settled() and "the 29 trials left" in search.settled


@pytest.mark.usefixtures("study_in_memory")
def test_a_backbone_with_fewer_configurations_than_its_share_is_not_waited_for_beyond_them(
    tmp_path: Path, toy_table: None
) -> None:
    tiny = parse_space("tiny", "parameters: {backbone: {choices: [toy]}, learning_rate: {choices: [1e-4, 2.0e-4]}}")
    log = settled_log(RunDir(tmp_path))
    search = RecordingSearch(Rules(tiny, "auc", epochs=3, seed=0), log, Silent())
    search.until = rule(patients=25, backbones=("vgg16", "toy"))
    for number in (20, 21):
        assert search.suggest(str(number)) != FINISHED
        assert not search._is_settled(), "the last of them runs"
        search.ended(str(number), {"failed": "no such layer", "finished": True})
    assert search.suggest("next") == FINISHED and search.settled


@pytest.mark.usefixtures("study_in_memory")
def test_a_recipe_that_the_machine_ended_is_tried_again_before_the_search_is_settled(
    tmp_path: Path, space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = settled_log(RunDir(tmp_path))
    log.records.clear()  # they are of this search
    rounds: list[tuple[int, int]] = []

    def one_round(search: RecordingSearch, _: Any, __: Any, ___: str, wanted: int, *____: Any) -> str:
        rounds.append((search.jobs, wanted))
        if len(rounds) == 1:
            for one in trials([0.88 + 0.0005 * number for number in range(20)]):
                log.add(one, [])
            log.add(trial(20, 0.0, "toy", **(lost | {"config": config})), [])
        if search.suggest("next") == FINISHED:
            return search.stopped_because
        search.ended("next", {"failed": "no such layer", "failure": "error", "finished": True})
        return ""

    lost = {"state": "failed", "reason": "lost", "failure": "machine", "metrics": None, "best_epoch": None}
    lost["origin"] = "recipe"
    config = TrialConfig.from_mapping(space.recipe(toys.toy_backbone()))
    monkeypatch.setattr(tune, "_one_round", one_round)
    settings = make_settings(name="x", budget=50, scheduler="none", cache=tmp_path, until_settled=True)
    task = SimpleNamespace(metric="auc", epochs=3, seed=0, backbones={})
    plan = Plan(space, until=rule(patients=25, fixed=1))
    why = tune.run_search(plan, task, Workers(2, 1, 0.0, 2, 0), settings, log, Silent())  # type: ignore[arg-type]
    assert rounds == [(2, 50), (1, 1), (2, 29)]
    assert why.startswith("settled: that one of the 29 trials left")
    assert [one.config.backbone for one in log.records[20:]] == ["toy", "toy"]


@pytest.mark.parametrize("broke", [False, True])
def test_a_search_that_is_resumed_goes_by_the_same_rule(
    tmp_path: Path, space: Any, monkeypatch: pytest.MonkeyPatch, broke: bool
) -> None:
    log = settled_log(RunDir(tmp_path))
    if broke:  # it would be tried again
        lost = {"state": "failed", "reason": "lost", "failure": "machine", "metrics": None, "best_epoch": None}
        log.add(trial(20, 0.5, "toy", **lost), [])
    rounds = []

    def one_round(search: RecordingSearch, *_: Any) -> str:
        rounds.append(search.suggest("next"))
        return search.stopped_because or "budget"

    monkeypatch.setattr(tune, "_one_round", one_round)
    settings = make_settings(name="x", budget=50, scheduler="none", cache=tmp_path, until_settled=True)
    task = SimpleNamespace(metric="auc", epochs=3, seed=0, backbones={})
    plan = Plan(space, until=rule(patients=25))
    why = tune.run_search(plan, task, Workers(1, 1, 0.0, 1, 0), settings, log, Silent())  # type: ignore[arg-type]
    assert rounds == [FINISHED]
    assert why.startswith("settled: ")
    assert len(log.records) == 20 + broke


@pytest.mark.parametrize(
    ("ended", "more", "goes_on", "by"),
    [
        ("settled: that one", {"until_settled": True}, False, "--no-until-settled"),
        ("settled: that one", {"until_settled": False}, True, "--no-until-settled"),
        ("time limit", {"time_limit": 60}, False, "--time-limit none"),
        ("time limit", {"time_limit": 90}, True, "--time-limit none"),
        ("time limit", {}, True, "--time-limit none"),
        ("no trial came to an end", {}, True, ""),
        ("budget", {"until_settled": False}, False, None),
    ],
)
def test_what_has_ended_a_search_can_be_taken_back(
    tmp_path: Path, ended: str, more: dict[str, Any], goes_on: bool, by: str | None
) -> None:
    search = SearchRecord(planned=50, time_limit=60.0, stopped_by=ended)
    assert _raised(make_settings(name="x", budget=50, cache=tmp_path, **more), search) is goes_on
    said: list[str] = []
    ended_early(SimpleNamespace(line=said.append), RunDir(tmp_path / "x"), ended)  # type: ignore[arg-type]
    assert len(said) == (by is not None)
    if by is not None:
        assert said[0].startswith(f"  note: the search ended before its budget: {ended}")
        assert (f"it goes on by: python run_bench.py --resume x {by} --output" in said[0]) == bool(by)
