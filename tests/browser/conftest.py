"""Debian's chromium through Playwright, and the pages that the tests open in it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from rendered import Reports
    from visits import Visit

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> "Reports":
    """The pages by name, each rendered once."""
    from rendered import shared

    return shared(tmp_path_factory)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """One browser a module: its event loop must be gone when tests of other folders run."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed: apt-get install chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Callable[..., "Visit"]]:
    """``visit(path, **options)`` -> the page of a file, open in a context of its own without a network."""
    from visits import Visit

    contexts = []

    def open_page(path: Path, width: int = 1440, **options: Any) -> Visit:
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, reduced_motion="reduce", offline=True, **options)
        contexts.append(context)
        return Visit(context.new_page(), path)

    yield open_page
    for context in contexts:
        context.close()
