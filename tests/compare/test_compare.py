"""The command: what is asked for, what is kept, and every method end to end on toys."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from toys import SPACE, toy_backbone, trials_here, write_folder

from bench import cli
from bench.cluster import Workers
from bench.compare import command, comparison, plan
from bench.compare.inputs import complete_points, prepare_task
from bench.compare.methods import suite
from bench.compare.methods.experiment import OUTCOMES
from bench.compare.methods.process import Ended, MethodRun
from bench.compare.methods.table import METHODS, Method, choose
from bench.errors import ConfigError
from bench.models.backbones import BACKBONES
from bench.run.console import Screen
from bench.run.folder import write_json
from bench.search.space import load_space, parse_space
from bench.train.precision import fixed
from bench.train.task import Precision

SITE = Path(__file__).parent / "site"
LIST = (
    SPACE.split("points:")[0]
    + """points:
  - {backbone: toy, augmentation: none, unfreeze_depth: 0, learning_rate: 0.02, dropout: 0.0}
  - {backbone: toy2, augmentation: light, unfreeze_depth: 1, learning_rate: 0.02, finetune_factor: 0.1, dropout: 0.0}
"""
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images, cache and spaces that the tests share."""
    root = tmp_path_factory.mktemp("compare")
    write_folder(root / "images", {"train": 40, "val": 50, "test": 4})
    (root / "space.yaml").write_text(SPACE)
    (root / "list.yaml").write_text(LIST)
    return root


def arguments(data, tmp_path, *further):
    return [
        "compare",
        *("--data", str(data / "images"), "--weights", "random", "--image-size", "32", "--epochs", "2"),
        *("--cache", str(data / "cache"), "--output", str(tmp_path), "--name", "toys"),
        *further,
    ]


def make_plan(data, tmp_path, **values):
    common = {"data": str(data / "images"), "weights": "random", "image_size": 32, "epochs": 2, "name": "toys"}
    if "fixed_list" not in values:
        common |= {"space": str(data / "space.yaml"), "budget": 2}
    return plan.make_plan(**{**common, "cache": data / "cache", "output": tmp_path, **values})


# What is asked for


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--methods", "sweet"], ["unknown method 'sweet'", "suite, suite-warm"]),
        (["--methods", ","], ["names separated by commas"]),
        (["--seeds", "0"], ["--seeds of at least 1"]),
        (["--seed", "2147483648"], ["at most 2147483648", "got 1 and 2147483648"]),
        (["--seed", "2147483647", "--seeds", "2"], ["at most 2147483648"]),
        (["--target", "1.5"], ["--target", "1.5"]),
        (["--budget", "0"], ["--budget"]),
        (["--jobs", "4000"], ["--jobs 4000", "cores"]),
        (["--space", "nowhere"], ["'nowhere'"]),
        (["--list", "--budget", "3"], ["--list", "--budget"]),
        (["--list", "default"], ["'default' has no points"]),
        (["--list", "--methods", "hyperband"], ["hyperband cannot train a fixed list"]),
        (["--list", "--methods", "by-hand"], ["by-hand cannot train a fixed list"]),
        (["--methods", "suite-warm"], ["suite-warm goes on from the cache", "seed 0"]),
        (["--time-limit", "soon"], ["--time-limit"]),
        (["--data", "/nowhere"], ["/nowhere"]),
        (["--frobnicate"], ["--frobnicate"]),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(data, tmp_path, capsys, toy_table, flags, words):
    given = arguments(data, tmp_path, *flags)
    if "--space" not in flags and "--list" not in flags:
        given += ["--space", str(data / "space.yaml")]
    assert cli.main(given) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert all(word in told for word in words), told
    assert not list(tmp_path.iterdir())


def test_the_last_seed_there_is_can_be_compared(data, tmp_path, toy_table):
    assert make_plan(data, tmp_path, methods=["random"], seed=2**31 - 1).seeds == (2**31 - 1,)


