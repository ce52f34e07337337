"""Trial records: impossible ones cannot be built, possible ones survive trials.csv, and the best is the best."""

import dataclasses
import math
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import ConfigError
from bench.run import tables
from bench.run.courses import Curve
from bench.run.folder import RunDir
from bench.run.record import Hardware, RunRecord
from bench.run.results import EpochLog, TrialLog, TrialRecord, rank
from bench.run.tables import EPOCHS
from bench.stats.metrics import METRICS
from bench.trial import EpochRecord, TrialConfig

GOOD = {
    "auc": 0.9,
    "pr_auc": 0.8,
    "accuracy": 0.7,
    "balanced_accuracy": 0.75,
    "f1": 0.72,
    "log_loss": 0.4,
    "brier": 0.3,
}


def record(trial=0, **changes):
    values = {
        "trial": trial,
        "state": "completed",
        "reason": "",
        "origin": "sampled",
        "config": TrialConfig("vgg16"),
        "metrics": GOOD,
        "best_epoch": 2,
        "epochs": 3,
        "seconds": 12.5,
        "elapsed": 20.25,
    }
    return TrialRecord(**(values | changes))


def failed(trial=0, reason="the loss of epoch 2 is not finite", **changes):
    return record(trial, state="failed", reason=reason, metrics=None, best_epoch=None, epochs=0, **changes)


def epoch(number=1, **changes):
    return EpochRecord(**({"phase": "head", "epoch": number, "loss": 0.5, "metrics": GOOD, "seconds": 1.25} | changes))


def through_csv(made, folder):
    log = TrialLog(RunDir(folder))
    log.add(made, [])
    (read,) = TrialLog.load(RunDir(folder)).records
    return read


# Rules


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"state": "running"}, "state in"),
        ({"origin": "dreamt"}, "origin in"),
        ({"state": "failed", "reason": "", "metrics": None, "best_epoch": None}, "has a reason unless"),
        ({"state": "failed", "reason": "broke"}, "a failed trial has no metrics"),
        ({"metrics": None}, "every metric, all finite"),
        ({"metrics": {name: value for name, value in GOOD.items() if name != "f1"}}, "every metric, all finite"),
        ({"metrics": GOOD | {"quadratic_kappa": math.nan}}, "every metric, all finite"),
        ({"metrics": GOOD | {"auc": math.nan}}, "every metric, all finite"),
        ({"metrics": GOOD | {"log_loss": math.inf}}, "every metric, all finite"),
        ({"state": "pruned", "metrics": None, "reason": "stopped"}, "every metric, all finite"),
        ({"seconds": -1.0}, "0 <= seconds"),
        ({"seconds": math.nan}, "0 <= seconds"),
        ({"elapsed": math.inf}, "0 <= seconds and 0 <= elapsed"),
        ({"epochs": -1}, "0 <= epochs"),
        ({"reason": "because"}, "has a reason unless"),
        ({"best_epoch": None}, "has a best epoch"),
    ],
)
def test_an_impossible_record_cannot_be_built(changes, rule):
    with pytest.raises(ValueError) as caught:
        record(7, **changes)
    assert "trial 7" in str(caught.value)
    assert rule in str(caught.value)


def test_a_completed_trial_has_metrics():
    with pytest.raises(ValueError):
        record(metrics={})


@pytest.mark.parametrize("state", ["completed", "pruned"])
def test_possible_records(state):
    reason = "" if state == "completed" else "stopped by ASHA"
    assert record(state=state, reason=reason).state == state


def test_a_failed_trial_is_possible_without_metrics():
    assert failed().metrics is None


def test_columns_are_prefixed_so_that_they_cannot_collide():
    row = record().row()
    assert {name for name in row if name.startswith("metric_")} == {f"metric_{name}" for name in METRICS}
    assert {name for name in row if name.startswith("config_")} == {
        f"config_{field.name}" for field in dataclasses.fields(TrialConfig)
    }
    assert {"trial", "state", "reason", "origin", "best_epoch", "epochs", "seconds", "elapsed"} <= set(row)


