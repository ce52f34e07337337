"""Runs from Python: what the call takes and leaves as it was, and a folder as an object with tables."""

import doctest
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import bench
from bench import cluster, run
from bench.data.sources.open_source import open_source
from bench.errors import ConfigError
from bench.models.export import load_images
from bench.report.runs import listed
from bench.run import pipeline, tables
from bench.run.api import RunResult, Table
from bench.run.folder import RunDir, find_run, write_json
from bench.settings import RunSettings
from bench.verify.command import verified

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/example"


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, str]]:
    """What would be carried out, and the command written into run.json; the run folder is that of the example."""
    seen: list[tuple[Any, str]] = []

    def execute(request: Any, screen: Any, command: str) -> None:
        seen.append((request, command))
        assert signal.getsignal(signal.SIGTERM) is not before, "a run ends at SIGTERM as at Ctrl-C"
        screen.line("it goes on")
        shutil.copytree(EXAMPLE, request.run.path)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(pipeline, "execute", execute)
    monkeypatch.setattr(pipeline, "warn_if_unfair", lambda run, screen: False)
    monkeypatch.chdir(tmp_path)
    return seen


def test_a_run_takes_settings_and_leaves_the_process_as_it_was(
    carried_out: list[tuple[Any, str]], toy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    result = run(
        data=toy_folder,
        budget=6,
        backbones=("vgg16",),
        weights="random",
        time_limit="2h",
        learning_curve=False,
        class_weights=True,
        cache=tmp_path / "cache",
        name="toy",
    )
    assert isinstance(result, RunResult) and result.path == Path("reports/toy")
    ((request, command),) = carried_out
    found = request.settings
    assert (found.data, found.budget, found.backbones) == (str(toy_folder), 6, ("vgg16",))
    assert (found.time_limit, found.learning_curve, found.class_weights) == (7200, False, True)
    for flag in (f"--data {toy_folder}", "--budget 6", "--backbones vgg16", "--no-learning-curve", "--time-limit 2h"):
        assert flag in command
    assert "--no-class-weights" not in command
    assert signal.getsignal(signal.SIGTERM) is before
    assert "it goes on" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="There is a run 'toy' in reports already"):
        run(data=toy_folder, weights="random", backbones="vgg16", cache=tmp_path / "cache", name="toy")


def test_a_resumed_run_takes_back_what_had_been_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[dict[str, Any], str]] = []

    def go_on(name: str, values: dict[str, Any], output: Path) -> Any:
        seen.append((values, name))
        return SimpleNamespace(run=RunDir(tmp_path / name))

    monkeypatch.setattr("bench.run.request.go_on", go_on)
    monkeypatch.setattr(pipeline, "execute", lambda request, screen, command: None)
    monkeypatch.setattr(pipeline, "warn_if_unfair", lambda run, screen: False)
    off = {"time_limit": None, "until_settled": False, "images": True, "budget": 50, "no_test": False}
    run(resume="xray", **off)
    assert seen == [(off, "xray")]
    assert RunSettings(name="x", cache=tmp_path, time_limit="none").time_limit is None


