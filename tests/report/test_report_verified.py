"""`verify` reads the tables of a page as a reader reads them, and finds a number that the run folder does not hold."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rendered import Reports

from bench.verify.page import KINDS, _of, page
from bench.verify.printed import Cell, Page, shows
from bench.verify.reading import Folder, Tally
from bench.verify.shown import Line

Change = Callable[[list[str]], list[str]]
"""Rows of a table, the first of them its titles -> others."""


def read(folder: Path) -> Tally:
    tally = Tally()
    page(Folder(folder), tally)
    return tally


def other(text: str, titles: set[str], change: Change) -> str:
    """A page of which another table has the titles."""
    for block in re.finditer(r"<table.*?</table>", text, re.DOTALL):
        (table,) = Page(block[0]).tables
        if titles <= set(table.titles):
            rows = re.findall(r"<tr.*?</tr>", block[0], re.DOTALL)
            start, end = text[: block.start()], text[block.end() :]
            return f"{start}<table>{''.join(change(rows))}</table>{end}"
    raise AssertionError(f"no table has {titles}")


def of_cell(row: int, column: int, to: str, below: bool = False) -> Change:
    """Another text in a cell, or below it."""

    def change(rows: list[str]) -> list[str]:
        start, *cells = re.split(r"(?=<t[dh][ >])", rows[row])
        pattern = r'(?<=class="below">)[^<]*' if below else r"(?<=>)[^<]*"
        cells[column], count = re.subn(pattern, to, cells[column], count=1)
        assert count == 1
        return [*rows[:row], start + "".join(cells), *rows[row + 1 :]]

    return change


@pytest.fixture
def copy(reports: Reports, tmp_path: Path) -> Path:
    """The folder of a page that verify reads."""
    return Path(shutil.copytree(reports["beaten"].parent, tmp_path / "beaten"))


def changed(folder: Path, titles: set[str], change: Change) -> list[str]:
    path = folder / "report.html"
    path.write_text(other(path.read_text(encoding="utf-8"), titles, change), encoding="utf-8")
    return read(folder).wrong


@pytest.mark.parametrize("name", ["beaten", "several classes", "hostile"])
def test_every_table_of_a_page_is_known_and_agrees(reports: Reports, name: str) -> None:
    found = read(reports[name].parent)
    assert found.wrong == []
    assert found.compared > 1000
    assert "no table is known" not in found.skipped


def test_what_is_not_compared_is_named(reports: Reports) -> None:
    told = dict(one.split(": ") for one in read(reports["beaten"].parent).skipped.split("; "))
    tables, columns = (set(told[f"{what} that are not compared"].split(", ")) for what in ("tables", "columns"))
    assert {"Feature / ROC AUC", "Setting / Value", "Item / Topic", "Property / Value"} <= tables
    assert {"Time", "Reason"} <= columns and not {"Measure / Validation", "Reference / "} & tables


MODELS = {"Model", "Seeds", "Change"}
CHANGED: dict[str, tuple[set[str], Change]] = {
    "finalists on validation, ": (MODELS, of_cell(1, 2, "0.123")),
    "finalists on validation, ResNet50": (MODELS, of_cell(1, 4, "+0.123")),
    "operating points, ": ({"Operating point", "Measure"}, of_cell(1, 2, "7 / 8")),
    "operating points, row frozen, 0.987": ({"Operating point", "Measure"}, of_cell(6, 0, "frozen, 0.987")),
    "calibration, ": ({"Split", "Probabilities"}, of_cell(1, 2, "0.123")),
    "headline, Sensitivity": ({"Measure", "Internal test"}, of_cell(1, 2, "0.999 (319 / 319)")),
    "primary contrast, Difference": ({"The primary contrast"}, of_cell(5, 1, "+0.123 (0.100 to 0.146)")),
    "validation and test, ROC AUC": ({"Metric", "Validation − test"}, of_cell(1, 3, "+0.123")),
    "operating points of the card, ": ({"Threshold", "Value"}, of_cell(1, 1, "0.123")),
    "subgroups of the card, ": ({"Subgroup", "Images"}, of_cell(1, 1, "7")),
    "errors, 1, ": ({"Rank", "Image"}, of_cell(1, 5, "0.123")),
    "splits, train": ({"Split", "Imbalance"}, of_cell(1, 1, "7")),
    "openings, ": ({"Opened", "Of the run"}, of_cell(1, 3, "7")),
    "pairs, ": ({"Pair", "p, Holm-corrected"}, of_cell(1, 3, "&lt; 0.9")),
    "trials, ": ({"Rank", "Trial"}, of_cell(1, 9, "1.0e-9")),
}
"""How the sentence begins that names a change -> the table, and its change."""


@pytest.mark.parametrize("said", CHANGED)
def test_a_number_that_the_run_folder_does_not_hold_is_named(copy: Path, said: str) -> None:
    wrong = changed(copy, *CHANGED[said])
    assert any(one.startswith(said) for one in wrong), wrong
    assert len(KINDS) > len(CHANGED)


@pytest.mark.parametrize(
    ("titles", "said"),
    [
        ({"Model", "ROC AUC", "Brier score"}, "scores of models: no row shows "),
        ({"Pair", "p, Holm-corrected"}, "pairs: no row shows "),
        ({"Measure", "Internal test"}, "headline: no row shows Accuracy"),
        ({"Rank", "Image"}, "errors: no row shows "),
    ],
)
def test_a_row_that_is_gone_is_named(copy: Path, titles: set[str], said: str) -> None:
    assert any(one.startswith(said) for one in changed(copy, titles, lambda rows: rows[:-1]))


def test_a_row_without_its_name_is_no_row(copy: Path) -> None:
    wrong = changed(copy, {"Metric", "Validation − test"}, of_cell(1, 0, ""))
    assert wrong[0].startswith("validation and test, row , ") and "no row shows ROC AUC" in wrong[1]


def test_a_page_without_its_tables_is_no_page_of_a_finished_run(copy: Path) -> None:
    path = copy / "report.html"
    path.write_text(re.sub(r"<table.*?</table>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL))
    assert read(copy).wrong == ["no table on the page is known"]
    (copy / ".stages").mkdir(exist_ok=True)
    (copy / ".stages" / "search").unlink(missing_ok=True)
    found = read(copy)
    assert found.wrong == [] and "the run has not come to its end" in found.skipped


def test_tables_of_patients_with_one_image_each_and_of_one_seed_are_known(copy: Path) -> None:
    """Wilson's interval leads there, and no interval is that of other patients."""
    name = "Value, 95 % Wilson interval"
    points = pd.read_csv(copy / "operating_points.csv")
    told = " ".join(f"{points[column][0]:.3f}" for column in ("value", "wilson_low", "wilson_high"))
    rows = "".join(f"<th>{one}</th>" for one in ("Operating point", "Measure", "Images", name))
    counts = f"{points['hits'][0]} / {points['of'][0]}"
    for value, wrong in ((told, False), (f"0.123 {told[6:]}", True)):
        row = f"<td>0.5</td><td>Sensitivity</td><td>{counts}</td><td>{value}</td>"
        (copy / "report.html").write_text(f"<table><tr>{rows}</tr><tr>{row}</tr></table>", encoding="utf-8")
        found = [one for one in read(copy).wrong if one.startswith("operating points, 0.5, Sensitivity")]
        assert bool(found) is wrong
    of_seeds = {"Model", "ROC AUC in the search", "Change", "Seeds", "From trial", "Time"}
    assert [kind.name for kind in KINDS if kind.fits(of_seeds)] == ["finalists on validation"]


