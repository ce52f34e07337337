"""The report as a browser would see it, for tests."""

from html.parser import HTMLParser

from bench.report.html import render
from bench.run.folder import RunDir


class Outline(HTMLParser):
    """What a browser would see: tags with their attributes, and the text outside style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in ("style", "script")
        self.text += " " if tag in ("td", "th") else ""

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def outline(run: RunDir) -> Outline:
    """The report of ``run``, rendered."""
    return Outline(render(run).read_text(encoding="utf-8"))
