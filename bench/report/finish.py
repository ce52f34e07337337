"""The last touch to a page: links at headings, first uses of terms, names that turn the reading round, apostrophes.

These need the whole page: an address must be unique, a use the first, and a name may stand in any sentence.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from markupsafe import escape

_HEADING = re.compile(r'<section id="(?P<section>[^"]+)"[^>]*>|<(?P<tag>h[234])>(?P<text>.*?)</(?P=tag)>', re.DOTALL)
_TAG = re.compile(r"(<[^<>]+>)")
_PROSE = ("p", "li", "figcaption")
_VERBATIM = ("script", "style", "code", "pre")
_NAMING = ("td", "th", "details")
"""Elements that may hold nothing but a name from the data."""
_APOSTROPHE = re.compile(r"(?<=\w)(?:'|&#39;)(?=\w)|(?<=s)(?:'|&#39;)(?=\s)")
_PER_CENT = re.compile(r"(?<=\d) %")
_VOID = ("meta", "link", "img", "input", "br", "hr")
_TURNING = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefe"
    "\U00010800-\U00010fff\U0001e800-\U0001eeff]"
)
"""Control characters, letters written from right to left, and marks that set the direction of writing."""


def finished(html: str, names: Iterable[str] = (), terms: Mapping[str, str] | None = None) -> str:
    """A page as it is written.

    Args:
        html: the page as its template made it.
        names: what comes from the data and may be written from right to left.
        terms: term -> address of its explanation on the page.
    """
    head, opening, body = html.partition("<body>")
    body, script, tail = body.rpartition("<script>")
    if not (opening and script):
        return html
    body = typeset(isolated(explained(landed(anchored(body)), terms or {}), names))
    return f"{head}{opening}{body}{script}{tail}"


def anchored(html: str) -> str:
    """``html`` with an address at each heading of its sections, and a link to it; a section's own leads its heading."""
    taken: set[str] = set(re.findall(r'\bid="([^"]+)"', html))
    section, unused = "", ""

    def addressed(found: re.Match[str]) -> str:
        nonlocal section, unused
        if found["section"]:
            section = unused = found["section"]
            return found[0]
        tag, text = found["tag"], found["text"]
        plain = re.sub(r"<[^>]+>", "", text)
        address, own = unused, ""
        if not address:
            slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "part"
            address = _free(f"{section}-{slug}", taken)
            own = f' id="{address}"'
        unused = ""
        return f'<{tag}{own}>{text}<a class="anchor" href="#{address}" aria-label="Link to “{plain}”"></a></{tag}>'

    return _HEADING.sub(addressed, html)


def landed(html: str) -> str:
    """``html`` whose links to a part that is not there lead to its section, or to the summary."""
    there = set(re.findall(r'\bid="([^"]+)"', html))

    def leading(found: re.Match[str]) -> str:
        near = [found[1], found[1].partition("-")[0], "summary"]
        return f'<a href="#{next((one for one in near if one in there), near[0])}"'

    return re.sub(r'<a href="#([^"]+)"', leading, html)


def _free(address: str, taken: set[str]) -> str:
    """``address``, with a number where it is ``taken`` already; taken from now on."""
    found, number = address, 2
    while found in taken:
        found, number = f"{address}-{number}", number + 1
    taken.add(found)
    return found


def isolated(html: str, names: Iterable[str] = ()) -> str:
    """``html`` with each of the ``names`` that hold turning characters, and any other word that does, in ``<bdi>``."""
    if not _TURNING.search(html):
        return html
    turning = sorted({str(escape(name)) for name in names if _TURNING.search(name)}, key=len, reverse=True)
    words = re.compile("|".join([*map(re.escape, turning), rf"[^\s<>]*{_TURNING.pattern}[^\s<>]*"]))

    def told(text: str, within: list[str]) -> str:
        if within and within[-1] in ("script", "style"):  # nothing of it is read, and a word there may have no end
            return text
        return words.sub(lambda found: f"<bdi>{found[0]}</bdi>", text)

    return _in_texts(html, told)


def explained(html: str, terms: Mapping[str, str]) -> str:
    """``html`` whose prose leads from the first use of each of the ``terms`` to its address."""
    left = dict(terms)

    def linked(text: str, within: list[str]) -> str:
        if not within or within[-1] not in _PROSE or "main" not in within or not left:
            return text
        for term, address in list(left.items()):
            found = re.search(rf"(?<![\w-]){re.escape(term)}(?![\w-])", text)
            if found and "<" not in text[: found.start()]:
                del left[term]
                link = f'<a class="term" href="#{address}">{found[0]}</a>'
                rest = linked(text[found.end() :], within)
                return f"{linked(text[: found.start()], within)}{link}{rest}"
        return text

    return _in_texts(html, linked)


def typeset(html: str) -> str:
    """``html`` whose prose has curly apostrophes, and no line break before a per cent sign."""

    def told(text: str, within: list[str]) -> str:
        if not set(_VERBATIM).isdisjoint(within):
            return text
        text = _PER_CENT.sub("\N{NO-BREAK SPACE}%", text)
        return text if not set(_NAMING).isdisjoint(within) else _APOSTROPHE.sub("’", text)

    return _in_texts(html, told)


def _in_texts(html: str, change: Callable[[str, list[str]], str]) -> str:
    """``html`` with ``change`` made to each of its texts, given the elements that it stands in."""
    within: list[str] = []
    made = []
    for part in _TAG.split(html):
        if part.startswith("</"):
            name = part[2:-1].strip().lower()
            if name in within:
                del within[len(within) - 1 - within[::-1].index(name) :]
        elif part.startswith("<"):
            name = re.match(r"<!?([\w-]*)", part)[1].lower()  # type: ignore[index]
            if name and not part.startswith("<!") and name not in _VOID:
                within.append(name)
        elif part.strip():
            part = change(part, within)
        made.append(part)
    return "".join(made)
