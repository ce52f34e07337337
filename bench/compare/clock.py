"""Wall-clock and CPU time of a process and all that it starts."""

import threading
import time

import psutil

EVERY = 0.5
"""Seconds between two looks at the processes: of one that ends, at most the time since the last look is lost."""


class Clock:
    """Seconds since this process was started, and core-seconds of it and its descendants, Ray's workers included.

    Reading `resource.getrusage` would miss what runs on, and children that Ray does not wait for; so a thread looks
    at the whole tree of processes twice a second and remembers what each has used, also once it is gone.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._used: dict[tuple[int, float], float] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def read(self) -> tuple[float, float]:
        """(seconds, core-seconds) since the process was started."""
        with self._lock:
            self._look()
            return time.time() - self._process.create_time(), sum(self._used.values())

    def _watch(self) -> None:
        while True:
            with self._lock:
                self._look()
            time.sleep(EVERY)

    def _look(self) -> None:
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                times = process.cpu_times()
                self._used[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:  # it has just ended
                continue
