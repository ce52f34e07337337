"""The section on time: where it went, and how near the search came to the limit."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_outline import outline
from report_run import edit_json, write_run

from bench.report.blocks import Html
from bench.report.html import render
from bench.report.page import Page
from bench.report.read.files import read
from bench.report.sections import time as section_time
from bench.run.documents import LowerBoundRecord
from bench.run.folder import RunDir, write_json
from bench.run.record import RunRecord, read_leniently

RENDERED = ("time",)

LIMIT: dict[str, Any] = {
    "seconds": 200.0,
    "parts": [
        {
            "what": "VGG16, frozen network",
            "images": 20_000,
            "images_per_second": 400.0,
            "seconds": 50.0,
            "precision": "mixed_bfloat16",
            "xla": False,
            "batch": 64,
            "processes": 2,
            "threads": 1,
        },
        {
            "what": "VGG16, depth 2, training, batches of 32",
            "images": 7500,
            "images_per_second": 50.0,
            "seconds": 150.0,
            "precision": "float32",
            "xla": False,
            "batch": 32,
            "processes": 1,
            "threads": 2,
        },
    ],
    "measured": 300.0,
    "ratio": 1.5,
    "notes": ["The run had 4 CPU cores, the machine of the calibration has 2."],
    "calibrated": {"processor": "A processor", "cores": 2, "gpus": 0, "date": "2026-11-23T08:00:00+00:00", "load": 0.1},
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return write_run(tmp_path / "xray", trials=9, image_side=16)


def section(run: RunDir) -> str:
    """The HTML of the section."""
    (block,) = section_time.time(Page(run, read(run), {})).blocks
    assert isinstance(block, Html)
    return block.html


def test_shares_add_up_and_what_is_left_is_shown() -> None:
    table = section_time.spent({"validation": 10, "start-up": 30, "napping": 10}, {"search": 80.0, "report": 20.0})
    assert list(table["activity"]) == [
        "starting Ray and the workers",
        "scoring the validation images",
        "writing the report",
        "napping",
        section_time.REST,
    ]
    assert list(table["seconds"]) == [30, 10, 20, 10, 30]
    assert list(table["share"]) == [0.3, 0.1, 0.2, 0.1, 0.3]


@pytest.mark.parametrize("stages", [None, {}, {"search": 30.1}, {"search": "long"}, {"search": 20}])
def test_nothing_is_left_where_the_stages_say_no_more(stages: Any) -> None:
    activities = {"start-up": 30, "waiting": "nan", "filling": "x", "tracing": -1}
    record, _ = read_leniently(RunRecord, {"activities": activities, "seconds": stages})
    table = section_time.spent(record.activities, record.seconds)
    assert list(table["seconds"]) == [30], "what is no time is left out"


def test_no_activities_no_rows() -> None:
    assert not len(section_time.spent({}, {"search": 3}))
    assert not len(section_time.spent({}, {}))


def test_the_longest_part_comes_first() -> None:
    content = {"parts": [*LIMIT["parts"], "broken", {"what": "nothing", "seconds": None}]}
    parts = section_time.limit_parts(read_leniently(LowerBoundRecord, content)[0])
    assert list(parts["seconds"]) == [150, 50]
    assert list(parts["share"]) == [0.75, 0.25]
    assert list(parts["precision"]) == ["float32", "bfloat16"]


@pytest.mark.parametrize(("longest", "label"), [(599.0, "Wall-clock time (s)"), (600.0, "Wall-clock time (min)")])
def test_a_bar_an_activity(longest: float, label: str) -> None:
    table = pd.DataFrame({"activity": ["a", "b" * 90], "seconds": [longest, 0.0], "share": [1.0, 0.0]})
    (ax,) = section_time.activities(table).axes
    assert len(ax.patches) == 2 and ax.get_xlabel() == label
    assert [text.get_text() for text in ax.texts] == ["100.0\u00a0%", "0.0\u00a0%"]


def test_the_page_shows_where_the_time_went(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.pictures.PAPER_DPI", 40)
    monkeypatch.setattr("bench.report.html._SECTIONS", ())  # this one is a part of how it was made
    seen = outline(run)
    text = seen.text.replace("\u00a0", " ")
    assert "Where the time went" in text and "training unfrozen stages" in text
    assert "Together 4 min 33 s of wall-clock time." in text
    assert "python -m bench compare --limit xray" in text
    assert any("training unfrozen stages 15.1" in (image["alt"] or "") for image in seen.named("img"))
    assert "measured / limit" not in text
    assert (run.figures / "time.svg").exists()


@pytest.mark.usefixtures("undrawn")
def test_the_limit_and_its_parts(run: RunDir) -> None:
    write_json(run.path / "limit.json", LIMIT)
    text = outline(run).text.replace("\u00a0", " ")
    assert "The search took 5 min 00 s and its limit is 3 min 20 s: measured / limit is 1.50." in text
    assert "Parts of the limit of the search. Measured on A processor, 2 cores, 23 November 2026, 08:00 UTC." in text
    assert LIMIT["notes"][0] in text
    assert "The whole run took" not in text
    assert "it covers the search alone." in text and "compare --limit xray" in text
    parts = section(run).partition("<details>")[2]
    assert re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", parts.split("<tr>")[3])[:3] == [
        "VGG16, frozen network",
        "20,000",
        "400",
    ]


@pytest.mark.usefixtures("undrawn")
def test_the_limit_of_the_whole_run(run: RunDir) -> None:
    parts = [*LIMIT["parts"], {"what": "Small CNN, validation", "images": 900, "seconds": 1.0}]
    seconds = json.loads(run.run.read_text())["seconds"]
    followed = seconds["finalists"] + seconds["evaluation"]
    after = {"seconds": followed / 2, "parts": parts[2:], "measured": followed, "ratio": 2.0}
    whole = {"seconds": 220.0, "parts": parts, "measured": 330.0, "ratio": 1.5}
    write_json(run.path / "limit.json", {**LIMIT, "after": after, "whole": whole})
    seen = outline(run)
    text = seen.text.replace("\u00a0", " ")
    assert "The search took 5 min 00 s" in text
    assert "The whole run took 5 min 30 s and its limit is 3 min 40 s: measured / limit is 1.50." in text
    assert "What follows it took" in text and "measured / limit is 2.00." in text
    assert "Parts of the limit of the whole run." in text and "Small CNN, validation" in section(run)
    assert "compare --limit" not in text
    table = section(run).partition("Measured time against the limit, by part of the run.")[2]
    assert re.findall(r'<th scope="row">([^<]*)</th>', table)[:3] == ["the search", "what follows it", "the whole run"]
    edit_json(run.run, seconds={**seconds, "evaluation": seconds["evaluation"] + 9})
    text = outline(run).text
    assert "The run has gone on since the limit was computed." in text and "compare --limit xray" in text


@pytest.mark.usefixtures("undrawn")
def test_a_limit_without_a_measured_time(run: RunDir) -> None:
    write_json(run.path / "limit.json", {**LIMIT, "measured": None, "ratio": None, "parts": []})
    page = section(run)
    assert re.search(r"<p>The limit of the search is", page)
    assert "<details>" not in page


@pytest.mark.usefixtures("undrawn")
def test_a_search_that_went_on_outdates_its_limit(run: RunDir) -> None:
    write_json(run.path / "limit.json", {**LIMIT, "measured": 100.0, "ratio": 0.5})
    text = outline(run).text
    assert "The search has gone on since the limit was computed." in text and "compare --limit xray" in text
    assert "can fall below its limit" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("content", ["not json", "[]", "{}", '{"seconds": "soon"}', '{"seconds": 0}'])
def test_a_damaged_limit_is_said(run: RunDir, content: str) -> None:
    (run.path / "limit.json").write_text(content)
    page = section(run)
    assert re.search(r'<p class="missing">[^<]*limit\.json', page)
    assert "<pre" in page


@pytest.mark.usefixtures("undrawn")
@pytest.mark.whole_page
def test_runs_from_before_activities_were_timed(run: RunDir) -> None:
    edit_json(run.run, activities=None)
    text = outline(run).text
    assert "run.json does not say where the time went" in text
    assert "Time by stage." in text, "what older files hold is still shown"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("activities", [[], "long", {}, {"filling": "long"}, {"filling": 0}])
def test_damaged_activities_are_said(run: RunDir, activities: Any) -> None:
    edit_json(run.run, activities=activities)
    text = outline(run).text
    whole = activities in ({}, {"filling": 0})
    assert ("The activities in run.json hold no time." in text) == whole
    assert ("run.json has parts that cannot be read and are left out: activities" in text) != whole


@pytest.mark.usefixtures("undrawn")
def test_a_run_without_run_json(run: RunDir) -> None:
    run.run.unlink()
    render(run)
    assert section(run).lstrip().startswith(f'<p class="missing">{read(run).problems["run.json"]}</p>')


def test_what_a_run_writes_accounts_for_all_its_time(run: RunDir) -> None:
    """Activities (`bench.run.results.activities`), on the page before the report's own seconds are known too."""
    content = json.loads(run.run.read_text())
    stages = content["seconds"]
    table = section_time.spent(content["activities"], stages).set_index("activity")["seconds"]
    named = {words for name, words in section_time.ACTIVITIES.items() if name != "outer"}
    assert set(table.index) == named, "each has a name in words, and nothing is left"
    assert table.sum() == pytest.approx(sum(stages.values()), abs=0.01)
    trials = stages["search"] - 11
    assert table["other work within trials"] == pytest.approx(0.1 * trials, abs=0.01)
    assert table["training unfrozen stages"] == pytest.approx(0.35 * trials, abs=0.01)
    assert table["workers waiting for a trial or for each other"] == pytest.approx(11, abs=0.01)
    assert table["writing the report"] == 3
    del stages["report"]
    first = section_time.spent(content["activities"], stages)
    assert not {"writing the report", section_time.REST} & set(first["activity"])