def test_a_row_that_could_not_have_happened_is_refused():
    row = record().row()
    with pytest.raises(ValueError):
        TrialRecord.from_row(row | {"state": "running"})
    with pytest.raises(ConfigError):
        TrialRecord.from_row(row | {"config_dropout": 3.0})
    with pytest.raises(KeyError):
        TrialRecord.from_row({name: value for name, value in row.items() if name != "epochs"})


# Through trials.csv


@pytest.mark.parametrize(
    "made",
    [
        record(),
        record(config=TrialConfig("resnet50", "light", 2, 3.3e-4, 0.012345678901234567, 0.5, 0.1, 16)),
        record(state="pruned", reason="stopped by ASHA at epoch 2"),
        failed(),
        failed(config=TrialConfig("vgg16", unfreeze_depth=1, finetune_factor=0.1)),
    ],
    ids=["head alone", "fine-tuned", "pruned", "failed", "failed, fine-tuned"],
)
def test_round_trip(made, tmp_path):
    read = through_csv(made, tmp_path)
    assert read == made
    assert read.config.key == made.config.key
    assert type(read.config.unfreeze_depth) is int
    assert type(read.config.batch_size) is int


@pytest.mark.parametrize(
    "reason",
    [
        "out of memory, twice",
        "first line\nsecond line",
        'it said "no"',
        "mixed: \"a\", 'b'\n\n, ;\t end",
        "nan",
        "NA",
        "None",
        "Übertragung ±5 %",
    ],
)
def test_reasons_survive_as_they_are(reason, tmp_path):
    assert through_csv(failed(reason=reason), tmp_path).reason == reason


@pytest.mark.parametrize("policy", ["none", "NA", "nan", "null", "None", "n/a", " ", "a,b", 'quo"te', "sanft"])
def test_a_policy_may_be_called_anything(policy, tmp_path):
    made = record(config=TrialConfig("vgg16", augmentation=policy))
    assert through_csv(made, tmp_path).config == made.config


@pytest.mark.parametrize("policy", ["1", "007", "1e3", "True"])
def test_a_policy_may_be_called_like_a_number(policy, tmp_path):
    made = record(config=TrialConfig("vgg16", augmentation=policy))
    assert through_csv(made, tmp_path).config == made.config


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.floats(1e-8, 1.0),
    factor=st.none() | st.floats(1e-6, 10.0),
    values=st.lists(st.floats(0, 1), min_size=len(METRICS), max_size=len(METRICS)),
    state=st.sampled_from(["completed", "pruned", "failed"]),
    reason=st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=20).map(
        "e: {}".format
    ),
)
def test_any_record_survives(tmp_path, rate, factor, values, state, reason):
    config = TrialConfig("vgg16", "light", 0 if factor is None else 3, rate, factor)
    made = record(
        state=state,
        reason="" if state == "completed" else reason,
        config=config,
        metrics=None if state == "failed" else dict(zip(METRICS, values, strict=True)),
        best_epoch=None if state == "failed" else 1,
    )
    for stale in (tmp_path / "trials.csv", tmp_path / "epochs.csv"):
        stale.unlink(missing_ok=True)
    read = through_csv(made, tmp_path)
    assert read == made
    assert read.config.key == made.config.key, "a resumed search must know what it has tried"


# The log


def test_a_new_run_has_an_empty_log(tmp_path):
    log = TrialLog.load(RunDir(tmp_path))
    assert log.records == []
    assert log.next_trial == 0
    assert log.elapsed == 0.0
    assert log.best(METRICS["auc"]) is None
    assert len(log.table()) == 0


def test_what_is_added_is_loaded_and_goes_on(tmp_path):
    run = RunDir(tmp_path)
    log = TrialLog(run)
    log.add(record(1, elapsed=9.0), [epoch(1), epoch(2, phase="finetune", loss=0.25)])
    log.add(failed(0, elapsed=30.0), [])
    loaded = TrialLog.load(run)
    assert {made.trial for made in loaded.records} == {0, 1}
    assert loaded.next_trial == 2
    assert loaded.elapsed == 30.0
    loaded.add(record(2), [epoch(1)])
    assert list(pd.read_csv(run.trials)["trial"]) == [0, 1, 2], "rows stand in the order of their numbers"
    epochs = pd.read_csv(run.epochs)
    assert list(epochs.columns) == EPOCHS.names
    assert list(epochs["kind"]) == ["trial"] * 3
    assert list(epochs["name"]) == [1, 1, 2]
    assert list(epochs["phase"]) == ["head", "finetune", "head"]
    assert list(epochs["loss"]) == [0.5, 0.25, 0.5]
    assert epochs[["repeat", "fold"]].isna().all(axis=None)


