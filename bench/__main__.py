"""``python -m bench``, and what ``medical-transfer-bench`` and ``run_bench.py`` call."""

import sys

from bench import texts
from bench.errors import ConfigError
from bench.startup import lost, prepare


def main(*given: str) -> int:
    """Set the process up and run the command line; ``given`` comes before what the user has typed."""
    try:
        prepare()
    except ConfigError as error:
        texts.error(error)
        return 2
    from bench.cli import main

    status = main([*given, *sys.argv[1:]])
    if reason := lost():
        texts.error(f"standard output cannot be written: {reason}.")
        return status or 1
    return status


if __name__ == "__main__":
    sys.exit(main())
