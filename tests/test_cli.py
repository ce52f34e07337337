"""The command line: an impossible request is one sentence and status 2, before anything is made or loaded."""

import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal

import numpy as np
import pytest
import toys
from PIL import Image
from pydantic import Field

from bench import RULES, cli, invocation
from bench.data import splits
from bench.errors import ConfigError, WorkerDied
from bench.flags import CALLED_OTHERWISE, SEARCHED
from bench.models.backbones import BACKBONES, get_backbone
from bench.run import command
from bench.run.folder import RunDir, file_sha256, write_json
from bench.search.parameters import PARAMETERS
from bench.search.shipped import shipped
from bench.settings import RunSettings, flag_of, make_settings, setting
from bench.stats.metrics import METRICS

ROOT = Path(__file__).parents[1]
COMMANDS = ("run", "audit", "open", "list", "report", "evaluate", "predict", "explain", "export", "verify", "compare")


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    """A request that passes all checks ends here, so that a missing check cannot start Ray; signals are put back."""
    handler = signal.getsignal(signal.SIGTERM)

    def reached(request, command_line, evaluate=False):
        raise AssertionError("the request was taken for possible")

    monkeypatch.setattr(command, "execute", reached)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder, so that default folders would show up in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def folds_drawn_once(monkeypatch):
    """Folds of the same images are drawn once for all tests; `test_splits` tries the drawing."""
    monkeypatch.setattr(splits, "_grouped_folds", _drawn_once)


_DRAW = splits._grouped_folds
_DRAWN = {}


def _drawn_once(labels, groups, k, seed):
    key = (tuple(labels), tuple(groups), k, seed)
    if key not in _DRAWN:
        _DRAWN[key] = _DRAW(labels, groups, k, seed)
    return [fold.copy() for fold in _DRAWN[key]]


@pytest.fixture
def images(tmp_path):
    """Two classes of 60 images: enough to split."""
    root = tmp_path / "scans"
    for label in "AB":
        (root / label).mkdir(parents=True)
        for number in range(60):
            buffer = io.BytesIO()
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (4, 4), np.uint8)).save(buffer, "PNG")
            (root / label / f"{label}{number}.png").write_bytes(buffer.getvalue())
    return root


@pytest.fixture
def refusal(capsys):
    """Calls main and returns the one sentence it refuses with."""

    def call(*arguments):
        assert cli.main([str(argument) for argument in arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        lines = printed.err.splitlines()
        assert len(lines) == 1, printed.err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in lines[0]
        return lines[0].removeprefix("error: ")

    return call


def make_run(folder, name, **content):
    write_json(folder / name / "run.json", {"name": name, **content})


# Impossible requests


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--budgt", "--budget"),
        ("--bugdet", "--budget"),
        ("--image_size", "--image-size"),
        ("--backbone", "--backbones"),
    ],
)
def test_a_mistyped_flag_is_answered_with_the_nearest(place, refusal, flag, meant):
    message = refusal("run", flag, "5")
    assert repr(flag) in message
    assert f"did you mean {meant}?" in message
    assert refusal("run", f"{flag}=5") is not None
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "flag", "meant"),
    [
        ("run", "--model", "--backbones"),
        ("run", "--gpus", "--jobs"),
        ("run", "--num_workers", "--jobs"),
        ("run", "--n-trials=50", "--budget"),
        ("run", "--random-seed", "--seed"),
        ("run", "--timeout", "--time-limit"),
        ("compare", "--dataset", "--data"),
    ],
)
def test_a_flag_of_other_tools_is_answered_with_ours(place, refusal, command, flag, meant):
    assert f"did you mean {meant}?" in refusal(command, flag, "5")


@pytest.mark.parametrize(
    ("flag", "parameter"), [("--lr", "learning_rate"), ("--batch-size", "batch_size"), ("--dropout=0.2", "dropout")]
)
def test_a_flag_for_what_is_searched_is_answered_with_the_space(place, refusal, flag, parameter):
    assert refusal("run", flag, "1").endswith(
        f"{parameter} is searched: its values stand in a space, given by --space (docs/search.md)"
    )


def test_other_names_lead_to_flags_that_there_are():
    flags = {flag_of(name) for name in RunSettings.model_fields}
    assert set(CALLED_OTHERWISE) <= set(flags)
    assert set(SEARCHED.values()) <= set(PARAMETERS)
    others = [f"--{name}" for names in CALLED_OTHERWISE.values() for name in names.split()]
    assert len(others) == len(set(others))
    assert not set(others) & set(flags)


@pytest.mark.parametrize("given", ["AUC", "roc_auc", "ROC AUC", "Roc-Auc"])
def test_a_metric_may_be_given_by_its_title(given):
    assert make_settings(name="x", metric=given).metric == "auc"
    assert make_settings(name="x", metric="log-loss").metric == "log_loss"


def test_a_backbone_that_is_written_otherwise_is_answered_with_its_name(place, refusal):
    message = refusal("run", "--backbones", "VGG-16")
    assert "unknown backbone 'VGG-16'; did you mean vgg16? Known backbones: vgg16, resnet50" in message
    assert "unknown backbone 'quux'; known backbones: vgg16, " in refusal("run", "--backbones", "quux")


def test_what_stands_behind_two_dashes_is_no_flag(place, refusal):
    (place / "--data").mkdir()
    assert f"There are no images below {place / '--data'}" in refusal("audit", "--", "--data")


