"""Templates -> pages: everything that comes from the data is escaped, and a name that is not given is an error."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


def filled(template: str, **context: Any) -> str:
    """The page that ``template`` and ``context`` make.

    Raises:
        jinja2.UndefinedError: if the template asks for a name that ``context`` lacks.
    """
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
