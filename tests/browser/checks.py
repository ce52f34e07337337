"""What is wrong with a page as a browser shows it; every check returns sentences, none where all is well."""

import re
import zlib
from typing import Any

from visits import Visit

PRINTED_WIDTH, PRINTED_HEIGHT = 680, 1009
"""Pixels of an A4 page within margins of 15 mm."""
LANDSCAPE = 1031
"""Pixels across a page that is turned, within margins of 12 mm."""

_INK = re.compile(rb"([\d.]+) ([\d.]+) ([\d.]+) rg\b")
"""The colour that a PDF fills with from there on."""

_NAME = "const name = (e) => e.outerHTML.replace(/base64,[^\"]*/, '').slice(0, 160);"


def pictures(visit: Visit) -> list[str]:
    """Pictures without an alternative text, a size or a caption, or smaller than drawn where there is room."""
    script = """async () => {
      %s
      const wrong = [];
      await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
      for (const image of document.images) {
        if (!image.alt.trim()) wrong.push(`no alt: ${name(image)}`);
        if (!image.naturalWidth || !image.naturalHeight) wrong.push(`no size: ${name(image)}`);
      }
      for (const drawing of document.querySelectorAll("svg, canvas")) {
        const hidden = drawing.closest("[aria-hidden=true]");
        if (!hidden && !drawing.getAttribute("aria-label")) wrong.push(`no label: ${name(drawing)}`);
      }
      for (const figure of document.querySelectorAll("figure")) {
        if (!figure.querySelector("figcaption")?.textContent.trim()) wrong.push(`no caption: ${name(figure)}`);
        const image = figure.querySelector("img");
        const shown = image?.getBoundingClientRect().width;
        const column = figure.parentElement.matches(".beside") ? figure : figure.parentElement;
        const room = Math.min(Number(image?.getAttribute("width")), column.clientWidth);
        if (shown && shown + 1 < room) wrong.push(`${shown} of ${room} pixels wide: ${name(image)}`);
      }
      return wrong;
    }"""
    return visit.ask(script % _NAME)


def headings(visit: Visit) -> list[str]:
    """Headings that skip a level, and a page that has not exactly one of the first."""
    script = """() => {
      const all = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")];
      const level = (heading) => Number(heading.tagName[1]);
      const wrong = all.filter((heading, place) => level(heading) > (place ? level(all[place - 1]) : 0) + 1)
        .map((heading) => `skips a level: ${heading.textContent}`);
      const empty = all.filter((heading) => !heading.textContent.trim()).map(() => "an empty heading");
      const first = all.filter((heading) => level(heading) === 1).length;
      return [...wrong, ...empty, ...(first === 1 ? [] : [`${first} headings of the first level`])];
    }"""
    return visit.ask(script)


def tables(visit: Visit) -> list[str]:
    """Tables without a caption, and columns or rows without a header."""
    script = """() => [...document.querySelectorAll("table")].flatMap((table) => {
      const title = table.caption?.textContent.trim() ?? "";
      const wrong = title ? [] : [`no caption: ${table.innerText.slice(0, 80)}`];
      const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
      if (!heads.length || heads.some((cell) => cell.tagName !== "TH" || cell.scope !== "col"))
        wrong.push(`columns without headers: ${title}`);
      for (const row of table.querySelectorAll("tbody tr")) {
        if (row.cells[0]?.tagName !== "TH" || row.cells[0].scope !== "row") wrong.push(`row without header: ${title}`);
        if (row.cells.length !== heads.length) wrong.push(`a row of ${row.cells.length} cells: ${title}`);
      }
      return wrong;
    })"""
    return visit.ask(script)


def overflow(visit: Visit) -> list[str]:
    """What is wider than the page, cut off, or scrolls by itself where a keyboard cannot reach it."""
    script = """() => {
      %s
      const wide = document.documentElement.clientWidth;
      const wrong = [];
      if (document.documentElement.scrollWidth > wide)
        wrong.push(`the page is ${document.documentElement.scrollWidth} of ${wide} pixels wide`);
      const scrolls = (e) => /auto|scroll/.test(getComputedStyle(e).overflowX);
      const within = (e) => e && (scrolls(e) || within(e.parentElement));
      for (const e of document.body.querySelectorAll("*")) {
        const box = e.getBoundingClientRect();
        if (!box.width || e.closest(".skip")) continue;
        if ((box.right > wide + 1 || box.left < -1) && !within(e.parentElement)) wrong.push(`beyond: ${name(e)}`);
        if (e.scrollWidth <= e.clientWidth + 1 || !e.clientWidth) continue;
        if (scrolls(e) && e.tabIndex < 0) wrong.push(`scrolls, takes no focus: ${name(e)}`);
        if (/hidden|clip/.test(getComputedStyle(e).overflowX)) wrong.push(`cut off: ${name(e)}`);
        const spills = (part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth;
        if (!scrolls(e) && ![...e.children].some(spills)) wrong.push(`spills over: ${name(e)}`);
      }
      return wrong;
    }"""
    return visit.ask(script % _NAME)


