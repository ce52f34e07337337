"""The section of the page that says how the numbers were made."""

from typing import Any

from bench.compare.methods.methods import title
from bench.report.blocks import Block, Heading, Missing, Paragraph, Points, pairs

RULES = (
    "All methods read the same decoded images from the same file; decoding is not part of the comparison.",
    "The clock of a method starts when its process is started and stops when its last trial has ended: imports, the "
    "start of Ray and the adaptation of the Normalization layers count. Retraining the best is not part of it.",
    "Core-seconds are the CPU time of the process and of all that it started, looked at twice a second; of a process "
    "that ends, at most half a second is lost.",
    "A score is the exact validation AUC of a trial's best epoch in its last phase. The test split is not opened.",
    "Every method trains the same model in the same two phases. This suite trains on cached features and pre-drawn "
    "augmentations; the peers augment in every epoch and take every image through the whole network, in float32.",
    "This suite first tries its plan, as it always does: the space's points, the default recipes, then configurations "
    "that give every backbone a fifth of the budget. The peers sample from the start; Ray Tune is given the points.",
    "Ray Tune: OptunaSearch and ASHA, a fresh process a trial; how many ran at once, and with how many threads, is "
    "among what methods said. KerasTuner: one process with all threads. Both: tf.data with caching, parallel "
    "augmentation and prefetching.",
    "KerasTuner's Bayesian optimisation draws its first points at random: 3 times as many as the space has parameters.",
    "Hyperband counts the continuation of a trial as a trial; see the mean epochs a trial beside trials an hour.",
    "A run on a cache that is filled already is no rival to methods that begin with nothing.",
)


def how_it_was_made(facts: dict[str, Any]) -> list[Block]:
    """The rules, what methods said, settings and machine."""
    blocks: list[Block] = [Points(RULES)]
    notes = [f"{title(run['method'])}: {note}" for run in facts.get("runs", []) for note in run["notes"]]
    if notes:
        blocks += [Heading("What methods said"), Points(list(dict.fromkeys(notes)))]
    if not facts:
        return [*blocks, Missing("compare.json is missing, so settings and machine are not known.")]
    data, machine, settings = facts["data"], facts["hardware"], facts["settings"]
    sizes = ", ".join(f"{name} {size} px" for name, size in data["sizes"].items())
    rows = {
        "images": f"{data['path']}: {data['train']} to train on, {data['val']} to validate on; {sizes}",
        "weights": f"{facts['weights']['kind']}: {facts['weights']['note']}",
        "space": f"{settings['space']}{', its points as a fixed list' if settings['list'] else ''}",
        "trials": f"{settings['budget']} a method and seed, at most {settings['epochs']} epochs a phase, which ends "
        f"after {settings['patience']} without gain",
        "machine": f"{machine['cpus']} CPU cores, {machine['memory_gib']} GiB, {machine['machine']}, "
        f"{machine['system']}; {', '.join(machine['gpus']) or 'no GPU'}",
        "versions": ", ".join(f"{name} {version}" for name, version in facts["packages"].items()),
    }
    return [*blocks, pairs(rows, "Settings and machine.", "What", "Which"), Paragraph("compare.csv holds every trial.")]
