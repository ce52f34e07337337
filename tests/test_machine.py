"""What shells, locales, schedulers and working folders do to the command: it works, or says why in one sentence."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import toys
from PIL import Image

from bench import cli, device
from bench import cluster as workers
from bench.data.audit import audit
from bench.errors import ConfigError
from bench.invocation import program, resume, typed
from bench.run.folder import LOCK, RunDir
from bench.run.request import go_on
from bench.search.searcher import study_url

ROOT = Path(__file__).parents[1]
STAND_IN = "raise RuntimeError('this is not the module that was meant')\n"


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that finds this package, with changes."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "KERAS", "MPL"))}
    return {**plain, "PYTHONPATH": str(ROOT), **changes}


def started(
    *arguments: str, cwd: Path, script: str = "-m bench", streams: str = "", **changes: str
) -> subprocess.CompletedProcess[bytes]:
    """What a shell makes of the command with its ``streams`` redirected."""
    line = f'exec "$0" {script} "$@" {streams}' if "|" not in streams else f'"$0" {script} "$@" {streams}'
    command = ["bash", "-c", line, sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(**changes), capture_output=True, check=False, timeout=300)


# Streams


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", b"0.95 +/- 0.01 x 2... \\u6a5f \\udce4\n"),
        ("latin-1", b"0.95 \xb1 0.01 \xd7 2... \\u6a5f \\udce4\n"),
        ("cp1252", b"0.95 \xb1 0.01 \xd7 2\x85 \\u6a5f \\udce4\n"),
        ("utf-8", "0.95 ± 0.01 × 2… 機 \\udce4\n".encode()),
    ],
)
def test_what_a_stream_cannot_show_is_written_plainly(tmp_path: Path, encoding: str, written: bytes) -> None:
    code = "from bench.startup import forgiving_streams as f; f(); print('0.95 ± 0.01 × 2… 機 \\udce4')"
    done = started("-c", code, cwd=tmp_path, script="", PYTHONIOENCODING=encoding)
    assert (done.stdout, done.stderr, done.returncode) == (written, b"", 0)


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "| head -1", "2>&1 | true", "> /dev/null"])
def test_closed_streams_end_nothing(tmp_path: Path, streams: str) -> None:
    """... and no file of ours becomes a standard stream, into which any library may write."""
    code = (
        "from bench.startup import forgiving_streams as f; f()\n"
        "import sys; kept = open('kept', 'w'); assert kept.fileno() > 2\n"
        "print('line\\n' * 100_000); print('told', file=sys.stderr); sys.stdin.read(); kept.write('whole')"
    )
    done = started("-c", code, cwd=tmp_path, script="", streams=streams)
    assert done.returncode == 0
    assert b"Error" not in done.stderr
    assert (tmp_path / "kept").read_text() == "whole"


def test_a_terminal_that_was_closed_ends_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; terminal, ours = os.openpty(); os.dup2(ours, 1); os.close(ours); os.close(terminal)\n"
        "from bench.startup import forgiving_streams as f, lost; f(); print('told'); assert lost() == ''"
    )
    done = started("-c", code, cwd=tmp_path, script="")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_manifest_for_which_there_is_no_room_is_no_success(data: Path, tmp_path: Path) -> None:
    done = started("manifest", str(data), cwd=tmp_path, streams="> /dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith(b"error: standard output cannot be written: No space left on device.\n")
    assert b"Traceback" not in done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes, one of which is not ASCII."""
    root = toys.write_folder(tmp_path_factory.mktemp("machine") / "scans", {"train": 24, "val": 16, "test": 8})
    for split in root.iterdir():
        (split / "NORMAL").rename(split / "Röntgen")
    return root


