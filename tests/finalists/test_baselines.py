"""Baselines: what is recorded of each, what is skipped and why, and what is not trained again."""

import dataclasses
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from bench.errors import ConfigError, TrialFailed
from bench.finalists.baselines import (
    NO_METADATA,
    TITLES,
    Material,
    NothingVaries,
    Rivals,
    fit_untrained,
    read_baselines,
    train_baselines,
)
from bench.finalists.seeds import Repeats, Told, Wanted
from bench.run.courses import Curve
from bench.run.folder import RunDir
from bench.run.results import EpochLog
from bench.stats.metrics import METRICS, evaluate
from bench.trial import EpochRecord, TrialConfig, TrialResult

WINNER = TrialConfig("a", "light", 2, 2e-3, 0.1)
RECIPE = TrialConfig("a", "light", 1, 1e-3, 0.01)
AUC = METRICS["auc"]


def made_up_facts(labels: npt.NDArray[np.int64], seed: int = 0, varied: bool = True) -> pd.DataFrame:
    """Images of class 1 are larger and coloured, as far as they vary."""
    rng = np.random.default_rng(seed)
    size = 200 + (100 * labels + rng.integers(0, 120, len(labels)) if varied else 0)
    mode = np.where(labels > 0, "RGB", "L") if varied else np.full(len(labels), "L")
    return pd.DataFrame(
        {"width": size, "height": 200, "mode": mode, "bytes": 40 * size}, index=range(7, 7 + len(labels))
    )


def result(auc: float) -> TrialResult:
    scores = {**dict.fromkeys(METRICS, 0.5), "auc": auc}
    return TrialResult(1, scores, (EpochRecord("head", 1, 0.5, scores, 1.0),), 2.0)


class Work:
    """A run folder, material of 80 + 40 images, and trainings that only look up what they give."""

    def __init__(self, folder: Path, varied: bool = True) -> None:
        self.run = RunDir(folder)
        self.epochs = EpochLog(self.run)
        self.trained: list[tuple[Any, ...]] = []
        self.ended: list[tuple[str, int, str]] = []
        self.through: list[tuple[str, int]] = []
        self.scores: dict[str, list[Any]] = {
            "recipe": [0.8, 0.85, 0.7, 0.6],
            "initialisation": [0.9, 0.91],
            "small_cnn": [0.7, 0.72, 0.74, 0.6],
        }
        labels = {"train": np.arange(80) % 4 // 3, "val": np.arange(40) % 2}
        facts = {split: made_up_facts(values, 1, varied) for split, values in labels.items()}
        self.material = Material(labels, facts, 2, 1)

    def _train(self, control: str, model: Path, about: tuple[Any, ...]) -> TrialResult:
        self.trained.append(about)
        found = self.scores[control][int(model.stem.rsplit("-", 1)[1]) - 1]
        if isinstance(found, BaseException):
            raise found
        model.parent.mkdir(exist_ok=True)
        model.write_text(f"{control} {about}")
        return result(found)

    def go(
        self, winner: TrialConfig = WINNER, recipe: TrialConfig = RECIPE, repeats: int = 2, other: str | None = None
    ) -> pd.DataFrame:
        def train(wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Any]]:
            for one in wanted:
                job, name = one.job, one.curve.name
                assert job.from_scratch == (name == "small_cnn")
                assert (job.views, job.first_view, job.rows) == (6, (one.curve.repeat or 0) - 1, None)
                what = (job.config.backbone, job.config.augmentation) if job.from_scratch else (job.config,)
                assert job.model_file is not None
                try:
                    yield one, self._train(name, job.model_file, (name, *what, job.seed))
                except Exception as error:
                    yield one, error

        told = Told(
            on_row=lambda row: self.ended.append((row["baseline"], row["repeat"], row["state"])),
            on_group_done=lambda rows: self.through.append((rows[0]["baseline"], len(rows))),
        )
        how = Repeats(self.run, AUC, 0, repeats, 6, self.epochs)
        return train_baselines(Rivals(winner, recipe, other), how, self.material, train, told)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_every_baseline_is_recorded_as_a_finalist_is(work: Work) -> None:
    table = work.go()
    names = [name for name in TITLES if name != "initialisation"]  # there is no other
    assert list(dict.fromkeys(table["baseline"])) == names
    assert work.ended == [
        ("majority", 1, "completed"),
        ("metadata", 1, "completed"),
        *(("recipe", repeat, "completed") for repeat in (1, 2)),
        *(("small_cnn", repeat, "completed") for repeat in (1, 2)),
    ]
    assert work.through == [("majority", 1), ("metadata", 1), ("recipe", 2), ("small_cnn", 2)]
    assert [about[:-1] for about in work.trained] == [("recipe", RECIPE)] * 2 + [("small_cnn", "a", "light")] * 2
    assert len({about[-1] for about in work.trained}) == 4, "every training has a seed of its own"

    read = read_baselines(work.run)
    assert read["representative"].tolist() == [True, False, True, False, True, True]
    assert read["model"].tolist()[:4] == [f"models/{name}-{repeat}.h5" for name in names for repeat in (1, 2)][:4]
    assert read["model"].tolist()[4:] == ["", ""]
    for row in read[read["model"] != ""].to_dict("records"):
        assert (work.run.path / row["model"]).read_text().startswith(row["baseline"])
    recipe, small = read.iloc[1], read.iloc[3]
    assert recipe["config_learning_rate"] == 1e-3
    assert pd.isna(small["config_learning_rate"])
    assert small["parameters"] == 93_426
    assert "93,426 parameters" in small["note"]
    metrics = [column for column in read if column.startswith("metric_")]
    assert np.isfinite(read[metrics].to_numpy(dtype=float)).all()
    text = work.run.baselines.read_text()
    assert "nan" not in text.lower()
    assert list(work.epochs.curves) == [Curve("baseline", name, repeat) for name in names for repeat in (1, 2)][:4]


