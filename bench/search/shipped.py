"""Where the search spaces lie that come with the suite; what is in them is the business of `bench.search.space`."""

from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "search_spaces"


def shipped() -> list[str]:
    """The names of the spaces that come with the suite."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))
