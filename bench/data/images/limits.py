"""How large an image may be: told from its header, before memory is taken for it. Light to import."""

MOST_PIXELS = 100_000_000
"""Default of ``--max-pixels``: an image of 10,000 pixels squared takes up to 1.5 GB of memory while it is decoded."""
BYTES_PER_PIXEL = 8
"""A file, and what it unpacks to, may have as many bytes for each pixel that an image may have: three channels of 16
bits with transparency, or one of float64."""


class TooLarge(ValueError):
    """An image beyond ``--max-pixels``; told from its header, before memory is taken for it."""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse, as TooLarge, an image of more than ``max_pixels``."""
    if width * height > max_pixels:
        raise TooLarge(
            f"it has {width:,} x {height:,} pixels, and at most {max_pixels:,} are read: make it smaller, cut it into "
            "tiles, or raise --max-pixels"
        )


def check_bytes(count: int, max_pixels: int, what: str = "it has") -> None:
    """Refuse, as TooLarge, a file of more bytes than an image of ``max_pixels`` can need."""
    most = BYTES_PER_PIXEL * max_pixels
    if count > most:
        raise TooLarge(
            f"{what} {count:,} bytes, and at most {most:,} are read ({BYTES_PER_PIXEL} for each of --max-pixels "
            f"{max_pixels:,})"
        )
