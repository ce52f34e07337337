"""How numbers are written, for report, console and messages; a value that is missing or not finite becomes a dash."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

DASH = "–"
"""Stands for a value that there is not."""
NBSP = "\u00a0"
"""Keeps a number and its unit on one line of a page."""


def present(value: Any) -> bool:
    """Whether ``value`` is there: not None, not NaN, not an empty text."""
    return value is not None and value == value and value != ""


def number(value: Any) -> float | None:
    """``value`` as a finite float, or None where it is none."""
    if isinstance(value, str) and not value.strip():
        return None
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def text(value: Any) -> str:
    """``value`` as it stands."""
    if isinstance(value, float) and not math.isfinite(value):
        return DASH
    return str(value) if present(value) else DASH


def count(value: Any) -> str:
    """A whole number with thousands separated: ``5,216``."""
    amount = number(value)
    return DASH if amount is None else f"{round(amount):,}"


def counted(value: Any, singular: str, plural: str = "") -> str:
    """A whole number with its noun: ``1 trial``, ``3 trials``."""
    noun = singular if number(value) == 1 else plural or f"{singular}s"
    return f"{count(value)} {noun}"


def score(value: Any, decimals: int = 3) -> str:
    """A score to three decimals: ``0.981``, ``−0.012``."""
    amount = number(value)
    return DASH if amount is None else f"{round(amount, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def signed(value: Any) -> str:
    """A difference of scores with its sign: ``+0.012``, ``−0.003``, ``0.000``."""
    amount = number(value)
    return f"{'+' if amount is not None and round(amount, 3) > 0 else ''}{score(value)}"


def percent(value: Any) -> str:
    """A share of one in per cent: ``94.2 %``."""
    amount = number(value)
    return DASH if amount is None else f"{100 * amount:.1f}{NBSP}%"


def level(value: Any) -> str:
    """The level of an interval: ``95 %``, which is also what stands where none is given."""
    return f"{100 * (number(value) or 0.95):.3g}{NBSP}%"


def ratio(value: Any) -> str:
    """How often one goes into the other: ``2.9 : 1``."""
    amount = number(value)
    return DASH if amount is None else f"{amount:.1f}{NBSP}:{NBSP}1"


def factor(value: Any) -> str:
    """How many times something is another: ``1.8 ×``."""
    amount = number(value)
    return DASH if amount is None else f"{amount:.1f}{NBSP}×"


def size(value: Any) -> str:
    """Bytes in the unit that suits them: ``312 B``, ``48.5 KiB``, ``1.2 MiB``."""
    amount = number(value)
    if amount is None:
        return DASH
    for unit in ("B", "KiB"):
        if round(amount) < 1024:
            return f"{amount:.0f}{NBSP}{unit}" if unit == "B" or amount >= 100 else f"{amount:.1f}{NBSP}{unit}"
        amount /= 1024
    return f"{amount:.1f}{NBSP}MiB"


def disk(value: float) -> str:
    """Bytes as disks and ``--cache-size`` count them, in powers of 1000, for the console: ``1.2 GB``, ``340 MB``."""
    return f"{value / 1e9:.1f} GB" if value >= 1e8 else f"{value / 1e6:.0f} MB"


def rate(value: Any) -> str:
    """A learning rate or another number that spans decades: ``3.0e-4``."""
    amount = number(value)
    if amount is None:
        return DASH
    mantissa, exponent = f"{amount:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def short(value: Any) -> str:
    """A number to three significant digits: ``0.05``, ``0.123``, ``−3.2``."""
    amount = number(value)
    return DASH if amount is None else f"{'−' if amount < 0 else ''}{abs(amount):.3g}"


def plain(value: Any) -> str:
    """A number of any size: ``1,640``, ``0.123``."""
    amount = number(value)
    return short(amount) if amount is None or abs(amount) < 100 else count(amount)


def seconds(value: Any) -> str:
    """A duration: ``4.2 s``, ``5 min 20 s``, ``1 h 05 min``."""
    amount = number(value)
    if amount is None:
        return DASH
    if amount < 59.95:
        return f"{amount:.1f}{NBSP}s" if amount < 10 else f"{amount:.0f}{NBSP}s"
    minutes, rest = divmod(round(amount), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min{NBSP}{rest:02d}{NBSP}s"
    hours, minutes = divmod(round(amount / 60), 60)
    return f"{hours}{NBSP}h{NBSP}{minutes:02d}{NBSP}min"


def duration(value: float) -> str:
    """A duration without false precision, for the console: ``45 s``, ``20 min``, ``1 h 05 min``."""
    if value < 90:
        return f"{value:.0f} s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{60 * hours + minutes} min" if value < 5400 else f"{hours} h {minutes:02d} min"


def interval(low: Any, high: Any) -> str:
    """An interval of scores: ``0.950–0.980``, ``−0.010 to 0.020``; empty where a bound is missing."""
    bottom, top = number(low), number(high)
    if bottom is None or top is None:
        return ""
    return f"{score(bottom)}{' to ' if min(bottom, top) < 0 else '–'}{score(top)}"


def capital(text: str) -> str:
    """``text`` with a capital first letter and the others as they are: ROC AUC stays what it is."""
    return f"{text[:1].upper()}{text[1:]}"


def signed_interval(low: Any, high: Any) -> str:
    """An interval of differences: ``−0.010 to +0.020``; empty where a bound is missing."""
    return "" if number(low) is None or number(high) is None else f"{signed(low)} to {signed(high)}"


def probability(value: Any) -> str:
    """A p-value: ``0.034``, ``< 0.001``."""
    amount = number(value)
    return f"<{NBSP}0.001" if amount is not None and 0 <= amount < 0.001 else score(amount)


def p_value(value: Any) -> str:
    """A p-value inside a sentence: ``p = 0.034``, ``p < 0.001``."""
    words = probability(value)
    return f"p {words}" if words.startswith("<") else f"p = {words}"


def with_interval(value: Any, low: Any, high: Any) -> str:
    """A score with its interval in brackets, where it has one: ``0.970 (0.950–0.980)``."""
    bounds = interval(low, high)
    return f"{score(value)} ({bounds})" if bounds else score(value)


def magnitude(value: float, low: float | None, high: float | None) -> str:
    """A difference without its sign, its interval turned round with it: ``0.030 (0.010–0.050)``."""
    if low is None or high is None:
        return spread(abs(value))
    if value < 0:
        value, low, high = -value, -high, -low
    return f"{spread(value)} ({spread(low)}{' to ' if min(low, high) < 0 else '–'}{spread(high)})"


def with_spread(mean: Any, deviation: Any) -> str:
    """A mean with its standard deviation, where it has one: ``0.970 ± 0.006``."""
    return score(mean) if number(deviation) is None else f"{score(mean)} ± {spread(deviation)}"


def spread(value: Any) -> str:
    """A small score, difference or deviation: three decimals, a fourth where three would show none: ``0.0002``."""
    amount = number(value)
    return score(value, 4 if amount is not None and 0.00005 <= abs(amount) < 0.0005 else 3)


def moment(value: Any) -> str:
    """A time stamp in UTC: ``23 November 2026, 06:00 UTC``; text that is no time stamp stays as it is."""
    try:
        stamp = datetime.fromisoformat(str(value))
    except ValueError:
        return text(value)
    if stamp.tzinfo is not None:
        stamp = stamp.astimezone(UTC)
    return f"{stamp.day} {stamp:%B %Y, %H:%M} UTC"


def times(count: int) -> str:
    """How often something was done: ``once``, ``3 times``."""
    return "once" if count == 1 else f"{count} times"


def joined(words: Iterable[str], last: str = "and") -> str:
    """The words as a list in prose: ``a, b and c``."""
    items = list(words)
    return "".join(items) if len(items) < 2 else f"{', '.join(items[:-1])} {last} {items[-1]}"
