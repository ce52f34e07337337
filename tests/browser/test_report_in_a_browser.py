"""The report in a real browser: nothing asked of a network, nothing overflows, everything works without a mouse."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rendered import Reports

NAMES = ("whole", "several classes", "hostile", "beaten", "unfinished", "damaged", "empty", "live")
WIDTHS = (390, 768, 1440)
MOST_BYTES = 6_000_000

Open = Callable[..., Any]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_sound_at_every_width_in_light_and_dark(name: str, reports: "Reports", visit: Open) -> None:
    import checks

    report = visit(reports[name])
    wrong = [*checks.headings(report), *checks.tables(report), *checks.pictures(report)]
    backgrounds = set()
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            report.see(width, scheme)
            wrong += [f"{width} px, {scheme}: {what}" for what in checks.overflow(report)]
            backgrounds.add(report.ask("getComputedStyle(document.body).backgroundColor"))
    report.unfold()
    for width in WIDTHS:
        report.see(width)
        wrong += [f"{width} px, unfolded: {what}" for what in checks.overflow(report)]
    wrong += checks.links(report)
    assert wrong == []
    assert len(backgrounds) == 2, "light and dark differ"
    assert report.complaints == []


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("whole", 390, "dark"),
        ("whole", 1440, "light"),
        ("several classes", 768, "dark"),
        ("hostile", 390, "light"),
        ("unfinished", 1440, "dark"),
        ("damaged", 768, "light"),
        ("empty", 390, "dark"),
        ("live", 390, "light"),
    ],
)
def test_axe_finds_nothing_serious(name: str, width: int, scheme: str, reports: "Reports", visit: Open) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    import checks

    report = visit(reports[name], width, color_scheme=scheme)
    report.unfold()
    assert checks.axe(report) == []


@pytest.mark.parametrize("name", NAMES)
def test_print_keeps_figures_whole(name: str, reports: "Reports", visit: Open) -> None:
    import checks

    report = visit(reports[name])
    assert checks.printed(report) == []
    document = report.page.pdf(format="A4", margin=dict.fromkeys(("top", "right", "bottom", "left"), "15mm"))
    assert document.startswith(b"%PDF-")
    figures = report.ask("document.querySelectorAll('figure').length")
    assert len(re.findall(rb"/Type\s*/Page\b", document)) >= max(1, figures / 4)
    assert len(document) < MOST_BYTES
    assert report.complaints == []


def test_a_long_table_has_its_heading_on_every_printed_page(reports: "Reports", visit: Open) -> None:
    import checks

    report = visit(reports["whole"])
    report.unfold()
    assert checks.headed(report) == []
    assert report.complaints == []


def test_a_telephone_stacks_panels_and_keeps_the_first_column(reports: "Reports", visit: Open) -> None:
    report = visit(reports["whole"], 390)
    report.unfold()
    stacked = report.ask(
        """[...document.querySelectorAll("figure[data-crops]")].map((figure) => ({
          picture: figure.querySelector(".scroll").offsetHeight,
          named: figure.querySelector(".stacks").getAttribute("aria-label") === figure.querySelector("img").alt,
          parts: [...figure.querySelectorAll(".stacks > div")].map((part) => part.getBoundingClientRect().toJSON()),
          share: figure.dataset.crops.split(";").map((crop) => crop.split(" ").map(Number))
            .reduce((sum, [, , width, height]) => sum + width * height, 0),
        }))"""
    )
    assert len(stacked) > 5
    for figure in stacked:
        assert figure["picture"] == 0 and figure["named"]
        assert len(figure["parts"]) > 1 and 0.5 < figure["share"] < 1.001, "nothing is shown twice"
        assert all(part["x"] >= 0 and part["right"] <= 390 and part["height"] > 80 for part in figure["parts"])
    narrow = report.ask(
        """[...document.querySelectorAll(".scroll tbody th")].map((cell) => [cell.innerText, cell.offsetWidth])
          .filter(([text, width]) => width && width < 50 && text.length > 4)"""
    )
    assert narrow == [], "words are not squeezed to a letter per line"
    moved = report.ask(
        """[...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth + 60)
          .filter((box) => box.querySelector("tbody th")).map((box) => {
            box.scrollLeft = 60;
            return box.querySelector("tbody th").getBoundingClientRect().x - box.getBoundingClientRect().x;
          })"""
    )
    assert len(moved) > 3 and all(abs(left) <= 2 for left in moved), "the first column stays"
    assert report.complaints == []


def test_the_first_screen_has_the_numbers_and_what_is_offered_works(reports: "Reports", visit: Open) -> None:
    report = visit(reports["whole"])
    seen = """() => [...document.querySelectorAll(".tiles div")]
      .filter((tile) => tile.getBoundingClientRect().bottom <= innerHeight).map((tile) => tile.innerText)"""
    tiles = " ".join(report.ask(seen))
    assert all(word in tiles for word in ("ROC AUC", "Sensitivity", "Specificity", "interval", "Strongest baseline"))
    with report.page.expect_download() as download:
        report.page.locator(".first figure").get_by_role("button", name="PNG").click()
    assert Path(download.value.path()).read_bytes()[1:4] == b"PNG"
    assert download.value.suggested_filename == "forest.png"
    report.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    report.page.locator("#methods").get_by_role("button", name="Copy the methods").click()
    report.page.get_by_role("button", name="Copied").wait_for()
    assert "Adam (Kingma and Ba 2015)" in report.ask("navigator.clipboard.readText()")
    assert report.complaints == []


def test_what_is_folded_is_printed_and_folded_again(reports: "Reports", visit: Open) -> None:
    report = visit(reports["whole"])
    folded = "document.querySelectorAll('details:not([open])').length"
    before = report.ask(folded)
    assert before > 2
    report.ask("void dispatchEvent(new Event('beforeprint'))")
    assert report.ask(folded) == 0
    report.ask("void dispatchEvent(new Event('afterprint'))")
    assert report.ask(folded) == before


def test_a_run_of_fifty_trials_is_one_small_file(reports: "Reports") -> None:
    assert reports["whole"].stat().st_size < MOST_BYTES


def test_the_policy_in_the_page_refuses_every_request(reports: "Reports", visit: Open) -> None:
    report = visit(reports["empty"])
    refused = report.ask(
        """async () => {
          const refused = [];
          document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
          new Image().src = "https://example.invalid/a.png";
          document.head.append(Object.assign(document.createElement("script"), {src: "https://example.invalid/a.js"}));
          document.body.append(Object.assign(document.createElement("iframe"), {src: "https://example.invalid/"}));
          await fetch("https://example.invalid/").catch(() => {});
          await new Promise((done) => setTimeout(done, 200));
          return refused.map((name) => name.replace("-elem", "")).sort();
        }"""
    )
    assert refused == ["connect-src", "frame-src", "img-src", "script-src"]


def test_names_that_are_markup_change_nothing(reports: "Reports", visit: Open) -> None:
    from rendered import HOSTILE_TEXT

    markup = """() => {
      const all = [...document.querySelectorAll("*")];
      const tags = all.map((e) => e.tagName);
      const attributes = all.flatMap((e) => [...e.attributes].map((a) => `${e.tagName} ${a.name}`));
      const code = [...document.scripts].filter((script) => script.type !== "application/json");
      const scripts = code.map((script) => script.textContent);
      return {kinds: [...new Set([...tags, ...attributes])], scripts, globals: Object.keys(window)};
    }"""
    harmless = [visit(reports[name]).ask(markup) for name in NAMES if name not in ("hostile", "live")]
    report = visit(reports["hostile"])
    found = report.ask(markup)
    report.unfold()
    known = {kind for page in harmless for kind in page["kinds"]}
    assert set(found["kinds"]) <= known, "no element and no attribute that other runs' pages have not"
    assert found["scripts"] == harmless[0]["scripts"]
    assert sorted(found["globals"]) == sorted(harmless[0]["globals"])
    text = report.ask("document.body.innerText")
    assert [words for words in HOSTILE_TEXT if words not in text] == []
    assert report.complaints == []


ORDER = """(place) => {
  const table = document.querySelectorAll("table.sortable")[place];
  return [...table.tHead.rows[0].cells].map((head, index) => {
    const numeric = head.classList.contains("number");
    const values = () => [...table.tBodies[0].rows].map((row) =>
      numeric ? row.cells[index].dataset.sort : row.cells[index].textContent.replace("–", ""));
    const orders = ["ascending", "descending"].map((expected) => {
      head.querySelector("button").click();
      const said = [...table.tHead.querySelectorAll("[aria-sort]")];
      return {said: said.length === 1 && said[0] === head && head.getAttribute("aria-sort") === expected,
        values: values()};
    });
    return {title: head.textContent, numeric, orders};
  });
}"""


def test_every_column_sorts_both_ways_and_says_so(reports: "Reports", visit: Open) -> None:
    report = visit(reports["whole"])
    report.unfold()
    found = [report.ask(ORDER, place) for place in range(report.page.locator("table.sortable").count())]
    assert len(found) >= 2 and len(found[0]) >= 6
    for column in (column for table in found for column in table):
        for reverse, order in zip((False, True), column["orders"], strict=True):
            values = order["values"]
            given = [value for value in values if value != ""]
            assert order["said"], f"{column['title']}: aria-sort"
            assert values[: len(given)] == given, f"{column['title']}: rows without a value come last"
            keys = [float(value) for value in given] if column["numeric"] else [value.lower() for value in given]
            assert keys == sorted(keys, reverse=reverse), column["title"]
    assert report.complaints == []


def test_a_heading_sorts_by_keyboard(reports: "Reports", visit: Open) -> None:
    report = visit(reports["whole"])
    board = report.page.locator("table.sortable", has=report.page.get_by_role("columnheader", name="Rank"))
    head = board.locator("thead th").nth(1)
    trials = board.locator("tbody tr > :nth-child(2)")
    head.get_by_role("button", name="Trial", exact=True).focus()
    assert report.ask("getComputedStyle(document.activeElement).outlineStyle") != "none", "the focus is seen"
    report.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert head.get_by_role("button", name="Trial", exact=True).count() == 1, "its name is not changed by an arrow"
    assert [int(text) for text in trials.all_inner_texts()] == list(range(50))
    report.page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert [int(text) for text in trials.all_inner_texts()] == list(range(49, -1, -1))
    assert report.ask("document.activeElement.textContent") == "Trial", "the focus stays"


SHOWN = """(table) => [...table.tBodies[0].rows].filter((row) => row.offsetHeight > 0)
  .map((row) => [...row.cells].map((cell) => cell.textContent))"""


def test_a_filter_leaves_the_rows_that_hold_every_word(reports: "Reports", visit: Open) -> None:
    report = visit(reports["whole"], 390)
    board = report.page.locator("table.sortable", has=report.page.get_by_role("columnheader", name="Rank"))
    bar = report.page.locator(".filter").filter(has_text="Ended")
    field, status = bar.get_by_label("Filter"), bar.get_by_role("status")
    everything = board.evaluate(SHOWN)
    assert len(everything) == 50 and status.inner_text() == "50 of 50 rows"
    field.focus()
    report.page.keyboard.type("LIGHT  vgg")
    kept = [row for row in everything if "light" in row and "VGG16" in row]
    assert 0 < len(kept) < 50
    assert board.evaluate(SHOWN) == kept
    assert status.inner_text() == f"{len(kept)} of 50 rows", "and it is announced"
    board.get_by_role("button", name="Trial", exact=True).press("Enter")
    assert board.evaluate(SHOWN) == sorted(kept, key=lambda row: int(row[1])), "sorting keeps the filter"
    field.fill("no trial has this")
    assert board.evaluate(SHOWN) == [] and status.inner_text() == "0 of 50 rows"
    field.fill("")
    bar.get_by_label("Backbone").select_option("ResNet50")
    bar.get_by_label("Ended").select_option("failed")
    shown = board.evaluate(SHOWN)
    assert shown and all("ResNet50" in row and "failed" in row for row in shown)
    for label in ("Backbone", "Ended"):
        bar.get_by_label(label).select_option("")
    assert len(board.evaluate(SHOWN)) == 50
    assert report.complaints == []


def test_the_first_stop_skips_to_the_summary(reports: "Reports", visit: Open) -> None:
    report = visit(reports["whole"])
    report.page.keyboard.press("Tab")
    skip = report.page.locator(".skip")
    assert skip.evaluate("(link) => link === document.activeElement")
    box = skip.bounding_box()
    assert box is not None and box["x"] >= 0 and box["y"] >= 0, "it is seen while it has the focus"
    report.page.keyboard.press("Enter")
    assert report.ask("location.hash") == "#summary"
    report.page.keyboard.press("Tab")
    assert report.ask("document.activeElement.closest('main') !== null"), "the contents are skipped"


def test_every_stop_of_the_keyboard_is_seen_and_named(reports: "Reports", visit: Open) -> None:
    report = visit(reports["several classes"])
    stops = report.page.locator("a[href], button, summary, input, select, [tabindex='0']").count()
    unseen = []
    for _ in range(min(stops, 60)):
        report.page.keyboard.press("Tab")
        unseen += report.ask(
            """() => {
              const e = document.activeElement;
              const name = e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length;
              return getComputedStyle(e).outlineStyle !== "none" && name ? [] : [e.outerHTML.slice(0, 120)];
            }"""
        )
    assert unseen == []


def test_whoever_wants_no_motion_gets_none(reports: "Reports", visit: Open) -> None:
    report = visit(reports["empty"])
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    assert report.ask(behaviour) == "auto"
    report.page.emulate_media(reduced_motion="no-preference")
    assert report.ask(behaviour) == "smooth"


def test_without_javascript_all_is_there_and_no_control_is_dead(reports: "Reports", visit: Open) -> None:
    report = visit(reports["whole"], java_script_enabled=False)
    assert report.page.locator("table.sortable tbody tr").count() >= 50
    assert report.page.locator("input:visible, select:visible").count() == 0
    assert report.complaints == []


def test_a_live_page_loads_itself_anew_until_it_is_told_not_to(reports: "Reports", visit: Open) -> None:
    report = visit(reports["live"])
    report.page.clock.install()
    report.page.reload()
    loads: list[str] = []
    report.page.on("domcontentloaded", lambda page: loads.append(page.url))
    with report.page.expect_navigation():
        report.page.clock.run_for(61_000)
    assert len(loads) == 1
    report.page.get_by_role("button", name="Stop that").click()
    report.page.clock.run_for(200_000)
    report.page.wait_for_timeout(300)
    assert len(loads) == 1, "a page that a reader works with stays"
    assert report.complaints == []


COUNTS = """() => Object.fromEntries([...document.querySelectorAll("[data-cell]")]
  .map((cell) => [cell.dataset.cell, Number(cell.querySelector("b").textContent.replace(",", ""))]))"""


def expected_counts(report: Any, reports: "Reports", split: str, threshold: float) -> dict[str, int]:
    import pandas as pd

    rows = pd.read_csv(reports["whole"].parent / f"predictions_{split}.csv")
    called, sick = rows["prob_PNEUMONIA"].astype("float32") >= threshold, rows["label"] == "PNEUMONIA"
    cells = {"tp": sick & called, "fn": sick & ~called, "fp": ~sick & called, "tn": ~sick & ~called}
    return {name: int(cell.sum()) for name, cell in cells.items()}


def test_the_threshold_panel_works_by_mouse_keyboard_and_touch(reports: "Reports", visit: Open) -> None:
    import checks

    report = visit(reports["whole"], 390, has_touch=True)
    page, panel = report.page, report.page.locator("#threshold-panel")
    frozen, status = panel.locator("[data-threshold=frozen]"), panel.get_by_role("status")
    counts = lambda: report.ask(COUNTS)  # noqa: E731
    pressed = "(button) => button.getAttribute('aria-pressed') === 'true'"
    assert panel.locator("[data-split=val]").evaluate(pressed) and frozen.evaluate(pressed), "it opens on validation"
    assert counts() == expected_counts(report, reports, "val", 0.43)
    small = "(all) => all.filter((e) => e.offsetHeight && e.offsetHeight < 44).map((e) => e.outerHTML.slice(0, 80))"
    assert panel.locator("button, input, select").evaluate_all(small) == [], "touch targets"

    # by touch: the test split, a cell, and its images
    panel.locator("[data-split=test]").tap()
    assert "do not choose" in panel.locator("[data-part=advice]").inner_text()
    assert counts() == expected_counts(report, reports, "test", 0.43)
    panel.locator("[data-cell=fn]").tap()
    assert panel.locator("[data-cell=fn]").get_attribute("aria-expanded") == "true"
    cases = panel.locator(".cases li")
    assert cases.count() == min(12, counts()["fn"])
    scores = [float(text) for text in cases.locator("b").all_inner_texts()]
    assert scores == sorted(scores) and scores[-1] < 0.43, "the most wrong first"
    assert panel.locator(".cases img").count() > 0 and "no picture kept" in panel.locator(".cases").inner_text()
    assert "test/PNEUMONIA/" in cases.first.inner_text() and "patient test-" in cases.first.inner_text()
    table = panel.locator(".still tbody tr").first
    value, interval = (panel.locator("[data-measure=sensitivity] td").nth(place).inner_text() for place in (1, 2))
    assert table.evaluate("(row) => row.cells[2].textContent").split()[0] == value
    assert interval in table.evaluate("(row) => row.cells[2].textContent")
    assert checks.overflow(report) == [] and checks.pictures(report) == []

    # by keyboard: slider, its announcement, a cell
    slider = panel.get_by_label("Threshold", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    assert counts()["fn"] == counts()["tn"] == 0
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert counts() == expected_counts(report, reports, "test", 0.003)
    assert not frozen.evaluate(pressed) and slider.get_attribute("aria-valuetext") == "0.003"
    status.filter(has_text="threshold 0.003").wait_for(state="attached")
    assert "false alarms" in status.inner_text()
    panel.locator("[data-cell=tp]").focus()
    assert report.ask("getComputedStyle(document.activeElement).outlineStyle") != "none", "the focus is seen"
    page.keyboard.press("Enter")
    assert "nearest to the threshold first" in panel.locator("[data-part=images]").inner_text()
    scores = [float(text) for text in cases.locator("b").all_inner_texts()]
    assert len(scores) == 12 and scores == sorted(scores)
    page.keyboard.press("Enter")
    assert panel.locator(".cases").count() == 0, "a cell closes again"

    # by mouse: thresholds, a number, and prevalence
    report.see(1440)
    panel.locator("[data-threshold=sensitive]").click()
    panel.locator("[data-split=val]").click()
    hits, of = panel.locator("[data-measure=sensitivity] td").first.inner_text().split(" / ")
    assert 0.95 <= int(hits) / int(of) < 0.96
    panel.locator("#threshold-number").fill("0.7125")
    assert counts() == expected_counts(report, reports, "val", 0.7125)
    panel.locator("#threshold-number").fill("7")
    assert counts() == expected_counts(report, reports, "val", 0.7125), "what is no probability changes nothing"
    panel.locator("[data-threshold='0.5']").click()
    natural = panel.locator("[data-part=natural]")
    assert "Of 1,000 such patients with one image each, 100 are" in natural.inner_text()
    panel.locator("[data-part=observed]").click()
    ppv = panel.locator("[data-measure=ppv] td").nth(1).inner_text()
    told = re.search(r"right in ([\d.]+)", natural.inner_text())
    assert told and float(told[1]) == pytest.approx(100 * float(ppv), abs=0.051), "at the prevalence of the images"
    panel.locator("#threshold-prevalence").fill("0")
    assert "Of 10,000 such patients" in natural.inner_text(), "rare diseases need more patients"
    frozen.click()
    assert counts() == expected_counts(report, reports, "val", 0.43), "the frozen threshold is what it was"
    report.see(680, media="print")
    assert panel.locator(".still").is_visible() and not panel.locator(".live").is_visible()
    assert report.complaints == []


def test_the_panel_sets_one_of_several_classes_against_the_rest(reports: "Reports", visit: Open) -> None:
    report = visit(reports["several classes"])
    panel = report.page.locator("#threshold-panel")
    for name in ("DRUSEN", "NORMAL"):
        panel.get_by_label("Class against the rest").select_option(name)
        assert f"Not called {name}" in panel.locator(".matrix").inner_text()
        rows = panel.locator(".still tbody tr").filter(has_text=f"{name}, from")
        shown = panel.locator("[data-measure=specificity] td").first.inner_text()
        assert f"({shown})" in rows.nth(1).inner_text()
    panel.locator("[data-cell=fp]").click()
    assert "is " in panel.locator(".cases li").first.inner_text()
    assert report.complaints == []
