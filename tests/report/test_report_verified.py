"""`verify` reads the tables of a page as a reader does, and finds a number that the run folder does not hold."""

import re
import shutil
from pathlib import Path

import pytest
from rendered import Reports

from bench.verify.page import KINDS, page
from bench.verify.reading import Folder, Tally

CHANGED = {
    r"(, (?:winner|chosen)</th>\s*<td[^>]*>\s*)0\.\d{3}": "finalists on validation",
    r"(Sensitivity</td>\s*<td[^>]*>\s*)\d+": "operating points, ",
    r"(after the map</td>\s*<td[^>]*>\s*)[\d.]+": "calibration, ",
}
"""What is changed on the page, and the table that has to be named."""


def read(folder: Path) -> Tally:
    tally = Tally()
    page(Folder(folder), tally)
    return tally


@pytest.mark.parametrize("name", ["beaten", "several classes"])
def test_every_table_of_a_page_is_known_and_agrees(reports: Reports, name: str) -> None:
    found = read(reports[name].parent)
    assert found.wrong == []
    assert found.compared > 100


def test_a_number_that_the_run_folder_does_not_hold_is_named(reports: Reports, tmp_path: Path) -> None:
    folder = reports["beaten"].parent
    for name in (*(file.name for file in folder.glob("*.csv")), "evaluation.json", "calibration.json", "run.json"):
        shutil.copy(folder / name, tmp_path)
    text = (folder / "report.html").read_text(encoding="utf-8")
    for pattern, name in CHANGED.items():
        changed, count = re.subn(pattern, r"\g<1>0.123", text, count=1, flags=re.S)
        assert count == 1, pattern
        (tmp_path / "report.html").write_text(changed, encoding="utf-8")
        assert any(one.startswith(name) for one in read(tmp_path).wrong), name
    assert len(KINDS) > len(CHANGED)
