"""docs/example/ is a finished run that today's report reads, without traces of the machine that made it."""

import getpass
import gzip
import json
import re
import shutil
import socket
from pathlib import Path

import pytest
from example import EXAMPLE, PICTURE, ROOT, result, without_places
from PIL import Image

from bench import numbers
from bench.checksums import checksum
from bench.report.html import render
from bench.report.read.files import read
from bench.report.runs import State, listed
from bench.report.summary import headline
from bench.run.folder import RunDir, file_sha256, write_vouched
from bench.verify.command import checks
from bench.verify.reading import Folder, Tally

MOST_BYTES = 9 * 10**6
TRACES = re.compile(rb"/tmp/|/work/|/home/|/root/|/Users/|/mnt/")


@pytest.fixture
def example(tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(EXAMPLE, tmp_path / "xray")))


@pytest.mark.usefixtures("undrawn")
def test_todays_report_reads_it(example: RunDir) -> None:
    page = render(example).read_text(encoding="utf-8")
    files = read(example)
    assert files.problems == {} and not files.unfinished and not files.outdated
    assert f"<title>xray: {headline(files)}" in page


def test_a_model_that_was_taken_elsewhere_is_no_problem_of_the_page_and_a_missing_table_is(example: RunDir) -> None:
    pinned = example.read().pinned
    assert "best_ensemble.h5" in pinned and not example.best_ensemble.exists()
    example.predictions_altered.unlink()
    assert read(example).problems == {
        "predictions_altered.csv": "predictions_altered.csv is gone, which the run wrote."
    }


def test_it_is_a_finished_run_with_pretrained_weights_on_radiographs(example: RunDir) -> None:
    (row,) = listed(example.path.parent)
    record = example.read()
    assert row.state is State.FINISHED and row.score is not None and row.score.split == "test" and row.score.low
    assert record.weights.kind != "random" and record.data is not None and not record.data.synthetic


def test_the_readme_tells_of_it() -> None:
    found = read(RunDir(EXAMPLE))
    told = (ROOT / "README.md").read_text(encoding="utf-8").split("## Try it")[0].split("## A result")[1]
    assert told.strip() == result().strip()
    assert numbers.with_interval(*found.chosen_scores["auc"]) in told and "](docs/report.png)" in told


def test_no_trace_of_a_machine_is_left_and_no_large_file() -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert {"report.html", "model_card.md", "run.json", "trials.csv", "evaluation.json"} <= {
        path.name for path in files
    }
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert not [path for path in files if path.suffix in (".h5", ".db")]
    names = [one for one in (socket.gethostname(), getpass.getuser()) if len(one) > 4]
    for path in files:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if path.suffix != ".npz" and path.name != "README.md":
            text = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", content)
            assert TRACES.findall(text) == [], path.name
            assert not [name for name in names if re.search(rf"\b{re.escape(name)}\b".encode(), text)], path.name


def test_what_was_replaced_still_fits_together(example: RunDir) -> None:
    """The checks of `verify` that need neither a model nor a ledger, and are quick."""
    folder, tally = Folder(example.path), Tally()
    for name in ("splits.csv", "trials.csv", "finalists.csv", "predictions", "file hashes", "seal and plan"):
        checks()[name](folder, tally)
    models = [one for one in tally.wrong if re.fullmatch(r"(models/.*|best_model|best_ensemble)\.h5 is gone", one)]
    assert len(models) > 5 and tally.wrong == models and tally.compared > 60
    record = example.read()
    assert record.test.openings[-1].decisions == file_sha256(example.best_model_card)
    assert record.test.openings[-1].plan == record.plans[-1].sha256


def test_the_images_have_their_licence() -> None:
    told = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert "Kermany" in told and "CC BY 4.0" in told and "10.17632/rscbjbr9sj.2" in told


def test_the_picture_is_of_a_screen() -> None:
    with Image.open(PICTURE) as picture:
        assert picture.size == (1280, 860) and PICTURE.stat().st_size < 400_000


def test_places_of_a_machine_are_replaced(tmp_path: Path) -> None:
    settings = {"data": "/home/me/xray", "weights": "/home/me/w", "cache": "/home/me/xray/c", "output": "/home/me/r"}
    record = {
        "settings": settings | {"space": "/home/me/s.yaml"},
        "command": "--data /home/me/xray --output /home/me/r",
        "plans": [{"sha256": "old-plan", "holds": {"settings": {"space": "/home/me/s.yaml"}}}],
        "hardware": {"system": "Linux 6.18.44-own"},
    }
    (tmp_path / "best_model.json").write_text('{"note": "from /home/me/w."}')
    decisions = file_sha256(tmp_path / "best_model.json")
    record["test"] = {"openings": [{"ledgers": ["/home/me/l"], "plan": "old-plan", "decisions": decisions}]}
    (tmp_path / "evaluation.json").write_text(json.dumps({"decisions": decisions}))
    record["pinned"] = {name: checksum(tmp_path / name) for name in ("best_model.json", "evaluation.json")}
    write_vouched(tmp_path / "run.json", record)
    without_places(tmp_path)
    assert not RunDir(tmp_path).changes_of_run
    found = json.loads((tmp_path / "run.json").read_text())
    (opening,) = found["test"]["openings"]
    assert not any("/home" in path.read_text() for path in tmp_path.iterdir())
    assert found["settings"]["cache"] == "/cache" and found["settings"]["data"] == "/data/xray"
    assert found["hardware"]["system"] == "Linux 6.18"
    assert opening["plan"] == found["plans"][0]["sha256"] != "old-plan"
    assert opening["decisions"] == file_sha256(tmp_path / "best_model.json") != decisions
    assert found["pinned"] == {name: checksum(tmp_path / name) for name in found["pinned"]}
