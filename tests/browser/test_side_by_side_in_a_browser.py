"""The page of several runs in a real browser: held to all that a report is held to."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rendered import Reports

NAME = "side by side"

Open = Callable[..., Any]


def test_the_page_is_sound_at_every_width_in_light_and_dark(reports: "Reports", visit: Open) -> None:
    import checks

    page = visit(reports[NAME])
    page.unfold()
    wrong = [*checks.headings(page), *checks.tables(page), *checks.pictures(page), *checks.links(page)]
    for width in (390, 768, 1440):
        for scheme in ("light", "dark"):
            page.see(width, scheme)
            wrong += [f"{width} px, {scheme}: {what}" for what in checks.overflow(page)]
    assert wrong == []
    assert page.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_axe_finds_nothing_serious(width: int, scheme: str, reports: "Reports", visit: Open) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    import checks

    page = visit(reports[NAME], width, color_scheme=scheme)
    page.unfold()
    assert checks.axe(page) == []


def test_print_keeps_figures_whole_and_tables_on_the_paper(reports: "Reports", visit: Open) -> None:
    import checks

    page = visit(reports[NAME])
    assert checks.printed(page) == []


def test_names_that_are_markup_change_nothing(reports: "Reports", visit: Open) -> None:
    from rendered import HOSTILE_TEXT

    page = visit(reports[NAME])
    page.unfold()
    found = page.ask(
        """() => {
          const all = [...document.querySelectorAll("*")];
          const handlers = all.flatMap((e) => e.getAttributeNames()).filter((name) => name.startsWith("on"));
          const strange = [...document.querySelectorAll("script, style, img, svg, iframe, object, b")];
          const own = strange.filter((e) => e.matches("script, style, figure img"));
          return {handlers, strange: strange.length - own.length, scripts: document.scripts.length};
        }"""
    )
    assert found == {"handlers": [], "strange": 0, "scripts": 1}
    text = page.ask("document.body.innerText")
    assert [words for words in ("a<b>&c", *HOSTILE_TEXT[:2]) if words not in text] == []
    assert page.complaints == []
