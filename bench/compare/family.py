"""Processes that end together with all that they have started."""

import multiprocessing
import os
import threading
from collections.abc import Sequence
from contextlib import suppress

import psutil


def end(pid: int, patience: float = 5.0) -> None:
    """End a process and all that it has started; kill what does not end within ``patience`` seconds."""
    try:
        process = psutil.Process(pid)
        family: Sequence[psutil.Process] = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for method in ("terminate", "kill"):
        for member in family:
            with suppress(psutil.NoSuchProcess):
                getattr(member, method)()
        _, family = psutil.wait_procs(family, timeout=patience)
        if not family:
            return


def end_with_parent() -> None:
    """Have this process, which multiprocessing has started, end when the one that started it does, however it ends.

    What this process has started is killed with it.
    """
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    for member in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            member.kill()
    os._exit(1)
