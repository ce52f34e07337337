"""The layers and the import walls of the design."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from short_suite import thorough_tests

ROOT = Path(__file__).parents[1]


def imported(package: str) -> set[str]:
    """Files below bench/ that import ``package``, at any depth of the code."""
    return {file for file, packages in imports().items() if package in packages}


@cache
def imports() -> dict[str, set[str]]:
    """File below bench/ -> the packages that it imports."""
    found = dict[str, set[str]]()
    for path in (ROOT / "bench").rglob("*.py"):
        names = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.append(node.module)
        found[path.relative_to(ROOT).as_posix()] = {name.split(".")[0] for name in names}
    return found


def test_ray_stays_behind_its_wall() -> None:
    outside = {file for file in imported("ray") if not file.startswith("bench/compare/")}
    assert outside == {"bench/search/tune.py", "bench/cluster.py"}


def test_keras_tuner_stays_in_the_comparison() -> None:
    assert all(file.startswith("bench/compare/") for file in imported("keras_tuner"))


def test_tensorflow_itself_is_imported_in_one_module() -> None:
    outside = {file for file in imported("tensorflow") if not file.startswith("bench/compare/")}
    assert outside == {"bench/device.py"}


def test_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_training_library_is_loaded_by_the_report_or_by_a_run_that_begins() -> None:
    """The report needs none; a run, once all that it asks is possible and the libraries are told to be quiet."""
    loaded = "print(sorted({'tensorflow', 'keras', 'ray', 'keras_tuner'} & set(sys.modules)))"
    script = f"import sys, bench.report.html; {loaded}; import bench.run.pipeline; {loaded}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_nothing_that_others_may_have_written_is_unpickled() -> None:
    """The reader of images alone is: it goes to the decoding processes by a file in a folder of their own."""
    unpickled = re.compile(r"pickle\.loads?\b|read_pickle|joblib\.load\b|allow_pickle=True|Tuner\.restore|unsafe_load")
    found = {
        f"{path.relative_to(ROOT).as_posix()}: {match[0]}"
        for path in (ROOT / "bench").rglob("*.py")
        for match in unpickled.finditer(path.read_text(encoding="utf-8"))
    }
    assert found == {"bench/data/images/store.py: pickle.loads"}


def test_thorough_tests_are_there() -> None:
    named = thorough_tests()
    assert len(named) > 100
    for name in named:
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), name
