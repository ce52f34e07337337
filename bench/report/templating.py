"""Templates -> pages and sentences: what comes from the data is escaped, and a name that is not given is an error.

The prose of the report lives in ``templates/``: ``*.html.j2`` become HTML, ``*.txt.j2`` paragraphs of plain text, which
the console and Markdown use too, and are escaped where they are shown. Numbers and names are written by filters, which
are the functions of `bench.numbers` and of `names`; tables, pictures and lists by the macros of ``macros.html.j2``.
"""

import re
from collections.abc import Callable
from functools import cache
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context, LoopContext
from markupsafe import Markup

from bench import numbers
from bench.report import names
from bench.report.guard import guarded

TEMPLATES = Path(__file__).parent / "templates"

Values = dict[str, Any]
"""The context of a template, or a part of it: what the template uses, by name."""

_PROSE = re.compile(r"<(p|li)\b([^>]*)>(.*?)</\1>", re.DOTALL)


def filled(template: str, **context: Any) -> str:
    """The page that ``template`` and ``context`` make.

    Raises:
        jinja2.UndefinedError: if the template asks for a name that ``context`` lacks.
    """
    return environment(template).get_template(template).render(**context)


def section(template: str, **context: Any) -> Markup:
    """A part of a page; a paragraph or list item that takes several lines of the template becomes one line."""
    return _in_lines(filled(f"sections/{template}.html.j2", **context))


def macro(template: str, name: str, *values: Any) -> Markup:
    """The same, made by the macro ``name`` of the template."""
    template = f"sections/{template}.html.j2"
    return _in_lines(getattr(environment(template).get_template(template).module, name)(*values))


def _in_lines(html: str) -> Markup:
    return Markup(_PROSE.sub(lambda found: f"<{found[1]}{found[2]}>{one_line(found[3])}</{found[1]}>", html))


def paragraphs(template: str, **context: Any) -> list[str]:
    """The paragraphs of a template of plain text, each in one line."""
    return _split(filled(template, **context))


def sentence(template: str, **context: Any) -> str:
    """The paragraphs of a template of plain text as one; empty where it says nothing."""
    return " ".join(paragraphs(template, **context))


class Sentences:
    """The macros of a template of plain text, called by name.

    Args:
        template: its name.
        context: what all macros see.
    """

    def __init__(self, template: str, **context: Any) -> None:
        self._macros = environment(template).get_template(template).make_module(context)

    def __call__(self, name: str, *values: Any) -> str:
        """What the macro ``name`` says of ``values``, in one line."""
        return " ".join(self.each(name, *values))

    def each(self, name: str, *values: Any) -> list[str]:
        """The paragraphs of what it says, each in one line."""
        return _split(str(getattr(self._macros, name)(*values)))


def _split(text: str) -> list[str]:
    return [one_line(part) for part in re.split(r"\n\s*\n", text) if part.strip()]


def one_line(text: str) -> str:
    """``text`` without its line breaks, as plain text where it was markup; no-break spaces stay."""
    plain = text.unescape() if isinstance(text, Markup) else text
    return re.sub(r"[ \n\t]+", " ", plain).strip()


def part(title: str, caller: Callable[[], Markup]) -> Markup:
    """A heading and what a template puts below it, or one sentence with the reason where a damaged file defeats it.

    Nothing, not even the heading, where it puts nothing.
    """
    said = Markup('<p class="missing">This part could not be written: {}</p>\n')
    content = guarded(caller, said.format, f"The part {title!r} could not be written.")
    return Markup("<h3>{}</h3>\n").format(title) + content if content.strip() else Markup("")


def demoted(html: Markup) -> Markup:
    """``html`` with its headings one level lower, for a section that stands under another."""
    return Markup(re.sub(r"(</?)h3>", r"\1h4>", str(html)))  # a Markup would escape what it joins


def comma(loop: LoopContext) -> str:
    """What stands before an item of a list in prose: ``a, b and c``."""
    return "" if loop.first else " and " if loop.last else ", "


def environment(template: str) -> Environment:
    """That of templates which end as ``template`` does: ``.html.j2``, ``.txt.j2`` or ``.md.j2``."""
    return _environment(template.split(".")[-2])


@cache
def _environment(kind: str) -> Environment:
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=kind == "html",
        finalize=_in_one_line if kind == "txt" else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=kind == "md",
    )
    found.filters |= (
        _functions(numbers) | _functions(names) | {"line": one_line, "records": _records, "demoted": demoted}
    )
    found.filters["backbone"] = _title
    found.tests["present"] = numbers.present
    found.globals |= _functions(numbers) | {"part": part, "comma": comma}
    if kind == "html":
        macros = vars(found.get_template("macros.html.j2").module)
        found.globals |= {name: macro for name, macro in macros.items() if not name.startswith("_")}
    return found


def _functions(module: ModuleType) -> dict[str, Callable[..., str]]:
    """The public functions of ``module``."""
    known = vars(module).items()
    return {name: one for name, one in known if isfunction(one) and one.__module__ == module.__name__}


@pass_context
def _title(context: Context, name: Any) -> str:
    """The title of a model, by the ``titles`` of its run that the template was given."""
    return names.model(name, context["titles"])


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _in_one_line(value: Any) -> Any:
    """Line breaks in what comes from the data end no paragraph of plain text."""
    return re.sub(r"[ \t]*\n\s*", " ", value) if isinstance(value, str) else value
