"""Runs whose trials fail, from end to end: what is said, which exit status, and what is tried again."""

import dataclasses
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import toys

from bench.cli import main
from bench.models.backbones import BACKBONES

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def command(tmp_path: Path, toy_folder: Path, briefly: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``command("--budget", ...)`` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.yaml").write_text(toys.SPACE.split("points:")[0])

    def call(*flags: str) -> int:
        fixed = ["--data", str(toy_folder), "--space", "toys.yaml", "--weights", "random", "--epochs", "2"]
        fixed += [
            "--precision",
            "float32",
            "--no-learning-curve",
            "--repeats",
            "1",
            "--jobs",
            "1",
            "--no-test",
            "--cache",
            str(tmp_path / "cache"),
            "--name",
            "sick",
        ]
        return main(["run", *(fixed if "--resume" not in flags else []), *flags])

    return call


def sicken(monkeypatch: pytest.MonkeyPatch, name: str, befall: Callable[[], None]) -> None:
    """Have ``befall`` happen where a trial loads a toy backbone, and nowhere else."""
    sound = toys.build_toy

    def build(weights: str | None = None, input_shape: tuple[int, int, int] = (32, 32, 3)) -> Any:
        stacks = map(traceback.extract_stack, sys._current_frames().values())  # backbones load in threads of their own
        if any(frame.name == "train_trial" for stack in stacks for frame in stack):
            befall()
        return sound(weights, input_shape)

    monkeypatch.setitem(BACKBONES, name, dataclasses.replace(toys.toy_backbone(name), build=build))


def trials(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "trials.csv", keep_default_na=False, na_values=[""])


def test_a_search_that_an_unexpected_exception_thins_out_does_not_end_green(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def befall() -> None:
        raise RuntimeError('The name "activation" is used 2 times in the model.')

    sicken(monkeypatch, "toy2", befall)
    folder = tmp_path / "reports" / "sick"
    assert command("--budget", "4") == 3, "and it has gone on to the end"
    said = capfd.readouterr().out
    assert said.count("ATTENTION: Toy2 lost") == 2, "after the search and at the end"
    assert said.index("ATTENTION: Toy2") < said.index("Finalists: ") < said.index("Report: ") < said.rindex("ATTENTION")
    assert "most often: RuntimeError: The name" in said
    table = trials(folder)
    lost = table[table["config_backbone"] == "toy2"]
    assert len(table) == 4 and len(lost) >= 1
    assert set(lost["failure"]) == {"error"} and set(lost["state"]) == {"failed"}
    for command_line in (["report", "sick"], ["run", "--resume", "sick"]):
        assert main(command_line) == 3, command_line
        assert "attention: toy2 lost" in capfd.readouterr().out.lower()
        assert '<div class="banner grave" role="alert"><strong>Too many trials failed.' in (
            folder / "report.html"
        ).read_text(encoding="utf-8")
    assert len(trials(folder)) == 4, "what our own code did wrong is not tried again"


def test_a_trial_whose_worker_is_killed_says_so_and_is_tried_again(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "killed"

    def befall() -> None:
        import os
        import signal

        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    sicken(monkeypatch, "toy2", befall)
    assert command("--budget", "3") == 0
    said = capfd.readouterr()
    table = trials(tmp_path / "reports" / "sick")
    failed = table[table["state"] == "failed"]
    assert len(table) == 4 and len(failed) == 1, "the failed one does not use up the budget"
    assert failed["failure"].item() == "machine"
    assert "SIGKILL" in failed["reason"].item() and "may have run out" not in failed["reason"].item()
    assert "OOM" not in said.out + said.err
    again = table[table["trial"] == failed["retried_as"].item()]
    configured = [name for name in table if name.startswith("config_")]
    assert again[configured].to_numpy().tolist() == failed[configured].to_numpy().tolist()
    assert table["trial"].is_unique
    assert json.loads((tmp_path / "reports" / "sick" / "run.json").read_text())["search"]["counts"]["failed"] == 0
    assert "is tried again; it had failed: the worker process was killed" in said.out
    assert "3 of 3 trials done" in said.out


@pytest.mark.parametrize("kind", ["machine", "error"])
def test_a_run_of_which_nothing_succeeded_says_so_and_is_tried_again_when_it_is_resumed(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    sick = tmp_path / "still-sick"
    sick.touch()

    def befall() -> None:
        if sick.exists():
            raise OSError(28, "No space left on device") if kind == "machine" else ImportError("no such layer")

    sicken(monkeypatch, "toy", befall)
    folder = tmp_path / "reports" / "sick"
    tries = attempts = 2 if kind == "machine" else 1
    for attempt in range(1, attempts + 1):
        flags = ["--budget", "1", "--backbones", "toy"] if attempt == 1 else ["--resume", "sick"]
        assert command(*flags) == 1
        said = capfd.readouterr().err
        assert "failed, so there is nothing to choose from; the last: " in said
        assert ("No space left on device" if kind == "machine" else "ImportError: no such layer") in said
        assert "go on by: python run_bench.py --resume sick" in said
        assert len(trials(folder)) == tries * attempt
        assert "there is nothing to choose from" in (folder / "report.html").read_text(encoding="utf-8")
    sick.unlink()
    assert command("--resume", "sick") == 0
    table = trials(folder)
    assert table["state"].tolist() == ["failed"] * attempts * tries + ["completed"]
    assert table["retried_as"].notna().sum() == attempts * tries
    assert "1 of 1 trials done" in capfd.readouterr().out
