"""Carries out the diffs that CONTRIBUTING.md shows, in a copy of the package, and runs checks there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def diff_of(section: str) -> str:
    """The diff under a heading of CONTRIBUTING.md, which is the only place where it stands."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    own = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(r"^```diff\n(.*?)^```$", own, re.MULTILINE | re.DOTALL)
    assert found, f"{section} shows no diff"
    return found[1]


def apply(diff: str, root: Path) -> None:
    """Apply a unified diff below ``root``; a hunk is found by its lines, which must occur exactly once."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        names, *hunks = re.split(r"^@@.*\n", part, flags=re.MULTILINE)
        file = root / names.splitlines()[1].removeprefix("+++ b/")
        text = file.read_text(encoding="utf-8")
        for hunk in hunks:
            lines = hunk.splitlines()
            before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
            after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
            assert text.count(before) == 1, f"{file.name} has these lines {text.count(before)} times:\n{before}"
            text = text.replace(before, after)
        file.write_text(text, encoding="utf-8")


def with_diff(section: str, folder: Path) -> Path:
    """A copy of the package in ``folder`` with the diff of a section of CONTRIBUTING.md carried out."""
    for name in ("bench", "search_spaces"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    apply(diff_of(section), folder)
    return folder


def environment(copy: Path) -> dict[str, str]:
    """For a process that takes the package from ``copy``, and keeps what it has compiled of it for the next."""
    left_out = ("PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in left_out} | {"PYTHONPATH": str(copy)}


def run_checks(copy: Path, checks: Path, *arguments: str, least: int) -> None:
    """Run the tests in ``checks`` by the package in ``copy``; at least so many must be there, and all must pass."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(checks), *arguments],
        cwd=copy,  # python -m looks for modules there first
        env=environment(copy),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= least, done.stdout