@pytest.mark.parametrize(
    ("streams", "changes"),
    [
        ("", {"PYTHONIOENCODING": "ascii"}),
        ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (">&- 2>&- <&-", {"PYTHONDONTWRITEBYTECODE": "1"}),
        ("| head -1", {"PYTHONOPTIMIZE": "1", "HOME": "/dev/null"}),
    ],
    ids=["ascii", "C locale", "closed", "head"],
)
def test_an_audit_under_any_stream(data: Path, tmp_path: Path, streams: str, changes: dict[str, str]) -> None:
    found = tmp_path / "audit.json"
    flags = ["audit", str(data), "--cache", str(data.parent / "cache"), "--json", str(found)]
    done = started(*flags, cwd=tmp_path, streams=streams, **changes)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    assert json.loads(found.read_text(encoding="utf-8"))["classes"] == ["PNEUMONIA", "Röntgen"]
    if streams == "":
        assert b"R\\xf6ntgen 24" in done.stdout


def test_help_and_errors_in_ascii(tmp_path: Path) -> None:
    done = started("audit", str(tmp_path / "Röntgen"), cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: There is no folder")
    assert b"R\\xf6ntgen" in done.stderr
    assert started("run", "--help", cwd=tmp_path, PYTHONIOENCODING="ascii").returncode == 0


# Modules


STAND_INS = ("keras", "tensorflow", "ray", "numpy", "random", "argparse", "pathlib", "platformdirs", "typing")


@pytest.mark.parametrize("script", ["-m bench", str(ROOT / "run_bench.py")])
def test_files_of_the_working_folder_are_no_modules(tmp_path: Path, script: str) -> None:
    for name in STAND_INS:
        (tmp_path / f"{name}.py").write_text(STAND_IN)
    (tmp_path / "bench").mkdir()
    done = started("--help", cwd=tmp_path, script=script)
    assert done.returncode == 0, done.stderr.decode()
    assert b"usage" in done.stdout


def test_the_working_folder_in_the_search_path_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text(STAND_IN)
    code = (
        "from bench.startup import prepare; prepare(); import importlib.util as u; print(u.find_spec('keras').origin)"
    )
    for path in (f"{ROOT}:.", f"{ROOT}:", f"{tmp_path}:{ROOT}"):
        done = started("-c", code, cwd=tmp_path, script="", PYTHONPATH=path)
        assert done.stdout.decode().strip().endswith("keras/__init__.py"), done.stderr.decode()
        inner = f"{code}; import subprocess, sys; subprocess.run([sys.executable, '-c', 'import sys; print(sys.path)'])"
        done = started("-c", inner, cwd=tmp_path, script="", PYTHONPATH=path)
        assert str(tmp_path) not in done.stdout.decode(), "nor in a process that is started from there"


@pytest.mark.parametrize("name", ["keras.py", "random.py", "numpy"])
def test_a_stand_in_that_cannot_be_passed_over_is_named(tmp_path: Path, name: str) -> None:
    """Beside a package that is not installed: workers look there for the package."""
    (tmp_path / "bench").symlink_to(ROOT / "bench")
    shutil.copy(ROOT / "run_bench.py", tmp_path)
    if name.endswith(".py"):
        (tmp_path / name).write_text(STAND_IN)
    else:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(STAND_IN)
    done = started("--help", cwd=tmp_path, script="run_bench.py", PYTHONPATH="")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        f"error: {tmp_path / name} stands in for the module {name.removesuffix('.py')!r}, which is needed here; "
        "rename it."
    ]


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    line = f"cd gone && rmdir ../gone && exec {sys.executable} -m bench --version"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: The working folder has been removed")


# Settings of the libraries


def test_keras_is_itself_whatever_its_settings_say(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(
        '{"backend": "torch", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-3}'
    )
    code = (
        "from bench.device import plain_keras; keras = plain_keras()\n"
        "print(keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format(), "
        "keras.config.epsilon(), keras.layers.Dense(1).dtype_policy.name)"
    )
    done = started("-c", code, cwd=tmp_path, script="", KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path))
    assert done.stdout.decode().split() == ["tensorflow", "float32", "channels_last", "1e-07", "float32"]


def test_a_report_under_any_plotting_backend_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "report")
    from report_run import write_run

    run = write_run(tmp_path / "reports" / "xray", trials=6)
    changes = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "HOME": "/proc", "PYTHONIOENCODING": "ascii"}
    done = started("report", "xray", cwd=tmp_path, **changes)
    assert (done.returncode, done.stderr) == (0, b"")
    assert run.report.exists()
    assert any(run.figures.iterdir())


