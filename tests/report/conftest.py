"""Reports without the slow parts, for tests of words."""

from pathlib import Path

import pandas as pd
import pytest
from rendered import Reports, shared

from bench.report import html, pictures
from bench.report.blocks import Paragraph
from bench.report.tables import importance
from bench.run.tables import Cut, Schema


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """The pages by name, each rendered once, also for the browser's tests."""
    return shared(tmp_path_factory)


@pytest.fixture(autouse=True)
def sections_of_the_file(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of tests that is about some sections names them in ``RENDERED``: rendering the others takes most time.

    A test that is marked as about the whole page has them all.
    """
    named = getattr(request.module, "RENDERED", None)
    if named is not None and not request.node.get_closest_marker("whole_page"):
        for part in ("_SECTIONS", "_MADE"):
            monkeypatch.setattr(html, part, tuple(one for one in getattr(html, part) if one[0] in named))


@pytest.fixture(autouse=True)
def tables_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is read once for all tests that have it with the same content; `test_tables` tries the reading."""
    monkeypatch.setattr(Schema, "read_leniently", _read_once)


_READ = Schema.read_leniently
_KNOWN: dict[tuple[str, bytes], tuple[pd.DataFrame, Cut]] = {}


def _read_once(schema: Schema, folder: Path) -> tuple[pd.DataFrame, Cut]:
    key = schema.file, (folder / schema.file).read_bytes()
    if key not in _KNOWN:
        _KNOWN[key] = _READ(schema, folder)
    table, cut = _KNOWN[key]
    return table.copy(), cut


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn but not written: that takes most of the time."""
    monkeypatch.setattr(pictures, "_save", lambda figure, folder, name: "<svg></svg>")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure is drawn and no forest fitted: for tests of words."""
    monkeypatch.setattr(pictures, "picture", lambda folder, name, draw, alt, caption: Paragraph(caption))
    table = pd.DataFrame({"parameter": ["dropout"], "mean": [1.0], "sd": [0.0]})
    monkeypatch.setattr(importance, "importance", lambda trials, metric: table)