def test_a_flag_like_no_other_is_answered_with_all(place, refusal):
    message = refusal("run", "--quux")
    for name in ("--data", "--budget", "--no-test"):
        assert name in message


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("pred", "Unknown command 'pred'; did you mean predict?"),
        ("lits", "did you mean list?"),
        ("demo", "did you mean run --data demo?"),
        ("./scans", "did you mean run --data ./scans?"),
        ("--budget 5", "did you mean `python -m bench run --budget 5`?"),
        ("run demo", "Unknown argument 'demo'; did you mean --data demo?"),
        ("run dmeo", "did you mean --data demo?"),
        ("run medmnist:pneumoniamnist", "did you mean --data medmnist:pneumoniamnist?"),
        ("run xray", "did you mean --resume xray?"),
        ("run some", "images are given by --data"),
        ("run predict xray", "did you mean `python -m bench predict xray`?"),
        ("list --jsno", "did you mean --json?"),
        ("open xary", "There is no run 'xary' in reports; did you mean xray?"),
        ("report thesis", "the runs there are: xray."),
    ],
)
def test_what_is_mistyped_is_answered_with_what_was_meant(place, refusal, typed, told):
    make_run(place / "reports", "xray")
    assert told in refusal(*typed.split())


def test_of_many_runs_ten_are_named(place, refusal):
    for number in range(12):
        make_run(place / "reports", f"a{number:02}")
    assert refusal("verify", "thesis").endswith("a08, a09 and 2 more.")


def test_flags_are_not_abbreviated(place, refusal):
    """``--seed`` must not be reached by ``--se``: a later flag of the same beginning would change what it means."""
    assert "--se" in refusal("run", "--se", "3")


def test_a_mistyped_flag_of_another_command(place, refusal):
    assert "did you mean --output?" in refusal("report", "xray", "--outptu", "x")


def test_commands(refusal):
    message = refusal("search")
    for name in COMMANDS:
        assert name in message
    assert "NAME" in refusal("report")
    assert "PATH" in refusal("predict", "xray")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "0"], ["--budget", "0", "greater than or equal to 1"]),
        (["--budget", "-3"], ["--budget", "-3"]),
        (["--budget", "many"], ["--budget", "'many'"]),
        (["--budget"], ["--budget", "expected one argument"]),
        (["--epochs", "0"], ["--epochs", "0"]),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--backbones", "vgg19"], ["'vgg19'", *BACKBONES]),
        (["--backbones", "vgg16,resnet"], ["'resnet'", *BACKBONES]),
        (["--space", "defualt"], ["'defualt'", "default, demo, medmnist_plus, radimagenet, wide"]),
        (["--metric", "roc"], ["--metric", "'roc'", *METRICS]),
        (["--scheduler", "hyperband"], ["--scheduler", "'hyperband'", "asha", "none"]),
        (["--image-size", "74"], ["InceptionV3", "75", "74", "--image-size", "--backbones"]),
        (["--image-size", "31", "--backbones", "vgg16"], ["VGG16", "32", "31"]),
        (["--image-size", "0"], ["--image-size", "0"]),
        (["--time-limit", "soon"], ["--time-limit", "'soon'", "1h30m"]),
        (["--time-limit", "0"], ["--time-limit", "'0'"]),
        (["--cache-size", "much"], ["--cache-size", "'much'", "20G"]),
        (["--name", "../up"], ["--name", "'../up'", "letters"]),
        (["--max-images", "2"], ["--max-images 2"]),
        (["--jobs", "4000"], ["--jobs 4000", "CPU cores here"]),
        (["--repeats", "0"], ["--repeats", "0", "greater than or equal to 1"]),
        (["--bootstrap", "99"], ["--bootstrap", "99", "greater than or equal to 100"]),
        (["--target-sensitivity", "95"], ["--target-sensitivity", "95", "less than 1"]),
        (["--target-sensitivity", "0.5"], ["--target-sensitivity", "0.5", "greater than 0.5"]),
        (["--target-sensitivity", "nan"], ["--target-sensitivity", "nan"]),
        (["--group-by", ","], ["--group-by", "sex,scanner"]),
        (["--ordinal", ","], ["--ordinal", "mild,moderate,severe"]),
        (["--ordinal", "A"], ["--ordinal takes every class once", "got A,", "the classes are A, B"]),
        (["--ordinal", "A,B,B"], ["--ordinal takes every class once", "got A,B,B,", "the classes are A, B"]),
        (["--ordinal", "B,C"], ["--ordinal takes every class once", "got B,C,", "the classes are A, B"]),
        (["--window", "40"], ["--window", "CENTER,WIDTH", "'40'"]),
        (["--window", "40,400,4"], ["--window", "CENTER,WIDTH"]),
        (["--window", "lung"], ["--window", "'lung'", "-600,1500"]),
        (["--window", "40,0"], ["--window", "width of at least 1"]),
        (["--window", "-600,-1"], ["--window", "width of at least 1"]),
        (["--window", "inf,400"], ["--window", "finite"]),
        (["--window", "40,nan"], ["--window", "finite"]),
        (["--window"], ["--window", "expected one argument"]),
        (["--group-by", "sex,Sex"], ["--group-by", "each once"]),
        (["--group-by", "sex"], ["--group-by 'sex'", ".csv"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_an_impossible_value_is_named_before_anything_is_made(place, images, refusal, arguments, words):
    output = place / "reports"
    output.mkdir()
    message = refusal("run", "--data", images, "--output", output, "--cache", place / "cache", *arguments)
    for word in words:
        assert word in message
    assert list(place.iterdir()) == [output]
    assert list(output.iterdir()) == []


def test_a_metric_of_ordered_classes_needs_their_order(place, images, refusal, monkeypatch):
    """Of three classes; two have one anyway. The order decides the class indices."""
    seen = requests(monkeypatch)
    of_two = ["run", "--data", str(images), "--metric", "quadratic_kappa"]
    assert cli.main([*of_two, "--name", "two"]) == 0
    assert cli.main([*of_two, "--name", "turned", "--ordinal", "B,A"]) == 0
    (images / "C").mkdir()
    for path in (images / "A").iterdir():
        shutil.copy(path, images / "C" / f"c-{path.name}")
    message = refusal(*of_two)
    assert "--metric quadratic_kappa needs classes that have an order, but got 3 without one" in message
    assert "--ordinal A,B,C" in message
    assert not any(place.iterdir())
    assert cli.main([*of_two, "--name", "three", "--ordinal", "C, A,B"]) == 0
    assert cli.main(["run", "--data", str(images), "--name", "plain"]) == 0
    assert [one.source.classes for one in seen] == [("A", "B"), ("B", "A"), ("C", "A", "B"), ("A", "B", "C")]
    tables = [one.table for one in seen[2:]]
    assert tables[0].equals(tables[1]), "the order of the classes decides no split"


def test_missing_data_is_named(place, refusal):
    (place / "reports").mkdir()
    message = refusal("run", "--data", place / "chest_xrya")
    assert "chest_xrya" in message
    assert "train/" in message, "the message says what --data takes"
    assert list((place / "reports").iterdir()) == []


@pytest.mark.parametrize("arguments", [["--data", "nowhere"], ["--space", "defualt"], ["--image-size", "74"]])
def test_not_even_the_output_folder_is_made(place, refusal, arguments):
    refusal("run", *arguments)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["run", "--data", ""], "--data"),
        (["run", "--cache="], "--cache"),
        (["run", "--resume", " "], "--resume"),
        (["report", ""], "The argument after 'report'"),
        (["predict", "", "scan.png"], "The argument after 'predict'"),
        (["manifest", "scans", "--out", ""], "--out"),
    ],
)
def test_an_empty_argument_is_not_the_working_folder(place, refusal, typed, named):
    """As of a shell's variable that has no value."""
    assert refusal(*typed) == f"{named} is empty; give a value, or leave it out."