def test_best_epoch_is_written_as_a_whole_number(tmp_path):
    log = TrialLog(RunDir(tmp_path))
    log.add(record(0), [])
    log.add(failed(1), [])
    text = (tmp_path / "trials.csv").read_text().splitlines()
    column = text[0].split(",").index("best_epoch")
    assert [line.split(",")[column] for line in text[1:]] == ["2", ""]


def test_epochs_are_written_before_the_trial(tmp_path, monkeypatch):
    """So a row in trials.csv means that all of the trial is there."""
    written = []
    write = tables.write_table
    monkeypatch.setattr(tables, "write_table", lambda path, *rest: (written.append(path.name), write(path, *rest)))
    TrialLog(RunDir(tmp_path)).add(record(), [epoch()])
    assert written == ["epochs.csv", "trials.csv"]


def test_epochs_of_a_trial_that_was_not_finished_are_dropped(tmp_path, monkeypatch):
    """A crash between the two writes leaves epochs of a trial that will be run again under the same number."""
    run = RunDir(tmp_path)
    log = TrialLog(run)
    log.add(record(0), [epoch(1)])
    append = tables.append_rows

    def crash(path: Path, table: pd.DataFrame) -> None:
        if path.name == "trials.csv":
            raise OSError("disk full")
        append(path, table)

    monkeypatch.setattr(tables, "append_rows", crash)
    with pytest.raises(OSError):
        log.add(record(1), [epoch(1), epoch(2)])
    monkeypatch.undo()
    loaded = TrialLog.load(run)
    assert [made.trial for made in loaded.records] == [0]
    loaded.add(record(1), [epoch(1)])
    assert list(pd.read_csv(run.epochs)["name"]) == [0, 1]


def test_curves_are_known_by_whose_they_are(tmp_path):
    run = RunDir(tmp_path)
    log = TrialLog(run)
    log.epochs.add(Curve("finalist", "7", repeat=2), [epoch(loss=0.2)])
    log.epochs.add(Curve("fold", "7", fold=1), [epoch(loss=0.4)])
    log.epochs.add(Curve("finalist", "7", repeat=1), [epoch(loss=0.1)])
    log.add(record(7), [epoch(1), epoch(2)])
    assert TrialLog.load(run).epochs.curves == log.epochs.curves
    log.epochs.write()
    loaded = TrialLog.load(run).epochs
    assert loaded.curves == log.epochs.curves
    assert [curve.kind for curve in loaded.curves] == ["trial", "finalist", "finalist", "fold"]
    loaded.add(Curve("finalist", "7", repeat=2), [epoch(loss=0.3)])
    loaded.keep("finalist", {Curve("finalist", "7", repeat=2)})
    again = EpochLog.load(run).curves
    assert {(one.kind, one.repeat): [epoch.loss for epoch in epochs] for one, epochs in again.items()} == {
        ("trial", None): [0.5, 0.5],
        ("finalist", 2): [0.3],
        ("fold", None): [0.4],
    }


def test_a_hyperparameter_that_an_older_table_lacks_has_its_default(tmp_path):
    run = RunDir(tmp_path)
    log = TrialLog(run)
    log.add(record(0, config=TrialConfig("vgg16", "light", 2, 1e-3, 0.3)), [])
    log.add(record(1, config=TrialConfig("vgg16")), [])
    table = pd.read_csv(run.trials)
    table.drop(columns=["config_label_smoothing", "config_batch_size"]).to_csv(run.trials, index=False)
    assert TrialLog.load(run).records == log.records
    table.assign(config_dropout=[0.2, None]).to_csv(run.trials, index=False)
    with pytest.raises(ConfigError, match=r"trials\.csv cannot be read"):  # an empty cell is no missing column
        TrialLog.load(run)