def worked(*jobs: tuple[int, str, str, float, float]) -> list[dict[str, Any]]:
    return [dict(zip(("worker", "kind", "job", "began", "ended"), job, strict=True)) for job in jobs]


WORKED = worked(
    (0, "trial", "trial 0, vgg16", 1000.0, 1030.0),
    (1, "trial", "trial 1, resnet50", 1000.0, 1010.0),
    (1, "trial", "trial 2, resnet50", 1010.0, 1040.0),
    (0, "finalist", "finalist vgg16, seed 1", 90_000.0, 90_050.0),  # resumed the next day
    (1, "baseline", "baseline small_cnn, seed 1", 90_000.0, 90_100.0),
    (0, "something new", "of a later version", 90_100.0, 90_200.0),
)


def test_how_busy_the_workers_were_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    edit_json(run.run, timeline=WORKED)
    text = re.sub(r"<[^>]*>", " ", section(run)).replace("\xa0", " ")
    assert "The workers" in text
    for cells in (
        ("Search  3  40 s  87.5 %  trial 0, vgg16  30 s",),
        ("Finalists and baselines  2  1 min 40 s  75.0 %  baseline small_cnn, seed 1  1 min 40 s",),
    ):
        assert all(cell in text for cell in cells), cells
    assert "a later version" not in text