def test_methods_are_chosen_in_the_order_of_the_table():
    assert [method.name for method in choose(["ray-tune", "suite"], False)] == ["suite", "ray-tune"]
    assert [method.name for method in choose(["by-hand", "suite-whole"], False)] == ["suite-whole", "by-hand"]
    assert [method.name for method in choose(None, False)] == [name for name in METHODS if not METHODS[name].whole]
    assert not {"hyperband", "bayesian", "random", "suite-no-asha"} & {method.name for method in choose(None, True)}


def test_the_shipped_list_is_the_24():
    points = complete_points(load_space(command.LIST))
    assert len(points) == 24
    by_depth = pd.DataFrame(points).groupby("unfreeze_depth")
    assert by_depth.size().tolist() == [12, 6, 6]
    assert set(by_depth.get_group(0)["learning_rate"]) == {1e-3, 3e-4}
    for depth in (1, 2):
        assert set(by_depth.get_group(depth)["learning_rate"]) == {1e-3}
        assert set(by_depth.get_group(depth)["finetune_factor"]) == {0.1}
    assert {(point.backbone, point.augmentation) for point in points} == {
        (backbone, policy) for backbone in ("vgg16", "resnet50", "inceptionv3") for policy in ("none", "light")
    }
    policies = load_space("default").policies
    assert dict(load_space(command.LIST).policies) == {name: policies[name] for name in ("none", "light")}


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ("[{backbone: vgg16}]", "lacks augmentation"),
        (
            "[{backbone: vgg16, augmentation: none, unfreeze_depth: 1, learning_rate: 0.001, dropout: 0}]",
            "finetune_factor",
        ),
        ("[]", "no points"),
    ],
)
def test_a_list_must_be_whole(points, words):
    text = SPACE.split("points:")[0].replace("[toy, toy2]", "[vgg16]") + f"points: {points}"
    with pytest.raises(ConfigError, match=words):
        complete_points(parse_space("own", text))


