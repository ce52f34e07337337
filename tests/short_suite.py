"""Which tests the short suite leaves out: those in thorough.txt."""

from pathlib import Path


def thorough_tests() -> dict[str, int]:
    """The tests that thorough.txt names, and how many of the parameters of each stay in the short suite."""
    lines = Path(__file__).with_name("thorough.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ") for line in lines if not line.startswith("#"))
    return {name: int(stay or 0) for name, _, stay in pairs}
