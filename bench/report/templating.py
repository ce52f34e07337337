"""Templates -> pages and sentences: what comes from the data is escaped, and a name that is not given is an error.

The prose of the report lives in ``templates/``: ``*.html.j2`` become HTML, ``*.txt.j2`` paragraphs of plain text, which
the console and Markdown use too. Numbers and names are written by filters, which are the functions of `bench.numbers`
and of `names`; tables, pictures and lists by the macros of ``macros.html.j2``.
"""

import logging
import re
from collections.abc import Callable
from functools import cache
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_eval_context
from jinja2.nodes import EvalContext
from jinja2.runtime import LoopContext
from markupsafe import Markup

from bench import numbers
from bench.report import names

logger = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"

_PROSE = re.compile(r"<(p|li)\b([^>]*)>(.*?)</\1>", re.DOTALL)


def filled(template: str, **context: Any) -> str:
    """The page that ``template`` and ``context`` make.

    Raises:
        jinja2.UndefinedError: if the template asks for a name that ``context`` lacks.
    """
    return _environment().get_template(template).render(**context)


def section(template: str, **context: Any) -> Markup:
    """A part of a page; a paragraph or list item that takes several lines of the template becomes one line."""
    html = filled(f"sections/{template}.html.j2", **context)
    return Markup(_PROSE.sub(lambda found: f"<{found[1]}{found[2]}>{one_line(found[3])}</{found[1]}>", html))


def paragraphs(template: str, **context: Any) -> list[str]:
    """The paragraphs of a template of plain text, each in one line."""
    return [one_line(part) for part in re.split(r"\n\s*\n", filled(template, **context)) if part.strip()]


def sentence(template: str, **context: Any) -> str:
    """The only paragraph of a template of plain text; empty where it says nothing."""
    return " ".join(paragraphs(template, **context))


def one_line(text: str) -> str:
    """``text`` without its line breaks, as plain text where it was markup."""
    plain = text.unescape() if isinstance(text, Markup) else text
    return re.sub(r"[ \n\t]+", " ", plain).strip()


def part(title: str, caller: Callable[[], Markup]) -> Markup:
    """A heading and what a template puts below it, or one sentence with the reason where a damaged file defeats it.

    Nothing, not even the heading, where it puts nothing.
    """
    try:
        content = caller()
    except Exception as error:  # one damaged file must not cost the reader the rest
        logger.warning("The part %r could not be written.", title, exc_info=True)
        said = '<p class="missing">This part could not be written: {}: {}</p>\n'
        content = Markup(said).format(type(error).__name__, error)
    return Markup("<h3>{}</h3>\n").format(title) + content if content.strip() else Markup("")


def comma(loop: LoopContext) -> str:
    """What stands before an item of a list in prose: ``a, b and c``."""
    return "" if loop.first else " and " if loop.last else ", "


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


@pass_eval_context
def _in_one_line(context: EvalContext, value: Any) -> Any:
    """Line breaks in what comes from the data end no paragraph of plain text."""
    return re.sub(r"[ \t]*\n\s*", " ", value) if isinstance(value, str) and not context.autoescape else value


def _functions(module: ModuleType) -> dict[str, Callable[..., str]]:
    """The public functions of ``module``."""
    known = vars(module).items()
    return {name: one for name, one in known if isfunction(one) and one.__module__ == module.__name__}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or not name.endswith(".txt.j2"),
        finalize=_in_one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= _functions(numbers) | _functions(names) | {"line": one_line, "records": _records}
    environment.tests["present"] = numbers.present
    environment.globals |= _functions(numbers) | {"part": part, "comma": comma}
    macros = environment.get_template("macros.html.j2").module
    environment.globals |= {name: macro for name, macro in vars(macros).items() if not name.startswith("_")}
    return environment