# What is kept


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory):
    """The task that comparisons of `data` share: it takes a process that loads Keras, so it is prepared once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SITE), prepend=os.pathsep)
        for name in ("toy", "toy2"):
            patch.setitem(BACKBONES, name, toy_backbone(name))
        request = make_plan(data, tmp_path_factory.mktemp("prepared"), methods=["random"]).request
        return prepare_task(request, Screen())


@pytest.fixture
def prepared_once(monkeypatch, prepared, knows_toys, toy_table):
    """Comparisons take what is prepared already."""
    monkeypatch.setattr(comparison, "prepare_task", lambda request, screen: prepared)


@pytest.fixture
def pretended(monkeypatch, prepared_once):
    """Methods that only pretend; returns what was carried out, and states in which those end that do not finish."""
    done = []
    states = {}

    def carry_out(run, experiment, time_limit):
        done.append((run.method.name, run.seed))
        experiment.task.cache.mkdir(parents=True, exist_ok=True)
        config = ["toy", "none", 0, 0.01, "", 0.0, 0.0, 8, "given", "constant", 0.0]
        row = [run.method.name, run.seed, 0, "completed", 2.0, 3.0, 0.9, 2, "", *config]
        pd.DataFrame([row], columns=OUTCOMES.names).to_csv(run.folder / OUTCOMES.file, index=False)
        state = states.get(run.method.name, "finished")
        return run.end(state, 2.5, "Boom" if state == "failed" else "", time_limit)

    monkeypatch.setattr(MethodRun, "carry_out", carry_out)
    return done, states


def test_a_comparison_goes_on_where_it_stopped(data, tmp_path, pretended):
    done, states = pretended
    states.update({"suite-warm": "failed", "ray-tune": "failed"})
    methods = ["suite", "suite-warm", "ray-tune"]
    assert comparison.carry_out(make_plan(data, tmp_path, methods=methods), Screen()) == 2
    assert done == [("suite", 0), ("suite-warm", 0), ("ray-tune", 0)]
    assert (tmp_path / "toys" / "space.yaml").read_text() == SPACE
    done.clear(), states.clear()
    further = make_plan(data, tmp_path, methods=methods, seeds=2, target=0.9)
    assert comparison.carry_out(further, Screen()) == 0
    assert done == [("suite-warm", 0), ("ray-tune", 0), ("suite", 1), ("suite-warm", 1), ("ray-tune", 1)]
    rows = pd.read_csv(tmp_path / "toys" / "compare.csv")
    assert list(zip(rows["method"], rows["seed"], strict=True)) == [
        (method, seed) for method in ("suite", "suite-warm", "ray-tune") for seed in (0, 1)
    ]
    facts = json.loads((tmp_path / "toys" / "compare.json").read_text())
    assert facts["target"] == 0.9
    assert [run["state"] for run in facts["runs"]] == ["finished"] * 6
    assert (tmp_path / "toys" / "compare.html").exists()
    assert not list((tmp_path / "toys" / "runs").glob("*/cache")), "nothing goes on from them any more"


def test_the_example_of_the_help_is_recorded_and_read_back(data, tmp_path, pretended, capsys):
    """It names no weights."""
    done, _ = pretended
    with pytest.raises(SystemExit):
        cli.main(["compare", "--help"])
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    given = words[words.index("compare") :]
    given[given.index("path/to/chest_xray")] = str(data / "images")
    given += ["--space", str(data / "space.yaml"), "--cache", str(data / "cache"), "--output", str(tmp_path)]
    assert cli.main(given) == 0 and len(done) == 10
    assert cli.main(given) == 0 and len(done) == 10, "all are kept"
    assert json.loads((tmp_path / "speed" / "compare.json").read_text())["settings"]["weights"] is None


def test_a_start_that_was_ended_before_compare_json_begins_again(data, tmp_path, pretended, monkeypatch):
    def interrupted(record, folder):
        raise KeyboardInterrupt

    begun = make_plan(data, tmp_path, methods=["random"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(comparison.ComparisonRecord, "write", interrupted)
        comparison.carry_out(begun, Screen())
    assert [path.name for path in (tmp_path / "toys").glob("[!.]*")] == ["space.yaml"]
    assert comparison.carry_out(make_plan(data, tmp_path, methods=["random"]), Screen()) == 0


def test_a_cache_is_kept_for_chosen_methods_alone(data, tmp_path, pretended):
    comparison.carry_out(make_plan(data, tmp_path, methods=["suite", "random"]), Screen())
    assert not (tmp_path / "toys" / "runs" / "suite-0" / "cache").exists()
    for methods in (["suite-warm"], ["suite", "suite-warm"]):
        with pytest.raises(ConfigError, match="that of seed 0 was not kept"):
            make_plan(data, tmp_path, methods=methods)
    assert make_plan(data, tmp_path, methods=["suite", "suite-warm"], seed=1).seeds == (1,)


@pytest.mark.parametrize("state", ["failed", "time limit"])
def test_nothing_goes_on_from_the_cache_of_what_did_not_finish(data, tmp_path, pretended, state):
    done, states = pretended
    states["suite"] = state
    compared = {"methods": ["suite", "suite-warm"], "time_limit": 10.0}
    failed = 2 if state == "failed" else 1
    for _ in range(2):
        done.clear()
        assert comparison.carry_out(make_plan(data, tmp_path, **compared), Screen()) == failed
        assert ("suite-warm", 0) not in done
    runs = json.loads((tmp_path / "toys" / "compare.json").read_text())["runs"]
    assert "suite did not finish" in runs[1]["reason"]
    assert not list((tmp_path / "toys" / "runs").glob("*/cache"))
    if state == "failed":
        with pytest.raises(ConfigError, match="there is none for seed 0; add suite"):
            make_plan(data, tmp_path, methods=["suite-warm"])
    states.clear(), done.clear()
    assert comparison.carry_out(make_plan(data, tmp_path, **{**compared, "time_limit": 20.0}), Screen()) == 0
    assert done == [("suite", 0), ("suite-warm", 0)]


def test_what_went_on_from_a_cache_is_forgotten_when_that_is_made_anew(data, tmp_path, pretended):
    """As a version left it that went on from the cache of a search that had failed."""
    done, _ = pretended
    methods = ["suite", "suite-warm"]
    comparison.carry_out(make_plan(data, tmp_path, methods=methods), Screen())
    file = tmp_path / "toys" / "runs" / "suite-0" / "ended.json"
    write_json(file, {**json.loads(file.read_text()), "state": "failed"})
    done.clear()
    assert comparison.carry_out(make_plan(data, tmp_path, methods=methods), Screen()) == 0
    assert done == [("suite", 0), ("suite-warm", 0)]


@pytest.mark.parametrize(("limit", "again"), [(5.0, False), (10.0, False), (20.0, True), (None, True)])
def test_what_the_time_limit_ended_runs_again_if_it_gets_more_time(data, tmp_path, pretended, limit, again):
    done, _ = pretended
    comparison.carry_out(make_plan(data, tmp_path, methods=["random"]), Screen())
    file = tmp_path / "toys" / "runs" / "random-0" / "ended.json"
    write_json(file, {**json.loads(file.read_text()), "state": "time limit", "seconds": 10.2, "time_limit": 10.0})
    done.clear()
    comparison.carry_out(make_plan(data, tmp_path, methods=["random"], time_limit=limit), Screen())
    assert done == [("random", 0)] * again
    (run,) = json.loads((tmp_path / "toys" / "compare.json").read_text())["runs"]
    assert run["state"] == ("finished" if again else "time limit")


def test_an_end_of_which_no_limit_is_known_had_its_own_time():
    old = Ended(method="random", seed=0, state="time limit", seconds=10.2)
    assert old.stands(10.0) and not old.stands(11.0) and not old.stands(None)


@pytest.mark.parametrize(("name", "version"), [("__version__", "0.0.1"), ("packages", lambda: {"keras": "9.9"})])
def test_another_version_of_anything_is_refused(data, tmp_path, pretended, monkeypatch, name, version):
    comparison.carry_out(make_plan(data, tmp_path, methods=["random"]), Screen())
    monkeypatch.setattr(plan, name, version)
    with pytest.raises(ConfigError, match=r"was begun with version .*; choose another --name\.$"):
        make_plan(data, tmp_path, methods=["random"])


@pytest.mark.parametrize(
    ("change", "flag"), [({"epochs": 3}, "--epochs"), ({"budget": 5}, "--budget"), ({"max_images": 60}, "--max-images")]
)
def test_what_decides_results_cannot_change_within_a_comparison(data, tmp_path, pretended, change, flag):
    comparison.carry_out(make_plan(data, tmp_path, methods=["random"]), Screen())
    with pytest.raises(ConfigError, match=f"{flag} cannot change"):
        make_plan(data, tmp_path, methods=["random"], **change)


@pytest.mark.parametrize("kept", ["space", "list"])
def test_a_space_whose_file_has_changed_is_named_by_its_flag(data, tmp_path, pretended, kept):
    """A patience that it has is no flag of the command, and neither is its hash."""
    file = tmp_path / "own.yaml"
    file.write_text((data / f"{kept}.yaml").read_text())
    given = {"fixed_list": str(file), "methods": ["suite"]} if kept == "list" else {"space": str(file)}
    comparison.carry_out(make_plan(data, tmp_path, **given), Screen())
    words = f"another text of --{kept} own: its file has changed; put .*toys/space.yaml in its place, or choose another"
    for changed in ("# a remark\n", "patience: 5\n", "epochs: 7\n"):
        file.write_text(changed + (data / f"{kept}.yaml").read_text())
        with pytest.raises(ConfigError, match=words):
            make_plan(data, tmp_path, **given)
    file.write_text((tmp_path / "toys" / "space.yaml").read_text())
    assert make_plan(data, tmp_path, **given).folder == tmp_path / "toys"


def test_another_space_or_list_is_named_by_its_flag(data, tmp_path, pretended):
    comparison.carry_out(make_plan(data, tmp_path, methods=["random"]), Screen())
    other = tmp_path / "other.yaml"
    other.write_text(SPACE)
    with pytest.raises(ConfigError, match="was begun with --space space and this is other; choose another --name"):
        make_plan(data, tmp_path, methods=["random"], space=str(other))
    with pytest.raises(ConfigError, match="was begun without --list; choose another --name"):
        make_plan(data, tmp_path, methods=["suite"], fixed_list=str(data / "list.yaml"))
    with pytest.raises(ConfigError, match=r"--weights cannot .* was begun with 'random' and this is its default;"):
        make_plan(data, tmp_path, methods=["random"], weights=None)


def test_what_other_methods_do_not_know_is_not_compared(data, tmp_path, toy_table):
    space = (data / "space.yaml").read_text()
    averaged = tmp_path / "averaged.yaml"
    averaged.write_text(space.replace("augmentations:", "  ema_momentum: {choices: [0.0, 0.9]}\naugmentations:"))
    with pytest.raises(ConfigError, match="takes no ema_momentum, which its other methods do not know"):
        make_plan(data, tmp_path, methods=["random"], space=str(averaged))


@pytest.mark.parametrize("name", ["run.json", "space.yaml"])
def test_a_folder_of_something_else_is_left_alone(data, tmp_path, toy_table, name):
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / name).write_text("{}")
    with pytest.raises(ConfigError, match="holds no comparison"):
        make_plan(data, tmp_path, methods=["random"])


# End to end


LEVERS = ("suite-no-cache", "suite-cold-workers", "suite-no-asha", "suite-float32")


@pytest.mark.parametrize("method", ["suite", *LEVERS])
def test_a_lever_is_an_argument_of_the_search(make_experiment, outcomes, tmp_path, monkeypatch, method):
    """A lever that never reached the search would make no difference, and look harmless."""
    searched = []
    monkeypatch.setattr(suite.workers, "start", lambda jobs: Workers(1, 1, 0.0, 1, 0))
    monkeypatch.setattr(suite.workers, "call", lambda found, function, task: fixed(task.backbones, "bfloat16"))
    monkeypatch.setattr("bench.search.tune.run_search", lambda *given: searched.extend(given))
    experiment = make_experiment(method)
    suite.run(experiment, outcomes(experiment))
    _, task, workers, settings, *_ = searched
    assert (task.cache_bytes == 0) == (method == "suite-no-cache")
    assert workers.warm == (method != "suite-cold-workers")
    assert settings.scheduler == ("none" if method == "suite-no-asha" else "asha")
    expected = "float32" if method == "suite-float32" else "bfloat16"
    assert task.precision == {name: Precision(expected, expected) for name in ("toy", "toy2")}
    assert f"backbones computed in Toy {expected}; Toy2 {expected}" in (tmp_path / "notes.txt").read_text()


def run_command(data, tmp_path, *flags):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])}
    environment["TOY_PIDS"] = str(tmp_path / "pids.txt")
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments(data, tmp_path, *flags)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.end_to_end
@pytest.mark.thorough
def test_a_list_gives_the_same_configurations_to_all(data, tmp_path):
    done = run_command(
        data, tmp_path, "--list", str(data / "list.yaml"), "--methods", "suite,suite-warm,ray-tune", "--seed", "4"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pd.read_csv(tmp_path / "toys" / "compare.csv")
    configs = [name for name in OUTCOMES.names if name.startswith("config_")]
    found = {
        method: part[configs].sort_values("config_backbone").reset_index(drop=True)
        for method, part in rows.groupby("method")
    }
    assert set(found) == {"suite", "suite-warm", "ray-tune"}
    for table in found.values():
        pd.testing.assert_frame_equal(table, found["suite"])
    assert rows.groupby("config_backbone")["epochs"].unique().apply(list).to_dict() == {"toy": [2], "toy2": [4]}
    assert set(rows["seed"]) == {4}
    scores = rows.pivot(index="config_backbone", columns="method", values="auc")
    assert scores["suite"].tolist() == pytest.approx(scores["suite-warm"].tolist(), abs=1e-6)
    left = {path.name for path in (tmp_path / "toys" / "runs").glob("*/*")}
    assert not left & {"scratch", "cache"}, "suite-warm was the last to need the cache"
    assert "The same configurations" in (tmp_path / "toys" / "compare.html").read_text()


@pytest.mark.end_to_end
@pytest.mark.thorough
def test_cold_workers_start_anew_for_every_trial(data, tmp_path):
    done = run_command(
        data,
        tmp_path,
        *("--space", str(data / "space.yaml"), "--budget", "2", "--jobs", "1", "--methods", "suite-cold-workers"),
    )
    logs = [log.read_text() for log in (tmp_path / "toys" / "runs").glob("*/log.txt")]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *logs])
    rows = pd.read_csv(tmp_path / "toys" / "compare.csv")
    assert rows["trial"].tolist() == [0, 1]
    assert set(rows["state"]) <= {"completed", "pruned"}
    assert rows["ended"].is_monotonic_increasing and (rows["ended"] > 0).all()
    assert (rows["core_seconds"] > 1).all()
    assert rows["auc"].between(0, 1).all()
    built = {line.split()[1] for line in (tmp_path / "pids.txt").read_text().splitlines()}
    assert len(built) == 3, "one process that times both precisions, and one per trial"


@pytest.mark.parametrize("kept", [True, False])
def test_without_its_cache_the_suite_leaves_no_features(make_experiment, outcomes, alone_here, monkeypatch, kept):
    for name, value in (
        ("start", lambda jobs: Workers(1, 1, 0.0, 1, 0)),
        ("call", lambda found, function, task: fixed(task.backbones, "float32")),
        ("warm_up", lambda found: None),
        ("stop", lambda: None),
    ):
        monkeypatch.setattr(suite.workers, name, value)
    monkeypatch.setattr("bench.search.tune._one_round", trials_here)
    experiment = make_experiment("suite", jobs=1, epochs=1, budget=1, options={"cache": kept})
    told = outcomes(experiment)
    suite.run(experiment, told)
    assert len(pd.read_csv(told._file)) == 1
    assert bool(list(experiment.task.cache.glob("features/*/values.npy"))) == kept


def test_a_method_that_is_out_of_time_keeps_its_rows(data, tmp_path, prepared_once, monkeypatch):
    monkeypatch.setitem(METHODS, "sleeping", Method("sleeping", "Sleeping", "sleeping_method"))
    flags = ("--space", str(data / "space.yaml"), "--methods", "sleeping", "--time-limit", "10s")
    assert cli.main(arguments(data, tmp_path, *flags)) == 0
    facts = json.loads((tmp_path / "toys" / "compare.json").read_text())
    assert [(run["state"], run["notes"]) for run in facts["runs"]] == [("time limit", ["about to sleep"])]
    assert 10 <= facts["runs"][0]["seconds"] < 30
    assert pd.read_csv(tmp_path / "toys" / "compare.csv")["auc"].tolist() == [0.75]
    assert "was ended by the time limit" in (tmp_path / "toys" / "compare.html").read_text()


def test_a_method_that_fails_says_why(make_experiment, tmp_path):
    experiment = make_experiment()
    method = Method("missing", "Missing", "no_such_module")
    run = MethodRun(tmp_path / "run", method, 0)
    run.begin_anew()
    ended = run.carry_out(replace(experiment, method=method), None)
    assert (ended.state, ended.reason) == ("failed", "ModuleNotFoundError: No module named 'no_such_module'")