def test_the_winners_configuration_is_trained_from_another_initialisation_where_there_is_one(work: Work) -> None:
    table = work.go(other="random")
    rows = table[table["baseline"] == "initialisation"]
    assert list(rows["state"]) == ["completed", "completed"]
    assert [TrialConfig.from_row(row) for row in rows.to_dict("records")] == [
        dataclasses.replace(WINNER, initialisation="random")
    ] * 2
    assert rows["note"].iloc[0] == "the winner's configuration initialised from random"
    before = len(work.trained)
    work.go(other="random")
    assert len(work.trained) == before, "nothing is trained twice"
    work.go(other="imagenet")
    assert [about[1].initialisation for about in work.trained[before:]] == ["imagenet"] * 2, "another one is"
    assert "initialisation" not in set(work.go()["baseline"])


def test_majority_gives_the_shares_of_the_training_labels(work: Work) -> None:
    labels, facts = work.material.labels["train"], work.material.facts
    scores = fit_untrained("majority", facts["train"], labels, 3)(facts["val"].iloc[:5])
    np.testing.assert_allclose(scores, np.tile([0.75, 0.25, 0.0], (5, 1)))
    row = work.go().set_index("baseline").loc["majority"]
    predict = fit_untrained("majority", facts["train"], labels, 2)
    expected = evaluate(work.material.labels["val"], predict(facts["val"]))
    assert {name: row[f"metric_{name}"] for name in METRICS} == pytest.approx(expected)
    assert row["metric_auc"] == 0.5


