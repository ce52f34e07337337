"""A search-space file becomes parameters with conditions, augmentation policies and fixed points.

Knows YAML and Optuna's trial interface (``suggest_*``); no Ray, no Keras.
"""

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench.errors import ConfigError
from bench.models.augmentation import Policy, make_policy
from bench.models.backbones import BACKBONES, DEFAULT, RECIPE, Backbone
from bench.search.parameters import GIVEN, PARAMETERS, Hyperparameter, TrialConfig, Value
from bench.search.shipped import SHIPPED, shipped

DEEPEST, MOST_VALUES, LONGEST = 20, 10_000, 1_000
"""How deep a space file may be nested, how many values it may hold, and of how many characters; the shipped ones are 5
deep and hold 320."""


_INT, _FLOAT, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "merge"))


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: 3e-4 is a number, 016 is sixteen, and a key that stands twice is a mistake.

    YAML 1.1 reads the first as text, 016 to base 8 and 1:30 to base 60, and takes the last of two keys.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping in which each key stands once.

        Raises:
            yaml.YAMLError: if one stands twice.
        """
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise yaml.YAMLError(f"the key {key.value!r} of line {lines[key.value]} stands again in line {line}")
            lines[key.value] = line
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number to base 10, whatever it begins with; 0x and 0b stand for other bases."""
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, 0 if re.match(r"[-+]?0[xb]", text) else 10)


_Loader.add_constructor(_INT, _Loader.construct_yaml_int)
_Loader.yaml_implicit_resolvers = {
    first: [known for known in several if known[0] not in (_INT, _FLOAT)]
    for first, several in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"^[-+]?(?:\d[\d_]*|0x[\da-fA-F_]+|0b[01_]+)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^[-+]?(?:\d[\d_]*)(?:\.\d*)?[eE][-+]?\d+$|^[-+]?\d[\d_]*\.\d*$|^[-+]?\.\d+(?:[eE][-+]?\d+)?$"
        r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


@dataclass(frozen=True)
class Parameter:
    """One dimension of a space: either ``choices``, or ``low`` to ``high``, both included.

    Attributes:
        name: one of `bench.search.parameters.PARAMETERS`.
        choices: the values to choose from; None for a range.
        low, high: the ends of a range.
        log: sample the range evenly in the logarithm.
        when: other parameter -> its values under which this one exists.
    """

    name: str
    choices: tuple[Any, ...] | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def row(self) -> Hyperparameter:
        """Its row in the table of hyperparameters."""
        return PARAMETERS[self.name]

    def active(self, chosen: Mapping[str, Value]) -> bool:
        """Whether the parameter exists beside the values ``chosen`` so far."""
        return all(chosen.get(name) in values for name, values in self.when.items())

    def suggest(self, trial: Any) -> Any:
        """Ask an Optuna trial for a value."""
        if self.choices is not None:
            return trial.suggest_categorical(self.name, list(self.choices))
        if self.row.kind is int:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def contains(self, value: Any) -> bool:
        """Whether the parameter can take ``value``."""
        if self.row.kind is not str and not _is_number(self.row, value):
            return False
        if self.choices is not None:
            return value in self.choices
        return bool(self.low <= value <= self.high)

    @property
    def values(self) -> Sequence[Any] | None:
        """All values that the parameter can take, in order; None where these are a continuous range."""
        if self.choices is not None:
            return self.choices
        if self.row.kind is int:
            return range(int(self.low), int(self.high) + 1)
        return (self.low,) if self.low == self.high else None

    def drawn(self, rng: np.random.Generator) -> Any:
        """A value of a continuous range, evenly or, with ``log``, evenly in the logarithm."""
        if not self.log:
            return float(rng.uniform(self.low, self.high))
        return min(max(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), self.low), self.high)

    def nearest(self, value: Any) -> Any:
        """The value closest to ``value`` that the parameter can take (the first choice for names)."""
        if self.contains(value):
            return value
        if self.choices is None:
            return min(max(value, type(value)(self.low)), type(value)(self.high))
        if isinstance(value, int | float):
            return min(self.choices, key=lambda choice: abs(choice - value))
        return self.choices[0]

    def describe(self) -> dict[str, object]:
        """As in the space file."""
        shape: dict[str, object] = (
            {"choices": list(self.choices)} if self.choices is not None else {"low": self.low, "high": self.high}
        )
        if self.log:
            shape["log"] = True
        if self.when:
            shape["when"] = {name: list(values) for name, values in self.when.items()}
        return shape


