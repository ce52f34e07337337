"""README, --help and CI tell the same story."""

import re
from pathlib import Path

import pytest

from bench.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command_lines() -> list[str]:
    return [line.strip() for line in README.splitlines() if line.startswith("    python3 -m venv")]


def test_ci_runs_the_readmes_test_command() -> None:
    _, tests = command_lines()
    assert tests in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_readme_uses_flags_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    lines = [line for line in README.splitlines() if "run_bench.py" in line and line.startswith("    ")]
    used = {flag for line in lines for flag in re.findall(r" (--[a-z][a-z-]*)", line.split("run_bench.py")[1])}
    assert {"--budget", "--data", "--resume", "--address"} <= used
    assert used <= known


def test_the_model_snippet_of_the_readme_is_python_of_five_lines_after_its_imports() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    compile(snippet, "README.md", "exec")
    body = [line for line in snippet.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(body) <= 5
