"""``python -m bench``, and what ``medical-transfer-bench`` and ``run_bench.py`` call."""

import sys

from bench.errors import ConfigError
from bench.startup import prepare


def main(*given: str) -> int:
    """Set the process up and run the command line; ``given`` comes before what the user has typed."""
    try:
        prepare()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from bench.cli import main

    return main([*given, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
