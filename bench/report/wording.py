"""Numbers as the report writes them: those of `bench.numbers`."""

from bench.numbers import *  # noqa: F403