def test_a_size_that_the_space_suggests_is_not_called_a_flag(place, images, refusal):
    (place / "small.yaml").write_text("image_size: 64\nparameters: {}\n", encoding="utf-8")
    message = refusal("run", "--data", images, "--space", place / "small.yaml")
    assert "at least 75 pixels, but space 'small' has image_size: 64; enlarge it there, take a larger --im" in message


def test_a_ledger_beside_data_that_are_no_files_is_refused(place, refusal):
    assert "--ledger data needs data that are files of yours, but got --data demo" in refusal("run", "--ledger", "data")


def test_a_space_file_with_an_error_is_named(place, images, refusal):
    path = place / "mine.yaml"
    path.write_text("parameters: {lr: {choices: [1]}}")
    message = refusal("run", "--data", images, "--space", path)
    assert "'lr'" in message
    assert "learning_rate" in message


def test_an_existing_name_is_refused_with_both_ways_out(place, images, refusal):
    make_run(place / "reports", "xray")
    before = sorted(place.rglob("*"))
    message = refusal("run", "--data", images, "--name", "xray")
    assert "'xray'" in message
    assert "--name" in message
    assert "--resume xray" in message
    assert sorted(place.rglob("*")) == before


def test_an_existing_folder_that_is_no_run_is_not_written_into(place, images, refusal):
    (place / "reports" / "thesis").mkdir(parents=True)
    assert "'thesis'" in refusal("run", "--data", images, "--name", "thesis")


@pytest.mark.parametrize("flags", [("--output", "{}/reports"), ("--cache", "{}/A/cache"), ("--output", "{}")])
def test_what_is_written_may_not_lie_inside_the_data(place, images, refusal, flags):
    flag, folder = flags[0], flags[1].format(images)
    message = refusal("run", "--data", images, flag, folder)
    assert f"{flag} {folder} lies inside --data {images}" in message
    assert f"such as {flag} {images.parent}" in message
    assert sorted(path.name for path in images.iterdir()) == ["A", "B"]


def test_the_default_output_inside_the_data_is_refused(place, images, refusal, monkeypatch):
    monkeypatch.chdir(images)
    for name in ("run", "compare"):
        assert f"--output reports lies inside --data {images}" in refusal(name, "--data", ".", "--name", "x")


def test_links_into_the_data_are_seen_through(place, images, refusal):
    (place / "elsewhere").symlink_to(images / "A")
    (place / "data").symlink_to(images)
    assert "lies inside" in refusal("run", "--data", place / "data", "--output", place / "elsewhere" / "x")
    assert "--cache" in refusal("audit", place / "data", "--cache", place / "elsewhere")


def test_a_table_may_lie_beside_what_is_written(place, images, monkeypatch):
    rows = [f"{label}/{label}{number}.png,{label}" for label in "AB" for number in range(60)]
    (images / "set.csv").write_text("\n".join(["path,label", *rows]))
    flags = ["--output", str(images / "out"), "--cache", str(images / "cache"), "--weights", "random"]
    with pytest.raises(AssertionError, match="taken for possible"):
        cli.main(["run", "--data", str(images / "set.csv"), *flags])


