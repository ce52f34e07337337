"""What the section on the data says of a run whose audit.json has no format yet."""

from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.blocks import Block, Column, Points, table
from bench.report.read.files import listed, mapping
from bench.report.wording import counted

MOST_LEFT_OUT = 20
"""Images left out by the audit that the page lists; audit.json has them all."""


def audit_blocks(audit: dict[str, Any]) -> list[Block]:
    """What the audit found, and what it left out."""
    left_out = listed(audit.get("left_out"))
    blocks: list[Block] = [Points(_found(audit, len(left_out)))]
    if left_out:
        more = f" The first {MOST_LEFT_OUT}; audit.json lists all." if len(left_out) > MOST_LEFT_OUT else ""
        columns = [Column("file", "File", numeric=False), Column("reason", "Reason", numeric=False)]
        rows = pd.DataFrame(left_out[:MOST_LEFT_OUT])
        blocks.append(table(rows, f"Images left out.{more}", columns, folded=len(left_out) > 5))
    return blocks


def _found(audit: dict[str, Any], left_out: int) -> list[str]:
    """What the audit found, a sentence each."""
    points = [f"{counted(audit.get('images'), 'image')} examined; {wording.count(left_out)} left out."]
    patients = mapping(audit.get("patients"))
    if patients:
        wide, narrow = wording.count(patients.get("wide")), wording.count(patients.get("narrow"))
        rule = wording.text(patients.get("rule"))
        points.append(f"Patients by the rule “{rule}”: {wide} if it is read widely, {narrow} if narrowly.")
    shared = mapping(audit.get("shared_patients"))
    if shared:
        told = ", ".join(f"{pair.replace('-', ' with ')} {wording.count(number)}" for pair, number in shared.items())
        points.append(f"Patients shared between the splits as they were given: {told}.")
    for entry in listed(audit.get("moved")):
        source, reason = wording.text(entry.get("from")), wording.text(entry.get("reason"))
        points.append(f"{counted(entry.get('images'), 'image')} moved from {source}: {reason}.")
    return points