def test_workers_that_a_resumed_run_did_not_have_before_were_not_idle() -> None:
    from bench.report.figures.timeline import busy, timeline

    jobs = worked(*((0, "trial", f"trial {one}", 10.0 * one, 10.0 * one + 10) for one in range(4)))
    jobs += worked(*((one % 2, "trial", f"trial {4 + one}", 100.0, 110.0) for one in range(2)))
    machines = [{"hardware": {"jobs": 1}, "trials": 4, "until": 90.0}]
    record, dropped = read_leniently(RunRecord, {"timeline": jobs, "hardware": {"jobs": 2}, "earlier": machines})
    assert not dropped
    (share,) = busy(timeline(record.timeline, record.jobs_at))["busy"]
    assert share == 1


def test_a_run_without_a_timeline_shows_no_workers(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert "The workers" not in section(run)


def test_a_night_between_two_jobs_is_no_part_of_the_timeline() -> None:
    from bench.report.figures.timeline import gantt, timeline

    record, dropped = read_leniently(RunRecord, {"timeline": WORKED})
    assert not dropped
    rows = timeline(record.timeline)
    assert rows["ended"].max() == pytest.approx(40 + 60 + 100)
    assert (rows["ended"] - rows["began"]).sum() == pytest.approx(30 + 10 + 30 + 50 + 100)
    (ax,) = gantt(rows).axes
    assert len(ax.collections) == len(rows.groupby(["worker", "kind"]))


def test_bars_of_thousands_of_trials_are_drawn_as_pixels() -> None:
    from bench.report.figures.timeline import gantt, timeline

    jobs = worked(*((number % 2, "trial", f"trial {number}", number, number + 1.5) for number in range(5000)))
    record, _ = read_leniently(RunRecord, {"timeline": jobs})
    (ax,) = gantt(timeline(record.timeline)).axes
    assert all(bars.get_rasterized() for bars in ax.collections)
