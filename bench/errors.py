"""The two ways a run can go wrong that the suite itself knows how to name."""


class ConfigError(Exception):
    """The request cannot be carried out; raised before any work starts.

    The message is one sentence that says what was wrong and what is accepted. The command line prints it
    and exits with status 2.
    """


class NoSubgroups(ConfigError):
    """Data that cannot be grouped by some of the columns that ``--group-by`` names; ``columns`` are these."""

    def __init__(self, message: str, *columns: str) -> None:
        super().__init__(message)
        self.columns = columns

    def __reduce__(self) -> tuple[type["NoSubgroups"], tuple[str, ...]]:
        return type(self), (str(self), *self.columns)


class TrialFailed(Exception):
    """One trial came to nothing; the search records the reason and goes on.

    ``kind`` is that of `bench.failures` where whoever raised it knew. It reaches another process, as no cause does.
    """

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason)
        self.kind = kind


class WorkerDied(TrialFailed):
    """The process that a training ran in has ended."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason, kind)

    def __reduce__(self) -> tuple[type["WorkerDied"], tuple[str, str]]:
        return type(self), (self.kind, str(self))
