"""Numbers and lists as sentences write them."""

from collections.abc import Sequence


def score(value: float) -> str:
    """Three decimals, ``0.958``; a fourth where three would hide on which side of zero it lies, ``-0.0003``."""
    decimals = 4 if 0.00005 <= abs(value) < 0.0005 else 3
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """``0.037 [0.021, 0.055]``, or the value alone where there is no interval."""
    return score(value) if low is None or high is None else f"{score(value)} [{score(low)}, {score(high)}]"


def size(value: float, low: float | None, high: float | None) -> str:
    """A difference without its sign, its interval turned round with it."""
    if value >= 0 or low is None or high is None:
        return with_interval(abs(value), low, high)
    return with_interval(-value, -high, -low)


def p_value(p: float) -> str:
    """``p = 0.03``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    return f" {last} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def counted(count: int, noun: str) -> str:
    """``1 image``, ``652 images``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
