"""The tables of report.html about the images and how the run was made, from its files."""

from datetime import UTC, datetime
from typing import Any

from bench.verify.printed import DASH, Shown, plain, score, text
from bench.verify.reading import Folder, Json
from bench.verify.shown import Kind, Line, Lines, called, records

MOST_LISTED = 50
"""Rows of one kind that the page lists."""
BRIEF = 16
"""Letters of a fingerprint."""


def _parts(run: Folder) -> dict[str, Json]:
    """Images, patients and classes of each split, counted in splits.csv."""
    found: dict[str, Json] = {}
    for _, table in run.tables_of("splits.csv"):
        for split in ("train", "val", "test"):
            part = table[table["split"] == split]
            classes = part["label"].value_counts().to_dict()
            found[split] = {"images": len(part), "patients": part["patient"].nunique(), "classes": classes}
    return found


def _given(run: Folder) -> dict[str, Json]:
    audit = run.json("audit.json") if run.has("audit.json") else {}
    found: dict[str, Json] = audit.get("splits", {}).get("given") or {}
    return found


def _splits(parts: dict[str, Json], shares: bool) -> Lines:
    labels = dict.fromkeys(label for one in parts.values() for label in one["classes"])
    for split, one in parts.items():
        counts = {label: one["classes"].get(label, 0) for label in labels}
        total, fewest = sum(counts.values()), min(counts.values(), default=0)
        told: dict[str, Shown] = {"Images": [one["images"]], "Patients": [one["patients"]]}
        for label, number in counts.items():
            shown: Shown = [number, number / total] if shares and total else [number]
            told[plain(str(label))] = shown if number else (DASH, f"{DASH} 0.0 %", "0", "0 0.0 %")
        yield Line({"Split": split}, told | {"Imbalance": [max(counts.values()) / fewest, 1] if fewest else []})


def _used(run: Folder) -> Lines:
    """With shares of the classes, as the page has them of an audited run."""
    for line in _splits(_parts(run), True):
        yield line._replace(needed=run.has("audit.json"))


def _plainly(run: Folder) -> Lines:
    yield from _splits(_parts(run), False)


def _as_given(run: Folder) -> Lines:
    yield from _splits(_given(run), True)


def _left_out(run: Folder) -> Lines:
    """Images that are in no split, by reason; what stands behind a colon tells of one image."""
    for _, table in run.tables_of("splits.csv"):
        out = table[table["split"].isna()]
        reasons = out["reason"].fillna("no reason is given").astype(str).str.split(": ").str[0]
        for place, (reason, number) in enumerate(reasons.value_counts().items()):
            classes = out["label"][reasons == reason].value_counts()
            told: dict[str, Shown] = {plain(str(one)): [int(classes.get(one, 0))] for one in out["label"].unique()}
            yield Line({"Reason": text(reason)}, told | {"Images": [int(number)]}, place < MOST_LISTED)


def _suspects(run: Folder) -> Lines:
    for place, row in enumerate(records(run, "suspected_labels.csv")):
        names = {"Label": "label", "Seems to be": "suggested", "Split": "split"}
        told: dict[str, Shown] = {title: text(row.get(name)) for title, name in names.items()}
        yield Line({"File": text(row["image"])}, told | {"Margin": [row["margin"]]}, place < MOST_LISTED)


def moment(stamp: str) -> str:
    """A time in words: ``23 November 2026, 06:00 UTC``; what is none stays as it is."""
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    found = found.astimezone(UTC) if found.tzinfo else found
    return f"{found.day} {found:%B %Y, %H:%M} UTC"


def _brief(value: Any) -> str:
    words = text(value)
    return words if len(words) <= BRIEF else f"{words[:BRIEF]}…"


def _openings(run: Folder) -> Lines:
    """What the ledger knew of this test split when the run was evaluated; its own score need not be there yet."""
    own = run.evaluation["models"][run.winner]["metrics"].get("auc", {}).get("value")
    last = list(run.evaluation.get("opened", []))[-1:]
    for one in (run.evaluation.get("ledger") or {}).get("openings", []):
        found = one.get("scores", {}).get("auc")
        unscored: Shown = (DASH, score(own)) if [one["time"]] == last else DASH
        told: dict[str, Shown] = {"By": one.get("kind") or "evaluation", "Images": [one.get("images") or 0]}
        told |= {"ROC AUC of its winner": unscored if found is None else [found]}
        told |= {"SHA-256 of the plan": _brief(one.get("plan"))}
        told |= {"Fingerprint of the test images": _brief(one.get("split"))}
        told |= {"SHA-256 of best_model.json then": _brief(one.get("decisions"))}
        yield Line({"Opened": moment(one["time"]), "Of the run": text(one.get("run"))}, told)


def _plans(run: Folder) -> Lines:
    for one in run.run.get("plans", []) if run.has("run.json") else ():
        yield Line({"Planned": moment(one["time"])}, {"SHA-256": one["sha256"]})


def _weights(run: Folder) -> Lines:
    weights = run.run.get("weights", {}) if run.has("run.json") else {}
    for name, sha256 in weights.get("sha256", {}).items():
        yield Line({"Backbone": called(run, name)}, {"SHA-256": sha256})


KINDS = (
    Kind("splits", {"Split", "Images", "Patients", "Imbalance"}, set(), _used),
    Kind("splits as given", {"Split", "Images", "Patients", "Imbalance"}, set(), _as_given),
    Kind("splits of the card", {"Split", "Images", "Patients"}, {"Imbalance"}, _plainly),
    Kind("images left out", {"Reason", "Images"}, set(), _left_out),
    Kind("suspected labels", {"File", "Seems to be", "Margin"}, set(), _suspects),
    Kind("openings", {"Opened", "Of the run", "Fingerprint of the test images"}, set(), _openings),
    Kind("plans", {"Planned", "SHA-256"}, set(), _plans),
    Kind("weights", {"Backbone", "SHA-256"}, set(), _weights),
)