def test_what_the_machine_forbids_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def refused(options: Any) -> int:
        raise PermissionError(13, "Permission denied", "/locked/report.html")

    monkeypatch.setattr("bench.report.command.report", refused)
    assert cli.main(["report", "xray"]) == 1
    assert capsys.readouterr().err == "error: /locked/report.html: Permission denied.\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("home", [None, "locked"])
def test_without_a_home_folder_another_cache_is_asked_for(data: Path, tmp_path: Path, home: str | None) -> None:
    (tmp_path / "locked").mkdir(mode=0o700)
    code = (
        # imported before: Python may lie in root's home
        "import os, sys; from bench import cli; from bench.run import pipeline; sys.stderr.flush()\n"
        "os.setgid(12345); os.setuid(12345); importlib = __import__('importlib')\n"
        f"os.environ.pop('HOME', None); home = {str(tmp_path / home) if home else None!r}\n"
        "if home: os.environ['HOME'] = home\n"
        "importlib.reload(cli); sys.exit(cli.main(['audit', sys.argv[1]]))"
    )
    done = started("-c", code, str(data), cwd=tmp_path, script="")
    assert done.returncode == 2, done.stderr.decode()[-1500:]
    assert len(done.stderr.splitlines()) == 1, done.stderr.decode()
    assert done.stderr.startswith(b"error: ")
    assert b"--cache" in done.stderr


# Ray's folder, cores and memory


def test_ray_gets_a_folder_with_a_short_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long, short = tmp_path / ("a" * 100), Path("/tmp") / f"b{os.getpid()}"
    long.mkdir()
    short.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    try:
        over = f"/{'a' * 300}"  # of which the system does not even say whether it is there
        for given, folder in ((short, short), (long, "/tmp"), (over, "/tmp"), ("/no/such/place", "/tmp"), ("", "/tmp")):
            monkeypatch.setenv("TMPDIR", str(given))
            found = workers.session_folder()
            assert found == str(folder)
            assert (
                len(f"{found}/{workers.SESSION_NAME}/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
                <= 107
            )
    finally:
        short.rmdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigError, match="RAY_TMPDIR"):
        workers.session_folder()


@pytest.mark.parametrize("auto", [False, True])
def test_a_cluster_that_is_gone_is_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch, auto: bool) -> None:
    import socket
    import time

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", gone if auto else "127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(ConfigError, match=rf"There is no Ray cluster at .*{gone}.*'ray start --head'"):
        workers.start(address="auto" if auto else gone)
    assert time.monotonic() - began < 30


def test_ray_that_does_not_start_here_is_no_missing_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(**arguments: object) -> None:
        raise ValueError("too little shared memory")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigError, match=r"^Ray cannot be started on this machine \(too little shared memory\)\.$"):
        workers.start()


