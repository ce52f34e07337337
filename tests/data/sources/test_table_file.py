"""Tables with other separators and encodings than commas and UTF-8, and files that are no tables."""

import codecs

import pytest
from source_files import write

from bench.data.sources.columns import role_of
from bench.data.sources.open_source import open_source
from bench.data.sources.table_file import read_table
from bench.errors import ConfigError

LINES = ["path,label,note", "1.png,Ödem,a", "2.png,gesund,b"]


@pytest.fixture
def table(tmp_path):
    """``table(text or bytes)`` -> the table in a file of it."""

    def made(content, name="set.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, role_of)

    return made


def lines(separator=",", ending="\n"):
    return ending.join(line.replace(",", separator) for line in LINES)


@pytest.mark.parametrize(("separator", "said"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_separators_are_found_out_and_said(table, separator, said):
    found = table(lines(separator))
    assert found.header == ["path", "label", "note"]
    assert found.rows == [["1.png", "Ödem", "a"], ["2.png", "gesund", "b"]]
    assert found.notes == (f"set.csv was read with cells parted by {said}.",)


@pytest.mark.parametrize(
    ("above", "line"),
    [("# exported by a tool\n", 2), ("// a, b\n\n# c\n", 4), ("Readings of 2020,,\n", 2), ("sep=;\n# by us; now\n", 3)],
)
def test_a_comment_above_the_header_is_refused(table, above, line):
    sign = ";" if "sep" in above else ","
    with pytest.raises(ConfigError, match=f"The header of .*set.csv seems to be line {line}, but "):
        table(above + lines(sign))


def test_a_header_behind_a_hash_is_one(table):
    assert table("#" + lines()).header == ["#path", "label", "note"]


def test_a_plain_file_needs_no_word(table):
    assert table(lines()).notes == ()
    assert table(codecs.BOM_UTF8 + lines(ending="\r\n").encode()).notes == ()


def test_ends_of_lines_of_the_old_macintosh(table):
    assert table(lines(ending="\r")).rows == table(lines()).rows


def test_blanks_between_cells(table):
    found = table("image label\n1.png A\n2.png B\n")
    assert found.rows == [["1.png", "A"], ["2.png", "B"]]
    assert table("Image Index,Finding Labels\n1.png,A\n").header == ["Image Index", "Finding Labels"]


def test_signs_in_cells_are_no_separators(table):
    found = table("Image Index,Finding Labels\n1.png,A|B;C\n2.png,D|E;F\n")
    assert found.rows == [["1.png", "A|B;C"], ["2.png", "D|E;F"]]
    assert table("path;label\n1,5.png;A\n").rows == [["1,5.png", "A"]]


def test_excels_own_word_for_the_separator(table):
    found = table("sep=;\npath;label\n1.png;A\n")
    assert found.header == ["path", "label"]
    assert found.lines == [3]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"])
def test_encodings_are_found_out_and_said(table, encoding):
    found = table(lines().encode(encoding))
    assert found.rows[0][1] == "Ödem"
    assert "characters in" in found.notes[0]


def test_a_damaged_utf_8_file_is_not_taken_for_another_encoding(table):
    with pytest.raises(ConfigError, match=r"neither UTF-8 nor another encoding throughout \(1 bytes"):
        table("path,label\n1.png,Ödem\n2.png,ßüä\n".encode() + b"3.png,\xff\n")


@pytest.mark.parametrize("content", [b"PK\x03\x04\x14\0\x06\0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x1f\x8b\x08\x08"])
def test_what_is_no_text(table, content):
    with pytest.raises(ConfigError, match=r"is no text file; save the table as CSV") as caught:
        table(content)
    assert ("Excel" in str(caught.value)) == content.startswith(b"PK")


def test_empty_rows_and_cells_beyond_the_header_do_no_harm(table):
    found = table("path,label\n1.png,A,,\n,\n\n2.png,B\n")
    assert found.rows == [["1.png", "A"], ["2.png", "B"]]
    assert found.lines == [2, 5]


def test_a_row_of_another_length_names_its_line_and_separator(table):
    with pytest.raises(ConfigError, match=r"Line 4 of .* has 3 cells, but its header has 2; .* holds ';' must stand"):
        table("sep=;\npath;label\n1.png;A\n2.png;B;C\n")


@pytest.mark.parametrize("name", ["set.tsv", "set.txt", "set.TSV", "set.CSV"])
def test_files_of_other_endings_are_sources(tmp_path, name):
    write(tmp_path, ["1.png", "2.png"])
    (tmp_path / name).write_text(lines("\t"), encoding="utf-16")
    found = open_source(str(tmp_path / name), 0)
    assert found.classes == ("gesund", "Ödem")
    assert f"{name} was read with cells parted by tabs and characters in UTF-16." in found.notes


def test_a_text_that_is_no_table(tmp_path):
    (tmp_path / "readme.txt").write_text("These are the images of our study.\nCite us.\n")
    with pytest.raises(ConfigError, match=r"readme.txt has no column path"):
        open_source(str(tmp_path / "readme.txt"), 0)


def test_lines_in_quotes_as_a_whole(table):
    with pytest.raises(ConfigError, match=r"Each line of .* stands in quotes as a whole"):
        table('"path;label"\n"1.png;A"\n')


def test_a_stray_zero_is_no_other_encoding(table):
    with pytest.raises(ConfigError, match="is no text file"):
        table("path,label\n1.png,A\0\n")