def links(visit: Visit) -> list[str]:
    """Links that leave the page or land nowhere, each of them followed."""
    script = """async () => {
      const wrong = [];
      const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
      ids.filter((id, place) => ids.indexOf(id) !== place).forEach((id) => wrong.push(`two of #${id}`));
      const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const seen = new Set();
      for (const link of document.querySelectorAll("a[href]")) {
        const address = link.getAttribute("href");
        if (seen.has(address)) continue;
        seen.add(address);
        const target = address.startsWith("#") && document.getElementById(decodeURIComponent(address.slice(1)));
        if (!target) { wrong.push(`lands nowhere: ${address}`); continue; }
        link.click();
        await drawn();
        const top = target.getBoundingClientRect().top;
        const atEnd = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
        if (location.hash !== address) wrong.push(`is not followed: ${address}`);
        if (top < -1 || top > (atEnd ? innerHeight : innerHeight / 4)) wrong.push(`${address} lands at ${top}`);
      }
      return wrong;
    }"""
    return visit.ask(script)


def printed(visit: Visit) -> list[str]:
    """Figures that a page break may cut, that are taller than a page, and what is wider than the paper."""
    wrong = []
    for width in (PRINTED_WIDTH, PRINTED_WIDTH - 80):
        visit.see(width, media="print")
        script = """([height, landscape]) => {
          %s
          const wrong = [];
          for (const figure of document.querySelectorAll("figure")) {
            const style = getComputedStyle(figure);
            if (!style.breakInside.startsWith("avoid")) wrong.push(`may be cut: ${name(figure)}`);
            if (figure.offsetHeight > height) wrong.push(`${figure.offsetHeight} pixels tall: ${name(figure)}`);
          }
          for (const e of document.body.querySelectorAll("*")) {
            if (e.closest("nav, .skip")) continue;
            const paper = e.closest(".landscape") ? landscape : innerWidth;
            const beyond = e.getBoundingClientRect().right - paper;
            if (beyond > 1) wrong.push(`${Math.round(beyond)} pixels beyond the paper: ${name(e)}`);
          }
          return wrong;
        }"""
        wrong += [f"{width} px: {what}" for what in visit.ask(script % _NAME, [PRINTED_HEIGHT, LANDSCAPE])]
    visit.see(1440)
    return wrong


def headed(visit: Visit) -> list[str]:
    """Printed pages on which a table to sort stands without its heading; the two are told apart by their colours."""
    colours = {"thead": (1, 2, 3), "tbody": (4, 5, 6)}
    inks = [f".sortable {part} * {{color: rgb{colour} !important}}" for part, colour in colours.items()]
    visit.page.add_style_tag(content="\n".join(inks))
    document = visit.page.pdf(format="A4", prefer_css_page_size=True)
    drawn = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", document, re.DOTALL):
        try:
            text = zlib.decompressobj().decompress(stream)
        except zlib.error:  # a picture, say
            continue
        inked = {tuple(round(255 * float(part)) for part in ink) for ink in re.findall(_INK, text)}
        drawn.append([colour in inked for colour in colours.values()])
    bodies = [heading for heading, body in drawn if body]
    return [] if all(bodies) else [f"{bodies.count(False)} of {len(bodies)} printed pages lack the heading"]


def axe(visit: Visit) -> list[str]:
    """Serious and critical findings of axe-core."""
    from axe_playwright_python.sync_playwright import Axe

    found: dict[str, Any] = Axe().run(visit.page, options={"resultTypes": ["violations"]}).response
    return [
        f"{finding['id']} ({finding['impact']}), {len(finding['nodes'])} times: {finding['nodes'][0]['html'][:160]}"
        for finding in found["violations"]
        if finding["impact"] in ("serious", "critical")
    ]