def test_cores_are_those_that_the_scheduler_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    import joblib

    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    assert device.cpu_cores() == 8
    for per_task, on_node, cores in (("4", "16", 4), ("", "2", 2), ("32", "", 8), ("many", "2", 2), ("0", "", 8)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", per_task)
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", on_node)
        assert device.cpu_cores() == cores


@pytest.mark.parametrize(("limit", "bytes_"), [("1073741824\n", 2**30), ("max\n", None)])
def test_memory_is_what_the_control_group_allows(
    monkeypatch: pytest.MonkeyPatch, limit: str, bytes_: int | None
) -> None:
    import psutil

    monkeypatch.setattr(Path, "read_text", lambda self, encoding: limit)
    assert device.memory_bytes() == (bytes_ or psutil.virtual_memory().total)


# One run, one process


HOLDER = """
import signal
import sys

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests
from bench import cli
from bench import cluster as workers
from bench.errors import ConfigError

def start(*given):
    print("held", flush=True)
    sys.stdin.read()
    raise ConfigError("let go")

workers.start = start
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def start(data: Path, tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts a run called xray in a process of its own that comes as far as Ray and then waits for its stdin."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*more: str, resume: bool = False) -> "subprocess.Popen[str]":
        new = ["--data", str(data), "--name", "xray", "--weights", "random", "--image-size", "96"]
        flags = ["--resume", "xray"] if resume else [*new, "--cache", str(tmp_path / "cache"), *more]
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", HOLDER, "run", *flags]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def held(process: "subprocess.Popen[str]") -> bool:
    assert process.stdout is not None
    return any(line == "held\n" for line in process.stdout)  # what is said of the images comes before


def test_of_two_starts_under_one_name_the_second_is_refused(
    start: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    first = start()
    assert held(first)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "reports").rglob("*")}
    second = start()
    out, error = second.communicate(timeout=60)
    assert (second.returncode, out) == (2, "")
    assert error == (
        f"error: Run 'xray' is going on in another process ({first.pid} on {platform.node()}); wait for it or end it, "
        "or choose another --name.\n"
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "reports").rglob("*")} == before
    out, error = first.communicate(timeout=60)
    assert error == "error: let go\n"
    assert not (tmp_path / "reports").exists(), "nothing came of it, and nothing is left"


def test_what_a_killed_start_has_left_is_in_nobodys_way_and_of_two_at_the_same_moment_one_is_held(
    start: Callable[[], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    first = start()
    assert held(first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    left = {path.name for path in (tmp_path / "reports" / "xray").iterdir()}
    assert left == {LOCK, "request.json", "space.yaml"}
    both = {process: held(process) for process in [start(), start()]}
    assert sorted(both.values()) == [False, True]
    (winner,) = (process for process, is_held in both.items() if is_held)
    winner.communicate(timeout=60)
    assert not (tmp_path / "reports" / "xray").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_as_ctrl_c_does(
    start: Callable[[], "subprocess.Popen[str]"], tmp_path: Path, number: int
) -> None:
    """SIGHUP comes when a terminal is closed or a connection drops."""
    process = start()
    assert held(process)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    again = "python run_bench.py --resume xray"
    assert (process.returncode, error) == (130, f"\nInterrupted; no trial was finished. Continue by: {again}\n")


def test_a_run_that_ended_before_it_had_read_its_images_is_resumed_as_it_was_asked_for(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text("parameters:\n  unfreeze_depth: {choices: [0]}\n")
    process = start("--space", "mine.yaml", "--backbones", "vgg16", "--budget", "3", "--patience", "2")
    assert held(process)
    process.kill()
    process.communicate(timeout=60)
    space.unlink()  # the run has its own
    folder = tmp_path / "reports" / "xray"
    with pytest.raises(ConfigError, match="--epochs cannot be changed"):
        go_on("xray", {"epochs": 3}, folder.parent)
    for name in ("xray", folder):
        request = go_on(name, {"budget": "5"}, tmp_path / "reports")
        found = request.settings
        assert (found.budget, found.patience, found.image_size, found.weights) == (5, 2, 96, "random")
        assert (request.run.path, request.resumed, request.backbones[0].name) == (folder, False, "vgg16")
        assert request.space.depths == (0,)
        assert "--space mine.yaml" in request.command
    resumed = start(resume=True)
    assert held(resumed)
    _, error = resumed.communicate(timeout=60)
    assert error == "error: let go\n"
    assert RunDir(folder).request.exists(), "a resume that was refused leaves the run as it was"
    RunDir(folder).request.write_text("{")
    with pytest.raises(ConfigError, match="is damaged; begin it again by the same command"):
        go_on("xray", {}, tmp_path / "reports")


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nohup has it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        workers.interrupted_by_signals()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Names and places


@pytest.mark.parametrize("name", ["100% a?b=c#d", "with space Röntgen {e}", "a'b\"c%20d:e@f"])
def test_the_study_lies_in_the_run_folder_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    file = RunDir(tmp_path / name).study
    file.parent.mkdir()
    storage = optuna.storages.RDBStorage(study_url(file))
    optuna.create_study(study_name="one", storage=storage)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert optuna.get_all_study_names(storage) == ["one"]


@pytest.fixture
def shortcuts_sought_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the labels can be told from without the picture is sought once in a test, where nothing turns on it."""
    for name in ("shortcut", "border_shortcut"):
        monkeypatch.setattr(audit, name, _once(getattr(audit, name)))


def _once(find: Callable[..., Any]) -> Callable[..., Any]:
    found: list[Any] = []

    def remembered(*given: Any) -> Any:
        if not found:
            found.append(find(*given))
        return found[0]

    return remembered


@pytest.fixture
def begun(data: Path, tmp_path: Path, shortcuts_sought_once: None) -> Callable[..., RunDir]:
    """``begun()`` makes a run whose data are known; ``begun(data=..., ...)`` takes it up again with changes."""
    from bench.models.weights import Weights
    from bench.run import pipeline, request
    from bench.run.console import Screen
    from bench.run.examine import examine
    from bench.settings import make_settings

    def go(folder: Path = tmp_path / "reports" / "xray", **changes: Any) -> RunDir:
        if (folder / "run.json").exists():
            made = request.resume(RunDir(folder), changes)
        else:
            shutil.copytree(data, tmp_path / "scans")
            values = {"weights": "random", "space": "demo", "image_size": 96, "cache": tmp_path / "cache"}
            made = request.prepare(
                make_settings(data=str(tmp_path / "scans"), name=folder.name, output=folder.parent, **values)
            )
        examined = examine(made, Screen(), made.run.read() if made.resumed else None)
        if made.resumed:
            pipeline.take_up(made, workers.Workers(made.settings.jobs or 1, 1, 0.0, 2, 0))
        else:
            request.write_request(made, "")
            pipeline.create(made, workers.Workers(1, 1, 0.0, 2, 0), Weights("random", "", {}, {}), "")
        pipeline.write_data(made, examined)
        return made.run

    return go


def test_a_run_goes_on_where_its_images_and_cache_have_been_moved(begun: Callable[..., RunDir], tmp_path: Path) -> None:
    run = begun()
    fingerprint = run.read_run()["data"]["fingerprint"]
    new = shutil.move(tmp_path / "scans", tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"no longer at .*scans; name their new place by --data"):
        begun()
    begun(data=str(new), cache=tmp_path / "other", images=False)
    content = run.read_run()
    assert content["settings"]["images"] is False, "the page is to be without pictures from now on"
    assert content["data"]["fingerprint"] == fingerprint
    assert content["data"]["path"] == content["settings"]["data"] == str(new)
    assert content["settings"]["cache"] == str(tmp_path / "other")
    begun()  # the new place is known

    folder = Path(shutil.move(tmp_path / "reports", tmp_path / "copies")) / "xray"
    assert begun(folder).path == folder


def test_what_is_given_on_resume_stays_though_no_stage_came_to_it(begun: Callable[..., RunDir]) -> None:
    """A test split that was sealed is not opened by the next resume, and an extension goes on to its own end."""
    run = begun()
    run.finish("finalists")
    given = {"no_test": True, "repeats": 10, "outer": "3x2", "budget": 80, "time_limit": 90.0, "jobs": 1}
    begun(**given, verify=True)
    begun()
    settings = run.read_run()["settings"]
    assert {name: settings[name] for name in given} == given
    assert not settings["verify"], "every file was to be read once"
    assert not run.finished("finalists"), "five seeds of each are to come"
    run.finish("finalists")
    begun(time_limit=120.0)
    assert run.finished("finalists")


def test_the_machine_that_a_run_goes_on_with_is_written_down_beside_the_one_before(
    begun: Callable[..., RunDir],
) -> None:
    run = begun()
    begun()
    first = run.read()
    assert (first.hardware.jobs, first.earlier) == (1, ())
    begun(jobs=2)
    begun()
    record = run.read()
    assert record.hardware == first.hardware.model_copy(update={"jobs": 2})
    (before,) = record.earlier
    assert (before.hardware, before.trials) == (first.hardware, 0)
    assert record.jobs_at(before.until - 1) == 1 and record.jobs_at(before.until) == 2


def test_the_budget_of_outer_folds_grows_with_the_runs_until_there_are_folds(begun: Callable[..., RunDir]) -> None:
    run = begun()
    begun(outer="3x2")
    begun(budget=80)
    settings = run.read().settings
    assert (settings.outer_budget, settings.trials_of_outer) == (None, 80)
    run.outer.write_text("repeat,fold,state\n", encoding="utf-8")
    begun(budget=90, outer="2x1")  # killed before the first fold began
    run.change_settings(outer_budget=90)
    begun(budget=100)
    assert run.read().settings.trials_of_outer == 90
    with pytest.raises(ConfigError, match="has folds of --outer 2x1 with --outer-budget 90"):
        begun(outer_budget=100)


@pytest.mark.parametrize("arguments", [["run", "--resume", "xray"], ["evaluate", "xray"]])
def test_other_splits_are_refused_before_anything_is_done(
    begun: Callable[..., RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: list[str]
) -> None:
    run = begun()
    monkeypatch.chdir(tmp_path)
    for stage in ("search", "finalists"):
        run.finish(stage)
    monkeypatch.setattr("bench.run.stages.Models.read", lambda run: None)
    splits = run.splits.read_text(encoding="utf-8")
    assert splits.count(",test,") > 1
    run.splits.write_text(splits.replace(",test,", ",train,", 1), encoding="utf-8")
    monkeypatch.setattr(workers, "start", lambda *given: pytest.fail("it went on"))
    assert cli.main(arguments) == 2
    assert "splits.csv is not as the run wrote it, so the run would go on with others" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["an image", "a name"])
def test_other_images_are_refused(begun: Callable[..., RunDir], tmp_path: Path, change: str) -> None:
    run = begun()
    new = shutil.copytree(tmp_path / "scans", tmp_path / "elsewhere")
    one = next((new / "train" / "PNEUMONIA").iterdir())
    if change == "a name":
        one.rename(one.with_stem("other"))
    else:
        Image.new("L", (40, 40), 7).save(one)
    before = run.run.read_bytes()
    with pytest.raises(
        ConfigError, match=rf"The images at {new} are not those of .*: .+ \((gone|new|other pixels|another label)\)"
    ):
        begun(data=str(new))
    assert run.run.read_bytes() == before


def test_weights_that_come_with_the_suite_cannot_be_changed(begun: Callable[..., RunDir], tmp_path: Path) -> None:
    begun()
    with pytest.raises(ConfigError, match="began with random weights"):
        begun(weights=str(tmp_path))


@pytest.mark.parametrize("arguments", [["run", "--resume", "xray"], ["evaluate", "xray"]])
def test_new_places_are_taken_where_a_run_is_taken_up(
    begun: Callable[..., RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    begun()
    (tmp_path / "scans").rename(tmp_path / "elsewhere")
    seen: list[Any] = []

    def reached(request: Any, command_line: Any, evaluate: bool = False) -> int:
        seen.append(request)
        return 0

    monkeypatch.setattr("bench.run.command.execute", reached)
    monkeypatch.chdir(tmp_path)
    assert cli.main([*arguments, "--data", "elsewhere", "--cache", "new"]) == 0
    assert seen[0].settings.data == str(tmp_path / "elsewhere")
    assert seen[0].settings.cache == tmp_path / "new"


# Commands


def test_an_audit_ends_as_a_run_would(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faulty = shutil.copytree(data, tmp_path / "faulty")
    for path in list((faulty / "train" / "PNEUMONIA").iterdir())[:3]:
        path.write_bytes(path.read_bytes()[:60])
    flags = ["audit", str(faulty), "--cache", str(tmp_path / "cache")]
    assert cli.main(flags) == 2
    printed = capsys.readouterr()
    assert "Splits as a run would use them" in printed.out
    assert printed.err.startswith("error: 3 of 48 images of class 'PNEUMONIA' (6.2 %) cannot be decoded")
    assert cli.main([*flags, "--keep-going"]) == 0


def test_an_audit_says_what_of_the_cache_was_damaged(data: Path, tmp_path: Path, capsys: Any) -> None:
    flags = ["audit", str(data), "--cache", str(tmp_path / "cache")]
    assert cli.main(flags) == 0
    assert "damaged" not in capsys.readouterr().out
    (facts,) = (tmp_path / "cache").glob("store/*/facts.csv")
    facts.write_bytes(b"")
    assert cli.main(flags) == 0
    assert f"note: damaged in {facts.parent}: facts.csv; the images were decoded again." in capsys.readouterr().out
    assert cli.main(flags) == 0
    assert "damaged" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("started_as", "run", "other"),
    [
        ("/venv/bin/medical-transfer-bench", "medical-transfer-bench run", "medical-transfer-bench"),
        ("/site-packages/bench/__main__.py", "python -m bench run", "python -m bench"),
        ("run_bench.py", "python run_bench.py", "python -m bench"),
        ("/venv/pytest/__main__.py", "python run_bench.py", "python -m bench"),
    ],
)
def test_messages_name_the_command_that_was_used(
    monkeypatch: pytest.MonkeyPatch, started_as: str, run: str, other: str
) -> None:
    monkeypatch.setattr(sys, "argv", [started_as])
    assert typed("run", "--data", "my scans") == f"{run} --data 'my scans'"
    assert typed("evaluate", "xray") == f"{program()} evaluate xray" == f"{other} evaluate xray"
    assert resume("xray", Path("reports")) == f"{run} --resume xray"
    assert resume("xray", Path("/my runs")) == f"{run} --resume xray --output '/my runs'"


# Everything at once


@pytest.mark.end_to_end
def test_a_run_under_many_conditions_at_once(data: Path, tmp_path: Path) -> None:
    (tmp_path / "toys.yaml").write_text(toys.SPACE)
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "keras.json").write_text('{"image_data_format": "channels_first", "floatx": "float16"}')
    work, long = tmp_path / "work", tmp_path / ("t" * 100)
    for folder in (work, work / "bench", long):
        folder.mkdir()
    for name in STAND_INS:
        (work / f"{name}.py").write_text(STAND_IN)
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys\nfrom bench import __main__ as entry, startup\n\n\n"
        "def prepare():\n"
        "    startup.prepare()\n"
        f"    sys.path.append({str(ROOT / 'tests')!r})\n"
        "    import toys\n    from ray import cloudpickle\n    from bench.models.backbones import BACKBONES\n"
        "    from bench.report import pictures\n    pictures.picture = toys.blank(pictures.picture)\n"
        "    cloudpickle.register_pickle_by_value(toys)\n"
        "    BACKBONES.update(toy=toys.toy_backbone(), toy2=toys.toy_backbone('toy2'))\n\n\n"
        "entry.prepare = prepare\nsys.exit(entry.main())\n"
    )
    output = tmp_path / "re ports 100%" / '{a}?b#"ü'
    flags = ["--space", str(tmp_path / "toys.yaml"), "--weights", "random", "--epochs", "1", "--repeats", "1"]
    flags += ["--no-learning-curve"]
    flags += ["--budget", "2", "--cache", str(tmp_path / "cache"), "--output", str(output), "--name", "odd"]
    done = started(
        *("run", "--data", str(data), *flags),
        cwd=work,
        script=f"'{script}'",
        streams="2>&1 <&- | head -1",
        HOME="/proc",
        TMPDIR=str(long),
        MPLBACKEND="module://matplotlib_inline.backend_inline",
        KERAS_BACKEND="torch",
        KERAS_HOME=str(tmp_path / "settings"),
        PYTHONIOENCODING="ascii",
        PYTHONOPTIMIZE="1",
        RAY_ADDRESS="10.255.255.1:6379",
        SLURM_CPUS_PER_TASK="1",
        OMP_NUM_THREADS="1",
        http_proxy="http://127.0.0.1:9",
    )
    run = RunDir(output / "odd")
    assert run.evaluation.exists(), done
    assert run.study.exists()
    assert run.report.exists()
    assert run.read_run()["hardware"]["cpus"] == 1
    assert "failed" not in run.trials.read_text(encoding="utf-8")
    assert [path for path in tmp_path.rglob("study.db*") if path.parent != run.path] == []