def test_an_audit_begins_with_how_the_folder_was_read(place, images, capsys):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(images / "loose.png")
    assert cli.main(["audit", str(images), "--cache", str(place / "cache"), "--json", str(place / "audit.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "layout: class; 2 classes; 1 file left out: 1 loose image"
    assert lines[1] == "  1 loose image: loose.png"
    found = json.loads((place / "audit.json").read_text())
    assert found["layout"]["text"] == lines[0]
    assert found["layout"]["left_out"] == [
        {"kind": "loose image", "text": "1 loose image", "count": 1, "files": ["loose.png"]}
    ]
    assert [finding["files"] for finding in found["findings"] if finding["kind"] == "layout"] == [["loose.png"]]


@pytest.mark.parametrize("given", [["--data", "{}"], ["--data={}"]])
def test_an_audit_takes_its_data_as_a_run_does(place, images, capsys, given):
    data = [one.format(images) for one in given]
    assert cli.main(["audit", *data, "--cache", str(place / "cache"), "--test-share", "0.25"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "layout: class; 2 classes"
    assert shown[-1].endswith(f"{invocation.typed('run')} --data {images} --cache {place / 'cache'} --test-share 0.25")


def test_an_audit_ends_with_what_can_be_done_next(place, images, capsys):
    flags = ["--test-share", "0.25", "--cache", str(place / "cache")]
    assert cli.main(["audit", *flags, str(images), "--json", str(place / "audit.json")]) == 0
    first, second = capsys.readouterr().out.splitlines()[-2:]
    start = invocation.typed("run")
    assert first.startswith(
        "Next: say who the patients are: --patient-pattern REGEX, or a table: python -m bench manif"
    )
    assert second.endswith(f"{start} --data {images} {' '.join(flags)}")


@pytest.mark.parametrize(("folds", "told"), [("some", "or given"), ("1", "at least 2"), ("21", "20")])
def test_folds_that_there_cannot_be(place, images, refusal, folds, told):
    message = refusal("run", "--data", images, "--folds", folds)
    assert "--folds" in message
    assert told in message


def test_given_folds_where_none_are_given(place, images, refusal):
    message = refusal("run", "--data", images, "--weights", "random", "--folds", "given")
    assert "gives no folds" in message
    assert "fold_1" in message
    assert "--folds 5" in message


@pytest.mark.parametrize("shape", ["5", "0x2", "1x2", "5x0", "21x1", "5x2x2", "5,2", "-5x2", "x"])
def test_nested_loops_that_there_cannot_be(place, images, refusal, shape):
    message = refusal("run", "--data", images, "--outer", shape)
    assert message.startswith(f"--outer {shape if shape in ('5', '-5') else repr(shape)} is not possible")
    assert "2 to 20 folds, repeated 1 to 20 times, are accepted as KxR, such as 5x2" in message


def test_nested_loops_that_the_data_or_other_flags_do_not_allow(place, images, refusal):
    for path in sorted((images / "B").iterdir())[4:]:
        path.unlink()
    few = refusal("run", "--data", images, "--weights", "random", "--outer", "5x2")
    assert few.startswith("Class 'B' has 3 patients in train and validation, too few for --outer 5"), few
    for number in range(3):
        (images / "B" / f"more{number}.png").write_bytes((images / "A" / f"A{number + 9}.png").read_bytes())
    both = refusal("run", "--data", images, "--weights", "random", "--outer", "3x1", "--folds", "5")
    assert re.match(r"--outer: without the patients of fold 1-1: Class 'B' has \d patients .* --folds 5; at most", both)
    assert "--outer-budget" in refusal("run", "--data", images, "--outer", "2x1", "--outer-budget", "0")
    assert "add --outer" in refusal("run", "--data", images, "--weights", "random", "--outer-budget", "5")
    assert not list(place.iterdir()), "no work was started"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_cannot_be_written(place, images, refusal):
    locked = place / "locked"
    locked.mkdir(mode=0o500)
    assert str(locked) in refusal("run", "--data", images, "--output", locked)
    assert str(locked) in refusal("run", "--data", images, "--output", locked / "deeper")


def test_an_output_folder_that_is_a_file(place, images, refusal):
    (place / "taken").write_text("x")
    for output in (place / "taken", place / "taken" / "deeper"):
        message = refusal("run", "--data", images, "--output", output)
        assert str(output) in message
        assert "cannot be written" in message


# A possible request


def requests(monkeypatch):
    seen = []
    monkeypatch.setattr(command, "execute", lambda request, command_line: seen.append(request) or 0)
    return seen


def test_flags_become_settings(place, images, monkeypatch):
    seen = requests(monkeypatch)
    flags = (
        "--name xray --budget 12 --epochs 4 --seed 7 --metric log_loss --space wide --backbones vgg16,resnet50"
        " --image-size 96 --weights random --scheduler none --patience 5 --views 2 --max-images 60 --time-limit 1h30m"
        " --jobs 2 --no-test --output out --cache cache --cache-size 5G --address auto"
        " --repeats 5 --bootstrap 500 --target-sensitivity 0.95 --no-class-weights --window -600,1500"
    )
    assert cli.main(["run", "--data", str(images), *flags.split()]) == 0
    (request,) = seen
    assert request.settings == RunSettings(
        data=str(images),
        name="xray",
        budget=12,
        epochs=4,
        seed=7,
        metric="log_loss",
        space="wide",
        backbones=("vgg16", "resnet50"),
        image_size=96,
        weights="random",
        scheduler="none",
        patience=5,
        views=2,
        max_images=60,
        time_limit=5400.0,
        jobs=2,
        no_test=True,
        output=Path("out"),
        cache=place / "cache",
        cache_size=5 * 10**9,
        address="auto",
        repeats=5,
        bootstrap=500,
        target_sensitivity=0.95,
        class_weights=False,
        window=(-600, 1500),
    )
    assert {backbone.name: request.sizes[backbone.name] for backbone in request.backbones} == {
        "vgg16": 96,
        "resnet50": 96,
    }


def test_relative_data_are_found_from_anywhere_and_the_name_comes_from_them(place, images, monkeypatch):
    seen = requests(monkeypatch)
    monkeypatch.chdir(images.parent)
    assert cli.main(["run", "--data", "scans", "--output", str(place)]) == 0
    assert seen[0].settings.data == str(images)
    assert re.fullmatch(r"scans-\d{8}-\d{6}", seen[0].settings.name)
    assert seen[0].epochs == 8
    assert seen[0].sizes == {"vgg16": 224, "resnet50": 224, "inceptionv3": 299}, "native sizes by default"


@pytest.mark.parametrize("folder", ["my scans", "Röntgen", ".", "a" * 90])
def test_any_folder_name_gives_a_run_name(place, images, monkeypatch, folder):
    seen = requests(monkeypatch)
    if folder == ".":
        monkeypatch.chdir(images)
    else:
        images = images.rename(images.parent / folder)
    assert cli.main(["run", "--data", folder if folder == "." else str(images), "--output", str(place)]) == 0
    assert len(seen) == 1


@pytest.mark.parametrize("names", [",", ""])
def test_an_empty_list_of_backbones_is_refused(place, images, refusal, names):
    refusal("run", "--data", images, "--backbones", names)


# Resuming


def test_resuming_an_unknown_run_lists_those_there_are(place, refusal):
    for name in ("beta", "alpha"):
        make_run(place / "reports", name)
    message = refusal("run", "--resume", "gamma")
    assert "'gamma'" in message
    assert "alpha, beta" in message
    assert "there is no run yet" in refusal("run", "--resume", "gamma", "--output", place / "empty")
    assert not (place / "empty").exists()


@pytest.mark.parametrize(
    "flag",
    [
        *("--name y", "--seed 3", "--metric f1", "--space wide", "--backbones vgg16", "--epochs 3"),
        *("--image-size 96", "--scheduler none", "--patience 2", "--max-images 9", "--views 2"),
        *("--cache-size 1G", "--address auto", "--no-class-weights", "--bootstrap 500"),
        *("--target-sensitivity 0.9", "--group-by sex"),
    ],
)
def test_what_decides_a_run_cannot_be_changed_when_it_is_resumed(place, refusal, flag):
    make_run(place / "reports", "xray")
    message = refusal("run", "--resume", "xray", *flag.split())
    assert message.startswith(f"{flag.split()[0]} cannot be changed")
    for name in ("--budget", "--repeats", "--time-limit", "--jobs", "--no-test", "--data", "--cache"):
        assert name in message


@pytest.mark.parametrize("flag", ["--budget 0", "--repeats 0", "--time-limit never", "--jobs -1"])
def test_what_may_change_is_checked_all_the_same(place, refusal, flag):
    make_run(place / "reports", "xray")
    assert flag.split()[0] in refusal("run", "--resume", "xray", *flag.split())


def test_a_resumed_run_can_only_grow(place, images, refusal, monkeypatch):
    requests(monkeypatch)
    settings = RunSettings(data=str(images), name="xray", budget=20, output=place / "reports", cache=place / "cache")
    text = (ROOT / "search_spaces" / "default.yaml").read_text(encoding="utf-8")
    make_run(place / "reports", "xray", settings=settings.model_dump(mode="json"), space={"name": "default"})
    (place / "reports" / "xray" / "space.yaml").write_text(text, encoding="utf-8")
    message = refusal("run", "--resume", "xray", "--budget", "10")
    for word in ("--budget 10", "20", "'xray'", "only grow"):
        assert word in message
    message = refusal("run", "--resume", "xray", "--repeats", "2")
    for word in ("--repeats 2", "5", "'xray'", "only grow"):
        assert word in message


@pytest.mark.parametrize("part", ["weights", "space", "settings"])
def test_a_resumed_run_that_lost_a_part_of_its_record_is_damaged(place, images, refusal, monkeypatch, part):
    requests(monkeypatch)
    settings = RunSettings(data=str(images), name="xray", budget=20, output=place / "reports", cache=place / "cache")
    make_run(place / "reports", "xray", settings=settings.model_dump(mode="json"), space={"name": "default"})
    text = (ROOT / "search_spaces" / "default.yaml").read_text(encoding="utf-8")
    (place / "reports" / "xray" / "space.yaml").write_text(text, encoding="utf-8")
    record = place / "reports" / "xray" / "run.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps({name: value for name, value in content.items() if name != part}), encoding="utf-8")
    flags = ["--weights", "random"] if part == "weights" else []
    assert "is damaged" in refusal("run", "--resume", "xray", *flags)


def test_a_resumed_run_takes_what_may_change_and_keeps_the_rest(place, images, monkeypatch, capsys):
    seen = requests(monkeypatch)
    settings = RunSettings(
        data=str(images), name="xray", budget=20, seed=5, output=place / "reports", cache=place / "cache"
    )
    text = (ROOT / "search_spaces" / "wide.yaml").read_text(encoding="utf-8")
    about = {"settings": settings.model_dump(mode="json"), "space": {"name": "wide"}, "rules": RULES}
    make_run(place / "reports", "xray", **about)
    (place / "reports" / "xray" / "space.yaml").write_text(text, encoding="utf-8")
    assert cli.main(["run", "--resume", "xray", "--budget", "30", "--jobs", "2", "--time-limit", "90"]) == 0
    resumed = seen[0].settings
    assert (resumed.budget, resumed.jobs, resumed.time_limit, resumed.seed) == (30, 2, 90.0, 5)
    assert resumed.repeats == 5
    given = settings.model_copy(update={"time_limit": 90.0, "until_settled": True, "images": False})
    make_run(place / "reports", "xray", **{**about, "settings": given.model_dump(mode="json")})
    assert cli.main(["run", "--resume", "xray"]) == 0
    back = ["--time-limit", "none", "--no-until-settled", "--images"]
    assert cli.main(["run", "--resume", "xray", *back]) == 0
    kept, off = ((one.settings.time_limit, one.settings.until_settled, one.settings.images) for one in seen[1:3])
    assert (kept, off) == ((90.0, True, False), (None, False, True))
    del seen[1:3]
    make_run(place / "reports", "xray", **about)
    assert cli.main(["run", "--resume", "xray", "--cache", str(images / "cache")]) == 2
    assert f"--cache {images / 'cache'} lies inside --data {images}" in capsys.readouterr().err
    assert cli.main(["run", "--resume", "xray", "--repeats", "6"]) == 0
    assert (seen[1].settings.repeats, seen[1].settings.budget) == (6, 20)
    assert resumed.data == str(images)
    assert seen[0].space.depths == (0, 1, 2, 3, 4, 5), "the space is the run's own copy"
    assert seen[0].run.path == Path("reports/xray")
    assert seen[0].space.recipe(get_backbone("resnet50"))["unfreeze_depth"] == 1, (
        "the default recipe of runs without one"
    )
    kept = {"name": "wide", "recipes": {"vgg16": {"unfreeze_depth": 3, "dropout": 0.5}}}
    make_run(place / "reports", "xray", **about | {"space": kept})
    assert cli.main(["run", "--resume", "xray"]) == 0
    found = [seen[2].space.recipe(get_backbone(name)) for name in ("vgg16", "resnet50")]
    assert [(one["unfreeze_depth"], one["dropout"]) for one in found] == [(3, 0.5), (2, 0.2)]


def test_evaluating_takes_how_the_test_split_is_looked_at(place, images, monkeypatch, refusal):
    settings = RunSettings(data=str(images), name="xray", output=place / "reports", cache=place / "cache")
    about = {"settings": settings.model_dump(mode="json"), "space": {"name": "wide"}, "rules": RULES}
    make_run(place / "reports", "xray", **about)
    text = (ROOT / "search_spaces" / "wide.yaml").read_text(encoding="utf-8")
    (place / "reports" / "xray" / "space.yaml").write_text(text, encoding="utf-8")
    seen = []
    monkeypatch.setattr(
        command, "execute", lambda request, command_line, evaluate: seen.append((request, evaluate)) or 0
    )
    assert cli.main(["evaluate", "xray", "--bootstrap", "400", "--target-sensitivity", "0.9"]) == 0
    ((request, evaluate),) = seen
    assert evaluate
    assert (request.settings.bootstrap, request.settings.target_sensitivity) == (400, 0.9)
    assert request.settings.data == str(images)
    assert "--bootstrap 5 " in refusal("evaluate", "xray", "--bootstrap", "5")
    assert "'sex'" in refusal("evaluate", "xray", "--group-by", "sex")


def test_columns_of_a_manifest_are_asked_for_by_name(place, images, monkeypatch):
    seen = requests(monkeypatch)
    table = place / "scans.csv"
    lines = [f"{path},{path.parent.name},{'FM'[place % 2]}" for place, path in enumerate(sorted(images.glob("*/*")))]
    table.write_text("path,label,sex\n" + "\n".join(lines))
    assert cli.main(["run", "--data", str(table), "--group-by", " sex,", "--output", "out"]) == 0
    assert seen[0].settings.group_by == ("sex",)
    assert set(seen[0].source.table["group:sex"]) == {"F", "M"}


def test_a_run_under_other_rules_cannot_go_on(place, images, refusal):
    settings = RunSettings(data=str(images), name="xray", output=place / "reports", cache=place / "cache")
    about = {"settings": settings.model_dump(mode="json"), "space": {"name": "wide"}, "rules": RULES - 1}
    make_run(place / "reports", "xray", **about)
    text = (ROOT / "search_spaces" / "wide.yaml").read_text(encoding="utf-8")
    (place / "reports" / "xray" / "space.yaml").write_text(text, encoding="utf-8")
    assert f"version {RULES - 1} of the rules" in refusal("run", "--resume", "xray")


@pytest.mark.parametrize(
    "content",
    [{}, {"settings": {"data": "demo", "name": "xray", "cache": "c", "colour": 1}, "space": {"name": "demo"}}],
    ids=["no settings", "a setting of another version"],
)
def test_a_run_json_of_another_making_is_refused_in_a_sentence(place, refusal, content):
    make_run(place / "reports", "xray", **content)
    (place / "reports" / "xray" / "space.yaml").write_text("parameters: {}")
    assert "xray" in refusal("run", "--resume", "xray")


def test_a_run_without_its_space_is_refused_in_a_sentence(place, refusal):
    settings = RunSettings(name="xray", output=place / "reports", cache=place / "cache")
    make_run(place / "reports", "xray", settings=settings.model_dump(mode="json"), space={"name": "demo"})
    assert "space.yaml" in refusal("run", "--resume", "xray")


# The other commands


@pytest.mark.parametrize("name", ["report", "evaluate", "predict"])
def test_other_commands_of_an_unknown_run(place, refusal, name):
    make_run(place / "reports", "alpha")
    images = ["scan.png"] if name == "predict" else []
    message = refusal(name, "gamma", *images)
    assert "'gamma'" in message
    assert "alpha" in message


def test_predicting_without_a_model(place, refusal):
    make_run(place / "reports", "xray")
    message = refusal("predict", "xray", "scan.png")
    assert "no model yet" in message
    assert "--resume xray" in message


@pytest.fixture
def run_with_model(place):
    """A run that has a model and its card, which is all that is read before the images are."""
    make_run(place / "reports", "xray")
    folder = place / "reports" / "xray"
    (folder / "best_model.h5").write_bytes(b"a model")
    card = {"classes": ["A", "B"], "input": {"height": 32, "width": 32, "channels": 1}}
    write_json(folder / "best_model.json", card | {"sha256": file_sha256(folder / "best_model.h5")})
    return folder


def test_a_card_of_another_model_is_refused(place, run_with_model, refusal):
    (run_with_model / "best_model.h5").write_bytes(b"another model")
    message = refusal("predict", "xray", "scan.png")
    assert "does not belong" in message
    assert "--resume xray" in message


@pytest.mark.parametrize("content", ['{"sha256": ', '{"sha256": 3}', "[]", '{"input": {"height": 32}}'])
def test_a_damaged_card_is_refused_by_name(place, run_with_model, refusal, content):
    (run_with_model / "best_model.json").write_text(content)
    assert "best_model.json cannot be read" in refusal("predict", "xray", "scan.png")


@pytest.mark.parametrize(
    "more", [{"calibration": {"slopes": [1.0, 2.0, 3.0]}}, {"threshold": {"class": "C", "value": 0.5}}]
)
def test_a_map_of_other_classes_is_refused(place, run_with_model, refusal, more):
    card = json.loads((run_with_model / "best_model.json").read_text())
    write_json(run_with_model / "best_model.json", card | more)
    Image.new("L", (32, 32)).save(place / "scan.png")
    assert "of other classes" in refusal("predict", "xray", "scan.png")


def test_an_interrupt_is_status_130(place, images, monkeypatch, capsys):
    def interrupted(request, command_line):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "execute", interrupted)
    assert cli.main(["run", "--data", str(images)]) == 130
    assert "Interrupted" in capsys.readouterr().err


# Help


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def entries(text):
    """Flag -> its help, as one line; a flag's entry starts at the left and ends at the next one or an empty line."""
    found = re.findall(r"^  (?:-\w, )?(--[a-z-]+)(.*(?:\n {3,}.*)*)", text, re.MULTILINE)
    return {flag: " ".join(rest.split()) for flag, rest in found}


def test_a_full_disk_is_a_sentence_and_status_1_and_other_faults_stay_visible(place, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.chdir(place)

    request = SimpleNamespace(run=RunDir(place), settings=SimpleNamespace(cache=place / "cache"))

    def run_into(error):
        def execute(*arguments):
            raise error

        monkeypatch.setattr("bench.run.pipeline.execute", execute)
        return command.execute(request, [])

    assert run_into(OSError(28, "No space left on device", "trials.csv")) == 1
    assert capsys.readouterr().err == "error: trials.csv: No space left on device.\n"
    with pytest.raises(FileNotFoundError):
        run_into(FileNotFoundError(2, "gone"))
    with pytest.raises(RuntimeError):
        run_into(RuntimeError("no such thing"))
    try:
        raise RuntimeError("the search ended") from sqlite3.OperationalError("database or disk is full")
    except RuntimeError as error:
        assert run_into(error) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"error: /.*: No space left on device \(.* [MG]B free there\)\.", first)
    assert second.startswith("Once that is seen to, go on by: ")
    monkeypatch.setattr(RunDir, "kept", True)
    for error, said in (
        (MemoryError(), "Memory ran out (MemoryError); ending what else runs here leaves more"),
        (OSError(12, "Cannot allocate memory"), "Memory ran out (OSError: [Errno 12] Cannot allocate memory); "),
        (WorkerDied("memory", "the kernel killed it"), "the kernel killed it"),
    ):
        assert run_into(error) == 1
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith(f"error: {said}") and second.startswith("Once that is seen to, go on by: ")
    with pytest.raises(ConfigError):
        run_into(ConfigError("no such thing"))


def test_the_help_tells_every_exit_status(capsys):
    for name in ([], ["run"]):
        with pytest.raises(SystemExit):
            cli.main([*name, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert all(f"{status} " in said for status in (0, 1, 2, 3, 130)) and "exit status" in said
        assert "3 done, but so many trials failed that the comparison is not fair" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_default_and_an_example(name, capsys):
    found = entries(help_of(capsys, name))
    found.pop("--help")
    assert "--output" in found or name == "audit"
    for flag, text in found.items():
        assert "default:" in text, flag
        assert f"example: {flag}" in text, flag


def test_every_setting_has_a_flag(capsys):
    found = entries(help_of(capsys, "run"))
    assert set(found) == {
        "--help",
        "--resume",
        *("--no-class-weights", "--no-learning-curve", "--no-images"),
        *(
            "--" + name.replace("_", "-")
            for name in RunSettings.model_fields
            if name not in ("class_weights", "learning_curve", "images")
        ),
    }
    assert all(field.description for field in RunSettings.model_fields.values()), "each setting is explained"


@pytest.mark.parametrize(
    ("annotation", "default", "typed", "told", "value", "refused"),
    [
        (Literal["adam", "sgd"], "adam", "--extra sgd", "adam|sgd", "sgd", ("rms", "'adam' or 'sgd'")),
        (Annotated[float, Field(ge=0, lt=1)], 0.9, "--extra 0.5", "SHARE", 0.5, ("1.5", "less than 1")),
        (bool, True, "--no-extra", "", False, None),
        (bool, False, "--extra", "", True, None),
    ],
    ids=["choice", "number", "switched off", "switched on"],
)
def test_a_flag_is_one_field_of_the_settings(
    place, images, refusal, capsys, monkeypatch, annotation, default, typed, told, value, refused
):
    flag, _, example = typed.partition(" ")

    class Wider(RunSettings):
        extra: annotation = setting("search", default, "" if "|" in told else told, example)
        """rule by which weights change"""

    monkeypatch.setattr("bench.settings.RunSettings", Wider)
    seen, text = requests(monkeypatch), help_of(capsys, "run")
    assert f"{flag} {told}".strip() in text.split("\nsearch:\n")[1].split("\nmachine:\n")[0], "under its heading"
    shown = {True: "on", False: "off"}.get(default, default)
    assert entries(text)[flag].endswith(f"rule by which weights change (default: {shown}; example: {typed})")
    assert cli.main(["run", "--data", str(images), *typed.split()]) == 0
    assert seen[0].settings.extra == value
    assert f"did you mean {flag}?" in refusal("run", f"{flag}e", example or "1")
    if refused is not None:
        message = refusal("run", "--data", images, flag, refused[0])
        assert message.startswith(f"{flag} ") and all(words in message for words in refused)


def test_what_can_be_taken_back_on_resume_says_so_in_its_own_help(capsys):
    text = help_of(capsys, "run")
    found = entries(text)
    for flag, back in (("--until-settled", "--no-until-settled"), ("--no-images", "--images")):
        assert f"; {back} takes that back on --resume (default: " in found[flag]
        assert f"\n  {back}" not in text
    assert "none takes the limit of a resumed run away" in found["--time-limit"]
    assert "takes that back" not in help_of(capsys, "report")


def test_the_defaults_in_the_help_are_those_of_the_settings(capsys):
    found = entries(help_of(capsys, "run"))
    for name in ("budget", "seed", "metric", "scheduler", "views", "repeats", "bootstrap"):
        default = RunSettings.model_fields[name].default
        assert f"(default: {default};" in found["--" + name]


def test_the_examples_in_the_help_can_be_given(place, tmp_path, capsys, monkeypatch):
    """Each example is parsed; what names files or runs that are not here is left out."""
    images = toys.write_folder(tmp_path / "scans", {"train": 24, "val": 16, "test": 16})
    seen = requests(monkeypatch)
    found = entries(help_of(capsys, "run"))
    examples = [re.search(r"example: (.*)\)$", text)[1] for flag, text in found.items() if flag != "--help"]
    elsewhere = (
        *("--data", "--image-root", "--resume", "--cache", "--output"),
        *("--patient-pattern", "--splits", "--group-by", "--ordinal"),
    )
    flags = [example for example in examples if example.split()[0] not in elsewhere]
    for number, example in enumerate(flags):
        name = [] if example.startswith("--name") else ["--name", f"run{number}"]
        assert cli.main(["run", "--data", str(images), *name, *example.split()]) == 0, example
    assert len(seen) == len(flags) >= 15


def test_the_overview_names_every_command(capsys):
    text = help_of(capsys)
    for name in COMMANDS:
        assert re.search(rf"^ +{name} ", text, re.MULTILINE)


def test_the_help_of_run_begins_with_the_six_flags_that_one_needs_first(capsys):
    text = help_of(capsys, "run")
    first = text.split("\nneeded first:\n")[1].split("\n\n")[0]
    assert list(entries(first)) == ["--data", "--patient-pattern", "--budget", "--weights", "--name", "--resume"]
    assert re.findall(r"^(\w[\w ]+):$", text, re.MULTILINE) == [
        *("options", "needed first", "data", "search", "machine", "evaluation", "output")
    ]
    assert len(text.split("\n\n")[0].splitlines()) == 1, "usage is a line"


def test_the_help_names_every_space_that_is_shipped(capsys):
    documented = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    told = " ".join(help_of(capsys, "run").split())
    assert f"a shipped one ({', '.join(shipped())})" in told
    assert all(f"`{name}`" in documented or f"`--space {name}`" in documented for name in shipped())


def test_run_bench_alone_runs_the_demo_and_says_so(place, capsys, monkeypatch):
    seen = requests(monkeypatch)
    monkeypatch.setattr("bench.run.request.prepare", lambda wanted, tell: SimpleNamespace(settings=wanted))
    assert cli.main(["run"]) == 0
    assert (seen[0].settings.data, seen[0].settings.budget) == ("demo", 50)
    assert "so this is the demo; your own images: --data path/to/images" in capsys.readouterr().out
    assert cli.main(["run", "--data", "demo"]) == 0
    assert "No --data" not in capsys.readouterr().out


def test_without_arguments_the_help_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 0
    assert capsys.readouterr().out == help_of(capsys)


def test_version(capsys):
    from bench import __version__

    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert __version__ in capsys.readouterr().out


# What is loaded


def test_nothing_heavy_is_loaded_for_help_and_bad_input(place):
    """One fresh process gets all of these in turn, so that what one of them loads shows behind it.

    What can be said of the command line alone needs no pandas and no scikit-learn, which take longer than the answer.
    """
    cases = {"--help": 0, "run --help": 0, "run --budgt 3": 2, "run --budget 0": 2, "run --data nowhere": 2}
    cases |= {"list": 0, "open xray": 2}
    program = (
        "import sys\nfrom bench import cli\nfrom bench.run import command\n"
        "def stop(*arguments, **named):\n    raise SystemExit('the request was taken for possible')\n"
        "command.execute = stop\n"
        "for line in sys.argv[1:]:\n"
        "    try:\n        status = cli.main(line.split())\n"
        "    except SystemExit as end:\n        status = end.code\n"
        "    heavy = {'tensorflow', 'keras', 'ray', 'torch', 'jax'} & set(sys.modules)\n"
        "    if line in ('--help', 'run --help', 'run --budgt 3'):\n"
        "        heavy |= {'pandas', 'sklearn', 'matplotlib', 'sqlalchemy'} & set(sys.modules)\n"
        "    print('STATUS', status, *sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *cases],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("STATUS")]
    assert told == [f"STATUS {status}" for status in cases.values()]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--limit", "xray", "--budget", "3"], "--budget does not go with it"),
        (["--limit", "nothing"], "There is no run 'nothing'"),
        (["--fidelity", "2"], "at least 3 are needed"),
        (["--fidelity", "20", "--methods", "suite"], "--methods does not go with it"),
        (["--fidelity", "20", "--list"], "--list does not go with it"),
        (["--fidelity", "20", "--data", "nowhere"], "nowhere"),
    ],
)
def test_impossible_measurements_are_one_sentence(place, capsys, flags, said):
    assert cli.main(["compare", *flags]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1
    assert list(place.iterdir()) == []
