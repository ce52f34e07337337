"""Templates of plain text, such as sentences and Markdown: what they say is escaped where it is shown."""

import re
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.runtime import LoopContext

from bench import numbers
from bench.report import names
from bench.report.templating import TEMPLATES

_SHOWN = ("text", "count", "counted", "score", "signed", "percent", "level", "ratio", "short", "capital", "moment")


@cache
def plain() -> Environment:
    """The templates; numbers and names are written by filters, which are functions of `bench.numbers` and `names`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {name: getattr(numbers, name) for name in _SHOWN}
    environment.filters |= {name: getattr(names, name) for name in ("backbone", "joined", "parameter")}
    environment.globals["comma"] = comma
    return environment


def comma(loop: LoopContext) -> str:
    """What stands before an item of a list in prose: ``a, b and c``."""
    return "" if loop.first else " and " if loop.last else ", "


def paragraphs(text: str) -> list[str]:
    """The paragraphs of ``text``, each in one line; no-break spaces stay."""
    parts = (re.sub(r"[ \n]+", " ", part).strip() for part in re.split(r"\n\s*\n", text))
    return [part for part in parts if part]