@pytest.mark.parametrize("column", [True, False], ids=["an empty cell", "no column"])
def test_a_metric_that_came_later_may_be_missing_and_no_other(tmp_path, column):
    """As in tables of an earlier version, or of classes without an order."""
    run = RunDir(tmp_path)
    later = GOOD | {"quadratic_kappa": -0.2, "specificity_at_95_sensitivity": 0.5}
    log = TrialLog(run)
    log.add(record(metrics=later), [epoch(metrics=later)])

    def without(*names):
        for file in (run.trials, run.epochs):
            table = pd.read_csv(file)
            cells = [f"metric_{name}" for name in names]
            (table.assign(**dict.fromkeys(cells)) if column else table.drop(columns=cells)).to_csv(file, index=False)

    assert TrialLog.load(run).records == log.records
    without("quadratic_kappa", "specificity_at_95_sensitivity")
    found = TrialLog.load(run)
    assert found.records == [record(metrics=GOOD)]
    assert [one.metrics for (one,) in found.epochs.curves.values()] == [GOOD]
    without("f1")
    with pytest.raises(ConfigError, match=r"trials\.csv cannot be read"):
        TrialLog.load(run)


def test_a_hyperparameter_that_is_not_known_here_is_refused(tmp_path):
    run = RunDir(tmp_path)
    TrialLog(run).add(record(), [])
    pd.read_csv(run.trials).assign(config_momentum=0.9).to_csv(run.trials, index=False)
    with pytest.raises(ConfigError, match=r"trials\.csv cannot be read.*momentum"):
        TrialLog.load(run)


def written_table(run):
    """trials.csv with three trials whose reasons hold commas, quotes and newlines, and where each line of it ends."""
    log = TrialLog(run)
    for number in range(3):
        log.add(failed(number, reason='broken,\n"really"'), [])
    whole = run.trials.read_text()
    return whole, whole.index("\n") + 1, whole.index("\n2,") + 1


@pytest.mark.parametrize("zeros", [0, 100])
def test_a_row_that_was_being_written_is_taken_away(tmp_path, zeros):
    """Wherever the cut lies, up to the last number (12 of 12.5 could have happened)."""
    run = RunDir(tmp_path)
    whole, _, last_row = written_table(run)
    for end in range(last_row + 1, len(whole)):
        run.trials.write_text(whole[:end] + "\0" * zeros)
        log = TrialLog.load(run)
        assert [made.trial for made in log.records] == [0, 1]
        assert run.trials.read_text() == whole[:end] + "\0" * zeros, "who only reads changes nothing"
    log.add(failed(2, reason='broken,\n"really"'), [])
    assert run.trials.read_text() == whole


def test_a_quote_that_damage_has_made_takes_no_rows_away(tmp_path):
    run = RunDir(tmp_path)
    whole, _, _ = written_table(run)
    place = whole.index("\n1,") + 1
    run.trials.write_text(f'{whole[:place]}"{whole[place + 1 :]}')
    with pytest.raises(ConfigError, match=r"trials\.csv cannot be read"):
        TrialLog.load(run)


def test_a_row_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    log = TrialLog(run)
    log.add(record(0), [epoch()])
    before = run.epochs.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        log.add(record(1), [epoch()])
    assert run.epochs.read_bytes() == before


def test_rows_are_appended_and_those_of_trials_that_were_tried_again_are_written_anew(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    log = TrialLog(run)
    whole = []
    write = tables.write_table
    monkeypatch.setattr(tables, "write_table", lambda path, *rest: (whole.append(path.name), write(path, *rest)))
    log.add(record(0), [epoch()])
    log.add(failed(2), [])
    log.add(record(1, config=TrialConfig("vgg16", dropout=0.1)), [epoch()])
    assert whole == ["epochs.csv", "trials.csv"], "at first"
    assert pd.read_csv(run.trials)["trial"].tolist() == [0, 2, 1]
    log.add(record(3, config=failed(2).config), [epoch()])
    assert whole[2:] == ["trials.csv"]
    table = pd.read_csv(run.trials)
    assert table["trial"].tolist() == [0, 1, 2, 3]
    assert table["retried_as"].tolist()[2] == 3
    assert TrialLog.load(run).records == sorted(log.records, key=lambda made: made.trial)


@pytest.mark.parametrize("kept", [1, 40, 300])
def test_a_table_cut_inside_its_header_is_refused_by_name(tmp_path, kept):
    run = RunDir(tmp_path)
    whole, first_row, _ = written_table(run)
    assert kept < first_row
    run.trials.write_text(whole[:kept])
    with pytest.raises(ConfigError, match=r"trials\.csv cannot be read"):
        TrialLog.load(run)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b"trial,state\n0,completed\n"])
