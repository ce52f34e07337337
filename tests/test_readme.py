"""README, docs, --help and CI tell the same story: commands, flags and links lead somewhere, nothing stands twice."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from bench import __version__
from bench.cli import main

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "reports/README.md"])
DOCS = [page for page in PAGES if page.name not in ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE.md", "model_card.md")]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SENTENCE = 60
"""Characters from which on two equal sentences say a fact twice."""


def command_lines() -> list[str]:
    return [line.strip() for line in README.splitlines() if line.startswith("    python3 -m venv")]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_ci_runs_the_readmes_test_command() -> None:
    demo, tests = command_lines()
    assert tests in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert demo.endswith("run_bench.py --budget 50")


def test_the_readme_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) < 120
    contents = re.findall(r"^- \[(.*)\]\(#", README, re.MULTILINE)
    assert contents == re.findall(r"^## (.*)", README, re.MULTILINE)
    assert "    git clone " in README


# Links


def text_of(page: Path) -> str:
    """A page without its blocks and spans of code, in which nothing is a link."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*|(?<!\[)`[^`\n]*`(?!\])", "", text, flags=re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head) for head in heads]
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in plain}


def dead_links(page: Path) -> list[str]:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        if not other.exists() or (anchor and other.suffix == ".md" and anchor not in anchors(other)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What `--data` takes\n[a](#what---data-takes) [b](#none) [c](no.md) [d](page.md#no) `[e](x)`\n")
    assert dead_links(page) == ["#none", "no.md", "page.md#no"]


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        for target in re.findall(r"\]\(([^)\s#]+\.md)", text_of(page)):
            other = (page.parent / target).resolve()
            if other not in reached:
                reached.add(other)
                left.append(other)
    assert [
        named(page) for page in ROOT.glob("docs/**/*.md") if page not in reached and page.name != "model_card.md"
    ] == []


# Facts, commands, flags


def sentences(page: Path) -> set[str]:
    found = re.split(r"(?<=[.:;])\s+|\n\n|\n- |\n\d+\. |\|", page.read_text(encoding="utf-8"))
    return {plain for one in found if len(plain := " ".join(one.split())) >= SENTENCE}


def test_no_fact_is_told_twice() -> None:
    seen, twice = dict[str, Path](), []
    for page in DOCS:
        for sentence in sentences(page):
            if sentence in seen:
                twice.append((named(seen[sentence]), named(page), sentence))
            seen[sentence] = page
    assert twice == []


@cache
def known_flags(command: str) -> set[str]:
    from contextlib import redirect_stdout
    from io import StringIO

    told = StringIO()
    with redirect_stdout(told), pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    return set(re.findall(r"--[a-z-]+", told.getvalue()))


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """The subcommands that a page shows, each with its flags."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    shown = [*re.findall(r"^    (.*)", text, re.MULTILINE), *re.findall(r"`([^`\n]+)`", text)]
    found = []
    for line in shown:
        for start, rest in re.findall(r"(run_bench\.py|python -m bench [a-z]+)([^|&>#]*)", line):
            command = "run" if start == "run_bench.py" else start.split()[-1]
            found.append((command, re.findall(r"(?<!\S)(--[a-z][a-z-]*)", rest)))
    return found


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_pages_use_commands_and_flags_that_exist(page: Path) -> None:
    for command, flags in commands(page):
        assert set(flags) <= known_flags(command), f"{command} {flags}"


def test_the_commands_of_the_readme_are_looked_at() -> None:
    found = commands(ROOT / "README.md")
    assert {"run", "audit", "predict", "open"} <= {command for command, _ in found}
    assert {"--budget", "--data", "--repeats", "--name"} <= {flag for _, flags in found for flag in flags}


def test_the_model_snippet_is_python_of_five_lines_after_its_imports() -> None:
    snippet, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.DOTALL)
    compile(snippet, "docs/api.md", "exec")
    body = [line for line in snippet.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(body) <= 5


def test_the_citation_is_valid_and_of_this_version() -> None:
    """By what the schema 1.2.0 asks for."""
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["cff-version"] == "1.2.0" and found["version"] == __version__ and found["type"] == "software"
    assert all(isinstance(found[key], str) for key in ("message", "title", "abstract", "license"))
    assert found["authors"] and all(set(one) == {"name"} for one in found["authors"])
    assert set(found) <= {
        "cff-version",
        "message",
        "title",
        "abstract",
        "type",
        "authors",
        "version",
        "license",
        "keywords",
    }
