"""One planted fault through a whole run; the others by ``python -m tests.instrument --planted``."""

from pathlib import Path

import pytest
from faults.campaign import Place

from instrument import planted

pytestmark = pytest.mark.end_to_end


def test_a_scanner_effect_is_told_as_what_it_is(tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    place.folder.mkdir()
    fault = planted.FAULTS["scanner"]
    assert planted.run(place, fault, seed=1) == []
    other = planted.FAULTS["shortcut in the files"]
    assert planted.untold(place.run, other, ""), "what was not planted is not told either"
