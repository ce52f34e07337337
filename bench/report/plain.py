"""Templates of plain text, such as sentences and Markdown: what they say is escaped where it is shown."""

import re
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.runtime import LoopContext

from bench import numbers
from bench.report import names
from bench.report.templating import TEMPLATES

_NUMBERS = ("text", "number", "count", "counted", "score", "signed", "percent", "level", "ratio", "short")
_WORDS = ("seconds", "capital", "moment")


class Sentences:
    """The macros of a template of plain text, called by name.

    Args:
        template: its name.
        context: what all macros see.
    """

    def __init__(self, template: str, **context: Any) -> None:
        self._macros = plain().get_template(template).make_module(context)

    def __call__(self, name: str, *values: Any) -> str:
        """What the macro ``name`` says of ``values``, in one line."""
        return " ".join(self.each(name, *values))

    def each(self, name: str, *values: Any) -> list[str]:
        """The paragraphs of what it says, each in one line; no-break spaces stay."""
        text = str(getattr(self._macros, name)(*values))
        parts = (re.sub(r"[ \n]+", " ", part).strip() for part in re.split(r"\n\s*\n", text))
        return [part for part in parts if part]


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
    environment.filters |= {name: getattr(numbers, name) for name in (*_NUMBERS, *_WORDS)}
    environment.filters |= {name: getattr(names, name) for name in ("backbone", "joined", "metric_words", "parameter")}
    environment.globals |= {name: getattr(numbers, name) for name in ("interval", "with_interval", "with_spread")}
    environment.globals["comma"] = comma
    return environment


def comma(loop: LoopContext) -> str:
    """What stands before an item of a list in prose: ``a, b and c``."""
    return "" if loop.first else " and " if loop.last else ", "
