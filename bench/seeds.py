"""Seeds that depend on what they are for, not on the order in which things happen."""

import hashlib
import json
from typing import Any


def stable_hash(*parts: Any) -> str:
    """Hash of JSON-like values, the same in every process (24 hexadecimal digits)."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def stable_seed(*parts: Any) -> int:
    """A seed in 0 to 2**31 - 1 derived from JSON-like values, the same in every process."""
    return int(stable_hash(*parts), 16) % 2**31
