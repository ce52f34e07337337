"""Unseen characters are shown, cells of CSV files compute nothing, and our own readers give every text back."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.cli import main
from bench.run.console import Screen
from bench.run.documents import Layout, LeftOut
from bench.run.folder import from_cells, write_table
from bench.run.tables import Schema, keys, text
from bench.texts import as_cell, from_cell, unquoted, visible

NASTY = ("a\x1b[31mb", "x\u202egnp.exe", "two\nlines", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''+1")
HARMLESS = ("NORMAL", "", "'quoted'", "a\\b", "Grüße", "肺炎", "שלום", "1.0", "a=b", "é\u200d")


@pytest.mark.parametrize("given", [*NASTY, *HARMLESS, "\\x1b", "\\\\x1b", "a\\\x1b", "\ud800", "\x85\u2028"])
def test_a_cell_gives_its_text_back_and_is_harmless(given):
    cell = as_cell(given)
    assert from_cell(cell) == given
    assert visible(cell) == cell, "nothing unseen is left"
    assert cell[:1] not in {"=", "+", "-", "@", "\t", "\r", "\n"}
    assert (cell == given) == (given in HARMLESS)


@given(st.text(st.sampled_from("\\x1bu202e'=+-@\x1b\u202e\n a")) | st.text())
def test_every_text_comes_back(given):
    assert from_cell(as_cell(given)) == given
    assert visible(as_cell(given)) == as_cell(given)


@given(st.text())
def test_what_others_wrote_stays(given):
    if not given.startswith("'") and "\\" not in given:
        assert from_cell(given) == unquoted(given) == given


def test_a_table_gives_its_texts_back(tmp_path):
    names = (*NASTY, *HARMLESS[:1])
    table = pd.DataFrame({"image": names, "=label": names, "n": range(len(names)), "x": -0.5, "empty": None})
    write_table(tmp_path / "t.csv", table)
    written = (tmp_path / "t.csv").read_text(encoding="utf-8")
    assert visible(written, keep="\n") == written
    cells = [cell for row in csv.reader(io.StringIO(written)) for cell in row]
    assert [cell for cell in cells if cell[:1] in "=+@" and cell] == []
    assert [cell for cell in cells if cell.startswith("-")] == ["-0.5"] * len(names), "numbers stay numbers"
    again = from_cells(pd.read_csv(tmp_path / "t.csv", keep_default_na=False))
    assert again["image"].tolist() == again["=label"].tolist() == list(names)


def test_a_schema_gives_its_texts_back(tmp_path):
    schema = Schema("t.csv", (*keys("image"), *text("reason")), ("prob_",), more=True)
    rows = [{"image": name, "reason": name, "=more": name, "prob_\x1b[31m": 0.5} for name in NASTY]
    schema.write(tmp_path, rows)
    assert schema.records(tmp_path) == rows
    assert schema.read_leniently(tmp_path)[0].to_dict("records") == rows


def test_the_screen_shows_what_cannot_be_seen():
    buffer = io.StringIO()
    for terminal in (False, True):
        screen = Screen(Console(file=buffer, force_terminal=terminal, color_system=None, width=200))
        screen.line("class \x1b[31mred\x1b]0;title\x07")
        screen.warning("\u202eegnahc")
        screen.summary("Run", [("a\x1b[2J", "b\x1b[2J")])
        screen.layout(Layout(text="\x9b31m", left_out=(LeftOut(kind="mask", text="1 mask", count=1, files=("a\nb",)),)))
    found = buffer.getvalue().replace("\x1b[?25h", "")
    assert visible(found, keep="\n") == found
    assert "class \\x1b[31mred\\x1b]0;title\\x07" in found
    assert "1 mask: a\\x0ab" in found


def test_errors_show_what_cannot_be_seen(capsys):
    assert main(["audit", "no\x1b[31m\nerror: such"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: There is no folder ")
    assert "no\\x1b[31m\\x0aerror: such;" in line
