"""Standard streams that end no program: closed ones are opened, no character is refused, a lost reader is no error."""

import codecs
import errno
import io
import os
import sys
from typing import Any

PLAIN = {"±": "+/-", "×": "x", "…": "...", "–": "-", "−": "-", "“": '"', "”": '"', "’": "'", "≤": "<=", "≥": ">="}
"""How a stream that cannot show a character writes it; any other is escaped."""


LEFT = (errno.EPIPE, errno.EIO)
"""What a stream says whose reader has left: ``| head``, or a terminal that was closed."""


class _Forgiving(io.FileIO):
    """A stream whose reader may leave.

    Attributes:
        lost: why something could not be written that somebody waits for, such as a full disk; empty if nothing was.
    """

    lost = ""

    def write(self, content: Any) -> int:
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