@dataclass(frozen=True)
class Space:
    """What a search chooses from.

    Attributes:
        name: of the file, without ending.
        parameters: in the order in which they are chosen.
        policies: augmentation policies by name; only those that the space can choose.
        points: configurations tried first; what they leave out is sampled.
        image_size: size in pixels that the space suggests for all backbones, or None.
        epochs: epochs per phase that the space suggests, or None.
        patience: epochs without gain that the space suggests, after which a phase ends, or None.
        text: the file's content.
        left_out: how many points of the file are of other backbones than it was narrowed to.
        recipes: backbone name -> its default recipe, where it is not that of today: of a run that was begun earlier.
    """

    name: str
    parameters: tuple[Parameter, ...]
    policies: Mapping[str, Policy]
    points: tuple[Mapping[str, Value], ...]
    image_size: int | None
    epochs: int | None
    patience: int | None
    text: str
    left_out: int = 0
    recipes: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    @property
    def backbones(self) -> tuple[str, ...]:
        """The backbones that can be chosen."""
        return self["backbone"].choices or ()

    @property
    def depths(self) -> tuple[int, ...]:
        """The unfreeze depths that can be chosen."""
        found = self["unfreeze_depth"]
        return tuple(found.choices) if found.choices is not None else tuple(range(int(found.low), int(found.high) + 1))

    @property
    def told(self) -> tuple[Parameter, ...]:
        """The parameters without those that are not spoken of at their default."""
        return tuple(one for one in self.parameters if not (one.row.quiet and one.choices == (one.row.default,)))

    @property
    def initialisations(self) -> dict[str, tuple[str, ...]]:
        """Backbone name -> the initialisations that it can be given; `GIVEN` where none is chosen."""
        parameter = self["initialisation"]
        others = bool(set(parameter.when) - {"backbone"})
        found: dict[str, tuple[str, ...]] = {}
        for backbone in self.backbones:
            chosen = backbone in parameter.when.get("backbone", (backbone,))
            names = [str(one) for one in parameter.choices or ()] if chosen else []
            found[backbone] = tuple(dict.fromkeys([*names, *([GIVEN] if others or not chosen else [])]))
        return found

    def suggest(self, trial: Any) -> dict[str, Value]:
        """Ask an Optuna trial for a configuration (define-by-run)."""
        chosen: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.active(chosen):
                chosen[parameter.name] = parameter.suggest(trial)
        return chosen

    def completed(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """``values`` with whatever has a single choice beside them; what is then still absent is to be sampled."""
        chosen = dict(values)
        for parameter in self.parameters:
            if parameter.name not in chosen and parameter.active(chosen):
                all_there_are = parameter.values
                if all_there_are is not None and len(all_there_are) == 1:
                    chosen[parameter.name] = all_there_are[0]
        return chosen

    def undecided(self, values: Mapping[str, Value]) -> str:
        """The first parameter that exists beside ``values`` and is absent from them; empty where they are whole."""
        return next((one.name for one in self.parameters if one.name not in values and one.active(values)), "")

    def whole(self, values: Mapping[str, Value]) -> TrialConfig | None:
        """The configuration that ``values`` and single choices amount to; None where something is to be sampled."""
        chosen = self.completed(values)
        return None if self.undecided(chosen) else TrialConfig.from_mapping(chosen)

    def walk(self, rng: np.random.Generator, fixed: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
        """Every configuration of the space that has the values ``fixed``, in an order drawn by ``rng``.

        Each parameter's values are taken in a random order beside every choice of those before it, where the parameter
        exists under its conditions. Of a continuous range one value is drawn each time, for there is no end of them.
        """
        return self._walk(rng, fixed, {}, 0)

    def _walk(
        self, rng: np.random.Generator, fixed: Mapping[str, Value], chosen: Mapping[str, Value], place: int
    ) -> Iterator[dict[str, Value]]:
        if place == len(self.parameters):
            yield dict(chosen)
            return
        parameter = self.parameters[place]
        if not parameter.active(chosen):
            yield from self._walk(rng, fixed, chosen, place + 1)
            return
        if parameter.name in fixed and parameter.contains(fixed[parameter.name]):
            values: Sequence[Any] | None = (fixed[parameter.name],)
        else:
            values = parameter.values
        if values is None:
            values = (parameter.drawn(rng),)
        for index in rng.permutation(len(values)).tolist() if len(values) > 1 else (0,):
            yield from self._walk(rng, fixed, {**chosen, parameter.name: values[index]}, place + 1)

    def recipe(self, backbone: Backbone) -> dict[str, Value]:
        """The backbone's default recipe, each value moved to the nearest one that the space allows."""
        defaults = {name: row.default for name, row in PARAMETERS.items()}
        recipe = self.recipes.get(backbone.name) or backbone.recipe or RECIPE
        wanted = {**defaults, **recipe, "backbone": backbone.name}
        starts = self.initialisations.get(backbone.name, (GIVEN,))
        wanted["initialisation"] = next((one for one in (GIVEN, "imagenet") if one in starts), starts[0])
        chosen: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.active(chosen):
                chosen[parameter.name] = parameter.nearest(wanted[parameter.name])
        return chosen


def load_space(name: str, backbones: Sequence[str] | None = None) -> Space:
    """The space in the file ``name``, or the shipped one of that name, with ``backbones`` as `parse_space` takes them.

    Raises:
        ConfigError: if there is no such space or something in it is unknown or impossible.
    """
    path = Path(name)
    if not path.is_file():
        path = SHIPPED / f"{path.name.removesuffix('.yaml')}.yaml" if path.parent == Path() else path
    if not path.is_file():
        known = ", ".join(shipped())
        raise ConfigError(f"There is no space {name!r}; give a .yaml file or one of the shipped spaces: {known}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"The space {path} cannot be read: {error}.") from None
    return parse_space(path.stem, text, backbones)


def parse_space(name: str, text: str, backbones: Sequence[str] | None = None) -> Space:
    """The space that the YAML ``text`` describes, narrowed to ``backbones``: of its choices, else any of the table.

    Raises:
        ConfigError: if something in it is unknown or impossible.
    """
    try:
        _check_extent(text)
        content = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError) as error:  # the latter at values such as !!bool x
        raise ConfigError(f"Space {name!r} is not valid YAML: {' '.join(str(error).split())}.") from None
    known = ("parameters", "augmentations", "points", "image_size", "epochs", "patience")
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise ConfigError(f"Space {name!r} needs a section parameters:; known sections: {', '.join(known)}.")
    _refuse_unknown(name, "section", content, known)
    for section, kind in (("augmentations", dict), ("points", list)):
        if not isinstance(content.get(section) or kind(), kind):
            wanted = "a mapping of policies" if kind is dict else "a list of configurations"
            raise ConfigError(f"Space {name!r}: {section}: must be {wanted}, but got {content[section]!r}.")
    policies = {
        str(key): make_policy(str(key), value) for key, value in (content.get("augmentations") or {"none": {}}).items()
    }
    given = {key: _parameter(name, key, value) for key, value in content["parameters"].items()}
    pointed = [point.get("backbone") for point in content.get("points") or [] if isinstance(point, dict)]
    listed = given["backbone"].choices if "backbone" in given else None
    parameters = _with_defaults(name, given, backbones, pointed)
    offered, narrowed = parameters["augmentation"].choices or (), parameters["backbone"].choices or ()
    for policy in offered:
        if policy not in policies:
            raise ConfigError(
                f"Space {name!r} chooses an unknown augmentation policy {policy!r}; "
                f"policies it defines: {', '.join(policies)}."
            )
    _check_conditions(name, parameters)
    parameters = {key: _where_it_exists(one, parameters) for key, one in parameters.items()}
    points = [_point(name, parameters, listed, point) for point in content.get("points") or []]
    kept = tuple(point for point in points if point.get("backbone", narrowed[0]) in narrowed)
    space = Space(
        name=name,
        parameters=tuple(parameters.values()),
        policies={key: policies[key] for key in offered},
        points=kept,
        left_out=len(points) - len(kept),
        image_size=_whole_number(name, "image_size", content.get("image_size")),
        epochs=_whole_number(name, "epochs", content.get("epochs")),
        patience=_whole_number(name, "patience", content.get("patience")),
        text=text,
    )
    _refuse_equal_points(space, points)
    return space


def _refuse_equal_points(space: Space, points: Sequence[Mapping[str, Value]]) -> None:
    """Refuse two points that are one configuration; what a point leaves to be sampled makes it no other's equal."""
    numbers: dict[str, int] = {}
    for number, point in enumerate(points, start=1):
        config = space.whole(point)
        if config is None:
            continue
        if config.key in numbers:
            raise ConfigError(
                f"Space {space.name!r}: all points: must differ from each other, but points {numbers[config.key]} and "
                f"{number} are the same configuration, {dict(point)!r}; leave one of them out."
            )
        numbers[config.key] = number


def _check_extent(text: str) -> None:
    """Refuse, by a ValueError, YAML nested deeper or of more values than any space, aliases written out.

    Read by events, one after another: neither takes memory or recursion here.
    """
    count, open_nodes, extents = 0, list[tuple[str | None, int]](), dict[str | None, int]()
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in extents:
                raise ValueError(f"*{event.anchor} stands before the end of &{event.anchor}, or without one")
            count += extents[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            extents[anchor] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count, extents[event.anchor] = count + 1, 1
            if len(event.value) > LONGEST:
                raise ValueError(f"a value of {len(event.value):,} characters stands in it")
        if len(open_nodes) > DEEPEST or count > MOST_VALUES:
            raise ValueError(f"it is nested more than {DEEPEST} deep, or holds more than {MOST_VALUES:,} values")


def _whole_number(space: str, name: str, value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**6):
        raise ConfigError(
            f"Space {space!r}: {name} must be a whole number of at least 1 and at most 1,000,000, but got {value!r}."
        )
    return value


def _refuse_unknown(space: str, kind: str, given: Mapping[Any, Any], known: Collection[str]) -> None:
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise ConfigError(f"Space {space!r} has an unknown {kind} {unknown[0]!r}; known: {', '.join(known)}.")


def _parameter(space: str, name: str, entry: Any) -> Parameter:
    if name not in PARAMETERS:
        raise ConfigError(
            f"Space {space!r} has an unknown parameter {name!r}; known parameters: {', '.join(PARAMETERS)}."
        )
    where = f"Space {space!r}, parameter {name}"
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: give choices: [...], or low: and high:, but got {entry!r}.")
    _refuse_unknown(space, f"entry of {name}", entry, ("choices", "low", "high", "log", "when"))
    conditions = entry.get("when") or {}
    if not isinstance(conditions, dict):
        raise ConfigError(f"{where}: when: must be a mapping of parameters to values, but got {conditions!r}.")
    when = {str(key): tuple(one) if isinstance(one, list) else (one,) for key, one in conditions.items()}
    if "choices" in entry and {"low", "high", "log"} & set(entry):
        raise ConfigError(f"{where}: either choices:, or low: and high: must be given, but got {entry!r}.")
    if "choices" in entry:
        choices = entry["choices"]
        if not isinstance(choices, list) or not choices:
            raise ConfigError(f"{where}: choices must be a list with at least one entry, but got {choices!r}.")
        if len(set(map(str, choices))) < len(choices):
            raise ConfigError(f"{where}: choices must differ from each other, but got {choices!r}.")
        for choice in choices:
            _check_value(where, PARAMETERS[name], choice)
        if name == "backbone":
            _check_backbones(where, choices)
        return Parameter(name, choices=tuple(choices), when=when)
    numeric = PARAMETERS[name].limits is not None
    if not numeric or "low" not in entry or "high" not in entry:
        needed = "low: and high:, or choices: [...]" if numeric else "choices: [...]"
        raise ConfigError(f"{where}: {needed} must be given, but got {entry!r}.")
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    for value in (low, high):
        _check_value(where, PARAMETERS[name], value)
    if low > high:
        raise ConfigError(f"{where}: low <= high must hold, but got low: {low}, high: {high}.")
    if not isinstance(log, bool) or (log and low <= 0):
        raise ConfigError(
            f"{where}: log must be true or false, and low above 0 with it, but got log: {log}, low: {low}."
        )
    return Parameter(name, low=low, high=high, log=log, when=when)


def _is_number(row: Hyperparameter, value: Any) -> bool:
    """Whether ``value`` is a number of the parameter's kind; YAML's true and false are none."""
    return not isinstance(value, bool) and isinstance(value, int if row.kind is int else (int, float))


def _check_value(where: str, row: Hyperparameter, value: Any) -> None:
    if row.limits is None:
        if not isinstance(value, str):
            raise ConfigError(f"{where}: names are expected, but got {value!r}.")
        if row.names and value not in row.names:
            raise ConfigError(f"{where}: {', '.join(row.names)} are known, but got {value!r}.")
        return
    low, high = row.limits
    if not _is_number(row, value) or not low <= value <= high:
        kind = "a whole number" if row.kind is int else "a number"
        raise ConfigError(f"{where}: {kind} from {low:g} to {high:g} is expected, but got {value!r}.")


def _check_backbones(where: str, names: Sequence[str]) -> None:
    unknown = [name for name in names if not isinstance(name, str) or name not in BACKBONES]
    if unknown:
        near = difflib.get_close_matches(re.sub(r"[-_\s]", "", str(unknown[0])).lower(), list(BACKBONES), n=1)
        meant = f"did you mean {near[0]}? K" if near else "k"
        raise ConfigError(f"{where}: unknown backbone {unknown[0]!r}; {meant}nown backbones: {', '.join(BACKBONES)}.")


def _with_defaults(
    space: str, given: Mapping[str, Parameter], backbones: Sequence[str] | None, pointed: Sequence[Any]
) -> dict[str, Parameter]:
    """All parameters in the table's order: ``backbone`` narrowed, and a single choice for whatever the file leaves out.

    A file that leaves out ``backbone``, as the shipped ones do, offers `DEFAULT` and those that its points name
    (``pointed``), and on request any of the table. What exists under a condition alone is not added.
    """
    listed = given["backbone"].choices if "backbone" in given else None
    asked = [*DEFAULT, *pointed] if backbones is None else BACKBONES
    offered = listed or tuple(name for name in BACKBONES if name in asked)
    if backbones is not None:
        _check_backbones("--backbones", backbones)
        if not backbones:
            raise ConfigError(f"At least one backbone is needed; space {space!r} offers {', '.join(offered)}.")
        missing = [name for name in backbones if name not in offered]
        if missing:
            raise ConfigError(
                f"Space {space!r} does not offer backbone {missing[0]!r}; it offers {', '.join(offered)}; add it to "
                "the choices there, or leave backbone: out of the file, and --backbones takes any."
            )
        offered = tuple(name for name in offered if name in backbones)
    known = {**given, "backbone": Parameter("backbone", choices=offered)}
    always = [row for row in PARAMETERS.values() if not row.optional]
    defaults = {row.name: Parameter(row.name, choices=(row.default,)) for row in always}
    return {name: known.get(name) or defaults[name] for name in PARAMETERS if name in known or name in defaults}


def _where_it_exists(parameter: Parameter, parameters: Mapping[str, Parameter]) -> Parameter:
    """``parameter`` under its row's own condition, too: of fine-tuning, say, nothing is chosen at depth 0."""
    row = parameter.row
    if not row.quiet or not row.when or parameter.choices == (row.default,):
        return parameter
    other = parameters[row.when]
    offered = other.choices if other.choices is not None else range(int(other.low), int(other.high) + 1)
    values = tuple(value for value in parameter.when.get(row.when, offered) if value)
    return replace(parameter, when={**parameter.when, row.when: values})


def _check_conditions(space: str, parameters: Mapping[str, Parameter]) -> None:
    earlier: list[str] = []
    for parameter in parameters.values():
        where = f"Space {space!r}, parameter {parameter.name}"
        if parameter.when and parameter.name in ("backbone", "augmentation", "unfreeze_depth"):
            raise ConfigError(f"Space {space!r}: {parameter.name} must always be there, so it takes no when:.")
        for name, values in parameter.when.items():
            if name not in earlier:
                raise ConfigError(f"{where}: when: can depend on {', '.join(earlier) or 'nothing'}, but got {name!r}.")
            # a backbone may have been left out by --backbones: then the condition is never met, and that is fine
            known = Parameter(name, choices=tuple(BACKBONES)) if name == "backbone" else parameters[name]
            impossible = [value for value in values if not known.contains(value)]
            if impossible:
                raise ConfigError(f"{where}: when: names {name} = {impossible[0]!r}, which {name} cannot take.")
        earlier.append(parameter.name)


def _point(
    space: str, parameters: Mapping[str, Parameter], listed: Sequence[str] | None, point: Any
) -> Mapping[str, Value]:
    """A point in the space; ``listed`` are the backbones that the file lists, None where it lists none."""
    if not isinstance(point, dict):
        raise ConfigError(f"Space {space!r}: each of points: must be a mapping of parameters, but got {point!r}.")
    _refuse_unknown(space, "parameter in points:", point, PARAMETERS)
    for name, value in point.items():
        if name == "backbone":
            _check_backbones(f"Space {space!r}, points:", [value])
            if listed is not None and value not in listed:
                raise ConfigError(
                    f"Space {space!r}, points: backbone = {value!r} is none of the choices of backbone: there, "
                    f"{', '.join(listed)}; add it to them, or leave the point out."
                )
        elif name not in parameters or not parameters[name].contains(value):
            raise ConfigError(f"Space {space!r}, points: {name} = {value!r} lies outside the space.")
    chosen = dict(point)
    for name in point:
        if (
            name != "backbone"
            and any(key in point for key in parameters[name].when)
            and not parameters[name].active(chosen)
        ):
            raise ConfigError(f"Space {space!r}, points: {name} does not exist under its condition when: in {point!r}.")
    return chosen
