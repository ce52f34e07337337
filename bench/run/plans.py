"""The plan of a run: what is to be done, hashed before the search, and anew before the test split is opened.

It holds what decides results, and neither places nor the machine, so that the same plan has the same hash elsewhere.
"""

import hashlib
import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from bench.run.folder import RunDir, file_sha256
from bench.run.record import PlanRecord, RunRecord

LEFT_OUT = {"data", "image_root", "splits", "cache", "cache_size", "jobs", "address", "name", "output"}
LATER = ("scaling", "ordinal", "also")
"""Settings that came after the first plans were written; none of them counts where it is not set."""
LEFT_OUT |= {"verify", "keep_going", "weights", "no_test", "images", "ledger"}
CONTRAST = "the winner against the default recipe of its backbone"


def write_plan(run: RunDir) -> str:
    """Add the plan of ``run`` to run.json, unless it is the last one that stands there; returns its hash."""
    record = run.read()
    content = _content(run, record)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if not record.plans or record.plans[-1].sha256 != sha256:
        plan = PlanRecord(time=datetime.now(UTC).isoformat(timespec="seconds"), sha256=sha256, holds=content)
        run.update(plans=(*record.plans, plan))
    return sha256


def changes(plans: tuple[PlanRecord, ...]) -> list[tuple[str, ...]]:
    """For each plan after the first, what of it was changed, such as ``budget: 50 → 80``."""
    flat = [{**plan.holds, **plan.holds.get("settings", {}), "settings": None} for plan in plans]
    return [
        tuple(f"{key}: {_short(old.get(key))} → {_short(new.get(key))}" for key in new if old.get(key) != new[key])
        for old, new in pairwise(flat)
    ]


def _short(value: Any) -> str:
    told = "none" if value is None else str(value)
    return told if len(told) <= 24 else f"{told[:12]}…"


def _content(run: RunDir, record: RunRecord) -> dict[str, Any]:
    settings: dict[str, Any] = record.settings.model_dump(mode="json", exclude=LEFT_OUT)
    settings["outer_budget"] = record.settings.trials_of_outer  # where it is that of the run, too
    for name in LATER:  # a plan of an earlier version does not have them
        if settings.get(name) is None:
            settings.pop(name, None)
    recipes = {"recipes": record.space.recipes} if record.space and record.space.recipes else {}
    return recipes | {
        "settings": settings,
        "space": file_sha256(run.space),
        "split": file_sha256(run.splits),
        "data": record.data.fingerprint if record.data else "",
        "weights": dict(record.weights.sha256),
        "rules": record.rules,
        "contrast": CONTRAST,
    }
