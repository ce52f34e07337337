"""The best under a limit of time: the front of the finalists, in words and as a table that `verify` reads."""

import re
from pathlib import Path

import pandas as pd
import pytest
from report_outline import Outline
from report_run import edit_json, write_run

from bench.report.html import render
from bench.report.tables import models as tables_models
from bench.run.folder import RunDir
from bench.stats.metrics import METRICS
from bench.verify.page import page
from bench.verify.reading import Folder, Tally

RENDERED = ("comparison",)

pytestmark = pytest.mark.usefixtures("undrawn")

TITLES = {"a": "A", "b": "B", "c": "C"}


def said(scores: list[float | None], milliseconds: list[float], winner: int = 0) -> str:
    """What is said of finalists with these scores over seeds, the ``winner`` among them."""
    rows = pd.DataFrame(
        {
            "backbone": list("abc")[: len(scores)],
            "winner": [place == winner for place in range(len(scores))],
            "score": pd.Series(scores, dtype=float),
            "fold_mean": None,
        }
    )
    found = tables_models.by_time(rows, dict(zip("abc", milliseconds, strict=False)), METRICS["auc"])
    return tables_models.under_time(found, TITLES)


@pytest.mark.parametrize(
    ("scores", "milliseconds", "expected"),
    [
        ([0.981, 0.975, 0.97], [24.04, 6.1, 8.0], "Best: A (0.981, 24 ms). Under 24 ms: B (0.975, 6.1 ms)."),
        ([0.98, 0.97, 0.96], [3.0, 2.0, 1.0], "Best: A (0.980, 3 ms). Under 3 ms: B (0.970, 2 ms). "
         "Under 2 ms: C (0.960, 1 ms)."),
        ([0.98, 0.98, 0.9], [3.0, 3.0, 1.0], "Best: A or B (0.980, 3 ms). Under 3 ms: C (0.900, 1 ms)."),
        ([0.98], [3.0], "Best: A (0.980, 3 ms). No other finalist with a score is faster."),
        ([0.98, None], [3.0, 1.0], "Best: A (0.980, 3 ms). No other finalist with a score is faster."),
        ([0.98, 0.98], [3.0, 1.0], "Best: B (0.980, 1 ms). No other finalist with a score is faster. "
         "The winner, A (0.980, 3 ms), is not on the front: another is as good and faster."),
    ],
)  # fmt: skip
def test_the_front_in_words(scores: list[float | None], milliseconds: list[float], expected: str) -> None:
    assert said(scores, milliseconds) == expected


def write(path: Path, **options: object) -> RunDir:
    """A run with --also seconds, in which resnet50 takes the longest."""
    run = write_run(path / "xray", trials=12, image_side=16, **options)  # type: ignore[arg-type]
    times = {"vgg16": 24.31, "resnet50": 31.5, "inceptionv3": 6.02}
    inference = {"milliseconds": times, "sizes": dict.fromkeys(times, 96), "batch": 32, "machine": "a CPU"}
    settings = run.read().settings.model_copy(update={"also": "seconds"})
    edit_json(run.run, inference=inference, settings=settings.model_dump(mode="json"))
    return run


@pytest.mark.parametrize("folds", [0, 3])
def test_the_table_says_who_is_on_the_front_and_verify_finds_what_is_wrong(tmp_path: Path, folds: int) -> None:
    run = write(tmp_path, folds=folds)
    text = render(run).read_text(encoding="utf-8")
    words = " ".join(Outline(text).text.replace("\u00a0", " ").split())
    part = words.partition("Best under X ms")[2].partition("On the internal test")[0]
    finalists = pd.read_csv(run.finalists)
    by = "fold_mean" if folds else "metric_auc"
    scores = finalists.groupby("backbone")[by].mean()
    best = scores.idxmax()
    assert part.strip().startswith("Best: ") and f"({scores[best]:.3f}, " in part
    assert f"mean over the {'folds' if folds else 'seeds'}" in words and "the test split has no part in it" in words
    assert "measured in float32, in batches of at most 32 images, on a CPU" in words
    tally = Tally()
    page(Folder(run.path), tally)
    assert tally.wrong == []
    changed, count = re.subn(r"(24\.3</td>.*?<td[^>]*>\s*)(yes|no)(\s*</td>)", _turned, text, count=1, flags=re.S)
    assert count == 1
    run.report.write_text(changed, encoding="utf-8")
    tally = Tally()
    page(Folder(run.path), tally)
    assert [one for one in tally.wrong if one.startswith("finalists by time, row VGG16")]


def _turned(found: re.Match[str]) -> str:
    return f"{found[1]}{'no' if found[2] == 'yes' else 'yes'}{found[3]}"


def test_it_stands_sealed_and_not_at_all_where_it_was_not_asked_for(tmp_path: Path) -> None:
    run = write(tmp_path)
    run.evaluation.unlink()
    words = Outline(render(run).read_text(encoding="utf-8")).text
    assert "Best under X ms" in words and "on the internal test" not in words.partition("Best under X ms")[2]
    edit_json(run.run, settings=run.read().settings.model_copy(update={"also": None}).model_dump(mode="json"))
    assert "Best under" not in Outline(render(run).read_text(encoding="utf-8")).text