def test_what_is_no_table_of_trials_is_refused_by_name(tmp_path, content):
    run = RunDir(tmp_path)
    run.trials.write_bytes(content)
    with pytest.raises(ConfigError, match=r"trials\.csv cannot be read"):
        TrialLog.load(run)


@pytest.mark.parametrize("content", [b"", b"loss\n1\n", b"\xff\xfe\x00\x01"])
def test_a_broken_epochs_table_is_refused_too(tmp_path, content):
    run = RunDir(tmp_path)
    TrialLog(run).add(record(), [epoch()])
    run.epochs.write_bytes(content)
    with pytest.raises(ConfigError):
        TrialLog.load(run)


# The best


def log_of(tmp_path, *records):
    log = TrialLog(RunDir(tmp_path))
    log.records = list(records)
    return log


def test_the_best_follows_the_direction_of_the_metric(tmp_path):
    low = record(0, metrics=GOOD | {"auc": 0.7, "log_loss": 0.2})
    high = record(1, metrics=GOOD | {"auc": 0.95, "log_loss": 0.6})
    log = log_of(tmp_path, low, high)
    assert log.best(METRICS["auc"]) is high
    assert log.best(METRICS["log_loss"]) is low


def test_ties_are_broken_by_log_loss_then_by_number(tmp_path):
    tied = [record(number, metrics=GOOD | {"log_loss": loss}) for number, loss in ((5, 0.3), (3, 0.3), (1, 0.5))]
    assert log_of(tmp_path, *tied).best(METRICS["auc"]).trial == 3
    briers = [record(number, metrics=GOOD | {"brier": 0.1, "log_loss": loss}) for number, loss in ((0, 0.3), (1, 0.2))]
    assert log_of(tmp_path, *briers).best(METRICS["brier"]).trial == 1


def test_failed_trials_are_never_best_and_stopped_ones_may_be(tmp_path):
    stopped = record(2, state="pruned", reason="stopped", metrics=GOOD | {"auc": 0.99})
    log = log_of(tmp_path, failed(0), record(1), stopped)
    assert log.best(METRICS["auc"]) is stopped
    assert [made.trial for made in log.scored()] == [1, 2]
    assert log_of(tmp_path, failed(0)).best(METRICS["auc"]) is None


def test_the_best_of_a_backbone(tmp_path):
    log = log_of(
        tmp_path,
        record(0),
        record(1, config=TrialConfig("resnet50"), origin="recipe", metrics=GOOD | {"auc": 0.6}),
        record(2, config=TrialConfig("resnet50"), metrics=GOOD | {"auc": 0.8}),
    )
    assert log.best(METRICS["auc"]).trial == 0
    assert log.best(METRICS["auc"], backbone="resnet50").trial == 2
    assert log.best(METRICS["auc"], backbone="inceptionv3") is None


def test_rank_sorts_the_better_first():
    better, worse = GOOD | {"f1": 0.8}, GOOD | {"f1": 0.7}
    assert rank(METRICS["f1"], better) < rank(METRICS["f1"], worse)
    assert rank(METRICS["brier"], GOOD | {"brier": 0.1}) < rank(METRICS["brier"], GOOD | {"brier": 0.2})
    assert rank(METRICS["f1"], GOOD | {"log_loss": 0.1}) < rank(METRICS["f1"], GOOD)