def test_a_name_that_begins_another_one_or_is_written_otherwise_is_another() -> None:
    lines = [Line({key: name}, {}) for key in ("Value", "Model") for name in ("virus", "virus like", "Virus")]
    assert _of({"Value": Cell("virus like")}, lines[:3]) == [1]
    assert _of({"Value": Cell("virus", "fewer than 30 images")}, lines[:3]) == [0]
    assert _of({"Value": Cell("virus, chosen")}, lines[:3]) == _of({"Value": Cell("VIRUS")}, lines[:3]) == []
    assert _of({"Model": Cell("Virus, chosen")}, lines[3:]) == [2]
    both = [Line({"Model": "VGG16"}, {}), Line({"Model": "VGG16, winner"}, {})]
    assert _of({"Model": Cell("VGG16, winner")}, both) == [1]
    assert _of({"Model": Cell("VGG16, chosen")}, both) == [0]


@pytest.mark.parametrize(
    ("cell", "wanted", "agrees"),
    [
        ("1,066 25.6 %", [1066, 0.2561], True),
        ("1,066 25.6 %", [1066, 0.2566], False),
        ("8.3e-4", [0.00083], True),
        ("8.3e-4", [0.00087], False),
        ("1.23e+03", [1234.0], True),
        ("< 0.001", [0.0004], True),
        ("< 0.9", [0.0004], False),
        ("< 0.001", [0.0014], False),
        ("−0.012", [-0.0124], True),
        ("–", [None], True),
        ("–", [0.0], False),
        ("0.5", [0.5, 0.5], False),
    ],
)
def test_a_cell_shows_a_number_to_the_digits_that_it_has(cell: str, wanted: list[float], agrees: bool) -> None:
    assert shows(Cell(cell), wanted) is agrees
