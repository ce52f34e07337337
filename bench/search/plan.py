"""What a search tries in a fixed order before it samples freely, and what of it is left after an interruption."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import numbers
from bench.failures import MEMORY, TRIED_AGAIN
from bench.models.backbones import Backbone
from bench.run.results import TrialRecord
from bench.search.experience import best_first
from bench.search.parameters import TrialConfig, Value
from bench.search.settled import FIXED, Rule
from bench.search.space import Space

MOST_TRIES = 2
"""How often one search tries a configuration whose trials fail because of the machine: what kills every worker that
meets it must not hold up the search for ever. A search that is resumed tries it again."""


NOTHING_ENDED = "no trial came to an end"
"""Why a search ended that could not go on; when it is resumed, it does."""


@dataclass(frozen=True)
class Planned:
    """A configuration, whole or in part, to be tried before anything is sampled freely."""

    origin: str
    values: Mapping[str, Value]


@dataclass
class Plan:
    """What is searched, what of it is tried in a fixed order, and what the budget had no room for, in sentences."""

    space: Space
    items: list[Planned] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complete: bool = False
    """Whether nothing else is tried."""
    until: Rule | None = None
    """What ends the search before its budget is used."""
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    """Of an image in each backbone, where the search is to be for fast ones too."""

    @property
    def fixed(self) -> int:
        """How many points and default recipes are tried; what is one configuration counts once."""
        configs = [self.space.whole(item.values) for item in self.items if item.origin in FIXED]
        return len({config.key for config in configs if config}) + configs.count(None)


def make_plan(space: Space, backbones: Sequence[Backbone], budget: int) -> Plan:
    """The order of a search: the space's points, default recipes, then backbones alone up to a fifth each.

    Of the default recipes that comes first which has reached most on other images (`bench.search.experience`).
    """
    plan = Plan(space)
    if space.left_out:
        points_left = numbers.counted(space.left_out, "point")
        plan.notes.append(f"--backbones leaves {points_left} of the space out, of other backbones than are searched.")
    points = [Planned("point", point) for point in space.points]
    wanted = best_first([space.recipe(backbone) for backbone in backbones])
    given = {config.key for config in map(space.whole, space.points) if config}
    recipes = [Planned("recipe", one) for one in wanted if TrialConfig.from_mapping(one).key not in given]
    if budget == len(points):
        plan.items = points
        plan.complete = True
        plan.notes.append(f"The budget equals the number of points in the space ({budget}): nothing else is tried.")
        return plan
    plan.items = (points + recipes)[:budget]
    left_out = (points + recipes)[budget:]
    if left_out:
        names = ", ".join(f"{item.values.get('backbone', 'any backbone')} ({item.origin})" for item in left_out)
        plan.notes.append(f"The budget of {budget} is too small for all fixed configurations; left out: {names}.")
    share = budget // 5
    have = Counter(item.values.get("backbone") for item in plan.items)
    missing = [  # in turn, so that no backbone waits for another's share
        Planned("backbone", {"backbone": backbone.name})
        for turn in range(share)
        for backbone in backbones
        if turn < share - have[backbone.name]
    ]
    room = budget - len(plan.items)
    plan.items += missing[:room]
    if len(missing) > room and not left_out:
        plan.notes.append(f"The budget of {budget} is too small to give every backbone a fifth of it.")
    return plan


def longest_first(items: Sequence[Planned], backbones: Mapping[str, Backbone]) -> list[Planned]:
    """``items`` by how long their training takes: so all workers come to their end at about one time."""

    def cost(item: Planned) -> float:
        backbone, depth = backbones.get(str(item.values.get("backbone"))), item.values.get("unfreeze_depth", 0)
        return backbone.suffix_cost(depth) if backbone and isinstance(depth, int) else 0.0

    return sorted(items, key=cost, reverse=True)


def remaining(plan: Plan, records: Sequence[TrialRecord]) -> list[Planned]:
    """The items of ``plan`` that no record answers to; a record answers to one item at most."""
    free = list(records)
    left = []
    for item in plan.items:
        found = next((record for record in free if _answers(record, item)), None)
        if found is None:
            left.append(item)
        else:
            free.remove(found)
    return left


def _answers(record: TrialRecord, item: Planned) -> bool:
    config = asdict(record.config)
    return record.origin == item.origin and all(config[name] == value for name, value in item.values.items())


def without(todo: list[Planned], interrupted: Sequence[Planned]) -> list[Planned]:
    """``todo`` without the items that interrupted configurations came from: those are tried again themselves."""
    left = list(todo)
    for item in interrupted:
        twin = next(
            (one for one in left if one.origin == item.origin and one.values.items() <= item.values.items()), None
        )
        if twin is not None:
            left.remove(twin)
    return left


def to_try_again(records: Sequence[TrialRecord], before: int = -1) -> list[TrialRecord]:
    """The failed trials whose configuration is to be tried again, in the order of their numbers.

    Those are trials that failed because of the machine, up to `MOST_TRIES` a search; and, when a search is resumed of
    which nothing succeeded, all of them, once. What needs as much memory as another that is too large waits for that.

    Args:
        records: of all trials so far.
        before: how many of them are of earlier searches; -1 for all.
    """
    before = len(records) if before < 0 else before
    hopeless = not any(record.metrics for record in records[:before])
    tries = Counter(record.config.key for record in records[before:])
    last = {record.config.key: record for record in sorted(records, key=lambda record: record.trial)}
    large = too_large(records)
    return [
        record
        for key, record in sorted(last.items(), key=lambda item: item[1].trial)
        if record.state == "failed" and tries[key] < (MOST_TRIES if record.failure in TRIED_AGAIN else int(hopeless))
        if not any(needs_as_much(record.config, one) for one in large if one.key != key)
    ]


def too_large(records: Sequence[TrialRecord]) -> list[TrialConfig]:
    """The configurations whose last two trials ran out of memory: the second alone, without other workers' memory."""
    by_config: dict[Any, list[TrialRecord]] = {}
    for record in sorted(records, key=lambda record: record.trial):
        by_config.setdefault(record.config.key, []).append(record)
    ended = [found[-2:] for found in by_config.values()]
    return [two[0].config for two in ended if len(two) == 2 and all(record.failure == MEMORY for record in two)]


def needs_as_much(config: TrialConfig, other: TrialConfig) -> bool:
    """Whether training ``config`` takes at least the memory that ``other`` takes: as deep in batches as large."""
    same = config.backbone == other.backbone
    return same and config.unfreeze_depth >= other.unfreeze_depth and config.batch_size >= other.batch_size


def once_more(record: TrialRecord) -> Planned:
    """The configuration of a trial, whole, to be tried again."""
    values = {name: value for name, value in asdict(record.config).items() if value is not None}
    return Planned(record.origin, values)