def test_where_the_time_went_adds_up() -> None:
    from bench.run.results import activities

    config = TrialConfig("vgg16")
    spent = {"start-up": 4.0, "filling": 10.0, "head training": 2.0}
    one = TrialRecord(0, "failed", "no memory", "sampled", config, None, None, 0, 20.0, 20.0, spent)
    two = TrialRecord(1, "failed", "no memory", "sampled", config, None, None, 0, 30.0, 30.0, {})
    seconds = {"start": 5.0, "data": 3.0, "search": 40.0, "finalists": 60.0, "evaluation": 7.0}
    found = activities([one, two], seconds, jobs=2)
    assert found["start-up"] == 5.0 + 4.0 / 2
    assert found["filling"] == 5.0
    assert found["waiting"] == 40.0 - (20.0 + 30.0) / 2  # workers without a trial
    assert found["other"] == (4.0 + 30.0) / 2  # what the trials do not account for
    assert found["finalists"] == 60.0
    assert sum(found.values()) == pytest.approx(sum(seconds.values()))


@pytest.mark.parametrize("lost", [0.0, 500.0], ids=["whole", "a kill lost seconds"])
def test_where_the_time_went_adds_up_whatever_jobs_a_resumed_run_has_had(lost: float) -> None:
    from bench.run.results import activities

    config, spent = TrialConfig("vgg16"), {"head training": 55.0}
    trials = [
        TrialRecord(number, "failed", "no memory", "sampled", config, None, None, 0, 60.0, 60.0 + number, spent)
        for number in range(30)
    ]
    record = RunRecord(hardware=Hardware(cpus=2, jobs=1)).taken_up_on(Hardware(cpus=2, jobs=2), 10, 5.0)
    assert [record.jobs_of(number) for number in (0, 9, 10, 29)] == [1, 1, 2, 2]
    seconds = {"search": 10 * 60.0 + 20 * 60.0 / 2 - lost, "finalists": 100.0}
    found = activities(trials, seconds, record.jobs_of)
    assert sum(found.values()) == pytest.approx(sum(seconds.values()))
    assert found["head training"] == pytest.approx(55 / 60 * seconds["search"])
    assert found["waiting"] == 0
    assert sum(activities(trials, seconds, 1).values()) == pytest.approx(sum(seconds.values()))


def test_a_failed_trial_that_was_tried_again_stays_as_history_and_counts_no_more(tmp_path):
    other = TrialConfig("resnet50", learning_rate=0.0123456789012345678)
    log = TrialLog(RunDir(tmp_path))
    log.add(failed(0, "the worker process was killed (SIGKILL)", failure="machine", config=other), [])
    log.add(record(1), [])
    log.add(failed(2, "MemoryError: 8 GiB", failure="memory", config=other), [])
    log.add(record(3, config=other), [])
    again = TrialLog.load(RunDir(tmp_path))
    assert again.records == log.records, "floats too, to the last digit: the very same configuration is tried again"
    assert [one.trial for one in again.current] == [1, 3]
    table = pd.read_csv(RunDir(tmp_path).trials)
    assert table["retried_as"].astype("Int64").fillna(-1).tolist() == [2, -1, 3, -1]
    assert table["failure"].fillna("").tolist() == ["machine", "", "memory", ""]
    assert [end.failure for end in again.ends()] == ["", ""]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("memory ran out; a smaller batch size or image size needs less", "memory"),
        ("the loss became nan in head epoch 2", "non-finite loss"),
        ("a predicted probability is not finite after finetune epoch 3", "non-finite loss"),
        ("the worker process ended without a result (memory may have run out)", "machine"),
        ("OSError: [Errno 28] No space left on device", "machine"),
        ('ValueError: The name "activation" is used 2 times in the model.', "error"),
    ],
)
def test_the_kind_of_a_failure_in_an_older_table_is_read_from_its_reason(tmp_path, reason, kind):
    run = RunDir(tmp_path)
    TrialLog(run).add(failed(0, reason), [])
    pd.read_csv(run.trials).drop(columns=["failure", "retried_as"]).to_csv(run.trials, index=False)
    (read,) = TrialLog.load(run).records
    assert (read.failure, read.reason) == (kind, reason)


@pytest.mark.parametrize("changes", [{"failure": "memory"}, {"state": "failed", "failure": "bad luck"}])
def test_a_kind_of_failure_that_cannot_be(changes):
    with pytest.raises(ValueError, match="kind of failure"):
        record(**({"metrics": None, "best_epoch": None, "reason": "x"} if "state" in changes else {}), **changes)
