"""constraints.txt names a version of every dependency, and none that pyproject.toml refuses."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if "==" in line)}


def required() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    parts = ("dicom", "dicom-sr", "export", "test", "dev")
    lines = [*project["dependencies"], *(line for part in parts for line in extras[part])]
    return [Requirement(line) for line in lines if not line.startswith("medical-transfer-bench")]


def test_every_dependency_is_pinned_to_a_version_that_is_accepted() -> None:
    versions, wanted = pinned(), required()
    assert len(wanted) > 30
    wrong = [str(one) for one in wanted if versions.get(canonicalize_name(one.name)) not in one.specifier]
    assert wrong == []


def test_every_floor_is_given() -> None:
    bare = [one.name for one in required() if not one.specifier]
    assert bare == ["pandas-stubs", "types-psutil", "types-PyYAML"]  # stubs follow what they describe


def test_the_commands_of_readme_and_contributing_install_these_versions() -> None:
    for file in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if "python3 -m venv" in line]
        assert lines and all(re.search(r"pip install (-q )?-c constraints\.txt", line) for line in lines), file
