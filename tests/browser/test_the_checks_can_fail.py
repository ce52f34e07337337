"""Every check of a page finds the fault that it looks for, once that is planted in a page."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rendered import Reports

Open = Callable[..., Any]

FAULTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "a picture without alt": ("pictures", lambda page: re.sub(r' alt="[^"]*"', "", page, count=1)),
    "a picture that is none": (
        "pictures",
        lambda page: page.replace("data:image/svg+xml,", "data:image/svg+xml,broken", 1),
    ),
    "a picture smaller than drawn": (
        "pictures",
        lambda page: page.replace("</style>", "figure img {width: 60px}</style>"),
    ),
    "a skipped level": ("headings", lambda page: page.replace("<h3>", "<h4>", 1).replace("</h3>", "</h4>", 1)),
    "a second h1": ("headings", lambda page: page.replace("<main>", "<main><h1>Again</h1>")),
    "a table without caption": ("tables", lambda page: re.sub(r"<caption>.*?</caption>", "", page, count=1)),
    "a row without header": ("tables", lambda page: page.replace('<th scope="row"', "<th", 1)),
    "a broad box": ("overflow", lambda page: page.replace("<main>", '<main><p style="width: 3000px">wide</p>')),
    "text cut off": (
        "overflow",
        lambda page: page.replace("<main>", '<main><p style="overflow: hidden; white-space: pre">wide' + " wide" * 99),
    ),
    "a word beyond its tile": (
        "overflow",
        lambda page: page.replace('"value">', '"value" style="white-space: nowrap">a number of very many figures ', 1),
    ),
    "a region out of reach": ("overflow", lambda page: page.replace(' tabindex="0"', "")),
    "a link to nowhere": ("links", lambda page: page.replace("<main>", '<main><a href="#nowhere">there</a>')),
    "a link that leaves": ("links", lambda page: page.replace("<main>", '<main><a href="other.html">there</a>')),
    "an anchor twice": ("links", lambda page: page.replace("<main>", '<main><p id="summary">Summary</p>')),
    "a figure cut by print": ("printed", lambda page: page.replace("</style>", "figure {break-inside: auto}</style>")),
    "a tall figure": ("printed", lambda page: page.replace("</style>", "figure {height: 1200px}</style>")),
    "a figure beyond the paper": (
        "printed",
        lambda page: page.replace("</style>", "figure img {width: 900px; max-width: none}</style>"),
    ),
    "a heading that is printed once": (
        "headed",
        lambda page: re.sub(
            r'(class="sortable">.*?<tbody>)(.*?)</tbody>',
            lambda found: found[1] + 20 * found[2] + "</tbody>",
            page.replace("display: contents", "display: inline-block"),
            flags=re.DOTALL,
        ),
    ),
    "a button without a name": ("axe", lambda page: page.replace("<main>", "<main><button></button>")),
    "faint text": ("axe", lambda page: page.replace("</style>", "h2 {color: #cccccc}</style>", 1)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, reports: "Reports", visit: Open, tmp_path: Path) -> None:
    import checks

    check, plant = FAULTS[fault]
    page = reports["empty" if check == "axe" else "unfinished"].read_text(encoding="utf-8")
    (tmp_path / "report.html").write_text(plant(page), encoding="utf-8")
    assert plant(page) != page
    assert getattr(checks, check)(visit(tmp_path / "report.html", 390)) != []


MISDEEDS: dict[str, tuple[str, str, str]] = {
    "an unescaped name": ("&lt;script&gt;alert(1)&lt;/script&gt;", "<script>alert(1)</script>", "dialog"),
    "a picture from elsewhere": ("<main>", '<main><img src="https://example.invalid/a.png" alt="a">', "console"),
    "a page without a policy": ("<main>", '<main><img src="https://example.invalid/a.png" alt="a">', "request"),
    "a script that fails": ("</main>", "</main><script>missing()</script>", "error"),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_planted_misdeed_is_a_complaint(misdeed: str, reports: "Reports", visit: Open, tmp_path: Path) -> None:
    old, new, kind = MISDEEDS[misdeed]
    page = reports["hostile"].read_text(encoding="utf-8")
    page = page.replace("Content-Security-Policy", "X-Nothing") if kind == "request" else page
    assert old in page
    (tmp_path / "report.html").write_text(page.replace(old, new), encoding="utf-8")
    assert [complaint for complaint in visit(tmp_path / "report.html").complaints if complaint.startswith(kind)]
