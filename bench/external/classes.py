"""What the classes of external data are called in the model: the same, or as ``--map theirs=ours`` says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.errors import ConfigError
from bench.numbers import joined

LEFT_OUT = ""
"""In the place of a class of the model: images of such a class take no part."""


@dataclass(frozen=True)
class ClassMap:
    """Classes of external data -> classes of the model, or `LEFT_OUT`.

    Attributes:
        ours: by what the data call each class.
    """

    ours: dict[str, str]

    @classmethod
    def of(cls, given: Iterable[str], theirs: Sequence[str], ours: Sequence[str]) -> "ClassMap":
        """The map of all classes of the data.

        Args:
            given: as ``--map`` has them, ``theirs=ours`` or ``theirs=``.
            theirs: classes of the data.
            ours: classes of the model.

        Raises:
            ConfigError: if a class of the data is neither one of the model nor mapped, or what is given names a class
                that there is not.
        """
        found = dict(_pair(one, theirs, ours) for one in given)
        unknown = [name for name in theirs if name not in found and name not in ours]
        if unknown:
            near = {name.casefold(): name for name in ours}
            example = next((name for name in unknown if name.casefold() in near), unknown[0])
            into = near.get(example.casefold(), ours[0])
            raise ConfigError(
                f"The data have {joined(map(repr, unknown))}, but the model knows {joined(map(repr, ours))} alone; say "
                f"which of these each is, as in --map {_quoted(f'{example}={into}')}, or leave it out by "
                f"--map {_quoted(f'{example}=')}."
            )
        return cls({name: found.get(name, name) for name in theirs})

    @property
    def left_out(self) -> tuple[str, ...]:
        """Classes of the data that take no part."""
        return tuple(theirs for theirs, ours in self.ours.items() if ours == LEFT_OUT)


def _pair(text: str, theirs: Sequence[str], ours: Sequence[str]) -> tuple[str, str]:
    """Names may hold an equals sign: the place is taken where both sides are classes."""
    places = [place for place, letter in enumerate(text) if letter == "="]
    parts = [(text[:place], text[place + 1 :]) for place in places]
    known = [(before, after) for before, after in parts if before in theirs and after in (*ours, LEFT_OUT)]
    if known:
        return known[0]
    if not parts:
        raise ConfigError(f"--map takes theirs=ours, such as Normal={ours[0]}, but got {text!r}.")
    if not any(before in theirs for before, _ in parts):
        raise ConfigError(
            f"--map {_quoted(text)} names {parts[0][0]!r}, but the classes of the data are {joined(map(repr, theirs))}."
        )
    raise ConfigError(
        f"--map {_quoted(text)} names {parts[-1][1]!r}, but the classes of the model are {joined(map(repr, ours))}."
    )


def _quoted(text: str) -> str:
    return f"'{text}'" if any(letter.isspace() for letter in text) else text