def test_metadata_alone_tell_the_classes_apart_where_they_do(work: Work) -> None:
    labels = work.material.labels
    predict = fit_untrained("metadata", work.material.facts["train"], labels["train"], 2)
    scores = predict(work.material.facts["val"])
    assert scores.shape == (40, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    assert evaluate(labels["val"], scores)["auc"] > 0.95
    assert work.go().set_index("baseline").loc["metadata", "metric_auc"] == pytest.approx(
        evaluate(labels["val"], scores)["auc"]
    )
    # the same image gets the same scores, whatever stands beside it
    few = work.material.facts["val"].iloc[3:5]
    np.testing.assert_array_equal(predict(few), scores[3:5])
    one_mode = work.material.facts["val"][work.material.facts["val"]["mode"] == "RGB"]
    np.testing.assert_array_equal(predict(one_mode), scores[labels["val"] == 1])


def test_a_colour_mode_that_training_did_not_know_and_a_class_it_lacked() -> None:
    labels = np.tile([0, 2], 30)
    scores = fit_untrained("metadata", made_up_facts(labels), labels, 3)(made_up_facts(labels[:6]).assign(mode="CMYK"))
    assert np.isfinite(scores).all()
    assert (scores[:, 1] == 0).all()


def test_metadata_that_do_not_vary_are_skipped_with_the_reason(tmp_path: Path) -> None:
    work = Work(tmp_path, varied=False)
    row = work.go().set_index("baseline").loc["metadata"]
    assert (row["state"], row["reason"]) == ("skipped", NO_METADATA)
    assert pd.isna(row["metric_auc"])
    with pytest.raises(NothingVaries):
        fit_untrained("metadata", work.material.facts["train"], work.material.labels["train"], 2)


def test_the_recipe_is_not_trained_again_where_it_has_won(work: Work) -> None:
    table = work.go(winner=RECIPE)
    row = table[table["baseline"] == "recipe"]
    assert row["state"].tolist() == ["skipped"]
    assert "the winner's configuration is the default recipe" in row["note"].item()
    assert [about[0] for about in work.trained] == ["small_cnn"] * 2


def test_a_baseline_that_fails_is_recorded_and_the_others_go_on(work: Work) -> None:
    work.scores["recipe"] = [TrialFailed("the loss became nan"), 0.8]
    work.scores["small_cnn"] = [ValueError("two\nlines")] * 2
    table = work.go()
    assert table["state"].tolist() == ["failed", "completed", "failed", "failed", "completed", "completed"]
    assert table["reason"].tolist()[:4] == ["the loss became nan", "", *["ValueError: two lines"] * 2]
    assert table["representative"].tolist() == [False, True, False, False, True, True]
    work.trained.clear()
    work.scores["recipe"][0] = 0.9
    table = work.go()  # what failed is tried again
    assert [about[0] for about in work.trained] == ["recipe", "small_cnn", "small_cnn"]
    assert table["representative"].tolist()[:2] == [True, False]
    assert (work.run.models / "recipe-1.h5").read_text().startswith("recipe")
    assert (work.run.models / "recipe-2.h5").exists()


def test_a_full_disk_ends_the_baselines_and_what_was_finished_is_kept(work: Work) -> None:
    full = OSError(errno.ENOSPC, "No space left on device (3 MB free there)", "models/.small_cnn-1.draft.h5")
    work.scores["small_cnn"] = [full, 0.72]
    with pytest.raises(OSError, match=r"No space left on device .*small_cnn-1"):
        work.go()
    kept = read_baselines(work.run)
    assert kept["baseline"].tolist() == ["recipe", "recipe", "majority", "metadata"]
    assert set(kept["state"]) == {"completed"}
    work.scores["small_cnn"][0] = 0.7
    work.trained.clear()
    assert set(work.go()["state"]) == {"completed"}
    assert [about[0] for about in work.trained] == ["small_cnn"] * 2, "and it goes on"


def test_a_request_that_is_wrong_ends_the_baselines(work: Work) -> None:
    work.scores["recipe"][0] = ConfigError("no such thing")
    with pytest.raises(ConfigError):
        work.go()


def test_what_is_in_baselines_csv_is_not_made_again(work: Work) -> None:
    work.scores["small_cnn"][1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        work.go()
    assert len(read_baselines(work.run)) == 5  # whole after each
    work.scores["small_cnn"][1] = 0.72
    work.trained.clear()
    work.go()
    assert len(work.trained) == 1
    whole, ended = work.run.baselines.read_bytes(), len(work.ended)
    work.trained.clear()
    work.go()
    assert not work.trained
    assert len(work.ended) == ended
    assert work.run.baselines.read_bytes() == whole
    work.go(repeats=3)  # more only add
    assert [about[0] for about in work.trained] == ["recipe", "small_cnn"]
    (work.run.models / "small_cnn-2.h5").unlink()
    work.trained.clear()
    work.go(repeats=3)
    assert [about[0] for about in work.trained] == ["small_cnn"]


def test_another_winner_has_other_baselines(work: Work) -> None:
    work.go()
    work.trained.clear()
    work.go(winner=TrialConfig("b", "none", dropout=0.5), recipe=TrialConfig("b"))
    assert [about[:-1] for about in work.trained] == [("recipe", TrialConfig("b"))] * 2 + [
        ("small_cnn", "b", "none")
    ] * 2
    work.trained.clear()
    work.go(winner=TrialConfig("b", "none"), recipe=TrialConfig("b", "none"))
    assert not work.trained
    assert not list(work.run.models.glob("recipe*.h5")), "files of a recipe that is no baseline any more"


def test_a_damaged_table_is_made_anew(work: Work) -> None:
    work.go()
    work.run.baselines.write_text("baseline,repeat\nrecipe,1\n")
    work.trained.clear()
    work.go()
    assert len(work.trained) == 4


def test_no_table_is_no_baselines(tmp_path: Path) -> None:
    assert len(read_baselines(RunDir(tmp_path))) == 0