def test_what_is_wrong_is_a_config_error(
    carried_out: list[tuple[Any, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for given, words in (
        ({"budgget": 5}, "no setting 'budgget'; did you mean budget"),
        ({"no_learning_curve": True}, "did you mean learning_curve"),
        ({"budget": 0}, "--budget 0 is not possible"),
        ({"data": tmp_path / "none"}, "none"),
        ({"resume": "none"}, "There is no run 'none'"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(**given)
    (tmp_path / "demo").mkdir()
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "demo"))):
        run(data=Path("demo"))
    (tmp_path / "demo").rmdir()
    monkeypatch.setattr(cluster, "started_elsewhere", lambda: True)
    with pytest.raises(ConfigError, match=r"ray\.shutdown\(\)"):
        run(budget=1)
    assert carried_out == [] and list(tmp_path.iterdir()) == []


def test_every_table_of_a_run_folder_is_a_data_frame_of_its_schema() -> None:
    result = bench.read(EXAMPLE)
    named = {name: one for name, one in vars(RunResult).items() if isinstance(one, Table)}
    assert {one.schema.file for one in named.values()} == set(tables.SCHEMAS)
    for name, one in named.items():
        assert one.schema.file == f"{name}.csv"
        if (EXAMPLE / one.schema.file).exists():
            frame = getattr(result, name)
            assert isinstance(frame, pd.DataFrame) and len(frame) and set(one.schema.names) <= set(frame)
    assert result.winner.backbone == "inceptionv3" and result.record.settings.budget == len(result.trials) == 50
    assert result.evaluation.models["inceptionv3"].metrics["auc"].value == pytest.approx(0.992, abs=1e-3)
    assert result.card.classes == result.audit.classes and result.report.is_file()
    assert repr(result) == "RunResult(example: finished, InceptionV3, test ROC AUC 0.992 (0.973–0.997))"


def test_what_a_run_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "<b>&xray"
    folder.mkdir()
    for name in ("run.json", "trials.csv"):
        shutil.copy(EXAMPLE / name, folder)
    (folder / "trials.csv").write_bytes((EXAMPLE / "trials.csv").read_bytes()[:-20])
    result = bench.read(folder)
    assert len(result.trials) == 49, "a row that was being written is left out"
    again = re.escape(f"run(resume='<b>&xray', output='{tmp_path}')")
    with pytest.raises(ConfigError, match=f"its test split is not evaluated before .*finalists; go on by {again}\\.$"):
        _ = result.predictions_test
    content = result.record.model_copy(update={"winner": None})
    write_json(folder / "run.json", content)
    with pytest.raises(ConfigError, match=f"has no winner yet; finish it by {again}\\.$"):
        _ = result.winner
    (tmp_path / "reports").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"finish it by run\(resume='xray'\)\.$"):
        _ = RunResult(Path(shutil.copytree(folder, "reports/xray"))).winner
    (folder / ".stages").mkdir()
    (folder / ".stages" / "finalists").touch()
    with pytest.raises(ConfigError, match=f"not evaluated; `.* evaluate '<b>&xray' --output {tmp_path}` opens it"):
        _ = result.evaluation
    with pytest.raises(ConfigError, match="it has not come so far"):
        _ = result.finalists
    with pytest.raises(ConfigError, match="has no model yet"):
        result.model()
    shown = result._repr_html_()
    assert "&lt;b&gt;&amp;xray" in shown and "<b>&" not in shown and "Research use only" in shown
    with pytest.raises(ConfigError, match="There is no run"):
        bench.read("none", tmp_path)


def test_a_place_is_a_path_or_a_text(toy_folder: Path, tmp_path: Path) -> None:
    for place in (ROOT / "docs", str(ROOT / "docs")):
        assert find_run("example", place).path == bench.read("example", place).path == EXAMPLE
        assert [one.run for one in listed(place)] == ["example"]
    assert find_run(EXAMPLE, tmp_path).path == EXAMPLE
    for folder in (toy_folder, str(toy_folder)):
        assert len(open_source(folder, 0, cache=str(tmp_path)).table) > 2
    picture = next(toy_folder.rglob("*.png"))
    assert load_images([str(picture)], 8, 1)[0].shape == load_images([picture], 8, 1)[0].shape == (1, 8, 8, 1)
    assert all(one.compared == 0 for one in verified(str(tmp_path)).values())


def test_the_package_is_light_and_run_stays_what_is_called() -> None:
    script = (
        "import sys, inspect, bench.run.folder\n"
        "import bench\n"
        "from bench import run, read\n"
        "assert not {'tensorflow', 'keras', 'ray'} & set(sys.modules), 'loaded'\n"
        "import bench.run.request\n"
        "from bench import run as again\n"
        "assert again is run is bench.run and callable(run)\n"
        "print(' '.join(inspect.signature(run).parameters))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {*RunSettings.model_fields, "resume"}


def test_the_package_that_is_called_reaches_another_process_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(bench.run)) is bench.run


def test_the_examples_of_the_documentation_give_what_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```pycon\n(.*?)```", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.DOTALL)
    blocks = [block for block in blocks if "load_model" not in block]  # tests/reuse/test_predict.py has those
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "docs/api.md", "docs/api.md", 0)
    assert len(examples.examples) > 5
    told: list[str] = []
    assert doctest.DocTestRunner().run(examples, out=told.append).failed == 0, "".join(told)
