"""What a shell, a locale or a working folder puts in the way of a Python program, set right before all else.

Called by the entry points alone. Until `prepare` has run, no module may be imported that a file of the working folder
could stand in for: only what Python itself has loaded, and builtins.
"""

import codecs
import errno
import io
import os
import sys

from bench.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded by Python itself
    from typing import Any

PLAIN = {
    **{"±": "+/-", "×": "x", "…": "...", "–": "-", "−": "-", "≤": "<=", "≥": ">="},
    **{"“": '"', "”": '"', "’": "'", "\u00a0": " "},
}
"""How a stream that cannot show a character writes it; any other is escaped."""
LEFT = (errno.EPIPE, errno.EIO)
"""What a stream says whose reader has left: ``| head``, or a terminal that was closed."""


def prepare() -> None:
    """Set right file names, modules and streams, in this order.

    Raises:
        ConfigError: if a file stands in for a module and cannot be passed over.
    """
    _file_names_as_utf8()
    _own_modules_only()
    forgiving_streams()


def _file_names_as_utf8() -> None:
    """Start Python again in UTF-8 mode where the locale has another encoding: files and their names are UTF-8 here.

    The streams keep the encoding of the locale.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    shown = next((stream.encoding for stream in (sys.stdout, sys.stderr) if stream is not None), None)
    if shown is not None:
        os.environ.setdefault("PYTHONIOENCODING", shown)
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _own_modules_only() -> None:
    """Look for no module in the working folder or beside the script, here and in every process started from here.

    Raises:
        ConfigError: if this package itself is found only there, beside a file that would stand in for a module; if
            there is no working folder.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    library = os.path.dirname(os.path.abspath(os.__file__))
    hidden = {os.path.realpath(sys.path[0])} if sys.path and not sys.flags.safe_path else set()
    try:
        hidden.add(os.path.realpath(os.getcwd()))
    except FileNotFoundError:
        raise ConfigError("The working folder has been removed; give the command in another one.") from None
    before = next((place for place, entry in enumerate(sys.path) if os.path.realpath(entry) == library), 0)
    sys.path[:before] = [entry for entry in sys.path[:before] if os.path.realpath(entry) not in hidden]
    given = os.environ.pop("PYTHONPATH", "").split(os.pathsep)
    kept = [os.path.abspath(entry) for entry in given if entry and os.path.realpath(entry) not in hidden]
    if not _found_in(home):  # it is not installed: workers need its folder too
        _refuse_stand_ins(home)
        sys.path.append(home)
        kept.append(home)
    if kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    os.environ["PYTHONSAFEPATH"] = "1"


def _found_in(home: str) -> bool:
    """Whether another process would find this package, and would find it in the folder ``home``."""
    specs = (finder.find_spec("bench", None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    origin = next((spec.origin for spec in specs if spec is not None), None)
    return origin is not None and os.path.realpath(os.path.dirname(os.path.dirname(origin))) == os.path.realpath(home)


def _refuse_stand_ins(home: str) -> None:
    from importlib.machinery import PathFinder

    for entry in sorted(os.listdir(home)):
        name, ending = os.path.splitext(entry)
        path = os.path.join(home, entry)
        if ending not in ("", ".py") or (not ending and not os.path.isfile(os.path.join(path, "__init__.py"))):
            continue
        other = PathFinder.find_spec(name)
        if name in sys.stdlib_module_names or (name != "bench" and other is not None and other.origin is not None):
            raise ConfigError(f"{path} stands in for the module {name!r}, which is needed here; rename it.")


# Standard streams: closed ones are opened, no character is refused, a lost reader is no error


class _Forgiving(io.FileIO):
    """A stream that ends no program: its reader may leave, and its disk may be full.

    Attributes:
        lost: why something could not be written that somebody waits for, such as a full disk; empty if nothing was.
    """

    lost = ""

    def write(self, content: "Any") -> int:
        """Write ``content``, or drop it if that cannot be: a run goes on without its words."""
        try:
            return super().write(content)
        except OSError as error:
            self.lost = self.lost or ("" if error.errno in LEFT else error.strerror or str(error))
            return memoryview(content).nbytes


def lost() -> str:
    """Why standard output is not whole, though somebody reads it; empty if it is."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Forgiving) else ""


def forgiving_streams() -> None:
    """Put such streams into the place of this process's own."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file of ours would become a standard stream
        os.set_inheritable(handle, True)
    os.close(handle)
    codecs.register_error("plain", _plainly)
    for number, name in ((1, "stdout"), (2, "stderr")):
        before, raw = getattr(sys, name), _Forgiving(number, "w", closefd=False)
        text = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=before.encoding if before is not None else "utf-8",
            errors="plain",
            line_buffering=raw.isatty() or name == "stderr",
        )
        setattr(sys, name, text)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What to write instead of characters that a stream cannot show, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    plain = (PLAIN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in unknown)
    return "".join(plain), error.end
