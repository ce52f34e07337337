"""What a run computes in: as the user says, as measured, and in a resumed run as it began."""

from types import SimpleNamespace
from typing import Any

import pytest

from bench.run import pipeline
from bench.run.record import PrecisionRecord, RunRecord
from bench.train.task import Precision

MEASURED = {"toy": PrecisionRecord(prefix="bfloat16", measured={"prefix": {"float32": 2.0, "bfloat16": 1.0}})}


@pytest.mark.parametrize(
    ("setting", "begun", "expected", "written"),
    [
        ("auto", None, Precision("bfloat16", "float32"), True),
        ("float32", None, Precision("float32", "float32"), True),
        ("bfloat16", None, Precision("bfloat16", "bfloat16"), True),
        ("auto", {"toy": PrecisionRecord(suffix="bfloat16")}, Precision("float32", "bfloat16"), False),
        ("auto", "bfloat16", Precision("bfloat16", "bfloat16"), True),  # by an earlier version
    ],
)
def test_a_run_computes_in_what_was_chosen_once(
    monkeypatch: pytest.MonkeyPatch, setting: str, begun: Any, expected: Precision, written: bool
) -> None:
    monkeypatch.setattr(pipeline.cluster, "call", lambda workers, function, task: MEASURED)
    kept: dict[str, Any] = {}
    request: Any = SimpleNamespace(
        settings=SimpleNamespace(precision=setting), run=SimpleNamespace(update=lambda **found: kept.update(found))
    )
    task: Any = SimpleNamespace(backbones={"toy": None})
    record = RunRecord(precision=begun)
    assert pipeline._precision(request, None, record, task) == {"toy": expected}  # type: ignore[arg-type]
    assert bool(kept) == written
    if written:
        assert {name: (one.prefix, one.suffix) for name, one in kept["precision"].items()} == {"toy": expected}
