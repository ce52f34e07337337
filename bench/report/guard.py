"""One damaged file must not cost the reader the rest: what defeats a part of a page is logged, and told instead."""

import logging
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

Made = TypeVar("Made")
Other = TypeVar("Other")


def guarded(
    make: Callable[[], Made], instead: Callable[[str], Other], log: str, level: int = logging.WARNING
) -> Made | Other:
    """What ``make`` returns; where an error defeats it, what ``instead`` makes of the error in words.

    Args:
        make: makes a part of a page.
        instead: makes what stands in its place.
        log: the sentence that is logged with the error.
        level: at which it is logged.
    """
    try:
        return make()
    except Exception as error:  # any part may meet data that nobody thought of
        logger.log(level, log, exc_info=True)
        return instead(f"{type(error).__name__}: {error}")
