"""``python -m bench``: the same as ``run_bench.py`` and the other subcommands."""

import sys

from bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
