"""Compare pretrained CNNs on a folder of labelled medical images: ``python run_bench.py --budget 50``."""

import sys

from bench.__main__ import main

if __name__ == "__main__":
    sys.exit(main("run"))
