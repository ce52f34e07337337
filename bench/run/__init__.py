"""A run: its request, its folder, its record and its stages; called, it carries one out (`bench.run.api.run`)."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspect import Signature

    from bench.run.api import RunResult


class _Callable(ModuleType):
    """``from bench import run`` gives this package, whatever was imported before: so it is what carries out a run."""

    def __call__(self, **settings: Any) -> "RunResult":
        from bench.run.api import run

        return run(**settings)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)

    @property
    def __signature__(self) -> "Signature":
        from bench.run.api import signature

        return signature()


sys.modules[__name__].__class__ = _Callable
