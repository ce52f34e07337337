"""A run that an earlier version left is read by this one, its study.db too: it is shown, verified, and goes on.

kept/rules7.tar.xz is the run of tests/run/test_golden.py, with its images, as the version of November 2026 left it,
without pictures, models and page. Whoever raises `bench.RULES` keeps one more; this one is then read, but no longer
resumed.
"""

import json
import tarfile
from pathlib import Path

import optuna
import pandas as pd
import pytest
import toys

from bench import RULES, cluster
from bench.cli import main
from bench.report import pictures
from bench.search import tune

pytestmark = pytest.mark.end_to_end

KEPT = sorted((Path(__file__).parent / "kept").glob("rules*.tar.xz"))
MORE = 2


@pytest.fixture(params=KEPT, ids=lambda path: path.name.split(".")[0])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a kept run lies, which is not where it was made; the working folder."""
    with tarfile.open(request.param) as kept:
        kept.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_one_of_these_rules() -> None:
    assert f"rules{RULES}.tar.xz" in [path.name for path in KEPT]


def test_it_is_listed_shown_and_verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = json.loads((folder / "reports/golden/evaluation.json").read_text())
    score = best["models"][best["winner"]]["metrics"]["auc"]["value"]
    assert main(["list"]) == 0
    assert "golden" in capsys.readouterr().out
    assert main(["report", "golden"]) == 0
    assert f"{score:.3f}" in (folder / "reports/golden/report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    main(["verify", "golden"])
    said = capsys.readouterr().out.splitlines()
    checked = {line.split("  ")[0]: line.split()[1:] for line in said if line.startswith(("trials", "comparisons"))}
    assert len(checked) == 2 and all(own[-1] == "0" and own[-2] != "0" for own in checked.values()), checked
    wrong = [line for line in said if line.startswith(("file hashes: ", "seal and plan: ", "ledgers: "))]
    assert wrong and all(line.endswith(("is gone", "more")) for line in wrong), "only what was not kept is missing"
    assert sum(": " in line and "is gone" in line for line in said) == len(wrong) - 1


def test_its_study_holds_the_trials_of_the_table(folder: Path) -> None:
    trials = pd.read_csv(folder / "reports/golden/trials.csv")
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{folder}/reports/golden/study.db")
    loaded = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{folder}/reports/golden/study.db")
    values = [one.value for one in loaded.trials if one.state is optuna.trial.TrialState.COMPLETE]
    assert sorted(values) == pytest.approx(sorted(trials.loc[trials["state"] == "completed", "metric_auc"]))


def test_it_goes_on_where_it_was_left(
    folder: Path, toy_table: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From another folder than that of its making, and with its images in another place."""
    before = pd.read_csv(folder / "reports/golden/trials.csv")
    toys.alone_here(monkeypatch)
    monkeypatch.setattr(tune, "_one_round", toys.trials_here)
    monkeypatch.setattr(pictures, "picture", toys.blank(pictures.picture))
    typed = ["--resume", "golden", "--data", "data", "--cache", "cache", "--budget", str(len(before) + MORE)]
    try:
        status = main(["run", *typed])
    finally:
        cluster._trainer = None
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "damaged" not in said.out and "made again from" not in said.out, "study.db is taken as it is"
    after = pd.read_csv(folder / "reports/golden/trials.csv")
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before, check_dtype=False)
    assert len(after) == len(before) + MORE
    (study,) = optuna.get_all_study_summaries(f"sqlite:///{folder}/reports/golden/study.db")
    assert study.n_trials == len(after)
    assert (folder / "reports/golden/best_model.h5").exists()
