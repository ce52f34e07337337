"""The terms that a page uses, explained once, and the addresses to which their first uses lead."""

import re
from functools import cache

import yaml

from bench.report.templating import TEMPLATES

TITLE = "Glossary"


@cache
def explanations() -> dict[str, str]:
    """Every term and what it means."""
    found = yaml.safe_load((TEMPLATES / "glossary.yaml").read_text(encoding="utf-8"))
    return {str(term): " ".join(str(text).split()) for term, text in found.items()}


def used(html: str) -> dict[str, str]:
    """The terms that stand in the texts of ``html`` -> what they mean, in alphabetical order."""
    text = re.sub(r"<[^<>]+>", " ", html)
    found = {
        term: why for term, why in explanations().items() if re.search(rf"(?<![\w-]){re.escape(term)}(?![\w-])", text)
    }
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def address(term: str) -> str:
    """Where the page explains ``term``."""
    return f"term-{re.sub(r'[^a-z0-9]+', '-', term.lower())}"
