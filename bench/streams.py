"""Standard streams that end no program: closed ones are opened, no character is refused, a lost reader is no error."""

import codecs
import io
import os
import sys
from typing import Any

PLAIN = {"±": "+/-", "×": "x", "…": "...", "–": "-", "−": "-", "“": '"', "”": '"', "’": "'", "≤": "<=", "≥": ">="}
"""How a stream that cannot show a character writes it; any other is escaped."""


class _Forgiving(io.FileIO):
    """A stream whose reader may leave, as ``| head`` does."""

    def write(self, content: Any) -> int:
        """Write ``content``, or drop it if nobody reads."""
        try:
            return super().write(content)
        except BrokenPipeError:
            return memoryview(content).nbytes


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
