"""The two ways a run can go wrong that the suite itself knows how to name."""


class ConfigError(Exception):
    """The request cannot be carried out; raised before any work starts.

    The message is one sentence that says what was wrong and what is accepted. The command line prints it
    and exits with status 2.
    """


class TrialFailed(Exception):
    """One trial came to nothing; the search records the reason and goes on."""
